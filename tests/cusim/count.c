/* tests/cusim/count.c - how much kernels do, for tests/cusim/report.py.
 *
 * While counting, a launch runs a few of its blocks, evenly spaced, and what
 * they do is taken for all: results are garbage, so nothing is checked, and
 * matrices of real models take seconds. What the first block touches in device
 * memory and later ones touch again (the rows of x) is counted once in
 * `unique`; every later block adds what it alone touches (its columns of W). */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "tests/cusim/internal.h"

enum { MAX_KERNELS = 128 };

struct counted {                 /* one kernel with one size of block and shared memory */
    const void *fn;
    unsigned threads;
    size_t   shared;
    uint64_t launches, blocks;
    double   loads, stores, unique, tensor;    /* bytes; tensor: operations of tensor cores */
};

static struct counted kernels[MAX_KERNELS];
static int n_kernels;
/* of the launch that runs; of its first block; of what only the last one does */
static struct counted now, first, once;

struct counting cusim_counting;

static struct counted *kernel_of(const struct launch *l)
{
    unsigned threads = l->block[0] * l->block[1] * l->block[2];
    for (int i = 0; i < n_kernels; i++)
        if (kernels[i].fn == l->fn && kernels[i].threads == threads && kernels[i].shared == l->shared)
            return &kernels[i];
    if (n_kernels == MAX_KERNELS)
        return &kernels[MAX_KERNELS - 1];
    kernels[n_kernels] = (struct counted){ .fn = l->fn, .threads = threads, .shared = l->shared };
    return &kernels[n_kernels++];
}

void cusim_count_access(int n, int how, int fresh)
{
    struct counted *to = cusim_counting.once ? &once : &now;
    *(how & ACCESS_WRITE ? &to->stores : &to->loads) += n;
    to->unique += fresh;
}

void cusim_count_tensor(double operations) { now.tensor += operations; }

unsigned cusim_arrival(unsigned old, unsigned most)
{
    if (!cusim_counting.blocks)
        return old;
    cusim_counting.once = cusim_counting.last;
    return cusim_counting.last ? most : 0;
}

void cusim_count_block_end(int nth)
{
    if (nth == 0)
        first = now;
}

/* `ran` of `all` blocks have run. */
void cusim_count_launch_end(const struct launch *l, unsigned ran, unsigned all)
{
    struct counted *k = kernel_of(l);
    double scale = (double)all / ran, others = ran > 1 ? (now.unique - first.unique) / (ran - 1) : 0;
    k->launches++;
    k->blocks += all;
    k->loads += now.loads * scale + once.loads;
    k->stores += now.stores * scale + once.stores;
    k->tensor += now.tensor * scale;
    k->unique += first.unique + others * (all - 1) + once.unique;
    memset(&now, 0, sizeof now);
    memset(&once, 0, sizeof once);
    cusim_counting.once = false;
}

/* Counts from now on, `blocks` of each launch; 0: runs and checks everything again. */
__attribute__((visibility("default"))) void cusim_count(int blocks)
{
    cusim_counting.blocks = blocks;
    n_kernels = 0;
    memset(&now, 0, sizeof now);
}

/* A JSON array; a kernel is told by its offset in the library, for nm. */
__attribute__((visibility("default"))) void cusim_count_write(FILE *out)
{
    fputc('[', out);
    for (int i = 0; i < n_kernels; i++) {
        const struct counted *k = &kernels[i];
        Dl_info info;
        uintptr_t base = dladdr(k->fn, &info) ? (uintptr_t)info.dli_fbase : 0;
        fprintf(out, "%s{\"offset\": %lu, \"threads\": %u, \"shared\": %zu, \"launches\": %lu, \"blocks\": %lu, "
                     "\"loads\": %.0f, "
                "\"stores\": %.0f, \"unique\": %.0f, \"tensor\": %.0f}", i ? ", " : "",
                (unsigned long)((uintptr_t)k->fn - base),
                k->threads, k->shared, (unsigned long)k->launches, (unsigned long)k->blocks, k->loads, k->stores,
                k->unique, k->tensor);
    }
    fputc(']', out);
}
