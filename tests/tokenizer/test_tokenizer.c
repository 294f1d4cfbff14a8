/* The tokenizer against what the reference library made of the same texts
 * (fixtures/, made by make_fixtures.py), and against damaged files. */
#include <check.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/suite.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer.h"

#define FIXTURES "tests/tokenizer/fixtures"

/* Seconds of processor time: the machine may be busy with other things. */
static double cpu_seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

static json_t *expected; /* the whole of expected.json */

static void load_expected(void)
{
    json_error_t je;
    expected = json_load_file(FIXTURES "/expected.json", JSON_ALLOW_NUL, &je);
    ck_assert_msg(expected, "%s:%d: %s", je.source, je.line, je.text);
}

static void drop_expected(void) { json_decref(expected); }

static struct tokenizer *open_fixture(const char *name)
{
    struct err e = { 0 };
    char dir[256];
    snprintf(dir, sizeof dir, FIXTURES "/%s", name);
    struct tokenizer *t = tokenizer_open(dir, &e);
    ck_assert_msg(t, "%s: %s", name, e.text);
    return t;
}

static struct ids ids_of(const json_t *list)
{
    struct ids ids = { 0 };
    for (size_t i = 0; i < json_array_size(list); i++)
        ck_assert(ids_add(&ids, (int32_t)json_integer_value(json_array_get(list, i))) == 0);
    return ids;
}

/* One text. `want` null: the reference fails, and we may do what we like but crash. */
static int check_encode(const struct tokenizer *t, const char *name, const json_t *text, bool special,
                        const json_t *want)
{
    struct ids got = { 0 }, ids = ids_of(want);
    struct err e = { 0 };
    int bad = 0;
    int rc = tokenizer_encode(t, json_string_value(text), json_string_length(text), special, &got, &e);
    if (!json_is_null(want) &&
        (rc < 0 || got.n != ids.n || (got.n && memcmp(got.id, ids.id, got.n * sizeof *got.id)))) {
        size_t i = 0;
        while (i < got.n && i < ids.n && got.id[i] == ids.id[i])
            i++;
        fprintf(stderr, "%s: \"%s\": %zu ids instead of %zu, first difference at %zu %s\n", name,
                json_string_value(text), got.n, ids.n, i, e.text);
        bad = 1;
    }
    ids_free(&got);
    ids_free(&ids);
    return bad;
}

static int check_decode(const struct tokenizer *t, const char *name, const json_t *one, bool skip)
{
    const json_t *want = json_array_get(one, skip ? 2 : 1);
    struct ids ids = ids_of(json_array_get(one, 0));
    struct buf got;
    struct err e = { 0 };
    int bad = 0;
    buf_init(&got, 1 << 20);
    int rc = tokenizer_decode(t, ids.id, ids.n, skip, &got, &e);
    if (!json_is_null(want) && (rc < 0 || got.len != json_string_length(want) ||
                                (got.len && memcmp(got.data, json_string_value(want), got.len)))) {
        char *list = json_dumps(json_array_get(one, 0), JSON_COMPACT);
        fprintf(stderr, "%s: %s: \"%s\" instead of \"%s\" %s\n", name, list, got.data ? got.data : "",
                json_string_value(want), e.text);
        free(list);
        bad = 1;
    }
    buf_free(&got);
    ids_free(&ids);
    return bad;
}

START_TEST(test_as_the_reference)
{
    const json_t *texts = json_object_get(expected, "texts"), *one;
    const char *name;
    json_t *c;
    size_t i;
    int bad = 0, checks = 0;
    json_object_foreach(json_object_get(expected, "cases"), name, c) {
        struct tokenizer *t = open_fixture(name);
        const json_t *special = json_object_get(c, "special");
        for (int round = 0; round < 2; round++) /* the second one finds the words in the cache */
            json_array_foreach(texts, i, one) {
                const json_t *plain = json_object_get(c, "ids");
                bad += check_encode(t, name, one, false, json_array_get(plain, i));
                bad += check_encode(t, name, one, true, json_array_get(json_is_array(special) ? special : plain, i));
                checks += 2;
            }
        json_array_foreach(json_object_get(c, "decode"), i, one) {
            bad += check_decode(t, name, one, false) + check_decode(t, name, one, true);
            checks += 2;
        }
        tokenizer_close(t);
    }
    ck_assert_int_gt(checks, 1000);
    ck_assert_msg(!bad, "%d of %d differ from the reference", bad, checks);
}
END_TEST

/* Where it says that it streams, the pieces put together are the decoded text. */
START_TEST(test_pieces_are_the_text)
{
    const json_t *one;
    const char *name;
    json_t *c;
    size_t i;
    int streaming = 0;
    json_object_foreach(json_object_get(expected, "cases"), name, c) {
        struct tokenizer *t = open_fixture(name);
        streaming += tokenizer_streams(t);
        json_array_foreach(json_object_get(c, "ids"), i, one) {
            struct ids ids = ids_of(one);
            struct buf whole, parts;
            buf_init(&whole, 1 << 20);
            buf_init(&parts, 1 << 20);
            ck_assert(tokenizer_decode(t, ids.id, ids.n, false, &whole, NULL) == 0);
            for (size_t k = 0; k < ids.n; k++)
                ck_assert(tokenizer_piece(t, ids.id[k], &parts) == 0);
            size_t space = parts.len == whole.len + 1 && parts.data[0] == ' ';
            if (tokenizer_streams(t) && whole.len && !strstr(whole.data, "\xef\xbf\xbd"))
                ck_assert_msg(whole.len == parts.len - space && !memcmp(whole.data, parts.data + space, whole.len),
                              "%s: \"%s\" and \"%s\"", name, whole.data, parts.data);
            buf_free(&whole);
            buf_free(&parts);
            ids_free(&ids);
        }
        tokenizer_close(t);
    }
    ck_assert_int_gt(streaming, 40);
}
END_TEST

START_TEST(test_lookups)
{
    struct tokenizer *t = open_fixture("added");
    int32_t id = tokenizer_id(t, "<|im_start|>");
    ck_assert_int_eq(id, tokenizer_id(t, "<|endoftext|>") + 1);
    ck_assert(tokenizer_is_special(t, id));
    ck_assert(!tokenizer_is_special(t, tokenizer_id(t, "<tool>")));
    ck_assert_str_eq(tokenizer_token(t, id), "<|im_start|>");
    ck_assert_int_eq(tokenizer_id(t, "no such token"), -1);
    ck_assert_ptr_null(tokenizer_token(t, tokenizer_size(t)));
    ck_assert_ptr_null(tokenizer_token(t, -1));
    ck_assert(tokenizer_streams(t));
    ck_assert_ptr_null(tokenizer_bos(t));
    tokenizer_close(t);
}
END_TEST

START_TEST(test_invalid_utf8_is_replaced)
{
    struct tokenizer *t = open_fixture("qwen2");
    struct ids a = { 0 }, b = { 0 };
    const char *bad = "a\xff\xe4\xbd z", *good = "a\xef\xbf\xbd\xef\xbf\xbd z";
    ck_assert(tokenizer_encode(t, bad, strlen(bad), false, &a, NULL) == 0);
    ck_assert(tokenizer_encode(t, good, strlen(good), false, &b, NULL) == 0);
    ck_assert_uint_eq(a.n, b.n);
    ck_assert_mem_eq(a.id, b.id, a.n * sizeof *a.id);
    ids_free(&a);
    ids_free(&b);
    tokenizer_close(t);
}
END_TEST

/* What several threads do with one tokenizer. */
struct worker {
    pthread_t thread;
    const struct tokenizer *t;
    const json_t *c; /* the case of expected.json */
    int bad;
};

static void *work(void *data)
{
    struct worker *w = data;
    const json_t *texts = json_object_get(expected, "texts"), *plain = json_object_get(w->c, "ids");
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < json_array_size(texts); i++)
            w->bad += check_encode(w->t, "shared", json_array_get(texts, i), false, json_array_get(plain, i));
    return NULL;
}

START_TEST(test_threads_share_a_tokenizer)
{
    static const char *const names[] = { "bpe-bytelevel", "unigram", "o200k", "wordlevel" };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        struct tokenizer *t = open_fixture(names[k]);
        struct worker w[4];
        for (int i = 0; i < 4; i++) {
            w[i] = (struct worker){ .t = t, .c = json_object_get(json_object_get(expected, "cases"), names[k]) };
            ck_assert(pthread_create(&w[i].thread, NULL, work, &w[i]) == 0);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(w[i].thread, NULL);
            ck_assert_int_eq(w[i].bad, 0);
        }
        tokenizer_close(t);
    }
}
END_TEST

/* A megabyte of one letter, of marks, of spaces: seconds at most, also with sanitizers. */
START_TEST(test_long_texts_do_not_hang)
{
    static const char *const names[] = { "bpe-bytelevel", "bpe-bytefallback", "unigram", "wordlevel", "o200k",
                                         "added", "nfkc", "precompiled" };
    static const char *const units[] = { "a", " ", "\xcc\x81\xcc\x96", "A", "\n ", "<|", "1" };
    enum { SIZE = 1 << 20 };
    char *text = xmalloc(SIZE + 8);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        struct tokenizer *t = open_fixture(names[k]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t n = 0;
            for (; n < SIZE; n += strlen(units[u]))
                memcpy(text + n, units[u], strlen(units[u]));
            struct ids ids = { 0 };
            struct err e = { 0 };
            double start = cpu_seconds();
            ck_assert_msg(tokenizer_encode(t, text, n, false, &ids, &e) == 0, "%s: %s", names[k], e.text);
            ck_assert_msg(cpu_seconds() - start < 20, "%s takes %g s for a megabyte of \"%s\"", names[k],
                          cpu_seconds() - start, units[u]);
            ids_free(&ids);
        }
        tokenizer_close(t);
    }
    free(text);
}
END_TEST

/* ---- damaged files ---- */

static char scratch[] = "/tmp/test_tokenizer_XXXXXX";

static void make_scratch(void) { ck_assert_ptr_nonnull(mkdtemp(scratch)); }

static void remove_scratch(void)
{
    char path[256];
    snprintf(path, sizeof path, "%s/tokenizer.json", scratch);
    unlink(path);
    rmdir(scratch);
}

static struct tokenizer *open_text(const char *text, size_t n, struct err *e)
{
    char path[256];
    snprintf(path, sizeof path, "%s/tokenizer.json", scratch);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, n, f), n);
    ck_assert(fclose(f) == 0);
    return tokenizer_open(scratch, e);
}

START_TEST(test_messages_name_the_place)
{
    static const struct { const char *text, *message; } cases[] = {
        { "", "line" },
        { "[]", "expected an object" },
        { "{}", "model: expected an object" },
        { "{\"version\":\"2.0\"}", "version" },
        { "{\"model\":{\"type\":\"GPT\"}}", "model.type: \"GPT\"" },
        { "{\"model\":{\"type\":\"G\\n\"}}", "model.type: \"G?\"" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1 \"b\":2},\"merges\":[]}}", "model.vocab: expected a comma" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\\ud800\":1},\"merges\":[]}}", "model.vocab: expected" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "model.vocab: id -1" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1e3},\"merges\":[]}}", "model.vocab: the id of \"a\"" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}}", "the same id 1" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999},\"merges\":[]}}", "model.vocab: id" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1},\"merges\":[\"a b\"]}}", "model.merges[0]: \"b\"" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1},\"merges\":[[\"a\"]]}}", "model.merges[0]" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",\"x\"]]}}", "model.vocab[0]" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}}", "model.unk_id" },
        { "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{}}}", "model.unk_token" },
        { "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", "model.type: \"WordPiece\" is not" },
        { "{\"model\":{\"continuing_subword_prefix\":\"##\",\"vocab\":{}}}", "WordPiece" },
        { "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nope\"}]}}",
          "normalizer.normalizers[0].type" },
        { "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"////\"}}", "normalizer: precompiled" },
        { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\","
          "\"invert\":false}}", "pre_tokenizer.pattern" },
        { "{\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":0}}", "pre_tokenizer.length" },
        { "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\","
          "\"type_id\":0}}],"
          "\"pair\":[],\"special_tokens\":{}}}", "special_tokens has no \"x\"" },
        { "{\"decoder\":{\"type\":\"Strip\",\"content\":\"ab\",\"start\":0,\"stop\":0}}",
          "decoder.content: expected one" },
        { "{\"added_tokens\":[{\"id\":0}],\"model\":{\"type\":\"WordLevel\",\"vocab\":{},\"unk_token\":\"\"}}",
          "added_tokens[0].content" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        ck_assert_ptr_null(open_text(cases[i].text, strlen(cases[i].text), &e));
        ck_assert_msg(strstr(e.text, cases[i].message) && strstr(e.text, "/tokenizer.json"), "%s: \"%s\"",
                      cases[i].text, e.text);
        ck_assert_msg(!strchr(e.text, '\n'), "%s: \"%s\"", cases[i].text, e.text);
    }
}
END_TEST

/* ---- checkpoints that make a text longer and longer ---- */

#define SOME(part) part "," part "," part "," part "," part "," part "," part "," part "," part "," part
#define MANY(part) SOME(part) "," SOME(part) "," SOME(part)
#define REPLACE(pattern, content) "{\"type\":\"Replace\",\"pattern\":{" pattern "},\"content\":\"" content "\"}"
#define NORMALIZERS(parts) "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" parts "]}," MODEL
#define SPLITTERS(parts) "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" parts "]}," MODEL
#define DECODERS(parts) "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[" parts "]}," MODEL
#define MODEL "\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0,\"b\":1},\"unk_token\":\"b\"}}"
#define TWICE "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}," \
              "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]," \
              "\"pair\":[],\"special_tokens\":{}}"

static const char *const growing[] = {
    NORMALIZERS(MANY(REPLACE("\"String\":\"a\"", "aaaaaaaa"))),
    NORMALIZERS(MANY(REPLACE("\"Regex\":\"\"", "aaaaaaaa"))),
    NORMALIZERS(MANY(REPLACE("\"Regex\":\"(?=a)\"", "aaa"))),
    NORMALIZERS(MANY(REPLACE("\"String\":\"a\"", "\ufdfaa\ufdfaa") ",{\"type\":\"NFKC\"}")),
    NORMALIZERS(MANY("{\"type\":\"ByteLevel\"}")),
    SPLITTERS(SOME("{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":false,\"use_regex\":false}") ","
              SOME("{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,\"use_regex\":false}")),
    "{\"post_processor\":{\"type\":\"Sequence\",\"processors\":["
    TWICE "," TWICE "," TWICE "," TWICE "," TWICE "," TWICE "," TWICE "," TWICE
    "," TWICE "," TWICE "," TWICE "," TWICE "," TWICE "," TWICE "," TWICE "]},"
    "\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":1}," MODEL,
    DECODERS(MANY(REPLACE("\"String\":\"a\"", "aaaaaaaa"))),
};

/* Each is told soon, and nothing near the memory is taken that the text would have come to. */
START_TEST(test_a_text_grows_within_bounds)
{
    static const char text[] = "a\u00e9a\u00e9a\u00e9a\u00e9a\u00e9a\u00e9a\u00e9a\u00e9";
    struct err e = { 0 };
    struct rusage before, after;
    struct ids ids = { 0 };
    struct buf out;
    int32_t a = 0;
    struct tokenizer *t = open_text(growing[_i], strlen(growing[_i]), &e);
    ck_assert_msg(t, "%s", e.text);
    buf_init(&out, (size_t)1 << 32);
    getrusage(RUSAGE_SELF, &before);
    int encoded = tokenizer_encode(t, text, sizeof text - 1, true, &ids, &e),
        decoded = tokenizer_decode(t, &a, 1, false, &out, &e);
    getrusage(RUSAGE_SELF, &after);
    ck_assert(encoded < 0 || decoded < 0);
    ck_assert_str_eq(e.text, "the model's tokenizer makes too much of this text");
    ck_assert_int_eq(e.status, 0);
    ck_assert_int_lt(after.ru_maxrss - before.ru_maxrss, 256 << 10);
    if (decoded < 0) {
        ck_assert_int_eq(tokenizer_piece(t, a, &out), -1);
        ck_assert(!buf_ok(&out));
    }
    buf_free(&out);
    ids_free(&ids);
    tokenizer_close(t);
}
END_TEST

/* Far more than any language does: every character becomes eighteen. */
START_TEST(test_long_ligatures_are_no_attack)
{
    enum { N = 100000 };
    static const char file[] = "{\"normalizer\":{\"type\":\"NFKC\"},\"pre_tokenizer\":{\"type\":\"FixedLength\","
                               "\"length\":1}," MODEL;
    struct err e = { 0 };
    struct ids ids = { 0 };
    char *text = xmalloc(3 * N);
    for (size_t i = 0; i < N; i++)
        memcpy(text + 3 * i, "\ufdfa", 3);
    struct tokenizer *t = open_text(file, strlen(file), &e);
    ck_assert_msg(t, "%s", e.text);
    ck_assert_msg(tokenizer_encode(t, text, 3 * N, false, &ids, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(ids.n, 18 * N);
    ids_free(&ids);
    free(text);
    tokenizer_close(t);
}
END_TEST

/* Damages a copy of the file at a few places. */
static size_t mutate(char *out, const char *in, size_t n, unsigned *seed)
{
    static const char *const words[] = { "null", "true", "-1", "1e308", "[]", "{}", "\"\"", "4194303", "99999999999999",
                                         "\"\\u0000\"", "[[[[", "\\", "(", "[^", "+", "\xff", "{9}", "(?<=", "&&[" };
    memcpy(out, in, n);
    for (int k = 1 + rand_r(seed) % 3; k; k--) {
        size_t at = (size_t)rand_r(seed) % n, len = strlen(words[(size_t)rand_r(seed) % 19]);
        switch (rand_r(seed) % 4) {
        case 0: out[at] = (char)rand_r(seed); break;
        case 1: out[at] = "0123456789[]{}\",:"[rand_r(seed) % 17]; break;
        case 2:
            if (at + len < n)
                memcpy(out + at, words[(size_t)rand_r(seed) % 19], 1);
            break;
        default: {
            const char *w = words[(size_t)rand_r(seed) % 19];
            if (at + strlen(w) < n)
                memcpy(out + at, w, strlen(w));
        }
        }
    }
    return rand_r(seed) % 16 ? n : (size_t)rand_r(seed) % n;
}

static void use(struct tokenizer *t)
{
    const json_t *texts = json_object_get(expected, "texts"), *one;
    size_t i;
    json_array_foreach(texts, i, one) {
        struct ids ids = { 0 };
        struct buf text;
        buf_init(&text, 1 << 20);
        if (tokenizer_encode(t, json_string_value(one), json_string_length(one), true, &ids, NULL) == 0)
            tokenizer_decode(t, ids.id, ids.n, i & 1, &text, NULL);
        for (size_t k = 0; k < ids.n && k < 3; k++)
            tokenizer_piece(t, ids.id[k], &text);
        ids_free(&ids);
        buf_free(&text);
    }
}

START_TEST(test_damaged_files_do_no_harm)
{
    const char *name;
    json_t *c;
    unsigned seed = 20;
    int rounds = getenv("FUZZ_ROUNDS") ? atoi(getenv("FUZZ_ROUNDS")) : 20, opened = 0, tried = 0;
    json_object_foreach(json_object_get(expected, "cases"), name, c) {
        char path[256];
        snprintf(path, sizeof path, FIXTURES "/%s/tokenizer.json", name);
        FILE *f = fopen(path, "rb");
        ck_assert_ptr_nonnull(f);
        char *in = xmalloc(1 << 20), *out = xmalloc(1 << 20);
        size_t n = fread(in, 1, 1 << 20, f);
        fclose(f);
        for (int i = 0; i < rounds; i++, tried++) {
            struct err e = { 0 };
            size_t len = mutate(out, in, n, &seed);
            struct tokenizer *t = open_text(out, len, &e);
            ck_assert(t || *e.text);
            if (t)
                use(t);
            opened += t != NULL;
            tokenizer_close(t);
        }
        free(in);
        free(out);
    }
    ck_assert_int_gt(tried, opened);
    ck_assert_int_gt(opened, 0);
}
END_TEST

/* ---- patterns ---- */

START_TEST(test_patterns_are_translated)
{
    static const struct { const char *from, *to; } cases[] = {
        { "a{1,3}+", "(?:a{1,3})+" },       { "a{2}?b", "(?:a{2})?b" },   { "a{,3}", "a{0,3}" },
        { "a++?", "(?:a++)?" },             { "(?m:.)", "(?s:.)" },       { "\\h", "[0-9A-Fa-f]" },
        { "(a|b){1,2}+", "(?:(a|b){1,2})+" }, { "[a-c]", "[a-c]" },       { "[^a\\]]", "[^a\\x{5d}]" },
        { "[a[bc]]", "(?:[a]|[bc])" },      { "[a-z&&[^c]]", "(?:(?=[a-z])(?:[^c]))" },
        { "[^a&&b]", "(?:(?!(?:(?=[a])[b]))(?s:.))" }, { "x{", "x\\{" },  { "\\v", "\\x{b}" },
        { "\\u0041", "A" },                 { "\\p{Greek}", "[\\p{sc:Greek}]" }, { "[]a]", "[\\x{5d}a]" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        struct err e = { 0 };
        buf_init(&b, 1 << 16);
        int rc = regex_translate(cases[i].from, strlen(cases[i].from), &b, &e);
        ck_assert_msg(rc == 0, "%s: %s", cases[i].from, e.text);
        ck_assert_str_eq(b.data, cases[i].to);
        buf_free(&b);
    }
}
END_TEST

START_TEST(test_bad_patterns_are_refused)
{
    static const char *const bad[] = { "(", ")", "[", "[a", "a\\", "\\p", "\\p{", "\\p{Nonsense}", "[b-a]", "(?<n",
                                       "(?q:a)", "[a-\\d]", "(*FAIL)", "\\x{110000}", "\\C-a" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = { 0 };
        ck_assert_msg(!regex_compile(bad[i], strlen(bad[i]), &e), "%s compiles", bad[i]);
        ck_assert_msg(*e.text, "%s", bad[i]);
    }
}
END_TEST

START_TEST(test_wild_patterns_end)
{
    struct err e = { 0 };
    struct regex *r = regex_compile("(?:a|a)*(?:a|a)*[bc]", 20, &e);
    ck_assert_msg(r, "%s", e.text);
    size_t n = 5000, from, to;
    char *text = xmalloc(n);
    memset(text, 'a', n);
    struct regex_match *m = regex_match_new(n);
    double start = cpu_seconds();
    ck_assert_int_eq(regex_find(r, m, text, n, 0, &from, &to, &e), -1);
    ck_assert_msg(strstr(e.text, "limit"), "%s", e.text);
    ck_assert(cpu_seconds() - start < 10);
    regex_match_free(m);
    regex_free(r);
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer");
    TCase *c = tcase_create("fixtures"), *d = tcase_create("damaged"), *p = tcase_create("patterns");
    tcase_set_timeout(c, 240);
    tcase_set_timeout(d, 240);
    tcase_set_timeout(p, 60);
    tcase_add_unchecked_fixture(c, load_expected, drop_expected);
    tcase_add_test(c, test_as_the_reference);
    tcase_add_test(c, test_pieces_are_the_text);
    tcase_add_test(c, test_lookups);
    tcase_add_test(c, test_invalid_utf8_is_replaced);
    tcase_add_test(c, test_threads_share_a_tokenizer);
    tcase_add_test(c, test_long_texts_do_not_hang);
    tcase_add_unchecked_fixture(d, load_expected, drop_expected);
    tcase_add_unchecked_fixture(d, make_scratch, remove_scratch);
    tcase_add_test(d, test_messages_name_the_place);
    tcase_add_loop_test(d, test_a_text_grows_within_bounds, 0, sizeof growing / sizeof *growing);
    tcase_add_test(d, test_long_ligatures_are_no_attack);
    tcase_add_test(d, test_damaged_files_do_no_harm);
    tcase_add_test(p, test_patterns_are_translated);
    tcase_add_test(p, test_bad_patterns_are_refused);
    tcase_add_test(p, test_wild_patterns_end);
    suite_add_tcase(s, c);
    suite_add_tcase(s, d);
    suite_add_tcase(s, p);
    return suite_run(s);
}
