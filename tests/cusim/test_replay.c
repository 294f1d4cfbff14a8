/* Decode steps that are recorded and replayed, on the emulated GPU or (OPENAUTOGLM_TEST_GPU) a real one: the same bits as steps that are launched one by one,
 * for batches that grow and shrink and contexts that need another page; and no device memory is allocated after the start. */
#include <check.h>
#include <dlfcn.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "kernels/plugin.h"

enum { REQUESTS = 3, MOST = 40 };

static const char *const dirs[] = { "tests/model/glm4/grouped", "tests/model/qwen2/yarn" };
static const char *device = "cusim-checked";
static int no_count(void) { return 0; }
static int (*allocations)(void) = no_count, (*graph_launches)(void);    /* a real GPU's are not counted */

struct answer { int32_t id[MOST]; float lp[MOST]; int n; };

static struct request *submit(struct engine *g, int number)
{
    static const char *const text[REQUESTS] = { "a", "the second one is longer than the first, of course", "3 + 4" };
    struct err e = { 0 };
    struct params p;
    params_default(g, &p);
    p.max_tokens = 12 + 14 * number;                 /* they end one after the other; the last needs a second page */
    p.ignore_eos = p.logprobs = p.has_seed = true;
    p.temperature = number == 1 ? 1 : 0;
    p.frequency_penalty = number == 2 ? 0.3f : 0;
    p.seed = 5;
    struct prompt *prompt = engine_prompt_text(g, text[number], strlen(text[number]), &e);
    ck_assert_msg(prompt != NULL, "%s", e.text);
    struct request *r = engine_submit(g, prompt, &p, &e);
    ck_assert_msg(r != NULL, "%s", e.text);
    return r;
}

static void collect(struct request *r, struct answer *a)
{
    for (bool done = false; !done;) {
        struct event ev;
        struct pollfd fd = { request_fd(r), POLLIN, 0 };
        ck_assert_msg(poll(&fd, 1, 300000) > 0, "no event in five minutes");
        while (!done && request_next(r, &ev)) {
            ck_assert_msg(ev.kind != EVENT_ERROR, "%s", ev.err.text);
            for (int i = 0; i < ev.n_logprobs; i++) {
                a->id[a->n] = ev.logprobs[i].id;
                a->lp[a->n++] = ev.logprobs[i].logprob;
            }
            done = ev.kind == EVENT_END;
            event_free(&ev);
        }
    }
    request_free(r);
}

static void answer_all(const char *dir, bool no_graphs, bool together, struct answer *out)
{
    struct err e = { 0 };
    struct engine_options opt = { .model_dir = dir, .device = device, .no_graphs = no_graphs, .max_num_seqs = REQUESTS + 1,
                                  .max_model_len = 256, .no_prefix_cache = true };
    struct engine *g = engine_open(&opt, &e);
    ck_assert_msg(g != NULL, "%s", e.text);
    int before = allocations(), launches = graph_launches ? graph_launches() : 0;
    struct request *r[REQUESTS];
    memset(out, 0, sizeof *out * REQUESTS);
    for (int i = 0; i < REQUESTS; i++) {
        r[i] = submit(g, i);
        if (!together)
            collect(r[i], &out[i]);
    }
    for (int i = 0; together && i < REQUESTS; i++)
        collect(r[i], &out[i]);
    ck_assert_int_eq(allocations(), before);
    if (graph_launches) {
        launches = graph_launches() - launches;
        ck_assert_msg(no_graphs ? launches == 0 : launches > MOST / 2, "%d replays", launches);
    }
    engine_close(g);
}

START_TEST(replay)
{
    struct answer want[REQUESTS], got[REQUESTS];
    answer_all(dirs[_i], true, false, want);
    for (int together = 0; together < 2; together++) {
        answer_all(dirs[_i], false, together, got);
        for (int i = 0; i < REQUESTS; i++) {
            ck_assert_int_eq(want[i].n, 12 + 14 * i);
            ck_assert_msg(memcmp(&want[i], &got[i], sizeof want[i]) == 0, "%s: request %d is answered otherwise by replays%s", dirs[_i],
                          i, together ? " in a batch" : "");
        }
    }
}
END_TEST

int main(void)
{
    struct err e;
    if (getenv("OPENAUTOGLM_TEST_GPU"))
        device = "cuda";
    const struct backend *b = plugin_built(device) ? plugin_load(device, &e) : NULL;
    void *lib = b ? dlopen("build/libopenautoglm_cusim_checked.so", RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!b) {
        printf("skip: the library for %s was not built\n100%%: Checks: 0, Failures: 0, Errors: 0\n", device);
        return 0;
    }
    if (lib && strcmp(device, "cuda") != 0) {
        *(void **)&allocations = dlsym(lib, "cusim_allocations");
        *(void **)&graph_launches = dlsym(lib, "cusim_graph_launches");
    }
    Suite *s = suite_create("replay");
    TCase *t = tcase_create("replay");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, replay, 0, sizeof dirs / sizeof *dirs);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, getenv("VERBOSE") ? CK_VERBOSE : CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
