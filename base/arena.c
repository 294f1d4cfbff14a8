/* base/arena.c - an arena is a list of blocks; each piece is cut from the newest one. See arena.h. */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct arena_block {
    struct arena_block *next;
    size_t              used, size;
    _Alignas(16) char   data[];
};

enum { BLOCK = 64 * 1024 };

/* `max` bounds the sum of what is asked for; nothing is allocated yet. */
void arena_init(struct arena *a, size_t max)
{
    a->blocks = NULL;
    a->used = 0;
    a->max = max;
    a->starved = a->at_start = false;
}

void arena_free(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
    a->used = 0;
}

/* Pieces that do not fit into the rest of the newest block begin a new one, so a rest may stay unused. The bound
 * counts what was asked for and not the blocks: the memory behind an arena can be larger by up to a block for each
 * large piece. Pieces are never freed one by one. */
void *arena_alloc(struct arena *a, size_t n)
{
    if (n > a->max - a->used)
        return NULL;
    size_t need = (n + 15) & ~(size_t)15;
    if (need < n)
        return NULL;
    struct arena_block *b = a->blocks;
    if (!b || b->size - b->used < need) {
        size_t size = need > BLOCK ? need : BLOCK;
        b = a->at_start ? xmalloc(sizeof *b + size) : malloc(sizeof *b + size);
        a->starved = !b;
        if (!b)
            return NULL;
        b->used = 0;
        b->size = size;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += need;
    a->used += n;
    return memset(p, 0, need);
}

/* A copy with a NUL behind it, which arena_alloc() has already written. */
char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);
    return p ? memcpy(p, s, n) : NULL;
}
