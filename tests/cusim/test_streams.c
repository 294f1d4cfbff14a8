/* Eight streams at once on the emulated GPU with every check on, in three orders of threads: images, answers that are
 * taken away in the middle, too few pages for all. Nothing is reported (a report ends requests with an error), and
 * every answer is, bit by bit, the one that its request gets alone. */
#include <check.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/plugin.h"
#include "tests/cusim/client.h"
#include "tests/options.h"
#include "tests/suite.h"

enum { STREAMS = 8, TAKEN = 2, ANSWER = 28, CONTEXT = 256 };   /* TAKEN: more streams, which are cancelled */

static const struct { int seed, preempt; } orders[] = { { 1, 0 }, { 2, 0 }, { 3, 50 } };

static const char model[] = "tests/model/glm4v/grouped";
static void (*set_order)(int seed, int preempt);

static struct answer alone[STREAMS];

/* Three different pictures among all streams; one in four has none. */
static struct prompt *make_prompt(struct engine *g, int number)
{
    struct err e = { 0 };
    int w = 56, h = 56 + 28 * (number % 3);
    struct pixels px = { xmalloc((size_t)(w * h * 3)), w, h };
    for (int i = 0; i < w * h * 3; i++)
        px.data[i] = (uint8_t)((i / 3 % w / 14 + i / 3 / w / 14) % 2 * 150 + i % 3 * 30 + number % 3 * 9);
    struct buf png = png_of(&px);
    struct chat_image image = { .data = png.data, .n = png.len, .field = "image" };
    bool seen = number % 4 != 3;
    json_t *parts = seen ? json_pack("[{s:s}, {s:s, s:s}]", "type", "image", "type", "text", "text",
                                     number % 2 ? "Where?" : "Tap it")
                         : json_pack("[{s:s, s:s}]", "type", "text", "text", "No picture, but a question that is "
                             "longer");
    json_t *messages = json_pack("[{s:s, s:o}]", "role", "user", "content", parts);
    struct chat chat = { .messages = messages, .images = &image, .n_images = seen };
    struct prompt *p = engine_prompt(g, &chat, &e);
    ck_assert_msg(p != NULL, "%s", e.text);
    json_decref(messages);
    buf_free(&png);
    return p;
}

/* Those that are taken away would go on to the end of the context. */
static struct request *submit(struct engine *g, struct prompt *prompt, int number)
{
    struct err e = { 0 };
    struct params p;
    params_default(g, &p);
    p.max_tokens = number < STREAMS ? ANSWER : 0;
    p.ignore_eos = p.logprobs = p.has_seed = true;
    p.temperature = number % 2;
    p.seed = 40 + (uint64_t)number;
    struct request *r = engine_submit(g, prompt, &p, &e);
    ck_assert_msg(r != NULL, "%s", e.text);
    return r;
}

static struct engine *open_engine(const char *device, int seqs, size_t kv_bytes)
{
    struct err e = { 0 };
    struct engine_options opt = { .config = CONFIG(c.model = (char *)model, c.device = (char *)device,
                                                   c.max_num_seqs = seqs,
                                                   c.max_model_len = CONTEXT, c.max_batched_tokens = 64,
                                                   c.kv_bytes = kv_bytes, c.prefix_cache = seqs != 1) };
    struct engine *g = engine_open(&opt, &e);
    ck_assert_msg(g != NULL, "%s", e.text);
    return g;
}

static void ask_alone(void)
{
    struct engine *g = open_engine("cusim", 1, 0);
    for (int i = 0; i < STREAMS; i++) {
        struct request *r = submit(g, make_prompt(g, i), i);
        alone[i] = collect(r, ANSWER + 1);
        request_free(r);
        ck_assert_int_eq(alone[i].n, ANSWER);
    }
    engine_close(g);
}

START_TEST(streams)
{
    struct engine_plan plan;
    struct engine_options one = { .config = CONFIG(c.model = (char *)model, c.device = "cusim-checked",
                                                   c.max_num_seqs = 1, c.max_model_len = CONTEXT) };
    struct err e = { 0 };
    ck_assert_msg(engine_plan(&one, &plan, &e) == 0, "%s", e.text);
    set_order(orders[_i].seed, orders[_i].preempt);
    struct engine *g = open_engine("cusim-checked", STREAMS, plan.kv / (size_t)plan.kv_tokens * CONTEXT);
    struct prompt *prompt[STREAMS + TAKEN];
    struct request *r[STREAMS + TAKEN];
    for (int i = 0; i < STREAMS + TAKEN; i++)
        prompt[i] = make_prompt(g, i);
    for (int i = 0; i < STREAMS + TAKEN; i++)            /* all at once: more than there are pages for */
        r[i] = submit(g, prompt[i], i);
    collect(r[STREAMS], 2);
    for (int i = 0; i < TAKEN; i++)
        request_free(r[STREAMS + i]);                    /* one in the middle of its answer, one wherever it is */
    for (int i = 0; i < STREAMS; i++) {
        struct answer a = collect(r[i], ANSWER + 1);
        request_free(r[i]);
        ck_assert_msg(memcmp(&a, &alone[i], sizeof a) == 0, "stream %d is answered otherwise than alone", i);
    }
    struct engine_stats s;
    engine_stats(g, &s);
    ck_assert_uint_gt(s.preemptions, 0);
    ck_assert_uint_gt(s.image_hits, 0);
    ck_assert_uint_ge(s.finished_cancelled, 1);
    ck_assert_uint_eq(s.finished_error, 0);
    ck_assert_uint_gt(s.completion_tokens, s.steps);     /* they were computed together */
    engine_close(g);
}
END_TEST

int main(void)
{
    struct err e;
    void *lib = plugin_built("cusim") && plugin_built("cusim-checked") && plugin_load("cusim-checked", &e)
              ? dlopen("build/libopenautoglm_cusim_checked.so", RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!lib) {
        puts("skip: the emulation was not built\n100%: Checks: 0, Failures: 0, Errors: 0");
        return 0;
    }
    *(void **)&set_order = dlsym(lib, "cusim_set");
    Suite *s = suite_create("streams");
    TCase *t = tcase_create("streams");
    tcase_set_timeout(t, 600);
    tcase_add_unchecked_fixture(t, ask_alone, NULL);
    tcase_add_loop_test(t, streams, 0, sizeof orders / sizeof *orders);
    suite_add_tcase(s, t);
    return suite_run(s);
}
