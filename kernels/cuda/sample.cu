/* kernels/cuda/sample.cu - one token per row, as ref draws it (kernels/ref/
 * tokens.c says what the cut and its ties are).
 *
 * One block per row. Weights are summed as integers of 2^-44 (300,000 weights
 * of at most 1 fit 64 bits), so every order of addition gives the same sum:
 * the histograms may use atomics and the scans any shape. About eight passes
 * over a row that stays in the L2 cache. */
#include "kernels/cuda/tokens.cuh"

#include "kernels/random.h"

enum { BINS = 2048 };
typedef unsigned long long u64;

#define ONE 17592186044416.0 /* 2^44 */

struct row { const float *logits; int from, to; float most, temperature; };   /* from .. to: this thread's ids */
struct cut { uint32_t order; int ties, left; };   /* left: of the ties, those at or after this thread's first id */

struct shared { u64 bins[BINS], scan[TOKEN_THREADS]; struct best best[TOKEN_THREADS]; u64 above; int found, last; };

/* The order of a logit as an unsigned number. */
static __device__ __forceinline__ uint32_t order_of(float logit)
{
    uint32_t u = __float_as_uint(clean(logit));
    return u >> 31 ? ~u : u | 0x80000000;
}

/* Asked of this thread's tokens in the order of their ids, with `left` counted down from cut.left. */
static __device__ __forceinline__ bool kept(const struct cut &c, uint32_t order, int *left)
{
    return order > c.order || (order == c.order && (*left)-- > 0);
}

static __device__ __forceinline__ float weight(const struct row &s, int i)
{
    return expf((clean(s.logits[i]) - s.most) / s.temperature);
}

static __device__ __forceinline__ u64 fixed(float w) { return (u64)((double)w * ONE); }

/* How many tokens of equal order come before this thread's. */
static __device__ __forceinline__ void find_left(struct cut *c, const struct row &s, struct shared *m)
{
    u64 equal = 0, all;
    for (int i = s.from; i < s.to; i++)
        equal += order_of(s.logits[i]) == c->order;
    u64 before = block_scan<u64>(equal, &all, m->scan);
    c->left = before >= (u64)c->ties ? 0 : (int)((u64)c->ties - before);
}

/* The weights of all kept tokens, which every thread gets. */
static __device__ __forceinline__ u64 total(const struct row &s, const struct cut &c, struct shared *m)
{
    u64 sum = 0, all;
    int left = c.left;
    for (int i = s.from; i < s.to; i++)
        if (kept(c, order_of(s.logits[i]), &left))
            sum += fixed(weight(s, i));
    block_scan<u64>(sum, &all, m->scan);
    return all;
}

/* One level of the search: adds up the bins of the kept tokens that share `prefix`, and goes down to the target. */
static __device__ __forceinline__ void narrow_level(const struct row &s, const struct cut &c, bool count,
                                                    double target, int shift, int bins,
                                    int prefix_shift, uint32_t prefix, struct shared *m)
{
    int left = c.left;
    for (int i = (int)threadIdx.x; i < BINS; i += TOKEN_THREADS)
        m->bins[i] = 0;
    if (threadIdx.x == 0)
        m->last = BINS;
    __syncthreads();
    for (int i = s.from; i < s.to; i++) {
        uint32_t order = order_of(s.logits[i]);
        if (!kept(c, order, &left) || (prefix_shift && order >> prefix_shift != prefix))
            continue;
        u64 w = count ? 1 : fixed(weight(s, i));
        if (w)
            atomicAdd(&m->bins[(order >> shift) & (uint32_t)(bins - 1)], w);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int lowest = 0, found = bins - 1;
        while (lowest < bins - 1 && m->bins[lowest] == 0)
            lowest++;
        while (found > lowest && (m->bins[found] == 0 || (double)(m->above + m->bins[found]) < target))
            m->above += m->bins[found--];
        m->found = found;
    }
    __syncthreads();
}

/* Narrows c to the smallest set of the largest logits whose weights (1 each if count) sum to at least target. */
static __device__ __forceinline__ void narrow(const struct row &s, struct cut *c, bool count, double target,
                                              struct shared *m)
{
    uint32_t prefix = 0;
    if (threadIdx.x == 0)
        m->above = 0;
    narrow_level(s, *c, count, target, 21, 2048, 0, 0, m);
    prefix = (uint32_t)m->found;
    narrow_level(s, *c, count, target, 10, 2048, 21, prefix, m);
    prefix = prefix << 11 | (uint32_t)m->found;
    narrow_level(s, *c, count, target, 0, 1024, 10, prefix, m);
    prefix = prefix << 10 | (uint32_t)m->found;
    u64 equal = 0, all_equal;
    int left = c->left;
    for (int i = s.from; i < s.to; i++)
        equal += order_of(s.logits[i]) == prefix && kept(*c, prefix, &left);
    block_scan<u64>(equal, &all_equal, m->scan);
    float logit = __uint_as_float(prefix >> 31 ? prefix & 0x7fffffff : ~prefix);
    u64 each = count ? 1 : fixed(expf((logit - s.most) / s.temperature));
    double need = each > 0 ? ceil((target - (double)m->above) / (double)each) : 1;
    __syncthreads();                                     /* everybody has read m->above */
    c->order = prefix;
    c->ties = (int)all_equal;
    if (need < (double)all_equal)
        c->ties = need < 1 ? 1 : (int)need;
    find_left(c, s, m);
}

/* The first kept token, by id, whose cumulated weight passes u of the whole. */
static __device__ __forceinline__ void draw(int *id, const struct row &s, const struct cut &c, float min_p, double u,
                                            struct shared *m)
{
    u64 mine = 0, all, sum;
    int left = c.left, last = -1;
    for (int i = s.from; i < s.to; i++)
        if (kept(c, order_of(s.logits[i]), &left) && weight(s, i) >= min_p) {
            u64 w = fixed(weight(s, i));
            mine += w;
            last = w ? i : last;
        }
    sum = block_scan<u64>(mine, &all, m->scan);
    double goal = (double)all * u;
    if (mine == 0 || (double)sum > goal || !((double)(sum + mine) > goal || sum + mine == all))
        return;                                          /* another thread's: exactly one goes on */
    left = c.left;
    for (int i = s.from; i < s.to; i++)
        if (kept(c, order_of(s.logits[i]), &left) && weight(s, i) >= min_p) {
            sum += fixed(weight(s, i));
            if ((double)sum > goal || i == last) {
                *id = i;
                return;
            }
        }
}

/* One block per processor is enough: asked for more, ptxas spills. */
static __global__ void __launch_bounds__(TOKEN_THREADS, 1) sample_kernel(int *ids, struct tensor logits,
                                                                         const struct sampling *sampling)
{
    __shared__ struct shared m;
    int r = (int)blockIdx.x, n = logits.cols, each = (n + TOKEN_THREADS - 1) / TOKEN_THREADS;
    const struct sampling *p = &sampling[r];
    struct row s = { row_of(logits, r), min((int)threadIdx.x * each, n), min((int)threadIdx.x * each + each, n), 0,
                     p->temperature };
    struct best top = { -INFINITY, 0x7fffffff };
    for (int i = s.from; i < s.to; i++)
        top = better(best{ clean(s.logits[i]), i }, top);
    top = block_best(top, m.best);
    s.most = top.x;
    if (!(p->temperature > 0) || s.most == -INFINITY) {
        if (threadIdx.x == 0)
            ids[r] = s.most == -INFINITY ? 0 : top.id;
        return;
    }
    struct cut c = { 0, 0x7fffffff, 0x7fffffff };
    if (p->top_k > 0 && p->top_k < n)
        narrow(s, &c, true, (double)p->top_k, &m);
    if (p->top_p < 1)
        narrow(s, &c, false, (double)p->top_p * (double)total(s, c, &m), &m);
    draw(&ids[r], s, c, fminf(p->min_p, 1), random_unit(p->seed, p->step), &m);
}

void cuda_sample(struct device *dev, int *ids, struct tensor logits, const struct sampling *sampling)
{
    if (logits.rows > 0)
        LAUNCH(dev, sample_kernel, dim3((unsigned)logits.rows), TOKEN_THREADS, 0, ids, logits, sampling);
}
