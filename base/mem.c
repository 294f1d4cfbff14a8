/* base/mem.c - allocation that ends the program where it fails, growing arrays, and how the heap is set up. See mem.h
 * for where each may be used. */
#include "base/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program if there is no memory. That is right only at the start, before a request could be harmed by it. */
static void *must(void *p, size_t n)
{
    if (!p) {
        fprintf(stderr, "openautoglm: out of memory asking for %zu bytes\n", n);
        exit(1);
    }
    return p;
}

void *xmalloc(size_t n) { return must(malloc(n ? n : 1), n); }

void *xcalloc(size_t count, size_t size)
{
    return must(calloc(count ? count : 1, size ? size : 1), count * size);
}

void *xrealloc(void *p, size_t n) { return must(realloc(p, n ? n : 1), n); }

char *xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(xmalloc(n), s, n);
}

/* `array_ptr` is the address of the caller's pointer, of whatever type; it is read and written by memcpy() because a
 * void ** may not alias it. Doubling keeps the total cost of appending linear. */
int grow(void *array_ptr, size_t *cap, size_t need, size_t size)
{
    void *old;
    if (need <= *cap)
        return 0;
    size_t n = *cap ? *cap : 16;
    while (n < need) {
        if (n > SIZE_MAX / 2)
            return -1;
        n *= 2;
    }
    if (n > SIZE_MAX / size)
        return -1;
    memcpy(&old, array_ptr, sizeof old);
    void *p = realloc(old, n * size);
    if (!p)
        return -1;
    memcpy(array_ptr, &p, sizeof p);
    *cap = n;
    return 0;
}

/* One arena, because memory that one thread freed would otherwise not serve another; a fixed limit for mappings,
 * because glibc raises it with every large block that is freed and then keeps such blocks. */
void heap_settle(void)
{
    enum { LARGE = 1 << 20, SLACK = 4 << 20 };
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, LARGE);
    mallopt(M_TRIM_THRESHOLD, SLACK);
}

void heap_trim(void) { malloc_trim(0); }
