/* What a model's text is taken apart into, whole and as it comes, cut at every place. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output/output.h"
#include "tests/suite.h"

static const char tools_json[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"parameters\":{\"type\":\"object\",\"properties\":"
    "{\"city\":{\"type\":\"string\"},\"unit\":{\"type\":[\"string\",\"null\"]},\"days\":{\"type\":\"integer\"}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"other\",\"parameters\":{\"properties\":{\"days\":"
    "{\"type\":\"string\"}}}}}]";

/* One text and what becomes of it: the content, "R:" and the thoughts, then the calls, all divided by '|'. Where what
 * is sent at once differs from what is collected, `streamed` says how. */
static const struct expected {
    const char *tools, *reasoning, *text, *whole, *streamed;
    bool begun, single;
} cases[] = {
    { "hermes", NULL, "plain text \n", "plain text \n", NULL, 0, 0 },
    { "hermes", NULL, "a < b, <tool and <tool_calls>\n", "a < b, <tool and <tool_calls>\n", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"K\\u00f6ln\", \"days\": "
      "[1, 2.5e3, -0, true]}}\n</tool_call>",
      "|weather({\"city\": \"K\\u00f6ln\", \"days\": [1, 2.5e3, -0, true]})", NULL, 0, 0 },
    { "hermes", NULL, "Let me see.\n\n<tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>\n<tool_call>\n"
      "{\"name\":\"weather\",\"arguments\":{\"city\":\"Bonn\"}}\n</tool_call>\n",
      "Let me see.|now({})|weather({\"city\":\"Bonn\"})", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\":\"now\"}</tool_call> and more", " and more|now({})", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"arguments\":{\"a\":{\"b\":\"}\"}},\"id\":[1],\"name\":\"f\"}</tool_call>",
      "|f({\"a\":{\"b\":\"}\"}})", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call>",
      "|f({\"a\":1})", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\":\"f\",\"arguments\":null,\"x\":12}</tool_call>", "|f({})", NULL, 0, 0 },
    /* no closing mark, one that is cut, and junk in its place */
    { "hermes", NULL, "<tool_call>{\"name\":\"f\",\"arguments\":{}}", "|f({})", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\":\"f\",\"arguments\":{}}<tool_call>{\"name\":\"g\"}",
      "|f({})|g({})", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\":\"f\",\"arguments\":{}}}</tool_call>", "}</tool_call>|f({})", NULL, 0, 0 },
    /* spoilt calls are content */
    { "hermes", NULL, "Hm <tool_call>\nno json</tool_call> x", "Hm <tool_call>\nno json</tool_call> x", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\": 3}</tool_call>", "<tool_call>{\"name\": 3}</tool_call>", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{}</tool_call>", "<tool_call>{}</tool_call>", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\":\"\"}</tool_call>", "<tool_call>{\"name\":\"\"}</tool_call>", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\":\"f\",\"name\":\"g\"}",
      "<tool_call>{\"name\":\"f\",\"name\":\"g\"}", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\":\"f\",\"arguments\":[1]}",
      "<tool_call>{\"name\":\"f\",\"arguments\":[1]}", NULL,
      0, 0 },
    { "hermes", NULL, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":'b'}}</tool_call>",
      "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":'b'}}</tool_call>", "'b'}}</tool_call>|f({\"a\":)", 0, 0 },
    { "hermes", NULL, "x <tool_call>{\"name\":\"f\",\"arguments\":{\"a\": \"cut",
      "x <tool_call>{\"name\":\"f\",\"arguments\":{\"a\": \"cut", "x|f({\"a\": \"cut)", 0, 0 },
    { "hermes", NULL, "a <tool_call>{\"name\"", "a <tool_call>{\"name\"", NULL, 0, 0 },
    { "hermes", NULL, "a <tool_", "a <tool_", NULL, 0, 0 },
    { "hermes", NULL, "<tool_call>x<tool_call>{\"name\":\"f\"}</tool_call>", "<tool_call>x|f({})", NULL, 0, 0 },
    /* only one call */
    { "hermes", NULL, "<tool_call>{\"name\":\"f\"}</tool_call><tool_call>{\"name\":\"g\",\"arguments\":{\"a\":"
      "1}}</tool_call>",
      "|f({})", NULL, 0, true },
    /* GLM: strings are strings where the tool says so, all else is JSON if it can be */
    { "glm", NULL, "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>12 \"K\"\n</arg_value>\n<arg_key>d"
      "ays</arg_key>"
      "\n<arg_value> 3 </arg_value>\n</tool_call>",
      "|weather({\"city\": \"12 \\\"K\\\"\\u000a\", \"days\": 3})", NULL, 0, 0 },
    { "glm", NULL, "ok\n<tool_call>other<arg_key>days</arg_key><arg_value>3</arg_value><arg_key>x</arg_key><arg_value>"
      "{\"a\": [1, null]}</arg_value><arg_key>y</arg_key><arg_value>3 apples</arg_value></tool_call>\n<tool_call>now\n"
      "</tool_call>\n",
      "ok|other({\"days\": \"3\", \"x\": {\"a\": [1, null]}, \"y\": \"3 apples\"})|now({})", NULL, 0, 0 },
    { "glm", NULL, "<tool_call>\n  now  \n</tool_call>", "|now({})", NULL, 0, 0 },
    { "glm", NULL, "<tool_call>weather<arg_key>unit</arg_key><arg_value></arg_value></tool_call>",
      "|weather({\"unit\": \"\"})", NULL, 0, 0 },
    { "glm", NULL, "<tool_call>x<arg_key>a</arg_key><arg_value></arg_value></tool_call>",
      "|x({\"a\": \"\"})", NULL, 0, 0 },
    { "glm", NULL, "<tool_call>weather<arg_key>city</arg_key><arg_value>a</arg_valu</arg_value></tool_call>",
      "|weather({\"city\": \"a</arg_valu\"})", NULL, 0, 0 },
    { "glm", NULL, "<tool_call>{\"name\":\"f\"}</tool_call>", "<tool_call>{\"name\":\"f\"}</tool_call>", NULL, 0, 0 },
    { "glm", NULL, "<tool_call></tool_call>", "<tool_call></tool_call>", NULL, 0, 0 },
    { "glm", NULL, "<tool_call>f<arg_key>a</arg_key>b</tool_call>", "<tool_call>f<arg_key>a</arg_key>b</tool_call>",
      "<arg_key>a</arg_key>b</tool_call>|f()", 0, 0 },
    { "glm", NULL, "<tool_call>weather<arg_key>city</arg_key><arg_value>Bo",
      "<tool_call>weather<arg_key>city</arg_key><arg_value>Bo", "|weather({\"city\": \"Bo)", 0, 0 },
    { "glm", NULL, "<tool_call>f<arg_key>a</arg_key><arg_value>12", "<tool_call>f<arg_key>a</arg_key><arg_value>12",
      "12|f({\"a\": )", 0, 0 },
    /* Llama */
    { "llama3_json", NULL, "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rom\"}}", "|weather({\"city\""
      ": \"Rom\"})",
      NULL, 0, 0 },
    { "llama3_json", NULL, "<|python_tag|>{\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}; {\"name\": "
      "\"weather\", \"parameters\": {\"city\": \"Rom\"}}", "|now({})|weather({\"city\": \"Rom\"})", NULL, 0, 0 },
    { "llama3_json", NULL, "\n {\"name\": \"Bob\", \"parameters\": {}}",
      "\n {\"name\": \"Bob\", \"parameters\": {}}", NULL,
      0, 0 },
    { "llama3_json", NULL, "{\"name\": \"now\"}", "{\"name\": \"now\"}", NULL, 0, 0 },
    { "llama3_json", NULL, "{\"a\": 1} {\"name\": \"now\", \"parameters\": {}}",
      "{\"a\": 1} {\"name\": \"now\", \"parameters\": {}}", NULL, 0, 0 },
    { "llama3_json", NULL, "<|python_tag|>now.call()", "<|python_tag|>now.call()", NULL, 0, 0 },
    { "llama3_json", NULL, "Sure: {\"name\": \"now\", \"parameters\": {}}",
      "Sure: {\"name\": \"now\", \"parameters\": {}}", NULL, 0, 0 },
    { "llama3_json", NULL, "", "", NULL, 0, 0 },
    { "llama3_json", NULL, " \n", " \n", NULL, 0, 0 },
    /* thoughts */
    { NULL, "think", "<think>\nWell, <b>.\n</think>\n\nYes.\n", "Yes.\n|R:Well, <b>.", NULL, 0, 0 },
    { NULL, "think", "\n<think></think>Yes", "Yes|R:", NULL, 0, 0 },
    { NULL, "think", " Yes <think>no</think>", " Yes <think>no</think>", NULL, 0, 0 },
    { NULL, "think", " <thin", " <thin", NULL, 0, 0 },
    { NULL, "think", "  ", "  ", NULL, 0, 0 },
    { NULL, "think", "<think>endless </thin", "|R:endless </thin", NULL, 0, 0 },
    { NULL, "think", "a\nb </think> c", "c|R:a\nb", NULL, true, 0 },
    { NULL, "think", "a", "|R:a", NULL, true, 0 },
    { "hermes", "think", "<think>I call <tool_call></think>\n\n<tool_call>{\"name\":\"f\"}</tool_call>",
      "|R:I call <tool_call>|f({})", NULL, 0, 0 },
    { "hermes", "think", "x</think>So:\n<tool_call>{\"name\":\"f\"}</tool_call>\n", "So:|R:x|f({})", NULL, true, 0 },
    { "llama3_json", "think", "<think>x</think>\n{\"name\": \"now\", \"parameters\": {}}", "|R:x|now({})", NULL, 0, 0 },
};

struct collected {
    struct buf content, reasoning, calls;
    int told;                  /* calls whose names came */
};

/* What waits is taken, as a stream would send it. */
static void collect(struct collected *c, struct output *o)
{
    buf_add(&c->content, o->content.data ? o->content.data : "", o->content.len);
    buf_add(&c->reasoning, o->reasoning.data ? o->reasoning.data : "", o->reasoning.len);
    for (int i = 0; i < o->n_calls; i++) {
        const struct output_call *call = &o->call[i];
        if (!call->told) {
            ck_assert_int_eq(call->index, c->told++);
            buf_str(&c->calls, c->told > 1 ? ")|" : "|");
            buf_str(&c->calls, call->name);
            buf_byte(&c->calls, '(');
        } else {
            ck_assert_int_eq(call->index, c->told - 1);
        }
        buf_add(&c->calls, call->arguments.data ? call->arguments.data : "", call->arguments.len);
    }
    output_sent(o);
    ck_assert(!output_has_news(o));
}

/* The text in pieces that end at the first cut, the second, and then after every `piece` bytes. */
static char *run(const struct expected *x, bool whole, size_t cut, size_t piece)
{
    static struct tool_names names;
    struct err e;
    if (!names.entries.max) {
        json_t *tools = json_loads(tools_json, 0, NULL);
        ck_assert_int_eq(tool_names_init(&names, tools, &e), 0);
        json_decref(tools);
    }
    struct output_options opt = { .names = &names, .begun = x->begun, .single = x->single, .whole = whole,
                                  .max_bytes = 1 << 20 };
    opt.tools = x->tools ? tool_format_named(x->tools) : NULL;
    opt.reasoning = x->reasoning ? reasoning_format_named(x->reasoning) : NULL;
    ck_assert((opt.tools != NULL) == (x->tools != NULL) && (opt.reasoning != NULL) == (x->reasoning != NULL));
    struct output o;
    struct collected c = { .told = 0 };
    buf_init(&c.content, 1 << 20), buf_init(&c.reasoning, 1 << 20), buf_init(&c.calls, 1 << 20);
    ck_assert_int_eq(output_init(&o, &opt, &e), 0);
    size_t n = strlen(x->text);
    for (size_t at = 0; at < n;) {
        size_t k = at == 0 && cut > 0 ? cut : piece;
        k = k < n - at ? k : n - at;
        char *copy = malloc(k);            /* of exactly these bytes, for the sanitizer */
        memcpy(copy, x->text + at, k);
        output_add(&o, copy, k);
        free(copy);
        at += k;
        if (!whole)
            collect(&c, &o);
    }
    output_end(&o);
    ck_assert(output_ok(&o));
    collect(&c, &o);
    if (c.reasoning.len > 0 || (x->reasoning && strstr(x->whole, "R:") && c.reasoning.len == 0))
        buf_str(&c.content, "|R:");
    buf_add(&c.content, c.reasoning.data ? c.reasoning.data : "", c.reasoning.len);
    buf_add(&c.content, c.calls.data ? c.calls.data : "", c.calls.len);
    buf_str(&c.content, c.told ? ")" : "");
    output_free(&o);
    buf_free(&c.reasoning), buf_free(&c.calls);
    return c.content.data ? buf_take(&c.content) : strdup("");
}

START_TEST(every_text_at_every_cut)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int whole = 0; whole < 2; whole++) {
            const struct expected *x = &cases[i];
            const char *want = !whole && x->streamed ? x->streamed : x->whole;
            size_t n = strlen(x->text);
            for (size_t cut = 0; cut <= n; cut++)
                for (size_t piece = 1; piece <= n + 1; piece += piece < 8 ? 1 : n) {
                    char *have = run(x, whole, cut, piece);
                    ck_assert_msg(strcmp(have, want) == 0, "%s, %s, cut at %zu, then by %zu:\n%s\nnot\n%s", x->text,
                                  whole ? "whole" : "streamed", cut, piece, have, want);
                    free(have);
                }
        }
}
END_TEST

/* Texts of random marks and pieces: whatever they are, all cuts give the same, and nothing is lost where no call was
 * made. */
START_TEST(random_texts)
{
    static const char *const pieces[] = {
        "<tool_call>", "</tool_call>", "{\"name\":", "\"now\"", "\"arguments\":", "{", "}", "{\"a\":", "1", ",", "\"",
        "\\", "x", " ", "\n", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "now", "<think>", "</think>",
        "<|python_tag|>", ";", "null", "\"parameters\":", "[", "]", "<", "</", "\xc3\xa4"
    };
    static const char *const tools[] = { "hermes", "glm", "llama3_json", NULL };
    unsigned seed = 1;
    for (int i = 0; i < 6000; i++) {
        char text[512] = "";
        for (int k = rand_r(&seed) % 14; k >= 0; k--)
            strcat(text, pieces[(size_t)rand_r(&seed) % (sizeof pieces / sizeof *pieces)]);
        struct expected x = { .tools = tools[i % 4], .reasoning = i % 3 ? NULL : "think", .text = text, .whole = "" };
        for (int whole = 0; whole < 2; whole++) {
            char *want = run(&x, whole, 0, 1);
            for (size_t cut = 1; cut < strlen(text); cut += 3) {
                char *have = run(&x, whole, cut, 512);
                ck_assert_msg(strcmp(have, want) == 0, "%s (%s): %s, not %s", text, x.tools ? x.tools : "-",
                              have, want);
                free(have);
            }
            if (!x.reasoning && !strchr(want, '('))
                ck_assert_str_eq(want, text);
            free(want);
        }
    }
}
END_TEST

static bool writes(void *arg, const char *words) { return strstr(arg, words) != NULL; }

START_TEST(the_format_of_a_template)
{
    static const struct { const char *template, *tools, *reasoning; } known[] = {
        { "...<tool_call>\n{\"name\": <function-name>, \"arguments\": <args>}\n</tool_call>", "hermes", NULL },
        { "<tool_call>{function-name}\n<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>", "glm", NULL },
        { "{\"name\": function name, \"parameters\": {...}}", "llama3_json", NULL },
        { "<|im_start|>assistant\n<think>\n\n</think>\n\n", NULL, "think" },
        { "<|user|>", NULL, NULL },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct tool_format *f = tool_format_of(writes, (void *)known[i].template);
        const struct reasoning_format *r = reasoning_format_of(writes, (void *)known[i].template);
        ck_assert_msg(f == (known[i].tools ? tool_format_named(known[i].tools) : NULL), "%s", known[i].template);
        ck_assert_msg(r == (known[i].reasoning ? reasoning_format_named(known[i].reasoning) : NULL), "%zu", i);
    }
    ck_assert_ptr_null(tool_format_named("x"));
    ck_assert_str_eq(tool_format_marks(tool_format_named("hermes"))[1], "</tool_call>");
}
END_TEST

/* What is too long ends in an error, and takes no more memory than it may. */
START_TEST(limits)
{
    struct output_options opt = { .tools = tool_format_named("glm"), .max_bytes = 4096 };
    struct output o;
    struct err e;
    ck_assert_int_eq(output_init(&o, &opt, &e), 0);
    output_add(&o, "<tool_call>f<arg_key>k</arg_key><arg_value>", 43);
    for (int i = 0; i < 10000 && output_ok(&o); i++)
        output_add(&o, "0123456789", 10);
    ck_assert(!output_ok(&o));
    ck_assert_uint_le(output_bytes(&o), 8 * 4096);
    ck_assert_int_eq(output_error(&o, &e), -1);
    ck_assert_str_eq(e.text, "the answer is too long");
    output_end(&o);
    output_free(&o);
    json_t *many = json_array();
    for (int i = 0; i < 20; i++) {
        char *name = malloc(100001);
        memset(name, 'n', 100000);
        name[100000] = 0;
        json_array_append_new(many, json_pack("{s:{s:s}}", "function", "name", name));
        free(name);
    }
    struct tool_names names;
    ck_assert_int_eq(tool_names_init(&names, many, &e), -1);
    ck_assert_int_eq(e.status, 400);
    json_decref(many);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("output");
    TCase *t = tcase_create("output");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, every_text_at_every_cut);
    tcase_add_test(t, random_texts);
    tcase_add_test(t, the_format_of_a_template);
    tcase_add_test(t, limits);
    suite_add_tcase(s, t);
    return suite_run(s);
}
