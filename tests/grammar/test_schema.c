/* JSON Schema, keyword by keyword: which texts a schema takes, which it does not, and what is refused. The cases lie in
 * schema_cases.json: a schema, values that it holds for, values that it does not hold for (each is written in three
 * ways), texts that it takes or not as they are, or a piece of the message with which it is refused. */
#include "base/json.h"
#include "tests/grammar/rig.h"

static json_t *cases;

static void check_value(struct grammar *g, const char *name, const json_t *v, bool holds)
{
    static const size_t flags[] = { JSON_ENCODE_ANY, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII,
                                    JSON_ENCODE_ANY | JSON_INDENT(2) };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        char *text = json_dumps(v, flags[i] | JSON_REAL_PRECISION(15));
        ck_assert_msg(matches(g, text) == holds, "%s %s %s", name, holds ? "does not take" : "takes", text);
        free(text);
    }
}

static void check_case(const json_t *c)
{
    struct grammar_source s = { .kind = GRAMMAR_SCHEMA, .field = "field", .json = json_object_get(c, "schema"),
                                .closed = json_is_true(json_object_get(c, "closed")) };
    const char *refused = json_string_value(json_object_get(c, "refused"));
    char *name = json_dumps(s.json, JSON_ENCODE_ANY);
    struct grammar *g = grammar_compile(&s, &e);
    size_t i;
    json_t *v;
    if (refused) {
        ck_assert_msg(!g && strstr(e.text, refused) && e.status == 400, "%s: %s", name, g ? "not refused" : e.text);
    } else {
        ck_assert_msg(g != NULL, "%s: %s", name, e.text);
        json_array_foreach(json_object_get(c, "yes"), i, v)
            check_value(g, name, v, true);
        json_array_foreach(json_object_get(c, "no"), i, v)
            check_value(g, name, v, false);
        json_array_foreach(json_object_get(c, "takes"), i, v)
            ck_assert_msg(matches(g, json_string_value(v)), "%s does not take %s", name, json_string_value(v));
        json_array_foreach(json_object_get(c, "leaves"), i, v)
            ck_assert_msg(!matches(g, json_string_value(v)), "%s takes %s", name, json_string_value(v));
    }
    grammar_unref(g);
    free(name);
}

START_TEST(keywords)
{
    size_t i;
    json_t *c;
    json_array_foreach(cases, i, c)
        check_case(c);
}
END_TEST

/* What became of the cases of a file in suite/. */
struct count { int refused, reached, out_of_reach; };

static void count_case(const json_t *c, struct count *n)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    struct grammar_source s = { .kind = GRAMMAR_SCHEMA, .field = "field", .json = json_object_get(c, "schema") };
    struct grammar *g = grammar_compile(&s, &e);
    char *schema = json_dumps(s.json, JSON_ENCODE_ANY);
    json_t *v;
    size_t i;
    ck_assert_msg(g || e.status == 400, "%s: %s", name, e.text);
    n->refused += !g;
    if (!g && getenv("VERBOSE"))
        printf("refused: %s: %s\n", name, e.text);
    json_array_foreach(json_object_get(c, "leaves"), i, v)
        ck_assert_msg(!g || !matches(g, json_string_value(v)), "%s %s takes %s", name, schema, json_string_value(v));
    json_array_foreach(json_object_get(c, "takes"), i, v) {
        bool ok = g && matches(g, json_string_value(v));
        n->reached += ok;
        n->out_of_reach += g && !ok;
        if (g && !ok && getenv("VERBOSE"))
            printf("out of reach: %s: %s\n", name, json_string_value(v));
    }
    free(schema);
    grammar_unref(g);
}

static void check_suite(const char *path, struct count want)
{
    json_error_t why;
    json_t *suite = json_load_file(path, JSON_ALLOW_NUL, &why), *c;
    struct count n = { 0 };
    size_t i;
    ck_assert_msg(suite != NULL, "%s, line %d: %s", path, why.line, why.text);
    json_array_foreach(suite, i, c)
        count_case(c, &n);
    json_decref(suite);
    ck_assert_int_eq(n.refused, want.refused);
    ck_assert_int_eq(n.out_of_reach, want.out_of_reach);
    ck_assert_int_eq(n.reached, want.reached);
}

/* The official suite, as suite/make_suite.py has written it, and keywords within one another (suite/make_mixed.py).
 * What is invalid is never taken. What is refused, and what is valid and cannot be reached, is counted:
 * docs/structured-output.md says why it is so. VERBOSE names them. */
START_TEST(official_suite)
{
    check_suite("tests/grammar/suite/suite.json", (struct count){ .refused = 75, .reached = 834, .out_of_reach = 51 });
}
END_TEST

START_TEST(mixed_keywords)
{
    check_suite("tests/grammar/suite/mixed.json", (struct count){ .refused = 33, .reached = 1154, .out_of_reach = 0 });
}
END_TEST

int main(void)
{
    json_error_t why;
    cases = json_load_file("tests/grammar/schema_cases.json", 0, &why);
    if (!cases) {
        fprintf(stderr, "tests/grammar/schema_cases.json: line %d: %s\n", why.line, why.text);
        return EXIT_FAILURE;
    }
    Suite *s = suite_create("grammar schema");
    TCase *t = tcase_create("all");
    tcase_add_test(t, keywords);
    tcase_add_test(t, official_suite);
    tcase_add_test(t, mixed_keywords);
    suite_add_tcase(s, t);
    int rc = suite_run(s);
    json_decref(cases);
    return rc;
}
