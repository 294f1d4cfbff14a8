/* kernels/cpu/cpu.c - backend `cpu`: the table, the device, and how each hot
 * operation is cut into tasks.
 *
 * The inner loops are chosen once, in open(); OPENAUTOGLM_ISA
 * in the environment (generic, avx2, avxvnni, avx512, avx512vnni, amx; on ARM64 generic, neon, neondot) forces a lower
 * instruction set. */
#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/threads.h"
#include "kernels/host.h"
#include "kernels/machine.h"
#include "kernels/ref/ref.h"

struct device {
    struct pool          *pool;    /* owned */
    const struct kernels *kernels;
    struct scratch       *scratch; /* owned; one for each worker */
    char                 *prepared;   /* owned; PREPARED bytes for the rows of one pass of linear */
    enum activations      activations;
    struct blocks         blocks;     /* owned; of the weights */
};

enum { PREPARED = 16 << 20, HUGE_PAGE = 2 << 20 };

/* Below so many multiplications waking a thread costs more than it brings. */
static const double SMALL = 50e3;

/* ---- device ---- */

const struct kernels *cpu_variant(int i)
{
#if defined(__aarch64__)
    static const struct kernels *const all[] = { &kernels_neondot, &kernels_neon, &kernels_generic };
#else
    static const struct kernels *const all[] = { &kernels_amx,     &kernels_avx512vnni, &kernels_avx512,
                                                 &kernels_avxvnni, &kernels_avx2,       &kernels_generic };
#endif
    return i >= 0 && i < (int)(sizeof all / sizeof *all) ? all[i] : NULL;
}

/* The inner loops for this machine: the first in the list, best first, that works here, or those that the environment
 * names. Two machines with different ones may give different bits, never one machine at two times. */
static const struct kernels *choose(const char *name, struct err *e)
{
    const struct kernels *k;
    char names[100] = "";
    for (int i = 0; (k = cpu_variant(i)) != NULL; i++) {
        if (name ? strcmp(name, k->name) == 0 : k->works()) {
            if (k->works())
                return k;
            err_set(e, "this processor does not have %s", name);
            return NULL;
        }
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, n ? ", %s" : "%s", k->name);
    }
    err_set(e, "OPENAUTOGLM_ISA=%s: not one of %s", name, names);
    return NULL;
}

static void cpu_close(struct device *dev)
{
    if (!dev)
        return;
    pool_close(dev->pool);
    host_free(dev, dev->scratch);
    host_free(dev, dev->prepared);
    blocks_close(&dev->blocks);
    free(dev);
}

/* Entry `open` of struct backend: chooses the inner loops, starts the threads, and reserves what they compute in. The
 * memory is address space until it is used. */
static int cpu_open(struct device **out, const struct device_options *options, struct err *e)
{
    const struct kernels *k = choose(getenv("OPENAUTOGLM_ISA"), e);
    if (!k)
        return -1;
    struct device *dev = xcalloc(1, sizeof *dev);
    dev->kernels = k;
    dev->activations = options->activations;
    dev->pool = pool_open(options->threads > 0 ? options->threads : machine_threads());
    dev->scratch = host_alloc(dev, (size_t)pool_size(dev->pool) * sizeof *dev->scratch);
    dev->prepared = host_alloc(dev, PREPARED);
    if (!dev->scratch || !dev->prepared) {
        cpu_close(dev);
        return err_set(e, "out of memory for the scratch of the threads");
    }
    *out = dev;
    return 0;
}

/* Operations are done when they return, and none of them can fail. */
static const char *cpu_sync(struct device *dev)
{
    (void)dev;
    return NULL;
}

const struct kernels *cpu_kernels(struct device *dev) { return dev->kernels; }
void cpu_use_kernels(struct device *dev, const struct kernels *k) { dev->kernels = k; }

void cpu_run(struct device *dev, int count, void (*body)(void *arg, int index, int worker), void *arg)
{
    pool_run(dev->pool, count, body, arg);
}

/* Waking the threads takes microseconds, in which one core does tens of thousands of multiplications. */
void cpu_run_work(struct device *dev, int count, double work, void (*body)(void *arg, int index, int worker), void *arg)
{
    if (work > SMALL)
        pool_run(dev->pool, count, body, arg);
    else
        for (int i = 0; i < count; i++)
            body(arg, i, 0);
}

struct taking { char *p; size_t n; };

/* The part of the block that lies in huge page `index`, counted from that of its first byte. */
static void take_body(void *arg, int index, int worker)
{
    const struct taking *t = arg;
    uintptr_t from = (uintptr_t)t->p / HUGE_PAGE * HUGE_PAGE + (size_t)index * HUGE_PAGE, end = (uintptr_t)t->p + t->n;
    uintptr_t to = from + HUGE_PAGE < end ? from + HUGE_PAGE : end;
    (void)worker;
    from = from > (uintptr_t)t->p ? from : (uintptr_t)t->p;
    host_take(NULL, (char *)from, to - from);
}

/* Entry `take` of struct backend, on all threads: the kernel clears the pages, and a hypervisor may have to find them
 * first. */
static void cpu_take(struct device *dev, void *p, size_t n)
{
    struct taking t = { p, n };
    if (n > 0)
        cpu_run(dev, (int)(((uintptr_t)p + n - 1) / HUGE_PAGE - (uintptr_t)p / HUGE_PAGE) + 1, take_body, &t);
}

int cpu_threads(struct device *dev) { return pool_size(dev->pool); }

struct scratch *cpu_scratch(struct device *dev, int worker) { return &dev->scratch[worker]; }

char *cpu_prepared(struct device *dev, size_t *room)
{
    *room = PREPARED;
    return dev->prepared;
}

struct blocks *cpu_blocks(struct device *dev) { return &dev->blocks; }

enum activations cpu_activations(struct device *dev) { return dev->activations; }

/* ---- operations ---- */

struct call { struct device *dev; const void *job; int n; }; /* n: tasks, or rows in each */

static void run(struct call *c, int count, double work, void (*body)(void *, int, int))
{
    cpu_run_work(c->dev, count, work, body, c);
}

static int divide_up(int a, int b) { return (a + b - 1) / b; }
static int at_most(int a, int b) { return a < b ? a : b; }

static void dwconv_body(void *arg, int y, int worker)
{
    struct call *c = arg;
    (void)worker;
    c->dev->kernels->dwconv(c->job, y);
}

/* One task for each row of output pixels. */
static void cpu_dwconv2d(struct device *dev, struct tensor out, struct tensor x, const struct weight *w,
                         const struct conv *v)
{
    struct dwconv_job job = { out, x, w, v };
    struct call c = { dev, &job, (v->h + 2 * v->pad - v->kernel) / v->stride + 1 };
    run(&c, c.n, (double)out.rows * w->out * w->in, dwconv_body);
}

/* Operations on single rows go out in slices of `n` rows. */
static void rows_body(struct call *c, int rows, int task, int worker, void (*one)(struct call *, int row, int worker))
{
    for (int r = task * c->n; r < at_most(rows, (task + 1) * c->n); r++)
        one(c, r, worker);
}

static void norm_one(struct call *c, int r, int worker)
{
    (void)worker;
    c->dev->kernels->norm(c->job, r);
}

static void norm_body(void *arg, int task, int worker)
{
    struct call *c = arg;
    rows_body(c, ((const struct norm_job *)c->job)->x.rows, task, worker, norm_one);
}

/* Rows so many at a time that a task has some thousand numbers to do. */
void cpu_norm(struct device *dev, struct tensor x, const struct norms *norms)
{
    struct norm_job job = { x, norms };
    struct call c = { dev, &job, 1 + 8192 / (x.cols + 1) };
    run(&c, divide_up(x.rows, c.n), 4.0 * x.rows * x.cols, norm_body);
}

static void embed_one(struct call *c, int r, int worker)
{
    (void)worker;
    c->dev->kernels->embed(c->job, r);
}

static void embed_body(void *arg, int task, int worker)
{
    struct call *c = arg;
    rows_body(c, ((const struct embed_job *)c->job)->out.rows, task, worker, embed_one);
}

/* Tasks of about 8192 numbers. */
static void cpu_embed(struct device *dev, struct tensor out, const struct weight *w, const int *ids)
{
    struct embed_job job = { out, w, ids };
    struct call c = { dev, &job, 1 + 8192 / (out.cols + 1) };
    run(&c, divide_up(out.rows, c.n), 1.0 * out.rows * out.cols, embed_body);
}

static int prep_rows(const struct prep_job *job) { return job->q.data ? job->q.rows : job->k.rows; }

static void prep_one(struct call *c, int r, int worker) { c->dev->kernels->prep(c->job, r, &c->dev->scratch[worker]); }

static void prep_body(void *arg, int task, int worker)
{
    struct call *c = arg;
    rows_body(c, prep_rows(c->job), task, worker, prep_one);
}

/* Tasks of about 4096 numbers, so that a few rows do not wake other threads. */
static void cpu_prep(struct device *dev, struct tensor q, struct tensor k, struct tensor v, const struct heads *h,
                     const int *pos, const struct kv *kv, int layer, const int *slot)
{
    struct prep_job job = { q, k, v, h, pos, kv, layer, slot };
    int width = (h->n + 2 * h->n_kv) * h->dim;
    assert(!q.data || !k.data || q.rows == k.rows);
    struct call c = { dev, &job, 1 + 4096 / width };
    run(&c, divide_up(prep_rows(&job), c.n), 8.0 * prep_rows(&job) * width, prep_body);
}

/* Tasks of a sequence: kv heads x groups of `pairs` (row, query head) pairs. */
static int attend_groups(const struct attend_job *job, int seq)
{
    int pairs = (job->first[seq + 1] - job->first[seq]) * (job->heads->n / job->heads->n_kv);
    return divide_up(pairs, job->pairs);
}

/* Finds out which sequence, kv head and group of pairs a task is: tasks are numbered through all sequences, and within
 * one head after head. Pairs of the same kv head share its keys and values, which is why they go together. */
static void attend_body(void *arg, int task, int worker)
{
    struct call *c = arg;
    const struct attend_job *job = c->job;
    int seq = 0, groups;
    while (task >= (groups = attend_groups(job, seq)) * job->heads->n_kv) {
        task -= groups * job->heads->n_kv;
        seq++;
    }
    int pairs = (job->first[seq + 1] - job->first[seq]) * (job->heads->n / job->heads->n_kv);
    int first = task % groups * job->pairs;
    c->dev->kernels->attend(job, seq, task / groups, first, at_most(job->pairs, pairs - first),
                            &c->dev->scratch[worker]);
}

/* Cuts an attention into tasks of about equal size, as many pairs in each as scratch allows, fewer where the threads
 * would not all have something to do. */
static void run_attend(struct device *dev, struct attend_job *job)
{
    const struct heads *h = job->heads;
    int rows = job->first[job->n_seqs] - job->first[0], threads = pool_size(dev->pool);
    int wide = divide_up(h->dim, MAX_LANES) * MAX_LANES, most = at_most(PAIRS, PAIR_DIMS / wide);
    assert(h->dim <= MAX_DIM);
    if (rows == 0)
        return;
    job->pairs = divide_up(rows * h->n, 2 * threads);
    job->pairs = at_most(divide_up(job->pairs, 12) * 12, most / 12 * 12);
    struct call c = { dev, job, 0 };
    for (int s = 0; s < job->n_seqs; s++)
        c.n += attend_groups(job, s) * h->n_kv;
    int seen = job->kv_first ? job->kv_first[job->n_seqs] : job->view->max_kv;
    run(&c, c.n, 2.0 * rows * h->n * h->dim * seen, attend_body);
}

/* Entry `attend`: the keys and values lie in the pages of one layer of a cache. */
static void cpu_attend(struct device *dev, struct tensor out, struct tensor q, const struct kv *kv, int layer,
                       const struct heads *h, const struct batch *b, const struct view *view)
{
    size_t skip = kv_layer_start(kv, layer), head = kv_head_bytes(kv), entry = kv_entry_bytes(kv);
    struct attend_job job = { .out = out,
                              .q = q,
                              .heads = h,
                              .n_seqs = b->n_seqs,
                              .first = b->first,
                              .dtype = kv->dtype,
                              .k = (char *)kv->k + skip,
                              .v = (char *)kv->v + skip,
                              .k_stride = entry,
                              .v_stride = entry,
                              .head = head,
                              .view = view,
                              .page = kv->page,
                              .page_step = kv_page_step(kv) };
    if (b->n_seqs > 0)
        run_attend(dev, &job);
}

/* Entry `attend_ragged`: the keys and values are rows of floats beside the queries, as one page without end. */
static void cpu_attend_ragged(struct device *dev, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                              const struct heads *h, int n_seg, const int *q_first, const int *kv_first)
{
    struct attend_job job = { .out = out,
                              .q = q,
                              .heads = h,
                              .n_seqs = n_seg,
                              .first = q_first,
                              .dtype = F32,
                              .k = k.data,
                              .v = v.data,
                              .k_stride = sizeof(float) * (size_t)k.stride,
                              .v_stride = sizeof(float) * (size_t)v.stride,
                              .head = sizeof(float) * (size_t)h->dim,
                              .kv_first = kv_first };
    if (n_seg > 0)
        run_attend(dev, &job);
}

const struct backend backend_cpu = {
    .name = "cpu",
    .kv = F32, .kv_rounded = F16,
    .ops = {
        .embed = cpu_embed, .linear = cpu_linear, .norm = cpu_norm, .act = cpu_act, .add = cpu_add,
        .copy = cpu_copy, .fuse = cpu_fuse, .route = cpu_route, .linear_grouped = cpu_linear_grouped,
        .prep = cpu_prep, .attend = cpu_attend, .attend_ragged = cpu_attend_ragged,
        .pixels = cpu_pixels, .conv2d = cpu_conv2d, .dwconv2d = cpu_dwconv2d,
        .gather = cpu_gather, .scatter = cpu_scatter,
        .mask = cpu_mask, .penalize = ref_penalize, .sample = cpu_sample, .logprobs = cpu_logprobs,
    },
    .open = cpu_open, .close = cpu_close, .memory = host_memory, .alloc = host_alloc, .free = host_free,
    .take = cpu_take, .give_back = host_give_back, .upload = host_copy, .download = host_copy, .pack = cpu_pack,
    .release = cpu_release, .slabs = cpu_slabs, .packed_bytes = cpu_packed_bytes, .sync = cpu_sync,
};
