/* tokenizer/charsmap.h - sentencepiece's "precompiled_charsmap": a double-array
 * trie from characters to their replacements. */
#ifndef TOKENIZER_CHARSMAP_H
#define TOKENIZER_CHARSMAP_H
#include <stddef.h>

#include "base/err.h"

struct charsmap;

/* Decodes the map, whose base64 is passed as it stands in the file. Returns NULL where it is not well formed. */
struct charsmap *charsmap_new(const char *base64, size_t n, struct err *e);
void             charsmap_free(struct charsmap *m);

/* The replacement for the shortest key at the start of s, as the reference
 * takes it for the whole of s; NULL: none. */
const char *charsmap_find(const struct charsmap *m, const char *s, size_t n, size_t *len);

#endif
