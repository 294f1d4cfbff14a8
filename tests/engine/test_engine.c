/* The engine on a real model: the four faces of batch invariance (alone, in a batch, after a cache hit, after being put
 * back), and the ends that a request can come to. Texts and logprobs are compared bit for bit. */
#include <check.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "image/image.h"
#include "tests/options.h"
#include "tests/slow.h"
#include "tests/suite.h"

enum { BATCH = SLOW ? 8 : 32, ANSWER = 24 };

struct answer {
    char *text;
    float lp[ANSWER * 2];
    int32_t id[ANSWER * 2];
    int n;
    struct event end;
};

static const char *model_dir(void)
{
    const char *dir = getenv("OPENAUTOGLM_MODEL");
    return dir ? dir : "models/open-autoglm-v1";
}

static struct engine *open_with(struct engine_options opt)
{
    struct err e = { 0 };
    opt.config.model = (char *)model_dir();
    opt.config.device = "cpu";
    opt.config.threads = 2;
    struct engine *g = engine_open(&opt, &e);
    ck_assert_msg(g != NULL, "%s", e.text);
    return g;
}

static struct engine *open_engine(struct engine_config c)
{
    return open_with((struct engine_options){ .config = c });
}

/* A screenshot of its own for every number: coloured blocks on a coloured ground. */
static void draw(int number, int w, int h, struct buf *png)
{
    struct pixels px = { xmalloc((size_t)(w * h * 3)), w, h };
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++) {
                int block = (x / 32 * 7 + y / 48 * 13 + number * 29) % 11;
                px.data[(y * w + x) * 3 + c] = (uint8_t)(block > 6 ? 255 - 9 * number : 40 * c + 15 * block + number);
            }
    buf_init(png, (size_t)1 << 24);
    struct err e;
    ck_assert_int_eq(png_write(&px, png, &e), 0);
    pixels_free(&px);
}

static struct prompt *make_prompt(struct engine *g, int number, const char *question, struct err *e)
{
    struct buf png;
    draw(number, 160 + 32 * (number % 3), 288, &png);
    struct chat_image img = { .data = png.data, .n = png.len, .field = "messages[0].content[0].image_url" };
    json_t *messages = json_pack("[{s:s, s:[{s:s}, {s:s, s:s}]}]", "role", "user", "content", "type", "image", "type",
                                 "text", "text", question);
    struct chat chat = { .messages = messages, .images = &img, .n_images = 1 };
    struct prompt *p = engine_prompt(g, &chat, e);
    json_decref(messages);
    buf_free(&png);
    return p;
}

static const char *question(int number)
{
    static const char *const q[] = { "Tap \"Settings\"", "What is the title?", "Count the buttons", "Open Camera",
                                     "Go back" };
    return q[number % 5];
}

static struct params make_params(const struct engine *g, int number)
{
    struct params p;
    params_default(g, &p);
    p.max_tokens = ANSWER;
    p.ignore_eos = true;
    p.logprobs = true;
    p.top_logprobs = number % 4;
    p.temperature = number % 2 ? 1.0f : 0.0f;
    p.has_seed = true;
    p.seed = 1234 + (uint64_t)number;
    p.frequency_penalty = number % 3 ? 0.0f : 0.2f;
    return p;
}

static struct request *submit(struct engine *g, int number)
{
    struct err e = { 0 };
    struct prompt *p = make_prompt(g, number, question(number), &e);
    ck_assert_msg(p != NULL, "%s", e.text);
    struct params params = make_params(g, number);
    struct request *r = engine_submit(g, p, &params, &e);
    ck_assert_msg(r != NULL, "%s", e.text);
    return r;
}

static struct answer collect(struct request *r)
{
    struct answer a = { 0 };
    struct buf text;
    buf_init(&text, 1 << 20);
    for (bool done = false; !done;) {
        struct event ev;
        struct pollfd fd = { request_fd(r), POLLIN, 0 };
        ck_assert_msg(poll(&fd, 1, 120000) > 0, "no event in two minutes");
        while (!done && request_next(r, &ev)) {
            ck_assert_msg(ev.kind != EVENT_ERROR, "%s", ev.err.text);
            buf_add(&text, ev.text, ev.n_text);
            for (int i = 0; i < ev.n_logprobs; i++) {
                a.id[a.n] = ev.logprobs[i].id;
                a.lp[a.n++] = ev.logprobs[i].logprob;
            }
            done = ev.kind == EVENT_END;
            if (done)
                a.end = ev;
            event_free(&ev);
        }
    }
    a.text = buf_take(&text);
    request_free(r);
    return a;
}

static void assert_same(const struct answer *a, const struct answer *b, int number)
{
    ck_assert_msg(a->n == ANSWER && b->n == ANSWER, "request %d: %d and %d tokens", number, a->n, b->n);
    ck_assert_msg(memcmp(a->id, b->id, sizeof a->id) == 0, "request %d: other tokens: '%s' and '%s'", number, a->text,
                  b->text);
    ck_assert_msg(memcmp(a->lp, b->lp, sizeof a->lp) == 0, "request %d: other logprobs", number);
    ck_assert_str_eq(a->text, b->text);
}

static struct answer alone[BATCH];     /* each in an engine that runs nothing else, without caches */

/* Asks the first n at once; each answer must be the one in `as`, bit for bit. */
static void assert_together(struct engine *g, int n, const struct answer *as)
{
    struct request *r[BATCH];
    for (int i = 0; i < n; i++)
        r[i] = submit(g, i);
    for (int i = 0; i < n; i++) {
        struct answer a = collect(r[i]);
        assert_same(&a, &as[i], i);
        free(a.text);
    }
}

static void ask_alone(void)
{
    struct engine *g = open_engine(CONFIG(c.prefix_cache = false, c.max_num_seqs = 1));
    for (int i = 0; i < BATCH; i++)
        alone[i] = collect(submit(g, i));
    engine_close(g);
}

static void forget_alone(void)
{
    for (int i = 0; i < BATCH; i++)
        free(alone[i].text);
}

START_TEST(in_a_large_batch)
{
    struct engine *g = open_engine(CONFIG(c.max_num_seqs = BATCH, c.max_batched_tokens = 200));
    assert_together(g, BATCH, alone);
    struct engine_stats s;
    engine_stats(g, &s);
    ck_assert_uint_gt(s.completion_tokens, s.steps);       /* it was a batch */
    engine_close(g);
}
END_TEST

/* The same with quantised weights: alone, then eight at once. */
START_TEST(in_a_batch_quantised)
{
    static const char *const weights[] = { "int8", "int4", "fp8" };
    struct answer one[8];
    struct engine *g = open_engine(CONFIG(c.prefix_cache = false, c.max_num_seqs = 1, c.weights = (char *)weights[_i]));
    for (int i = 0; i < 8; i++)
        one[i] = collect(submit(g, i));
    engine_close(g);
    ck_assert_msg(memcmp(one[0].lp, alone[0].lp, sizeof one[0].lp) != 0, "%s weights were not quantised", weights[_i]);
    g = open_engine(CONFIG(c.max_num_seqs = 8, c.max_batched_tokens = 150, c.weights = (char *)weights[_i]));
    assert_together(g, 8, one);
    for (int i = 0; i < 8; i++)
        free(one[i].text);
    engine_close(g);
}
END_TEST

/* Others get their tokens while images are encoded, in steps within the encoding, and prompts go on in pieces: here at
 * every occasion, because no pause is short enough. */
START_TEST(while_images_are_encoded)
{
    struct engine *g = open_engine(CONFIG(c.max_num_seqs = 8, c.max_pause = 1e-6, c.prefix_cache = false));
    assert_together(g, 8, alone);
    struct engine_stats s;
    engine_stats(g, &s);
    ck_assert_uint_gt(s.steps_between, 0);
    engine_close(g);
}
END_TEST

START_TEST(after_a_cache_hit)
{
    struct engine *g = open_engine(CONFIG(c.max_num_seqs = 4));
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 8; i++) {
            struct answer a = collect(submit(g, i));
            assert_same(&a, &alone[i], i);
            ck_assert_int_eq(a.end.cached_tokens > 0, round);
            free(a.text);
        }
    struct engine_stats s;
    engine_stats(g, &s);
    ck_assert_uint_ge(s.image_hits, 8);
    ck_assert_uint_gt(s.prefix_hits, 0);
    engine_close(g);
}
END_TEST

START_TEST(after_being_put_back)
{
    /* Room for 256 tokens: of four prompts of about 60 tokens with answers of 24, not all can stay. */
    struct engine_plan plan;
    struct engine_options opt = { .config = CONFIG(c.model = (char *)model_dir(), c.device = "cpu", c.max_num_seqs = 8,
                                                   c.max_model_len = 256) };
    ck_assert_int_eq(engine_plan(&opt, &plan, NULL), 0);
    opt.config.kv_bytes = plan.kv / (size_t)plan.kv_tokens * 256;
    struct engine *g = open_with(opt);
    struct engine_stats s = { 0 };
    for (int round = 0; round < 8 && !s.preemptions; round++) {    /* the images of the first come one by one */
        assert_together(g, 8, alone);
        engine_stats(g, &s);
    }
    ck_assert_uint_gt(s.preemptions, 0);
    engine_close(g);
}
END_TEST

static size_t counted_free(void *arg) { return *(_Atomic size_t *)arg; }

/* Memory that the machine does not have is told with 503, not taken; once it is there the same request is answered. */
START_TEST(memory_that_is_not_there_is_told_with_503)
{
    static _Atomic size_t left;
    atomic_store(&left, (size_t)64 << 30);
    struct engine *g = open_with((struct engine_options){ .config = CONFIG(c.max_num_seqs = 8,
                                                                           c.memory_bytes = (size_t)8 << 30),
                                                          .free_memory = counted_free, .free_memory_arg = &left });
    atomic_store(&left, 0);
    struct request *r = submit(g, 0);
    struct event ev = { 0 };
    struct pollfd fd = { request_fd(r), POLLIN, 0 };
    ck_assert_int_gt(poll(&fd, 1, 120000), 0);
    ck_assert_int_eq(request_next(r, &ev), 1);
    ck_assert_int_eq(ev.kind, EVENT_ERROR);
    ck_assert_int_eq(ev.err.status, 503);
    event_free(&ev);
    request_free(r);
    atomic_store(&left, (size_t)64 << 30);
    struct answer a = collect(submit(g, 0));
    assert_same(&a, &alone[0], 0);
    free(a.text);
    engine_close(g);
}
END_TEST

/* Waits until the engine is done with n requests; nobody takes their events. */
static void await_ends(struct engine *g, uint64_t n)
{
    struct engine_stats s;
    do {
        usleep(1000);
        engine_stats(g, &s);
    } while (s.finished_length + s.finished_error < n);
}

static void count_end(void *arg) { atomic_fetch_add((atomic_int *)arg, 1); }

/* What clients do not take is counted; where it is too much an answer ends with an error, and gives back what it had.
 * Small ones are never refused, and the engine says that it is done whatever has been taken. */
START_TEST(answers_that_nobody_takes_are_counted)
{
    struct tally answers = { .size = 20000 };
    atomic_int ends = 0;
    struct engine *g = open_with((struct engine_options){ .config = CONFIG(c.max_num_seqs = 2), .answers = &answers });
    struct event ev;
    struct err e = { 0 };
    struct params p = make_params(g, 0);
    p.ignore_eos = p.logprobs = true;
    p.ended = count_end;
    p.ended_arg = &ends;
    p.max_tokens = 100;            /* 17 kB: there is room for one of these */
    struct request *first = engine_submit(g, make_prompt(g, 0, question(0), &e), &p, &e);
    await_ends(g, 1);
    ck_assert_uint_gt(atomic_load(&answers.taken), 16000);
    ck_assert_uint_lt(atomic_load(&answers.taken), 20000);
    struct request *second = engine_submit(g, make_prompt(g, 0, question(1), &e), &p, &e);
    await_ends(g, 2);
    ck_assert_int_eq(request_next(second, &ev), 1);
    ck_assert_msg(ev.kind == EVENT_ERROR && ev.err.status == 503, "%s", ev.err.text);
    ck_assert_str_eq(ev.err.code, "overloaded");
    p.max_tokens = 20;
    struct request *small = engine_submit(g, make_prompt(g, 0, question(2), &e), &p, &e);
    await_ends(g, 3);
    ck_assert_int_eq(request_next(small, &ev), 1);
    ck_assert_int_eq(ev.kind, EVENT_DELTA);
    event_free(&ev);
    ck_assert_int_eq(request_next(first, &ev), 1);     /* the first one lost nothing */
    ck_assert_int_eq(ev.n_logprobs, 100);
    event_free(&ev);
    ck_assert_int_eq(atomic_load(&ends), 3);
    request_free(first);
    request_free(second);
    request_free(small);
    ck_assert_uint_eq(atomic_load(&answers.taken), 0);
    struct answer a = collect(submit(g, 0));
    assert_same(&a, &alone[0], 0);
    free(a.text);
    engine_close(g);
    ck_assert_uint_eq(atomic_load(&answers.taken), 0);
}
END_TEST

START_TEST(same_seed_same_text_other_seed_other_text)
{
    struct engine *g = open_engine(CONFIG(c.max_num_seqs = 4));
    struct err e;
    char *text[3];
    for (int i = 0; i < 3; i++) {
        struct params p = make_params(g, 1);
        p.temperature = 2;
        p.seed = i == 2 ? 99 : 5;
        struct request *r = engine_submit(g, make_prompt(g, 1, question(1), &e), &p, &e);
        text[i] = collect(r).text;
    }
    ck_assert_str_eq(text[0], text[1]);
    ck_assert_str_ne(text[0], text[2]);
    for (int i = 0; i < 3; i++)
        free(text[i]);
    engine_close(g);
}
END_TEST

START_TEST(stop_string_and_length_end_an_answer)
{
    struct engine *g = open_engine(CONFIG(c.max_num_seqs = 2));
    struct err e;
    struct params p = make_params(g, 0);
    p.frequency_penalty = 0;
    p.temperature = 0;
    p.max_tokens = 5;
    struct answer five = collect(engine_submit(g, make_prompt(g, 0, question(0), &e), &p, &e));
    ck_assert_int_eq(five.end.finish, FINISH_LENGTH);
    ck_assert_int_eq(five.end.completion_tokens, 5);
    ck_assert_uint_gt(strlen(five.text), 3);
    char stop[3] = { five.text[1], five.text[2], 0 };
    p.stop[0] = stop;
    p.n_stop = 1;
    struct answer cut = collect(engine_submit(g, make_prompt(g, 0, question(0), &e), &p, &e));
    ck_assert_int_eq(cut.end.finish, FINISH_STOP);
    size_t at = (size_t)(strstr(five.text, stop) - five.text);
    ck_assert_uint_eq(strlen(cut.text), at);
    ck_assert_int_eq(strncmp(cut.text, five.text, at), 0);
    free(five.text);
    free(cut.text);
    engine_close(g);
}
END_TEST

START_TEST(a_cancelled_request_frees_its_place)
{
    struct engine *g = open_engine(CONFIG(c.max_num_seqs = 1));
    struct params p = make_params(g, 0);
    struct err e;
    p.max_tokens = 0;                           /* the whole context */
    struct request *r = engine_submit(g, make_prompt(g, 0, question(0), &e), &p, &e);
    struct request *next = submit(g, 1);
    request_free(r);
    struct answer a = collect(next);
    assert_same(&a, &alone[1], 1);
    free(a.text);
    struct engine_stats s;
    for (int i = 0; i < 1000; i++) {
        engine_stats(g, &s);
        if (s.kv_pages_used == 0)
            break;
        usleep(2000);
    }
    ck_assert_int_eq(s.kv_pages_used, 0);
    ck_assert_uint_eq(s.finished_cancelled, 1);
    engine_close(g);
}
END_TEST

START_TEST(bad_input_is_told)
{
    struct engine *g = open_engine(CONFIG(c.max_num_seqs = 1, c.max_queue = 1, c.max_model_len = 256));
    struct err e = { 0 };
    struct chat_image img = { .data = "not an image", .n = 12, .field = "messages[0].content[0].image_url" };
    json_t *messages = json_pack("[{s:s, s:[{s:s}]}]", "role", "user", "content", "type", "image");
    struct chat chat = { .messages = messages, .images = &img, .n_images = 1 };
    ck_assert_ptr_null(engine_prompt(g, &chat, &e));
    ck_assert_str_eq(e.field, "messages[0].content[0].image_url");
    ck_assert_ptr_nonnull(strstr(e.text, "image 1"));
    json_decref(messages);

    char *text = xmalloc(4001);
    memset(text, 'a', 4000);
    text[4000] = 0;
    messages = json_pack("[{s:s, s:s}]", "role", "user", "content", text);
    chat = (struct chat){ .messages = messages };
    ck_assert_ptr_null(engine_prompt(g, &chat, &e));
    ck_assert_str_eq(e.code, "context_length_exceeded");
    json_decref(messages);
    free(text);

    ck_assert_ptr_null(engine_prompt_text(g, "look <|image|>", 14, true, 0, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "the prompt holds the image token"));
    ck_assert_str_eq(e.field, "prompt");
    engine_close(g);
}
END_TEST

/* The image's token in a message is text, unless everybody is trusted. */
START_TEST(a_message_may_name_the_image_token)
{
    for (int trust = 0; trust < 2; trust++) {
        struct engine *g = open_engine(CONFIG(c.max_num_seqs = 1, c.max_model_len = 256,
                                              c.trust_special_tokens = trust));
        struct err e = { 0 };
        json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "look <|image|>");
        struct chat chat = { .messages = messages };
        struct prompt *p = engine_prompt(g, &chat, &e);
        ck_assert_msg((p != NULL) == !trust, "%s", e.text);
        ck_assert(p || strstr(e.text, "placeholder"));
        prompt_free(p);
        json_decref(messages);
        engine_close(g);
    }
}
END_TEST

START_TEST(a_full_queue_is_told_with_429)
{
    struct engine *g = open_engine(CONFIG(c.max_num_seqs = 1, c.max_queue = 2));
    struct request *r[64];
    struct err e = { 0 };
    int n = 0;
    for (; n < 64; n++) {
        struct params p = make_params(g, 0);
        p.max_tokens = 0;
        r[n] = engine_submit(g, make_prompt(g, 0, question(0), &e), &p, &e);
        if (!r[n])
            break;
    }
    ck_assert_int_eq(n, 3);                  /* one that runs and two that wait, however soon the first one runs */
    ck_assert_int_eq(e.status, 429);
    while (n)
        request_free(r[--n]);
    engine_close(g);
}
END_TEST

/* What a traced engine has written by the time it is closed; free(). */
static char *trace_text(const char *path)
{
    struct buf text;
    struct err e;
    buf_init(&text, (size_t)1 << 26);
    ck_assert_msg(file_must_read(path, &text, &e) == 0, "%s", e.text);
    unlink(path);
    ck_assert_msg(text.len > 0, "%s is empty", path);
    return buf_take(&text);
}

/* Opens n engines, asks all of them a question of their own at the same time, and returns what each has traced. */
static void traces(const int *numbers, int n, char **out)
{
    struct engine *g[2];
    struct request *r[2];
    char path[2][64];
    for (int i = 0; i < n; i++) {
        snprintf(path[i], sizeof path[i], "/tmp/openautoglm-trace-%d-%d", (int)getpid(), i);
        g[i] = open_engine(CONFIG(c.trace = path[i], c.max_num_seqs = 1));
    }
    for (int i = 0; i < n; i++)
        r[i] = submit(g[i], numbers[i]);
    for (int i = 0; i < n; i++)
        free(collect(r[i]).text);
    for (int i = 0; i < n; i++) {
        engine_close(g[i]);
        out[i] = trace_text(path[i]);
    }
}

/* A trace is a device's: another engine of the process writes nothing into it and counts for itself. */
START_TEST(engines_are_traced_apart)
{
    char *both[2], *one;
    traces((int[]){ 0, 2 }, 2, both);
    for (int i = 0; i < 2; i++) {
        traces(&(int){ 2 * i }, 1, &one);
        ck_assert_int_eq(strncmp(one, "000000 ", 7), 0);
        ck_assert_msg(strcmp(one, both[i]) == 0, "trace %d differs beside another engine", i);
        free(one);
        free(both[i]);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine");
    TCase *t = tcase_create("engine");
    tcase_set_timeout(t, 240);
    tcase_add_unchecked_fixture(t, ask_alone, forget_alone);
    tcase_add_test(t, in_a_large_batch);
    tcase_add_loop_test(t, in_a_batch_quantised, 0, 3);
    tcase_add_test(t, while_images_are_encoded);
    tcase_add_test(t, after_a_cache_hit);
    tcase_add_test(t, after_being_put_back);
    tcase_add_test(t, memory_that_is_not_there_is_told_with_503);
    tcase_add_test(t, answers_that_nobody_takes_are_counted);
    tcase_add_test(t, same_seed_same_text_other_seed_other_text);
    tcase_add_test(t, stop_string_and_length_end_an_answer);
    tcase_add_test(t, a_cancelled_request_frees_its_place);
    tcase_add_test(t, bad_input_is_told);
    tcase_add_test(t, a_message_may_name_the_image_token);
    tcase_add_test(t, a_full_queue_is_told_with_429);
    tcase_add_test(t, engines_are_traced_apart);
    suite_add_tcase(s, t);
    return suite_run(s);
}
