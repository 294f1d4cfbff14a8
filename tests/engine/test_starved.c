/* tests/engine/test_starved.c - every allocation of reading a request fails once, in turn: the answer is "out of memory"
 * with status 503, or what it is with memory enough; and afterwards it is right again.
 *
 * The program has an allocator of its own in front of the C library's, which the libraries use as well. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/json_watch.h"
#include "engine/detok.h"
#include "engine/text.h"
#include "tests/suite.h"
#include "tokenizer/tokenizer.h"

#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t n);

static long left = -1;         /* allocations before the one that fails; -1: none fails */
static bool failed;

static bool fails(void)
{
    if (left < 0 || left-- > 0)
        return false;
    failed = true;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n) { return fails() ? NULL : __libc_malloc(n); }
void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }
void *realloc(void *p, size_t n) { return fails() ? NULL : __libc_realloc(p, n); }

/* Does f() with the n-th allocation failing, for every n. f leaves a result in `out`, or -1 and e. */
typedef int (*work)(const void *ctx, struct buf *out, struct err *e);

static int fail_each_in_turn(const char *what, work f, const void *ctx, const void *clean_ctx)
{
    struct buf want, have;
    struct err e = { 0 };
    int n = 0;
    buf_init(&want, 1 << 20);
    buf_init(&have, 1 << 20);
    json_begin();
    ck_assert_msg(f(clean_ctx, &want, &e) == 0, "%s: %s", what, e.text);
    buf_add(&have, want.data, want.len);       /* room for it, not to be tested */
    for (bool again = true; again; n++) {
        buf_clear(&have);
        memset(&e, 0, sizeof e);
        json_begin();
        failed = false;
        left = n;
        int rc = f(ctx, &have, &e);
        left = -1;
        again = failed;
        if (rc != 0)
            ck_assert_msg(failed && e.status == 503 && strcmp(e.code, "out_of_memory") == 0, "%s: allocation %d fails: %d %s: %s", what,
                          n, e.status, e.code, e.text);
        else
            ck_assert_msg(have.len == want.len && memcmp(have.data, want.data, want.len) == 0,
                          "%s: allocation %d fails: \"%s\", not \"%s\"", what, n, have.data, want.data);
        ck_assert_int_lt(n, 100000);
    }
    buf_free(&want);
    buf_free(&have);
    return n;
}

static void each_tokenizer(void (*test)(const char *name, struct tokenizer *t, struct tokenizer *clean))
{
    DIR *d = opendir("tests/tokenizer/fixtures");
    struct dirent *f;
    int n = 0;
    ck_assert_ptr_nonnull(d);
    while ((f = readdir(d))) {
        char dir[400];
        struct err e;
        snprintf(dir, sizeof dir, "tests/tokenizer/fixtures/%s", f->d_name);
        struct tokenizer *t = f->d_name[0] == '.' ? NULL : tokenizer_open(dir, &e);
        if (!t)
            continue;
        struct tokenizer *clean = tokenizer_open(dir, &e);
        test(f->d_name, t, clean);
        tokenizer_close(t);
        tokenizer_close(clean);
        n++;
    }
    closedir(d);
    ck_assert_int_gt(n, 40);
}

static const char sample[] = "Hello w\u00f6rld, na\u00efve caf\u00e9 \u4f60\u597d e\u0301 12345 <s>it's\tdone</s>  \xff the quick brown fox ab";

/* The words that a tokenizer meets for the first time are kept: what memory ran out for must not be among them. */
static int encode(const void *ctx, struct buf *out, struct err *e)
{
    struct ids ids = { 0 };
    int rc = tokenizer_encode(ctx, sample, sizeof sample - 1, true, &ids, e);
    for (size_t i = 0; i < ids.n && rc == 0; i++)
        buf_printf(out, "%d ", ids.id[i]);
    buf_str(out, "");
    ids_free(&ids);
    return rc;
}

static void test_encode(const char *name, struct tokenizer *t, struct tokenizer *clean)
{
    fail_each_in_turn(name, encode, t, clean);
}

START_TEST(encoding) { each_tokenizer(test_encode); }
END_TEST

static int every_id(const struct tokenizer *t) { return tokenizer_size(t) < 60 ? tokenizer_size(t) : 60; }

static int decode(const void *ctx, struct buf *out, struct err *e)
{
    int32_t ids[60];
    for (int i = 0; i < 60; i++)
        ids[i] = i;
    return tokenizer_decode(ctx, ids, (size_t)every_id(ctx), false, out, e);
}

static int pieces(const void *ctx, struct buf *out, struct err *e)
{
    for (int i = 0; i < every_id(ctx); i++)
        tokenizer_piece(ctx, i, out);
    return buf_ok(out) ? 0 : buf_error(out, e, "not memory");
}

/* As the engine does it: token by token, with a stop string that does not come. */
static int stream(const void *ctx, struct buf *out, struct err *e)
{
    static const char *const stop[] = { "thisneverhappens" };
    struct detok d;
    if (detok_init(&d, ctx, stop, 1, true) < 0)
        return err_memory(e);
    for (int i = 0; i < every_id(ctx) && buf_ok(out); i++)
        detok_add(&d, i, out);
    if (buf_ok(out))
        detok_end(&d, out);
    detok_free(&d);
    return buf_ok(out) ? 0 : buf_error(out, e, "not memory");
}

static void test_decode(const char *name, struct tokenizer *t, struct tokenizer *clean)
{
    fail_each_in_turn(name, decode, t, clean);
    fail_each_in_turn(name, pieces, t, clean);
    fail_each_in_turn(name, stream, t, clean);
}

START_TEST(decoding) { each_tokenizer(test_decode); }
END_TEST

static const char conversation[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What is this?\"},{\"type\":\"text\",\"text\":\"caf\\u00e9\"}]},"
    "{\"role\":\"assistant\",\"content\":\"A cat.\"},{\"role\":\"user\",\"content\":\"And this?\"}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"tap\",\"parameters\":{\"x\":1,\"y\":[1.5,null,true]}}}],"
    "\"kwargs\":{\"enable_thinking\":false}}";

/* From the bytes of a body to the rendered chat. */
static int render(const void *ctx, struct buf *out, struct err *e)
{
    struct json_limits limits = { .depth = 32, .values = 1000 };
    json_t *root = json_read("the body", conversation, sizeof conversation - 1, &limits, e);
    if (!root)
        return -1;
    struct chat chat = { .messages = json_object_get(root, "messages"), .tools = json_object_get(root, "tools"),
                         .template_kwargs = json_object_get(root, "kwargs") };
    size_t n = 0;
    char *text = text_render(ctx, &chat, &n, e);
    buf_add(out, text ? text : "", n);
    free(text);
    json_decref(root);
    return text ? 0 : -1;
}

START_TEST(rendering)
{
    static const struct { const char *dir, *format; } cases[] = {
        { "models/open-autoglm-v1", "auto" }, { "models/open-autoglm-v1", "string" }, { "tests/engine/text/template", "string" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text t;
        struct err e = { 0 };
        ck_assert_msg(text_open(&t, cases[i].dir, NULL, cases[i].format, -1, &e) == 0, "%s", e.text);
        ck_assert_int_gt(fail_each_in_turn(cases[i].dir, render, &t, &t), 30);
        text_close(&t);
    }
}
END_TEST

static void add_tests(TCase *c)
{
    tcase_add_test(c, encoding);
    tcase_add_test(c, decoding);
    tcase_add_test(c, rendering);
}

#else

static void add_tests(TCase *c)
{
    (void)c;
    puts("skip: a sanitizer brings its own allocator");
}

#endif

int main(void)
{
    json_watch();
    Suite *s = suite_create("starved");
    TCase *c = tcase_create("starved");
    add_tests(c);
    suite_add_tcase(s, c);
    return suite_run(s);
}
