/* kernels/cpu/blocks.c - see blocks.h. Within a region blocks lie in the order in which they were asked for. Only the
 * last one's place can be given again before the region is empty. */
#include "kernels/cpu/blocks.h"

#include <assert.h>
#include <stdlib.h>

#include "kernels/host.h"

enum { ALIGN = 64, REGION = 256 << 20 /* bytes, of which those that are used take memory */ };

struct region {
    struct region *older;
    char  *data;                       /* owned, (size)               */
    size_t size, used;                 /* bytes                       */
    int    n_blocks;
};

struct head { struct region *region; size_t bytes; };    /* lies ALIGN bytes before a block; bytes: with the head */

static struct region *new_region(struct blocks *b, size_t size)
{
    struct region *r = calloc(1, sizeof *r);
    char *data = r ? host_alloc(NULL, size) : NULL;
    if (!data) {
        free(r);
        return NULL;
    }
    *r = (struct region){ .older = b->newest, .data = data, .size = size };
    return b->newest = r;
}

void *blocks_alloc(struct blocks *b, size_t n)
{
    struct region *r = b->newest;
    if (n > (size_t)-1 / 2)
        return NULL;
    size_t bytes = (n + 2 * ALIGN - 1) / ALIGN * ALIGN;
    if (!r || r->size - r->used < bytes)
        r = new_region(b, bytes > REGION ? bytes : REGION);
    if (!r && !(r = new_region(b, bytes)))     /* no address space for more */
        return NULL;
    char *p = r->data + r->used + ALIGN;
    *(struct head *)(p - ALIGN) = (struct head){ r, bytes };
    r->used += bytes;
    r->n_blocks++;
    return p;
}

static void free_region(struct blocks *b, struct region *r)
{
    struct region **at = &b->newest;
    while (*at != r)
        at = &(*at)->older;
    *at = r->older;
    host_free(NULL, r->data);
    free(r);
}

void blocks_free(struct blocks *b, void *p)
{
    if (!p)
        return;
    const struct head *h = (const struct head *)((char *)p - ALIGN);
    struct region *r = h->region;
    if ((const char *)h + h->bytes == r->data + r->used)
        r->used -= h->bytes;
    if (--r->n_blocks > 0)
        return;
    r->used = 0;
    if (r != b->newest)
        free_region(b, r);
}

void blocks_close(struct blocks *b)
{
    while (b->newest) {
        assert(b->newest->n_blocks == 0);
        free_region(b, b->newest);
    }
}
