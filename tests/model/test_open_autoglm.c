/* The native family on the backends whose memory is the host's, and its sizes of images. */
#include <stdbool.h>

static const char *const backends[] = { "ref", "cpu", 0 };
static const bool thorough = true;

#include "tests/model/native.c"
#include "tests/suite.h"

/* Sizes from python/openautoglm/preprocess.py. */
START_TEST(test_plan)
{
    static const int cases[][4] = { { 1080, 2400, 288, 672 }, { 288, 640, 288, 640 }, { 37, 211, 32, 192 },
                                    { 20, 20, 32, 32 },
                                    { 4096, 4096, 448, 448 }, { 40, 4000, 32, 4000 }, { 31, 900, 32, 896 },
                                    { 5, 999, 32, 992 } };
    struct autoglm g = { .factor = 32, .max_tokens = 200, .merge = 2 };
    struct model m = { .impl = &g };
    struct image_plan p;
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_int_eq(autoglm_plan_image(&m, cases[i][0], cases[i][1], NULL, &p, &e), 0);
        ck_assert_msg(p.width == cases[i][2] && p.height == cases[i][3], "%d x %d becomes %d x %d", cases[i][0],
                      cases[i][1],
                      p.width, p.height);
        ck_assert_int_eq(p.n_tokens, p.width / 32 * (p.height / 32));
    }
    ck_assert_int_eq(autoglm_plan_image(&m, 0, 10, NULL, &p, &e), -1);
    ck_assert_int_eq(autoglm_plan_image(&m, 1, 4000, NULL, &p, &e), -1);
    ck_assert_int_eq(autoglm_plan_image(&m, 1080, 2400, &(struct image_options){ .max_tokens = 20 }, &p, &e), 0);
    ck_assert_int_le(p.n_tokens, 20);
}
END_TEST

static struct image_range last_alone(const struct model *m, const int32_t *ids, int n, const struct image_plan *images,
                                     int n_images, struct image_range *sees)
{
    struct image_range next = autoglm_sees(m, ids, n, images, n_images, sees);
    for (int i = 0; i < n; i++)
        sees[i].first = sees[i].end > 0 ? sees[i].end - 1 : 0;
    next.first = next.end - 1;
    return next;
}

enum { SIDE = 96, WORDS = 6, MOST = 64, VOCAB = 4096 };

/* Two pictures with words between and behind them, then three more tokens: the logits of all that is behind the
 * second. */
static int two_pictures(const char *backend, const uint8_t *first, const uint8_t *second, bool every, int chunk,
                        float *logits)
{
    static float all[MOST * VOCAB];
    static const int32_t next[3] = { 21, 22, 23 };
    struct rig g;
    struct err e;
    rig_open(&g, backend, "tests/model/open_autoglm/tiny-wide", MOST, F32);
    struct family family = *g.m->family;
    family.sees = every ? family.sees : last_alone;
    ((struct model *)g.m)->family = &family;
    rig_image(&g, first, SIDE, SIDE);
    rig_image(&g, second, SIDE, SIDE);
    int32_t ids[MOST];
    int n = 0, begin = 0, vocab = g.m->vocab;
    ck_assert_int_le(vocab, VOCAB);
    for (int image = 0; image < 2; image++) {
        for (int k = 0; k < g.t.plan[image].n_tokens; k++)
            ids[n++] = g.m->image_token;
        begin = n;
        for (int k = 0; k < WORDS; k++)
            ids[n++] = 5 + k;
    }
    ck_assert_int_eq(trial_prompt(&g.t, ids, n, chunk, all, &e), 0);
    ck_assert_int_eq(trial_follow(&g.t, ids, n, next, 3, all + n * vocab, &e), 0);
    int used = (n + 3 - begin) * vocab;
    memcpy(logits, all + begin * vocab, (size_t)used * sizeof *logits);
    rig_close(&g);
    return used;
}

static float distance(const float *a, const float *b, int n)
{
    float most = 0;
    for (int i = 0; i < n; i++)
        most = fmaxf(most, fabsf(a[i] - b[i]));
    return most;
}

/* What a family says of the images that a token sees is what its rows see: of two equal pictures the last alone says
 * the same as both, of two that differ it does not, and where a chunk ends makes no difference. */
START_TEST(test_sees)
{
    static float both[MOST * VOCAB], last[MOST * VOCAB];
    static uint8_t a[SIDE * SIDE * 3], b[SIDE * SIDE * 3];
    for (int i = 0; i < SIDE * SIDE * 3; i++) {
        a[i] = (uint8_t)(i * 7 % 251);
        b[i] = (uint8_t)(255 - i / SIDE % 200);
    }
    for (int i = 0; backends[i]; i++) {
        int n = two_pictures(backends[i], a, a, true, MOST, both);
        ck_assert_int_eq(two_pictures(backends[i], a, a, false, MOST, last), n);
        float equal = distance(both, last, n);
        two_pictures(backends[i], b, a, true, MOST, both);
        two_pictures(backends[i], b, a, false, MOST, last);
        float other = distance(both, last, n);
        ck_assert_msg(equal < 1e-5f && other > 100 * equal, "%s: equal pictures %g, others %g", backends[i],
                      (double)equal, (double)other);
        two_pictures(backends[i], b, a, false, 5, both);
        ck_assert_int_eq(memcmp(both, last, (size_t)n * sizeof *last), 0);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("open_autoglm");
    TCase *t = tcase_create("golden");
    tcase_set_timeout(t, 240);
    tcase_add_test(t, test_native);
    suite_add_tcase(s, t);
    t = tcase_create("images");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_plan);
    tcase_add_test(t, test_sees);
    suite_add_tcase(s, t);
    return suite_run(s);
}
