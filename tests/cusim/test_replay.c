/* Decode steps that are recorded and replayed, on the emulated GPU or (OPENAUTOGLM_TEST_GPU) a real one: the same bits
 * as steps that are launched one by one, for batches that grow and shrink, contexts that need another page, and
 * requests that see no image, one or two through cross attention; and no device memory is allocated after the start. */
#include <check.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/plugin.h"
#include "tests/cusim/client.h"
#include "tests/options.h"
#include "tests/suite.h"

enum { REQUESTS = 3 };

/* The last is too large for an emulation that checks everything. */
static const struct { const char *dir, *device; bool images, rounded; } models[] = {
    { "tests/model/glm4/grouped", "cusim-checked", false, false },
    { "tests/model/qwen2/yarn", "cusim-checked", false, false },
    { "models/open-autoglm-v1", "cusim", true, false },
    { "tests/model/glm4/grouped", "cusim", false, true },          /* to int8, both factors */
};
static int no_count(void) { return 0; }
static int (*allocations)(void) = no_count, (*graph_launches)(void);    /* a real GPU's are not counted */

static const char *const text[REQUESTS] = { "a", "the second one is longer than the first, of course", "3 + 4" };

/* They end one after the other; the last needs a second page where there are no images. */
static int answer_length(int number, bool images) { return images ? 6 + 6 * number : 12 + 14 * number; }

/* A screen with `n` pictures of different sizes. */
static struct prompt *prompt_of_images(struct engine *g, int n, const char *question, struct err *e)
{
    struct chat_image images[2];
    struct buf png[2];
    json_t *parts = json_array();
    for (int k = 0; k < n; k++) {
        int w = 64 + 64 * k, h = 96;
        struct pixels px = { xmalloc((size_t)(w * h * 3)), w, h };
        for (int i = 0; i < w * h * 3; i++)
            px.data[i] = (uint8_t)(i / 3 % w / 16 * 40 + i % 3 * 30 + k * 9);
        png[k] = png_of(&px);
        images[k] = (struct chat_image){ .data = png[k].data, .n = png[k].len, .field = "image" };
        json_array_append_new(parts, json_pack("{s:s}", "type", "image"));
    }
    json_array_append_new(parts, json_pack("{s:s, s:s}", "type", "text", "text", question));
    json_t *messages = json_pack("[{s:s, s:o}]", "role", "user", "content", parts);
    struct chat chat = { .messages = messages, .images = images, .n_images = (size_t)n };
    struct prompt *p = engine_prompt(g, &chat, e);
    json_decref(messages);
    for (int k = 0; k < n; k++)
        buf_free(&png[k]);
    return p;
}

static struct request *submit(struct engine *g, int number, bool images)
{
    struct err e = { 0 };
    struct params p;
    params_default(g, &p);
    p.max_tokens = answer_length(number, images);
    p.ignore_eos = p.logprobs = p.has_seed = true;
    p.temperature = number == 1 ? 1 : 0;
    p.frequency_penalty = number == 2 ? 0.3f : 0;
    p.seed = 5;
    struct prompt *prompt = images ? prompt_of_images(g, number, text[number], &e)
                                   : engine_prompt_text(g, text[number], strlen(text[number]), true, 0, &e);
    ck_assert_msg(prompt != NULL, "%s", e.text);
    struct request *r = engine_submit(g, prompt, &p, &e);
    ck_assert_msg(r != NULL, "%s", e.text);
    return r;
}

static void answer_all(int model, bool no_graphs, bool together, struct answer *out)
{
    struct err e = { 0 };
    const char *gpu = getenv("OPENAUTOGLM_TEST_GPU");
    bool rounded = models[model].rounded;
    struct engine_options opt = { .config = CONFIG(c.model = (char *)models[model].dir,
                                                   c.device = (char *)(gpu ? "cuda" : models[model].device),
                                                   c.gpu_graphs = !no_graphs, c.max_num_seqs = REQUESTS + 1,
                                                   c.max_model_len = 256,
                                                   c.prefix_cache = false, c.weights = rounded ? "int8" : "auto",
                                                   c.activations = rounded ? "int8" : "auto") };
    struct engine *g = engine_open(&opt, &e);
    ck_assert_msg(g != NULL, "%s", e.text);
    int before = allocations(), launches = graph_launches ? graph_launches() : 0;
    struct request *r[REQUESTS];
    memset(out, 0, sizeof *out * REQUESTS);
    for (int i = 0; i < REQUESTS; i++) {
        r[i] = submit(g, i, models[model].images);
        if (!together)
            out[i] = collect(r[i], MOST_TOKENS);
    }
    for (int i = 0; i < REQUESTS; i++) {
        if (together)
            out[i] = collect(r[i], MOST_TOKENS);
        request_free(r[i]);
    }
    ck_assert_int_eq(allocations(), before);
    if (graph_launches) {
        launches = graph_launches() - launches;
        ck_assert_msg(no_graphs ? launches == 0 : launches > answer_length(REQUESTS - 1, models[model].images) / 2,
                      "%d replays", launches);
    }
    engine_close(g);
}

static void find_counters(const char *device)
{
    char path[100];
    snprintf(path, sizeof path, "build/libopenautoglm_%s.so", strcmp(device, "cusim") == 0 ? "cusim" : "cusim_checked");
    void *lib = getenv("OPENAUTOGLM_TEST_GPU") ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return;
    *(void **)&allocations = dlsym(lib, "cusim_allocations");
    *(void **)&graph_launches = dlsym(lib, "cusim_graph_launches");
}

START_TEST(replay)
{
    find_counters(models[_i].device);
    struct answer want[REQUESTS], got[REQUESTS];
    answer_all(_i, true, false, want);
    for (int together = 0; together < 2; together++) {
        answer_all(_i, false, together, got);
        for (int i = 0; i < REQUESTS; i++) {
            ck_assert_int_eq(want[i].n, answer_length(i, models[_i].images));
            ck_assert_msg(memcmp(&want[i], &got[i], sizeof want[i]) == 0, "%s: request %d is answered otherwise by "
                "replays%s", models[_i].dir, i, together ? " in a batch" : "");
        }
    }
}
END_TEST

int main(void)
{
    struct err e;
    const char *device = getenv("OPENAUTOGLM_TEST_GPU") ? "cuda" : "cusim-checked";
    if (!plugin_built(device) || !plugin_load(device, &e)) {
        printf("skip: the library for %s was not built\n100%%: Checks: 0, Failures: 0, Errors: 0\n", device);
        return 0;
    }
    Suite *s = suite_create("replay");
    TCase *t = tcase_create("replay");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, replay, 0, sizeof models / sizeof *models);
    suite_add_tcase(s, t);
    return suite_run(s);
}
