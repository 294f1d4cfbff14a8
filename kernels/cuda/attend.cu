/* kernels/cuda/attend.cu - attention over the paged cache: self attention,
 * sliding windows and cross attention differ only in the view.
 *
 * The query heads that share a kv head are rows of the same tile (a decode
 * step of 16 heads to one fills a tile of 16), so a key is read once for all
 * of them. Keys and values come by cp.async into two tiles in turn; keys before
 * the block's first `from` and after its last `limit` are not touched.
 *
 *   many rows   64 of them in 4 warps, one block goes through all keys
 *   few rows    16 in 1 warp; when that would leave the machine empty, one
 *               block per PART keys, and a second kernel merges the parts
 *   one row     of every sequence: the same, and it norms and rotates its heads
 *               itself (prep_attend), every block its own; the block whose keys
 *               end with the new one stores that first
 *
 * All add up in the same order (flash.cuh). A float32 cache is split into two
 * planes on its way through registers: one tile at a time, at about half the
 * speed. Numbers of int8 and e4m3 are exact in bfloat16; their scales go onto the
 * scores and the weights. Heads of a multiple of 8, up to 128; others without tensor cores
 * (attend_plain.cuh).
 * Decode is bound by bandwidth; prefill by the tensor cores. */
#include "kernels/cuda/attend_plain.cuh"
#include "kernels/cuda/prep.cuh"

struct attend {
    struct tensor out, q;
    struct entries s;             /* k, v of the layer; pages of sequence 0 */
    int n, n_kv, dim;
    float scale, cap;
    const int *first, *from, *limit;
    int max_pages, n_seqs, parts; /* parts 0: one block does all */
    float *work;                  /* (rows, n, parts, 2 + dim): most, sum, o */
    struct prep fresh;            /* of a kernel that prepares q, k and v itself */
};

/* ---- tensor cores ---- */

/* T: what the cache holds; H: what the tensor cores multiply. Two tiles of one plane, or one of two: the same room. */
template <class T> struct factor { typedef T H; enum { planes = 1, scaled = 0 }; };
template <> struct factor<float> { typedef bf16 H; enum { planes = 2, scaled = 0 }; };
template <> struct factor<signed char> { typedef bf16 H; enum { planes = 1, scaled = 1 }; };
struct e4m3 { unsigned char bits; };
template <> struct factor<e4m3> { typedef bf16 H; enum { planes = 1, scaled = 1 }; };

template <class C, int DIM, int WARPS> struct attend_tile {
    enum { rows = 16 * WARPS, threads = 32 * WARPS, stride = DIM + 8, plane = KEYS * stride,
           shared = (2 * rows + 4 * KEYS) * stride * 2 + 2 * KEYS * 4 + 2 * rows * 4 +
               factor<C>::scaled * 4 * KEYS * 4 };
};

/* Eight numbers of the cache into a tile; zeros if not valid. */
template <class H> static __device__ __forceinline__ void load_eight(H *to, int, const H *from, bool valid)
{
    cp_async(to, from, valid);
}

static __device__ __forceinline__ void load_eight(bf16 *to, int plane, const float *from, bool valid)
{
    float4 a = valid ? ((const float4 *)from)[0] : float4{}, b = valid ? ((const float4 *)from)[1] : float4{};
    uint4 high, low;
    split_pair(high.x, low.x, a.x, a.y, bf16());
    split_pair(high.y, low.y, a.z, a.w, bf16());
    split_pair(high.z, low.z, b.x, b.y, bf16());
    split_pair(high.w, low.w, b.z, b.w, bf16());
    *(uint4 *)to = high;
    *(uint4 *)(to + plane) = low;
}

/* Of the two lowest bytes. */
static __device__ __forceinline__ uint32_t widen_pair(uint32_t bytes, signed char)
{
    return pair_of((float)(signed char)bytes, (float)(signed char)(bytes >> 8), bf16());
}

static __device__ __forceinline__ uint32_t widen_pair(uint32_t bytes, e4m3)
{
    return pair_of(e4m3_of(bytes & 255), e4m3_of(bytes >> 8 & 255), bf16());
}

template <class T> static __device__ __forceinline__ void load_bytes(bf16 *to, const T *from, bool valid)
{
    uint32_t a = valid ? ((const uint32_t *)from)[0] : 0, b = valid ? ((const uint32_t *)from)[1] : 0;
    *(uint4 *)to = uint4{ widen_pair(a, T()), widen_pair(a >> 16, T()), widen_pair(b, T()), widen_pair(b >> 16, T()) };
}

static __device__ __forceinline__ void load_eight(bf16 *to, int, const signed char *from, bool valid)
{
    load_bytes(to, from, valid);
}
static __device__ __forceinline__ void load_eight(bf16 *to, int, const e4m3 *from, bool valid)
{
    load_bytes(to, from, valid);
}

/* Keys e0 .. of the tile that lie in [from, limit) and are in use; zeros for the others. scale: (2, 2 KEYS), k's and
 * v's. */
template <class T, class H, int DIM, int THREADS> static __device__ __forceinline__ void
load_entries(H *k, H *v, int *ok, float *scale, const struct attend &p, const int *pages, int kv_head, int e0,
             int from, int limit)
{
    enum { chunks = DIM / 8, plane = KEYS * (DIM + 8) };
    for (int c = (int)threadIdx.x; c < KEYS * chunks; c += THREADS) {
        int key = c / chunks, d = c % chunks * 8, e = e0 + key;
        long at = -1;
        if (e >= from && e < limit) {
            int page = pages[e / p.s.page], i = e % p.s.page;
            at = p.s.fill && i >= p.s.fill[page] ? -1 : (long)page * p.s.step + i;
        }
        bool valid = at >= 0 && d < p.dim;
        const char *k_head = head_at(p.s.k, p.s.k_stride, valid ? at : 0, p.s, kv_head);
        const char *v_head = head_at(p.s.v, p.s.v_stride, valid ? at : 0, p.s, kv_head);
        int skip = factor<T>::scaled * QUANT_HEAD, where = valid ? d : 0;
        load_eight(k + key * (DIM + 8) + d, plane, (const T *)(k_head + skip) + where, valid);
        load_eight(v + key * (DIM + 8) + d, plane, (const T *)(v_head + skip) + where, valid);
        if (d == 0)
            ok[key] = at >= 0;
        if (d == 0 && factor<T>::scaled)
            scale[key] = valid ? *(const float *)k_head : 0, scale[2 * KEYS + key] = valid ? *(const float *)v_head : 0;
    }
}

/* Row i of the tile: which row of the batch, which head. row -1: none. */
struct place { int row, head; };

static __device__ __forceinline__ struct place place_of(const struct attend &p, int seq, int kv_head, int i)
{
    int group = p.n / p.n_kv, row = p.first[seq] + i / group;
    return { row < p.first[seq + 1] ? row : -1, kv_head * group + i % group };
}

/* Loads the tile's rows of q, split into two planes; rows that are not there are zeros. Not for a kernel that prepares
 * q itself. */
template <class H, int DIM, int ROWS, int THREADS> static __device__ __forceinline__ void
load_q(H *q, const struct attend &p, int seq, int kv_head, int i0)
{
    for (int c = (int)threadIdx.x; c < ROWS * DIM / 2; c += THREADS) {
        int i = c / (DIM / 2), d = c % (DIM / 2) * 2;
        struct place at = place_of(p, seq, kv_head, i0 + i);
        bool valid = at.row >= 0 && d < p.dim;
        const float *from = row_of(p.q, valid ? at.row : 0) + at.head * p.dim + d;
        tile_put<H, DIM>(q, ROWS * (DIM + 8), i, d, valid ? from[0] : 0, valid ? from[1] : 0);
    }
}

/* One warp prepares the heads of a sequence's only row, as prep_kernel would: those of q into the tile, and k and v
 * into the cache if entry limit - 1 is of this part. heads: (18, DIM) in shared memory. */
template <class H, int DIM> static __device__ __forceinline__ void
prepare_heads(H *q, float *heads, const struct attend &p, int seq, int kv_head, int part)
{
    enum { ROWS = 16, TURNS = (DIM / 2 + 31) / 32 };
    const struct prep &f = p.fresh;
    int lane = (int)threadIdx.x, r = p.first[seq], group = p.n / p.n_kv, limit = p.limit[r],
        slot = f.slot ? f.slot[r] : -1;
    bool stores = slot >= 0 && limit > 0 && (!p.parts || (limit - 1) / PART == part);
    float *k = heads + ROWS * DIM, *v = k + DIM;
    float2 turn[TURNS] = {};
    for (int c = lane; c < ROWS * DIM; c += 32) {
        int i = c / DIM, d = c % DIM;
        heads[c] = i < group && d < p.dim ? row_of(p.q, r)[(kv_head * group + i) * p.dim + d] : 0;
    }
    for (int d = lane; stores && d < p.dim; d += 32)
        k[d] = row_of(f.k, r)[kv_head * p.dim + d], v[d] = row_of(f.v, r)[kv_head * p.dim + d];
#pragma unroll
    for (int j = 0; j < TURNS; j++)
        if (f.rotated && lane + 32 * j < f.rope.rot_dim / 2)
            turn[j] = turn_of(f.rope, f.pos, f.q.rows, r, lane + 32 * j);
    for (int i = 0; i < ROWS + 1; i++) {
        bool is_k = i == ROWS;
        if (is_k ? !stores : i >= group)
            continue;                                    /* all lanes alike */
        float *head = heads + i * DIM;
        __syncwarp();
        if (is_k ? f.k_normed : f.q_normed)
            normalise(head, p.dim, is_k ? f.k_norm : f.q_norm, lane);
        __syncwarp();
#pragma unroll
        for (int j = 0; j < TURNS; j++)
            if (f.rotated && lane + 32 * j < f.rope.rot_dim / 2)
                rotate_pair(head, f.rope, lane + 32 * j, turn[j]);
    }
    __syncwarp();
    if (stores) {
        size_t at = slot_at(f, slot, kv_head);
        store_head(f.dtype, f.k_cache + at, k, p.dim, lane);
        store_head(f.dtype, f.v_cache + at, v, p.dim, lane);
    }
    for (int c = lane; c < ROWS * DIM / 2; c += 32)
        tile_put<H, DIM>(q, ROWS * (DIM + 8), c / (DIM / 2), c % (DIM / 2) * 2, heads[2 * c], heads[2 * c + 1]);
}

/* The keys [x, y) that some row of the tile sees, without those of other parts. Outside of them nothing is loaded. */
template <int ROWS> static __device__ __forceinline__ int2
keys_seen(const struct attend &p, const int *row_from, const int *row_limit, int part)
{
    int from = 0x7fffffff, limit = 0;
    for (int i = 0; i < ROWS; i++)
        if (row_limit[i] > row_from[i]) {
            from = min(from, row_from[i]);
            limit = max(limit, row_limit[i]);
        }
    if (p.parts) {
        from = max(from, part * PART);
        limit = min(limit, (part + 1) * PART);
    }
    return make_int2(from, limit);
}

/* Writes what the warp's row h (0 or 1 of each lane's two) got: divided by its sum into `out` where the block saw all
 * keys, else undivided into the work memory with its maximum and sum, for merge_kernel. */
template <int DIM> static __device__ __forceinline__ void
store_row(const flash<DIM> &f, const struct attend &p, struct place at, int h, int part, int lane)
{
    float *out = row_of(p.out, at.row) + at.head * p.dim, sum = f.all[h].sum;
    float *to = p.work + (((size_t)at.row * (size_t)p.n + (size_t)at.head) * (size_t)p.parts +
                          (size_t)part) * (size_t)(p.dim + 2);
    if (p.parts && lane % 4 == 0)
        to[0] = f.now[h].most, to[1] = f.now[h].sum;
    if (p.parts)
        flash_each<DIM>(f.part, lane, [&](int row, int c, float x) {
            if (row == h && c < p.dim)
                to[2 + c] = x;
        });
    else
        flash_each<DIM>(f.total, lane, [&](int row, int c, float x) {
            if (row == h && c < p.dim)
                out[c] = sum > 0 ? x / sum : 0;
        });
}

/* A block takes a tile of query rows of one kv head and walks over the pages of its sequence, KEYS entries at a time;
 * with p.parts it takes only its part of them. The next entries are on their way while these are multiplied, where the
 * cache's type leaves room for two tiles. FRESH: the only row of a sequence, whose q and k still have to be normed and
 * rotated. */
template <class C, int DIM, int WARPS, bool FRESH>
static __global__ void __launch_bounds__(32 * WARPS, 1) attend_kernel(struct attend p)
{
    typedef attend_tile<C, DIM, WARPS> T;
    typedef typename factor<C>::H H;
    enum { tiles = 3 - factor<C>::planes };              /* two in turn, or one of two planes */
    extern __shared__ __align__(16) unsigned char smem_raw[];
    H *q = (H *)smem_raw, *k = q + 2 * T::rows * T::stride, *v = k + 2 * T::plane;
    int *ok = (int *)(v + 2 * T::plane), *row_from = ok + 2 * KEYS, *row_limit = row_from + T::rows;
    float *scale = (float *)(row_limit + T::rows);       /* of int8 */
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, kv_head = (int)blockIdx.y;
    int seq = (int)blockIdx.z % p.n_seqs, part = (int)blockIdx.z / p.n_seqs, i0 = (int)blockIdx.x * T::rows;
    const int *pages = p.s.pages + (size_t)seq * (size_t)p.max_pages;
    if (place_of(p, seq, kv_head, i0).row < 0)
        return;
    if constexpr (FRESH)
        prepare_heads<H, DIM>(q, (float *)k, p, seq, kv_head, part);
    else
        load_q<H, DIM, T::rows, T::threads>(q, p, seq, kv_head, i0);
    if ((int)threadIdx.x < T::rows) {
        struct place at = place_of(p, seq, kv_head, i0 + (int)threadIdx.x);
        row_from[threadIdx.x] = at.row >= 0 && p.from ? p.from[at.row] : 0;
        row_limit[threadIdx.x] = at.row >= 0 ? p.limit[at.row] : 0;
    }
    __syncthreads();
    int2 seen = keys_seen<T::rows>(p, row_from, row_limit, part);
    int from = seen.x, limit = seen.y, mine = warp * 16 + lane / 4, begin = from / KEYS * KEYS;
    flash<DIM> f;
    flash_clear(f);
    if (tiles == 2 && from < limit)
        load_entries<C, H, DIM, T::threads>(k, v, ok, scale, p, pages, kv_head, begin, from, limit);
    cp_async_commit();
    for (int e0 = begin, s = 0; from < limit && e0 < limit; e0 += KEYS, s ^= tiles - 1) {
        int next = tiles == 2 ? e0 + KEYS : e0, at = tiles == 2 ? s ^ 1 : 0;
        if (next < limit)
            load_entries<C, H, DIM, T::threads>(k + at * T::plane, v + at * T::plane, ok + at * KEYS,
                                                scale + at * KEYS, p, pages, kv_head, next, from, limit);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        const int row_begin[2] = { row_from[mine] - e0, row_from[mine + 8] - e0 };
        const int row_end[2] = { row_limit[mine] - e0, row_limit[mine + 8] - e0 };
        const struct marks marks = { p.s.fill ? ok + s * KEYS : NULL, factor<C>::scaled ? scale + s * KEYS : NULL,
                                     factor<C>::scaled ? scale + (2 + s) * KEYS : NULL };
        flash_tile<H, DIM, factor<C>::planes>(f, q + warp * 16 * T::stride, T::rows * T::stride, k + s * T::plane,
                                              v + s * T::plane, row_begin, row_end, marks, p.scale, p.cap,
                                              lane);
        if (!p.parts && ((e0 + KEYS) % PART == 0 || e0 + KEYS >= limit))
            flash_merge(f);
        __syncthreads();                                 /* all have read tile s: it may be filled again */
    }
    cp_async_wait<0>();
    if (p.parts)
        flash_end_part(f);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        struct place at = place_of(p, seq, kv_head, i0 + mine + 8 * h);
        bool elsewhere = p.parts && (row_limit[mine + 8 * h] <= part * PART ||
                                     row_from[mine + 8 * h] >= (part + 1) * PART);    /* sees nothing of this part */
        if (at.row >= 0 && !elsewhere)
            store_row<DIM>(f, p, at, h, part, lane);
    }
}

/* Merges the parts of one row and head, in order. */
static __global__ void __launch_bounds__(32 * PLAIN_WARPS) merge_kernel(struct attend p, int rows)
{
    int i = (int)blockIdx.x * PLAIN_WARPS + (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, r = i / p.n,
        head = i % p.n;
    if (r >= rows)
        return;
    int from = p.from ? p.from[r] : 0, limit = p.limit[r];
    float o[4] = {}, most = -INFINITY, sum = 0;
    for (int part = from / PART; part * PART < limit && from < limit; part++) {
        const float *w = p.work + ((size_t)i * (size_t)p.parts + (size_t)part) * (size_t)(p.dim + 2);
        float2 by = merge_factors(&most, w[0]);
        sum = sum * by.x + w[1] * by.y;
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (j * 32 + lane < p.dim)
                o[j] = o[j] * by.x + w[2 + j * 32 + lane] * by.y;
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (j * 32 + lane < p.dim)
            row_of(p.out, r)[head * p.dim + j * 32 + lane] = sum > 0 ? o[j] / sum : 0;
}

/* Keys are cut into parts of PART where that fills a GPU that the tiles alone would leave idle and the parts' results
 * fit into the work memory; then a second kernel merges them. The cut is at fixed places, so it does not show in the
 * bits. */
template <class C, int DIM, int WARPS, bool FRESH> static void launch(struct device *dev, struct attend p, int rows,
                                                                      int max_rows, int parts)
{
    typedef attend_tile<C, DIM, WARPS> T;
    unsigned tiles = blocks_for((size_t)max_rows * (size_t)(p.n / p.n_kv), T::rows),
        blocks = tiles * (unsigned)(p.n_kv * p.n_seqs);
    size_t need = (size_t)rows * (size_t)p.n * (size_t)parts * (size_t)(p.dim + 2) * sizeof(float);
    bool split = parts > 1 && blocks < 2 * (unsigned)dev->processors && need <= WORK && p.n_seqs * parts < 65536;
    p.parts = split ? parts : 0;
    p.work = dev->work;
    ALLOW_SHARED(dev, (attend_kernel<C, DIM, WARPS, FRESH>), T::shared);
    LAUNCH(dev, (attend_kernel<C, DIM, WARPS, FRESH>),
           dim3(tiles, (unsigned)p.n_kv, (unsigned)(p.n_seqs * (p.parts ? p.parts : 1))), T::threads, T::shared, p);
    if (p.parts)
        LAUNCH(dev, merge_kernel, dim3(blocks_for((size_t)rows * (size_t)p.n, PLAIN_WARPS)), 32 * PLAIN_WARPS, 0, p,
               rows);
}

/* One warp where all rows of a sequence and kv head fit into one tile of 16, else four. */
template <class C, int DIM> static void launch_dim(struct device *dev, const struct attend &p, int rows, int max_rows,
                                                   int parts)
{
    if (p.fresh.k.data)
        launch<C, DIM, 1, true>(dev, p, rows, max_rows, parts);
    else if (max_rows * (p.n / p.n_kv) <= 16)
        launch<C, DIM, 1, false>(dev, p, rows, max_rows, parts);
    else
        launch<C, DIM, 4, false>(dev, p, rows, max_rows, parts);
}

/* Heads get the next larger width of a tile; the columns that are too many are zeros. */
template <class C> static void launch_cache(struct device *dev, const struct attend &p, int rows, int max_rows,
                                            int parts)
{
    if (p.dim <= 64)
        launch_dim<C, 64>(dev, p, rows, max_rows, parts);
    else if (p.dim <= 80)
        launch_dim<C, 80>(dev, p, rows, max_rows, parts);
    else
        launch_dim<C, 128>(dev, p, rows, max_rows, parts);
}

/* ---- without tensor cores ---- */

/* Heads that do not fit into tiles: one warp for each row and head. */
static __global__ void __launch_bounds__(32 * PLAIN_WARPS, 1) attend_plain_kernel(struct attend p, int rows)
{
    __shared__ float q[PLAIN_WARPS][PLAIN_DIM], weight[PLAIN_WARPS][32];
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, i = (int)blockIdx.x * PLAIN_WARPS + warp,
        r = i / p.n, head = i % p.n;
    if (r >= rows)
        return;
    int seq = 0;
    while (p.first[seq + 1] <= r)
        seq++;
    p.s.pages += (size_t)seq * (size_t)p.max_pages;
    for (int d = lane; d < p.dim; d += 32)
        q[warp][d] = row_of(p.q, r)[head * p.dim + d];
    __syncwarp();
    attend_one(row_of(p.out, r) + head * p.dim, q[warp], weight[warp], p.s, p.from ? p.from[r] : 0, p.limit[r],
               head / (p.n / p.n_kv), p.dim, p.scale, p.cap, lane);
}

static bool tiles_fit(const struct heads *h) { return h->dim % 8 == 0 && h->dim <= 128; }

/* Fills the kernel's argument and picks the kernel: by the head's size first, then by the cache's type. `fresh`: what
 * is done to q, k and v before; empty for none. */
static void attend(struct device *dev, struct tensor out, struct tensor q, const struct kv *kv, int layer,
                   const struct heads *h, const struct batch *b, const struct view *view, const struct prep &fresh)
{
    size_t skip = kv_layer_start(kv, layer), head = kv_head_bytes(kv), entry = kv_entry_bytes(kv);
    struct attend p = {};
    p.out = out, p.q = q, p.n = h->n, p.n_kv = h->n_kv, p.dim = h->dim, p.scale = h->scale, p.cap = h->cap;
    p.s = { kv->dtype, (const char *)kv->k + skip, (const char *)kv->v + skip, entry, entry, head, view->pages,
            view->fill, kv->page, kv_page_step(kv), 0 };
    p.first = b->first, p.from = view->from, p.limit = view->limit, p.max_pages = view->max_pages, p.n_seqs = b->n_seqs;
    p.fresh = fresh;
    int parts = (view->max_kv + PART - 1) / PART;
    if (!tiles_fit(h)) {
        LAUNCH(dev, attend_plain_kernel, dim3(blocks_for((size_t)b->n_rows * (size_t)h->n, PLAIN_WARPS)),
               32 * PLAIN_WARPS, 0, p, b->n_rows);
        return;
    }
    switch (kv->dtype) {
    case F32:  launch_cache<float>(dev, p, b->n_rows, b->max_rows, parts); break;
    case F16:  launch_cache<f16>(dev, p, b->n_rows, b->max_rows, parts); break;
    case BF16: launch_cache<bf16>(dev, p, b->n_rows, b->max_rows, parts); break;
    case Q8:   launch_cache<signed char>(dev, p, b->n_rows, b->max_rows, parts); break;
    case F8:   launch_cache<e4m3>(dev, p, b->n_rows, b->max_rows, parts); break;
    case I32: case U8: case Q4: break;                   /* no cache is of these types */
    }
}

void cuda_attend(struct device *dev, struct tensor out, struct tensor q, const struct kv *kv, int layer,
                 const struct heads *h, const struct batch *b, const struct view *view)
{
    if (b->n_rows > 0)
        attend(dev, out, q, kv, layer, h, b, view, {});
}

/* In one kernel where every sequence has one row, which is a decode step; else one after the other, with the same
 * bits. */
void cuda_prep_attend(struct device *dev, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                      const struct kv *kv,
                      int layer, const struct heads *h, const struct batch *b, const struct view *view)
{
    if (b->n_rows <= 0)
        return;
    if (tiles_fit(h) && b->max_rows * (h->n / h->n_kv) <= 16 && b->max_rows == 1) {
        attend(dev, out, q, kv, layer, h, b, view, prep_of(q, k, v, h, b->pos, kv, layer, view->slot));
        return;
    }
    cuda_prep(dev, q, k, v, h, b->pos, kv, layer, view->slot);
    attend(dev, out, q, kv, layer, h, b, view, {});
}
