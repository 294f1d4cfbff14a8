/* tokenizer/cache.h - the ids of words seen before, shared by all threads
 * without a lock.
 *
 * A table of pointers to entries that never change: a reader loads a pointer, a
 * writer stores one into an empty slot with compare-and-swap. Nothing is ever
 * thrown out, so nothing can vanish under a reader; when the table or its share
 * of memory is full, new words are just not kept. */
#ifndef TOKENIZER_CACHE_H
#define TOKENIZER_CACHE_H
#include <stddef.h>
#include <stdint.h>

struct cache;

enum { CACHE_WORD_MAX = 256 }; /* longer words hardly ever come back */

struct cache *cache_new(void);
void          cache_free(struct cache *c);

/* The ids of a word (n < CACHE_WORD_MAX bytes) and their number; NULL: not there. */
const int32_t *cache_get(const struct cache *c, const char *s, size_t n, size_t *count);
void           cache_put(struct cache *c, const char *s, size_t n, const int32_t *id, size_t count);

#endif
