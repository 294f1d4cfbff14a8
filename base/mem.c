/* base/mem.c - allocation that ends the program where it fails, growing arrays, and how the heap is set up. See mem.h
 * for where each may be used. */
#include "base/mem.h"

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* What can be given back once, so that a load can be given up in an orderly way. Nobody writes to it: it is address
 * space, which is what runs out where malloc() fails at all. Large enough for all that may be asked for between two
 * calls of reserve_spent(), a tokenizer's tables for one. */
static struct {
    pthread_mutex_t lock;
    int    holders;
    void  *block;
    size_t size;
    bool   spent;
} reserve = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void reserve_unmap(void)
{
    if (reserve.block)
        munmap(reserve.block, reserve.size);
    reserve.block = NULL;
}

/* Takes back-up memory for whoever opens a model and must not end the process; several may hold it at a time. A process
 * with little room holds a smaller block. -1: not even the least can be had. */
int reserve_hold(void)
{
    enum { MOST = 256 << 20, LEAST = 16 << 20 };
    pthread_mutex_lock(&reserve.lock);
    if (reserve.holders == 0)
        reserve.spent = false;
    for (reserve.size = reserve.block ? reserve.size : MOST; !reserve.block && reserve.size >= LEAST;) {
        void *p = mmap(NULL, reserve.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            reserve.size /= 2;
        else
            reserve.block = p;
    }
    int rc = reserve.block ? 0 : -1;
    reserve.holders += rc == 0;
    pthread_mutex_unlock(&reserve.lock);
    return rc;
}

void reserve_drop(void)
{
    pthread_mutex_lock(&reserve.lock);
    if (--reserve.holders == 0)
        reserve_unmap();
    pthread_mutex_unlock(&reserve.lock);
}

bool reserve_spent(void)
{
    pthread_mutex_lock(&reserve.lock);
    bool spent = reserve.holders > 0 && reserve.spent;
    pthread_mutex_unlock(&reserve.lock);
    return spent;
}

/* Is it worth while to ask for memory again? The reserve is spent at once; after that somebody else in the process may
 * still give memory back, for about a second. */
static bool ask_again(int tries)
{
    enum { TRIES = 100, NANOSECONDS = 10 * 1000 * 1000 };
    pthread_mutex_lock(&reserve.lock);
    bool held = reserve.holders > 0;
    reserve.spent |= held;
    reserve_unmap();
    pthread_mutex_unlock(&reserve.lock);
    if (tries > 0 && held)
        nanosleep(&(struct timespec){ .tv_nsec = NANOSECONDS }, NULL);
    return held && tries < TRIES;
}

/* Ends the program if there is no memory. That is right only at the start, before a request could be harmed by it. */
static void *must(void *p, size_t n)
{
    if (!p) {
        fprintf(stderr, "openautoglm: out of memory asking for %zu bytes\n", n);
        exit(1);
    }
    return p;
}

void *xmalloc(size_t n)
{
    void *p;
    for (int tries = 0; !(p = malloc(n ? n : 1)) && ask_again(tries); tries++)
        ;
    return must(p, n);
}

void *xcalloc(size_t count, size_t size)
{
    void *p;
    for (int tries = 0; !(p = calloc(count ? count : 1, size ? size : 1)) && ask_again(tries); tries++)
        ;
    return must(p, count * size);
}

void *xrealloc(void *old, size_t n)
{
    void *p;
    for (int tries = 0; !(p = realloc(old, n ? n : 1)) && ask_again(tries); tries++)
        ;
    return must(p, n);
}

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

void xgrow(void *array_ptr, size_t *cap, size_t need, size_t size)
{
    int rc;
    for (int tries = 0; (rc = grow(array_ptr, cap, need, size)) != 0 && ask_again(tries); tries++)
        ;
    must(rc == 0 ? array_ptr : NULL, need * size);
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
