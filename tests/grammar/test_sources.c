/* Regular expressions, GBNF, Lark, choices, tags and actions: which texts they take, and what is refused. */
#include "base/utf8.h"
#include "tests/grammar/rig.h"

START_TEST(regular_expressions)
{
    check_texts(GRAMMAR_REGEX, "[0-9]+", "0\0" "42\0", "\1\0" "4a\0" "a\0");
    check_texts(GRAMMAR_REGEX, "^(ab|c)*d?$", "\1\0" "abcab\0" "d\0" "cd\0", "b\0" "dd\0");
    check_texts(GRAMMAR_REGEX, "a{2}b{1,}c{0,2}d{,1}", "aab\0" "aabbbccd\0", "ab\0" "aa\0" "aabccc\0");
    check_texts(GRAMMAR_REGEX, "\\d\\w\\s\\.\\x41\\u00e9\\u{1F600}", "1_ .A\u00e9\U0001F600\0",
                "1_ xA\u00e9\U0001F600\0");
    check_texts(GRAMMAR_REGEX, "[^a-z\\d]", "A\0" "\u4f60\0" "\n\0", "a\0" "5\0" "AA\0");
    check_texts(GRAMMAR_REGEX, "[]a\\-z-]+", "]\0" "-az\0", "b\0");
    check_texts(GRAMMAR_REGEX, "(?:x|(?P<name>y)|(?<other>z))+?", "xyz\0", "w\0");
    check_texts(GRAMMAR_REGEX, ".", "a\0" "\u00e9\0" "\U0001F600\0", "\n\0" "ab\0" "\xc3\0");
    check_texts(GRAMMAR_REGEX, "\\D\\W\\S", "a-b\0", "1-b\0" "aab\0" "a- \0");
    check_texts(GRAMMAR_REGEX, "(^a|b$)", "a\0" "b\0", "ab\0");
    check_texts(GRAMMAR_REGEX, "a^b|c", "c\0", "ab\0" "a^b\0");
    check_texts(GRAMMAR_REGEX, "[a-z]{3,500}!", "abc!\0" "abcdefghijklmnopqrstuvwxyzabcdefghij!\0", "ab!\0" "abc\0");
    check_texts(GRAMMAR_REGEX, "a{b", "a{b\0", "a\0");
    check_texts(GRAMMAR_REGEX, "\\u00e9|\\ud83d\\ude00", "\u00e9\0" "\U0001F600\0", "e\0");
}
END_TEST

START_TEST(regular_expressions_that_are_refused)
{
    check_refused(GRAMMAR_REGEX, "a(?=b)", "lookaround");
    check_refused(GRAMMAR_REGEX, "(a)\\1", "reference");
    check_refused(GRAMMAR_REGEX, "\\bword", "word boundary");
    check_refused(GRAMMAR_REGEX, "\\p{L}", "property of Unicode");
    check_refused(GRAMMAR_REGEX, "(?i)a", "flags");
    check_refused(GRAMMAR_REGEX, "a++", "possessive");
    check_refused(GRAMMAR_REGEX, "(a", "a ( has no )");
    check_refused(GRAMMAR_REGEX, "a)", "a ) has no (");
    check_refused(GRAMMAR_REGEX, "[a", "a [ has no ]");
    check_refused(GRAMMAR_REGEX, "*a", "follows nothing");
    check_refused(GRAMMAR_REGEX, "a{3,1}", "upside down");
    check_refused(GRAMMAR_REGEX, "a{200000}", "more than 100000 times");
    check_refused(GRAMMAR_REGEX, "[]", "a [ has no ]");
    check_refused(GRAMMAR_REGEX, "a$b", "describes no text");
}
END_TEST

/* Written as UTF-8, and in JSON also as escapes: every code point is one character, and nothing else is. */
START_TEST(code_points)
{
    struct grammar *any = compile_text(GRAMMAR_REGEX, "[\\s\\S]");
    struct grammar *string = compile_text(GRAMMAR_SCHEMA, "{\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1}");
    struct grammar *some = compile_text(GRAMMAR_REGEX, "[\\u00e0-\\u0900\\u2028-\\u{10428}]");
    for (uint32_t c = 1; c <= 0x10FFFF; c += c < 0x3000 || (c > 0xD700 && c < 0x10500) ? 1 : 61) {
        char text[8] = "", json[16], escape[32];
        bool surrogate = c >= 0xD800 && c < 0xE000;
        int n = utf8_put(text, c);
        if (surrogate) {                        /* three bytes, but no UTF-8 */
            text[0] = (char)0xED, text[1] = (char)(0x80 | (c >> 6 & 63)), text[2] = (char)(0x80 | (c & 63));
            n = 3;
        }
        ck_assert_msg(matches_n(any, text, (size_t)n) == !surrogate, "U+%X", c);
        bool in = (c >= 0xE0 && c <= 0x900) || (c >= 0x2028 && c <= 0x10428);
        ck_assert_msg(matches_n(some, text, (size_t)n) == (in && !surrogate), "U+%X of a class", c);
        snprintf(json, sizeof json, "\"%.*s\"", n, text);
        bool plain = c >= 0x20 && c != '"' && c != '\\' && !surrogate;
        ck_assert_msg(matches(string, json) == plain, "U+%X in JSON", c);
        if (c > 0xFFFF)
            snprintf(escape, sizeof escape, "\"\\u%04x\\u%04X\"", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + (c & 0x3FF));
        else
            snprintf(escape, sizeof escape, "\"\\u%04X\"", c);
        bool escaped = (c < 0x20 || c > 0x7E) && !surrogate;
        ck_assert_msg(matches(string, escape) == escaped, "%s", escape);
    }
    grammar_unref(any);
    grammar_unref(string);
    grammar_unref(some);
}
END_TEST

/* As many ranges as a class may have, none of which begins or ends the code points: what is left is one more. */
START_TEST(classes_of_many_ranges)
{
    enum { RANGES = 512 };
    char source[RANGES * 3 + 8] = "[^";
    char *at = source + 2;
    for (uint32_t i = 0; i < RANGES; i++)
        at += utf8_put(at, 0x400 + 2 * i);
    strcpy(at, "]");
    struct grammar *g = compile_text(GRAMMAR_REGEX, source);
    ck_assert(matches(g, "a") && matches(g, "\u0401") && !matches(g, "\u0402"));
    ck_assert(matches(g, "\u4f60") && matches(g, "\U0001F600"));      /* beyond the last of them */
    grammar_unref(g);
}
END_TEST

START_TEST(gbnf)
{
    check_texts(GRAMMAR_EBNF, "root ::= \"a\" b* # comment\nb ::= [0-9]{2} | \"\\n\" .\n", "a\0" "a12\0" "a\nx34\0",
                "a1\0" "b\0");
    check_texts(GRAMMAR_EBNF, "root ::= (\"x\" |\n \"y\")+ end?\nend ::= \"\\x21\"", "xyx!\0" "y\0", "!\0" "\1\0");
    check_texts(GRAMMAR_EBNF, "root ::= \"(\" root \")\" | \"\"", "\1\0" "()\0" "((()))\0", "(()\0" ")(\0");
    check_texts(GRAMMAR_EBNF,
                "root ::= expr\nexpr ::= expr \"+\" term | term\nterm ::= term \"*\" f | f\n"
                "f ::= [a-z] | \"(\" expr \")\"",
                "a\0" "a+b*c+d\0" "(a+b)*c\0", "a+\0" "+a\0" "(a\0");
    check_texts(GRAMMAR_EBNF, "root ::= a\na ::= b \"x\" | \"1\"\nb ::= a \"y\" | \"2\"", "1\0" "2x\0" "1yx\0" "2xyx\0",
                "1y\0" "1x\0");
    check_texts(GRAMMAR_EBNF, "root ::= a \"!\"\na ::= e a \"x\" | \"z\"\ne ::= \"\" | \"-\"", "z!\0" "zx!\0"
                "-zx!\0" "-zxx!\0",
                "-z!\0" "x!\0");
    check_texts(GRAMMAR_EBNF, "root ::= word{2,40} \".\"\nword ::= [a-z]+ \" \"", "a b .\0", "a .\0" "a b\0");
    check_texts(GRAMMAR_EBNF, "root ::= item{2,3000} \".\"\nitem ::= \"[\" root? \"]\"", "[][].\0" "[[][].][].\0",
                "[].\0" "[][]\0");
}
END_TEST

START_TEST(gbnf_that_is_refused)
{
    check_refused(GRAMMAR_EBNF, "start ::= \"a\"", "\"root\"");
    check_refused(GRAMMAR_EBNF, "root ::= b", "uses the rule \"b\"");
    check_refused(GRAMMAR_EBNF, "root ::= \"a\"\nroot ::= \"b\"", "twice");
    check_refused(GRAMMAR_EBNF, "root ::= \"a", "has no end");
    check_refused(GRAMMAR_EBNF, "root ::= (\"a\"", "a ( has no )");
    check_refused(GRAMMAR_EBNF, "root ::= \"a\"\n\n=x", "line 3");
    check_refused(GRAMMAR_EBNF, "root ::= \"a\" root", "describes no text");
    check_refused(GRAMMAR_EBNF, "root ::= \"a\"{4,2}", "a repetition is");
}
END_TEST

START_TEST(lark)
{
    check_texts(GRAMMAR_EBNF, "start: \"SELECT \" column (\", \" column)* [\" FROM \" CNAME]\n"
                "column: \"a\" | \"b\" -> bee\n%import common.CNAME\n", "SELECT a\0" "SELECT a, b FROM t_1\0",
                "SELECT\0" "SELECT a,b\0" "SELECT a FROM 1\0");
    check_texts(GRAMMAR_EBNF, "?start: sum\n?sum: product\n  | sum \"+\" product -> add\n?product: NUMBER\n"
                "  | product \"*\" NUMBER\nNUMBER: /[0-9]+/\n%ignore \" \"\n", "1\0" "1 + 2*3\0" " 1+2 \0",
                "1 2\0" "+\0");
    check_texts(GRAMMAR_EBNF, "// comment\nstart: A ~ 2..3 \"x\"i\nA.2: \"a\"..\"c\"\n", "abx\0" "abcX\0",
                "ax\0" "abcdx\0");
    check_texts(GRAMMAR_EBNF, "%import common (INT, WS)\n%import common.ESCAPED_STRING -> STR\n%ignore WS\n"
                "start: value\nvalue: STR | INT | \"[\" [value (\",\" value)*] \"]\"\n",
                "[1, \"a\\\"b\", []]\0" "[ ]\0", "[1,]\0" "\"a\0");
}
END_TEST

START_TEST(lark_that_is_refused)
{
    check_refused(GRAMMAR_EBNF, "begin: \"a\"", "\"start\"");
    check_refused(GRAMMAR_EBNF, "start: other", "uses the rule \"other\"");
    check_refused(GRAMMAR_EBNF, "start: /a/i", "flags");
    check_refused(GRAMMAR_EBNF, "start: \"a\"\n%declare X", "directives");
    check_refused(GRAMMAR_EBNF, "start: \"a\"\n%import common.NOTHING", "NOTHING");
    check_refused(GRAMMAR_EBNF, "start: x{\"a\"}\n", "templates");
    check_refused(GRAMMAR_EBNF, "", "\"start\"");
}
END_TEST

START_TEST(choices)
{
    check_texts(GRAMMAR_CHOICE, "[\"yes\", \"no\", \"yes, but\", \"\u00e9\"]", "yes\0" "yes, but\0" "\u00e9\0",
                "\1\0" "ye\0");
    check_refused(GRAMMAR_CHOICE, "[]", "at least one");
    check_refused(GRAMMAR_CHOICE, "[1]", "strings");
}
END_TEST

START_TEST(json_objects)
{
    check_texts(GRAMMAR_JSON, "", "{}\0" "{\"a\": [1, -2.5e3, true, null, \"x\\n\\u00e9\\ud83d\\ude00\"]}\0"
                "{\n  \"a\": {\n    \"b\": []\n  }\n}\0" "{\"a\":{\"b\":{\"c\":[[]]}}}\0",
                "[]\0" "1\0" "{\"a\": 01}\0" "{\"a\": \"\\ud83d\"}\0" "{\"a\": tru}\0" "{,}\0" "{\"a\": 1,}\0"
                "{\"a\": \"\n\"}\0");
}
END_TEST

static struct grammar_source literal(const char *s)
{
    return (struct grammar_source){ .kind = GRAMMAR_LITERAL, .text = s, .n = strlen(s) };
}

static struct grammar_source digits = { .kind = GRAMMAR_REGEX, .text = "[0-9]+", .n = 6 };

START_TEST(tags_in_free_text)
{
    static const char *const trigger[] = { "<fn=" };
    struct grammar_tag tag[] = { { "<fn=a>", "</fn>", digits }, { "<fn=b>", "</fn>", literal("xx") } };
    struct grammar_source s = { .kind = GRAMMAR_TAGS, .tag = tag, .n_tags = 2, .trigger = trigger, .n_triggers = 1 };
    struct grammar *g = grammar_compile(&s, &e);
    ck_assert_msg(g != NULL, "%s", e.text);
    ck_assert(matches(g, ""));
    ck_assert(matches(g, "I <think> <fn"));
    ck_assert(matches(g, "a <fn=a>12</fn> b <<fn=b>xx</fn>"));
    ck_assert(!matches(g, "a <fn=c>"));
    ck_assert(!matches(g, "a <fn=a>x</fn>"));
    ck_assert(!matches(g, "a <fn="));
    grammar_unref(g);
    s.at_least_one = true;
    g = grammar_compile(&s, &e);
    ck_assert(!matches(g, "") && !matches(g, "free"));
    ck_assert(matches(g, "free <fn=b>xx</fn> more"));
    grammar_unref(g);
    s.at_most_one = true;
    g = grammar_compile(&s, &e);
    ck_assert(matches(g, "free <fn=b>xx</fn>"));
    ck_assert(!matches(g, "free <fn=b>xx</fn> more"));
    grammar_unref(g);
}
END_TEST

START_TEST(tags_alone)
{
    struct grammar_tag tag[] = { { "<t>", "</t>", digits } };
    struct grammar_source s = { .kind = GRAMMAR_TAGS, .tag = tag, .n_tags = 1, .separator = "\n"
                "", .at_least_one = true };
    struct grammar *g = grammar_compile(&s, &e);
    ck_assert(matches(g, "<t>1</t>"));
    ck_assert(matches(g, "<t>1</t>\n<t>2</t>"));
    ck_assert(!matches(g, "<t>1</t><t>2</t>"));
    ck_assert(!matches(g, "") && !matches(g, " <t>1</t>"));
    ck_assert(matches(g, "\xff<t>1\xff</t>"));          /* the special tokens that are spelled so */
    grammar_unref(g);
    s.at_most_one = true;
    g = grammar_compile(&s, &e);
    ck_assert(matches(g, "<t>1</t>"));
    ck_assert(!matches(g, "<t>1</t>\n<t>2</t>"));
    grammar_unref(g);
}
END_TEST

START_TEST(compositions)
{
    struct grammar_source end[] = { literal("</think>"), literal("|end|") };
    struct grammar_source part[] = { { .kind = GRAMMAR_FREE, .part = end, .n_parts = 2 },
                                     { .kind = GRAMMAR_REPEAT, .part = &digits, .n_parts = 1, .least = 0, .most = 1 },
                                     { .kind = GRAMMAR_ANY_OF, .part = end, .n_parts = 2 } };
    struct grammar_source s = { .kind = GRAMMAR_SEQUENCE, .part = part, .n_parts = 3 };
    struct grammar *g = grammar_compile(&s, &e);
    ck_assert_msg(g != NULL, "%s", e.text);
    ck_assert(matches(g, "hm <</think>12|end|"));
    ck_assert(matches(g, "|end|\xff</think>"));
    ck_assert(!matches(g, "hm |end| </think>"));
    grammar_unref(g);
}
END_TEST

START_TEST(the_field_at_fault_is_named)
{
    struct grammar_source bad = { .kind = GRAMMAR_REGEX, .field = "tools[0].x", .text = "(", .n = 1 };
    struct grammar_source s = { .kind = GRAMMAR_SEQUENCE, .field = "outer", .part = &bad, .n_parts = 1 };
    ck_assert_ptr_null(grammar_compile(&s, &e));
    ck_assert_str_eq(e.field, "tools[0].x");
}
END_TEST

START_TEST(actions)
{
    check_texts(GRAMMAR_ACTIONS, "",
                "do(action=\"Tap\", element=[0,999])\0"
                "I think. \xff<answer>do(action=\"Tap\", element=[12, 5], message=\"pay\")\0"
                "do(action=\"Type\", text=\"\u4f60\u597d, \\\"x\\\"\")\0"
                "do(action=\"Swipe\", start=[1,2], end=[3,4])\0"
                "do(action=\"Long Press\", element=[1,2])\0" "do(action=\"Back\")\0"
                "do(action=\"Wait\", duration=\"3 seconds\")\0" "do(action=\"Take_over\", message=\"log in\")\0"
                "do(action=\"Launch\", app=\"Maps\")\0" "do(action=\"Note\", message=\"True\")\0"
                "do(action=\"Call_API\", instruction=\"sum up\")\0" "finish(message=\"done\")\0"
                "I could do(act or finish(me finish(message=\"\")\0",
                "\1\0" "thinking\0" "do(action=\"Tap\", element=[0,1000])\0" "do(action=\"Tap\", element=[01,1])\0"
                "do(action=\"Tap\")\0" "do(action=\"Jump\")\0" "do(action=\"Back\") \0" "do(action=\"Back\")</answer>\0"
                "finish(message=\"a\"b\")\0" "finish(message=\"a\nb\")\0" "do(action=\"Back\")do(action=\"Back\")\0");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("grammar sources");
    TCase *t = tcase_create("all");
    tcase_add_test(t, regular_expressions);
    tcase_add_test(t, regular_expressions_that_are_refused);
    tcase_add_test(t, code_points);
    tcase_add_test(t, classes_of_many_ranges);
    tcase_add_test(t, gbnf);
    tcase_add_test(t, gbnf_that_is_refused);
    tcase_add_test(t, lark);
    tcase_add_test(t, lark_that_is_refused);
    tcase_add_test(t, choices);
    tcase_add_test(t, json_objects);
    tcase_add_test(t, tags_in_free_text);
    tcase_add_test(t, tags_alone);
    tcase_add_test(t, compositions);
    tcase_add_test(t, the_field_at_fault_is_named);
    tcase_add_test(t, actions);
    suite_add_tcase(s, t);
    return suite_run(s);
}
