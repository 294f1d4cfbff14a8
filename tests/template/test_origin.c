/* Whose text every byte of a rendering is: the template's, the request's, or
 * that of others, through everything that templates do with strings. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suite.h"
#include "template/template.h"

/* Written after every first character and at the end of all strings of the request; no template writes it. */
#define STAIN "\ue000"

static json_t *cases;

static char *render(const char *source, size_t n, const json_t *context, uint8_t **from, size_t *len)
{
    static const struct tm now = { .tm_year = 124, .tm_mday = 1 };
    struct err e = { 0 };
    struct template *t = template_parse(source, n, &e);
    json_t *names = json_pack("{s:s}", "eos_token", "<E>");
    struct template_options opt = { .now = &now, .length = len, .from = from, .names = names };
    char *text = t ? template_render(t, context, &opt, &e) : NULL;
    json_decref(names);
    template_free(t);
    return text;
}

/* t: the template's, r: the request's, o: of others. A letter stands for each byte. */
static const struct { const char *template, *text, *from; } small[] = {
    { "a{{ x }}b", "axyzb", "trrrt" },
    { "{{ 'a' ~ x ~ 'b' }}", "axyzb", "trrrt" },
    { "{{ ('a' + x)[1:] + 'b' }}", "xyzb", "rrrt" },
    { "{{ ('a' + x + 'b')[::-1] }}", "bzyxa", "trrrt" },
    { "{{ (' ' + x + ' ')|trim }}", "xyz", "rrr" },
    { "{{ x.replace('y', '-') }}", "x-z", "rtr" },
    { "{{ '-y-'.replace('y', x) }}", "-xyz-", "trrrt" },
    { "{{ x.split('y')|join('+') }}", "x+z", "rtr" },
    { "{{ x.upper() }}{{ 'a'|upper }}", "XYZA", "rrrt" },
    { "{{ x.title() }}{{ x|capitalize }}", "XyzXyz", "rrrrrr" },
    { "{{ x|tojson }}", "\"xyz\"", "trrrt" },
    { "{{ {'k': x}|tojson }}", "{\"k\": \"xyz\"}", "tttttttrrrtt" },
    { "{{ m|tojson }}", "{\"k\": \"v\"}", "ttrttttrtt" },
    { "{{ [x, 'a'] }}", "['xyz', 'a']", "ttrrrttttttt" },
    { "{{ '%s-%s' % (x, 'a') }}", "xyz-a", "rrrtt" },
    { "{{ '{}-{}'.format(x, 'a') }}", "xyz-a", "rrrtt" },
    { "{{ x.format('a') }}{{ x.center(5, '*') }}", "xyz*xyz*", "rrrtrrrt" },
    { "{{ x * 2 }}{{ 'a' * 2 }}{{ x[0] * 2 }}", "xyzxyzaaxx", "rrrrrrttrr" },
    { "{% set v %}a{{ x }}{% endset %}{{ v }}{{ v|length }}", "axyz4", "trrrt" },
    { "{% macro f(v) %}<{{ v }}>{% endmacro %}{{ f(x) }}{{ f('a') }}", "<xyz><a>", "trrrtttt" },
    { "{% for c in x %}{{ c }},{% endfor %}", "x,y,z,", "rtrtrt" },
    { "{% set ns = namespace(s='') %}{% for c in x %}{% set ns.s = ns.s ~ c ~ ';' %}{% endfor %}{{ ns.s }}", "x;y;z;",
      "rtrtrt" },
    { "{{ x|e }}{{ (x|safe) + '<' }}", "xyzxyz&lt;", "rrrrrrtttt" },
    { "{{ eos_token }}{{ eos_token ~ x }}", "<E><E>xyz", "ttttttrrr" },
    { "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}", "<user>a<tool>b", "ttttttrtttttto" },
    { "{{ messages[1].name }}{{ messages[0].name }}", "fg", "or" },
    { "{% for d in documents %}{{ d.text }}{% endfor %}{{ documents|length }}", "d1", "ot" },
    { "{{ odd.role }}{{ n }}{{ x|length }}", "<|u|>123", "rrrrrttt" },
};
static const char small_context[] =
    "{\"x\": \"xyz\", \"m\": {\"k\": \"v\"}, \"n\": 12, \"odd\": {\"role\": \"<|u|>\"}, \"documents\": [{\"text\": "
    "\"d\"}], \"messages\": "
    "[{\"role\": \"user\", \"content\": \"a\", \"name\": \"g\"}, {\"role\": \"tool\", \"content\": \"b\", \"name\": "
    "\"f\"}]}";

START_TEST(test_every_byte)
{
    json_t *context = json_loads(small_context, 0, NULL);
    uint8_t *from = NULL;
    size_t n = 0;
    char have[100];
    char *text = render(small[_i].template, strlen(small[_i].template), context, &from, &n);
    ck_assert_msg(text, "%s", small[_i].template);
    ck_assert_str_eq(text, small[_i].text);
    for (size_t i = 0; i < n; i++)
        have[i] = "tro"[from[i]];
    have[n] = 0;
    ck_assert_str_eq(have, small[_i].from);
    free(text);
    free(from);
    json_decref(context);
}
END_TEST

/* A string that is the template's up to its third byte. */
START_TEST(test_prefix)
{
    struct err e = { 0 };
    uint8_t *from = NULL;
    size_t n = 0;
    json_t *context = json_pack("{s:s, s:s}", "x", "aabb", "y", "aabb");
    struct template_prefix prefix = { json_object_get(context, "x"), 2 };
    struct template_options opt = { .length = &n, .from = &from, .prefix = &prefix, .n_prefixes = 1 };
    static const char source[] = "{{ y }}{{ x[1:] }}", want[] = { 1, 1, 1, 1, 0, 1, 1 };
    struct template *t = template_parse(source, sizeof source - 1, &e);
    char *text = template_render(t, context, &opt, &e);
    ck_assert_str_eq(text, "aabbabb");
    ck_assert_mem_eq(from, want, n);
    free(text);
    free(from);
    template_free(t);
    json_decref(context);
}
END_TEST

static json_t *stained(const json_t *v)
{
    const char *key;
    json_t *one, *out;
    size_t i;
    if (json_is_array(v)) {
        out = json_array();
        json_array_foreach(v, i, one)
            json_array_append_new(out, stained(one));
        return out;
    }
    if (json_is_object(v)) {
        out = json_object();
        json_object_foreach((json_t *)v, key, one)
            json_object_set_new(out, key, strcmp(key, "role") && strcmp(key, "type") ? stained(one) : json_incref(one));
        return out;
    }
    if (!json_is_string(v))
        return json_deep_copy(v);
    const char *s = json_string_value(v);
    size_t first = *s ? 1 : 0;
    while (((unsigned char)s[first] & 0xc0) == 0x80)
        first++;
    return json_sprintf("%.*s" STAIN "%s" STAIN, (int)first, s, s + first);
}

/* All templates of the reference's cases: what came with the request never counts as the template's. */
START_TEST(test_stains_are_seen)
{
    json_t *c, *all = json_object_get(cases, "cases");
    size_t i, stains = 0, wrong = 0;
    json_array_foreach(all, i, c) {
        const char *family = json_string_value(json_object_get(c, "family")),
            *key = json_string_value(json_object_get(c, "context"));
        const json_t *source = family ? json_object_get(json_object_get(cases, "templates"), family)
            : json_object_get(c, "template");
        json_t *context = stained(json_object_get(json_object_get(cases, "contexts"), key));
        uint8_t *from = NULL;
        size_t n = 0;
        char *text = render(json_string_value(source), json_string_length(source), context, &from, &n);
        for (char *at = text; at && (at = memmem(at, n - (size_t)(at - text), STAIN, 3)); at += 3) {
            const uint8_t *f = from + (at - text);
            stains++;
            if (f[0] && f[1] && f[2])
                continue;
            wrong++;
            fprintf(stderr, "case %zu, %.200s (%s): counts as the template's\n", i,
                    family ? family : json_string_value(source), key);
            break;
        }
        free(text);
        free(from);
        json_decref(context);
    }
    ck_assert_uint_gt(stains, 2000);
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* The other way round: without a request, all is the template's. */
START_TEST(test_own_text_is_own)
{
    json_t *c, *all = json_object_get(cases, "cases"), *empty = json_object();
    size_t i, bytes = 0;
    json_array_foreach(all, i, c) {
        const json_t *source = json_object_get(c, "template");
        uint8_t *from = NULL;
        size_t n = 0;
        char *text = source ? render(json_string_value(source), json_string_length(source), empty, &from, &n) : NULL;
        for (size_t k = 0; text && k < n; k++)
            ck_assert_msg(from[k] == FROM_TEMPLATE, "%s", json_string_value(source));
        bytes += text ? n : 0;
        free(text);
        free(from);
    }
    ck_assert_uint_gt(bytes, 2000);
    json_decref(empty);
}
END_TEST

int main(void)
{
    cases = json_load_file("tests/template/cases.json", 0, NULL);
    if (!cases)
        return 1;
    Suite *s = suite_create("origin");
    TCase *t = tcase_create("origin");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_every_byte, 0, sizeof small / sizeof *small);
    tcase_add_test(t, test_prefix);
    tcase_add_test(t, test_stains_are_seen);
    tcase_add_test(t, test_own_text_is_own);
    suite_add_tcase(s, t);
    int failed = suite_run(s);
    json_decref(cases);
    return failed;
}
