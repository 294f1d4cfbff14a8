/* kernels/host.c - the host's memory as a device's.
 *
 * Small blocks come from the heap. Large ones are address space of their own:
 * memory comes behind it when it is first written to, on huge pages where the
 * kernel has them, and goes back to the machine with the block. */
#include "kernels/host.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/machine.h"

enum { HUGE = 2 << 20, ALIGN = 64, LARGE = 2 * HUGE };

struct head { void *base; size_t mapped; };    /* lies ALIGN bytes before a block; mapped: 0 where it is of the heap */

static void *with_head(char *p, void *base, size_t mapped)
{
    *(struct head *)(p - ALIGN) = (struct head){ base, mapped };
    return p;
}

/* Large blocks are mapped and cost nothing until they are written to, so a plan may reserve more than a small model
 * will use. Small ones come from malloc. */
void *host_alloc(struct device *dev, size_t n)
{
    (void)dev;
    if (n < LARGE) {
        void *base;
        return posix_memalign(&base, ALIGN, n + ALIGN) ? NULL : with_head((char *)base + ALIGN, base, 0);
    }
    size_t mapped = n + HUGE + ALIGN;
    char *base = n < SIZE_MAX / 2 ? mmap(NULL, mapped, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                                  : MAP_FAILED;
    if (base == MAP_FAILED)
        return NULL;
    char *p = base + ALIGN + (HUGE - (uintptr_t)(base + ALIGN) % HUGE) % HUGE;
    madvise(p, n, MADV_HUGEPAGE);                  /* advice: may fail */
    return with_head(p, base, mapped);
}

void host_free(struct device *dev, void *p)
{
    (void)dev;
    struct head *h = p ? (struct head *)((char *)p - ALIGN) : NULL;
    if (h && h->mapped)
        munmap(h->base, h->mapped);
    else if (h)
        free(h->base);
}

/* Touches every page of memory that was reserved, so that it is there before it is counted on. */
void host_take(struct device *dev, void *p, size_t n)
{
    (void)dev;
    volatile char *at = p;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < n; i += page)
        at[i] = at[i];                             /* what lies there stays: the first and last page may have a
                                                      neighbour's */
    if (n)
        at[n - 1] = at[n - 1];
}

/* Whole pages alone: the first and last may have a neighbour's. */
void host_give_back(struct device *dev, void *p, size_t n)
{
    (void)dev;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)p + page - 1) / page * page,
              to = ((uintptr_t)p + n) / page * page;
    if (from < to)
        madvise((void *)from, to - from, MADV_DONTNEED);       /* advice: may fail */
}

size_t host_memory(struct device *dev) { return (void)dev, machine_memory(); }

void host_copy(struct device *dev, void *dst, const void *src, size_t n)
{
    (void)dev;
    if (n)
        memcpy(dst, src, n);
}
