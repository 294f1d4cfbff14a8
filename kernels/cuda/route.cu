/* kernels/cuda/route.cu - routed experts: which ones a row goes to, one warp per
 * row, and where its places are, one block per expert. Integers alone decide the
 * places, and each block counts for itself, so that no block waits for another
 * and the order is always the same. */
#include <cfloat>

#include "kernels/cuda/common.cuh"

enum { LANES = 32, GROUP_THREADS = 128, GROUP_WARPS = GROUP_THREADS / 32 };

/* The largest of n numbers, of equal ones the first; every lane gets its index. */
static __device__ int best_of(const float *x, int n)
{
    int lane = (int)threadIdx.x, at = n;
    float most = -INFINITY;
    for (int i = lane; i < n; i += LANES)
        if (at == n || x[i] > most)
            most = x[i], at = i;
    for (int apart = 16; apart > 0; apart /= 2) {
        float other = __shfl_xor_sync(~0u, most, apart);
        int other_at = __shfl_xor_sync(~0u, at, apart);
        if (other > most || (other == most && other_at < at))
            most = other, at = other_at;
    }
    return at;
}

/* The scores of a row by softmax or logistic function. */
static __device__ void scores_of(float *score, const float *logits, const struct router &r)
{
    float most = -INFINITY, sum = 0;
    for (int e = (int)threadIdx.x; e < r.n; e += LANES)
        most = fmaxf(most, logits[e]);
    for (int i = 16; i > 0; i >>= 1)
        most = fmaxf(most, __shfl_xor_sync(~0u, most, i));
    for (int e = (int)threadIdx.x; e < r.n; e += LANES) {
        score[e] = r.sigmoid ? 1 / (1 + expf(-logits[e])) : expf(logits[e] - most);
        sum += score[e];
    }
    sum = warp_sum(sum);
    for (int e = (int)threadIdx.x; e < r.n && !r.sigmoid; e += LANES)
        score[e] /= sum;
}

/* Takes the experts of all groups but the best ones out of the choice. A group that is chosen loses its sum, which is
 * otherwise finite. */
static __device__ void limit_groups(float *choice, float *sum, const struct router &r)
{
    int lane = (int)threadIdx.x, each = r.n / r.groups;
    for (int g = lane; g < r.groups; g += LANES) {
        float best = -INFINITY, second = -INFINITY;
        for (int i = g * each; i < (g + 1) * each; i++) {
            float c = choice[i];
            second = c > best ? best : fmaxf(second, c);
            best = fmaxf(best, c);
        }
        sum[g] = fmaxf(each > 1 ? best + second : best, -FLT_MAX);
    }
    __syncwarp();
    for (int i = 0; i < r.best; i++) {
        int g = best_of(sum, r.groups);
        __syncwarp();
        if (lane == 0)
            sum[g] = -INFINITY;
        __syncwarp();
    }
    for (int e = lane; e < r.n; e += LANES)
        if (sum[e / each] != -INFINITY)
            choice[e] = -INFINITY;
    __syncwarp();
}

/* chosen, weight (rows, k): the experts of each row, the best first. */
static __global__ void __launch_bounds__(LANES)
choose_kernel(int *chosen, float *weight, struct tensor logits, struct router r)
{
    __shared__ float score[MAX_EXPERTS], choice[MAX_EXPERTS], sums[MAX_EXPERTS];
    int lane = (int)threadIdx.x, row = (int)blockIdx.x;
    float sum = 0;
    chosen += (size_t)row * (size_t)r.k;
    weight += (size_t)row * (size_t)r.k;
    scores_of(score, row_of(logits, row), r);
    for (int e = lane; e < r.n; e += LANES)              /* each lane reads what it has written itself */
        choice[e] = fmaxf(r.bias ? score[e] + r.bias[e] : score[e], -FLT_MAX);
    __syncwarp();
    if (r.groups > 1)
        limit_groups(choice, sums, r);
    for (int i = 0; i < r.k; i++) {
        int e = best_of(choice, r.n);
        __syncwarp();
        if (lane == 0) {
            choice[e] = -INFINITY;
            chosen[i] = e;
        }
        __syncwarp();
        sum += score[e];
        if (lane == 0)
            weight[i] = score[e];
    }
    for (int i = 0; i < r.k && lane == 0; i++)
        weight[i] = (r.normalise ? weight[i] / (sum + 1e-20f) : weight[i]) * r.scale;
}

/* How many of n experts' numbers are below e. */
static __device__ int count_below(const int *chosen, int n, int e)
{
    __shared__ int part[GROUP_WARPS];
    int t = (int)threadIdx.x, count = 0;
    for (int i = t; i < n; i += GROUP_THREADS)
        count += chosen[i] < e;
    for (int i = 16; i > 0; i >>= 1)
        count += __shfl_xor_sync(~0u, count, i);
    if (t % 32 == 0)
        part[t / 32] = count;
    __syncthreads();
    count = 0;
    for (int i = 0; i < GROUP_WARPS; i++)
        count += part[i];
    return count;
}

/* Gives the places of expert blockIdx.x to the rows that have chosen it, in their order. */
static __global__ void __launch_bounds__(GROUP_THREADS)
group_kernel(struct routes out, const int *chosen, int n, struct router r)
{
    __shared__ int of_warp[GROUP_WARPS];
    int t = (int)threadIdx.x, warp = t / 32, lane = t % 32, e = (int)blockIdx.x, next = count_below(chosen, n, e);
    if (t == 0)
        out.first[e] = next;
    if (t == 0 && e == r.n - 1)
        out.first[r.n] = n;
    for (int i0 = 0; i0 < n; i0 += GROUP_THREADS) {
        int i = i0 + t;
        bool mine = i < n && chosen[i] == e;
        unsigned all = __ballot_sync(~0u, mine);
        if (lane == 0)
            of_warp[warp] = __popc(all);
        __syncthreads();
        int place = next + __popc(all & ((1u << lane) - 1));
        for (int w = 0; w < GROUP_WARPS; w++) {
            place += w < warp ? of_warp[w] : 0;
            next += of_warp[w];
        }
        if (mine) {
            out.place[i] = place;
            out.row[place] = i / r.k;
        }
        __syncthreads();
    }
}

/* The numbers of the chosen experts lie in the device's work buffer between the two. */
void cuda_route(struct device *dev, const struct routes *out, struct tensor logits, const struct router *r)
{
    int n = logits.rows * r->k, *chosen = (int *)dev->work;
    if (logits.rows <= 0)
        return;
    if ((size_t)n * sizeof *chosen > WORK) {
        device_fail(dev, "choosing experts for too many rows", cudaErrorInvalidValue);
        return;
    }
    LAUNCH(dev, choose_kernel, dim3((unsigned)logits.rows), LANES, 0, chosen, out->weight, logits, *r);
    LAUNCH(dev, group_kernel, dim3((unsigned)r->n), GROUP_THREADS, 0, *out, chosen, n, *r);
}
