/* kernels/cpu/tiles.h - AMX: matrices of 16 rows of 64 bytes in registers of
 * their own. Behind these wrappers a test build without the instructions does
 * the same in plain C, so that the kernels run on every machine.
 *
 * Eight tiles: 0 .. 3 sums (16, 16) of floats or integers, 4 and 5 rows of x,
 * (16, 32) of bfloat16 or (16, 64) of int8, 6 and 7 columns of W: (16, 16, 2) or
 * (16, 16, 4), words of 16 channels. A tile's number must be a literal.
 * tiles_begin() comes before the first use in a thread, tiles_end() after the
 * last, so that a thread that sleeps has none to be saved. */
#ifndef KERNELS_CPU_TILES_H
#define KERNELS_CPU_TILES_H
#include "kernels/cpu/simd.h"

enum { TILE_ROWS = 16, TILE_BYTES = 64 };

#if defined(__AMX_BF16__)

/* bytes: of a row of x in a tile; at most TILE_BYTES, and a tile of W has a row for every four of them. */
INLINE void tiles_begin(int bytes)
{
    struct { uint8_t palette, start_row, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } config = { .palette = 1 };
    for (int i = 0; i < 8; i++) {
        config.bytes[i] = i == 4 || i == 5 ? (uint16_t)bytes : TILE_BYTES;
        config.rows[i] = i >= 6 ? (uint8_t)(bytes / 4) : TILE_ROWS;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));    /* not the intrinsic: gcc 12 may drop the stores before it */
}

INLINE void tiles_end(void) { _tile_release(); }

/* gcc 12's intrinsic does not say that it reads memory: stores before it might be moved behind it. */
#define tile_load(t, p, stride) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"((const void *)(p)), "r"((long)(stride)) : "memory")
#define tile_zero(t) _tile_zero(t)
#define tile_store(t, p, stride) _tile_stored(t, p, stride)
#define tile_dot_bf16(sum, x, w) _tile_dpbf16ps(sum, x, w)
#define tile_dot_i8(sum, x, w) _tile_dpbssd(sum, x, w)

#else

static __thread struct { int rows, bytes; uint8_t byte[TILE_ROWS][TILE_BYTES] __attribute__((aligned(64))); } tile_[8];

INLINE void tiles_begin(int bytes)
{
    for (int i = 0; i < 8; i++) {
        tile_[i].bytes = i == 4 || i == 5 ? bytes : TILE_BYTES;
        tile_[i].rows = i >= 6 ? bytes / 4 : TILE_ROWS;
    }
}

/* A tile that is used without tiles_begin() has no rows: products are zero, and tests fail. */
INLINE void tiles_end(void)
{
    for (int i = 0; i < 8; i++)
        tile_[i].rows = 0;
}

static inline void tile_zero(int t) { memset(tile_[t].byte, 0, sizeof tile_[t].byte); }

static inline void tile_load(int t, const void *p, size_t stride)
{
    tile_zero(t);
    for (int i = 0; i < tile_[t].rows; i++)
        memcpy(tile_[t].byte[i], (const char *)p + (size_t)i * stride, (size_t)tile_[t].bytes);
}

static inline void tile_store(int t, void *p, size_t stride)
{
    for (int i = 0; i < tile_[t].rows; i++)
        memcpy((char *)p + (size_t)i * stride, tile_[t].byte[i], TILE_BYTES);
}

/* As TDPBF16PS of the manual: even and odd columns are summed up apart, then added, then added to the sum. It takes
 * numbers below the normal ones as zero; here they count, which no test's numbers show. */
static inline void tile_dot_bf16(int sum, int x, int w)
{
    for (int i = 0; i < TILE_ROWS; i++)
        for (int n = 0; n < TILE_BYTES / 4; n++) {
            float part[2] = { 0, 0 }, all;
            for (int k = 0; k < tile_[w].rows; k++)
                for (int odd = 0; odd < 2; odd++) {
                    uint16_t a, b;
                    memcpy(&a, tile_[x].byte[i] + 4 * k + 2 * odd, sizeof a);
                    memcpy(&b, tile_[w].byte[k] + 4 * n + 2 * odd, sizeof b);
                    part[odd] = fmaf(bf16_get(a), bf16_get(b), part[odd]);
                }
            memcpy(&all, tile_[sum].byte[i] + 4 * n, sizeof all);
            all += part[0] + part[1];
            memcpy(tile_[sum].byte[i] + 4 * n, &all, sizeof all);
        }
}

/* As TDPBSSD: signed bytes, sums of 32 bits. */
static inline void tile_dot_i8(int sum, int x, int w)
{
    for (int i = 0; i < TILE_ROWS; i++)
        for (int n = 0; n < TILE_BYTES / 4; n++) {
            int32_t all;
            memcpy(&all, tile_[sum].byte[i] + 4 * n, sizeof all);
            for (int k = 0; k < 4 * tile_[w].rows; k++)
                all += (int8_t)tile_[x].byte[i][k] * (int8_t)tile_[w].byte[k / 4][4 * n + k % 4];
            memcpy(tile_[sum].byte[i] + 4 * n, &all, sizeof all);
        }
}

#endif
#endif
