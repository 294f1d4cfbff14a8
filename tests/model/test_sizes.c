/* Sizes of resized images with the published settings, and what requests may
 * change about them. */
#include <check.h>
#include <string.h>

#include "model/families/glm4v.c"
#include "model/measure.h"
#include "tests/model/tested.h"
#include "tests/suite.h"

static struct glm4v glm = { .vlm.patches = { .patch = 14, .merge = 2, .frames = 2, .shortest = 12544,
                                             .longest = 9633792 } };
static struct model model = { .impl = &glm, .image_token = 7 };

/* The phone agent's screenshot. */
START_TEST(test_glm4v)
{
    static const struct { struct image_options opt; int w, h, tokens; } cases[] = {
        { { 0 }, 1092, 2408, 3354 },
        { { .max_pixels = 5000000 }, 1092, 2408, 3354 },          /* the agent's deployment guide */
        { { .size_longest = 5000000 }, 1036, 2352, 3108 },        /* the reference's meaning      */
        { { .max_pixels = 5000000, .max_tokens = 256 }, 280, 644, 230 },
        { { .min_pixels = 4000000 }, 1344, 2996, 5136 },
    };
    struct image_plan p;
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_int_eq(glm4v_plan_image(&model, 1080, 2400, &cases[i].opt, &p, &e), 0);
        ck_assert_msg(p.width == cases[i].w && p.height == cases[i].h && p.n_tokens == cases[i].tokens,
                      "case %zu: %d x %d, %d tokens", i, p.width, p.height, p.n_tokens);
        ck_assert_int_eq(p.grid_w * 28, p.width);
        ck_assert_int_eq(p.grid_h * 28, p.height);
    }
}
END_TEST

START_TEST(test_refused)
{
    static const int sizes[][2] = { { 0, 5 }, { 5, 0 }, { -1, 5 }, { 1, 100000 }, { 4096, 20 }, { 2000000000, 1 } };
    struct image_plan p;
    struct err e;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int rc = glm4v_plan_image(&model, sizes[i][0], sizes[i][1], NULL, &p, &e);
        ck_assert_msg(rc == -1 || (i == 4 && rc == 0), "%d x %d", sizes[i][0], sizes[i][1]);
    }
    struct image_options huge = { .min_pixels = INT64_MAX, .max_pixels = INT64_MAX };
    ck_assert_int_eq(glm4v_plan_image(&model, 1080, 2400, &huge, &p, &e), -1);
    huge = (struct image_options){ .size_shortest = INT64_MAX / 4, .size_longest = INT64_MAX / 2,
                                   .max_tokens = 1 << 30 };
    ck_assert_int_eq(glm4v_plan_image(&model, 1080, 2400, &huge, &p, &e), -1);
}
END_TEST

/* Text counts up, an image takes rows and columns, what follows starts after its longer side. */
START_TEST(test_positions)
{
    static const int32_t ids[] = { 1, 2, 7, 7, 7, 7, 7, 7, 3, 7, 7, 4 };
    static const int32_t want[3][12] = { { 0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 6, 8 },
                                         { 0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7, 8 },
                                         { 0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 6, 8 } };
    struct image_plan images[2] = { { .grid_h = 2, .grid_w = 3, .n_tokens = 6 },
                                    { .grid_h = 2, .grid_w = 1, .n_tokens = 2 } };
    int32_t pos[36];
    ck_assert_int_eq(patches_positions(&model, ids, 12, images, 2, pos), 9);
    ck_assert(!memcmp(pos, want, sizeof want));
}
END_TEST

/* ---- the largest image: no shape that is accepted may take more ---- */

static const struct image_options limits[] = {
    { 0 }, { .max_pixels = 20000 }, { .min_pixels = 100000, .max_pixels = 100000 },
    { .min_pixels = 700000, .max_pixels = 1000000 },
    { .max_tokens = 64 }, { .min_pixels = 784, .max_pixels = 784 * 3 }, { .min_pixels = 3136 },
};
enum { N_LIMITS = sizeof limits / sizeof *limits };

/* Sides to try: every short one, and ever rarer long ones, among them those where a side falls below a block or a ratio
 * meets its limit. */
static int sides(int *out, int most)
{
    static const int more[] = { 1999, 2000, 4095, 4096, 4097, 5600, 8064, 65535, 100000 };
    int n = 0;
    for (int k = 1; k <= most; k += 1 + k / 64 * (k > 300))
        out[n++] = k;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        out[n++] = more[i];
    return n;
}

struct most { int tokens, cells, w, h; size_t bytes; };

static struct most brute_force(const struct model *m, const struct image_options *opt, int64_t pixels)
{
    static int side[4000];
    struct most most = { 0 };
    int n = sides(side, 9000);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            struct image_plan p;
            if ((int64_t)side[i] * side[k] > pixels || m->family->plan_image(m, side[i], side[k], opt, &p, NULL) != 0)
                continue;
            size_t bytes = p.n_views ? plan_bytes(&p) : (size_t)p.width * (size_t)p.height * 3;
            most.bytes = bytes > most.bytes ? bytes : most.bytes;
            if (p.n_tokens > most.tokens)
                most = (struct most){ p.n_tokens, p.n_cells, side[i], side[k], most.bytes };
        }
    return most;
}

static const char *const checkpoints[] = { "tests/model/glm4v/grouped", "tests/model/qwen2_vl/grouped",
                                           "tests/model/qwen2_5_vl/windows",
                                           "tests/model/qwen3_vl/deepstack", "tests/model/phone/glm4v",
                                           "tests/model/smolvlm/published", "tests/model/smolvlm/idefics3",
                                           "tests/model/llava_next/published", "tests/model/llava_onevision/tiles",
                                           "tests/model/idefics2/published", "tests/model/idefics2/whole",
                                        "models/open-autoglm-v1" };
static const int64_t uploads[] = { 48 << 20, 4096 * 4096, 40000, 300 };

START_TEST(test_largest)
{
    struct err e;
    struct model *m = model_open(checkpoints[_i], &(struct model_options){ .backend = &backend_ref }, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    for (int i = 0; i < N_LIMITS; i++)
        for (size_t k = 0; k < sizeof uploads / sizeof *uploads; k++) {
            struct image_plan p;
            m->family->largest_image(m, &limits[i], uploads[k], &p);
            struct most found = brute_force(m, &limits[i], uploads[k]);
            ck_assert_msg(found.tokens <= p.n_tokens && found.cells <= p.n_cells,
                          "%s, limits %d, %lld pixels: %d x %d takes %d, not %d",
                          checkpoints[_i], i, (long long)uploads[k], found.w, found.h, found.tokens, p.n_tokens);
            ck_assert_uint_le(found.bytes, plan_bytes(&p));
            /* Nor is much more planned than there can be: ratios between those tried here take a little more. (A small
             * upload does not get the largest canvas, but is planned for as if it did.) */
            bool small = p.n_views && uploads[k] < 40000;
            ck_assert_msg(small || p.n_tokens <= found.tokens + found.tokens / 100 + 20, "%s, limits %d, %lld pixels: "
                          "%d planned, %d found", checkpoints[_i], i, (long long)uploads[k], p.n_tokens, found.tokens);
            ck_assert(p.n_views || p.n_tokens == p.grid_h * p.grid_w);
            ck_assert(p.n_views || p.width == p.grid_w * m->image_align);
            ck_assert(p.n_views || p.height == p.grid_h * m->image_align);
        }
    model_close(m);
}
END_TEST

/* What a request may ask for beside the server's limits. */
static const struct image_options asked[] = {
    { 0 }, { .max_tokens = 30 }, { .max_pixels = 3000 }, { .size_shortest = 1, .size_longest = 60 },
    { .size_longest = 100 }, { .size_shortest = 4, .size_longest = 300 }, { .size_longest = 4096 }, { .n_images = 2 },
};

/* Is the image within the limits that the engine keeps? */
static bool within(const struct image_plan *p, const struct image_plan *most)
{
    return p->n_tokens <= most->n_tokens && plan_bytes(p) <= plan_bytes(most) &&
        (!most->n_together || p->n_together <= most->n_together);
}

/* No image that the engine lets through takes more memory while it is encoded than was measured with the largest. */
START_TEST(test_encoding)
{
    static const int sides[] = { 1, 2, 5, 17, 31, 39, 65, 100, 400, 3000 };
    enum { SIDES = sizeof sides / sizeof *sides, ASKED = sizeof asked / sizeof *asked };
    char folder[128];
    struct err e;
    snprintf(folder, sizeof folder, "tests/model/%s/published", families_tested[_i]);
    struct model *m = model_open(folder, &(struct model_options){ .backend = &backend_ref }, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    struct image_plan most, p;
    if (m->family->plan_image) {
        m->family->largest_image(m, &(struct image_options){ 0 }, 1 << 22, &most);
        struct pass_memory planned = model_measure_encode(m, &most);
        for (int i = 0; i < SIDES * SIDES * ASKED; i++) {
            int w = sides[i / SIDES % SIDES], h = sides[i % SIDES];
            if (m->family->plan_image(m, w, h, &asked[i / SIDES / SIDES], &p, NULL) != 0 || !within(&p, &most))
                continue;
            struct pass_memory taken = model_measure_encode(m, &p);
            ck_assert_msg(taken.scratch <= planned.scratch && taken.host <= planned.host + planned.host / 8,
                          "%s: %d x %d, asked for %d: %zu bytes and %zu in the host, planned %zu and %zu", folder, w, h,
                          i / SIDES / SIDES, taken.scratch, taken.host, planned.scratch, planned.host);
        }
    }
    model_close(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sizes");
    TCase *t = tcase_create("sizes");
    tcase_add_test(t, test_glm4v);
    tcase_add_test(t, test_refused);
    tcase_add_test(t, test_positions);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_encoding, 0, N_FAMILIES_TESTED);
    tcase_add_loop_test(t, test_largest, 0, sizeof checkpoints / sizeof *checkpoints);
    suite_add_tcase(s, t);
    return suite_run(s);
}
