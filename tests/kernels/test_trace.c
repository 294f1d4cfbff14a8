/* tests/kernels/test_trace.c - one line for every operation, the same from two backends. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/trace.h"
#include "tests/suite.h"

struct traced {                  /* a device whose trace goes into a text */
    const struct backend *backend;
    struct device *dev;
    FILE *to;
    char *text;
    size_t size;
};

static void open_traced(struct traced *t, const struct backend *inner)
{
    struct err e;
    *t = (struct traced){ .backend = inner };
    t->to = open_memstream(&t->text, &t->size);
    ck_assert_int_eq(inner->open(&t->dev, &(struct device_options){ .threads = 1 }, &e), 0);
    trace_device(&t->backend, &t->dev, t->to);
}

/* Closes it and returns what it wrote; free(). */
static char *close_traced(struct traced *t)
{
    t->backend->close(t->dev);
    fclose(t->to);
    return t->text;
}

/* y = 2 x 3, from x = 2 x 2 with a stride of 3. */
static void linear(struct traced *t, float *y, float *x)
{
    static const float w[] = { 1, 0, 0, 1, 1, 1 };
    struct weight weight = { .out = 3, .in = 2 };
    struct err e;
    struct slab slab = { .data = w, .dtype = F32, .rows = 3 };
    ck_assert_int_eq(t->backend->pack(t->dev, &weight, &slab, 1, NULL, F32, &e), 0);
    t->backend->ops.linear(t->dev, (struct tensor){ y, F32, 2, 3, 3 }, (struct tensor){ x, F32, 2, 2, 3 }, &weight,
                           &(struct epilogue){ 0 });
    t->backend->release(t->dev, &weight);
}

/* The trace of a few operations on `inner`; free(). */
static char *trace_of(const struct backend *inner)
{
    struct traced t;
    float x[] = { 3, 4, 99, 6, 8, 99 }, y[6], logits[] = { 0, 5, 1 };
    int id = 0;
    open_traced(&t, inner);
    linear(&t, y, x);
    t.backend->ops.copy(t.dev, (struct tensor){ y, F32, 2, 2, 2 }, (struct tensor){ x, F32, 2, 2, 3 });
    t.backend->ops.sample(t.dev, &id, (struct tensor){ logits, F32, 1, 3, 3 }, &(struct sampling){ 0 });
    ck_assert_int_eq(id, 1);
    return close_traced(&t);
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

/* Operations of two devices in turn, of two backends: each writes its own lines, with numbers of its own. */
START_TEST(test_two_devices)
{
    struct traced a, b;
    float x[] = { 3, 4, 99, 6, 8, 99 }, y[6];
    open_traced(&a, &backend_ref);
    open_traced(&b, &backend_cpu);
    linear(&a, y, x);
    linear(&b, y, x);
    a.backend->ops.add(a.dev, (struct tensor){ x, F32, 1, 2, 2 }, (struct tensor){ x, F32, 1, 2, 2 },
                       (struct tensor){ y, F32, 1, 2, 2 });
    b.backend->ops.copy(b.dev, (struct tensor){ y, F32, 1, 2, 2 }, (struct tensor){ x, F32, 1, 2, 2 });
    char *of_b = close_traced(&b), *of_a = close_traced(&a);
    ck_assert_str_eq(of_a, "000000 linear             2 x 3      1.923538e+01\n"
                           "000001 add                1 x 2      1.000000e+01\n");
    ck_assert_str_eq(of_b, "000000 linear             2 x 3      1.923538e+01\n"
                           "000001 copy               1 x 2      1.000000e+01\n");
    free(of_a);
    free(of_b);
}
END_TEST

/* No function of the inner backend may be called with the device outside: whatever is there is the trace's own. Only
 * packed_bytes takes no device. */
START_TEST(test_every_function_is_its_own)
{
    enum { SIZE = sizeof(void (*)(void)) };
    static const struct backend *const inner[] = { &backend_ref, &backend_cpu };
    static const char none[SIZE];
    for (int i = 0; i < 2; i++) {
        struct traced t;
        open_traced(&t, inner[i]);
        const char *own = (const char *)t.backend, *its = (const char *)inner[i];
        for (size_t at = offsetof(struct backend, ops); at < sizeof(struct backend); at += SIZE)
            if (at != offsetof(struct backend, packed_bytes))
                ck_assert_msg(memcmp(own + at, none, SIZE) == 0 || memcmp(own + at, its + at, SIZE) != 0,
                              "the function at byte %zu is that of %s", at, inner[i]->name);
        free(close_traced(&t));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trace");
    TCase *t = tcase_create("trace");
    suite_add_tcase(s, t);
    tcase_add_test(t, test_lines);
    tcase_add_test(t, test_two_devices);
    tcase_add_test(t, test_every_function_is_its_own);
    return suite_run(s);
}
