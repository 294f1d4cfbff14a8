/* Rope tables of every scheme against transformers' (tests/model/rope.json, python/rope.py), and which position each
 * angle counts. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "model/rope.h"
#include "tests/suite.h"

/* A table for a configuration; fails the test on an error. */
static struct rope_table table_of(json_t *config, const struct rope_kind *kind, int wanted)
{
    struct err e = { 0 };
    struct hparams h = { .object = config, .file = "config.json", .e = &e };
    struct rope_table t;
    int context = (int)json_integer_value(json_object_get(config, "max_position_embeddings"));
    ck_assert_msg(rope_make(&t, &h, kind, context, wanted) == 0, "%s", e.text);
    return t;
}

/* LongRoPE's long table is the one for longer sequences; the other schemes have one for all. */
static void check_case(const json_t *c)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    json_t *config = json_object_get(c, "config"), *want = json_object_get(c, "frequencies");
    int length = (int)json_integer_value(json_object_get(c, "length"));
    struct rope_kind kind = { .theta = 10000, .partial = 1,
                              .head_dim = (int)json_integer_value(json_object_get(config, "head_dim")) };
    struct rope_table t = table_of(config, &kind, length);
    const float *freq = t.stretch_after && length > t.stretch_after ? t.stretched : t.freq;
    ck_assert_msg((size_t)t.rot_dim == 2 * json_array_size(want), "%s: %d dimensions", name, t.rot_dim);
    for (int i = 0; i < t.rot_dim / 2; i++) {
        double w = json_number_value(json_array_get(want, (size_t)i));
        ck_assert_msg(fabs((double)freq[i] - w) <= 4e-7 * w, "%s: frequency %d is %.9g, not %.9g", name, i,
                      (double)freq[i], w);
    }
    double scale = json_number_value(json_object_get(c, "attention_factor"));
    ck_assert_msg(fabs(t.mscale - scale) <= 1e-9, "%s: attention factor %.9g, not %.9g", name, t.mscale, scale);
    if (!strncmp(name, "dynamic", 7))
        ck_assert_int_eq(t.context, length ? length : 4096);
}

START_TEST(test_schemes)
{
    json_t *all = json_load_file("tests/model/rope.json", 0, NULL), *c;
    size_t i;
    ck_assert_uint_ge(json_array_size(all), 20);
    json_array_foreach(all, i, c)
        check_case(c);
    json_decref(all);
}
END_TEST

/* YaRN and LongRoPE make the context longer, or say where the long table begins; nothing else does. */
START_TEST(test_contexts)
{
    static const struct { const char *config; int wanted, context, stretch_after; } cases[] = {
        { "{\"rope_type\": \"linear\", \"factor\": 2}", 9000, 4096, 0 },
        { "{\"type\": \"dynamic\", \"factor\": 2}", 100, 4096, 0 },
        { "{\"type\": \"dynamic\", \"factor\": 2}", 9000, 9000, 0 },
        { "{\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 2048}", 0, 8192, 0 },
        { "{\"type\": \"yarn\", \"factor\": 2, \"original_max_position_embeddings\": 1024}", 0, 4096, 0 },
        { "{\"type\": \"su\", \"short_factor\": [1, 2], \"long_factor\": [3, 4]}", 0, 4096, 512 },
        { "{\"type\": \"longrope\", \"short_factor\": [1, 2], \"long_factor\": [3, 4], "
          "\"original_max_position_embeddings\": 64}",
          0, 4096, 64 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rope_kind kind = { .head_dim = 4, .theta = 10000, .partial = 1, .original = 512,
                                  .old_longrope = i == 5 };
        json_t *config = json_pack("{s:o,s:i}", "rope_scaling", json_loads(cases[i].config, 0, NULL),
                                   "max_position_embeddings", 4096);
        struct rope_table t = table_of(config, &kind, cases[i].wanted);
        ck_assert_msg(t.context == cases[i].context && t.stretch_after == cases[i].stretch_after, "case %zu: %d, %d", i,
                      t.context, t.stretch_after);
        json_decref(config);
    }
}
END_TEST

/* Which position an angle counts: Qwen2-VL and GLM in blocks, Qwen3-VL in turn, others the first, with any scheme. */
START_TEST(test_axes)
{
    static const struct { enum mrope mrope; int section[3]; uint8_t axis[8]; } cases[] = {
        { MROPE_NONE, { 2, 3, 3 }, { 0, 0, 0, 0, 0, 0, 0, 0 } },
        { MROPE_SECTIONS, { 2, 3, 3 }, { 0, 0, 1, 1, 1, 2, 2, 2 } },
        { MROPE_INTERLEAVED, { 4, 2, 2 }, { 0, 1, 2, 0, 1, 2, 0, 0 } },
        { MROPE_INTERLEAVED, { 3, 3, 2 }, { 0, 1, 2, 0, 1, 2, 0, 1 } },
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const __typeof__(*cases) *c = &cases[i / 2];
        struct rope_kind kind = { .head_dim = 16, .theta = 10000, .partial = 1, .mrope = c->mrope };
        json_t *config = json_pack("{s:i,s:{s:s,s:f,s:i,s:[iii]}}", "max_position_embeddings", 4096, "rope_parameters",
                                   "rope_type", i % 2 ? "yarn" : "mrope", "factor", 4.0,
                                   "original_max_position_embeddings", 1024, "mrope_section", c->section[0],
                                   c->section[1], c->section[2]);
        struct rope_table t = table_of(config, &kind, 0);
        ck_assert_msg(!memcmp(t.axis, c->axis, sizeof c->axis), "case %zu", i);
        ck_assert((t.mscale > 1) == (i % 2 == 1));
        json_decref(config);
    }
}
END_TEST

START_TEST(test_refused)
{
    static const struct { const char *rope, *error; } bad[] = {
        { "{\"type\": \"longrope\", \"short_factor\": [1, 2]}", "long_factor: must be 2 numbers" },
        { "{\"type\": \"longrope\", \"short_factor\": [1, 2, 3], \"long_factor\": [1, 2]}", "short_factor: must be 2" },
        { "{\"type\": \"longrope\", \"short_factor\": [1, 0], \"long_factor\": [1, 2]}", "short_factor: 0 is not in" },
        { "{\"type\": \"longrope\", \"short_factor\": 3, \"long_factor\": [1, 2]}", "short_factor: must be a list" },
        { "{\"type\": \"dynamic\"}", "factor: is missing" },
        { "{\"type\": \"su\", \"short_factor\": [1, 2], \"long_factor\": [1, 2]}", "\"su\" is not supported" },
        { "{\"partial_rotary_factor\": 0.2}", "0 rotated dimensions of a head" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rope_kind kind = { .head_dim = 4, .theta = 10000, .partial = 1 };
        struct err e = { 0 };
        json_t *config = json_pack("{s:o}", "rope_scaling", json_loads(bad[i].rope, 0, NULL));
        struct hparams h = { .object = config, .file = "config.json", .e = &e };
        struct rope_table t;
        ck_assert_int_eq(rope_make(&t, &h, &kind, 4096, 0), -1);
        ck_assert_msg(strstr(e.text, bad[i].error) != NULL, "\"%s\" does not say \"%s\"", e.text, bad[i].error);
        json_decref(config);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rope");
    TCase *t = tcase_create("rope");
    tcase_add_test(t, test_schemes);
    tcase_add_test(t, test_contexts);
    tcase_add_test(t, test_axes);
    tcase_add_test(t, test_refused);
    suite_add_tcase(s, t);
    return suite_run(s);
}
