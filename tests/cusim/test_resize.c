/* Images that the emulated GPU resizes: the same answers, to the last bit of a logprob, as with those that the host
 * resizes; what is too large for the device's share is left to the host. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/prompt.h"
#include "kernels/plugin.h"
#include "tests/cusim/client.h"
#include "tests/options.h"
#include "tests/suite.h"

enum { ANSWER = 4 };

static const struct { const char *dir; int w, h; bool on_device; } cases[] = {
    { "tests/model/glm4v/grouped", 50, 75, true },          { "tests/model/qwen2_vl/tied", 90, 60, true },
    { "models/open-autoglm-v1", 70, 400, true },            /* Pillow: columns first */
    { "tests/model/glm4v/grouped", 56, 56, false },         /* has its size already */
    { "tests/model/glm4v/grouped", 4000, 3000, false },     /* 36 MB: the host's */
};

static const char *device(void) { return getenv("OPENAUTOGLM_TEST_GPU") ? "cuda" : "cusim"; }

/* flat: bytes do not tell where rows end */
static struct prompt *prompt_of(struct engine *g, int w, int h, bool flat)
{
    struct err e = { 0 };
    struct pixels px = { xmalloc((size_t)(w * h * 3)), w, h };
    for (int i = 0; i < w * h * 3; i++)
        px.data[i] = (uint8_t)(flat ? i / 7 * 3 : i / 3 % w * 5 + i / 3 / w * 3 + i % 3 * 60);
    struct buf png = png_of(&px);
    struct chat_image image = { .data = png.data, .n = png.len, .field = "image" };
    json_t *messages = json_pack("[{s:s, s:[{s:s}, {s:s, s:s}]}]", "role", "user", "content", "type", "image", "type",
                                 "text", "text", "Tap it");
    struct chat chat = { .messages = messages, .images = &image, .n_images = 1 };
    struct prompt *p = engine_prompt(g, &chat, &e);
    ck_assert_msg(p != NULL, "%s", e.text);
    json_decref(messages);
    buf_free(&png);
    return p;
}

static struct answer answer(int i, bool on_device)
{
    struct err e = { 0 };
    struct engine_options opt = { .config = CONFIG(c.model = (char *)cases[i].dir, c.device = (char *)device(),
                                                   c.max_num_seqs = 1,
                                                   c.max_model_len = 512, c.max_pixels = 12544,
                                                   c.device_resize = on_device) };
    struct engine *g = engine_open(&opt, &e);
    ck_assert_msg(g != NULL, "%s", e.text);
    struct prompt *p = prompt_of(g, cases[i].w, cases[i].h, false);
    ck_assert_int_eq(p->images[0].passes != NULL, on_device && cases[i].on_device);
    struct params params;
    params_default(g, &params);
    params.max_tokens = ANSWER;
    params.ignore_eos = params.logprobs = true;
    params.temperature = 0;
    struct request *r = engine_submit(g, p, &params, &e);
    ck_assert_msg(r != NULL, "%s", e.text);
    struct answer a = collect(r, MOST_TOKENS);
    ck_assert_int_eq(a.n, ANSWER);
    request_free(r);
    engine_close(g);
    return a;
}

START_TEST(resize)
{
    struct answer want = answer(_i, false), got = answer(_i, true);
    ck_assert_msg(memcmp(&want, &got, sizeof want) == 0, "%s, %d x %d: another answer", cases[_i].dir, cases[_i].w,
                  cases[_i].h);
}
END_TEST

/* The same bytes as rows of another length are another picture, also where both become equally large. */
START_TEST(another_shape)
{
    static const int shape[2][2] = { { 50, 51 }, { 51, 50 } };
    struct err e = { 0 };
    struct engine_options opt = { .config = CONFIG(c.model = (char *)cases[0].dir, c.device = (char *)device(),
                                                   c.max_num_seqs = 1, c.max_model_len = 512, c.device_resize = true) };
    struct engine *g = engine_open(&opt, &e);
    struct prompt *p[2];
    ck_assert_msg(g != NULL, "%s", e.text);
    for (int i = 0; i < 2; i++)
        p[i] = prompt_of(g, shape[i][0], shape[i][1], true);
    const struct prompt_image *a = &p[0]->images[0], *b = &p[1]->images[0];
    ck_assert(a->plan.width == b->plan.width && a->plan.height == b->plan.height && a->passes && b->passes);
    ck_assert_mem_eq(a->px.data, b->px.data, (size_t)(shape[0][0] * shape[0][1] * 3));
    ck_assert_mem_ne(&a->key, &b->key, sizeof a->key);
    prompt_free(p[0]);
    prompt_free(p[1]);
    engine_close(g);
}
END_TEST

int main(void)
{
    struct err e;
    if (!plugin_built(device()) || !plugin_load(device(), &e)) {
        printf("skip: the library for %s was not built\n100%%: Checks: 0, Failures: 0, Errors: 0\n", device());
        return 0;
    }
    Suite *s = suite_create("resize");
    TCase *t = tcase_create("resize");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, another_shape);
    tcase_add_loop_test(t, resize, 0, sizeof cases / sizeof *cases);
    suite_add_tcase(s, t);
    return suite_run(s);
}
