#include "engine/pages.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

struct page {
    int refs;
    int prev, next;         /* free list; only while refs is 0                */
    bool hashed;            /* `hash` is valid and the page is in its chain   */
    struct hash hash;
    int chain;              /* next page of the same bucket; -1: last         */
};

void pages_init(struct pages *p, int n)
{
    unsigned size = 16;
    while (size < (unsigned)n)
        size *= 2;
    p->page = xcalloc((size_t)n, sizeof *p->page);
    p->bucket = xmalloc(size * sizeof *p->bucket);
    for (unsigned i = 0; i < size; i++)
        p->bucket[i] = -1;
    p->mask = size - 1;
    p->n = p->n_free = n;
    p->head = n ? 0 : -1;
    p->tail = n - 1;
    for (int i = 0; i < n; i++) {
        p->page[i].prev = i - 1;
        p->page[i].next = i + 1 < n ? i + 1 : -1;
    }
}

void pages_free(struct pages *p)
{
    free(p->page);
    free(p->bucket);
    p->page = NULL;
    p->bucket = NULL;
}

static void unlink_free(struct pages *p, int id)
{
    struct page *g = &p->page[id];
    *(g->prev < 0 ? &p->head : &p->page[g->prev].next) = g->next;
    *(g->next < 0 ? &p->tail : &p->page[g->next].prev) = g->prev;
    p->n_free--;
}

static void forget_hash(struct pages *p, int id)
{
    struct page *g = &p->page[id];
    if (!g->hashed)
        return;
    int *at = &p->bucket[g->hash.lo & p->mask];
    while (*at != id)
        at = &p->page[*at].chain;
    *at = g->chain;
    g->hashed = false;
}

int pages_alloc(struct pages *p)
{
    int id = p->head;
    if (id < 0)
        return -1;
    unlink_free(p, id);
    forget_hash(p, id);
    p->page[id].refs = 1;
    return id;
}

void pages_ref(struct pages *p, int id)
{
    if (p->page[id].refs++ == 0)
        unlink_free(p, id);
}

void pages_unref(struct pages *p, int id)
{
    struct page *g = &p->page[id];
    assert(g->refs > 0);
    if (--g->refs)
        return;
    g->prev = p->tail;
    g->next = -1;
    *(p->tail < 0 ? &p->head : &p->page[p->tail].next) = id;
    p->tail = id;
    p->n_free++;
}

int pages_find(const struct pages *p, struct hash h)
{
    int id = p->bucket[h.lo & p->mask];
    while (id >= 0 && !hash_equal(p->page[id].hash, h))
        id = p->page[id].chain;
    return id;
}

void pages_publish(struct pages *p, int id, struct hash h)
{
    struct page *g = &p->page[id];
    assert(g->refs > 0);
    if (g->hashed || pages_find(p, h) >= 0)
        return;                 /* another page holds the same tokens: one is enough */
    g->hash = h;
    g->hashed = true;
    g->chain = p->bucket[h.lo & p->mask];
    p->bucket[h.lo & p->mask] = id;
}

void pages_check(const struct pages *p)
{
    int n_free = 0, in_use = 0, hashed = 0, chained = 0, prev = -1;
    for (int id = p->head; id >= 0; prev = id, id = p->page[id].next, n_free++) {
        assert(p->page[id].refs == 0 && p->page[id].prev == prev);
        assert(n_free < p->n);
    }
    assert(prev == p->tail && n_free == p->n_free);
    for (int i = 0; i < p->n; i++) {
        in_use += p->page[i].refs > 0;
        hashed += p->page[i].hashed;
    }
    assert(in_use + n_free == p->n);
    for (unsigned b = 0; b <= p->mask; b++)
        for (int id = p->bucket[b]; id >= 0; id = p->page[id].chain, chained++)
            assert(p->page[id].hashed && (p->page[id].hash.lo & p->mask) == b);
    assert(hashed == chained);
    (void)in_use, (void)hashed, (void)chained, (void)prev;
}
