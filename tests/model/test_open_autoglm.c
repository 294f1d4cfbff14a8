/* The native family on the backends whose memory is the host's, and its sizes of images. */
#include <stdbool.h>

static const char *const backends[] = { "ref", "cpu", 0 };
static const bool thorough = true;

#include "tests/model/native.c"
#include "tests/suite.h"

/* Sizes from python/openautoglm/preprocess.py. */
START_TEST(test_plan)
{
    static const int cases[][4] = { { 1080, 2400, 288, 672 }, { 288, 640, 288, 640 }, { 37, 211, 32, 192 }, { 20, 20, 32, 32 },
                                    { 4096, 4096, 448, 448 }, { 40, 4000, 32, 4000 }, { 31, 900, 32, 896 }, { 5, 999, 32, 992 } };
    struct autoglm g = { .factor = 32, .max_tokens = 200, .merge = 2 };
    struct model m = { .impl = &g };
    struct image_plan p;
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_int_eq(autoglm_plan_image(&m, cases[i][0], cases[i][1], NULL, &p, &e), 0);
        ck_assert_msg(p.width == cases[i][2] && p.height == cases[i][3], "%d x %d becomes %d x %d", cases[i][0], cases[i][1],
                      p.width, p.height);
        ck_assert_int_eq(p.n_tokens, p.width / 32 * (p.height / 32));
    }
    ck_assert_int_eq(autoglm_plan_image(&m, 0, 10, NULL, &p, &e), -1);
    ck_assert_int_eq(autoglm_plan_image(&m, 1, 4000, NULL, &p, &e), -1);
    ck_assert_int_eq(autoglm_plan_image(&m, 1080, 2400, &(struct image_options){ .max_tokens = 20 }, &p, &e), 0);
    ck_assert_int_le(p.n_tokens, 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("open_autoglm");
    TCase *t = tcase_create("golden");
    tcase_set_timeout(t, 240);
    tcase_add_test(t, test_native);
    tcase_add_test(t, test_plan);
    suite_add_tcase(s, t);
    return suite_run(s);
}
