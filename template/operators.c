/* template/operators.c - arithmetic as in Python: on 64-bit integers, and in
 * big.c where these do not suffice. */
#include <math.h>
#include <string.h>

#include "template/big.h"
#include "template/syntax.h"

/* Ends the rendering: the operator does not work on these. An undefined operand tells
 * its own reason instead. */
static _Noreturn void unsupported(struct render *r, int op, struct value a, struct value b)
{
    struct token t = { .kind = (enum token_kind)op };
    if (a.kind == V_UNDEFINED || b.kind == V_UNDEFINED) {
        const struct undefined *u = a.kind == V_UNDEFINED ? a.u.undefined : b.u.undefined;
        tpl_fail(r, "%s", u ? u->text : "a value is undefined");
    }
    tpl_fail(r, "unsupported operand types for %s: '%s' and '%s'", token_text(&t), tpl_type(a), tpl_type(b));
}

/* ---- numbers */

/* The following three are false where the result does not fit 64 bits. b is not 0. */

/* The quotient rounded down, as Python has it; C rounds to zero. */
static bool floor_divide(int64_t a, int64_t b, int64_t *out)
{
    if (a == INT64_MIN && b == -1)
        return false;
    *out = a / b - (a % b && (a < 0) != (b < 0));
    return true;
}

/* The rest of that division, which has the sign of b. b = -1 is set apart, since
 * INT64_MIN % -1 traps. */
static bool modulo(int64_t a, int64_t b, int64_t *out)
{
    int64_t m = b == -1 ? 0 : a % b;
    *out = m && (m < 0) != (b < 0) ? m + b : m;
    return true;
}

/* base to the power of an exponent that is not negative, by squaring. false: the result does not fit 64 bits. */
static bool power(int64_t base, int64_t exponent, int64_t *out)
{
    *out = 1;
    while (exponent) {
        if ((exponent & 1) && __builtin_mul_overflow(*out, base, out))
            return false;
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base))
            return false;
    }
    return true;
}

/* The rest of a division of floats, with the sign of b also where it is zero. */
static double float_modulo(struct render *r, double a, double b)
{
    if (b == 0)
        tpl_fail(r, "float modulo by zero");
    double m = fmod(a, b);
    if (m == 0)
        return copysign(0, b);
    return (m < 0) != (b < 0) ? m + b : m;
}

/* The quotient of floats rounded down. It is computed from the rest, which is exact,
 * and then put right by at most one. */
static double float_floor_divide(struct render *r, double a, double b)
{
    double m = float_modulo(r, a, b), rest = fmod(a, b), q = (a - rest) / b - (m != 0 && m != rest), f;
    if (q == 0)
        return copysign(0, a / b);
    f = floor(q);
    return q - f > 0.5 ? f + 1 : f;
}

/* A power of floats, with an error where C would give an infinity or a nan from finite
 * numbers. */
static double float_power(struct render *r, double a, double b)
{
    if (a == 0 && b < 0)
        tpl_fail(r, "0.0 cannot be raised to a negative power");
    if (a < 0 && b != floor(b) && !isinf(a) && !isinf(b))
        tpl_fail(r, "a complex result is not supported");
    double p = pow(a, b);
    if (isinf(p) && !isinf(a) && !isinf(b))
        tpl_fail(r, "float overflow: result too large");
    return p;
}

/* An operation on integers of 64 bits. false: the result does not fit, and the caller computes with large ones. */
static bool small_integers(struct render *r, int op, int64_t a, int64_t b, int64_t *out)
{
    if (!b && (op == T_FLOORDIV || op == T_MOD))
        tpl_fail(r, "integer division or modulo by zero");
    switch (op) {
    case T_ADD: return !__builtin_add_overflow(a, b, out);
    case T_SUB: return !__builtin_sub_overflow(a, b, out);
    case T_MUL: return !__builtin_mul_overflow(a, b, out);
    case T_FLOORDIV: return floor_divide(a, b, out);
    case T_MOD: return modulo(a, b, out);
    default: return power(a, b, out);
    }
}

/* The operator /, which gives a float also for integers. */
static struct value divide(struct render *r, struct value a, struct value b)
{
    if (!tpl_truth(r, b))
        tpl_fail(r, "division by zero");
    if (a.kind == V_BIG || b.kind == V_BIG)
        return v_float(tpl_float_arg(r, a) / tpl_number(b));
    long double x = a.kind == V_INT ? a.u.i : a.u.b, y = b.kind == V_INT ? b.u.i : b.u.b;
    return v_float((double)(x / y)); /* rounded once where long double holds both */
}

/* An operation on integers: in 64 bits if operands and result fit, else on big ones. A
 * division gives a float, and so does a negative exponent. */
static struct value integers(struct render *r, int op, struct value a, struct value b)
{
    int64_t out;
    if (op == T_DIV)
        return divide(r, a, b);
    if (op == T_POW && tpl_compare(r, b, v_int(0), "<") < 0)
        return v_float(float_power(r, tpl_float_arg(r, a), tpl_float_arg(r, b)));
    if (a.kind != V_BIG && b.kind != V_BIG &&
        small_integers(r, op, a.kind == V_INT ? a.u.i : a.u.b, b.kind == V_INT ? b.u.i : b.u.b, &out))
        return v_int(out);
    return tpl_big_binary(r, op, a, b);
}

/* An operation on floats. Division by zero is an error, as in Python, and not an
 * infinity. */
static struct value floats(struct render *r, int op, double a, double b)
{
    switch (op) {
    case T_ADD: return v_float(a + b);
    case T_SUB: return v_float(a - b);
    case T_MUL: return v_float(a * b);
    case T_MOD: return v_float(float_modulo(r, a, b));
    case T_POW: return v_float(float_power(r, a, b));
    case T_FLOORDIV: return v_float(float_floor_divide(r, a, b));
    default:
        if (b == 0)
            tpl_fail(r, "float division by zero");
        return v_float(a / b);
    }
}

static struct value numbers(struct render *r, int op, struct value a, struct value b)
{
    if (a.kind == V_FLOAT || b.kind == V_FLOAT)
        return floats(r, op, tpl_float_arg(r, a), tpl_float_arg(r, b));
    return integers(r, op, a, b);
}

/* ---- sequences */

/* Adds strings. If one of the two is safe HTML the other is escaped, and the result is
 * safe again. */
static struct value add_strings(struct render *r, struct str *a, struct str *b)
{
    if (!a->markup && !b->markup && (!a->len || !b->len))
        return v_str(a->len ? a : b);
    if (!a->markup && !b->markup)
        return v_str(tpl_concat(r, a, b));
    return v_str(tpl_as_markup(r, tpl_concat(r, tpl_escape_html(r, a), tpl_escape_html(r, b))));
}

/* A new list or tuple with the items of both. */
static struct value add_lists(struct render *r, enum value_kind kind, const struct list *a, const struct list *b)
{
    struct value out = v_list(r, kind, NULL, 0);
    out.u.list->n = a->n + b->n;
    tpl_charge(r, out.u.list->n / 8);
    out.u.list->v = tpl_alloc(r, out.u.list->n * sizeof *a->v);
    if (a->n)
        memcpy(out.u.list->v, a->v, a->n * sizeof *a->v);
    if (b->n)
        memcpy(out.u.list->v + a->n, b->v, b->n * sizeof *b->v);
    return out;
}

/* A string, list or tuple `times` times; a negative number is none. The size is checked
 * before memory is asked for. */
static struct value repeat(struct render *r, struct value v, struct value times)
{
    int64_t n = times.kind == V_INT ? times.u.i : times.u.b;
    struct text t;
    if (n < 0)
        n = 0;
    if (v.kind == V_STR) {
        text_init(&t, r);
        if (v.u.s->len == 1)
            text_repeat(&t, v.u.s->data[0], n, str_origin(v.u.s, 0));
        for (int64_t i = 0; v.u.s->len > 1 && i < n; i++) {
            tpl_charge(r, 1);
            text_str(&t, v.u.s);
        }
        struct value out = text_value(&t);
        out.u.s->markup = v.u.s->markup;
        return out;
    }
    const struct list *l = v.u.list;
    struct value out = v_list(r, v.kind, NULL, 0);
    size_t total;
    if (__builtin_mul_overflow(l->n, (size_t)n, &total) || total > SIZE_MAX / 32)
        tpl_fail(r, "the template takes too much memory");
    tpl_charge(r, total / 8);
    out.u.list->v = tpl_alloc(r, total * sizeof *l->v);
    for (; l->n && out.u.list->n < total; out.u.list->n += l->n)
        memcpy(out.u.list->v + out.u.list->n, l->v, l->n * sizeof *l->v);
    return out;
}

static bool is_sequence(struct value v) { return v.kind == V_STR || v.kind == V_LIST || v.kind == V_TUPLE; }

/* A binary operator of a template. Besides numbers, + joins and * repeats sequences,
 * and % formats strings. */
struct value tpl_binary(struct render *r, int op, struct value a, struct value b)
{
    if (tpl_is_number(a) && tpl_is_number(b))
        return numbers(r, op, a, b);
    if (op == T_MOD && a.kind == V_STR)
        return tpl_percent(r, a.u.s, b);
    if (op == T_ADD && a.kind == V_STR && b.kind == V_STR)
        return add_strings(r, a.u.s, b.u.s);
    if (op == T_ADD && a.kind == b.kind && (a.kind == V_LIST || a.kind == V_TUPLE))
        return add_lists(r, a.kind, a.u.list, b.u.list);
    if (op == T_MUL && is_sequence(a) && (b.kind == V_INT || b.kind == V_BOOL))
        return repeat(r, a, b);
    if (op == T_MUL && is_sequence(b) && (a.kind == V_INT || a.kind == V_BOOL))
        return repeat(r, b, a);
    unsupported(r, op, a, b);
}

/* -v. The smallest 64-bit integer has no counterpart and becomes a big one. */
struct value tpl_negate(struct render *r, struct value v)
{
    if (v.kind == V_FLOAT)
        return v_float(-v.u.f);
    if (!tpl_is_number(v))
        unsupported(r, T_SUB, v, v);
    if (v.kind == V_BIG || (v.kind == V_INT && v.u.i == INT64_MIN))
        return tpl_big_negate(r, v);
    return v_int(v.kind == V_INT ? -v.u.i : -(int64_t)v.u.b);
}

/* +v, which makes a bool an integer. */
struct value tpl_positive(struct render *r, struct value v)
{
    if (!tpl_is_number(v))
        unsupported(r, T_ADD, v, v);
    return v.kind == V_BOOL ? v_int(v.u.b) : v;
}
