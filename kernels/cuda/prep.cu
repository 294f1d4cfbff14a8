/* kernels/cuda/prep.cu - norm and rotation of the heads of q and k in place,
 * and k and v into the cache: one launch, one warp per head of a row.
 *
 * A head is held in shared memory (at most 512 numbers), so its global memory
 * is read once and written once. Bound by the launch at decode. */
#include "kernels/cuda/prep.cuh"

enum { WARPS = 4, MAX_DIM = 512 };

/* Head g of row r: first those of q, then k's, then v's. */
static __global__ void __launch_bounds__(32 * WARPS) prep_kernel(struct prep p)
{
    __shared__ float heads[WARPS][MAX_DIM];
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, r = (int)blockIdx.x,
        g = (int)blockIdx.y * WARPS + warp;
    int slot = p.slot ? p.slot[r] : -1;
    float *head = heads[warp];
    bool is_q = g < p.n, is_k = !is_q && g < p.n + p.n_kv;
    struct tensor x = is_k ? p.k : p.v;
    if (is_q)
        x = p.q;
    else
        g -= is_k ? p.n : p.n + p.n_kv;
    if (!x.data || g >= p.n_kv && !is_q)
        return;                                      /* a whole warp: no barriers below but the warp's own */
    float *from = row_of(x, r) + g * p.dim;
    for (int i = lane; i < p.dim; i += 32)
        head[i] = from[i];
    bool normed = is_q ? p.q_normed : is_k && p.k_normed, rotated = (is_q || is_k) && p.rotated;
    if (normed)
        normalise(head, p.dim, is_q ? p.q_norm : p.k_norm, lane);
    __syncwarp();
    for (int i = lane; rotated && i < p.rope.rot_dim / 2; i += 32)
        rotate_pair(head, p.rope, i, turn_of(p.rope, p.pos, x.rows, r, i));
    __syncwarp();
    for (int i = lane; i < p.dim && (normed || rotated); i += 32)
        from[i] = head[i];
    if (!is_q && slot >= 0)
        store_head(p.dtype, (is_k ? p.k_cache : p.v_cache) + slot_at(p, slot, g), head, p.dim, lane);
}

/* A warp for each head of each row. Whichever of q, k and v are there have the same rows. */
void cuda_prep(struct device *dev, struct tensor q, struct tensor k, struct tensor v, const struct heads *h,
               const int *pos, const struct kv *kv, int layer, const int *slot)
{
    int rows = k.data ? k.rows : v.rows, heads = (q.data ? h->n : 0) + (k.data || v.data ? 2 * h->n_kv : 0);
    if (q.data)
        rows = q.rows;
    if (rows <= 0)
        return;
    if (h->dim > MAX_DIM) {
        device_fail(dev, "a head of more than 512 numbers", cudaErrorInvalidValue);
        return;
    }
    LAUNCH(dev, prep_kernel, dim3((unsigned)rows, blocks_for((size_t)heads, WARPS)), 32 * WARPS, 0,
           prep_of(q, k, v, h, pos, kv, layer, slot));
}
