/* tests/kernels/test_cpu.c - backend `cpu` apart from its operations: the
 * thread pool, weights in place, memory, and the list of backends. */
#include <check.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/threads.h"
#include "kernels/half.h"
#include "kernels/ops.h"
#include "tests/suite.h"

enum { COUNT = 1000 };

struct tally { _Atomic int hits[COUNT]; int workers; };

static void hit(void *arg, int index, int worker)
{
    struct tally *t = arg;
    ck_assert(worker >= 0 && worker < t->workers);
    atomic_fetch_add(&t->hits[index], 1);
}

START_TEST(test_pool)
{
    for (int threads = 1; threads <= 5; threads++) {
        struct pool *p = pool_open(threads);
        static struct tally t;
        memset(&t, 0, sizeof t);
        t.workers = pool_size(p);
        ck_assert_int_eq(t.workers, threads);
        int expected[COUNT] = { 0 };
        for (int run = 0; run < 300; run++) {
            int n = run % 7 == 0 ? COUNT : run % 5;
            if (run % 50 == 49)
                usleep(2000);                                  /* the helpers have gone to sleep */
            pool_run(p, n, hit, &t);
            for (int i = 0; i < n; i++)
                expected[i]++;
        }
        for (int i = 0; i < COUNT; i++)
            ck_assert_int_eq(t.hits[i], expected[i]);
        pool_close(p);
    }
    pool_close(NULL);
}
END_TEST

START_TEST(test_pool_sleeps)
{
    struct pool *p = pool_open(4);
    static struct tally t = { .workers = 4 };
    struct timespec a, b;
    pool_run(p, COUNT, hit, &t);
    usleep(20000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    usleep(200000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    ck_assert_msg((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9 < 0.02,
                  "idle threads burn processor time");
    pool_close(p);
}
END_TEST

START_TEST(test_in_place)
{
    struct device *dev;
    struct err e;
    static const uint16_t half[12];
    static const float full[6];
    static char odd[64] __attribute__((aligned(16)));
    struct slab a = { .data = half, .dtype = BF16, .rows = 2 }, b = { .data = half + 6, .dtype = BF16, .rows = 2 },
        c = { .data = full, .dtype = F32, .rows = 2 };
    struct slab same[] = { a, b }, mixed[] = { a, c }, unaligned = { .data = odd + 1, .dtype = F32, .rows = 2 };
    struct weight w = { .out = 4, .in = 3 }, small = { .out = 2, .in = 3 };
    ck_assert_int_eq(backend_cpu.open(&dev, &(struct device_options){ .threads = 2 }, &e), 0);
    ck_assert_int_eq(backend_cpu.pack(dev, &w, same, 2, NULL, BF16, &e), 0);
    ck_assert(weight_row(&w, 0) == half && weight_row(&w, 1) == half + 3 && weight_row(&w, 3) == half + 9);
    backend_cpu.release(dev, &w);
    ck_assert_ptr_null(w.data);
    ck_assert_int_eq(backend_cpu.pack(dev, &w, mixed, 2, (float[]){ 1, 2, 3, 4 }, BF16, &e), 0);
    ck_assert(weight_row(&w, 1) == half + 3 && weight_row(&w, 2) != (const void *)full && w.bias[3] == 4);
    backend_cpu.release(dev, &w);
    ck_assert_int_eq(backend_cpu.pack(dev, &small, &unaligned, 1, NULL, F32, &e), 0);
    ck_assert_uint_eq((uintptr_t)weight_row(&small, 0) % 4, 0);
    backend_cpu.release(dev, &small);
    ck_assert_int_eq(backend_cpu.pack(dev, &w, same, 1, NULL, BF16, &e), -1);        /* too few rows */
    ck_assert_int_eq(backend_cpu.pack(dev, &w, same, 2, NULL, I32, &e), -1);
    w.dtype = BF16;
    ck_assert_uint_eq(backend_cpu.packed_bytes(&w, BF16), 24);    /* pages of the file, but they stay in use */
    ck_assert_uint_eq(backend_cpu.packed_bytes(&w, F32), 48);
    backend_cpu.close(dev);
}
END_TEST

/* Blocks lie one behind the other, keep what is in them, and their places are found again. */
START_TEST(test_blocks)
{
    enum { N = 9, EACH = 32000000, LARGE = 300 << 20 };
    struct blocks b = { 0 };
    char *p[N];
    for (int i = 0; i < N; i++) {
        p[i] = blocks_alloc(&b, EACH + (size_t)i);
        ck_assert(p[i] && (uintptr_t)p[i] % 64 == 0);
        p[i][0] = p[i][EACH + i - 1] = (char)i;
    }
    ck_assert(p[1] > p[0] && p[1] - p[0] < EACH + 256);           /* not a page of its own for each */
    char *large = blocks_alloc(&b, LARGE);
    large[0] = large[LARGE - 1] = 1;
    for (int i = 0; i < N; i++)
        ck_assert(p[i][0] == i && p[i][EACH + i - 1] == i);
    for (int i = N; i-- > 0;)
        blocks_free(&b, p[i]);
    blocks_free(&b, large);
    blocks_free(&b, NULL);
    ck_assert_ptr_eq(blocks_alloc(&b, EACH), large);               /* of the newest region */
    blocks_free(&b, large);
    ck_assert_ptr_eq(p[0] = blocks_alloc(&b, EACH), large);
    ck_assert_ptr_ne(p[1] = blocks_alloc(&b, EACH), NULL);
    blocks_free(&b, p[1]);
    ck_assert_ptr_eq(blocks_alloc(&b, 1), p[1]);                   /* the last one's place */
    ck_assert_ptr_ne(p[2] = blocks_alloc(&b, EACH), NULL);
    blocks_free(&b, p[1]);
    blocks_free(&b, p[2]);
    ck_assert_ptr_eq(blocks_alloc(&b, EACH), p[1]);                /* and that of those before it that are free */
    blocks_free(&b, p[0]);
    ck_assert_ptr_null(blocks_alloc(&b, SIZE_MAX - 3));
    blocks_close(&b);
}
END_TEST

START_TEST(test_device)
{
    struct device *dev;
    struct err e;
    ck_assert_ptr_eq(backend_find("cpu", &e), &backend_cpu);
    ck_assert_ptr_eq(backend_find("ref", &e), &backend_ref);
    ck_assert_ptr_null(backend_find("abacus", &e));
    ck_assert_str_eq(e.text, "there is no such device; choose auto, cpu, ref or cuda");
    setenv("OPENAUTOGLM_ISA", "mmx", 1);
    ck_assert_int_eq(backend_cpu.open(&dev, &(struct device_options){ .threads = 1 }, &e), -1);
    setenv("OPENAUTOGLM_ISA", "generic", 1);
    ck_assert_int_eq(backend_cpu.open(&dev, &(struct device_options){ 0 }, &e), 0);
    ck_assert_ptr_eq(cpu_kernels(dev), &kernels_generic);
    ck_assert_uint_gt(backend_cpu.memory(dev), 1 << 20);
    for (size_t n = 0; n < 20 << 20; n = n * 5 + 1) {
        char *p = backend_cpu.alloc(dev, n);
        ck_assert(p && (uintptr_t)p % 64 == 0);
        memset(p, 1, n);
        backend_cpu.free(dev, p);
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)      /* they end the program */
    ck_assert_ptr_null(backend_cpu.alloc(dev, SIZE_MAX / 2));
#endif
    backend_cpu.close(dev);
    backend_cpu.close(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu");
    TCase *t = tcase_create("cpu");
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_pool);
    tcase_add_test(t, test_pool_sleeps);
    tcase_add_test(t, test_in_place);
    tcase_add_test(t, test_blocks);
    tcase_add_test(t, test_device);
    return suite_run(s);
}
