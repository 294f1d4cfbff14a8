/* tokenizer/regex.h - the regular expressions of tokenizer.json.
 *
 * They are written for Oniguruma; regex_translate() rewrites one for PCRE2, so
 * that both find the same matches. Compiled once (with JIT where the system
 * allows it), then read-only: each user brings a struct regex_match of its own.
 * The only user of PCRE2. */
#ifndef TOKENIZER_REGEX_H
#define TOKENIZER_REGEX_H
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct regex;
struct regex_match; /* the working memory of one search */

/* Compiles a pattern of the file. Returns NULL and a message on failure. */
struct regex *regex_compile(const char *pattern, size_t n, struct err *e);
void          regex_free(struct regex *r);

/* For searches in about `bytes` bytes of text: together they may take some
 * seconds, then regex_find gives up. NULL: memory out. */
struct regex_match *regex_match_new(size_t bytes);
void                regex_match_free(struct regex_match *m);

/* The first match at or after `from` in the n bytes of s (valid UTF-8):
 * 1 and its place, 0 if there is none, -1 and a message when the limits on
 * steps, memory or time are passed. */
int regex_find(const struct regex *r, struct regex_match *m, const char *s, size_t n, size_t from, size_t *start,
               size_t *end, struct err *e);

/* Appends the pattern, which is in Oniguruma's syntax, in that of PCRE2. Returns -1 and a message where it cannot be
 * said there. */
int regex_translate(const char *pattern, size_t n, struct buf *out, struct err *e);

#endif
