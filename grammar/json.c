/* grammar/json.c - JSON as expressions: its values, and how strings, lists and brackets are put together. Each kind of
 * value is a rule that is made once and shared. See json.h. */
#include "grammar/json.h"

#include <string.h>

#include "base/utf8.h"
#include "grammar/regex.h"
#include "grammar/scan.h"
#include "grammar/sources.h"

static int32_t regex(struct build *b, const char *s) { return regex_expr(b, s, strlen(s), true, WRITE_UTF8); }

static int32_t seq3(struct build *b, int32_t x, int32_t y, int32_t z)
{
    return expr_seq(b, (int32_t[]){ x, y, z }, 3);
}

/* An expression and the quote behind it. Where it ends with a class that is repeated often, the quote becomes a part of
 * the rule that counts: so what may follow is known without asking who has called that. */
static int32_t closed(struct build *b, int32_t x)
{
    enum { MAX_KIDS = 64, MANY = 24 };
    struct expr e = b->expr[x];
    int32_t kid[MAX_KIDS];
    if (e.kind == EXPR_REPEAT && b->expr[b->kid[e.at]].kind == EXPR_CLASS &&
        b->expr[b->kid[e.at]].writing == WRITE_JSON && (e.min > MANY || (e.max > MANY && e.max != NO_MAX)))
        return expr_counted(b, b->kid[e.at], e.min, e.max, '"');
    if (e.kind != EXPR_SEQ || e.n > MAX_KIDS)
        return expr_pair(b, x, expr_str(b, "\""));
    memcpy(kid, b->kid + e.at, (size_t)e.n * sizeof *kid);
    kid[e.n - 1] = closed(b, kid[e.n - 1]);
    return expr_seq(b, kid, (size_t)e.n);
}

int32_t json_quoted(struct build *b, int32_t inner) { return expr_pair(b, expr_str(b, "\""), closed(b, inner)); }

int32_t json_comma(struct build *b) { return expr_pair(b, expr_str(b, ","), json_expr(b, JSON_SPACE)); }
int32_t json_colon(struct build *b) { return expr_pair(b, expr_str(b, ":"), json_expr(b, JSON_SPACE)); }

int32_t json_brackets(struct build *b, const char *open, int32_t items, const char *close)
{
    int32_t space = json_expr(b, JSON_SPACE);
    return expr_seq(b, (int32_t[]){ expr_str(b, open), space, items, space, expr_str(b, close) }, 5);
}

/* Something, and more of it behind commas, between brackets; or nothing between them. */
static int32_t list(struct build *b, const char *open, int32_t item, const char *close)
{
    int32_t more = expr_repeat(b, expr_pair(b, json_comma(b), item), 0, NO_MAX);
    int32_t space = expr_pair(b, expr_str(b, open), expr_pair(b, json_expr(b, JSON_SPACE), expr_str(b, close)));
    return expr_or(b, json_brackets(b, open, expr_pair(b, item, more), close), space);
}

/* Any JSON value, through the shared rules, so that its automaton is made once for a whole grammar. */
static int32_t value(struct build *b)
{
    int32_t any[] = { json_expr(b, JSON_ANY_OBJECT), json_expr(b, JSON_ANY_ARRAY), json_expr(b, JSON_ANY_STRING),
                      json_expr(b, JSON_ANY_NUMBER), expr_str(b, "true"), expr_str(b, "false"), expr_str(b, "null") };
    return expr_alt(b, any, sizeof any / sizeof *any);
}

/* The body of one of the rules of JSON. They refer to one another by json_expr(), which makes each rule once. White
 * space is what a model writes between two values: nothing, one blank, or a new line with an indentation. */
static int32_t body(struct build *b, enum json_rule which)
{
    switch (which) {
    /* An indentation of up to sixty, written so that it becomes states and no count. */
    case JSON_SPACE:      return regex(b, "( |\\n(([ \\t]{0,20}){0,3}))?");
    case JSON_ANY_STRING: return json_quoted(b, expr_repeat(b, expr_any_char(b, WRITE_JSON), 0, NO_MAX));
    case JSON_ANY_NUMBER: return regex(b, "-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?");
    case JSON_ANY_VALUE:  return value(b);
    case JSON_ANY_OBJECT:
        return list(b, "{", seq3(b, json_expr(b, JSON_ANY_STRING), json_colon(b), json_expr(b, JSON_ANY_VALUE)), "}");
    case JSON_ANY_ARRAY:  return list(b, "[", json_expr(b, JSON_ANY_VALUE), "]");
    }
    return EXPR_NONE;
}

/* Made when it is asked for, and once. The number is there before the body, which may refer to it. */
int32_t json_expr(struct build *b, enum json_rule which)
{
    if (!b->json[which] && !b->failed) {
        int32_t rule = rule_new(b);
        if (b->failed)
            return EXPR_NONE;
        b->json[which] = rule + 1;
        b->rule[rule].shared = which == JSON_ANY_STRING || which == JSON_SPACE || which == JSON_ANY_NUMBER;
        rule_set(b, rule, body(b, which));
    }
    return b->failed ? EXPR_NONE : expr_rule(b, b->json[which] - 1);
}

/* A code point of a fixed text may be written as an escape where strings may write it so. */
int32_t json_text(struct build *b, const char *s, size_t n)
{
    struct exprs l = { 0 };
    for (size_t i = 0, plain = 0; i <= n && !b->failed;) {
        int len = 1;
        uint32_t c = i < n ? utf8_get(s + i, n - i, &len) : 0;
        bool ordinary = i < n && c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
        if (!ordinary && i > plain)
            exprs_add(b, &l, expr_bytes(b, s + plain, i - plain));
        if (!ordinary && i < n)
            exprs_add(b, &l, expr_class(b, &(struct range){ c, c }, 1, WRITE_JSON));
        i += (size_t)len;
        plain = ordinary ? plain : i;
    }
    return json_quoted(b, exprs_seq(b, &l));
}

int32_t json_object_expr(struct build *b) { return json_expr(b, JSON_ANY_OBJECT); }
