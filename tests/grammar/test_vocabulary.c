/* Random walks through grammars with a vocabulary of the size that published models have: 150,000 tokens, made here of
 * bytes, words with and without a blank before them, numbers, punctuation of JSON and pieces of other scripts. At every
 * step, tokens that the mask allows and some of all others are compared with what a matcher says that begins anew; and
 * what a walk leads to is one of the grammar's texts. */
#include <stdio.h>

#include "tests/grammar/rig.h"
#include "tests/slow.h"

enum { WORDS = 150000, LONGEST = 16, STEPS = 25, ALLOWED = 40, OTHERS = 40, TEXT = STEPS * LONGEST };

static uint64_t state = 88172645463325252u;

static unsigned draw(unsigned n)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)(state >> 11) % n;
}

static char        text[WORDS][LONGEST];
static const char *word[WORDS];

/* One to three syllables behind what may stand before a word; every one of them another. */
static void make_word(int n, char *out)
{
    static const char *const before[] = { "", " ", "\"", " \"", "_", "/" };
    static const char *const syllable[] = { "a", "be", "co", "do", "er", "fi", "go", "ha", "in", "jo", "ka", "li", "ma",
                                            "ne", "on", "pa", "qu", "re", "st", "ti", "un", "ve", "wo", "xy", "ya",
                                            "zo", "\xc3\xa9", "\xe4\xbd\xa0" };
    enum { BEFORE = sizeof before / sizeof *before, SYLLABLES = sizeof syllable / sizeof *syllable };
    int len = snprintf(out, LONGEST, "%s", before[n % BEFORE]);
    for (n /= BEFORE; n >= 0; n = n / SYLLABLES - 1)
        len += snprintf(out + len, (size_t)(LONGEST - len), "%s", syllable[n % SYLLABLES]);
}

static void make_vocabulary(void)
{
    static const char *const piece[] = { "\",", "\": ", "{\"", "\"}", "\": \"", "\", \"", "]}", "}]", "[[", "{}", "[]",
                                         "\n  ", "\\u", "\\n", "\\\"", "true", "false", "null", "-", "1.5", "e+", "(\"",
                                         "\")", "\xe4\xbd", "\xf0\x9f", "\xff<|end|>" };
    int n = 0;
    for (; n < 255; n++)
        snprintf(text[n], LONGEST, "%c", n + 1 == 255 ? 'x' : n + 1);
    for (size_t i = 0; i < sizeof piece / sizeof *piece; i++)
        snprintf(text[n++], LONGEST, "%s", piece[i]);
    for (int i = 0; i < 1110; i++)
        snprintf(text[n++], LONGEST, i < 1000 ? "%03d" : "%d", i < 1000 ? i : i - 1000);
    for (int i = 0; n < WORDS; i++)
        make_word(i, text[n++]);
    for (int i = 0; i < WORDS; i++)
        word[i] = text[i];
}

static bool has(const uint32_t *mask, int id) { return mask[id / 32] >> id % 32 & 1; }

struct walk { struct grammar *g; struct tokens *t; const char *source; char so_far[TEXT]; size_t n; };

static void check_token(const struct walk *w, const uint32_t *mask, int id)
{
    struct matcher *fresh = matcher_new(w->g, w->t, &e);
    bool ok = matcher_bytes(fresh, w->so_far, w->n) && matcher_accept(fresh, id);
    ck_assert_msg(ok == has(mask, id), "%s: after %.*s: %s is %s", w->source, (int)w->n, w->so_far, word[id],
                  ok ? "forbidden" : "allowed");
    matcher_free(fresh);
}

/* One of the allowed tokens, of which there is one at least. */
static int any_allowed(const uint32_t *mask)
{
    int w = (int)draw(WORDS / 32), bit = (int)draw(32);
    while (!mask[w])
        w = (w + 1) % ((WORDS + 31) / 32);
    while (!(mask[w] >> bit & 1))
        bit = (bit + 1) % 32;
    return w * 32 + bit;
}

static void random_walk(struct walk *w)
{
    static uint32_t mask[(WORDS + 31) / 32];
    struct matcher *m = matcher_new(w->g, w->t, &e);
    w->n = 0;
    for (int i = 0; i < STEPS; i++) {
        int allowed = matcher_mask(m, mask, &e), seen = 0;
        ck_assert_msg(allowed > 0 || (allowed == 0 && matcher_can_end(m)), "%s: nothing may follow %.*s", w->source,
                      (int)w->n, w->so_far);
        for (int id = 0; id < WORDS; id++)
            seen += has(mask, id);
        ck_assert_int_eq(seen, allowed);
        if (matcher_can_end(m))
            ck_assert_msg(matches_n(w->g, w->so_far, w->n), "%s: %.*s", w->source, (int)w->n, w->so_far);
        if (allowed == 0)
            break;
        for (int k = 0; k < (SLOW ? ALLOWED / 5 : ALLOWED); k++)
            check_token(w, mask, any_allowed(mask));
        for (int k = 0; k < (SLOW ? OTHERS / 5 : OTHERS); k++)
            check_token(w, mask, (int)draw(WORDS));
        int id = any_allowed(mask);
        ck_assert(matcher_accept(m, id));
        memcpy(w->so_far + w->n, word[id], strlen(word[id]));
        w->n += strlen(word[id]);
    }
    matcher_free(m);
}

START_TEST(walks)
{
    static const struct { enum grammar_kind kind; const char *source; } all[] = {
        { GRAMMAR_JSON, "" },
        { GRAMMAR_SCHEMA, "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 12},"
          "\"age\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 150}, \"tags\": {\"type\": \"array\","
          "\"items\": {\"enum\": [\"a\", \"be\", \"real\"]}, \"maxItems\": 3}, \"next\": {\"$ref\": \"#\"}},"
          "\"required\": [\"name\", \"age\"], \"additionalProperties\": false}" },
        { GRAMMAR_SCHEMA, "{\"anyOf\": [{\"type\": \"string\", \"format\": \"date-time\"}, {\"type\": \"string\","
          "\"pattern\": \"^[a-f]{2,9}-[0-9]+$\"}, {\"type\": \"number\", \"minimum\": -3.5, \"maximum\": 12}]}" },
        { GRAMMAR_REGEX, "( ?[a-z]{1,7}[,.]?){3,12}|[^a-z]{2,5}\xc3\xa9*" },
        { GRAMMAR_EBNF, "root ::= e\ne ::= t (\" \"? [-+] t)*\nt ::= [0-9]{1,3} | \"(\" e \")\" | word\n"
          "word ::= \"co\" | \"do\" | [^\"\\n]{1,4}" },
        { GRAMMAR_CHOICE, "[\"re\", \" real\", \"\xe4\xbd\xa0\", \"do it\"]" },
        { GRAMMAR_ACTIONS, "" },
    };
    make_vocabulary();
    struct tokens *t = tokens_of(word, WORDS);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        static struct walk w;
        w = (struct walk){ .g = compile_text(all[i].kind, all[i].source), .t = t, .source = all[i].source };
        ck_assert_msg(w.g != NULL, "%s: %s", all[i].source, e.text);
        for (int k = 0; k < (SLOW ? 1 : 2); k++)
            random_walk(&w);
        grammar_unref(w.g);
    }
    tokens_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("grammar with a large vocabulary");
    TCase *t = tcase_create("all");
    tcase_add_test(t, walks);
    suite_add_tcase(s, t);
    return suite_run(s);
}
