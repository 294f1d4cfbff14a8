/* Masks: each allows exactly the tokens with which the text can go on, whatever the grammar and the vocabulary; and
 * what hostile sources may cost. */
#include <stdio.h>
#include <time.h>

#include "tests/grammar/rig.h"
#include "tests/slow.h"

static uint64_t state = 88172645463325252u;

static unsigned draw(unsigned n)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)(state >> 11) % n;
}

enum { WORDS = 700, LONGEST = 9 };

/* All bytes, pieces of JSON, and words of random pieces of the alphabet. */
static const char *const *vocabulary(const char *alphabet)
{
    static const char *word[WORDS];
    static char text[WORDS][4 * LONGEST];
    static const char *const piece[] = { "\",", "\": ", "{\"", "\"}", "\": \"", ", \"", "]}", "[[", "\n  ", "\\u", "00",
                                         "true", "null", "e\"", "\\\"", "1.5", "-", "\xc3\xa9", "\xe4\xbd", "\xf0\x9f",
                                         "\xff<x>", "\xff<answer>" };
    int n_pieces = sizeof piece / sizeof *piece;
    for (int i = 0; i < WORDS; i++) {
        if (i < 255) {
            snprintf(text[i], sizeof text[i], "%c", i + 1 == 255 ? 'x' : i + 1);
        } else if (i < 255 + n_pieces) {
            snprintf(text[i], sizeof text[i], "%s", piece[i - 255]);
        } else {
            int len = 1 + (int)draw(LONGEST);
            for (int k = 0; k < len; k++)
                text[i][k] = alphabet[draw((unsigned)strlen(alphabet))];
            text[i][len] = 0;
        }
        word[i] = text[i];
    }
    return word;
}

static bool has(const uint32_t *mask, int id) { return mask[id / 32] >> id % 32 & 1; }

/* One walk of random tokens through a grammar; at every step the mask is compared with what a matcher that begins anew
 * says of each token. */
static void random_walk(struct grammar *g, const char *source, struct tokens *t, const char *const *word, int steps)
{
    struct matcher *m = matcher_new(g, t, &e);
    char so_far[400 * LONGEST];
    size_t n = 0;
    uint32_t mask[(WORDS + 31) / 32];
    for (int i = 0; i < steps; i++) {
        int allowed = matcher_mask(m, mask, &e), seen = 0;
        ck_assert_int_ge(allowed, 0);
        ck_assert_msg(allowed > 0 || matcher_can_end(m), "%s: nothing may follow %.*s", source, (int)n, so_far);
        for (int id = 0; id < WORDS; id++) {
            struct matcher *fresh = matcher_new(g, t, &e);
            bool ok = matcher_bytes(fresh, so_far, n) && matcher_accept(fresh, id);
            ck_assert_msg(ok == has(mask, id), "%s: after %.*s: %s is %s", source, (int)n, so_far, word[id],
                          ok ? "forbidden" : "allowed");
            seen += ok;
            matcher_free(fresh);
        }
        ck_assert_int_eq(seen, allowed);
        if (allowed == 0)
            break;
        int pick = (int)draw((unsigned)allowed), id = 0;
        for (; !has(mask, id) || pick-- > 0; id++)
            ;
        ck_assert(matcher_accept(m, id));
        memcpy(so_far + n, word[id], strlen(word[id]));
        n += strlen(word[id]);
    }
    matcher_free(m);
}

START_TEST(masks_are_exact)
{
    static const struct { enum grammar_kind kind; const char *source, *alphabet; } all[] = {
        { GRAMMAR_JSON, "", "ab\"{}[]:, 1e\\n" },
        { GRAMMAR_SCHEMA, "{\"type\": \"object\", \"properties\": {\"ab\": {\"type\": \"integer\", \"maximum\": 150},"
          "\"b\": {\"enum\": [\"aa\", \"ab\", 1]}, \"c\": {\"type\": \"string\", \"maxLength\": 30, \"minLength\": 3},"
          "\"d\": {\"type\": \"string\", \"pattern\": \"^a(b|c){2,30}$\"}}, \"required\": [\"c\"],"
          "\"additionalProperties\": {\"type\": \"array\", \"items\": {\"$ref\": \"#\"}, \"maxItems\": 2}}",
          "abcd\"{}[]:, 1" },
        { GRAMMAR_SCHEMA, "{\"type\": \"array\", \"items\": {\"type\": \"string\", \"minLength\": 26,"
          "\"maxLength\": 28}}",
          "ab\"[], " },
        { GRAMMAR_REGEX, "(a|b)*c{2,60}[ab]{0,40}d", "abcd" },
        { GRAMMAR_REGEX, "[a-c]{30,35}|b{5}\xc3\xa9*", "abc" },
        { GRAMMAR_EBNF, "root ::= e\ne ::= e [-+] t | t\nt ::= t \"*\" f | f\nf ::= [ab]+ | \"(\" e \")\"", "ab+-*()" },
        { GRAMMAR_EBNF, "root ::= s{2,40}\ns ::= \"(\" root? \")\" | \"a\"", "a()" },
        { GRAMMAR_ACTIONS, "", "do(action=\"Tap\", element[1]" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct grammar *g = compile_text(all[i].kind, all[i].source);
        ck_assert_msg(g != NULL, "%s: %s", all[i].source, e.text);
        const char *const *word = vocabulary(all[i].alphabet);
        struct tokens *t = tokens_of(word, WORDS);
        for (int k = 0; k < (SLOW ? 1 : 3); k++)
            random_walk(g, all[i].source, t, word, 40);
        tokens_free(t);
        grammar_unref(g);
    }
}
END_TEST

START_TEST(special_tokens_and_strange_bytes)
{
    static const char *const word[] = { "a", "\xff<x>", "<x>", "\xff", "\xc3", "\xa9", "<", "x>", "a", "\xf8", "" };
    struct tokens *t = tokens_of(word, 11);
    uint32_t mask;
    struct grammar_source part = { .kind = GRAMMAR_LITERAL, .text = "<x>a", .n = 4 };
    struct grammar *literal = grammar_compile(&part, &e), *regex = compile_text(GRAMMAR_REGEX, "(<x>|a|\xc3\xa9)*");
    struct matcher *m = matcher_new(literal, t, &e);
    ck_assert_int_eq(matcher_mask(m, &mask, &e), 3);
    ck_assert_uint_eq(mask, 1 << 1 | 1 << 2 | 1 << 6);      /* the special one counts as its text */
    ck_assert(matcher_accept(m, 1));
    ck_assert_int_eq(matcher_mask(m, &mask, &e), 2);
    ck_assert_uint_eq(mask, 1 << 0 | 1 << 8);               /* two tokens with the same text */
    matcher_free(m);
    m = matcher_new(regex, t, &e);
    ck_assert_int_eq(matcher_mask(m, &mask, &e), 5);
    ck_assert_uint_eq(mask, 1 << 0 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8);       /* half a character is a beginning */
    ck_assert(!matcher_accept(m, 1) && !matcher_accept(m, 9) && !matcher_accept(m, 10) && !matcher_accept(m, 11));
    ck_assert(matcher_accept(m, 4) && !matcher_can_end(m) && matcher_accept(m, 5) && matcher_can_end(m));
    matcher_free(m);
    grammar_unref(literal);
    grammar_unref(regex);
    tokens_free(t);
}
END_TEST

/* At the greatest depth only what leads back is offered, so that an answer can always be ended. */
START_TEST(depth_is_bounded)
{
    static const char *const word[] = { "[", "]", "1", "{", "}" };
    struct tokens *t = tokens_of(word, 5);
    struct grammar *g = compile_text(GRAMMAR_EBNF, "root ::= \"[\" root \"1\" | \"[\" \"]\" \"1\"");
    struct matcher *m = matcher_new(g, t, &e);
    uint32_t mask;
    int depth = 0;
    for (; matcher_mask(m, &mask, &e) > 0 && mask & 1; depth++)
        ck_assert(matcher_accept(m, 0) && depth <= 2 * GRAMMAR_MAX_DEPTH);
    ck_assert_int_gt(depth, GRAMMAR_MAX_DEPTH / 2);
    ck_assert(matcher_accept(m, 1));
    while (matcher_mask(m, &mask, &e) > 0)
        ck_assert(matcher_accept(m, 2));
    ck_assert(matcher_can_end(m));
    matcher_free(m);
    grammar_unref(g);
    tokens_free(t);
}
END_TEST

/* text, n times, between two others. */
static char *repeat(const char *before, const char *text, size_t n, const char *after)
{
    size_t len = strlen(text), first = strlen(before);
    char *s = malloc(first + n * len + strlen(after) + 1);
    strcpy(s, before);
    for (size_t i = 0; i < n; i++)
        memcpy(s + first + i * len, text, len);
    strcpy(s + first + n * len, after);
    return s;
}

/* Compiles, or is refused with 400; what it cost is bounded by the fuel that every step of the work takes. */
static bool survives(enum grammar_kind kind, char *source)
{
    struct grammar *g = compile_text(kind, source);
    ck_assert_msg(g || e.status == 400, "%.100s: %s", source, e.text);
    ck_assert(!g || grammar_bytes(g) < 64 << 20);
    free(source);
    grammar_unref(g);
    return g != NULL;
}

START_TEST(hostile_sources)
{
    ck_assert(!survives(GRAMMAR_REGEX, repeat("", "(", 100000, "")));
    ck_assert(!survives(GRAMMAR_REGEX, repeat("", "(a", 5000, "")));
    ck_assert(survives(GRAMMAR_REGEX, strdup("(a{1000}){1000}")));
    ck_assert(survives(GRAMMAR_REGEX, strdup("((((a{100}){100}){100}){100}){100}")));
    ck_assert(!survives(GRAMMAR_REGEX, strdup("(a|b)*a(a|b){40}c")));                  /* 2^40 states */
    ck_assert(survives(GRAMMAR_REGEX, strdup("(a+)+$")));
    ck_assert(survives(GRAMMAR_REGEX, strdup("(a|a|a)*b")));
    ck_assert(survives(GRAMMAR_REGEX, strdup(".{0,100000}")));
    ck_assert(survives(GRAMMAR_REGEX, repeat("x", "|abcdefgh", 10000, "")));
    ck_assert(!survives(GRAMMAR_EBNF, repeat("root ::= ", "(", 100000, "")));
    ck_assert(!survives(GRAMMAR_EBNF, repeat("root ::= ", "[", 100000, "")));
    ck_assert(survives(GRAMMAR_EBNF, repeat("root ::= root \"x\" | \"y\"", " | root root", 50, "")));
    ck_assert(survives(GRAMMAR_EBNF, repeat("root ::= ", "\"abc\" | ", 10000, "\"d\"")));
    ck_assert(!survives(GRAMMAR_EBNF, repeat("start: ", "(", 100000, "")));
    survives(GRAMMAR_EBNF, repeat("root ::= \"\" ", "(\"\"? )* ", 5000, ""));
    survives(GRAMMAR_SCHEMA, repeat("{\"type\": \"string\", \"enum\": [\"a\"", ",\"abcdefghijklmnop\"", 50000, "]}"));
    char *names = malloc(2 << 20), *at = names + sprintf(names, "{\"enum\": [0");
    for (int i = 0; i < 60000; i++)
        at += sprintf(at, ", \"v%d\"", i);
    strcpy(at, "]}");
    survives(GRAMMAR_SCHEMA, names);
    char deep[40000] = "";
    for (int i = 0; i < 400; i++)
        strcat(deep, "{\"type\": \"array\", \"items\": ");
    strcat(deep, "{}");
    for (int i = 0; i < 400; i++)
        strcat(deep, "}");
    ck_assert(!survives(GRAMMAR_SCHEMA, strdup(deep)));
    survives(GRAMMAR_SCHEMA, strdup("{\"$ref\": \"#/$defs/a\","
                                    "\"$defs\": {\"a\": {\"anyOf\": [{\"$ref\": \"#/$defs/a\"}]}}}"));
}
END_TEST

/* What must not hold is made of alternatives, which multiply: that ends at the same bound. */
START_TEST(hostile_negations)
{
    char *s = malloc(1 << 20), *at = s + sprintf(s, "{\"not\": {\"enum\": [0");
    for (int i = 1; i < 20000; i++)
        at += sprintf(at, ",%d", i);
    strcpy(at, "]}}");
    ck_assert(!survives(GRAMMAR_SCHEMA, s));
    at = s = malloc(1 << 20);
    at += sprintf(at, "{\"unevaluatedProperties\": false, \"allOf\": [{}");
    for (int i = 0; i < 8; i++) {
        at += sprintf(at, ", {\"anyOf\": [{}");
        for (int j = 0; j < 3; j++)
            at += sprintf(at, ", {\"properties\": {\"p%d\": {\"minimum\": %d}}, \"required\": [\"p%d\"]}", i + j, j,
                          i + j);
        at += sprintf(at, "]}");
    }
    strcpy(at, "]}");
    ck_assert(!survives(GRAMMAR_SCHEMA, s));
    ck_assert(!survives(GRAMMAR_SCHEMA, repeat("{\"not\": {\"anyOf\": [{}", ",{\"minimum\": 1}", 5000, "]}}")));
    ck_assert(survives(GRAMMAR_SCHEMA, strdup("{\"not\": {\"anyOf\": [{\"$ref\": \"#\"}, {\"type\": \"string\"}]}}")));
    ck_assert(survives(GRAMMAR_SCHEMA, strdup("{\"if\": {\"$ref\": \"#\"}, \"then\": {\"type\": \"string\"}}")));
}
END_TEST

/* Ten thousand rules, each of which begins with the next, and ends with the first. */
START_TEST(chains_of_rules)
{
    enum { N = 10000 };
    char *s = malloc(40 * N), *at = s + sprintf(s, "root ::= r0\n");
    for (int i = 0; i < N; i++)
        at += sprintf(at, "r%d ::= r%d | \"x\" r0\n", i, i + 1);
    sprintf(at, "r%d ::= \"y\"\n", N);
    survives(GRAMMAR_EBNF, s);
}
END_TEST

/* However ambiguous, a mask is made or refused in bounded work; what it allows is right. */
START_TEST(ambiguity_is_bounded)
{
    const char *const *word = vocabulary("ab");
    struct tokens *t = tokens_of(word, WORDS);
    struct grammar *g = compile_text(GRAMMAR_EBNF, "root ::= s\ns ::= s s | s s s | \"a\" | \"b\" | \"(\" s \")\"");
    struct matcher *m = matcher_new(g, t, &e);
    uint32_t mask[(WORDS + 31) / 32];
    for (int i = 0; i < 60; i++) {
        int n = matcher_mask(m, mask, &e);
        ck_assert_int_ne(n, 0);
        if (n < 0)
            break;
        ck_assert(matcher_accept(m, (i % 3 == 0 ? 'a' : 'b') - 1));
    }
    ck_assert_int_lt(matcher_work(m), 200000000);
    matcher_free(m);
    grammar_unref(g);
    tokens_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("grammar masks");
    TCase *t = tcase_create("all");
    tcase_add_test(t, masks_are_exact);
    tcase_add_test(t, special_tokens_and_strange_bytes);
    tcase_add_test(t, depth_is_bounded);
    tcase_add_test(t, hostile_sources);
    tcase_add_test(t, hostile_negations);
    tcase_add_test(t, chains_of_rules);
    tcase_add_test(t, ambiguity_is_bounded);
    suite_add_tcase(s, t);
    return suite_run(s);
}
