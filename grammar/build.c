/* The tree of expressions. What every function promises stands in build.h. */
#include "grammar/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* Steps of work that one source may cause: less than a second. */
enum { FUEL = 30000000 };

/* Expression 0 is EXPR_FAIL, so that EXPR_NONE, wherever it is used by mistake or after a failure, describes no
 * text. */
void build_init(struct build *b)
{
    *b = (struct build){ .fuel = FUEL };
    if (grow(&b->expr, &b->cap_exprs, 64, sizeof *b->expr) < 0) {
        build_starve(b);
        return;
    }
    b->expr[b->n_exprs++] = (struct expr){ .kind = EXPR_FAIL };
}

void build_free(struct build *b)
{
    for (size_t i = 0; i < b->n_langs; i++)
        dfa_free(b->lang[i]);
    free(b->expr);
    free(b->kid);
    free(b->range);
    free(b->text);
    free(b->rule);
    free(b->lang);
    *b = (struct build){ 0 };
}

/* The first failure is the one that the client hears: what comes after it is often only a consequence. */
int32_t build_fail(struct build *b, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    if (b->failed)
        return EXPR_NONE;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&b->e, "%s", text);
    b->e.status = 400;
    b->failed = true;
    return EXPR_NONE;
}

int32_t build_starve(struct build *b)
{
    if (!b->failed)
        err_memory(&b->e);
    b->failed = true;
    return EXPR_NONE;
}

/* Every loop whose length a client decides pays here before it goes on, so that there is one bound for all of them. */
bool build_spend(struct build *b, size_t steps)
{
    b->fuel -= (int64_t)steps;
    if (b->fuel < 0)
        build_fail(b, "is too complex: compiling it takes more than the %d steps that are allowed", FUEL);
    return !b->failed;
}

/* Every function that makes an expression ends here. */
static int32_t add(struct build *b, struct expr x)
{
    if (!build_spend(b, 1))
        return EXPR_NONE;
    if (grow(&b->expr, &b->cap_exprs, b->n_exprs + 1, sizeof *b->expr) < 0)
        return build_starve(b);
    b->expr[b->n_exprs] = x;
    return (int32_t)b->n_exprs++;
}

/* An expression with n kids, which are copied to the end of the builder's list. The work is paid for by their
 * number. */
static int32_t add_kids(struct build *b, struct expr x, const int32_t *kid, size_t n)
{
    if (!build_spend(b, n))
        return EXPR_NONE;
    if (grow(&b->kid, &b->cap_kids, b->n_kids + n, sizeof *b->kid) < 0)
        return build_starve(b);
    x.at = (int32_t)b->n_kids;
    x.n = (int32_t)n;
    if (n)
        memcpy(b->kid + b->n_kids, kid, n * sizeof *kid);
    b->n_kids += n;
    return add(b, x);
}

/* An expression of n bytes, which are copied. No bytes are EXPR_EMPTY, so that other code need not think of them. */
static int32_t add_text(struct build *b, enum expr_kind kind, const char *s, size_t n)
{
    if (n == 0)
        return expr_empty(b);
    if (!build_spend(b, n))
        return EXPR_NONE;
    if (grow(&b->text, &b->cap_text, b->n_text + n, 1) < 0)
        return build_starve(b);
    memcpy(b->text + b->n_text, s, n);
    b->n_text += n;
    return add(b, (struct expr){ .kind = kind, .at = (int32_t)(b->n_text - n), .n = (int32_t)n });
}

int32_t expr_empty(struct build *b) { return add(b, (struct expr){ .kind = EXPR_EMPTY }); }
int32_t expr_bytes(struct build *b, const char *s, size_t n) { return add_text(b, EXPR_BYTES, s, n); }
int32_t expr_str(struct build *b, const char *s) { return expr_bytes(b, s, strlen(s)); }
int32_t expr_marked(struct build *b, const char *s, size_t n) { return add_text(b, EXPR_MARKED, s, n); }

static int by_lo(const void *x, const void *y)
{
    const struct range *a = x, *b = y;
    return (a->lo > b->lo) - (a->lo < b->lo);
}

/* Two ranges that overlap or touch become one. Sorted by their beginnings, so that one pass is enough. */
size_t ranges_join(struct range *r, size_t n)
{
    size_t out = 0;
    if (n > 1)
        qsort(r, n, sizeof *r, by_lo);
    for (size_t i = 0; i < n; i++) {
        if (out && r[i].lo <= r[out - 1].hi + 1)
            r[out - 1].hi = r[i].hi > r[out - 1].hi ? r[i].hi : r[out - 1].hi;
        else
            r[out++] = r[i];
    }
    return out;
}

/* The gaps of a joined list, up to the last code point of Unicode. */
size_t ranges_invert(const struct range *r, size_t n, struct range *out)
{
    uint32_t from = 0;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (r[i].lo > from)
            out[k++] = (struct range){ from, r[i].lo - 1 };
        from = r[i].hi + 1;
    }
    if (from <= 0x10FFFF)
        out[k++] = (struct range){ from, 0x10FFFF };
    return k;
}

/* The ranges are copied behind those that are there and joined, so that two ways of writing a class give the same
 * automaton. */
int32_t expr_class(struct build *b, const struct range *r, size_t n, enum writing w)
{
    if (n == 0 || !build_spend(b, n))
        return EXPR_NONE;
    if (grow(&b->range, &b->cap_ranges, b->n_ranges + n, sizeof *r) < 0)
        return build_starve(b);
    struct range *own = b->range + b->n_ranges;
    memcpy(own, r, n * sizeof *r);
    n = ranges_join(own, n);
    b->n_ranges += n;
    return add(b, (struct expr){ .kind = EXPR_CLASS, .writing = w, .at = (int32_t)(b->n_ranges - n), .n = (int32_t)n });
}

int32_t expr_any_char(struct build *b, enum writing w)
{
    return expr_class(b, &(struct range){ 0, 0x10FFFF }, 1, w);
}

/* A sequence of one is that one; of none, the empty text. */
int32_t expr_seq(struct build *b, const int32_t *kid, size_t n)
{
    if (n == 1)
        return kid[0];
    return n == 0 ? expr_empty(b) : add_kids(b, (struct expr){ .kind = EXPR_SEQ }, kid, n);
}

/* An alternative of none is no text at all. */
int32_t expr_alt(struct build *b, const int32_t *kid, size_t n)
{
    if (n == 1)
        return kid[0];
    return n == 0 ? EXPR_NONE : add_kids(b, (struct expr){ .kind = EXPR_ALT }, kid, n);
}

int32_t expr_pair(struct build *b, int32_t first, int32_t then)
{
    return expr_seq(b, (int32_t[]){ first, then }, 2);
}

int32_t expr_or(struct build *b, int32_t one, int32_t other) { return expr_alt(b, (int32_t[]){ one, other }, 2); }

/* The two cases that need no repetition are taken out here, so that the automata need not know them. */
int32_t expr_repeat(struct build *b, int32_t kid, int32_t min, int32_t max)
{
    if (min == 1 && max == 1)
        return kid;
    if (max == 0)
        return expr_empty(b);
    return add_kids(b, (struct expr){ .kind = EXPR_REPEAT, .min = min, .max = max }, &kid, 1);
}

/* The kids of a chain are the comma, the others, and then a pair for each item: the expression, and whether it is
 * required. The second of a pair is a number and no expression. */
int32_t expr_chain(struct build *b, int32_t comma, int32_t other, const int32_t *item, size_t n, int32_t min,
                   int32_t max)
{
    int32_t *kid = malloc((2 * n + 2) * sizeof *kid);
    if (!kid)
        return build_starve(b);
    kid[0] = comma;
    kid[1] = other;
    if (n)
        memcpy(kid + 2, item, 2 * n * sizeof *kid);
    int32_t x = add_kids(b, (struct expr){ .kind = EXPR_CHAIN, .min = min, .max = max }, kid, 2 * n + 2);
    free(kid);
    return x;
}

int32_t expr_optional(struct build *b, int32_t kid) { return expr_repeat(b, kid, 0, 1); }

/* The language is the builder's from here on, also if this fails. NULL for the language means that making it has
 * failed. */
int32_t expr_lang(struct build *b, struct dfa *lang, enum writing w)
{
    if (!lang)
        return b->failed ? EXPR_NONE : build_starve(b);
    if (b->failed || grow(&b->lang, &b->cap_langs, b->n_langs + 1, sizeof(struct dfa *)) < 0) {
        dfa_free(lang);
        return b->failed ? EXPR_NONE : build_starve(b);
    }
    b->lang[b->n_langs++] = lang;
    return add(b, (struct expr){ .kind = EXPR_LANG, .writing = w, .at = (int32_t)(b->n_langs - 1) });
}

int32_t expr_until(struct build *b, const int32_t *kid, size_t n, size_t which)
{
    return add_kids(b, (struct expr){ .kind = EXPR_UNTIL, .min = (int32_t)which }, kid, n);
}

int32_t expr_free(struct build *b, const int32_t *kid, size_t n)
{
    return add_kids(b, (struct expr){ .kind = EXPR_FREE }, kid, n);
}

int32_t expr_counted(struct build *b, int32_t class_, int32_t min, int32_t max, char tail)
{
    int32_t kid[2] = { class_, expr_bytes(b, &tail, 1) };
    return add_kids(b, (struct expr){ .kind = EXPR_COUNTED, .min = min, .max = max }, kid, 2);
}

/* A rule whose body is set later, so that it can refer to itself. Until then it describes no text. */
int32_t rule_new(struct build *b)
{
    if (b->failed)
        return 0;
    if (grow(&b->rule, &b->cap_rules, b->n_rules + 1, sizeof *b->rule) < 0)
        return build_starve(b);
    b->rule[b->n_rules] = (struct rule){ 0 };
    return (int32_t)b->n_rules++;
}

void rule_set(struct build *b, int32_t rule, int32_t body)
{
    if (!b->failed)
        b->rule[rule].body = body;
}

int32_t expr_rule(struct build *b, int32_t rule) { return add(b, (struct expr){ .kind = EXPR_RULE, .at = rule }); }
