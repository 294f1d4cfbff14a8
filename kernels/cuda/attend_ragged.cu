/* kernels/cuda/attend_ragged.cu - attention without a cache: the vision
 * encoder's full and windowed attention, resamplers. Every row of a segment
 * sees all of the segment's keys.
 *
 * A block takes 64 rows x group of one segment and kv head, 4 warps; q, k and v
 * are float32 and each becomes two bfloat16 on the way into shared memory,
 * through registers. Keys are read again by every block of a segment; three
 * products of tensor cores take the place of one, which bounds it. Heads of a multiple of 8, up to 128; others in
 * float32. */
#include "kernels/cuda/attend_plain.cuh"

struct ragged {
    struct tensor out, q, k, v;
    int n, n_kv, dim, n_seg;
    float scale, cap;
    const int *q_first, *kv_first;
};

enum { ROWS = 64, THREADS = 128 };

/* Which segment has tile `t`; t becomes the tile within it. -1: none. */
static __device__ int segment_of(const struct ragged &p, int *t)
{
    int group = p.n / p.n_kv;
    for (int s = 0; s < p.n_seg; s++) {
        int tiles = ((p.q_first[s + 1] - p.q_first[s]) * group + ROWS - 1) / ROWS;
        if (*t < tiles)
            return s;
        *t -= tiles;
    }
    return -1;
}

/* KEYS rows of one head, in two planes; zeros outside. Row i is row first + i of x if that is below end. */
template <int DIM> static __device__ void
load_rows(bf16 *to, const struct tensor &x, int first, int end, int head, int dim)
{
    for (int c = (int)threadIdx.x; c < KEYS * DIM / 2; c += THREADS) {
        int i = c / (DIM / 2), d = c % (DIM / 2) * 2;
        const float *row = row_of(x, first + i) + head * dim + d;
        bool valid = first + i < end && d < dim;
        tile_put<bf16, DIM>(to, KEYS * (DIM + 8), i, d, valid ? row[0] : 0, valid ? row[1] : 0);
    }
}

/* A block takes a tile of query rows of one kv head and walks over all keys of its segment, which come from the same
 * float32 matrix and are split into two planes on the way. Blocks beyond the last tile of the last segment have
 * nothing to do. */
template <int DIM> static __global__ void __launch_bounds__(THREADS, 2) ragged_kernel(struct ragged p)
{
    enum { stride = DIM + 8 };
    extern __shared__ __align__(16) unsigned char smem_raw[];
    bf16 *q = (bf16 *)smem_raw, *k = q + 2 * ROWS * stride, *v = k + 2 * KEYS * stride;
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, kv_head = (int)blockIdx.y, group = p.n / p.n_kv;
    int tile = (int)blockIdx.x, seg = segment_of(p, &tile);
    if (seg < 0)
        return;
    int i0 = tile * ROWS, first = p.q_first[seg], end = p.q_first[seg + 1], kv_end = p.kv_first[seg + 1];
    for (int c = (int)threadIdx.x; c < ROWS * DIM / 2; c += THREADS) {
        int i = i0 + c / (DIM / 2), d = c % (DIM / 2) * 2, row = first + i / group;
        const float *from = row_of(p.q, row) + (kv_head * group + i % group) * p.dim + d;
        bool valid = row < end && d < p.dim;
        tile_put<bf16, DIM>(q, ROWS * stride, i - i0, d, valid ? from[0] : 0, valid ? from[1] : 0);
    }
    flash<DIM> f;
    flash_clear(f);
    for (int e0 = p.kv_first[seg]; e0 < kv_end; e0 += KEYS) {
        __syncthreads();                                 /* the last tile has been read */
        load_rows<DIM>(k, p.k, e0, kv_end, kv_head, p.dim);
        load_rows<DIM>(v, p.v, e0, kv_end, kv_head, p.dim);
        __syncthreads();
        const int from[2] = { 0, 0 }, limit[2] = { kv_end - e0, kv_end - e0 };
        flash_tile<bf16, DIM, 2>(f, q + warp * 16 * stride, ROWS * stride, k, v, from, limit, {}, p.scale, p.cap,
                                 lane);
    }
    flash_end_part(f);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int i = i0 + warp * 16 + lane / 4 + 8 * h, row = first + i / group;
        if (row >= end)
            continue;
        float *out = row_of(p.out, row) + (kv_head * group + i % group) * p.dim, sum = f.now[h].sum;
        flash_each<DIM>(f.part, lane, [&](int which, int c, float x) {
            if (which == h && c < p.dim)
                out[c] = sum > 0 ? x / sum : 0;
        });
    }
}

template <int DIM> static void launch(struct device *dev, const struct ragged &p)
{
    size_t shared = (size_t)(2 * ROWS + 4 * KEYS) * (DIM + 8) * 2;
    unsigned tiles = blocks_for((size_t)p.q.rows * (size_t)(p.n / p.n_kv), ROWS) + (unsigned)p.n_seg;
    ALLOW_SHARED(dev, (ragged_kernel<DIM>), shared);
    LAUNCH(dev, (ragged_kernel<DIM>), dim3(tiles, (unsigned)p.n_kv), THREADS, shared, p);
}

/* Heads that do not fit into tiles: one warp for each row and head. */
static __global__ void __launch_bounds__(32 * PLAIN_WARPS, 1) ragged_plain_kernel(struct ragged p)
{
    __shared__ float q[PLAIN_WARPS][PLAIN_DIM], weight[PLAIN_WARPS][32];
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, i = (int)blockIdx.x * PLAIN_WARPS + warp,
        r = i / p.n, head = i % p.n;
    if (r >= p.q_first[p.n_seg])
        return;
    int seg = 0;
    while (p.q_first[seg + 1] <= r)
        seg++;
    struct entries s = { F32, p.k.data, p.v.data, sizeof(float) * (size_t)p.k.stride,
                         sizeof(float) * (size_t)p.v.stride,
                         sizeof(float) * (size_t)p.dim, NULL, NULL, 0, 0, p.kv_first[seg] };
    for (int d = lane; d < p.dim; d += 32)
        q[warp][d] = row_of(p.q, r)[head * p.dim + d];
    __syncwarp();
    attend_one(row_of(p.out, r) + head * p.dim, q[warp], weight[warp], s, 0, p.kv_first[seg + 1] - p.kv_first[seg],
               head / (p.n / p.n_kv), p.dim, p.scale, p.cap, lane);
}

/* Widths of tiles are those of the vision towers: 32, 64, 80 and 128. A narrower head leaves columns of zeros. */
void cuda_attend_ragged(struct device *dev, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                        const struct heads *h, int n_seg, const int *q_first, const int *kv_first)
{
    struct ragged p = { out, q, k, v, h->n, h->n_kv, h->dim, n_seg, h->scale, h->cap, q_first, kv_first };
    if (q.rows <= 0)
        return;
    if (h->dim % 8 || h->dim > 128)
        LAUNCH(dev, ragged_plain_kernel, dim3(blocks_for((size_t)q.rows * (size_t)h->n, PLAIN_WARPS)),
               32 * PLAIN_WARPS, 0, p);
    else if (h->dim <= 32)
        launch<32>(dev, p);
    else if (h->dim <= 64)
        launch<64>(dev, p);
    else if (h->dim <= 80)
        launch<80>(dev, p);
    else
        launch<128>(dev, p);
}
