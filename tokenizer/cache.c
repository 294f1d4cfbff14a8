/* tokenizer/cache.c - see cache.h.
 *
 * A word has PROBES slots where it may be, from its hash on. It goes into the first of these that is empty, and where
 * none is, it is not kept. */
#include "tokenizer/cache.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/vocab.h"

enum { SLOTS = 1 << 16, PROBES = 4, MAX_BYTES = 16 << 20 };

/* A word and its ids. An entry never changes once it is in the table. */
struct entry {
    uint32_t hash;
    uint16_t len, count;
    int32_t  id[]; /* (count), then len bytes of text */
};

struct cache {
    _Atomic(struct entry *) slot[SLOTS]; /* owned */
    _Atomic size_t bytes;                /* of all entries */
};

struct cache *cache_new(void) { return xcalloc(1, sizeof(struct cache)); }

void cache_free(struct cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        free(atomic_load(&c->slot[i]));
    free(c);
}

/* Slots fill in the order of the probes and are never emptied: the first empty slot ends the search. */
const int32_t *cache_get(const struct cache *c, const char *s, size_t n, size_t *count)
{
    uint64_t h = bytes_hash(s, n);
    for (size_t i = 0; i < PROBES; i++) {
        const struct entry *e = atomic_load_explicit(&c->slot[(h + i) & (SLOTS - 1)], memory_order_acquire);
        if (!e)
            return NULL;
        if (e->hash == h >> 32 && e->len == n && !memcmp(e->id + e->count, s, n)) {
            *count = e->count;
            return e->id;
        }
    }
    return NULL;
}

/* Puts the word into the first of its slots that is empty. Where all are taken, the share of memory is used up or the
 * memory runs out, the word is just not kept, so nothing is returned. The entry is complete before the exchange
 * publishes it. */
void cache_put(struct cache *c, const char *s, size_t n, const int32_t *id, size_t count)
{
    uint64_t h = bytes_hash(s, n);
    size_t size = sizeof(struct entry) + count * sizeof *id + n;
    if (n >= CACHE_WORD_MAX || count > UINT16_MAX || atomic_load(&c->bytes) + size > MAX_BYTES)
        return;
    for (size_t i = 0; i < PROBES; i++) {
        _Atomic(struct entry *) *slot = &c->slot[(h + i) & (SLOTS - 1)];
        if (atomic_load_explicit(slot, memory_order_relaxed))
            continue;
        struct entry *e = malloc(size), *empty = NULL;
        if (!e)
            return;
        *e = (struct entry){ (uint32_t)(h >> 32), (uint16_t)n, (uint16_t)count };
        if (count)
            memcpy(e->id, id, count * sizeof *id);
        memcpy(e->id + count, s, n);
        if (!atomic_compare_exchange_strong_explicit(slot, &empty, e, memory_order_release, memory_order_relaxed))
            free(e); /* another thread was faster, likely with the same word */
        else
            atomic_fetch_add(&c->bytes, size);
        return;
    }
}
