/* tests/kernels/test_quant.c - the quantised formats (kernels/quant.h): bytes
 * worked out by hand, the promised bounds of the error, what is refused, and
 * that packing gives the pages of the file back. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/half.h"
#include "kernels/quant.h"
#include "tests/suite.h"

static void expect_bytes(const uint8_t *got, const uint8_t *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(got[i] == want[i], "byte %zu is %02x, not %02x", i, got[i], want[i]);
}

START_TEST(test_int8_bytes)
{
    static const float x[] = { 127, -127, 0, 63.5f, 1 };             /* the scale is 1; 63.5 goes to the even 64 */
    uint8_t row[36], want[36] = { 0x00, 0x00, 0x80, 0x3f, 0x7f, 0x81, 0x00, 0x40, 0x01 };
    ck_assert_uint_eq(quant_row_bytes(Q8, 5), 36);
    ck_assert_int_eq(quant_pack_plain(Q8, row, F32, x, 5), -1);
    expect_bytes(row, want, sizeof row);
    for (int i = 0; i < 5; i++)
        ck_assert(quant_get(Q8, row, i) == rintf(x[i]));
}
END_TEST

/* Columns 0, 1 and 4 go to all columns, with minus where the number of the column has their bit; the sums are 32 times
 * 127, 0, -64 and 63 or so, again and again. */
START_TEST(test_int8_rotated_bytes)
{
    static const float x[] = { 32 * 31.5f, 32 * 63.5f, 0, 0, 32 * 32 };
    uint8_t row[36], want[36] = { 0x00, 0x00, 0x80, 0x3f };
    float y[5];
    for (int i = 0; i < 32; i++)
        want[4 + i] = (uint8_t)(int8_t[]){ 127, 0, 63, -64 }[(i >> 1 & 2) | (i & 1)];
    ck_assert_int_eq(quant_pack_row(Q8, row, F32, x, 5), -1);
    expect_bytes(row, want, sizeof row);
    quant_unpack_row(Q8, row, 5, y);
    ck_assert(y[0] == x[0] && y[1] == x[1] && y[2] == 0 && y[3] == 0 && y[4] == x[4]);
}
END_TEST

/* By its definition, number by number. */
START_TEST(test_rotate)
{
    float x[QUANT_GROUP], y[QUANT_GROUP];
    for (int i = 0; i < QUANT_GROUP; i++)
        x[i] = y[i] = (float)(i * i % 37 - 11);
    quant_rotate(y);
    for (int i = 0; i < QUANT_GROUP; i++) {
        float sum = 0;
        for (int k = 0; k < QUANT_GROUP; k++)
            sum += __builtin_parity((unsigned)(i & k)) ? -x[k] : x[k];
        ck_assert_msg(y[i] == sum, "number %d is %g, not %g", i, (double)y[i], (double)sum);
    }
}
END_TEST

/* Levels that are all met exactly show the scale; every level and both signs of a scale come up. */
START_TEST(test_int4_bytes)
{
    float x[66] = { [0] = -128, [1] = 105, [16] = 33, [32] = 128, [33] = -9, [34] = 64, [64] = -3 };
    uint8_t row[54], want[54];
    memset(want, 0x88, sizeof want);
    /* scale 1: q -8, 7 and, above the first, 3 */
    memcpy(want, (uint8_t[]){ 0x80, 0x3f, 0xb0, 0x8f }, 4);
    /* 128 is at the long end, so the scale is negative; 64 is nearest to 65 there, and the scale follows:
     * (128 * 128 + 9 * 9 + 64 * 65) / (128 * 128 + 9 * 9 + 65 * 65) rounds to 0.996 */
    memcpy(want + 18, (uint8_t[]){ 0x7f, 0xbf, 0x80, 0x89, 0x83 }, 5);
    /* a number alone is exact with any of the scales; the first is taken */
    memcpy(want + 36, (uint8_t[]){ 0xc0, 0x3c, 0x80 }, 3);
    ck_assert_uint_eq(quant_row_bytes(Q4, 66), 54);
    ck_assert_int_eq(quant_pack_row(Q4, row, F32, x, 66), -1);
    expect_bytes(row, want, sizeof row);
    for (int i = 0; i < 66; i++)
        ck_assert_msg(fabsf(quant_get(Q4, row, i) - x[i]) <= 1, "column %d is %g, not %g", i,
                      (double)quant_get(Q4, row, i), (double)x[i]);
    static const int levels[16] = { -128, -105, -84, -65, -48, -33, -20, -9, 0, 9, 20, 33, 48, 65, 84, 105 };
    for (int q = 0; q < 16; q++)
        ck_assert_int_eq(quant_level(q), levels[q]);
}
END_TEST

/* With the scale that is stored, every number has the level that is nearest to it. */
START_TEST(test_int4_takes_the_nearest)
{
    uint32_t seed = 3;
    for (int round = 0; round < 200; round++) {
        float x[QUANT_GROUP], y[QUANT_GROUP];
        uint8_t row[QUANT_Q4_BYTES];
        for (int i = 0; i < QUANT_GROUP; i++) {
            seed = seed * 1664525u + 1013904223u;
            x[i] = (float)(int32_t)seed * 0x1p-31f;
            x[i] *= fabsf(x[i]);
        }
        ck_assert_int_eq(quant_pack_row(Q4, row, F32, x, QUANT_GROUP), -1);
        quant_unpack_row(Q4, row, QUANT_GROUP, y);
        uint16_t h;
        memcpy(&h, row, 2);
        for (int i = 0; i < QUANT_GROUP; i++)
            for (int q = 0; q < 16; q++)
                ck_assert_msg(fabsf(x[i] - y[i]) <= fabsf(x[i] - (float)quant_level(q) * bf16_get(h)) * 1.0001f + 1e-6f,
                              "%g is nearer to level %d", (double)x[i], q);
    }
}
END_TEST

START_TEST(test_fp8)
{
    static const float x[] = { 448, 1, -3, 0x1p-9f, 0 };
    uint8_t row[36], want[36] = { 0x00, 0x00, 0x80, 0x3f, 0x7e, 0x38, 0xc4, 0x01 };
    ck_assert_int_eq(quant_pack_row(F8, row, F32, x, 5), -1);
    expect_bytes(row, want, sizeof row);
    for (int b = 0; b < 256; b++)
        if ((b & 0x7f) != 0x7f)                                      /* NaN */
            ck_assert_uint_eq(f8_put(f8_get((uint8_t)b)), b);
    ck_assert(f8_get(0x7e) == 448 && f8_get(0x01) == 0x1p-9f && f8_get(0x08) == 0x1p-6f && f8_get(0xc4) == -3);
    /* ties to even */
    ck_assert(f8_put(17) == 0x58 && f8_put(19) == 0x5a && f8_put(1e30f) == 0x7e && f8_put(0x1.8p-10f) == 1);
}
END_TEST

static uint32_t state = 7;
static float draw(void)                          /* -1 .. 1 */
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1;
}

/* Where a row is rotated its error has a bound in what is stored. */
static void check_rotated(const float *x, const float *y, int n)
{
    float a[320] = { 0 }, b[320] = { 0 }, most = 0;
    int whole = (n + QUANT_GROUP - 1) / QUANT_GROUP * QUANT_GROUP;
    memcpy(a, x, sizeof *x * (size_t)n);
    memcpy(b, y, sizeof *y * (size_t)n);
    for (int i = 0; i < whole; i += QUANT_GROUP) {
        for (int k = 0; k < QUANT_GROUP; k++) {
            a[i + k] /= QUANT_GROUP;
            b[i + k] /= QUANT_GROUP;
        }
        quant_rotate(a + i);
        quant_rotate(b + i);
    }
    for (int i = 0; i < whole; i++)
        most = fmaxf(most, fabsf(a[i]));
    for (int i = 0; i < n / QUANT_GROUP * QUANT_GROUP; i++)         /* whole groups: what is cut off carries some too */
        ck_assert_msg(fabsf(a[i] - b[i]) <= most / 127 * 0.501f, "%g became %g of %g", (double)a[i], (double)b[i],
                      (double)most);
    double square = 0;
    for (int i = 0; i < n; i++)
        square += pow((double)(x[i] - y[i]) / (double)most, 2);
    ck_assert_double_le(sqrt(square / whole), sqrt(QUANT_GROUP) / 127 * 0.501);
}

static void check_channel(enum dtype t, const float *x, const float *y, int n)
{
    float most = 0;
    if (quant_rotates(t)) {
        check_rotated(x, y, n);
        return;
    }
    for (int i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    float s = most / 448;
    for (int i = 0; i < n; i++) {
        float bound = fmaxf(fabsf(x[i]) / 16, s * 0x1p-10f);
        ck_assert_msg(fabsf(x[i] - y[i]) <= bound + 1e-4f * s, "%g became %g; the scale is %g", (double)x[i],
                      (double)y[i], (double)s);
    }
}

/* A bfloat16 scale may be off by one part in 256. */
static void check_group(const float *x, const float *y, int n)
{
    float most = 0;
    double square = 0;
    for (int i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    for (int i = 0; i < n; i++) {
        ck_assert_msg(fabsf(x[i] - y[i]) <= most / 7 * 1.04f, "%g became %g of %g", (double)x[i], (double)y[i],
                      (double)most);
        square += (double)(x[i] - y[i]) * (double)(x[i] - y[i]) / (double)most / (double)most;
    }
    ck_assert_double_le(sqrt(square / QUANT_GROUP), 1 / 14.0 * (1 + 1 / 256.0));
}

START_TEST(test_bounds)
{
    static const int widths[] = { 1, 31, 32, 33, 64, 100, 300 };
    static const float sizes[] = { 1e-25f, 1e-3f, 1, 1e4f, 1e37f };
    float x[300], y[300];
    uint8_t row[4 + 320 + 1], half[600];
    for (int k = 0; k < 300; k++) {
        int n = widths[k % 7];
        enum dtype from = k % 5 == 1 || k % 5 == 2 ? (enum dtype[]){ F32, F16, BF16 }[k % 3] : k % 2 ? BF16 : F32;
        for (int i = 0; i < n; i++) {
            float v = draw() * draw() * draw() * sizes[k % 5];       /* few large ones, as weights are */
            if (from != F32)
                half_store(from, half, (size_t)i, v);
            x[i] = from == F32 ? v : half_load(from, half, (size_t)i);
        }
        for (int t = 0; t < 3; t++) {
            enum dtype type = (enum dtype[]){ Q8, Q4, F8 }[t];
            memset(row, 0xaa, sizeof row);
            ck_assert_int_eq(quant_pack_row(type, row, from, from == F32 ? (void *)x : half, n), -1);
            ck_assert_uint_eq(row[quant_row_bytes(type, n)], 0xaa);
            quant_unpack_row(type, row, n, y);
            if (type != Q4)
                check_channel(type, x, y, n);
            for (int i = 0; type == Q4 && i < n; i += QUANT_GROUP)
                check_group(x + i, y + i, n - i < QUANT_GROUP ? n - i : QUANT_GROUP);
        }
    }
}
END_TEST

START_TEST(test_edges)
{
    static const enum dtype types[] = { Q8, Q4, F8 };
    float zeros[40] = { 0 }, tiny[40] = { [3] = 1e-40f, [39] = -1e-31f },
        large[40] = { [5] = 3.4e38f, [6] = -3.4e38f }, y[40];
    uint8_t row[70];
    for (int t = 0; t < 3; t++) {
        enum dtype type = types[t];
        quant_pack_row(type, row, F32, zeros, 40);
        quant_unpack_row(type, row, 40, y);
        for (int i = 0; i < 40; i++)
            ck_assert(y[i] == 0);
        quant_pack_row(type, row, F32, tiny, 40);
        quant_unpack_row(type, row, 40, y);
        for (int i = 0; i < 40; i++)
            ck_assert(y[i] == 0);
        ck_assert_int_eq(quant_pack_row(type, row, F32, large, 40), -1);
        quant_unpack_row(type, row, 40, y);
        ck_assert(isfinite(y[5]) && isfinite(y[6]) && y[5] > 2.9e38f && y[6] < -2.9e38f && y[7] == 0);
        for (int i = 0; i < 3; i++) {
            float bad[40] = { 1, 2, 3 };
            bad[i * 19] = i == 0 ? NAN : i == 1 ? INFINITY : -INFINITY;
            ck_assert_int_eq(quant_pack_row(type, row, F32, bad, 40), i * 19);
        }
    }
    ck_assert_uint_eq(quant_row_bytes(F32, 7), 28);
    ck_assert_uint_eq(quant_row_bytes(BF16, 7), 14);
}
END_TEST

static const struct backend *const backends[] = { &backend_ref, &backend_cpu };

/* Of several numbers that are not finite the first is named, with its tensor. */
START_TEST(test_refuses)
{
    enum { ROWS = 3000, IN = 400 };
    const struct backend *b = backends[_i];
    struct device *dev;
    struct err e = { 0 };
    float *x = xcalloc(ROWS * IN, sizeof *x), good[IN] = { 1 };
    x[2000 * IN + 7] = NAN;
    x[2999 * IN + 1] = INFINITY;
    struct slab slabs[] = { { .data = good, .dtype = F32, .rows = 1, .name = "good.weight" },
                            { .data = x, .dtype = F32, .rows = ROWS, .name = "layer.7.weight" } };
    struct weight w = { .out = ROWS + 1, .in = IN }, depth = { .out = 1, .in = IN, .layout = LAYOUT_DEPTHWISE };
    ck_assert_int_eq(b->open(&dev, &(struct device_options){ .threads = 3 }, &e), 0);
    for (int t = 0; t < 3; t++) {
        ck_assert_int_eq(b->pack(dev, &w, slabs, 2, NULL, (enum dtype[]){ Q8, Q4, F8 }[t], &e), -1);
        ck_assert_msg(strstr(e.text, "layer.7.weight") && strstr(e.text, "row 2000, column 7"), "%s", e.text);
        ck_assert_ptr_null(w.data);
    }
    x[2000 * IN + 7] = x[2999 * IN + 1] = 0;
    ck_assert_int_eq(b->pack(dev, &w, slabs, 2, NULL, Q4, &e), 0);
    /* or filled up: to 448 columns, 3008 rows */
    size_t q4 = (size_t)(ROWS + 1) * 13 * 18, q8 = (size_t)(ROWS + 1) * (4 + 416);
    ck_assert(b->packed_bytes(&w, Q4) >= q4 && b->packed_bytes(&w, Q4) <= q4 * 448 / 416 * 3008 / 3001);
    ck_assert(b->packed_bytes(&w, Q8) >= q8 && b->packed_bytes(&w, Q8) <= q8 * 448 / 416 * 3008 / 3001);
    b->release(dev, &w);
    ck_assert_int_eq(b->pack(dev, &depth, slabs, 1, NULL, Q8, &e), -1);
    b->close(dev);
    free(x);
}
END_TEST

/* Kilobytes of the mapping at p that are in memory. */
static long resident(const void *p)
{
    char line[512], start[64];
    long kb = -1;
    bool here = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    snprintf(start, sizeof start, "%lx-", (unsigned long)(uintptr_t)p);
    while (f && kb < 0 && fgets(line, sizeof line, f)) {
        here = here || !strncmp(line, start, strlen(start));
        if (here && !strncmp(line, "Rss:", 4))
            kb = strtol(line + 4, NULL, 10);
    }
    if (f)
        fclose(f);
    return kb;
}

START_TEST(test_gives_pages_back)
{
    enum { ROWS = 4096, IN = 1000 };
    const struct backend *b = backends[_i];
    struct device *dev;
    struct err e = { 0 };
    char path[] = "/tmp/quant-XXXXXX";
    int fd = mkstemp(path);
    size_t bytes = (size_t)ROWS * IN * sizeof(uint16_t);
    uint16_t *data = xmalloc(bytes);
    for (size_t i = 0; i < (size_t)ROWS * IN; i++)
        data[i] = bf16_put(draw());
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, bytes), (int)bytes);
    uint16_t *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    ck_assert(map != MAP_FAILED);
    ck_assert_int_eq(memcmp(map, data, bytes), 0);
    if (resident(map) < 0)
        puts("skip: no /proc/self/smaps");
    else
        ck_assert_int_ge(resident(map), (long)(bytes >> 10));
    struct slab from_file = { .data = map, .dtype = BF16, .rows = ROWS, .name = "x", .mapped = true },
                from_memory = { .data = data, .dtype = BF16, .rows = ROWS, .name = "x" };
    struct weight w[2] = { { .out = ROWS, .in = IN }, { .out = ROWS, .in = IN } };
    ck_assert_int_eq(b->open(&dev, &(struct device_options){ .threads = 2 }, &e), 0);
    ck_assert_int_eq(b->pack(dev, &w[0], &from_file, 1, NULL, Q8, &e), 0);
    ck_assert_int_le(resident(map), 16);
    ck_assert_int_eq(b->pack(dev, &w[1], &from_memory, 1, NULL, Q8, &e), 0);
    ck_assert_int_eq(memcmp(map, data, bytes), 0);       /* nothing was lost, neither there nor in ordinary memory */
    b->release(dev, &w[0]);
    b->release(dev, &w[1]);
    b->close(dev);
    munmap(map, bytes);
    unlink(path);
    close(fd);
    free(data);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quant");
    TCase *t = tcase_create("quant");
    int n = sizeof backends / sizeof *backends;
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_int8_bytes);
    tcase_add_test(t, test_int8_rotated_bytes);
    tcase_add_test(t, test_rotate);
    tcase_add_test(t, test_int4_bytes);
    tcase_add_test(t, test_int4_takes_the_nearest);
    tcase_add_test(t, test_fp8);
    tcase_add_test(t, test_bounds);
    tcase_add_test(t, test_edges);
    tcase_add_loop_test(t, test_refuses, 0, n);
    tcase_add_loop_test(t, test_gives_pages_back, 0, n);
    return suite_run(s);
}
