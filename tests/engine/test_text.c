/* What a folder says about text, from all its files, against transformers
 * (text/, made by make_text.py): names of tokens, added tokens, templates. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "engine/text.h"
#include "tests/suite.h"

#define CASES "tests/engine/text"

static json_t *expected;

static void open_case(struct text *t, const char *name, int image_token)
{
    char dir[256];
    struct err e = { 0 };
    snprintf(dir, sizeof dir, CASES "/%s", name);
    ck_assert_msg(text_open(t, dir, NULL, "string", image_token, image_token, &e) == 0, "%s: %s", name, e.text);
}

static void check_ids(const struct text *t, const char *name, const char *text, bool post, const json_t *want)
{
    struct ids ids = { 0 };
    struct err e;
    char have[512] = "";
    ck_assert(tokenizer_encode(t->tokenizer, text, strlen(text), post, &ids, &e) == 0);
    for (size_t i = 0; i < ids.n; i++)
        snprintf(have + strlen(have), sizeof have - strlen(have), "%s%d", i ? "," : "", ids.id[i]);
    char *should = json_dumps(want, JSON_COMPACT);
    should[strlen(should) - 1] = 0;
    ck_assert_msg(!strcmp(have, should + 1), "%s: \"%s\" gives %s, not %s]", name, text, have, should);
    free(should);
    ids_free(&ids);
}

static void check_skipped(const struct text *t, const char *name, const json_t *list, const json_t *want)
{
    int32_t id[64];
    struct buf out;
    struct err e;
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++)
        id[i] = (int32_t)json_integer_value(json_array_get(list, i));
    buf_init(&out, 4096);
    ck_assert(tokenizer_decode(t->tokenizer, id, n, true, &out, &e) == 0);
    ck_assert_msg(out.len == json_string_length(want) && !memcmp(out.len ? out.data : "", json_string_value(want),
                                                                 out.len),
                  "%s: \"%.*s\", not \"%s\"", name, (int)out.len, out.len ? out.data : "", json_string_value(want));
    buf_free(&out);
}

static void check_chat(const struct text *t, const char *name, bool tools, const json_t *want)
{
    struct chat chat = { .messages = json_object_get(expected, "messages"), .no_generation_prompt = true,
                         .tools = tools ? json_object_get(expected, "tools") : NULL };
    struct err e = { 0 };
    struct rendering r;
    text_render(t, &chat, &r, &e);
    size_t n = r.n;
    char *text = r.text;
    if (json_is_null(want)) {
        ck_assert_msg(!text && strstr(e.text, "chat template"), "%s: \"%s\" %s", name, text ? text : "", e.text);
    } else {
        ck_assert_msg(text != NULL, "%s: %s", name, e.text);
        ck_assert_msg(n == json_string_length(want) && !memcmp(text, json_string_value(want), n),
                      "%s: \"%s\", not \"%s\"", name, text, json_string_value(want));
    }
    rendering_free(&r);
}

START_TEST(test_as_the_reference)
{
    const char *name;
    json_t *c, *texts = json_object_get(expected, "texts");
    int n = 0;
    json_object_foreach(json_object_get(expected, "cases"), name, c) {
        struct text t;
        open_case(&t, name, -1);
        json_t *names = json_object_get(c, "names"), *ids = json_object_get(c, "ids");
        ck_assert_msg(json_equal(names, tokenizer_names(t.tokenizer)), "%s: other names", name);
        for (size_t i = 0; i < json_array_size(texts); i++) {
            const char *text = json_string_value(json_array_get(texts, i));
            check_ids(&t, name, text, false, json_array_get(ids, i));
            check_ids(&t, name, text, true, json_array_get(json_object_get(c, "special"), i));
            check_skipped(&t, name, json_array_get(ids, i), json_array_get(json_object_get(c, "skipped"), i));
        }
        for (int tools = 0; tools < 2; tools++)
            check_chat(&t, name, tools, json_array_get(json_object_get(c, "chat"), (size_t)tools));
        text_close(&t);
        open_case(&t, name, 2);
        /* where the reference has none, tokenizer_config.json's counts here */
        for (int tools = 0; tools < 2; tools++)
            if (!json_is_null(json_array_get(json_object_get(c, "processor"), (size_t)tools)))
                check_chat(&t, name, tools, json_array_get(json_object_get(c, "processor"), (size_t)tools));
        text_close(&t);
        n++;
    }
    ck_assert_int_ge(n, 20);
}
END_TEST

/* A last message to go on from: as the reference, which refuses what a template does not write as it is. */
START_TEST(test_continued)
{
    json_t *c, *all = json_object_get(expected, "continued");
    size_t i, kept = 0;
    ck_assert_uint_ge(json_array_size(all), 50);
    json_array_foreach(all, i, c) {
        char file[] = "/tmp/openautoglm-test-XXXXXX";
        const json_t *source = json_object_get(c, "template"), *want = json_object_get(c, "text");
        struct chat chat = { .messages = json_object_get(c, "messages"), .no_generation_prompt = true,
                             .continue_final_message = true };
        struct text t;
        struct err e = { 0 };
        struct rendering r;
        int fd = mkstemp(file);
        ck_assert(fd >= 0 && write(fd, json_string_value(source), json_string_length(source)) > 0 && close(fd) == 0);
        ck_assert_msg(text_open(&t, CASES "/nothing", file, "openai", -1, -1, &e) == 0, "%s", e.text);
        int rc = text_render(&t, &chat, &r, &e);
        ck_assert_msg((rc == 0) == json_is_string(want), "%zu: %s", i, e.text);
        if (rc == 0) {
            ck_assert_msg(r.n == json_string_length(want) && !memcmp(r.text, json_string_value(want), r.n),
                          "%zu: \"%.*s\"", i, (int)r.n, r.text);
            kept++;
        } else {
            ck_assert_msg(!strcmp(e.field, "continue_final_message") || strstr(e.text, "chat template: "), "%s: %s",
                          e.field, e.text);
        }
        rendering_free(&r);
        text_close(&t);
        unlink(file);
    }
    ck_assert_uint_ge(kept, 30);
}
END_TEST

START_TEST(test_continued_is_the_assistants)
{
    struct text t;
    struct err e = { 0 };
    struct rendering r;
    struct chat chat = { .messages = json_object_get(expected, "messages"), .no_generation_prompt = true,
                         .continue_final_message = true };
    open_case(&t, "template", -1);
    ck_assert_int_eq(text_render(&t, &chat, &r, &e), -1);
    ck_assert_str_eq(e.field, "continue_final_message");
    ck_assert_str_eq(e.text, "continue_final_message needs a last message of the assistant, not of user");
    text_close(&t);
}
END_TEST

/* Files of the folder that hold nonsense: a line that names the file. */
static const struct { const char *file, *content, *error; } bad[] = {
    { "tokenizer_config.json", "[1]", "tokenizer_config.json: expected an object" },
    { "tokenizer_config.json", "{\"a\":", "tokenizer_config.json: line 1" },
    { "tokenizer_config.json", "{\"added_tokens_decoder\":7}", "tokenizer_config.json: added_tokens_decoder: "
                                                               "expected an object" },
    { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"a\"}}}",
      "added_tokens_decoder: \"x\" is not an id" },
    { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"1\":\"a\"}}",
      "added_tokens_decoder.1: expected an object" },
    { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"1\":{}}}", "added_tokens_decoder.1: a token without a "
        "string" },
    { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"1\":{\"content\":\"a\",\"lstrip\":3}}}",
      "1.lstrip: expected true or false" },
    { "tokenizer_config.json", "{\"extra_special_tokens\":[\"a\",3]}", "extra_special_tokens[1]: a token without a "
        "string" },
    { "tokenizer_config.json", "{\"chat_template\":\"{% if %}\"}", "tokenizer_config.json: line 1" },
    { "special_tokens_map.json", "3", "special_tokens_map.json: " },
    { "added_tokens.json", "{", "added_tokens.json: line 1" },
    { "chat_template.json", "[", "chat_template.json: line 1" },
    { "chat_template.jinja", "\xff", "chat_template.jinja: not UTF-8" },
    { "chat_template.jinja", "{{", "chat_template.jinja: line 1" },
};

START_TEST(test_refuses)
{
    static const char here[] = CASES "/nothing/tokenizer.json";
    char dir[] = "/tmp/openautoglm-test-XXXXXX", path[128], *from = realpath(here, NULL), command[64];
    struct err e = { 0 };
    struct text t;
    ck_assert(from && mkdtemp(dir));
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    ck_assert_int_eq(symlink(from, path), 0);
    snprintf(path, sizeof path, "%s/%s", dir, bad[_i].file);
    FILE *f = fopen(path, "wb");
    fputs(bad[_i].content, f);
    fclose(f);
    ck_assert_int_eq(text_open(&t, dir, NULL, "auto", -1, -1, &e), -1);
    ck_assert_msg(strstr(e.text, bad[_i].error) && strstr(e.text, dir), "\"%s\" does not say \"%s\"", e.text,
                  bad[_i].error);
    free(from);
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

static char *render_with(const char *template, const char *kwargs, struct err *e)
{
    char file[] = "/tmp/openautoglm-test-XXXXXX";
    int fd = mkstemp(file);
    ck_assert(fd >= 0 && write(fd, template, strlen(template)) == (ssize_t)strlen(template) && close(fd) == 0);
    struct text t;
    struct chat chat = { .messages = json_loads("[{\"role\":\"developer\",\"content\":\"D\"},{\"role\":\"user\","
                                                "\"content\":\"U\"}]", 0, NULL),
                         .template_kwargs = kwargs ? json_loads(kwargs, 0, NULL) : NULL };
    struct rendering r;
    ck_assert_msg(text_open(&t, CASES "/names", file, "string", -1, -1, e) == 0, "%s", e->text);
    text_render(&t, &chat, &r, e);
    free(r.from);
    json_decref(chat.messages);
    json_decref(chat.template_kwargs);
    text_close(&t);
    unlink(file);
    return r.text;
}

/* Instructions of a developer reach every model: as the system's where the template does not know that role. */
START_TEST(test_developer)
{
    struct err e = { 0 };
    char *text = render_with("{% for m in messages %}[{{ m.role }} {{ m.content }}]{% endfor %}", NULL, &e);
    ck_assert_str_eq(text, "[system D][user U]");
    free(text);
    text = render_with("{% for m in messages %}[{{ 'dev' if m.role == \"developer\" else m.role }} {{ m.content "
                       "}}]{% endfor %}", NULL, &e);
    ck_assert_str_eq(text, "[dev D][user U]");
    free(text);
}
END_TEST

START_TEST(test_kwargs)
{
    static const char *const taken[] = { "messages", "tools", "documents", "bos_token", "mask_token", "image_token",
                                         "sep_token" };
    static const char template[] = "{{ messages | length }}{{ x }}{{ bos_token }}";
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        char kwargs[64], field[64];
        snprintf(kwargs, sizeof kwargs, "{\"x\":1,\"%s\":[]}", taken[i]);
        snprintf(field, sizeof field, "chat_template_kwargs.%s", taken[i]);
        ck_assert_msg(!render_with(template, kwargs, &e) && !strcmp(e.field, field), "%s: %s", taken[i], e.field);
    }
    char *text = render_with(template, "{\"x\":7,\"message\":[],\"enable_thinking\":false}", &e);
    ck_assert_str_eq(text, "27<s>");
    free(text);
}
END_TEST

int main(void)
{
    expected = json_load_file(CASES "/expected.json", JSON_ALLOW_NUL, NULL);
    if (!expected)
        return 1;
    log_set_level(LOG_ERROR);
    Suite *s = suite_create("text");
    TCase *t = tcase_create("text");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_developer);
    tcase_add_test(t, test_kwargs);
    tcase_add_test(t, test_as_the_reference);
    tcase_add_test(t, test_continued);
    tcase_add_test(t, test_continued_is_the_assistants);
    tcase_add_loop_test(t, test_refuses, 0, sizeof bad / sizeof *bad);
    suite_add_tcase(s, t);
    int failed = suite_run(s);
    json_decref(expected);
    return failed != 0;
}
