/* Numbers: integers and decimals between bounds, and multiples. Without bounds every number of JSON may be written;
 * with them, or as a multiple, only plainly: digits, a point, digits. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "grammar/json.h"
#include "grammar/language.h"
#include "grammar/regex.h"
#include "grammar/scan.h"
#include "grammar/schema.h"

enum { MAX_DIGITS = 400, MAX_MULTIPLE = 20000 };

/* A decimal number without its sign: digits before and behind the point, no zeros at the outer ends. */
struct decimal { char whole[MAX_DIGITS], part[MAX_DIGITS]; };

struct limit { bool set, strict; double v; };

/* ---- decimals ---- */

/* The shortest decimal number that a double stands for, as it was most likely written. */
static void decimal_of(double v, struct decimal *d)
{
    char text[MAX_DIGITS];
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, fabs(v));
        if (strtod(text, NULL) == fabs(v))
            break;
    }
    int exponent = atoi(strchr(text, 'e') + 1), behind = digits - 1 - exponent;
    behind = behind < 340 ? behind : 340;
    snprintf(text, sizeof text, "%.*f", behind > 0 ? behind : 0, fabs(v));
    char *point = strchr(text, '.');
    snprintf(d->part, sizeof d->part, "%s", point ? point + 1 : "");
    for (size_t n = strlen(d->part); n && d->part[n - 1] == '0'; n--)
        d->part[n - 1] = 0;
    if (point)
        *point = 0;
    snprintf(d->whole, sizeof d->whole, "%s", strcmp(text, "0") == 0 ? "" : text);
}

static int32_t digit_range(struct build *b, int lo, int hi)
{
    if (lo > hi)
        return EXPR_NONE;
    return expr_class(b, &(struct range){ (uint32_t)('0' + lo), (uint32_t)('0' + hi) }, 1, WRITE_UTF8);
}

static int32_t digits(struct build *b, int min, int max) { return expr_repeat(b, digit_range(b, 0, 9), min, max); }

/* A text of digits as an expression over code points, which is what languages are made of. */
static int32_t chars(struct build *b, const char *s, size_t n)
{
    struct exprs l = { 0 };
    for (size_t i = 0; i < n; i++)
        exprs_add(b, &l, digit_range(b, s[i] - '0', s[i] - '0'));
    return exprs_seq(b, &l);
}

static int32_t seq3(struct build *b, int32_t x, int32_t y, int32_t z) { return expr_seq(b, (int32_t[]){ x, y, z }, 3); }

/* Whole numbers of more than `whole` (above) or less, written without zeros in front. */
static int32_t other_wholes(struct build *b, const char *whole, bool above)
{
    struct exprs l = { 0 };
    int n = (int)strlen(whole);
    for (int i = 0; i < n; i++) {           /* equal up to i, then greater or less */
        int d = whole[i] - '0', lo = above ? d + 1 : (i == 0 && n > 1), hi = above ? 9 : d - 1;
        exprs_add(b, &l, seq3(b, chars(b, whole, (size_t)i), digit_range(b, lo, hi), digits(b, n - 1 - i, n - 1 - i)));
    }
    int32_t first = digit_range(b, 1, 9);
    if (above)
        exprs_add(b, &l, expr_pair(b, first, digits(b, n, NO_MAX)));
    else if (n > 1) {
        exprs_add(b, &l, expr_pair(b, first, digits(b, 0, n - 2)));
        exprs_add(b, &l, digit_range(b, 0, 0));
    }
    return exprs_alt(b, &l);
}

/* Digits behind the point that make more than 0.part, or less; `equal`: just as much will do. */
static int32_t other_parts(struct build *b, const char *part, bool above, bool equal)
{
    struct exprs l = { 0 };
    int n = (int)strlen(part);
    for (int i = 0; i < n; i++) {
        int d = part[i] - '0';
        exprs_add(b, &l, seq3(b, chars(b, part, (size_t)i), digit_range(b, above ? d + 1 : 0, above ? 9 : d - 1),
                              digits(b, 0, NO_MAX)));
        if (!above && i > 0)
            exprs_add(b, &l, chars(b, part, (size_t)i));
    }
    int32_t zeros = expr_repeat(b, digit_range(b, 0, 0), n == 0, NO_MAX);
    if (above && equal)
        exprs_add(b, &l, expr_pair(b, chars(b, part, (size_t)n), digits(b, n == 0, NO_MAX)));
    else if (above)
        exprs_add(b, &l, seq3(b, chars(b, part, (size_t)n), expr_repeat(b, digit_range(b, 0, 0), 0, NO_MAX),
                              expr_pair(b, digit_range(b, 1, 9), digits(b, 0, NO_MAX))));
    else if (equal)
        exprs_add(b, &l, expr_pair(b, chars(b, part, (size_t)n), zeros));
    return exprs_alt(b, &l);
}

/* Decimals, without a sign, of at least v (above) or at most v >= 0. */
static struct dfa *bounded(struct build *b, double v, bool above, bool strict)
{
    struct decimal d;
    decimal_of(v, &d);
    bool none = d.part[0] == 0;
    int32_t point = expr_class(b, &(struct range){ '.', '.' }, 1, WRITE_UTF8);
    int32_t any = expr_optional(b, expr_pair(b, point, digits(b, 1, NO_MAX)));
    int32_t whole = d.whole[0] ? chars(b, d.whole, strlen(d.whole)) : digit_range(b, 0, 0);
    int32_t other = other_wholes(b, d.whole[0] || above ? d.whole : "0", above);
    int32_t part = expr_pair(b, point, other_parts(b, d.part, above, !strict));
    bool bare = above ? none && !strict : !none || !strict;      /* may the point be missing? */
    int32_t same = expr_pair(b, whole, bare ? expr_optional(b, part) : part);
    return language_make(b, expr_or(b, expr_pair(b, other, any), same));
}

/* Integers, other numbers, or both. Other numbers alone have few enough digits for a double to tell them from
 * integers: whoever reads 4503599627370497.25 may well find an integer there. */
static struct dfa *plain(struct build *b, int types)
{
    const char *s = "(0|[1-9][0-9]*)(\\.[0-9]+)?";
    if (!(types & TYPE_NUMBER))
        s = "0|[1-9][0-9]*";
    else if (!(types & TYPE_INT))
        s = "(0|[1-9][0-9]{0,8})\\.[0-9]{0,5}[1-9]";
    return regex_language(b, s, strlen(s), true);
}

/* ---- multiples ---- */

/* Decimals, without a sign, that are multiples of p / 10^k: the remainder of what was read, and how many digits there
 * were behind the point. */
static struct dfa *multiples(struct build *b, int64_t p, int k)
{
    struct nfa a = { .b = b };
    int64_t power[12] = { 1 };
    for (int i = 1; i < 12; i++)
        power[i] = power[i - 1] * 10;
    int32_t start = nfa_state(&a), accept = nfa_state(&a), first = (int32_t)a.n;
    for (int64_t i = 0; i < (k + 1) * p && !b->failed; i++)
        nfa_state(&a);
    nfa_symbol(&a, start, first, '0', '0');
    for (int d = 1; d <= 9; d++)
        nfa_symbol(&a, start, first + (int32_t)(d % p), (uint32_t)('0' + d), (uint32_t)('0' + d));
    for (int j = 0; j <= k && !b->failed; j++)
        for (int64_t r = 0; r < p && !b->failed; r++) {
            int32_t from = first + (int32_t)(j * p + r);
            for (int d = 0; d <= 9 && (j == 0 || j < k); d++)
                nfa_symbol(&a, from, first + (int32_t)((j ? j + 1 : 0) * p + (r * 10 + d) % p), (uint32_t)('0' + d),
                           (uint32_t)('0' + d));
            if (r * (power[k - j] % p) % p == 0)
                nfa_free_edge(&a, from, accept);
        }
    if (k > 0 && !b->failed) {
        int32_t points = (int32_t)a.n;           /* behind the point at least one digit follows */
        for (int64_t r = 0; r < p && !b->failed; r++) {
            nfa_state(&a);
            nfa_symbol(&a, first + (int32_t)r, points + (int32_t)r, '.', '.');
            for (int d = 0; d <= 9; d++)
                nfa_symbol(&a, points + (int32_t)r, first + (int32_t)(p + (r * 10 + d) % p), (uint32_t)('0' + d),
                           (uint32_t)('0' + d));
        }
    }
    struct dfa *x = b->failed ? NULL : dfa_make(&a, start, accept, -1);
    nfa_free(&a);
    return x;
}

/* The intersection. Both automata are used up, so that calls can be nested. */
static struct dfa *narrowed(struct build *b, struct dfa *x, struct dfa *by)
{
    struct dfa *both = language_both(b, x, by);
    dfa_free(x);
    dfa_free(by);
    return both;
}

/* The language of the multiples of `v`, which is read as a whole number of steps of 10^-k. The automaton has about p (k
 * + 1) states for p such steps, so numbers of too many digits are refused. NULL: the builder has failed. */
static struct dfa *multiples_of(struct build *b, double v)
{
    struct decimal d;
    char text[2 * MAX_DIGITS];
    if (v <= 0 || !isfinite(v)) {
        build_fail(b, "is no JSON Schema: multipleOf must be greater than 0");
        return NULL;
    }
    decimal_of(v, &d);
    snprintf(text, sizeof text, "%s%s", d.whole, d.part);
    double p = strtod(text, NULL);
    size_t k = strlen(d.part);
    if (p * ((double)k + 1) > MAX_MULTIPLE || k > 9) {
        build_fail(b, "uses \"multipleOf\" with a number of too many digits: %g", v);
        return NULL;
    }
    return multiples(b, (int64_t)p, (int)k);
}

/* ---- both ---- */

/* Reads a bound. false: it is not set. A number too large for a double becomes the largest one of its sign. */
static bool number_of(struct schema *k, const json_t *v, const char *name, double *out)
{
    if (!v)
        return false;
    if (json_big(v, NULL)) {
        *out = *json_big(v, NULL) == '-' ? -DBL_MAX : DBL_MAX;
        return true;
    }
    if (!json_is_number(v))
        build_fail(k->b, "is no JSON Schema: %s must be a number", name);
    *out = json_number_value(v);
    return true;
}

/* Takes a bound that is narrower. sign 1: a lower one. */
static void tighten(struct limit *l, double v, bool strict, int sign)
{
    if (!l->set || sign * v > sign * l->v)
        *l = (struct limit){ true, strict, v };
    else if (v == l->v)
        l->strict |= strict;
}

/* The strictest bounds of a set. In draft 4 exclusiveMinimum and exclusiveMaximum are booleans beside the bounds, later
 * they are bounds themselves. */
static void limits(struct schema *k, const struct schemas *s, struct limit *lo, struct limit *hi)
{
    static const char *const names[2][2] = { { "minimum", "exclusiveMinimum" }, { "maximum", "exclusiveMaximum" } };
    *lo = *hi = (struct limit){ 0 };
    for (int i = 0; i < s->n; i++)
        for (int side = 0; side < 2; side++) {
            const json_t *v = json_object_get(s->m[i].schema, names[side][0]);
            const json_t *x = json_object_get(s->m[i].schema, names[side][1]);
            double number;
            if (number_of(k, v, names[side][0], &number))
                tighten(side ? hi : lo, number, json_is_true(x), side ? -1 : 1);
            if (!json_is_boolean(x) && number_of(k, x, names[side][1], &number))
                tighten(side ? hi : lo, number, true, side ? -1 : 1);
        }
}

/* Numbers of one sign between bounds of their size; hi not set: none. */
static struct dfa *sized(struct build *b, struct limit lo, struct limit hi, const struct dfa *shape)
{
    struct dfa *x = language_both(b, shape, shape);
    if (lo.set && (lo.v > 0 || lo.strict))
        x = narrowed(b, x, bounded(b, lo.v, true, lo.strict));
    if (hi.set)
        x = narrowed(b, x, bounded(b, hi.v, false, hi.strict));
    return x;
}

/* Numbers without a sign of these types, as far as multipleOf and its opposite allow; NULL: nothing narrows them. */
static struct dfa *shape_of(struct schema *k, const struct schemas *s, int types)
{
    static const char *const names[] = { "multipleOf", KEYWORD_NO_MULTIPLE };
    struct dfa *shape = NULL;
    double v;
    for (int i = 0; i < s->n; i++)
        for (int other = 0; other <= 1 && !k->b->failed; other++) {
            if (!number_of(k, json_object_get(s->m[i].schema, names[other]), names[other], &v))
                continue;
            struct dfa *x = multiples_of(k->b, v), *others = x && other ? language_not(k->b, x) : NULL;
            if (other)
                dfa_free(x);
            x = other ? others : x;
            shape = shape ? narrowed(k->b, shape, x) : x;
        }
    return shape ? narrowed(k->b, shape, plain(k->b, types)) : NULL;
}

/* Numbers without any condition have all of JSON's notation. With bounds or multipleOf they are written plainly: an
 * optional minus, and a language of digits that is intersected with the bounds. Numbers below zero are handled by their
 * absolute value, for which the bounds change places; they begin above zero, so that -0 is not written. */
int32_t schema_number(struct schema *k, const struct schemas *s, int types)
{
    struct build *b = k->b;
    struct limit lo, hi;
    limits(k, s, &lo, &hi);
    struct dfa *shape = shape_of(k, s, types);
    if (!shape && !lo.set && !hi.set && (types & TYPE_INT) && (types & TYPE_NUMBER))
        return json_expr(b, JSON_ANY_NUMBER);
    shape = shape ? shape : plain(b, types);
    struct limit zero = { true, false, 0 }, above = { true, true, 0 };
    int32_t plus = EXPR_NONE, minus = EXPR_NONE;
    if (!hi.set || hi.v > 0 || (hi.v == 0 && !hi.strict))
        plus = expr_lang(b, sized(b, lo.set && lo.v >= 0 ? lo : zero, hi, shape), WRITE_UTF8);
    if (!lo.set || lo.v < 0) {
        struct limit least = hi.set && hi.v < 0 ? (struct limit){ true, hi.strict, -hi.v } : above;
        struct limit most = { lo.set, lo.strict, -lo.v };
        minus = expr_pair(b, expr_str(b, "-"), expr_lang(b, sized(b, least, most, shape), WRITE_UTF8));
    }
    dfa_free(shape);
    return expr_or(b, plus, minus);
}
