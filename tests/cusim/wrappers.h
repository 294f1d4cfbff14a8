/* tests/cusim/wrappers.h - one warp's inputs and what the wrappers of
 * kernels/cuda/tc.cuh make of them: on a GPU they are instructions, on the
 * emulator C++. test_wrappers.c compares both with the documented layouts. */
#ifndef TESTS_CUSIM_WRAPPERS_H
#define TESTS_CUSIM_WRAPPERS_H
#include <stdint.h>

struct wrapper_in {
    uint32_t bf16_a[32][4], bf16_b[32][2];     /* fragments by lane, two numbers in each */
    uint32_t f16_a[32][4], f16_b[32][2];
    float    d[32][4];
    uint32_t s8_a[32][4], s8_b[32][2];         /* four bytes in each */
    uint16_t rows[32][8];                      /* four 8x8 matrices, a row for each lane */
};

struct wrapper_out {
    float    mma_bf16[32][4], mma_f16[32][4];
    int      mma_s8[32][4];                    /* added to 0, 1, 2, 3 */
    uint32_t ldmatrix[32][4], ldmatrix_transposed[32][4];
    uint16_t copied[32][8];                    /* in.rows of even lanes; zeros of odd ones, which are not valid */
};

/* 0, or what the runtime said. */
typedef const char *wrappers_fn(const struct wrapper_in *in, struct wrapper_out *out);

#endif
