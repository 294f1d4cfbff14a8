/* tests/engine/test_starved.c - every allocation of reading a request fails once, in turn: the answer is "out of
 * memory" with status 503, or what it is with memory enough; and afterwards it is right again.
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
#include "base/mem.h"
#include "engine/detok.h"
#include "engine/scheduler.h"
#include "engine/text.h"
#include "model/measure.h"
#include "model/nn.h"
#include "tests/suite.h"
#include "tokenizer/tokenizer.h"

#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t n);

static long left = -1;         /* allocations before the one that fails; -1: none fails */
static bool all;               /* that one, and every one after it             */
static bool failed;

static bool fails(void)
{
    if (left < 0 || left-- > 0)
        return false;
    left = all ? 0 : left;
    failed = true;
    errno = ENOMEM;
    return true;
}

/* The libraries' too: everything else in here is hidden from them. */
#pragma GCC visibility push(default)
void *malloc(size_t n) { return fails() ? NULL : __libc_malloc(n); }
void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }
void *realloc(void *p, size_t n) { return fails() ? NULL : __libc_realloc(p, n); }
#pragma GCC visibility pop

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
            ck_assert_msg(failed && e.status == 503 && strcmp(e.code, "out_of_memory") == 0,
                          "%s: allocation %d fails: %d %s: %s", what, n, e.status, e.code, e.text);
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

static const char sample[] = "Hello w\u00f6rld, na\u00efve caf\u00e9 \u4f60\u597d e\u0301 12345 <s>it's\tdone</s>  "
                             "\xff the quick brown fox ab";

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
    struct params p = { .stop = { "thisneverhappens" }, .n_stop = 1, .keep_special_tokens = true };
    struct detok d;
    if (detok_init(&d, ctx, &p) < 0)
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
    "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\","
    "\"content\":\"c\"},"
    "{\"role\":\"assistant\",\"content\":\"d\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What is "
    "this?\"},{\"type\":\"text\",\"text\":\"caf\\u00e9\"}]},"
    "{\"role\":\"assistant\",\"content\":\"A cat.\"},{\"role\":\"developer\",\"content\":\"And this?\"},"
    "{\"role\":\"assistant\",\"content\":\"It is <|end|> a\"}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"tap\",\"parameters\":{\"x\":1,\"y\":[1.5,null,"
    "true]}}}],"
    "\"kwargs\":{\"enable_thinking\":false}}";

struct way { const char *dir, *format; bool trusts, goes_on; struct text t; };

/* From the bytes of a body to the tokens of the rendered chat. */
static int render(const void *ctx, struct buf *out, struct err *e)
{
    const struct way *w = ctx;
    struct rendering r = { 0 };
    struct ids ids = { 0 };
    struct json_limits limits = { .depth = 32, .values = 1000 };
    json_t *root = json_read("the body", conversation, sizeof conversation - 1, &limits, e);
    if (!root)
        return -1;
    struct chat chat = { .messages = json_object_get(root, "messages"), .tools = json_object_get(root, "tools"),
                         .template_kwargs = json_object_get(root, "kwargs"), .continue_final_message = w->goes_on,
                         .no_generation_prompt = w->goes_on };
    int rc = text_render(&w->t, &chat, &r, e);
    if (rc == 0)
        rc = tokenizer_encode_chat(w->t.tokenizer, r.text, r.from, r.n, true, &ids, e);
    buf_add(out, r.text ? r.text : "", rc == 0 ? r.n : 0);
    for (size_t i = 0; i < ids.n && rc == 0; i++)
        buf_printf(out, " %d", ids.id[i]);
    ids_free(&ids);
    rendering_free(&r);
    json_decref(root);
    return rc;
}

START_TEST(rendering)
{
    static struct way ways[] = {
        { .dir = "models/open-autoglm-v1", .format = "auto" }, { .dir = "models/open-autoglm-v1", .format = "string" },
        { .dir = "models/open-autoglm-v1", .format = "auto", .trusts = true },
        { .dir = "models/open-autoglm-v1", .format = "auto", .goes_on = true },
        { .dir = "models/open-autoglm-v1", .format = "string", .goes_on = true },
        { .dir = "tests/engine/text/template", .format = "string" } };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct err e = { 0 };
        ck_assert_msg(text_open(&ways[i].t, ways[i].dir, NULL, ways[i].format, -1, -1, &e) == 0, "%s", e.text);
        ways[i].t.trust_special_tokens = ways[i].trusts;
        ck_assert_int_gt(fail_each_in_turn(ways[i].dir, render, &ways[i], &ways[i]), 30);
        text_close(&ways[i].t);
    }
}
END_TEST

/* ---- the engine's thread ---- */

static float *encode_image(const struct model *m, struct run *r, struct encode *in, size_t n)
{
    m->family->encode_image(m, r, in);
    ck_assert_ptr_null(m->backend->sync(m->device));
    float *rows = malloc(n * sizeof *rows);
    m->backend->download(m->device, rows, in->pool.data, n * sizeof *rows);
    ck_assert_ptr_null(m->backend->sync(m->device));
    return rows;
}

/* An image is encoded with no memory but what was measured, and taken, before. */
static void encode_without_memory(const char *dir, enum dtype weights, enum activations activations)
{
    struct err e;
    struct device *dev;
    ck_assert_int_eq(backend_cpu.open(&dev, &(struct device_options){ .threads = 2, .activations = activations }, &e),
                     0);
    struct model_options opt = { .backend = &backend_cpu, .device = dev, .convert = weights != BF16,
                                 .weights = weights };
    struct model *m = model_open(dir, &opt, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    struct tensor shared;
    struct encode in = { .shared = m->shared ? &shared : NULL };
    ck_assert_int_eq(m->family->plan_image(m, 300, 500, NULL, &in.plan, &e), 0);
    int n = in.plan.n_tokens, width = m->image_row_width, *rows = xcalloc((size_t)(n + in.plan.n_cells), sizeof *rows);
    for (int i = 0; i < n + in.plan.n_cells; i++)
        rows[i] = i < n ? i : i - n;
    uint8_t *rgb = xcalloc((size_t)in.plan.width * (size_t)in.plan.height, 3);
    for (int i = 0; i < in.plan.width * in.plan.height * 3; i++)
        rgb[i] = (uint8_t)(i * 7 % 251);
    struct kv kv[2] = { [1] = { .dtype = F32, .page = 32, .n_pages = in.plan.n_cells / 32 + 1,
                                .layers = m->image_kv.layers, .n_kv = m->image_kv.n_kv, .dim = m->image_kv.dim } };
    size_t entries = (size_t)kv[1].layers * (size_t)kv[1].n_pages * 32 * (size_t)kv[1].n_kv * (size_t)kv[1].dim;
    kv[1].k = xcalloc(entries, sizeof(float));
    kv[1].v = xcalloc(entries, sizeof(float));
    in.pool = (struct tensor){ xcalloc((size_t)n * (size_t)width, sizeof(float)), F32, n, width, width };
    in.rgb = rgb, in.rows = rows, in.slots = in.plan.n_cells ? rows + n : NULL;
    struct pass_memory memory = model_measure_encode(m, &in.plan);
    struct run r = { .ops = &backend_cpu.ops, .backend = &backend_cpu, .dev = dev, .kv = kv, .size = memory.scratch,
                     .host_size = memory.host, .scratch = xmalloc(memory.scratch), .host = xmalloc(memory.host) };
    float *want = encode_image(m, &r, &in, (size_t)n * (size_t)width);
    ck_assert_uint_eq(r.host_used, memory.host);
    ck_assert_uint_gt(memory.host, 0);
    r.used = r.host_used = 0;
    memset(in.pool.data, 0, (size_t)n * (size_t)width * sizeof(float));
    failed = false, all = true, left = 0;
    m->family->encode_image(m, &r, &in);
    left = -1, all = false;
    ck_assert_msg(!failed, "%s: encoding an image allocates", dir);
    ck_assert_mem_eq(in.pool.data, want, (size_t)n * (size_t)width * sizeof(float));
    free(want), free(rows), free(rgb), free(kv[1].k), free(kv[1].v), free(in.pool.data), free(r.scratch), free(r.host);
    model_close(m);
    backend_cpu.close(dev);
}

START_TEST(encoding_an_image_allocates_nothing)
{
    static const char *const dirs[] = { "tests/model/glm4v/grouped", "tests/model/qwen2_vl/tied",
                                        "tests/model/qwen2_5_vl/windows",
                                        "tests/model/qwen3_vl/deepstack", "models/open-autoglm-v1" };
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        encode_without_memory(dirs[i], BF16, ACTIVATIONS_FLOAT);
        encode_without_memory(dirs[i], Q8, ACTIVATIONS_INT8);
    }
}
END_TEST

START_TEST(an_image_without_an_entry_fails_its_request_alone)
{
    struct images images;
    struct pages pages;
    struct step step = { .seq = xcalloc(4, sizeof *step.seq) };
    struct prompt_image image = { .key = { 1, 1 }, .start = 2, .end = 22, .plan = { .n_tokens = 20, .n_cells = 20 } };
    struct prompt prompts[2] = { { .n = 40, .n_images = 1, .images = &image }, { .n = 40 } };
    struct request r[2];
    struct image_entry *held[2] = { NULL, NULL };
    int32_t ids[64] = { 0 };
    int id[2][8];
    struct hash hash[2][8];
    pages_init(&pages, 16);
    images_init(&images, 16, 16);
    struct scheduler s = { .cache = { { .pages = &pages } }, .images = &images, .max_seqs = 4, .max_out = 4,
                           .max_rows = 512, .image_kv = true,
                           .prefix_cache = true };
    for (int i = 0; i < 2; i++) {
        r[i] = (struct request){ .prompt = &prompts[i], .n_ids = 40, .ids = ids, .hash = hash[i],
                                 .kv = { { .page = id[i] } }, .images = &held[i],
                                 .max_len = 64, .n_cached = -1, .number = (uint64_t)i };
        list_push(&s.waiting, &r[i]);
    }
    left = 0;
    scheduler_plan(&s, &step);
    left = -1;
    ck_assert_ptr_eq(step.starved, &r[0]);
    ck_assert_int_eq(s.waiting.n, 2);
    ck_assert_int_eq(images.rows.n, 16);
    ck_assert_int_eq(images.kv.n, 16);
    list_remove(&s.waiting, &r[0]);            /* as the engine does with it */
    scheduler_release(&s, &r[0]);
    scheduler_plan(&s, &step);
    ck_assert_ptr_null(step.starved);
    ck_assert_int_eq(step.n_seqs, 1);
    ck_assert_ptr_eq(step.seq[0].r, &r[1]);
    list_push(&s.waiting, &r[0]);              /* and with memory it has its image */
    scheduler_plan(&s, &step);
    ck_assert_ptr_eq(step.encode, &r[0]);
    for (int i = 0; i < 2; i++)
        scheduler_release(&s, &r[i]);
    pages_free(&pages);
    images_free(&images);
    free(step.seq);
}
END_TEST

static void add_tests(TCase *c)
{
    tcase_add_test(c, encoding_an_image_allocates_nothing);
    tcase_add_test(c, an_image_without_an_entry_fails_its_request_alone);
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
    tcase_set_timeout(c, 60);
    add_tests(c);
    suite_add_tcase(s, c);
    return suite_run(s);
}
