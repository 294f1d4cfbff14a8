/* tests/model/test_parts.c - operations that others may interrupt go in parts, with the same bits as in one piece. */
#include <check.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/quant.h"
#include "model/nn.h"
#include "tests/suite.h"

enum { ROWS = 200, COLS = 32, SCRATCH = 16 << 20 };

static struct device *dev;
static struct run run;
static int calls;                      /* of `between` */
static float numbers[ROWS * COLS * 3];
static struct weight weight, patch;    /* (COLS, COLS); (COLS, 2 * 2 * COLS) */
static struct norm norm;

static void count(void *arg)
{
    (void)arg;
    calls++;
}

static struct weight packed(int out, int in)
{
    struct weight w = { .out = out, .in = in };
    struct slab slab = { .data = numbers, .dtype = F32, .rows = out };
    struct err e;
    ck_assert_int_eq(run.backend->pack(dev, &w, &slab, 1, NULL, F32, &e), 0);
    return w;
}

static void set_up(void)
{
    struct err e;
    struct device_options options = { .threads = 2 };
    ck_assert_int_eq(backend_cpu.open(&dev, &options, &e), 0);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        numbers[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
    run = (struct run){ .ops = &backend_cpu.ops, .backend = &backend_cpu, .dev = dev, .size = SCRATCH,
                        .scratch = backend_cpu.alloc(dev, SCRATCH), .host = xmalloc(SCRATCH), .host_size = SCRATCH };
    weight = packed(COLS, COLS);
    patch = packed(COLS, 2 * 2 * COLS);
    norm = (struct norm){ .w = { numbers, F32, 1, COLS, COLS }, .eps = 1e-6f };
}

static void tear_down(void)
{
    backend_cpu.release(dev, &weight);
    backend_cpu.release(dev, &patch);
    backend_cpu.free(dev, run.scratch);
    free(run.host);
    backend_cpu.close(dev);
}

/* A matrix of its own with numbers in it. */
static struct tensor matrix(int rows, int cols)
{
    struct tensor t = nn_new(&run, rows, cols);
    memcpy(t.data, numbers, sizeof(float) * (size_t)rows * (size_t)cols);
    return t;
}

static struct tensor do_linear(void)
{
    struct tensor x = matrix(ROWS, COLS), then = nn_new(&run, ROWS, COLS), out = matrix(ROWS, COLS);
    struct norms after = { .norm = &norm, .out = then };
    nn_linear_to(&run, out, x, &weight, (struct epilogue){ .add = out, .after = &after });
    nn_add(&run, out, out, then);
    return out;
}

static struct tensor do_norm(void)
{
    struct tensor out = nn_new(&run, ROWS, COLS);
    nn_norm(&run, out, matrix(ROWS, COLS), &norm);
    return out;
}

static struct tensor do_add(void)
{
    struct tensor x = matrix(ROWS, COLS);
    nn_add(&run, x, x, matrix(1, COLS));
    return x;
}

static struct tensor do_act(void)
{
    struct tensor x = matrix(ROWS, COLS);
    nn_act(&run, x, ACT_SILU);
    return x;
}

static struct tensor do_gather(void)
{
    int idx[2 * ROWS];
    float w[2 * ROWS];
    for (int i = 0; i < 2 * ROWS; i++) {
        idx[i] = i * 7 % ROWS;
        w[i] = (float)i;
    }
    return nn_gather(&run, matrix(ROWS, COLS), ROWS, 2, idx, w);
}

static struct tensor do_scatter(void)
{
    int idx[ROWS];
    struct tensor out = matrix(ROWS, COLS);
    for (int i = 0; i < ROWS; i++)
        idx[i] = i % 3 ? ROWS - 1 - i : -1;
    nn_scatter(&run, out, matrix(ROWS, COLS), idx, true);
    return out;
}

static struct tensor do_pixels(void)
{
    static const float scale[3] = { 0.1f, 0.2f, 0.3f }, shift[3] = { 1, 2, 3 };
    return nn_pixels(&run, (const uint8_t *)numbers, ROWS, scale, shift);
}

/* 20 x 10 points become 10 x 5 patches. */
static struct tensor do_conv(void)
{
    return nn_conv(&run, matrix(ROWS, COLS), &patch, (struct conv){ .h = 20, .w = 10, .kernel = 2, .stride = 2 });
}

static const struct heads heads = { .n = 2, .n_kv = 2, .dim = 16, .scale = 0.25f };

static struct tensor do_whole(void)
{
    static const int all[2] = { 0, ROWS };
    return nn_attend_ragged(&run, matrix(ROWS, 3 * COLS), &heads, NULL, 1, all);
}

static struct tensor do_windows(void)
{
    static const int first[] = { 0, 20, 21, 90, ROWS };
    return nn_attend_ragged(&run, matrix(ROWS, 3 * COLS), &heads, NULL, 4, first);
}

static struct tensor (*const operations[])(void) = { do_linear, do_norm, do_add, do_act, do_gather, do_scatter,
                                                     do_pixels, do_conv, do_whole, do_windows };

START_TEST(parts_make_the_whole)
{
    run.used = run.host_used = 0;
    run.between = NULL;
    struct tensor whole = operations[_i]();
    run.between = count;
    calls = 0;
    for (int k = 0; k < N_PART_KINDS; k++)
        run.part_unit[k] = 1;          /* as if everything took for ever: the smallest parts */
    struct tensor parts = operations[_i]();
    ck_assert_int_ge(calls, 2);
    ck_assert_mem_eq(whole.data, parts.data, sizeof(float) * (size_t)whole.rows * (size_t)whole.cols);
}
END_TEST

/* A border belongs to the picture's sides alone: with one it is not cut. */
START_TEST(a_border_is_at_the_sides)
{
    struct conv c = { .h = 20, .w = 10, .kernel = 2, .stride = 2, .pad = 1 };
    run.used = run.host_used = 0;
    run.between = NULL;
    struct tensor whole = nn_conv(&run, matrix(ROWS, COLS), &patch, c);
    run.between = count;
    run.part_unit[PART_CONV] = 1;
    struct tensor parts = nn_conv(&run, matrix(ROWS, COLS), &patch, c);
    ck_assert_mem_eq(whole.data, parts.data, sizeof(float) * (size_t)whole.rows * (size_t)whole.cols);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("parts");
    TCase *t = tcase_create("parts");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, parts_make_the_whole, 0, sizeof operations / sizeof *operations);
    tcase_add_test(t, a_border_is_at_the_sides);
    suite_add_tcase(s, t);
    return suite_run(s);
}
