/* tokenizer/cursor.h - reads JSON text piece by piece, without building a tree.
 *
 * The vocabulary and the merges of tokenizer.json are nearly all of its bytes: a
 * tree of half a million small objects would take longer than everything else,
 * and lose how numbers were written. */
#ifndef TOKENIZER_CURSOR_H
#define TOKENIZER_CURSOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct cursor {
    const char *s; /* borrowed */
    size_t      n, at;
};

bool cursor_take(struct cursor *c, char want); /* skips white space, then this character if it is there */
int  cursor_peek(struct cursor *c);            /* the next character behind white space; -1: the end    */

/* Reads a string. Its bytes are in the text itself, or in tmp when it has escapes (valid until tmp is used again).
 * Returns -1 where there is no well-formed string of valid UTF-8. */
int cursor_string(struct cursor *c, struct buf *tmp, const char **s, size_t *n);

int cursor_integer(struct cursor *c, int64_t *out); /* -1: no whole number of up to 18 digits */
int cursor_number(struct cursor *c, double *out);   /* rounded as the reference's parser does */

/* Passes over any value, whose inside is only looked at as far as needed to
 * find its end. -1: it has none. */
int cursor_skip(struct cursor *c);

#endif
