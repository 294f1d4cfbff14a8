/* tests/template/test_template.c - chat templates: equal to the reference on every
 * case of cases.json (see make_cases.py), within limits on hostile ones, and safe
 * on garbage. */
#include <check.h>
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "tests/suite.h"
#include "template/template.h"

static json_t *cases;
static struct tm now;

/* Renders; NULL and *e filled on failure, as the server would. */
static char *render(const char *source, size_t n, const json_t *context, const struct template_options *opt,
                    struct err *e)
{
    memset(e, 0, sizeof *e);
    struct template *t = template_parse(source, n, e);
    char *text = t ? template_render(t, context, opt, e) : NULL;
    template_free(t);
    return text;
}

static char *render_with(const char *source, const char *context, struct err *e)
{
    struct template_options opt = { .now = &now };
    json_t *c = json_loads(context, JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(c);
    char *text = render(source, strlen(source), c, &opt, e);
    json_decref(c);
    return text;
}

/* False, and a line that says why, if the case is not as the reference has it. */
static bool check_case(size_t i, const json_t *c)
{
    struct err e;
    struct template_options opt = { .now = &now };
    const char *family = json_string_value(json_object_get(c, "family")),
        *key = json_string_value(json_object_get(c, "context"));
    const json_t *source = family ? json_object_get(json_object_get(cases, "templates"), family) : json_object_get(c,
        "template");
    const char *want = json_string_value(json_object_get(c, "text"));
    char *text = render(json_string_value(source), json_string_length(source),
                        json_object_get(json_object_get(cases, "contexts"), key), &opt, &e);
    bool same = want ? text && !strcmp(text, want) : !text && e.text[0];
    if (!same)
        fprintf(stderr, "case %zu, %.200s (%s):\n  want %s\n  got  %s\n", i,
                family ? family : json_string_value(source), key, want ? want : "an error", text ? text : e.text);
    free(text);
    return same;
}

START_TEST(test_equals_reference)
{
    size_t i, different = 0;
    json_t *c;
    json_t *all = json_object_get(cases, "cases");
    ck_assert_uint_gt(json_array_size(all), 1000);
    json_array_foreach(all, i, c)
        different += !check_case(i, c);
    ck_assert_uint_eq(different, 0);
}
END_TEST

/* Numbers of a request that are too large for JSON's readers in C: as Python's reader has them. */
START_TEST(test_large_numbers)
{
    static const char source[] = "{{ a|tojson }} {{ a.i + 1 }} {{ a.i > 1e19 }} {{ a.r }}",
                      context[] = "{\"a\":{\"i\":18446744073709551615,\"n\":-99999999999999999999,\"r\":1e400,"
                                  "\"s\":-1e400}}";
    struct json_limits limits = { .depth = 10, .values = 100 };
    struct err e = { 0 };
    json_t *c = json_read("the context", context, sizeof context - 1, &limits, &e);
    ck_assert_msg(c, "%s", e.text);
    char *text = render(source, sizeof source - 1, c, NULL, &e);
    ck_assert_msg(text, "%s", e.text);
    ck_assert_str_eq(text, "{\"i\": 18446744073709551615, \"n\": -99999999999999999999, \"r\": Infinity, \"s\": "
                           "-Infinity} "
                           "18446744073709551616 True inf");
    free(text);
    json_decref(c);
}
END_TEST

START_TEST(test_raise_has_code)
{
    struct err e;
    char *text = render_with("a{{ raise_exception('no system, ' ~ who) }}", "{\"who\": \"please\"}", &e);
    ck_assert_ptr_null(text);
    ck_assert_str_eq(e.code, "template_raised");
    ck_assert_str_eq(e.text, "no system, please");
}
END_TEST

START_TEST(test_errors_name_the_line)
{
    struct err e;
    ck_assert_ptr_null(render_with("a\nb\n{{ x.y.z }}", "{}", &e));
    ck_assert_str_eq(e.text, "line 3: 'x' is undefined");
    ck_assert_str_eq(e.code, "");
    ck_assert_ptr_null(render_with("a\n{% nosuch %}", "{}", &e));
    ck_assert_str_eq(e.text, "line 2: encountered unknown tag 'nosuch'");
    ck_assert_ptr_null(render_with("{% import 'x' as y %}", "{}", &e));
    ck_assert_str_eq(e.text, "line 1: {% import %} is not supported");
    ck_assert_ptr_null(render_with("{{ [1].append(2) }}", "{}", &e));
    ck_assert_str_eq(e.text, "line 1: access to attribute 'append' of 'list' object is unsafe.");
    ck_assert_ptr_null(render_with("{{ 'a' }}\n{{ 'a b'|wordwrap(1) }}", "{}", &e));
    ck_assert_str_eq(e.text, "line 2: 'wordwrap' is not supported");
    char *text = render_with("{% if false %}{{ 'a b'|wordwrap(1) }}{% endif %}b", "{}", &e);
    ck_assert_str_eq(text, "b");
    free(text);
    ck_assert_ptr_null(template_parse("{{", 2, NULL));
}
END_TEST

START_TEST(test_nul_needs_a_length)
{
    struct err e = { 0 };
    size_t n = 0;
    json_t *context = json_loads("{\"x\": \"a\\u0000b\"}", JSON_ALLOW_NUL, NULL);
    struct template_options opt = { .length = &n };
    char *text = render("{{ x }}{{ x|length }}", 21, context, &opt, &e);
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(text, "a\0b3", 5);
    free(text);
    ck_assert_ptr_null(render("{{ x }}", 7, context, NULL, &e));
    json_decref(context);
}
END_TEST

/* ---- hostile templates: an error, soon, and on a small stack */

static const char *const hostile[] = {
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{{ range(10**15) }}",
    "{% set ns = namespace(x=7) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{{ 10 ** (10 ** 10) }}",
    "{% for i in range(99999) %}{{ 10 ** 4000 // 7 ** 2000 }}{% endfor %}", "{% for i in range(99999) %}{{ 7 ** 4000 "
                                                                            "> 0 }}{% endfor %}",
    "{% for i in range(99999) %}{{ ('9' * 4000)|int > 0 }}{% endfor %}", "{% for i in range(99999) %}{{ (10 ** "
                                                                         "4000)|string|length }}{% endfor %}",
    "{% set x = 'aaaaaaaaaaaaaaaa' %}{% set ns = namespace(s=x) %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s "
    "%}{% endfor %}", "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('x', 'xx') %}{% endfor %}",
    "{{ 'x' * 10**12 }}", "{{ [1] * 10**12 }}", "{{ 'x'.center(10**12) }}", "{{ '%1000000000000d' % 1 }}",
    "{{ '{:99999999}'.format(1) * 99 }}",
    "{{ 'é'.ljust(10**13) }}", "{{ ''|center(10**11) }}", "{{ 'a'|indent(10**12) }}", "{{ '5'.zfill(10**15) }}",
    "{{ [1]|batch(10**12, 0)|list }}",
    "{{ [1]|slice(10**12)|list }}", "{{ 'x'.expandtabs(10**15) ~ '\\t'.expandtabs(10**15) }}",
    "{{ [1]|tojson(indent=10**12) }}", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{% macro f() %}{{ caller() }}{{ f() }}{% endmacro %}{% call f() %}{% call f() %}{% endcall %}{% endcall %}",
    "{% macro f(x) %}{{ x|map('string')|list|map('upper')|join }}{% call f(x) %}{% endcall %}{% endmacro %}{{ f([1]) "
    "}}", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
    "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l|tojson }}",
    "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l == ns.l[0] }}",
    "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l|pprint }}",
    "{% set ns = namespace(l=()) %}{% for i in range(99999) %}{% set ns.l = (ns.l,) %}{% endfor %}{{ {ns.l: 1} }}",
    "{% set ns = namespace(l=[1]) %}{% for i in range(99999) %}{% set ns.l = ns.l|map('string') %}{% endfor %}{{ "
    "ns.l|list }}",
    "{% set ns = namespace(l=[1]) %}{% for i in range(99999) %}{% set ns.l = ns.l|reverse %}{% endfor %}{{ ns.l|list "
    "}}{% for i in range(99999) %}{{ ns.l|d('x') }}{{ 'y' * 1000 }}{% endfor %}",
    "{% set s = 'ab' * 4000000 %}{% for i in range(99999) %}{{ s.count('b') }}{% endfor %}",
    "{% set s = 'é' * 4000000 %}{% for i in range(99999) %}{{ s[i] }}{% endfor %}",
    "{% set s = 'a' * 3000000 %}{% for i in range(99999) %}{{ s.rfind('b' * 1000) }}{{ s == s ~ '' }}{% endfor %}",
    "{% set l = range(99999)|list %}{% for i in l %}{{ l.index(99998) }}{% endfor %}",
    "{% set l = range(99999)|list %}{% for i in l %}{{ l|sort|length }}{{ l|tojson|length }}{% endfor %}",
    "{% set l = (range(99999)|list) * 90 %}{{ l }}{{ l }}{{ l }}",
    "{{ 'x'.join(range(99999)|map('string')|list * 90) }}",
};

struct job {
    const char *source;
    size_t      n;
    char       *text;
    struct err  e;
    double      seconds; /* of this thread alone: other work on the machine does not count */
};

static void *render_job(void *arg)
{
    struct job *j = arg;
    struct timespec used;
    json_t *context = json_object();
    j->text = render(j->source, j->n, context, NULL, &j->e);
    json_decref(context);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    j->seconds = (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
    return NULL;
}

/* In a thread like those of the HTTP server. Sanitizers need far more stack. */
static void render_in_thread(struct job *j)
{
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    pthread_attr_setstacksize(&attr, 16 << 20);
#else
    pthread_attr_setstacksize(&attr, 512 << 10);
#endif
    ck_assert_int_eq(pthread_create(&thread, &attr, render_job, j), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
}

START_TEST(test_hostile)
{
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct job j = { .source = hostile[i], .n = strlen(hostile[i]) };
        render_in_thread(&j);
        ck_assert_msg(!j.text, "was rendered: %s", hostile[i]);
        ck_assert_msg(j.e.text[0], "no reason given: %s", hostile[i]);
        ck_assert_msg(j.seconds < 30, "took %.1f s: %s", j.seconds, hostile[i]);
    }
}
END_TEST

static char *append(char *to, const char *s, size_t times)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < times; i++, to += n)
        memcpy(to, s, n);
    return to;
}

/* `part` n times, with something before, between and after. */
static void check_repeated(const char *before, const char *part, const char *middle, const char *closing, size_t n)
{
    char *source = malloc(strlen(before) + n * strlen(part) + strlen(middle) + n * strlen(closing) + 1);
    ck_assert_ptr_nonnull(source);
    char *end = append(append(append(append(source, before, 1), part, n), middle, 1), closing, n);
    struct job j = { .source = source, .n = (size_t)(end - source) };
    render_in_thread(&j);
    ck_assert_msg(!j.text, "was rendered: %s%s... %zu times", before, part, n);
    free(source);
}

START_TEST(test_deep_sources)
{
    for (size_t n = 500; n <= 100000; n *= 200) {
        check_repeated("{{ ", "(", "1", ")", n);
        check_repeated("{{ ", "[", "1", "]", n);
        check_repeated("{{ ", "{1:", "1", "}", n);
        check_repeated("{{ ", "-", "1 }}", "", n);
        check_repeated("{{ ", "not ", "1 }}", "", n);
        check_repeated("{{ 1", "+1", " }}", "", n);
        check_repeated("{{ 1", "|abs", " }}", "", n);
        check_repeated("{{ x", ".x", " }}", "", n);
        check_repeated("{{ x", "[0]", " }}", "", n);
        check_repeated("{{ x", "()", " }}", "", n);
        check_repeated("{{ 1", " if 1 else 1", " }}", "", n);
        check_repeated("{{ 1", " and 1", " }}", "", n);
        check_repeated("", "{% if 1 %}", "", "{% endif %}", n);
        check_repeated("", "{% for x in [1] %}", "", "{% endfor %}", n);
        check_repeated("", "{% set x %}", "", "{% endset %}", n);
        check_repeated("{% set x", "|upper", " %}", "", n);
        check_repeated("{% set ", "(", "x", ")", n);
    }
}
END_TEST

/* What is allowed to nest does nest, on the small stack. */
START_TEST(test_nesting_that_is_allowed)
{
    const char *source = "{% macro f(x) %}{% if x %}{{ [f(x - 1)]|join }}.{% endif %}{% endmacro %}{{ f(40) }}";
    struct job j = { .source = source, .n = strlen(source) };
    render_in_thread(&j);
    ck_assert_msg(j.text, "%s", j.e.text);
    ck_assert_uint_eq(strlen(j.text), 40);
    free(j.text);
}
END_TEST

/* Appending in a loop must not copy what is there each time: 50 MB in all. */
START_TEST(test_appending_is_linear)
{
    const char *source = "{% set ns = namespace(s='') %}{% for i in range(50000) %}{% set ns.s = ns.s + 'x' * 1000 "
                         "%}{% endfor %}{{ ns.s|length }}";
    struct job j = { .source = source, .n = strlen(source) };
    render_in_thread(&j);
    ck_assert_msg(j.text, "%s", j.e.text);
    ck_assert_str_eq(j.text, "50000000");
    free(j.text);
}
END_TEST

START_TEST(test_limits_are_options)
{
    struct err e;
    json_t *context = json_object();
    struct template_options steps = { .max_steps = 100 }, output = { .max_output = 10 }, memory = { .max_memory = 512 };
    const char *loop = "{% for i in range(50) %}{{ i }}{% endfor %}";
    ck_assert_ptr_null(render(loop, strlen(loop), context, &steps, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "steps"));
    ck_assert_ptr_null(render(loop, strlen(loop), context, &output, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "10 bytes"));
    ck_assert_ptr_null(render(loop, strlen(loop), context, &memory, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "memory"));
    char *text = render(loop, strlen(loop), context, NULL, &e);
    ck_assert_ptr_nonnull(text);
    free(text);
    json_decref(context);
}
END_TEST

/* ---- garbage: anything may come out but a crash (run with sanitizers) */

static unsigned garbage_state = 1;

static unsigned draw(unsigned n)
{
    garbage_state = garbage_state * 1664525u + 1013904223u;
    return (garbage_state >> 8) % n;
}

static size_t mutate(char *out, size_t room, const char *source, size_t n)
{
    static const char *const bits[] = { "{%", "%}", "{{", "}}", "-%}", "{#", "#}", "|", "(", ")", "[", "]", "'", "\"",
                                        "\\", "if ", "for x in ",
                                        "endif", "set x = ", "loop", ".", "1e999", "\xff", "\xe4\xbd", "\n", "not ",
                                        "is ", "**", "~", ":", "{% raw %}", "caller", "\\u12" };
    size_t len = 0;
    for (size_t i = 0; i < n && len + 16 < room; i++) {
        if (draw(500) == 0)
            len = (size_t)(append(out + len, bits[draw(sizeof bits / sizeof *bits)], 1) - out);
        else if (draw(500) == 0)
            i += draw(12);
        else
            out[len++] = draw(3000) == 0 ? (char)draw(256) : source[i];
    }
    return len;
}

START_TEST(test_garbage)
{
    struct err e;
    struct template_options opt = { .now = &now, .max_steps = 200000, .max_memory = 8 << 20, .max_output = 1 << 20 };
    json_t *all = json_object_get(cases, "templates"), *source;
    const json_t *context = json_object_get(json_object_get(cases, "contexts"), "conversation 4");
    const char *name;
    size_t rendered = 0;
    static char out[32 << 10];
    for (int round = 0; round < 20; round++)
        json_object_foreach(all, name, source) {
            size_t n = mutate(out, sizeof out, json_string_value(source), json_string_length(source));
            char *text = render(out, n, context, &opt, &e);
            rendered += text != NULL;
            ck_assert(text || e.text[0]);
            free(text);
        }
    json_t *features = json_object_get(cases, "cases"), *c;
    size_t i;
    json_array_foreach(features, i, c) {
        source = json_object_get(c, "template");
        if (!source)
            continue;
        size_t n = mutate(out, sizeof out, json_string_value(source), json_string_length(source));
        free(render(out, n, json_object_get(json_object_get(cases, "contexts"), "features"), &opt, &e));
    }
    ck_assert_uint_gt(rendered, 0);
}
END_TEST

/* Memory runs out at every place: no leak, no crash, an error each time. */
START_TEST(test_memory_runs_out)
{
    struct err e;
    const json_t *context = json_object_get(json_object_get(cases, "contexts"), "conversation 4");
    const json_t *source = json_object_get(json_object_get(cases, "templates"), "qwen3");
    struct template *t = template_parse(json_string_value(source), json_string_length(source), &e);
    ck_assert_msg(t, "%s", e.text);
    size_t failed = 0;
    for (size_t max = 64; max < (1 << 20); max += max / 16 + 16) {
        struct template_options opt = { .now = &now, .max_memory = max };
        char *text = template_render(t, context, &opt, &e);
        failed += text == NULL;
        free(text);
    }
    ck_assert_uint_gt(failed, 10);
    template_free(t);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("template");
    TCase *reference = tcase_create("reference"), *limits = tcase_create("limits");
    tcase_add_test(reference, test_equals_reference);
    tcase_add_test(reference, test_large_numbers);
    tcase_add_test(reference, test_raise_has_code);
    tcase_add_test(reference, test_errors_name_the_line);
    tcase_add_test(reference, test_nul_needs_a_length);
    tcase_add_test(limits, test_hostile);
    tcase_add_test(limits, test_deep_sources);
    tcase_add_test(limits, test_nesting_that_is_allowed);
    tcase_add_test(limits, test_appending_is_linear);
    tcase_add_test(limits, test_limits_are_options);
    tcase_add_test(limits, test_garbage);
    tcase_add_test(limits, test_memory_runs_out);
    tcase_set_timeout(reference, 120);
    tcase_set_timeout(limits, 600);
    suite_add_tcase(s, reference);
    suite_add_tcase(s, limits);
    return s;
}

int main(void)
{
    json_error_t bad;
    cases = json_load_file("tests/template/cases.json", 0, &bad);
    if (!cases) {
        fprintf(stderr, "tests/template/cases.json: %s\n", bad.text);
        return 1;
    }
    strptime(json_string_value(json_object_get(cases, "now")), "%Y-%m-%dT%H:%M:%S", &now);
    int failed = suite_run(suite());
    json_decref(cases);
    return failed != 0;
}
