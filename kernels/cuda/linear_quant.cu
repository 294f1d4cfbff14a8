/* kernels/cuda/linear_quant.cu - y = x W' with W of int8, float8 e4m3 or int4
 * (packed.cuh), widened to bfloat16 in registers on its way from shared memory
 * to the tensor cores: all of these numbers are exact in bfloat16 without their
 * scales. Those of int8 and e4m3, one per row of W, multiply the sums at the
 * end; those of int4 the sums of each group of 32 columns.
 *
 * Bytes per weight are a half and 9/32 of bfloat16's, so the rings are deeper:
 * with as many tiles in flight as there, memory would wait. Expected bound in
 * decode: bandwidth, as 2 (int8), 2.5 (int4) and 2.5 (e4m3) instructions per
 * weight and thread are a fifth to a third of what fits in the time. In prefill
 * tensor cores, as with bfloat16, less the widening; not measured.
 *
 * Rows of int8 are rotated (kernels/quant.h), and so is x on its way through
 * registers: four lanes have the 32 columns of a group, eight each.
 *
 * x is not rounded: doing so to int8 too would move it by up to 0.4 % of its
 * largest number, a hundred times what the tests of linear allow and what two
 * parts of bfloat16 lose. Whoever wants that: linear_int8.cu. */
#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/packed.cuh"

/* Two bfloat16 in a register less, or times, two others. Results are exact where they are used. */
static __device__ __forceinline__ uint32_t pair_minus(uint32_t a, uint32_t b)
{
    __nv_bfloat162 x, y;
    memcpy((void *)&x, &a, 4);
    memcpy((void *)&y, &b, 4);
    x = __hsub2(x, y);
    memcpy(&a, &x, 4);
    return a;
}

static __device__ __forceinline__ uint32_t pair_times(uint32_t a, uint32_t b)
{
    __nv_bfloat162 x, y;
    memcpy((void *)&x, &a, 4);
    memcpy((void *)&y, &b, 4);
    x = __hmul2(x, y);
    memcpy(&a, &x, 4);
    return a;
}

/* A byte in both halves of 16 bits, for bytes 0 and 1, or 2 and 3, of v. */
static __device__ __forceinline__ uint32_t twice(uint32_t v, int high)
{
    return __byte_perm(v, 0, high ? 0x3322 : 0x1100);
}

/* Eight bytes of a lane: columns 2t, 2t + 1, 2t + 8, 2t + 9 of both sixteens. */
template <class W> struct byte_weight {
    enum { per_chunk = 16, grouped = 0, scaled = 1, rotated = W::rotated };
    static constexpr int pad(int k) { return k > 32 ? 32 : 0; }
    template <int ROW> static __device__ __forceinline__ void fragment(uint32_t (&r)[4], const unsigned char *b, int n,
                                                                       int k, int lane)
    {
        uint2 v = *(const uint2 *)(b + (n + lane / 4) * ROW + k + lane % 4 * 8);
        r[0] = W::widen(twice(v.x, 0));
        r[1] = W::widen(twice(v.x, 1));
        r[2] = W::widen(twice(v.y, 0));
        r[3] = W::widen(twice(v.y, 1));
    }
};

struct int8_weight {               /* +-(128 + magnitude), less +-128 */
    enum { rotated = 1 };
    static __device__ __forceinline__ uint32_t widen(uint32_t v)
    {
        return pair_minus((v & 0x807f807fu) | 0x43004300u, (v & 0x80008000u) | 0x43004300u);
    }
};

struct e4m3_weight {               /* exponent and fraction moved to their places are 2^-120 of the number */
    enum { rotated = 0 };
    static __device__ __forceinline__ uint32_t widen(uint32_t v)
    {
        return pair_times((v & 0x80008000u) | (v & 0x007f007fu) << 4, 0x7b807b80u);
    }
};

/* Four bytes of a lane; 128 + (q + 8), less 136, is q, and q (8 + |q|) is exact in bfloat16 as well. */
struct int4_weight {
    enum { per_chunk = 32, grouped = 1, scaled = 0, rotated = 0 };
    static constexpr int pad(int k) { return k > 32 ? 16 : 0; }
    template <int ROW> static __device__ __forceinline__ void fragment(uint32_t (&r)[4], const unsigned char *b, int n,
                                                                       int k, int lane)
    {
        uint32_t v = *(const uint32_t *)(b + (n + lane / 4) * ROW + k / 2 + lane % 4 * 4);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t q = pair_minus((v >> 4 * i & 0x000f000fu) | 0x43004300u, 0x43084308u);
            r[i] = pair_times(q, pair_minus(q & 0x7fff7fffu, 0xc100c100u));      /* less -8 */
        }
    }
};

/* The more rows, the larger the tiles. Few rows are bound by the bytes of W, for which many small tiles keep all
 * processors loading; many rows by the multiplications, for which each byte of W should serve as many rows as
 * possible. */
template <class W, int STAGES> static void by_rows(struct device *dev, const struct product &p,
                                                   const struct grouping *g)
{
    int rows = rows_of_each(g, p.m);
    if (rows <= 8)
        linear_launch<tile<8, 32, 128, 1, 2, STAGES>, W>(dev, p, g);
    else if (rows <= 16)
        linear_launch<tile<16, 32, 128, 1, 2, STAGES>, W>(dev, p, g);
    else if (rows <= 64)
        linear_launch<tile<64, 64, 32, 2, 2, STAGES>, W>(dev, p, g);
    else
        linear_launch<tile<128, 128, 32, 2, 4, 4>, W>(dev, p, g);
}

void linear_quantised(struct device *dev, const struct product &p, enum dtype type, const struct grouping *g)
{
    if (type == Q4)
        by_rows<int4_weight, 8>(dev, p, g);
    else if (type == Q8)
        by_rows<byte_weight<int8_weight>, 6>(dev, p, g);
    else
        by_rows<byte_weight<e4m3_weight>, 6>(dev, p, g);
}
