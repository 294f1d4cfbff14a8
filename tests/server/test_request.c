/* What is made of a request's body: JSON, base64, data: URLs, messages; and
 * the strings that go out. */
#include <check.h>
#include <malloc.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "server/data_url.h"
#include "server/fields.h"
#include "server/messages.h"
#include "server/reply.h"
#include "server/sampling.h"
#include "tests/suite.h"

START_TEST(base64)
{
    static const struct { const char *in, *out; } good[] = {
        { "", "" }, { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" },
        { " Z\nm9\t v \r\n\f", "foo" },
        { "Zm9vYg=\n=", "foob" }, { "+/+/", "\xfb\xff\xbf" }, { "Zm9vYmFyYmF6cXV4", "foobarbazqux" },
        { "Zm9v Ym\nFyYmF6cXV4", "foobarbazqux" },
        /* without padding, and with bits after the last byte */
        { "Zg", "f" }, { "Zm8", "fo" }, { "Zm9vYg", "foob" }, { "Zm9vYmE", "fooba" }, { "Zh==", "f" },
        { "Zm9=", "fo" }, { "Zh", "f" }, { "Zm9vYh", "foob" },
    };
    static const char *const bad[] = { "Z", "Zg=", "====", "==", "Zg==Zg==", "Zg===", "Z=g=", "Zm9v=", "Zm9v==",
                                       "Zm9-", "Zm9_", "Zm9vZ",
                                       "Zm9v!", "Zm\x80v", "Zg==x", "=", "Zm9vYmFyY", "Zm9v\vYmFy", "Zm9vYm%46y" };
    uint8_t p[64];
    size_t n;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(base64_decode(p, &n, good[i].in, strlen(good[i].in)) == 0, "%s", good[i].in);
        ck_assert_msg(n == strlen(good[i].out) && memcmp(p, good[i].out, n) == 0, "%s", good[i].in);
        memcpy(p, good[i].in, strlen(good[i].in));    /* in place */
        ck_assert_msg(base64_decode(p, &n, (char *)p, strlen(good[i].in)) == 0, "%s", good[i].in);
        ck_assert_msg(n == strlen(good[i].out) && memcmp(p, good[i].out, n) == 0, "%s in place", good[i].in);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(base64_decode(p, &n, bad[i], strlen(bad[i])) != 0, "%s", bad[i]);
}
END_TEST

/* The forms of the URL and Fetch standards; data NULL: refused. */
START_TEST(data_urls)
{
    static const struct { const char *url, *data; } cases[] = {
        { "data:image/png;base64,Zm9v", "foo" }, { "DATA:;BASE64,Zm9v", "foo" }, { "data:;base64,Zm9v", "foo" },
        { "data:image/jpeg;charset=x;base64,Zg==", "f" }, { "data:image/png; base64,Zm9v", "foo" },
        { "data: ; base64 ,Zm9v", "foo" },
        { "data:image/png;base64 \t,Zm9v", "foo" }, { "data:image/png;name=a b;  base64,Zm9v", "foo" },
        { " \x01\n data:image/png;base64,Zm9v \x1f ", "foo" }, { "da\nta:image/png;ba\r\nse6\t4,Zm\n9v", "foo" },
        { "data:image/png;base64,Zm8%3D", "fo" }, { "data:image/png;base64,Zg%3d%3D", "f" },
        { "data:image/png;base64,%5am9v", "foo" },
        { "data:image/png;base64,Zm%0A9v%20", "foo" }, { "data:image/png;base64,Zm9v#fragment,=", "foo" },
        { "data:image/png;base64,Zm9vYg", "foob" },
        { "data:image/png;base64,Zm9%0\nAv", "foo" },
        /* without base64: percent-encoded bytes */
        { "data:image/png,Zm9v", "Zm9v" }, { "data:,%89PNG%0d%0A", "\x89PNG\r\n" }, { "data:,a%zz%4%", "a%zz%4%" },
        { "data:,%2541", "%41" },
        { "data:,a,b?c#d", "a,b?c" }, { "data:image/png;base64;x=y,Zm9v", "Zm9v" },
        { "data:image/png;base 64,Zm9v", "Zm9v" },
        { "data:base64,Zm9v", "Zm9v" }, { "data:image/png;%62ase64,Zm9v", "Zm9v" },
        /* an image file may have 32 bytes here, however they are written */
        { "data:,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
        { "data:,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", NULL },
        { "data:,%61aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%61", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
        { "data:;base64,YWFh YWFh YWFh YWFh YWFh YWFh YWFh YWFh YWFh YWFh YWE%3D", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
        { "data:;base64,YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh", NULL },
        { "data:image/png;base64,", NULL }, { "data:,", NULL }, { "data:", NULL }, { "", NULL },
        { "http://x/y.png", NULL }, { " HTTPS://x/y.png", NULL },
        { "iVBORw0KGgo=", NULL }, { "data:image/png;base64", NULL }, { "data:image/png;base64#,Zm9v", NULL },
        { "data:image/png;base64,Zm9-", NULL },
        { "data:image/png;base64,Zm9v!", NULL }, { "data :,a", NULL }, { "file:///etc/passwd", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err      e = { 0 };
        struct data_url u;
        unsigned char  *data = NULL;
        size_t          n = 0;
        int rc = data_url_parse(&u, cases[i].url, strlen(cases[i].url), 32, "f", &e);
        if (rc == 0)
            rc = data_url_decode(&u, "f", &data, &n, &e);
        if (cases[i].data)
            ck_assert_msg(rc == 0 && n == strlen(cases[i].data) && memcmp(data, cases[i].data, n) == 0, "%s: %s",
                          cases[i].url, e.text);
        else
            ck_assert_msg(rc != 0 && strcmp(e.field, "f") == 0 && e.text[0] == 'f', "%s", cases[i].url);
        free(data);
    }
}
END_TEST

static json_t *nested(int depth, char open, char close)
{
    struct err e;
    char s[4096];
    int  n = 0;
    n += snprintf(s, sizeof s, "{\"a\":");
    for (int i = 0; i < depth; i++)
        s[n++] = open;
    for (int i = 0; i < depth; i++)
        s[n++] = close;
    s[n++] = '}';
    return fields_parse(s, (size_t)n, &e);
}

START_TEST(json)
{
    json_t *o = nested(100, '[', ']');
    ck_assert_ptr_nonnull(o);
    json_decref(o);
    ck_assert_ptr_null(nested(1000, '[', ']'));
    struct err e;
    char *many = calloc(1, 2000000);
    strcpy(many, "{\"a\":[");
    for (int i = 0; i < 500000; i++)
        memcpy(many + 6 + 3 * i, "[],", 3);
    strcpy(many + 6 + 1500000, "[]]}");
    ck_assert_ptr_null(fields_parse(many, strlen(many), &e));
    ck_assert_msg(strstr(e.text, "values") != NULL, "%s", e.text);
    free(many);
    const char *strings = "{\"a\":\"[[[[{{{{\\\"[[[[\"}";
    o = fields_parse(strings, strlen(strings), &e);
    ck_assert_ptr_nonnull(o);
    json_decref(o);
    static const char *const bad[] = { "", " ", "[]", "1", "{", "{}x", "{\"a\":\"\xff\"}", "\"", "\\", "1e400" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(fields_parse(bad[i], strlen(bad[i]), &e) == NULL && e.text[0], "%s", bad[i]);
}
END_TEST

static json_t *parse(const char *s)
{
    struct err e = { 0 };
    json_t *o = fields_parse(s, strlen(s), &e);
    ck_assert_msg(o != NULL, "%s: %s", s, e.text);
    return o;
}

/* Numbers beyond 64 bits or a double are kept as text, and are no objects; U+0000 may be in strings and in names. */
/* What a body's JSON takes is never more than is reserved for it, whatever it is made of. */
START_TEST(json_takes_no_more_than_reserved)
{
    static const char *const repeated[] = { "1,", "[],", "{},", "[[]],", "\"\",", "{\"a\":{}},", "1.5e3,",
                                            "\"\\u00e9\\n\",",
                                            "\"a word of some letters\",", "null,", "99999999999999999999," };
    enum { BYTES = 300000 };
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++) {
        struct buf b;
        struct err e;
        buf_init(&b, 2 * BYTES);
        buf_str(&b, "{\"a\":[");
        while (b.len < BYTES)
            buf_str(&b, repeated[i]);
        buf_str(&b, "1]");
        for (int k = 0; k < 1000; k++)
            buf_printf(&b, ",\"k%d\":%d", k, k);
        buf_byte(&b, '}');
        size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
        json_t *v = fields_parse(b.data, b.len, &e);
        ck_assert_msg(v != NULL, "%s", e.text);
        size_t taken = mallinfo2().uordblks + mallinfo2().hblkhd - before;
        ck_assert_msg(taken <= fields_bytes(b.data, b.len), "%s: %zu bytes of %zu", repeated[i], taken,
                      fields_bytes(b.data, b.len));
        ck_assert_uint_le(fields_bytes(b.data, b.len), fields_room(b.len));
        json_decref(v);
        buf_free(&b);
    }
}
END_TEST

START_TEST(large)
{
    static const struct { const char *json, *text; } big[] = {
        { "9223372036854775807", NULL }, { "-9223372036854775808", NULL }, { "-0", NULL }, { "1e308", NULL },
        { "1e-400", NULL },
        { "9223372036854775808", "9223372036854775808" }, { "-9223372036854775809", "-9223372036854775809" },
        { "18446744073709551615", "18446744073709551615" }, { "1e400", "1e400" }, { "-1.5E+999", "-1.5E+999" },
    };
    for (size_t i = 0; i < sizeof big / sizeof *big; i++) {
        char s[64];
        size_t n = 0;
        snprintf(s, sizeof s, "{\"a\":[%s]}", big[i].json);
        json_t *o = parse(s), *v = json_array_get(json_object_get(o, "a"), 0), *copy = json_deep_copy(v);
        ck_assert_msg(big[i].text ? json_big(copy, &n) && strcmp(json_big(copy, NULL), big[i].text) == 0 &&
                      n == strlen(big[i].text)
                                  : json_is_number(v) && !json_big(v, NULL), "%s", s);
        ck_assert(!json_is_dict(v) && json_is_dict(o));
        json_decref(copy);
        json_decref(o);
    }
    json_t *o = parse("{\"a\\u0000b\":\"c\\u0000d\",\"a\":1,\"\\ud83d\\ude00\\/\":\"\xC3\xA9\\u00e9\"}");
    json_t *v = json_object_getn(o, "a\0b", 3);
    ck_assert(json_string_length(v) == 3 && memcmp(json_string_value(v), "c\0d", 3) == 0);
    ck_assert_int_eq(json_integer_value(json_object_get(o, "a")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(o, "\xF0\x9F\x98\x80/")), "\xC3\xA9\xC3\xA9");
    json_decref(o);
}
END_TEST

/* Where such a value is used, the error names the field. */
START_TEST(named)
{
    static const struct { const char *json, *field, *code; } cases[] = {
        { "{\"seed\":18446744073709551615}", "seed", "invalid_value" },
        { "{\"seed\":-1e400}", "seed", "invalid_value" },
        { "{\"seed\":1e19}", "seed", "invalid_value" }, { "{\"temperature\":1e400}", "temperature", "invalid_value" },
        { "{\"top_p\":1e999}", "top_p", "invalid_value" }, { "{\"top_p\":0}", "top_p", "invalid_value" },
        { "{\"stop\":1e400}", "stop", "invalid_type" }, { "{\"stop\":\"a\\u0000\"}", "stop", "invalid_value" },
        { "{\"stop\":[\"a\",99999999999999999999]}", "stop", "invalid_type" },
        { "{\"stream\":1e400}", "stream", "invalid_type" },
        { "{\"stream_options\":1e400}", "stream_options", "invalid_type" },
        { "{\"n\":18446744073709551616}", "n", "invalid_value" },
        { "{\"logit_bias\":1e400}", "logit_bias", "invalid_type" },
        { "{\"response_format\":{\"type\":\"text\\u0000\"}}", "response_format.type", "invalid_value" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e;
        struct sampling s = { .params = { .top_p = 1, .repetition_penalty = 1 } };
        json_t *o = parse(cases[i].json);
        ck_assert_msg(sampling_parse(&s, o, true, &e) != 0, "%s", cases[i].json);
        ck_assert_msg(!strcmp(e.field, cases[i].field) && !strcmp(e.code, cases[i].code), "%s: %s %s", cases[i].json,
                      e.field, e.code);
        json_decref(o);
    }
    struct err e;
    struct sampling s = { .params = { .top_p = 1, .repetition_penalty = 1 } };
    json_t *o = parse("{\"top_p\":5e-324,\"max_tokens\":5e0,\"ignored\":1e400,\"user\":\"a\\u0000b\"}");
    ck_assert_msg(sampling_parse(&s, o, true, &e) == 0, "%s", e.text);
    ck_assert(s.params.top_p > 0 && s.params.max_tokens == 5);
    json_decref(o);
}
END_TEST

/* What jansson's reader takes is taken, with the same values; what only it refuses is known. */
START_TEST(like_jansson)
{
    static const char seed_text[] = "{\"a\":[1,-2.5e+3,0.1,true,false,null,{}],"
                                    "\"b\\u00e9\\n\":{\"c\":\"x\\\"\\\\\\ud83d\\ude00\xC3\xA9 long enough to be a "
                                    "word\"}}";
    unsigned seed = 7;
    int both = 0;
    for (int round = 0; round < 60000; round++) {
        char   s[sizeof seed_text + 32];
        size_t n = sizeof seed_text - 1;
        memcpy(s, seed_text, n);
        for (int changes = rand_r(&seed) % 4; changes > 0; changes--) {
            size_t at = (size_t)rand_r(&seed) % n, len = (size_t)rand_r(&seed) % 8;
            len = at + len < n ? len : n - at;
            switch (rand_r(&seed) % 3) {
            case 0: s[at] = "{}[]\",:0123ntf\\ue.-+E \n\t\xff\xC3\x7f"[rand_r(&seed) % 28]; break;
            case 1: memmove(s + at, s + at + len, n - at - len); n -= len; break;
            case 2: if (n + len < sizeof s) { memmove(s + at + len, s + at, n - at); n += len; } break;
            }
        }
        struct err e;
        struct json_limits limits = FIELDS_LIMITS;
        json_error_t je;
        json_t *ours = json_read("it", s, n, &limits, &e), *theirs = json_loadb(s, n, JSON_DECODE_ANY | JSON_ALLOW_NUL,
                                                                                &je);
        enum json_error_code why = theirs ? 0 : json_error_code(&je);
        if (why != json_error_null_byte_in_key && why != json_error_numeric_overflow)
            ck_assert_msg(json_equal(ours, theirs) || (!ours && !theirs), "%.*s: %s", (int)n, s,
                          theirs ? e.text : je.text);
        both += ours && theirs;
        json_decref(ours);
        json_decref(theirs);
    }
    ck_assert_int_gt(both, 10000);
}
END_TEST

START_TEST(messages)
{
    const char *text = "{\"messages\":[{\"role\":\"system\",\"content\":\"s\",\"name\":null},{\"role\":\"user\","
                       "\"content\":["
                       "{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\","
                       "\"image_url\":{\"url\":\"data:image/png;base64,Zm9v\",\"detail\":\"low\"}},"
                       "{\"image_url\":\"data:;base64,YmFy\"}]},{\"role\":\"assistant\",\"reasoning\":\"r\","
                       "\"tool_calls\":[{\"id\":\"1\",\"function\":"
                       "{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}]}]}";
    struct err e;
    struct messages m;
    struct message_limits limits = { .max_images = 2, .max_image_bytes = 100 };
    json_t *root = fields_parse(text, strlen(text), &e);
    ck_assert_msg(messages_parse(&m, root, &limits, &e) == 0, "%s", e.text);
    ck_assert_msg(messages_decode(&m, &e) == 0, "%s", e.text);
    ck_assert_int_eq(m.n_images, 2);
    ck_assert_str_eq(m.image[0].detail, "low");
    ck_assert_str_eq(m.image[0].field, "messages[1].content[1].image_url.url");
    ck_assert_str_eq(m.image[1].field, "messages[1].content[2].image_url");
    ck_assert(m.image[0].n == 3 && memcmp(m.image[0].data, "foo", 3) == 0 && memcmp(m.image[1].data, "bar", 3) == 0);
    char *made = json_dumps(m.list, JSON_COMPACT | JSON_SORT_KEYS);
    ck_assert_str_eq(made, "[{\"content\":\"s\",\"role\":\"system\"},{\"content\":[{\"text\":\"a\","
                           "\"type\":\"text\"},{\"type\":\"image\"},"
                           "{\"type\":\"image\"}],\"role\":\"user\"},{\"content\":\"\",\"reasoning\":\"r\","
                           "\"reasoning_content\":\"r\",\"role\":\"assistant\","
                           "\"tool_calls\":[{\"function\":{\"arguments\":{\"x\":1},\"name\":\"f\"},\"id\":\"1\"}]}]");
    free(made);
    messages_free(&m);
    json_decref(root);
    root = fields_parse(text, strlen(text), &e);   /* decoding has emptied the first one's URLs */
    limits.max_images = 1;
    ck_assert_int_ne(messages_parse(&m, root, &limits, &e), 0);
    ck_assert_str_eq(e.field, "messages[1].content[2].image_url");
    json_decref(root);
}
END_TEST

/* What a template gets of an assistant's turn that only calls a tool, as clients send it back. */
START_TEST(calls)
{
    static const struct { const char *in, *out; } cases[] = {
        { "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\","
          "\"arguments\":\"\"}}]}",
          "{\"content\":\"\",\"role\":\"assistant\","
          "\"tool_calls\":[{\"function\":{\"arguments\":{},\"name\":\"f\"}}]}" },
        { "{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":null}},"
          "{\"function\":{\"name\":\"g\"}},"
          "{\"function\":{\"name\":\"h\",\"arguments\":\" \\n\"}},{\"function\":{\"arguments\":\"null\"}},"
          "{\"function\":{\"arguments\":{\"x\":1}}},"
          "{\"function\":{\"arguments\":\"[1]\"}},{\"function\":{\"arguments\":\"{x\"}},"
          "{\"function\":{\"arguments\":\"{\\\"x\\\":null}\"}},{\"id\":\"1\"}]}",
          "{\"content\":\"\",\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"arguments\":{},"
          "\"name\":\"f\"}},{\"function\":{\"arguments\":{},"
          "\"name\":\"g\"}},{\"function\":{\"arguments\":{},\"name\":\"h\"}},{\"function\":{\"arguments\":{}}},"
          "{\"function\":{\"arguments\":{\"x\":1}}},"
          "{\"function\":{\"arguments\":\"[1]\"}},{\"function\":{\"arguments\":\"{x\"}},"
          "{\"function\":{\"arguments\":{\"x\":null}}},{\"id\":\"1\"}]}" },
        { "{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[],\"function_call\":null,\"refusal\":null,"
          "\"audio\":null}", "{\"content\":\"x\",\"role\":\"assistant\"}" },
        { "{\"role\":\"assistant\",\"content\":[],\"tool_calls\":[{\"id\":\"1\"}]}",
          "{\"content\":\"\",\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\"}]}" },
        { "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":null}",
          "{\"content\":\"\",\"role\":\"assistant\"}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e;
        struct messages m;
        struct message_limits limits = { .max_images = 2, .max_image_bytes = 100 };
        char s[1024];
        snprintf(s, sizeof s, "{\"messages\":[%s]}", cases[i].in);
        json_t *root = parse(s);
        ck_assert_msg(messages_parse(&m, root, &limits, &e) == 0, "%s: %s", s, e.text);
        char *made = json_dumps(json_array_get(m.list, 0), JSON_COMPACT | JSON_SORT_KEYS);
        ck_assert_str_eq(made, cases[i].out);
        free(made);
        messages_free(&m);
        json_decref(root);
    }
}
END_TEST

START_TEST(sampling)
{
    struct err e;
    struct sampling s = { .params = { .temperature = 0.5f, .top_p = 0.9f, .repetition_penalty = 1, .top_k = 7 } };
    const char *text = "{\"seed\":-1,\"stop\":\"x\",\"max_tokens\":5,\"max_completion_tokens\":6,\"top_k\":-1,"
                       "\"skip_special_tokens\":false,"
                       "\"logprobs\":true,\"top_logprobs\":3,\"temperature\":null}";
    json_t *root = fields_parse(text, strlen(text), &e);
    ck_assert_msg(sampling_parse(&s, root, true, &e) == 0, "%s", e.text);
    ck_assert(s.params.temperature == 0.5f && s.params.top_p == 0.9f && s.params.top_k == 0 && s.params.has_seed);
    ck_assert(s.params.seed == UINT64_MAX && s.params.n_stop == 1 && s.params.max_tokens == 6 &&
              s.params.keep_special_tokens);
    ck_assert(s.params.logprobs && s.params.top_logprobs == 3 && !s.stream);
    json_decref(root);
}
END_TEST

/* Bytes changed, dropped and doubled at random: whatever comes of it is refused or read, never a crash. */
START_TEST(mutations)
{
    static const char text[] = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                               "{\"type\":\"image_url\","
                               "\"image_url\":{\"url\":\"data:image/png;base64,Zm9v\",\"detail\":\"low\"}}]},"
                               "{\"role\":\"assistant\","
                               "\"tool_calls\":[{\"function\":{\"arguments\":\"{}\"}}]}],\"seed\":1,"
                               "\"stop\":[\"a\"],\"top_p\":0.5,\"n\":1,"
                               "\"stream_options\":{\"include_usage\":true},\"logit_bias\":{},"
                               "\"response_format\":{\"type\":\"text\"}}";
    unsigned seed = 1;
    int read = 0;
    for (int round = 0; round < 40000; round++) {
        char   s[sizeof text + 64];
        size_t n = sizeof text - 1;
        memcpy(s, text, n);
        for (int changes = rand_r(&seed) % 4; changes >= 0; changes--) {
            size_t at = (size_t)rand_r(&seed) % n, len = (size_t)rand_r(&seed) % 16;
            len = at + len < n ? len : n - at;
            switch (rand_r(&seed) % 3) {
            case 0: s[at] = "{}[]\",:01ntf\\ue.-\xff"[rand_r(&seed) % 19]; break;
            case 1: memmove(s + at, s + at + len, n - at - len); n -= len; break;
            case 2: if (n + len < sizeof s) { memmove(s + at + len, s + at, n - at); n += len; } break;
            }
        }
        struct err e;
        struct messages m;
        struct sampling p = { .params = { .top_p = 1, .repetition_penalty = 1 } };
        struct message_limits limits = { .max_images = 2, .max_image_bytes = 100 };
        json_t *root = fields_parse(s, n, &e);
        if (!root)
            continue;
        if (sampling_parse(&p, root, round & 1, &e) == 0 && messages_parse(&m, root, &limits, &e) == 0) {
            read += messages_decode(&m, &e) == 0;
            messages_free(&m);
        }
        json_decref(root);
    }
    ck_assert_int_gt(read, 100);
}
END_TEST

START_TEST(strings)
{
    static const struct { const char *in; size_t n; const char *out; } cases[] = {
        { "a\"b\\c\n\x01", 7, "\"a\\\"b\\\\c\\n\\u0001\"" }, { "\xE4\xBD\xA0", 3, "\"\xE4\xBD\xA0\"" },
        { "\xE4\xBD", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\"" }, { "a\0b", 3, "\"a\\u0000b\"" },
        { "\xEF\xBF\xBD", 3, "\"\xEF\xBF\xBD\"" }, { "", 0, "\"\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 1000);
        json_write_string(&b, cases[i].in, cases[i].n);
        ck_assert_str_eq(b.data, cases[i].out);
        buf_free(&b);
    }
}
END_TEST

START_TEST(errors)
{
    struct err e;
    struct buf b;
    err_field(&e, "a.b", "a.b is \"wrong\"");
    buf_init(&b, 1000);
    reply_error_object(&b, 400, &e);
    ck_assert_str_eq(b.data, "{\"error\":{\"message\":\"a.b is "
                             "\\\"wrong\\\"\",\"type\":\"invalid_request_error\",\"param\":\"a.b\","
                             "\"code\":\"invalid_value\"}}");
    buf_clear(&b);
    err_set(&e, "x");
    e.have = 9;
    e.most = 8;
    reply_error_object(&b, 418, &e);
    ck_assert_str_eq(b.data, "{\"error\":{\"message\":\"x\",\"type\":\"server_error\",\"param\":null,"
                             "\"code\":\"internal_error\",\"n_prompt_tokens\":9,\"n_ctx\":8}}");
    buf_free(&b);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("request");
    tcase_add_test(t, base64);
    tcase_add_test(t, data_urls);
    tcase_add_test(t, json);
    tcase_add_test(t, json_takes_no_more_than_reserved);
    tcase_add_test(t, large);
    tcase_add_test(t, named);
    tcase_add_test(t, like_jansson);
    tcase_add_test(t, messages);
    tcase_add_test(t, calls);
    tcase_add_test(t, sampling);
    tcase_add_test(t, mutations);
    tcase_add_test(t, strings);
    tcase_add_test(t, errors);
    Suite *s = suite_create("request");
    suite_add_tcase(s, t);
    return suite_run(s);
}
