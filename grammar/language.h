/* grammar/language.h - regular languages over code points, as deterministic automata: what patterns, lengths and sets
 * of names are made of before they are written as bytes. Every function gives a new automaton of which each state leads
 * to acceptance, or NULL when the builder has failed; arguments stay the caller's. */
#ifndef GRAMMAR_LANGUAGE_H
#define GRAMMAR_LANGUAGE_H
#include "grammar/build.h"
#include "grammar/dfa.h"

struct dfa *language_make(struct build *b, int32_t expr);    /* of expressions without rules (fragment.c) */
struct dfa *language_all(struct build *b);
struct dfa *language_both(struct build *b, const struct dfa *x, const struct dfa *y);
struct dfa *language_not(struct build *b, const struct dfa *x);
/* Its texts of min to max code points; max < 0: no limit. */
struct dfa *language_sized(struct build *b, const struct dfa *x, int64_t min, int64_t max);
bool        language_empty(const struct dfa *x);
bool        language_has(const struct dfa *x, const char *s, size_t n);       /* n bytes of UTF-8 */
/* The lengths of its shortest and longest texts, in code points; *max = -1: there is no longest. Not of an empty
 * one. */
void        language_lengths(struct build *b, const struct dfa *x, int64_t *min, int64_t *max);

/* Marks of a text's beginning and end are symbols beyond all code points. */
enum { MARK_BEGIN = 0x110000, MARK_END = 0x110001, MARK_LAST = MARK_END };

/* The texts t for which the mark, t and the mark are in x. */
struct dfa *language_unmark(struct build *b, const struct dfa *x);

#endif
