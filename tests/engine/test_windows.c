/* Prompts and answers many windows long, in a cache that holds no more of the windowed layers than the bound: the
 * answers are transformers' (python/golden.py), also beside each other, and again. */
#include <check.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/parts.h"
#include "tests/options.h"
#include "tests/suite.h"

enum { ROWS = 16, SEQS = 2 };

static const char *const cases[] = { "tests/model/gemma3_text/windows", "tests/model/gemma3_text/types",
                                     "tests/model/gemma2/windows", "tests/model/gemma2/types" };

struct told { int32_t *ids, *greedy; int n, n_greedy; };

static int32_t *ints(const json_t *list, int *n)
{
    *n = (int)json_array_size(list);
    int32_t *out = xcalloc((size_t)*n, sizeof *out);
    for (int i = 0; i < *n; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return out;
}

static struct told read_told(const char *dir)
{
    char path[256];
    struct told t;
    snprintf(path, sizeof path, "%s/golden.json", dir);
    json_t *root = json_load_file(path, 0, NULL), *l = json_object_get(root, "long");
    ck_assert_msg(l != NULL, "%s has no long prompt", path);
    t.ids = ints(json_object_get(l, "ids"), &t.n);
    t.greedy = ints(json_object_get(l, "greedy"), &t.n_greedy);
    ck_assert(json_real_value(json_object_get(l, "least_margin")) > 0.05);
    json_decref(root);
    return t;
}

static struct engine *open_engine(const char *dir, struct engine_config c)
{
    struct err e = { 0 };
    c.model = (char *)dir;
    c.device = "cpu";
    c.threads = 2;
    c.max_batched_tokens = ROWS;
    c.max_num_seqs = SEQS;
    struct engine *g = engine_open(&(struct engine_options){ .config = c }, &e);
    ck_assert_msg(g != NULL, "%s: %s", dir, e.text);
    return g;
}

static struct request *submit(struct engine *g, const struct told *t)
{
    struct err e = { 0 };
    struct prompt *p = engine_prompt_ids(g, t->ids, (size_t)t->n, 0, &e);
    ck_assert_msg(p != NULL, "%s", e.text);
    struct params params = { .repetition_penalty = 1, .max_tokens = t->n_greedy, .ignore_eos = true,
                             .return_ids = true };
    struct request *r = engine_submit(g, p, &params, &e);
    ck_assert_msg(r != NULL, "%s", e.text);
    return r;
}

/* Takes the whole answer, which must be the reference's. */
static void collect(struct request *r, const struct told *t)
{
    int n = 0;
    for (;;) {
        struct event ev;
        struct pollfd fd = { request_fd(r), POLLIN, 0 };
        ck_assert_msg(poll(&fd, 1, 120000) > 0, "no event in two minutes");
        while (request_next(r, &ev)) {
            ck_assert_msg(ev.kind != EVENT_ERROR, "%s", ev.err.text);
            for (int i = 0; i < ev.n_ids; i++, n++)
                ck_assert_msg(n < t->n_greedy && ev.ids[i] == t->greedy[n], "token %d is %d", n, ev.ids[i]);
            bool end = ev.kind == EVENT_END;
            event_free(&ev);
            if (!end)
                continue;
            ck_assert_int_eq(n, t->n_greedy);
            request_free(r);
            return;
        }
    }
}

START_TEST(long_answers_are_the_references)
{
    struct told t = read_told(cases[_i]);
    struct engine *g = open_engine(cases[_i], CONFIG());
    const struct kv_shape *shape = &g->model->window_kv;
    int bound = scheduler_held(shape->window, g->setup.config.max_model_len, ROWS);
    ck_assert_int_gt(shape->layers, 0);
    ck_assert_int_eq(g->cache[1].pages.n, SEQS * bound);
    ck_assert_int_lt(SEQS * bound * KV_PAGE, t.n / 2);
    ck_assert_uint_eq(g->setup.plan.kv, (size_t)g->cache[0].pages.n * runner_kv_page_bytes(g->model, 0, F32) +
                      (size_t)g->cache[1].pages.n * runner_kv_page_bytes(g->model, 1, F32));
    for (int again = 0; again < 2; again++) {
        struct request *r[SEQS];
        for (int i = 0; i < SEQS; i++)
            r[i] = submit(g, &t);
        for (int i = 0; i < SEQS; i++)
            collect(r[i], &t);
    }
    struct engine_stats s;
    engine_stats(g, &s);
    ck_assert_uint_eq(s.preemptions, 0);
    engine_close(g);
    free(t.ids);
    free(t.greedy);
}
END_TEST

/* Waits for an answer and asks for the figures meanwhile, until they show pages in use. True: they did. */
static bool pages_seen(struct engine *g, struct request *r, struct engine_stats *seen)
{
    bool end = false;
    seen->kv_pages_used = 0;
    while (!end) {
        struct event ev;
        if (seen->kv_pages_used == 0)
            engine_stats(g, seen);
        while (request_next(r, &ev)) {
            end = end || ev.kind == EVENT_END;
            event_free(&ev);
        }
    }
    request_free(r);
    return seen->kv_pages_used > 0;
}

START_TEST(pages_of_both_caches_are_counted)
{
    struct told t = read_told(cases[0]);
    struct engine *g = open_engine(cases[0], CONFIG());
    struct engine_stats s;
    bool seen = false;
    for (int i = 0; i < 100 && !seen; i++)
        seen = pages_seen(g, submit(g, &t), &s);
    ck_assert(seen);
    ck_assert_int_eq(s.kv_pages, g->cache[0].pages.n + g->cache[1].pages.n);
    ck_assert_int_eq(s.full_pages, g->cache[0].pages.n);
    ck_assert_int_gt(s.full_pages_used, 0);
    ck_assert_int_gt(s.kv_pages_used, s.full_pages_used);
    double first = (double)s.full_pages_used / s.full_pages,
        second = (double)(s.kv_pages_used - s.full_pages_used) / (s.kv_pages - s.full_pages);
    ck_assert_double_eq(s.kv_used, first > second ? first : second);
    engine_close(g);
    free(t.ids);
    free(t.greedy);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("windows");
    TCase *t = tcase_create("windows");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, long_answers_are_the_references, 0, 2);
    tcase_add_test(t, pages_of_both_caches_are_counted);
    suite_add_tcase(s, t);
    return suite_run(s);
}
