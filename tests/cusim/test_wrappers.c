/* The wrappers of tc.cuh on the emulator and, where it is built and there is one, on the GPU: fragment layouts as the
 * PTX manual draws them, bit for bit on numbers whose sums are exact. What tensor cores do with sums that are not is
 * printed. */
#include <check.h>
#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/half.h"
#include "tests/cusim/wrappers.h"
#include "tests/suite.h"

enum { ROUNDS = 20 };

static const struct library { const char *path; bool required; } libraries[] = {
    { "build/libcusim_wrappers.so", true },
    { "build/libopenautoglm_cuda_wrappers.so", false },
};

static uint32_t state;

static uint32_t draw(void)
{
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

/* Whole numbers from -8 to 8, or anything from -1 to 1. */
static float number(bool whole) { return whole ? (float)(int)(draw() % 17) - 8 : (float)draw() / (1 << 23) - 1; }

static uint32_t pair(enum dtype t, bool whole)
{
    uint16_t two[2];
    for (int i = 0; i < 2; i++)
        half_store(t, two, (size_t)i, number(whole));
    return (uint32_t)two[1] << 16 | two[0];
}

static void fill(struct wrapper_in *in, unsigned seed, bool whole)
{
    state = seed;
    for (int l = 0; l < 32; l++) {
        for (int i = 0; i < 4; i++) {
            in->bf16_a[l][i] = pair(BF16, whole);
            in->f16_a[l][i] = pair(F16, whole);
            in->d[l][i] = number(whole);
            in->s8_a[l][i] = draw() << 8 ^ draw();
        }
        for (int i = 0; i < 2; i++) {
            in->bf16_b[l][i] = pair(BF16, whole);
            in->f16_b[l][i] = pair(F16, whole);
            in->s8_b[l][i] = draw() << 8 ^ draw();
        }
        for (int i = 0; i < 8; i++)
            in->rows[l][i] = (uint16_t)draw();
    }
}

static double half_of(enum dtype t, uint32_t two, int which)
{
    uint16_t h[2] = { (uint16_t)two, (uint16_t)(two >> 16) };
    return half_load(t, h, (size_t)which);
}

/* m16n8k16: lane 4 g + t holds rows g and g + 8 of A and of D, column g of B; k and D's columns 2 t, 2 t + 1 and +
 * 8. */
static void expect_mma(enum dtype type, const uint32_t a[32][4], const uint32_t b[32][2], const float d[32][4],
                       double out[32][4])
{
    double A[16][16], B[16][8];
    for (int l = 0; l < 32; l++) {
        int g = l / 4, t = l % 4;
        for (int e = 0; e < 2; e++) {
            A[g][2 * t + e] = half_of(type, a[l][0], e);
            A[g + 8][2 * t + e] = half_of(type, a[l][1], e);
            A[g][2 * t + 8 + e] = half_of(type, a[l][2], e);
            A[g + 8][2 * t + 8 + e] = half_of(type, a[l][3], e);
            B[2 * t + e][g] = half_of(type, b[l][0], e);
            B[2 * t + 8 + e][g] = half_of(type, b[l][1], e);
        }
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            int row = l / 4 + (i / 2) * 8, col = l % 4 * 2 + i % 2;
            out[l][i] = (double)d[l][i];
            for (int k = 0; k < 16; k++)
                out[l][i] += A[row][k] * B[k][col];
        }
}

/* m16n8k32: the same, but four bytes of k, 4 t .. 4 t + 3 and + 16. */
static void expect_mma_s8(const struct wrapper_in *in, int out[32][4])
{
    int A[16][32], B[32][8];
    for (int l = 0; l < 32; l++) {
        int g = l / 4, t = l % 4;
        for (int e = 0; e < 4; e++) {
            A[g][4 * t + e] = (int8_t)(in->s8_a[l][0] >> 8 * e);
            A[g + 8][4 * t + e] = (int8_t)(in->s8_a[l][1] >> 8 * e);
            A[g][4 * t + 16 + e] = (int8_t)(in->s8_a[l][2] >> 8 * e);
            A[g + 8][4 * t + 16 + e] = (int8_t)(in->s8_a[l][3] >> 8 * e);
            B[4 * t + e][g] = (int8_t)(in->s8_b[l][0] >> 8 * e);
            B[4 * t + 16 + e][g] = (int8_t)(in->s8_b[l][1] >> 8 * e);
        }
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            out[l][i] = i;
            for (int k = 0; k < 32; k++)
                out[l][i] += A[l / 4 + (i / 2) * 8][k] * B[k][l % 4 * 2 + i % 2];
        }
}

/* Matrix i of lanes 8 i .. 8 i + 7; lane l gets row l / 4, columns 2 (l % 4) and the next, or of the transposed one. */
static uint32_t expect_ldmatrix(const struct wrapper_in *in, int l, int i, bool transposed)
{
    uint32_t v[2];
    for (int e = 0; e < 2; e++) {
        int row = l / 4, col = 2 * (l % 4) + e;
        v[e] = transposed ? in->rows[8 * i + col][row] : in->rows[8 * i + row][col];
    }
    return v[1] << 16 | v[0];
}

static wrappers_fn *load(const struct library *l)
{
    void *lib = access(l->path, R_OK) == 0 ? dlopen(l->path, RTLD_NOW | RTLD_LOCAL) : NULL;
    wrappers_fn *run = NULL;
    if (lib)
        *(void **)&run = dlsym(lib, "wrappers_run");
    return run;
}

/* Exact sums: every bit. Others: the largest error, relative to the sum of the magnitudes. */
static double compare_mma(const char *what, float got[32][4], double want[32][4], bool whole)
{
    double worst = 0;
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            double off = fabs((double)got[l][i] - want[l][i]);
            worst = off > worst ? off : worst;
            ck_assert_msg(!whole || off == 0, "%s: lane %d, element %d is %g, not %g", what, l, i, (double)got[l][i],
                          want[l][i]);
        }
    return worst;
}

static void check(const char *path, wrappers_fn *run, unsigned seed, bool whole, double *worst)
{
    static struct wrapper_in in;
    static struct wrapper_out out;
    double want[32][4];
    fill(&in, seed, whole);
    const char *failed = run(&in, &out);
    ck_assert_msg(!failed, "%s: %s", path, failed);
    expect_mma(BF16, in.bf16_a, in.bf16_b, in.d, want);
    double x = compare_mma("mma of bfloat16", out.mma_bf16, want, whole);
    expect_mma(F16, in.f16_a, in.f16_b, in.d, want);
    double y = compare_mma("mma of float16", out.mma_f16, want, whole);
    *worst = fmax(*worst, fmax(x, y));
    int sums[32][4];
    expect_mma_s8(&in, sums);
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(out.mma_s8[l][i], sums[l][i]);
    for (int l = 0; l < 32; l++) {
        for (int i = 0; i < 4; i++) {
            ck_assert_uint_eq(out.ldmatrix[l][i], expect_ldmatrix(&in, l, i, false));
            ck_assert_uint_eq(out.ldmatrix_transposed[l][i], expect_ldmatrix(&in, l, i, true));
        }
        for (int i = 0; i < 8; i++)
            ck_assert_uint_eq(out.copied[l][i], l % 2 ? 0 : in.rows[l][i]);
    }
}

START_TEST(layouts)
{
    const struct library *l = &libraries[_i];
    wrappers_fn *run = load(l);
    double worst = 0, exact = 0;
    if (!run) {
        ck_assert_msg(!l->required, "%s cannot be used: %s", l->path, dlerror());
        return;
    }
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        check(l->path, run, seed, true, &exact);
        check(l->path, run, seed, false, &worst);
    }
    printf("%s: sums of 16 products of numbers up to 1 are off by up to %.1e\n", l->path, worst);
}
END_TEST

int main(void)
{
    bool gpu = getenv("OPENAUTOGLM_TEST_GPU") != NULL;
    if (access(libraries[0].path, R_OK) != 0) {
        puts("skip: the emulation was not built\n100%: Checks: 0, Failures: 0, Errors: 0");
        return 0;
    }
    Suite *s = suite_create("wrappers");
    TCase *t = tcase_create("wrappers");
    tcase_add_loop_test(t, layouts, 0, gpu ? 2 : 1);
    suite_add_tcase(s, t);
    return suite_run(s);
}
