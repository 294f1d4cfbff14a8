/* tests/kernels/test_ops.c - every operation on every backend and instruction
 * set against the reference, and the promise that a row's result is bit by bit
 * the same whatever else is in the batch. */
#include "tests/kernels/wide.h"

#include "tests/kernels/variants.h"

#include "tests/kernels/dense.inc"
#include "tests/kernels/image.inc"
#include "tests/kernels/attention.inc"
#include "tests/kernels/tokens.inc"
#include "tests/suite.h"

/* What was asked to multiply floats, rounds nothing. */
static void floats_body(struct run *ref, struct run *got) { quantised_cases(ref, got, false); }

START_TEST(test_quantised_floats) { on_variant_with(_i, ACTIVATIONS_FLOAT, floats_body); } END_TEST

/* Instruction sets agree on every bit of a product with rounded activations: their integers are exact, and fma comes in
 * one order. */
START_TEST(test_same_integers)
{
    struct run *first = NULL;
    float *want = NULL;
    struct linear_case c = { .m = 29, .n = 70, .k = 900, .have = F32, .want = _i ? Q4 : Q8, .bias = true, .glu = true,
                             .slabs = 3 };
    for (int i = 0; i < N_VARIANTS; i++) {
        bool fma = variants[i].kernels != &kernels_generic && variants[i].kernels != &kernels_wide &&
            variants[i].kernels != &kernels_tiles;
        struct run *r = fma ? variant_open(i, ACTIVATIONS_INT8) : NULL;
        if (!r)
            continue;
        struct linear_data d = linear_data(r, &c);
        float *y = linear_rows(r, &c, &d, 0, c.m);
        if (want)
            same(variants[i].kernels->name, y, want, sizeof *y * (size_t)(c.m * c.n));
        r->b->release(r->dev, &d.w);
        if (first)
            run_close(r);
        else
            first = r, want = y;
    }
    if (first)
        run_close(first);
}
END_TEST

/* A number that is not finite makes what depends on it NaN, and nothing else. */
static void not_finite_body(struct run *ref, struct run *got)
{
    (void)ref;
    struct linear_case c = { .m = 14, .n = 20, .k = 200, .have = F32, .want = Q8, .slabs = 1 };
    struct linear_data d = linear_data(got, &c);
    float *clean = linear_rows(got, &c, &d, 0, c.m), bad[] = { NAN, INFINITY, -INFINITY };
    for (int i = 0; i < 3; i++)
        ((float *)d.x.data)[(size_t)(3 + i) * (size_t)d.x.stride + 190] = bad[i];
    float *y = linear_rows(got, &c, &d, 0, c.m);
    for (int i = 0; i < c.m * c.n; i++) {
        int row = i / c.n;
        MUST(row >= 3 && row < 6 ? isnan(y[i]) : y[i] == clean[i], "row %d: %g, %g before", row, (double)y[i],
             (double)clean[i]);
    }
    got->b->release(got->dev, &d.w);
}

START_TEST(test_not_finite) { on_variant(_i, not_finite_body); } END_TEST

int main(void)
{
    Suite *s = suite_create("ops");
    TCase *t = tcase_create("ops");
    tcase_set_timeout(t, 300);
    dense_tests(t);
    quantised_tests(t);
    tcase_add_loop_test(t, test_quantised_floats, 0, N_VARIANTS);
    tcase_add_loop_test(t, test_same_integers, 0, 2);
    tcase_add_loop_test(t, test_not_finite, 0, N_VARIANTS);
    image_tests(t);
    attention_tests(t);
    token_tests(t);
    suite_add_tcase(s, t);
    return suite_run(s);
}
