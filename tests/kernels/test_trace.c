/* tests/kernels/test_trace.c - one line for every operation, the same from two backends. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/trace.h"
#include "tests/suite.h"

/* The trace of a few operations on `inner`; free(). */
static char *trace_of(const struct backend *inner)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    const struct backend *b = backend_trace(inner, f);
    struct device *dev;
    struct err e;
    static const float w[] = { 1, 0, 0, 1, 1, 1 };
    float x[] = { 3, 4, 99, 6, 8, 99 }, y[6], logits[] = { 0, 5, 1 };
    int id = 0;
    struct weight weight = { .out = 3, .in = 2 };
    ck_assert_int_eq(b->open(&dev, &(struct device_options){ .threads = 1 }, &e), 0);
    ck_assert_int_eq(b->pack(dev, &weight, &(struct slab){ w, F32, 3, NULL, false }, 1, NULL, F32, &e), 0);
    struct tensor in = { x, F32, 2, 2, 3 }, out = { y, F32, 2, 3, 3 };
    b->ops.linear(dev, out, in, &weight, &(struct epilogue){ 0 });
    b->ops.copy(dev, (struct tensor){ y, F32, 2, 2, 2 }, in);
    b->ops.sample(dev, &id, (struct tensor){ logits, F32, 1, 3, 3 }, &(struct sampling){ 0 });
    ck_assert_int_eq(id, 1);
    b->release(dev, &weight);
    b->close(dev);
    fclose(f);
    return text;
}

START_TEST(test_lines)
{
    char *ref = trace_of(&backend_ref), *cpu = trace_of(&backend_cpu);
    ck_assert_str_eq(ref, cpu);
    ck_assert_str_eq(ref, "000000 linear             2 x 3      1.923538e+01\n"
                          "000001 copy               2 x 2      1.118034e+01\n"
                          "000002 sample             1 x 1      1.000000e+00\n");
    free(ref);
    free(cpu);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trace");
    TCase *t = tcase_create("trace");
    suite_add_tcase(s, t);
    tcase_add_test(t, test_lines);
    return suite_run(s);
}
