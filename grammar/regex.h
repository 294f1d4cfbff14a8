/* grammar/regex.h - regular expressions, as ECMAScript and Python both understand them.
 *
 * Known: alternatives, groups (named ones too), classes, the escapes d D w W s S t n r f v 0 x u c, quantifiers (lazy
 * ones count as others: which match is found first makes no difference to what matches), ^ and $. The escapes for
 * classes mean ASCII, and s the white space of Unicode, as in ECMAScript; a dot is anything but the end of a line.
 * Refused by name: lookaround, references to groups, word boundaries, flags, possessive quantifiers, properties of
 * Unicode. */
#ifndef GRAMMAR_REGEX_H
#define GRAMMAR_REGEX_H
#include "grammar/build.h"
#include "grammar/dfa.h"

/* The texts that match, as an expression. whole: from beginning to end, as Python's fullmatch(); else anywhere in the
 * text, as `pattern` in JSON Schema. */
int32_t regex_expr(struct build *b, const char *s, size_t n, bool whole, enum writing w);

/* A class between brackets, of which the first is at s[*at], for other notations; *at goes past it. */
int32_t regex_class(struct build *b, const char *s, size_t n, size_t *at);

/* The same as regex_expr() as an automaton over code points. */
struct dfa *regex_language(struct build *b, const char *s, size_t n, bool whole);

#endif
