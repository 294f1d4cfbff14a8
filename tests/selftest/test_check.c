/* The looks of selftest/check.c: right for what is right, and every kind of wrong
 * is seen. Wrong families are the right one with one function replaced. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "selftest/check.h"
#include "tests/suite.h"

static const char *const checkpoints[] = { "tests/model/phone/glm4v", "tests/model/glm4v/tied",
                                           "tests/model/qwen3_vl/deepstack",
                                           "tests/model/qwen2_5_vl/windows", "models/open-autoglm-v1" };

static struct model *open_dry(const char *dir)
{
    struct err e;
    struct model_options opt = { .backend = &backend_ref };
    struct model *m = model_open(dir, &opt, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    return m;
}

static bool recorded(const char *dir) { return strstr(dir, "phone") || strstr(dir, "open-autoglm"); }

START_TEST(test_right)
{
    struct verdict v;
    struct model *m = open_dry(checkpoints[_i]);
    check_tensors(m, &v);
    ck_assert_msg(v.ok, "%s", v.text);
    check_positions(m, &v);
    ck_assert_msg(v.ok, "%s", v.text);
    check_preprocess(m, 270, 600, &v);
    ck_assert_msg(v.ok, "%s", v.text);
    ck_assert_msg((strstr(v.text, ", recorded") != NULL) == recorded(checkpoints[_i]), "%s", v.text);
    ck_assert_msg(recorded(checkpoints[_i]) || strstr(v.text, "filter's bytes as recorded"), "%s", v.text);
    model_close(m);
}
END_TEST

/* ---- what can be wrong ---- */

static const struct family *right;

static void one_off(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    right->pixel_values(m, p, rgb, out, shape);
    if (out)
        out[77] = nextafterf(out[77], 9);
}

static void swapped(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    right->pixel_values(m, p, rgb, out, shape);
    for (int i = 0; out && i < 50; i++) {
        float x = out[100 + i];
        out[100 + i] = out[200 + i];
        out[200 + i] = x;
    }
}

static void not_a_number(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out,
                         int shape[4])
{
    right->pixel_values(m, p, rgb, out, shape);
    if (out)
        out[1000] = NAN;
}

static int other_resizer(const struct model *m, int width, int height, const struct image_options *opt,
                         struct image_plan *out, struct err *e)
{
    int rc = right->plan_image(m, width, height, opt, out, e);
    out->filter = FILTER_BOX;                /* torchvision has none */
    return rc;
}

static int too_far(const struct model *m, const int32_t *ids, int n, const struct image_plan *images, int n_images,
                   int32_t *pos)
{
    return right->positions(m, ids, n, images, n_images, pos) + 1;
}

static int turned(const struct model *m, const int32_t *ids, int n, const struct image_plan *images, int n_images,
                  int32_t *pos)
{
    int next = right->positions(m, ids, n, images, n_images, pos);
    for (int i = 0; i < n; i++) {
        int32_t row = pos[n + i];
        pos[n + i] = pos[2 * n + i];
        pos[2 * n + i] = row;
    }
    return next;
}

static void see_values(struct model *m, void (*values)(const struct model *, const struct image_plan *,
                                                       const uint8_t *, float *, int[4]), const char *said)
{
    struct verdict v;
    struct family wrong = *right;
    wrong.pixel_values = values;
    m->family = &wrong;
    check_preprocess(m, 270, 600, &v);
    ck_assert_msg(!v.ok && strstr(v.text, said), "%s", v.text);
    m->family = right;
}

START_TEST(test_wrong)
{
    struct verdict v;
    struct model *m = open_dry(checkpoints[_i]);
    struct family wrong;
    right = m->family;
    see_values(m, swapped, "not those of their pixels");
    see_values(m, not_a_number, "1 values are not");
    if (recorded(checkpoints[_i]))
        see_values(m, one_off, ", recorded");            /* one bit: only the hash can tell */
    wrong = *right;
    wrong.plan_image = other_resizer;
    m->family = &wrong;
    check_preprocess(m, 270, 600, &v);
    ck_assert_msg(!v.ok || !strstr(v.text, "recorded"), "%s", v.text);
    for (int i = 0; i < 2 && right->positions; i++) {
        wrong = *right;
        wrong.positions = i ? turned : too_far;
        check_positions(m, &v);
        ck_assert_msg(!v.ok, "%s", v.text);
    }
    m->family = right;
    m->n_unused = 1;
    m->first_unused = "more.weight";
    check_tensors(m, &v);
    ck_assert_msg(!v.ok && strstr(v.text, "unused: more.weight"), "%s", v.text);
    m->n_unused = 0;
    m->n_repeated = 1;
    check_tensors(m, &v);
    ck_assert(!v.ok);
    model_close(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("check");
    TCase *t = tcase_create("check");
    int n = sizeof checkpoints / sizeof *checkpoints;
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_right, 0, n);
    tcase_add_loop_test(t, test_wrong, 0, n);
    suite_add_tcase(s, t);
    return suite_run(s);
}
