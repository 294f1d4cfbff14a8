/* The library's verbs as a program calls them: answers one by one and at the same time, images as files and as pixels,
 * what is wrong and what is told of it, and what may be freed when. A sanitizer build shows that all of it is. The
 * answers are compared with the server's in tests/api/test_library.py. */
#include "tests/suite.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "image/image.h"
#include "library/openautoglm.h"
#include "tests/slow.h"

#define MODEL "models/open-autoglm-v1"
#define CHAT "{\"messages\": [{\"role\": \"user\", \"content\": \"Tap \\\"Camera\\\"\"}], \"temperature\": 0"
#define LOOK "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}, {\"type\": \"text\", " \
             "\"text\": \"Tap \\\"Camera\\\"\"}]}], \"temperature\": 0"

static struct openautoglm *model;
static struct buf picture;

static void open_all(void)
{
    struct openautoglm_error e;
    struct err why;
    model = openautoglm_open(MODEL, "{\"threads\": 2, \"max_num_seqs\": 3}", &e);
    ck_assert_msg(model != NULL, "%s", e.message);
    buf_init(&picture, 1 << 24);
    ck_assert_int_eq(file_must_read(MODEL "/samples/home-en.png", &picture, &why), 0);
}

static void close_all(void)
{
    openautoglm_close(model);
    buf_free(&picture);
}

struct told { char text[4096]; int32_t ids[512]; float logprobs[512]; size_t n, n_ids; struct openautoglm_event last; };

/* Everything that comes of an answer, which is freed. */
static struct told read_answer(struct openautoglm_answer *a)
{
    static struct told none;
    struct told t = none;
    ck_assert_ptr_nonnull(a);
    do {
        ck_assert_int_eq(openautoglm_next(a, &t.last, -1), 1);
        ck_assert_uint_lt(t.n + t.last.n_text, sizeof t.text);
        memcpy(t.text + t.n, t.last.text, t.last.n_text);
        t.n += t.last.n_text;
        for (size_t i = 0; i < t.last.n_tokens; i++) {
            t.logprobs[t.n_ids] = t.last.logprobs ? t.last.logprobs[i] : 0;
            t.ids[t.n_ids++] = t.last.tokens[i];
        }
    } while (t.last.kind == OPENAUTOGLM_TEXT);
    openautoglm_answer_free(a);
    return t;
}

static struct told ask(const char *request, const struct openautoglm_image *image)
{
    struct openautoglm_error e = { 0 };
    struct openautoglm_prompt *p = openautoglm_prompt_chat(model, request, image, image != NULL, &e);
    ck_assert_msg(p != NULL, "%s", e.message);
    struct openautoglm_answer *a = openautoglm_generate(model, p, request, &e);
    ck_assert_msg(a != NULL, "%s", e.message);
    return read_answer(a);
}

static struct openautoglm_image as_file(void)
{
    return (struct openautoglm_image){ .data = picture.data, .size = picture.len };
}

START_TEST(test_answers)
{
    struct openautoglm_image image = as_file();
    struct told t = ask(LOOK "}", &image);
    ck_assert_ptr_nonnull(strstr(t.text, "do(action=\"Tap\""));
    ck_assert_str_eq(t.last.finish_reason, "stop");
    ck_assert_int_eq(t.last.completion_tokens, (int)t.n_ids);
    ck_assert(t.last.prompt_tokens > 20 && t.last.seconds > 0);
    struct told cut = ask(LOOK ", \"max_tokens\": 3, \"logprobs\": true}", &image);
    ck_assert_str_eq(cut.last.finish_reason, "length");
    ck_assert_uint_eq(cut.n_ids, 3);
    ck_assert(cut.logprobs[0] < 0 && cut.logprobs[0] > -1 && cut.logprobs[2] < 0);
    ck_assert_int_eq(memcmp(cut.ids, t.ids, 3 * sizeof *t.ids), 0);
    ck_assert_int_gt(cut.last.cached_tokens, 0);
    struct told stopped = ask(LOOK ", \"stop\": [\"action\"]}", &image);
    ck_assert_str_eq(stopped.text, "do(");
}
END_TEST

/* The same tokens and the same answer whether an image comes as a file, as its pixels, or as the prompt has it. */
START_TEST(test_images)
{
    struct openautoglm_error e = { 0 };
    struct image_limits limits = { .max_bytes = 1 << 24, .max_pixels = 1 << 24 };
    struct pixels px;
    struct err why;
    struct openautoglm_image file = as_file(), seen;
    ck_assert_int_eq(image_decode(picture.data, picture.len, &limits, NULL, &px, &why), 0);
    struct openautoglm_image rgb = { px.data, (size_t)px.width * (size_t)px.height * 3, px.width, px.height };
    struct told expected = ask(LOOK "}", &file), same = ask(LOOK "}", &rgb);
    ck_assert_str_eq(same.text, expected.text);
    struct openautoglm_prompt *p = openautoglm_prompt_chat(model, LOOK "}", &file, 1, &e);
    size_t n;
    const int32_t *ids = openautoglm_prompt_ids(p, &n);
    ck_assert_int_eq(openautoglm_prompt_images(p), 1);
    openautoglm_prompt_image(p, 0, &seen);
    ck_assert_uint_eq(seen.size, (size_t)seen.width * (size_t)seen.height * 3);
    struct openautoglm_prompt *again = openautoglm_prompt_tokens(model, ids, n, &seen, 1, &e);
    ck_assert_msg(again != NULL, "%s", e.message);
    openautoglm_prompt_free(p);
    struct told third = read_answer(openautoglm_generate(model, again, "{\"temperature\": 0}", &e));
    ck_assert_str_eq(third.text, expected.text);
    ck_assert_int_gt(third.last.cached_tokens, 0);         /* it is the same image for the cache, too */
    pixels_free(&px);
}
END_TEST

/* More answers than are computed at a time, all begun by one thread; each is what it is alone. */
START_TEST(test_many_at_once)
{
    enum { N = 8 };
    struct openautoglm_error e;
    struct openautoglm_answer *a[N];
    char request[N][256];
    for (int i = 0; i < N; i++) {
        snprintf(request[i], sizeof request[i], CHAT ", \"max_tokens\": 12, \"ignore_eos\": true, \"temperature\": 1, "
                 "\"seed\": %d}", i / 2);
        a[i] = openautoglm_generate(model, openautoglm_prompt_chat(model, request[i], NULL, 0, &e), request[i], &e);
    }
    struct told t[N];
    for (int i = N - 1; i >= 0; i--)
        t[i] = read_answer(a[i]);
    for (int i = 0; i < N; i++) {
        ck_assert_str_eq(t[i].text, ask(request[i], NULL).text);
        ck_assert_str_eq(t[i].text, t[i / 2 * 2].text);
    }
    ck_assert_str_ne(t[0].text, t[2].text);
}
END_TEST

static void *wait_for_it(void *answer)
{
    static struct told t;
    t = read_answer(answer);
    return &t;
}

static struct openautoglm_answer *long_answer(struct openautoglm *m)
{
    struct openautoglm_error e;
    struct openautoglm_prompt *p = openautoglm_prompt_chat(m, CHAT "}", NULL, 0, &e);
    struct openautoglm_answer *a = openautoglm_generate(m, p, "{\"ignore_eos\": true}", &e);
    ck_assert_ptr_nonnull(a);
    return a;
}

/* From another thread than the one that waits; and an answer that is freed while it runs. */
START_TEST(test_cancel)
{
    pthread_t thread;
    void *told;
    struct openautoglm_answer *a = long_answer(model);
    struct openautoglm_event ev;
    ck_assert_int_eq(openautoglm_next(a, &ev, -1), 1);
    pthread_create(&thread, NULL, wait_for_it, a);
    openautoglm_cancel(a);
    pthread_join(thread, &told);
    ck_assert_str_eq(((struct told *)told)->last.finish_reason, "cancelled");
    openautoglm_answer_free(long_answer(model));
    struct openautoglm_answer *slow = long_answer(model);
    int n = 0;
    while (openautoglm_next(slow, &ev, 0) == 0)
        n += ev.kind == OPENAUTOGLM_NOTHING;
    ck_assert_int_gt(n, 0);
    openautoglm_answer_free(slow);
}
END_TEST

/* Answers and prompts outlive the handle, and say so. */
START_TEST(test_closed_too_early)
{
    struct openautoglm_error e = { 0 };
    struct openautoglm *m = openautoglm_open(MODEL, "{\"threads\": 1}", &e);
    struct openautoglm_prompt *p = openautoglm_prompt_chat(m, CHAT "}", NULL, 0, &e);
    struct openautoglm_answer *a = long_answer(m);
    openautoglm_close(m);
    ck_assert_ptr_null(openautoglm_generate(m, p, NULL, &e));
    ck_assert_str_eq(e.message, "the model was closed");
    ck_assert_int_eq(e.status, 503);
    struct told t = read_answer(a);
    ck_assert_str_eq(t.last.finish_reason, "cancelled");
    openautoglm_close(NULL);
    openautoglm_answer_free(NULL);
    openautoglm_prompt_free(NULL);
}
END_TEST

/* The logits behind the prompt are those that its answer is drawn from, whether the prompt is computed for
 * an answer or for its logits. */
START_TEST(test_logits)
{
    struct openautoglm_error e = { 0 };
    struct openautoglm_image file = as_file();
    struct openautoglm_info about;
    struct openautoglm_event ev;
    openautoglm_about(model, &about);
    struct told t = ask(LOOK ", \"max_tokens\": 1, \"logprobs\": true}", &file);
    for (int round = 0; round < 2; round++) {
        struct openautoglm_prompt *p = openautoglm_prompt_chat(model, LOOK "}", &file, 1, &e);
        size_t n;
        openautoglm_prompt_ids(p, &n);
        struct openautoglm_answer *a = openautoglm_compute(model, p, OPENAUTOGLM_LOGITS, &e);
        ck_assert_msg(a != NULL, "%s", e.message);
        ck_assert_int_eq(openautoglm_next(a, &ev, -1), 1);
        ck_assert_int_eq(ev.kind, OPENAUTOGLM_END);
        ck_assert_uint_eq(ev.n_numbers, n * (size_t)about.vocabulary);
        const float *last = ev.numbers + (n - 1) * (size_t)about.vocabulary;
        int best = 0;
        double sum = 0;
        for (int i = 0; i < about.vocabulary; i++)
            best = last[i] > last[best] ? i : best;
        for (int i = 0; i < about.vocabulary; i++)
            sum += exp((double)last[i] - (double)last[best]);
        ck_assert_int_eq(best, t.ids[0]);
        ck_assert_double_eq_tol(-log(sum), (double)t.logprobs[0], 1e-6);
        openautoglm_answer_free(a);
    }
}
END_TEST

/* Features are the same numbers before and after the image was kept for others; two images come one after the other. */
START_TEST(test_features)
{
    static const char two[] = "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}, "
                              "{\"type\": \"image\"}]}]}";
    struct openautoglm_error e = { 0 };
    struct openautoglm_image file[] = { as_file(), as_file() };
    struct openautoglm_info about;
    struct openautoglm_event ev;
    openautoglm_about(model, &about);
    struct openautoglm_prompt *p = openautoglm_prompt_chat(model, two, file, 2, &e);
    size_t n, places = 0;
    const int32_t *ids = openautoglm_prompt_ids(p, &n);
    for (size_t i = 0; i < n; i++)
        places += ids[i] == about.image_token;
    struct openautoglm_answer *a = openautoglm_compute(model, p, OPENAUTOGLM_IMAGE_FEATURES, &e);
    ck_assert_msg(a != NULL, "%s", e.message);
    ck_assert_int_eq(openautoglm_next(a, &ev, -1), 1);
    ck_assert_int_eq(ev.kind, OPENAUTOGLM_END);
    ck_assert_uint_eq(ev.n_numbers, places * (size_t)about.width);
    int32_t each;
    ck_assert_int_eq(openautoglm_image_tokens(model, 1080, 2400, &each, &e), 0);
    ck_assert_int_gt(each, 10);
    ck_assert_int_eq(openautoglm_image_tokens(model, 0, 5, &each, &e), -1);
    ck_assert_int_eq(memcmp(ev.numbers, ev.numbers + ev.n_numbers / 2, ev.n_numbers / 2 * sizeof(float)), 0);
    ck_assert(ev.numbers[0] != ev.numbers[about.width]);
    openautoglm_answer_free(a);
    ck_assert_ptr_null(openautoglm_compute(model, openautoglm_prompt_chat(model, CHAT "}", NULL, 0, &e),
                                           OPENAUTOGLM_IMAGE_FEATURES, &e));
    ck_assert_str_eq(e.message, "the prompt has no images");
    ck_assert_ptr_null(openautoglm_compute(model, openautoglm_prompt_chat(model, CHAT "}", NULL, 0, &e), 9, &e));
    struct openautoglm_answer *left = openautoglm_compute(model, openautoglm_prompt_chat(model, CHAT "}", NULL, 0, &e),
                                                          OPENAUTOGLM_LOGITS, &e);
    openautoglm_answer_free(left);
}
END_TEST

START_TEST(test_tokenizer)
{
    static const char text[] = "Tap \"Camera\" \xe7\x82\xb9";
    struct openautoglm_error e = { 0 };
    struct openautoglm *m = openautoglm_open_tokenizer("open-autoglm-v1", NULL, &e);
    ck_assert_msg(m != NULL, "%s", e.message);
    int32_t *ids;
    char *back;
    size_t n, n_back;
    ck_assert_int_eq(openautoglm_tokenize(m, text, strlen(text), 0, &ids, &n, &e), 0);
    ck_assert_int_eq(openautoglm_detokenize(m, ids, n, 0, &back, &n_back, &e), 0);
    ck_assert_str_eq(back, text);
    ck_assert_uint_eq(n_back, strlen(text));
    openautoglm_free(ids);
    openautoglm_free(back);
    struct openautoglm_image file = as_file();
    struct openautoglm_prompt *p = openautoglm_prompt_chat(m, LOOK "}", &file, 1, &e);
    struct openautoglm_prompt *q = openautoglm_prompt_chat(model, LOOK "}", &file, 1, &e);
    const int32_t *one = openautoglm_prompt_ids(p, &n), *two = openautoglm_prompt_ids(q, &n_back);
    ck_assert_uint_eq(n, n_back);
    ck_assert_int_eq(memcmp(one, two, n * sizeof *one), 0);
    ck_assert_int_eq(openautoglm_detokenize(m, one, n, 1, &back, &n_back, &e), 0);
    ck_assert_ptr_null(strstr(back, "<|"));                /* no special token is left */
    openautoglm_free(back);
    ck_assert_ptr_null(openautoglm_generate(m, p, NULL, &e));
    ck_assert_str_eq(e.message, "this model was opened as a tokenizer, without weights");
    openautoglm_prompt_free(q);
    openautoglm_close(m);
}
END_TEST

START_TEST(test_wrong_requests)
{
    static const struct { const char *request, *field, *message; } wrong[] = {
        { "{", "", "the body is not valid JSON" },
        { "{}", "messages", "messages is missing" },
        { "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]}", "messages",
          "the messages have 1 places for images" },
        { "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": "
          "\"http://127.0.0.1/x\"}]}]}", "messages[0].content[0].image_url", "remote image URLs are off" },
        { CHAT ", \"temperature\": 9}", "temperature", "temperature must be" },
        { CHAT ", \"n\": 2}", "n", "n must be 1" },
        { CHAT ", \"logprobs\": true, \"top_logprobs\": 2}", "top_logprobs", "top_logprobs is not told here" },
        { CHAT ", \"stop\": \"\"}", "stop", "stop must not hold an empty string" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct openautoglm_error e = { 0 };
        struct openautoglm_prompt *p = openautoglm_prompt_chat(model, wrong[i].request, NULL, 0, &e);
        ck_assert_ptr_null(p ? openautoglm_generate(model, p, wrong[i].request, &e) : NULL);
        ck_assert_msg(strstr(e.message, wrong[i].message) && strcmp(e.field, wrong[i].field) == 0 && e.status == 400,
                      "%zu: %s (%s, %d)", i, e.message, e.field, e.status);
    }
}
END_TEST

/* Tokens that do not fit to the images, and pixels that do not fit to their size. */
START_TEST(test_wrong_places)
{
    struct openautoglm_error e;
    struct openautoglm_image file = as_file(), seen;
    struct openautoglm_prompt *p = openautoglm_prompt_chat(model, LOOK "}", &file, 1, &e);
    size_t n;
    const int32_t *ids = openautoglm_prompt_ids(p, &n);
    openautoglm_prompt_image(p, 0, &seen);
    ck_assert_ptr_null(openautoglm_prompt_tokens(model, ids, n, NULL, 0, &e));
    ck_assert_ptr_nonnull(strstr(e.message, "places for more images than the 0"));
    const struct openautoglm_image twice[] = { seen, seen };
    ck_assert_ptr_null(openautoglm_prompt_tokens(model, ids, n, twice, 2, &e));
    ck_assert_ptr_nonnull(strstr(e.message, "places for fewer images than the 2"));
    int32_t cut[4096];
    struct openautoglm_info about;
    size_t k = 0;
    bool dropped = false;
    openautoglm_about(model, &about);
    for (size_t i = 0; i < n; i++)
        if (ids[i] == about.image_token && !dropped)
            dropped = true;
        else
            cut[k++] = ids[i];
    ck_assert_ptr_null(openautoglm_prompt_tokens(model, cut, k, &seen, 1, &e));
    ck_assert_ptr_nonnull(strstr(e.message, "but its size gives it"));
    ck_assert_ptr_null(openautoglm_prompt_tokens(model, &(int32_t){ about.vocabulary }, 1, NULL, 0, &e));
    ck_assert_ptr_nonnull(strstr(e.message, "vocabulary of"));
    seen.size--;
    ck_assert_ptr_null(openautoglm_prompt_tokens(model, ids, n, &seen, 1, &e));
    ck_assert_ptr_nonnull(strstr(e.message, "pixels are not"));
    openautoglm_prompt_free(p);
}
END_TEST

START_TEST(test_wrong_options)
{
    static const struct { const char *model, *options, *message; } wrong[] = {
        { "nowhere", NULL, "nowhere" },
        { "tests", NULL, "tests/config.json" },
        { MODEL, "{\"threads\": -1}", "option threads (options): must be from 0 to 1024" },
        { MODEL, "{\"port\": 8000}", "option port (options): has no meaning here" },
        { MODEL, "{\"thread\": 1}", "option thread (options): there is no such option" },
        { MODEL, "[]", "is not a JSON object" },
        { MODEL, "{", "the options are no JSON" },
        { MODEL, "{\"memory_bytes\": 1000000}", "MiB" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct openautoglm_error e = { 0 };
        ck_assert_ptr_null(openautoglm_open(wrong[i].model, wrong[i].options, &e));
        ck_assert_msg(strstr(e.message, wrong[i].message), "%zu: %s", i, e.message);
        ck_assert_ptr_null(openautoglm_open(wrong[i].model, wrong[i].options, NULL));
    }
}
END_TEST

/* Bytes of memory that this process has. */
static long resident(void)
{
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    ck_assert_int_eq(fscanf(f, "%ld %ld", &all, &pages), 2);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

/* The model has 9 MB of weights: four that stayed would be 36 MB. What the allocator keeps for a thread comes and
 * goes. */
START_TEST(test_closing_frees)
{
    struct openautoglm_error e;
    long before = 0;
    if (SLOW)
        return;                        /* a sanitizer keeps what is freed for a while, and finds leaks by itself */
    for (int i = 0; i < 8; i++) {
        struct openautoglm *m = openautoglm_open(MODEL, "{\"threads\": 2}", &e);
        struct openautoglm_prompt *p = openautoglm_prompt_chat(m, CHAT "}", NULL, 0, &e);
        read_answer(openautoglm_generate(m, p, "{\"max_tokens\": 2}", &e));
        openautoglm_close(m);
        if (i == 3)
            before = resident();
    }
    ck_assert_int_lt(resident() - before, 12 << 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("library");
    TCase *c = tcase_create("library"), *alone = tcase_create("closing");
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, test_answers);
    tcase_add_test(c, test_images);
    tcase_add_test(c, test_many_at_once);
    tcase_add_test(c, test_cancel);
    tcase_add_test(c, test_closed_too_early);
    tcase_add_test(c, test_logits);
    tcase_add_test(c, test_features);
    tcase_add_test(c, test_tokenizer);
    tcase_add_test(c, test_wrong_requests);
    tcase_add_test(c, test_wrong_places);
    tcase_add_test(c, test_wrong_options);
    suite_add_tcase(s, c);
    tcase_add_checked_fixture(alone, open_all, close_all);
    tcase_set_timeout(alone, 60);
    tcase_add_test(alone, test_closing_frees);
    suite_add_tcase(s, alone);
    return suite_run(s);
}
