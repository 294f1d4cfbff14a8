/* tests/grammar/rig.h - what the tests of grammar/ share: short ways to compile, to match, and a small vocabulary. */
#ifndef TESTS_GRAMMAR_RIG_H
#define TESTS_GRAMMAR_RIG_H
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar.h"
#include "grammar/matcher.h"
#include "tests/suite.h"

static struct err e;

static inline struct grammar *compile_text(enum grammar_kind kind, const char *text)
{
    struct grammar_source s = { .kind = kind, .field = "field", .text = text, .n = strlen(text) };
    json_t *json = NULL;
    if (kind == GRAMMAR_SCHEMA || kind == GRAMMAR_CHOICE) {
        s.json = json = json_loads(text, JSON_DECODE_ANY, NULL);
        ck_assert_msg(json != NULL, "no JSON: %s", text);
    }
    memset(&e, 0, sizeof e);
    struct grammar *g = grammar_compile(&s, &e);
    json_decref(json);
    return g;
}

/* Is this, as a whole, one of the texts? */
static inline bool matches_n(struct grammar *g, const char *s, size_t n)
{
    struct matcher *m = matcher_new(g, NULL, &e);
    bool ok = matcher_bytes(m, s, n) && matcher_can_end(m);
    matcher_free(m);
    return ok;
}

static inline bool matches(struct grammar *g, const char *s) { return matches_n(g, s, strlen(s)); }

/* yes, no: texts, each ending in a NUL, the list in an empty one; "" is written "\1". */
static inline void check_texts(enum grammar_kind kind, const char *source, const char *yes, const char *no)
{
    struct grammar *g = compile_text(kind, source);
    ck_assert_msg(g != NULL, "%s: %s", source, e.text);
    for (; *yes; yes += strlen(yes) + 1)
        ck_assert_msg(matches(g, *yes == 1 ? "" : yes), "%s does not take %s", source, yes);
    for (; *no; no += strlen(no) + 1)
        ck_assert_msg(!matches(g, *no == 1 ? "" : no), "%s takes %s", source, no);
    grammar_unref(g);
}

/* It is refused, and the message has this in it. */
static inline void check_refused(enum grammar_kind kind, const char *source, const char *why)
{
    struct grammar *g = compile_text(kind, source);
    ck_assert_msg(g == NULL, "%s is not refused", source);
    ck_assert_msg(strstr(e.text, why) != NULL, "%s: %s, not: %s", source, e.text, why);
    ck_assert_int_eq(e.status, 400);
    ck_assert_str_eq(e.field, "field");
}

/* A vocabulary: token i is word[i]; one that begins with 0xFF is special. */
struct words { const char *const *word; int n; };

static inline bool word_bytes(void *arg, int32_t id, struct buf *out, bool *special)
{
    const struct words *w = arg;
    const char *s = w->word[id];
    *special = (unsigned char)*s == 0xFF;
    buf_str(out, s + *special);
    return true;
}

static inline struct tokens *tokens_of(const char *const *word, int n)
{
    struct words w = { word, n };
    struct token_source s = { .n = n, .bytes = word_bytes, .arg = &w };
    return tokens_new(&s, &e);
}

#endif
