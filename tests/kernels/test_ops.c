/* tests/kernels/test_ops.c - every operation on every backend and instruction
 * set against the reference, and the promise that a row's result is bit by bit
 * the same whatever else is in the batch. */
#include "tests/kernels/variants.h"

#include "tests/kernels/dense.inc"
#include "tests/kernels/image.inc"
#include "tests/kernels/attention.inc"
#include "tests/kernels/experts.inc"
#include "tests/kernels/tokens.inc"
#include "tests/suite.h"

/* What was asked to multiply floats, rounds nothing. */
static void floats_body(struct run *ref, struct run *got) { quantised_cases(ref, got, false); }

START_TEST(test_quantised_floats) { on_variant_with(_i, ACTIVATIONS_FLOAT, floats_body); } END_TEST

/* Products of int8 are sums of integers, and then one order of float operations: all instruction sets that round once
 * in a * b + c give the same bits, with any number of rows, and so do those that round twice. */
static bool rounds_twice(const struct kernels *k)
{
    return k == &kernels_generic || k == &kernels_wide || k == &kernels_tiles || k == &kernels_narrow;
}

/* The first of variants[] that works here and rounds as variant i does. */
static int first_like(int i)
{
    int first = 0;
    while (first < i && !(variants[first].kernels->works() &&
                          rounds_twice(variants[first].kernels) == rounds_twice(variants[i].kernels)))
        first++;
    return first;
}

static void check_agree(struct run *one, struct run *other, const struct linear_case *c)
{
    struct linear_data a = linear_data(one, c), b = linear_data(other, c);
    char what[80];
    snprintf(what, sizeof what, "%d rows, %d columns, type %d, on two instruction sets", c->m, c->k, c->want);
    same(what, linear_rows(one, c, &a, 0, c->m), linear_rows(other, c, &b, 0, c->m),
         sizeof(float) * (size_t)c->m * (size_t)c->n);
    one->b->release(one->dev, &a.w);
    other->b->release(other->dev, &b.w);
}

START_TEST(test_agree)
{
    static const int m[] = { 1, 2, 8, 9, 16, 33, 300 }, k[] = { 64, 1100, 100 };
    struct run *one = variant_open(first_like(_i), ACTIVATIONS_AUTO), *other = variant_open(_i, ACTIVATIONS_AUTO);
    for (int i = 0; one && other && i < 28; i++) {
        int n = m[i % 7] > 256 ? 530 : 70;                 /* several of every block of rows and channels */
        struct linear_case c = { m[i % 7], n, k[i % 3], F32, i < 14 ? Q8 : Q4, .bias = true, .glu = i % 2,
                                 .slabs = i % 3 ? 1 : 3 };
        check_agree(one, other, &c);
    }
    if (one)
        run_close(one);
    if (other)
        run_close(other);
}
END_TEST

/* More rows, columns and channels than any kernel takes at once. */
static void large_body(struct run *ref, struct run *got)
{
    struct linear_case c = { 300, 520, 300, F32, BF16, .slabs = 1, .add = true };
    check_linear(ref, got, &c, "linear with many rows");
}

START_TEST(test_large) { on_variant(_i, large_body); } END_TEST

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
    tcase_add_loop_test(t, test_agree, 0, N_VARIANTS);
    tcase_add_loop_test(t, test_large, 0, N_VARIANTS);
    tcase_add_loop_test(t, test_not_finite, 0, N_VARIANTS);
    image_tests(t);
    attention_tests(t);
    experts_tests(t);
    token_tests(t);
    suite_add_tcase(s, t);
    return suite_run(s);
}
