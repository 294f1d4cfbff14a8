/* kernels/cuda/prep.cu - norm and rotation of the heads of q and k in place,
 * and k and v into the cache: one launch, one warp per head of a row.
 *
 * A head is held in shared memory (at most 512 numbers), so its global memory
 * is read once and written once. Bound by the launch at decode. */
#include "kernels/cuda/common.cuh"

enum { WARPS = 4, MAX_DIM = 512 };

struct prep {
    struct tensor q, k, v;
    int           n, n_kv, dim;
    bool          q_normed, k_normed, rotated;
    struct norm   q_norm, k_norm;
    struct rope   rope;
    const int    *pos, *slot;         /* slot NULL: no cache            */
    enum dtype    dtype;
    void         *k_cache, *v_cache;  /* of this layer (entries, width) */
};

static __device__ void normalise(float *head, int dim, const struct norm &norm, int lane)
{
    float mean = 0, square = 0;
    if (norm.center) {
        for (int i = lane; i < dim; i += 32)
            mean += head[i];
        mean = warp_sum(mean) / (float)dim;
    }
    for (int i = lane; i < dim; i += 32)
        square = fmaf(head[i] - mean, head[i] - mean, square);
    float scale = 1 / sqrtf(warp_sum(square) / (float)dim + norm.eps);
    for (int i = lane; i < dim; i += 32) {
        float y = (head[i] - mean) * scale;
        if (norm.w.data)
            y *= row_of(norm.w, 0)[i];
        head[i] = norm.b.data ? y + row_of(norm.b, 0)[i] : y;
    }
}

static __device__ void rotate(float *head, const struct rope &rope, const int *pos, int rows, int r, int lane)
{
    int half = rope.rot_dim / 2;
    for (int i = lane; i < half; i += 32) {
        float angle = (float)pos[rope.axis[i] * rows + r] * rope.freq[i], c = cosf(angle) * rope.mscale, s = sinf(angle) * rope.mscale;
        int a = rope.interleaved ? 2 * i : i, b = rope.interleaved ? a + 1 : a + half;
        float x = head[a], y = head[b];
        head[a] = x * c - y * s;
        head[b] = y * c + x * s;
    }
}

/* Head g of row r: first those of q, then k's, then v's. */
static __global__ void __launch_bounds__(32 * WARPS) prep_kernel(struct prep p)
{
    __shared__ float heads[WARPS][MAX_DIM];
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, r = (int)blockIdx.x, g = (int)blockIdx.y * WARPS + warp;
    int slot = p.slot ? p.slot[r] : -1;
    float *head = heads[warp];
    bool is_q = g < p.n, is_k = !is_q && g < p.n + p.n_kv;
    struct tensor x = is_q ? p.q : is_k ? p.k : p.v;
    g = is_q ? g : is_k ? g - p.n : g - p.n - p.n_kv;
    if (!x.data || g >= p.n_kv && !is_q)
        return;                                      /* a whole warp: no barriers below but the warp's own */
    float *from = row_of(x, r) + g * p.dim;
    for (int i = lane; i < p.dim; i += 32)
        head[i] = from[i];
    bool normed = is_q ? p.q_normed : is_k && p.k_normed, rotated = (is_q || is_k) && p.rotated;
    if (normed)
        normalise(head, p.dim, is_q ? p.q_norm : p.k_norm, lane);
    __syncwarp();
    if (rotated)
        rotate(head, p.rope, p.pos, x.rows, r, lane);
    __syncwarp();
    for (int i = lane; i < p.dim; i += 32) {
        if (normed || rotated)
            from[i] = head[i];
        if (!is_q && slot >= 0)
            store_as(p.dtype, is_k ? p.k_cache : p.v_cache, ((size_t)slot * (size_t)p.n_kv + (size_t)g) * (size_t)p.dim + (size_t)i,
                     head[i]);
    }
}

void cuda_prep(struct device *dev, struct tensor q, struct tensor k, struct tensor v, const struct heads *h, const int *pos,
               const struct kv *kv, int layer, const int *slot)
{
    int rows = q.data ? q.rows : k.data ? k.rows : v.rows;
    struct prep p = {};
    if (rows <= 0)
        return;
    if (h->dim > MAX_DIM) {
        device_fail(dev, "a head of more than 512 numbers", cudaErrorInvalidValue);
        return;
    }
    p.q = q, p.k = k, p.v = v, p.n = q.data ? h->n : 0, p.n_kv = h->n_kv, p.dim = h->dim, p.pos = pos;
    p.q_normed = h->q_norm != NULL, p.k_normed = h->k_norm != NULL, p.rotated = h->rope != NULL;
    if (h->q_norm)
        p.q_norm = *h->q_norm;
    if (h->k_norm)
        p.k_norm = *h->k_norm;
    if (h->rope)
        p.rope = *h->rope;
    if (kv && slot) {
        size_t at = (size_t)layer * (size_t)kv->n_pages * (size_t)kv->page * (size_t)kv->width * dtype_size(kv->dtype);
        p.slot = slot, p.dtype = kv->dtype, p.k_cache = (char *)kv->k + at, p.v_cache = (char *)kv->v + at;
    }
    int heads = p.n + (k.data || v.data ? 2 * h->n_kv : 0);
    LAUNCH(dev, prep_kernel, dim3((unsigned)rows, blocks_for((size_t)heads, WARPS)), 32 * WARPS, 0, p);
}
