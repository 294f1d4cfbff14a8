/* Prompts that become one vector: against transformers' last hidden states (python/states.py) on the tiny checkpoint of
 * every family, images included, and the same to the bit however the prompt was cut, whoever else was in the batch,
 * whatever was found in the prefix cache, and after the request was put back. */
#include <check.h>
#include <glob.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/engine.h"
#include "image/image.h"
#include "tests/model/golden.c"
#include "tests/options.h"
#include "tests/slow.h"
#include "tests/suite.h"

enum { MAX_WIDTH = 4096, KINDS = 3 };

static const enum pooling kinds[KINDS] = { POOLING_LAST, POOLING_MEAN, POOLING_CLS };
static const char *const names[KINDS] = { "last", "mean", "cls" };

struct vector { float v[MAX_WIDTH]; int n; struct event end; };

static struct engine *open_engine(const char *dir, struct engine_config c)
{
    struct err e = { 0 };
    c.model = (char *)dir;
    c.device = "cpu";
    c.threads = 2;
    struct engine *g = engine_open(&(struct engine_options){ .config = c }, &e);
    ck_assert_msg(g != NULL, "%s: %s", dir, e.text);
    return g;
}

static struct request *submit(struct engine *g, struct prompt *p, enum pooling how)
{
    struct err e = { 0 };
    struct request *r = engine_submit(g, p, &(struct params){ .repetition_penalty = 1, .pooling = how }, &e);
    ck_assert_msg(r != NULL, "%s", e.text);
    return r;
}

static void collect(struct request *r, struct vector *out)
{
    struct pollfd fd = { request_fd(r), POLLIN, 0 };
    struct event ev;
    ck_assert_msg(poll(&fd, 1, 120000) > 0, "no event in two minutes");
    ck_assert_int_eq(request_next(r, &ev), 1);
    ck_assert_msg(ev.kind == EVENT_END, "%s", ev.err.text);
    ck_assert_int_eq(ev.completion_tokens, 0);
    ck_assert_int_le(ev.n_vector, MAX_WIDTH);
    out->n = ev.n_vector;
    out->end = ev;
    memcpy(out->v, ev.vector, (size_t)ev.n_vector * sizeof *out->v);
    event_free(&ev);
    request_free(r);
}

static void pool(struct engine *g, struct prompt *p, enum pooling how, struct vector *out)
{
    collect(submit(g, p, how), out);
}

/* ---- against the reference ---- */

static json_t *load(const char *dir, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    json_t *root = json_load_file(path, 0, NULL);
    ck_assert_msg(root != NULL, "%s cannot be read", path);
    return root;
}

/* The golden chat with its images, which have the size that they are to have; a PNG changes no byte of them. */
static struct prompt *golden_prompt(struct engine *g, const struct golden *want)
{
    enum { MOST = 4 };
    struct buf png[MOST];
    struct chat_image image[MOST];
    json_t *golden = load(want->dir, "golden.json");
    struct chat chat = { .messages = json_object_get(golden, "messages"), .images = image };
    struct err e = { 0 };
    for (const struct stored *im; (im = golden_find(want, "image.%d", chat.n_images)); chat.n_images++) {
        struct pixels px = { (uint8_t *)im->data, (int)im->dims[1], (int)im->dims[0] };
        struct buf *to = &png[chat.n_images];
        buf_init(to, (size_t)1 << 24);
        ck_assert_int_eq(png_write(&px, to, &e), 0);
        image[chat.n_images] = (struct chat_image){ .data = to->data, .n = to->len, .field = "image" };
    }
    struct prompt *p = engine_prompt(g, &chat, &e);
    ck_assert_msg(p != NULL, "%s: %s", want->dir, e.text);
    while (chat.n_images > 0)
        buf_free(&png[--chat.n_images]);
    json_decref(golden);
    int n;
    int32_t *ids = golden_ints(want, "ids", 0, &n);
    ck_assert_int_eq(prompt_tokens(p), n);
    ck_assert_mem_eq(prompt_ids(p), ids, (size_t)n * sizeof *ids);
    free(ids);
    return p;
}

static double cosine(const struct vector *have, const json_t *want)
{
    double ab = 0, aa = 0, bb = 0;
    ck_assert_int_eq(have->n, (int)json_array_size(want));
    for (int i = 0; i < have->n; i++) {
        double a = (double)have->v[i], b = json_number_value(json_array_get(want, (size_t)i));
        ab += a * b, aa += a * a, bb += b * b;
    }
    return ab / sqrt(aa * bb);
}

static const char *const engines[] = { "one step", "steps of 7 tokens" };

static void check_case(const char *dir)
{
    struct golden want;
    json_t *states = load(dir, "states.json");
    golden_open(&want, dir);
    struct vector first[KINDS];
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++) {
        struct engine *g = open_engine(dir, CONFIG(c.max_num_seqs = 4, c.max_batched_tokens = i ? 7 : 0));
        for (int k = 0; k < KINDS; k++) {
            struct vector have;
            json_t *row = json_object_get(states, names[k]);
            pool(g, golden_prompt(g, &want), kinds[k], &have);
            double cos = cosine(&have, row);
            ck_assert_msg(cos >= 1 - 1e-4, "%s, %s, %s: the cosine is %.9f", dir, engines[i], names[k], cos);
            for (int j = 0; j < have.n; j++) {
                double is = (double)have.v[j], should = json_number_value(json_array_get(row, (size_t)j));
                ck_assert_msg(fabs(is - should) < 2e-3, "%s, %s, %s: value %d is %g, not %g", dir, engines[i],
                              names[k], j, is, should);
            }
            if (i)
                ck_assert_mem_eq(have.v, first[k].v, (size_t)have.n * sizeof *have.v);
            first[k] = have;
        }
        engine_close(g);
    }
    weights_close(want.file);
    json_decref(states);
}

START_TEST(test_as_the_reference)
{
    glob_t found;
    ck_assert_int_eq(glob("tests/model/*/*/states.json", 0, NULL, &found), 0);
    ck_assert_uint_ge(found.gl_pathc, 18);
    for (size_t i = (size_t)_i; i < found.gl_pathc; i += 4) {
        *strrchr(found.gl_pathv[i], '/') = 0;
        check_case(found.gl_pathv[i]);
    }
    globfree(&found);
}
END_TEST

/* ---- texts and images in one space (python/openautoglm/golden.py) ---- */

static double cosine_of(const struct vector *have, const float *want)
{
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < have->n; i++) {
        double a = (double)have->v[i], b = (double)want[i];
        ab += a * b, aa += a * a, bb += b * b;
    }
    return ab / sqrt(aa * bb);
}

/* A chat of nothing but this image. */
static struct request *submit_image(struct engine *g, const struct stored *im)
{
    struct pixels px = { (uint8_t *)im->data, (int)im->dims[1], (int)im->dims[0] };
    struct buf png;
    struct err e = { 0 };
    buf_init(&png, (size_t)1 << 24);
    ck_assert_int_eq(png_write(&px, &png, &e), 0);
    struct chat_image image = { .data = png.data, .n = png.len, .field = "image" };
    json_t *messages = json_pack("[{s:s, s:[{s:s}]}]", "role", "user", "content", "type", "image");
    struct chat chat = { .messages = messages, .images = &image, .n_images = 1, .no_generation_prompt = true };
    struct prompt *p = engine_prompt(g, &chat, &e);
    ck_assert_msg(p != NULL, "%s", e.text);
    struct request *r = engine_submit(g, p, &(struct params){ .repetition_penalty = 1, .pooling = POOLING_MEAN,
                                                              .share_image = true }, &e);
    ck_assert_msg(r != NULL, "%s", e.text);
    json_decref(messages);
    buf_free(&png);
    return r;
}

static const char *const shared_cases[] = { "text", "small", "two", "screen" };

/* The second time the image is in the cache, with its vector. */
START_TEST(test_shared_space)
{
    char dir[128];
    struct golden want;
    struct vector have;
    struct engine_info info;
    struct err e = { 0 };
    snprintf(dir, sizeof dir, "tests/model/open_autoglm/%s", shared_cases[_i]);
    golden_open(&want, dir);
    struct engine *g = open_engine("models/open-autoglm-v1", CONFIG(c.max_num_seqs = 4));
    engine_info(g, &info);
    ck_assert(info.shares && info.pooling.how == POOLING_MEAN);
    int n, images = 0;
    int32_t *ids = golden_ints(&want, "text", 0, &n);
    pool(g, engine_prompt_ids(g, ids, (size_t)n, 0, &e), POOLING_MEAN, &have);
    ck_assert_int_eq(have.n, info.vector);
    double cos = cosine_of(&have, golden_floats(&want, "embedding.text", 0, (size_t)have.n));
    ck_assert_msg(cos >= 1 - 1e-4, "%s: the text's cosine is %.9f", dir, cos);
    for (const struct stored *im; (im = golden_find(&want, "image.%d", images)); images++)
        for (int round = 0; round < 2; round++) {
            collect(submit_image(g, im), &have);
            ck_assert_int_eq(have.n, info.vector);
            cos = cosine_of(&have, golden_floats(&want, "embedding.%d", images, (size_t)have.n));
            ck_assert_msg(cos >= 1 - 1e-4, "%s: the cosine of image %d is %.9f", dir, images, cos);
        }
    ck_assert(images > 0 || _i == 0);
    free(ids);
    engine_close(g);
    weights_close(want.file);
}
END_TEST

/* Whoever calls the engine may ask for what there is not: an image's vector of a text, of a model without such vectors,
 * or of one that is to answer. */
START_TEST(test_no_image_to_share)
{
    static const struct { const char *dir; enum pooling pooling; } asked[] = {
        { "models/open-autoglm-v1", POOLING_MEAN }, { "models/open-autoglm-v1", POOLING_NOT },
        { "tests/model/qwen3/grouped", POOLING_LAST }, { "tests/model/clip/old", POOLING_LAST },
    };
    const int32_t ids[] = { 5, 6, 7 };
    struct err e = { 0 };
    struct engine *g = open_engine(asked[_i].dir, CONFIG(c.max_num_seqs = 4));
    struct prompt *p = engine_prompt_ids(g, ids, 3, 0, &e);
    ck_assert_msg(p != NULL, "%s", e.text);
    ck_assert(!engine_submit(g, p, &(struct params){ .repetition_penalty = 1, .pooling = asked[_i].pooling,
                                                     .share_image = true }, &e));
    ck_assert_msg(strstr(e.text, "image"), "%s", e.text);
    engine_close(g);
}
END_TEST

/* ---- the same bits in all company ---- */

static const char TEXT[] = "tests/model/qwen3/grouped";

/* A prompt of its own for every number; the first half is the same for all. */
static struct prompt *numbered(struct engine *g, int number, int n)
{
    int32_t ids[512];
    struct err e = { 0 };
    for (int i = 0; i < n; i++)
        ids[i] = i < n / 2 ? i % 250 : (i * 31 + number * 7) % 250;
    struct prompt *p = engine_prompt_ids(g, ids, (size_t)n, 0, &e);
    ck_assert_msg(p != NULL, "%s", e.text);
    return p;
}

static void same(const struct vector *a, const struct vector *b, const char *where, int number)
{
    ck_assert_int_eq(a->n, b->n);
    ck_assert_msg(memcmp(a->v, b->v, (size_t)a->n * sizeof *a->v) == 0, "prompt %d: other bits %s", number, where);
}

/* Every kind of pooling beside answers that are being made, and again when all of it is in the prefix cache. */
START_TEST(test_in_company)
{
    enum { N = 12, LEN = 90 };
    struct vector alone[N], have;
    struct engine *g = open_engine(TEXT, CONFIG(c.max_num_seqs = 4, c.prefix_cache = false));
    for (int i = 0; i < N; i++)
        pool(g, numbered(g, i, LEN + i), kinds[i % KINDS], &alone[i]);
    engine_close(g);
    g = open_engine(TEXT, CONFIG(c.max_num_seqs = 32, c.max_batched_tokens = 64));
    struct request *pooled[N], *answer[4];
    struct err e;
    for (int i = 0; i < 4; i++)
        answer[i] = engine_submit(g, numbered(g, 100 + i, 40),
                                  &(struct params){ .top_p = 1, .repetition_penalty = 1, .max_tokens = 60,
                                                    .ignore_eos = true }, &e);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++)
            pooled[i] = submit(g, numbered(g, i, LEN + i), kinds[i % KINDS]);
        for (int i = 0; i < N; i++) {
            collect(pooled[i], &have);
            same(&have, &alone[i], round ? "from the cache" : "in a batch", i);
            bool whole = kinds[i % KINDS] == POOLING_MEAN;     /* nothing of it may be left out */
            ck_assert_int_eq(have.end.cached_tokens > 0 && whole, 0);
            if (round && kinds[i % KINDS] == POOLING_LAST)
                ck_assert_int_ge(have.end.cached_tokens, 64);
        }
    }
    for (int i = 0; i < 4; i++)
        request_free(answer[i]);
    engine_close(g);
}
END_TEST

/* The context of one request has to do for four: answers grow, and the prompt that is pooled beside them is put back in
 * its middle. What was added to a sum stays, and is not added again. */
START_TEST(test_put_back)
{
    enum { ANSWERS = 3, LEN = 400 };
    struct vector alone, have;
    struct engine_stats stats;
    struct engine_plan plan;
    struct err e = { 0 };
    struct engine_options opt = { .config = CONFIG(c.model = (char *)TEXT, c.device = "cpu", c.max_num_seqs = 4,
                                                   c.max_batched_tokens = 8, c.prefix_cache = _i != 0) };
    ck_assert_msg(engine_plan(&opt, &plan, &e) == 0, "%s", e.text);
    opt.config.kv_bytes = plan.kv / (size_t)plan.kv_tokens * 512;
    struct engine *g = open_engine(TEXT, opt.config);
    for (int k = 0; k < KINDS; k++) {
        struct request *answer[ANSWERS];
        pool(g, numbered(g, k, LEN), kinds[k], &alone);
        for (int i = 0; i < ANSWERS; i++) {
            answer[i] = engine_submit(g, numbered(g, 50 + ANSWERS * k + i, 20),
                                      &(struct params){ .top_p = 1, .repetition_penalty = 1, .max_tokens = 200,
                                                        .ignore_eos = true }, &e);
            ck_assert_msg(answer[i] != NULL, "%s", e.text);
        }
        pool(g, numbered(g, k, LEN), kinds[k], &have);
        same(&have, &alone, "after it was put back", k);
        for (int i = 0; i < ANSWERS; i++)
            request_free(answer[i]);
    }
    engine_stats(g, &stats);
    ck_assert_uint_gt(stats.preemptions, 0);
    engine_close(g);
}
END_TEST

START_TEST(test_cancelled)
{
    struct engine *g = open_engine(TEXT, CONFIG(c.max_num_seqs = 2, c.max_batched_tokens = 8));
    struct request *r[8];
    struct vector last;
    for (int i = 0; i < 8; i++)
        r[i] = submit(g, numbered(g, i, 400), POOLING_MEAN);
    for (int i = 0; i < 7; i++)
        request_free(r[i]);
    collect(r[7], &last);
    engine_close(g);
}
END_TEST

int main(void)
{
    log_set_level(LOG_ERROR);
    Suite *s = suite_create("pooling");
    TCase *t = tcase_create("pooling");
    tcase_set_timeout(t, SLOW ? 600 : 120);
    tcase_add_loop_test(t, test_as_the_reference, 0, 4);
    tcase_add_loop_test(t, test_shared_space, 0, sizeof shared_cases / sizeof *shared_cases);
    tcase_add_loop_test(t, test_no_image_to_share, 0, 4);
    tcase_add_test(t, test_in_company);
    tcase_add_loop_test(t, test_put_back, 0, 2);
    tcase_add_test(t, test_cancelled);
    suite_add_tcase(s, t);
    return suite_run(s);
}
