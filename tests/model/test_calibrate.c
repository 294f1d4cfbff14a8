/* tests/model/test_calibrate.c - int4 and int8 for what they will be multiplied
 * with: less is lost on the sample and on other inputs like it, whatever the
 * shape; every wrong number is an error. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/quant.h"
#include "kernels/random.h"
#include "model/calibrate.h"
#include "tests/suite.h"

enum { RANK = 12 };
static const enum dtype types[] = { Q4, Q8 };
enum { N_TYPES = sizeof types / sizeof *types };

static struct device *dev;

static void open_device(void)
{
    struct err e;
    ck_assert_int_eq(backend_cpu.open(&dev, &(struct device_options){ .threads = 2 }, &e), 0);
}

static void close_device(void) { backend_cpu.close(dev); }

static float noise(uint64_t seed, size_t i) { return 2 * random_unit(seed, i) - 1; }

/* Rows that are sums of RANK directions and a little of every one. One column is much larger, as in trained models, and
 * one is zero. */
static float *inputs(uint64_t seed, int rows, int in)
{
    float *x = malloc(sizeof *x * (size_t)rows * (size_t)in);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < in; i++) {
            float sum = 0.2f * noise(seed, (size_t)r * (size_t)in + (size_t)i);
            for (int k = 0; k < RANK; k++)
                sum += noise(seed + 1, (size_t)r * RANK + (size_t)k) * noise(3, (size_t)i * RANK + (size_t)k);
            x[(size_t)r * (size_t)in + (size_t)i] = i == 5 ? 20 * sum : sum;
        }
    for (int r = 0; r < rows; r++)
        x[(size_t)r * (size_t)in + 7] = 0;
    return x;
}

static float *weights(int out, int in)
{
    float *w = malloc(sizeof *w * (size_t)out * (size_t)in);
    for (size_t i = 0; i < (size_t)out * (size_t)in; i++)
        w[i] = noise(9, i) * noise(10, i);
    return w;
}

/* The sum of the squares of x (w - what the records hold)'. */
static double lost(enum dtype t, const float *x, int rows, const float *w, const uint8_t *records, int out, int in)
{
    double sum = 0;
    float *have = malloc(sizeof *have * (size_t)(in + QUANT_GROUP));
    for (int o = 0; o < out; o++) {
        quant_unpack_row(t, records + (size_t)o * quant_row_bytes(t, in), in, have);
        for (int r = 0; r < rows; r++) {
            double y = 0;
            for (int i = 0; i < in; i++)
                y += (double)x[(size_t)r * (size_t)in + (size_t)i] * (w[(size_t)o * (size_t)in + (size_t)i] - have[i]);
            sum += y * y;
        }
    }
    free(have);
    return sum;
}

static const struct shape { int rows, out, in, first_slab; } shapes[] = {
    { 200, 24, 96, 24 }, { 300, 13, 70, 13 }, { 20, 9, 128, 4 }, { 1100, 530, 40, 517 }, { 1, 1, 33, 1 },
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static struct tensor matrix(float *x, int rows, int in) { return (struct tensor){ x, F32, rows, in, in }; }

static int calibrate(enum dtype t, const struct shape *s, const float *w, float *x, uint8_t *records, struct err *e)
{
    const struct weight shape = { .out = s->out, .in = s->in, .dtype = t, .layout = LAYOUT_LINEAR };
    const struct slab slabs[] = {
        { .data = w, .dtype = F32, .rows = s->first_slab, .name = "one" },
        { .data = w + (size_t)s->first_slab * (size_t)s->in, .dtype = F32, .rows = s->out - s->first_slab,
          .name = "two" } };
    return calibrate_rows(dev, &shape, slabs, s->out > s->first_slab ? 2 : 1, matrix(x, s->rows, s->in), records, NULL,
                          e);
}

/* Rows as they are packed without a sample. */
static void pack_plain(enum dtype t, const struct shape *s, const float *w, uint8_t *records)
{
    for (int o = 0; o < s->out; o++)
        ck_assert_int_eq(quant_pack_row(t, records + (size_t)o * quant_row_bytes(t, s->in), F32,
                                        w + (size_t)o * (size_t)s->in, s->in), -1);
}

START_TEST(test_loses_less)
{
    const struct shape *s = &shapes[_i / N_TYPES];
    const enum dtype t = types[_i % N_TYPES];
    size_t bytes = (size_t)s->out * quant_row_bytes(t, s->in);
    struct err e;
    float *w = weights(s->out, s->in), *x = inputs(21, s->rows, s->in), *other = inputs(22, s->rows, s->in);
    uint8_t *plain = malloc(bytes), *calibrated = malloc(bytes);
    pack_plain(t, s, w, plain);
    ck_assert_msg(calibrate(t, s, w, x, calibrated, &e) == 0, "%s", e.text);
    double sample = lost(t, x, s->rows, w, calibrated, s->out, s->in) / lost(t, x, s->rows, w, plain, s->out, s->in);
    double fresh = lost(t, other, s->rows, w, calibrated, s->out, s->in) /
                   lost(t, other, s->rows, w, plain, s->out, s->in);
    ck_assert_msg(sample < 0.03, "%s, %d x %d, %d rows: %g of what it loses without", dtype_name(t), s->out,
                  s->in, s->rows, sample);
    ck_assert_msg(fresh < 0.05 || s->rows < RANK, "%s, %d x %d, %d other rows: %g", dtype_name(t), s->out,
                  s->in, s->rows, fresh);
    free(w);
    free(x);
    free(other);
    free(plain);
    free(calibrated);
}
END_TEST

/* The same on one thread, and again. */
START_TEST(test_same_bits)
{
    const struct shape *s = &shapes[0];
    const enum dtype t = types[_i];
    size_t bytes = (size_t)s->out * quant_row_bytes(t, s->in);
    struct err e;
    float *w = weights(s->out, s->in), *x = inputs(21, s->rows, s->in);
    uint8_t *a = malloc(bytes), *b = malloc(bytes);
    ck_assert_int_eq(calibrate(t, s, w, x, a, &e), 0);
    ck_assert_int_eq(calibrate(t, s, w, x, b, &e), 0);
    ck_assert_mem_eq(a, b, bytes);
    struct device *two = dev;
    ck_assert_int_eq(backend_cpu.open(&dev, &(struct device_options){ .threads = 1 }, &e), 0);
    ck_assert_int_eq(calibrate(t, s, w, x, b, &e), 0);
    ck_assert_mem_eq(a, b, bytes);
    backend_cpu.close(dev);
    dev = two;
    free(w);
    free(x);
    free(a);
    free(b);
}
END_TEST

START_TEST(test_refuses)
{
    const struct shape *s = &shapes[2];
    const enum dtype t = types[_i];
    struct err e = { 0 };
    float *w = weights(s->out, s->in), *x = inputs(21, s->rows, s->in);
    uint8_t *records = malloc((size_t)s->out * quant_row_bytes(t, s->in));
    w[5 * s->in + 3] = NAN;
    ck_assert_int_eq(calibrate(t, s, w, x, records, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "tensor two: row 1, column 3"));
    w[5 * s->in + 3] = 0;
    x[17] = INFINITY;
    ck_assert_int_eq(calibrate(t, s, w, x, records, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "calibration text"));
    x[17] = 0;
    volatile sig_atomic_t stop = 1;
    ck_assert_int_eq(calibrate_rows(dev, &(struct weight){ .out = 4, .in = s->in, .dtype = t },
                                    &(struct slab){ .data = w, .dtype = F32, .rows = 4 }, 1, matrix(x, s->rows, s->in),
                                    records, &stop, &e), -1);
    ck_assert_str_eq(e.text, "interrupted");
    free(w);
    free(x);
    free(records);
}
END_TEST

/* Inputs that are nothing but zeros say nothing: the weight is rounded as it is. */
START_TEST(test_zeros)
{
    const struct shape *s = &shapes[0];
    struct err e;
    float *w = weights(s->out, s->in), *x = calloc((size_t)s->rows * (size_t)s->in, sizeof *x), *one;
    size_t bytes = quant_row_bytes(Q4, s->in);
    uint8_t *a = malloc((size_t)s->out * bytes), *b = malloc(bytes);
    ck_assert_int_eq(calibrate(Q4, s, w, x, a, &e), 0);
    for (int o = 0; o < s->out; o++) {
        ck_assert_int_eq(quant_pack_row(Q4, b, F32, one = w + (size_t)o * (size_t)s->in, s->in), -1);
        float whole[96] = { 0 };
        whole[0] = 1;
        double plain = 0, fed = 0;
        for (int i = 0; i < s->in; i++, whole[i - 1] = 0, whole[i % 96] = 1) {
            plain += lost(Q4, whole, 1, one, b, 1, s->in);
            fed += lost(Q4, whole, 1, one, a + (size_t)o * bytes, 1, s->in);
        }
        ck_assert_msg(fed < 1.02 * plain, "row %d: %g, not %g", o, fed, plain);
    }
    free(w);
    free(x);
    free(a);
    free(b);
}
END_TEST

/* Nor do they of int8, whose one scale is then that of the whole row. Columns 64 to 69 share a group with zeros. */
START_TEST(test_zeros_int8)
{
    const struct shape *s = &shapes[1];
    size_t bytes = (size_t)s->out * quant_row_bytes(Q8, s->in);
    struct err e;
    float *w = weights(s->out, s->in), *x = calloc((size_t)s->rows * (size_t)s->in, sizeof *x);
    uint8_t *fed = malloc(bytes), *plain = malloc(bytes);
    memset(w + 3 * s->in, 0, sizeof *w * (size_t)s->in);
    ck_assert_int_eq(calibrate(Q8, s, w, x, fed, &e), 0);
    pack_plain(Q8, s, w, plain);
    ck_assert_mem_eq(fed, plain, bytes);
    free(w);
    free(x);
    free(fed);
    free(plain);
}
END_TEST

/* What the errors before it make larger than can be stored becomes the largest number, and the rest is an error. */
START_TEST(test_ends_of_int8)
{
    static struct quant_feedback b;
    float w[QUANT_GROUP] = { 127, -127, 5 }, wanted[QUANT_GROUP] = { 129.2f, -300, 4.4f }, error[QUANT_GROUP];
    uint8_t record[QUANT_HEAD + QUANT_GROUP];
    quant_begin_fed(record, w, QUANT_GROUP);
    quant_pack_fed(Q8, record, sizeof record, 0, w, wanted, error, QUANT_GROUP, 1, &b);
    const int8_t *q = (const int8_t *)record + QUANT_HEAD;
    ck_assert_int_eq(q[0], 127);
    ck_assert_int_eq(q[1], -127);
    ck_assert_int_eq(q[2], 4);
    ck_assert_float_eq(error[0], 0);
    ck_assert_float_eq(error[1], 0);
    ck_assert_float_eq(error[2], 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calibrate");
    TCase *t = tcase_create("calibrate");
    tcase_add_checked_fixture(t, open_device, close_device);
    tcase_add_loop_test(t, test_loses_less, 0, N_SHAPES * N_TYPES);
    tcase_add_loop_test(t, test_same_bits, 0, N_TYPES);
    tcase_add_loop_test(t, test_refuses, 0, N_TYPES);
    tcase_add_test(t, test_zeros);
    tcase_add_test(t, test_zeros_int8);
    tcase_add_test(t, test_ends_of_int8);
    suite_add_tcase(s, t);
    return suite_run(s) != 0;
}
