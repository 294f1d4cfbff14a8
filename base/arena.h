/* base/arena.h - memory of one request or one loading: many small pieces,
 * dropped together. Bounded; NULL when the bound or the memory is out. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H
#include <stdbool.h>
#include <stddef.h>

struct arena {
    struct arena_block *blocks; /* owned, newest first */
    size_t used, max;           /* bytes asked for, and most of them */
    bool   starved;             /* the last NULL was for want of memory, not the bound */
    bool   at_start;            /* set by the owner: memory is got by xmalloc(), which never gives NULL */
};

void  arena_init(struct arena *a, size_t max);
void  arena_free(struct arena *a);
void *arena_alloc(struct arena *a, size_t n); /* 16-byte aligned, zeroed; NULL: out */
char *arena_strndup(struct arena *a, const char *s, size_t n);

#endif
