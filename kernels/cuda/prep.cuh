/* kernels/cuda/prep.cuh - norm and rotation of the heads of q and k, and k and v
 * into the cache, by a warp that holds a head in shared memory. */
#ifndef KERNELS_CUDA_PREP_CUH
#define KERNELS_CUDA_PREP_CUH
#include "kernels/cuda/common.cuh"

struct prep {
    struct tensor q, k, v;
    int           n, n_kv, dim;
    bool          q_normed, k_normed, rotated;
    struct norm   q_norm, k_norm;
    struct rope   rope;
    const int    *pos, *slot;         /* slot NULL: no cache            */
    enum dtype    dtype;
    unsigned char *k_cache, *v_cache; /* of this layer                  */
    size_t        head;               /* bytes of one, in the cache     */
    int           page, step;         /* entries of a page, and from one page to the next */
};

/* Where head g of a slot lies in the layer. */
static __device__ __forceinline__ size_t slot_at(const struct prep &p, int slot, int g)
{
    size_t entry = (size_t)(slot / p.page) * (size_t)p.step + (size_t)(slot % p.page);
    return (entry * (size_t)p.n_kv + (size_t)g) * p.head;
}

/* The norm of one head by one warp, in place. Sums go over lanes in a fixed order, the same wherever it is called
 * from. */
static __device__ inline void normalise(float *head, int dim, const struct norm &norm, int lane)
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

/* Cosine and sine of angle i of row r. */
static __device__ __forceinline__ float2 turn_of(const struct rope &rope, const int *pos, int rows, int r, int i)
{
    const float *freq = rope.stretched && pos[rows + r] < 0 ? rope.stretched : rope.freq;
    float angle = (float)pos[rope.axis[i] * rows + r] * freq[i];
    return make_float2(cosf(angle) * rope.mscale, sinf(angle) * rope.mscale);
}

/* Turns the pair of numbers that angle i belongs to. */
static __device__ __forceinline__ void rotate_pair(float *head, const struct rope &rope, int i, float2 turn)
{
    int a = rope.interleaved ? 2 * i : i, b = rope.interleaved ? a + 1 : a + rope.rot_dim / 2;
    float x = head[a], y = head[b];
    head[a] = x * turn.x - y * turn.y;
    head[b] = y * turn.x + x * turn.y;
}

/* The nearest number of e4m3, as f8_put(). */
static __device__ __forceinline__ uint32_t e4m3_bits(float x)
{
    uint32_t u = __float_as_uint(fminf(fabsf(x), 448) * 0x1p-120f);
    return (u + 0x7ffff + (u >> 20 & 1)) >> 20 | (__float_as_uint(x) >> 24 & 0x80);
}

/* kv_fit() */
static __device__ __forceinline__ float fit(enum dtype t, float x)
{
    return t == F16 && fabsf(x) <= 0x1.fffffep127f ? fminf(fmaxf(x, -KV_F16_MAX), KV_F16_MAX) : x;
}

/* One warp writes a head of dim numbers into the cache as type t, with the bits of kv_put(): types of a byte get a
 * scale, and a head with a number that is not finite becomes NaN as a whole. */
static __device__ inline void store_head(enum dtype t, unsigned char *to, const float *x, int dim, int lane)
{
    if (!has_scale(t)) {
        for (int i = lane; i < dim; i += 32)
            store_as(t, to, (size_t)i, fit(t, x[i]));
        return;
    }
    float most = 0, rest = 0;
    for (int i = lane; i < dim; i += 32)
        most = fmaxf(most, fabsf(x[i])), rest += x[i] - x[i];
    for (int i = 16; i > 0; i >>= 1)
        most = fmaxf(most, __shfl_xor_sync(~0u, most, i));
    bool finite = warp_sum(rest) == 0, some = finite && most >= 0x1p-100f;
    float scale = some ? most / (t == Q8 ? 127 : 448) : 0, inverse = some ? 1 / scale : 0;
    if (lane == 0)
        *(float *)to = finite ? scale : __uint_as_float(0x7fc00000);
    for (int i = 4 * lane; i < (dim + QUANT_GROUP - 1) / QUANT_GROUP * QUANT_GROUP; i += 4 * 32) {
        uint32_t four = 0;
        for (int j = 0; j < 4; j++) {
            float q = some && i + j < dim ? x[i + j] * inverse : 0;
            four |= (t == Q8 ? int8_bits(q) : e4m3_bits(q)) << 8 * j;
        }
        *(uint32_t *)(to + QUANT_HEAD + i) = four;
    }
}

/* The argument of the kernels that prepare q, k and v, out of what ops.prep is given. Empty tensors have no heads, so
 * nothing is done for them; without a cache or slots nothing is stored. */
static inline struct prep prep_of(struct tensor q, struct tensor k, struct tensor v, const struct heads *h,
                                  const int *pos, const struct kv *kv, int layer, const int *slot)
{
    struct prep p = {};
    p.q = q, p.k = k, p.v = v, p.n = q.data ? h->n : 0, p.n_kv = h->n_kv, p.dim = h->dim, p.pos = pos;
    p.q_normed = h->q_norm != NULL, p.k_normed = h->k_norm != NULL, p.rotated = h->rope != NULL;
    if (h->q_norm)
        p.q_norm = *h->q_norm;
    if (h->k_norm)
        p.k_norm = *h->k_norm;
    if (h->rope)
        p.rope = *h->rope;
    if (kv && slot) {
        size_t at = kv_layer_start(kv, layer);
        p.slot = slot, p.dtype = kv->dtype, p.head = kv_head_bytes(kv), p.page = kv->page, p.step = kv_page_step(kv);
        p.k_cache = (unsigned char *)kv->k + at, p.v_cache = (unsigned char *)kv->v + at;
    }
    return p;
}

#endif
