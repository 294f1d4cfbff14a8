/* kernels/cpu/blocks.c - see blocks.h. Within a region blocks lie in the order in which they were asked for. Only the
 * last one's place can be given again, and with it those of free ones before it. */
#include "kernels/cpu/blocks.h"

#include <stdbool.h>
#include <stdlib.h>

#include "kernels/host.h"

enum { ALIGN = 64, REGION = 256 << 20 /* bytes, of which those that are used take memory */ };

struct region {
    struct region *older;
    char  *data;                       /* owned, (size)               */
    size_t size, used;                 /* bytes                       */
    struct head *last;                 /* of its blocks; NULL: none   */
};

struct head {                          /* lies ALIGN bytes before a block */
    struct region *region;
    struct head   *before;             /* the block before it; NULL: none */
    size_t bytes;                      /* with the head                   */
    bool   free;
};

/* Address space from the host, which becomes the region that new blocks are cut from. NULL: there is none. */
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
    struct head *h = (struct head *)(r->data + r->used);
    *h = (struct head){ r, r->last, bytes, false };
    r->last = h;
    r->used += bytes;
    return (char *)h + ALIGN;
}

/* Takes it out of the list and gives it back; no block of it is in use. */
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
    struct head *h = (struct head *)((char *)p - ALIGN);
    struct region *r = h->region;
    h->free = true;
    for (; r->last && r->last->free; r->last = r->last->before)
        r->used -= r->last->bytes;
    if (!r->last && r != b->newest)
        free_region(b, r);
}

void blocks_close(struct blocks *b)
{
    while (b->newest)
        free_region(b, b->newest);
}
