/* template/big.c - integers beyond 64 bits.
 *
 * An integer is loaded into a struct big on the stack, computed with there, and
 * kept as a value of the arena, as V_INT again where it fits. The functions on
 * struct big return false where a result has more than BIG_MAX limbs. */
#include "template/big.h"

#include <math.h>
#include <string.h>

#include "template/syntax.h"

enum { MAX_DIGITS = 4300 };    /* that Python prints */

/* Drops the zeros at the upper end. Zero has no limb and is never negative, on which
 * comparing relies. */
static void trim(struct big *b)
{
    while (b->n && !b->limb[b->n - 1])
        b->n--;
    if (!b->n)
        b->negative = false;
}

static void from_u64(struct big *out, uint64_t u, bool negative)
{
    out->negative = negative;
    out->n = 2;
    out->limb[0] = (uint32_t)u;
    out->limb[1] = (uint32_t)(u >> 32);
    trim(out);
}

/* Loads an integer of any kind: a bool, V_INT or V_BIG. */
static void load(struct big *out, struct value v)
{
    if (v.kind == V_BIG) {
        out->negative = v.u.big->negative;
        out->n = v.u.big->n;
        memcpy(out->limb, v.u.big->limb, out->n * sizeof *out->limb);
        return;
    }
    int64_t i = v.kind == V_INT ? v.u.i : v.u.b;
    from_u64(out, i < 0 ? -(uint64_t)i : (uint64_t)i, i < 0);
}

/* The value of b, in the arena only if it does not fit 64 bits. */
bool big_keep(struct arena *a, const struct big *b, struct value *out)
{
    uint64_t u = (uint64_t)(b->n > 1 ? b->limb[1] : 0) << 32 | (b->n ? b->limb[0] : 0);
    if (b->n <= 2 && u <= (uint64_t)INT64_MAX + b->negative) {
        *out = v_int(b->negative ? (int64_t)-u : (int64_t)u);
        return true;
    }
    struct big_int *big = arena_alloc(a, sizeof *big + b->n * sizeof *b->limb);
    if (!big)
        return false;
    big->negative = b->negative;
    big->n = b->n;
    memcpy(big->limb, b->limb, b->n * sizeof *b->limb);
    *out = (struct value){ .kind = V_BIG, .u.big = big };
    return true;
}

/* Numbers of any size live in the arena of the rendering, which has a limit. */
static struct value keep(struct render *r, const struct big *b)
{
    struct value v = v_none();
    if (!big_keep(&r->arena, b, &v))
        tpl_fail(r, "the template takes too much memory");
    return v;
}

static _Noreturn void too_large(struct render *r)
{
    tpl_fail(r, "integer overflow: a result has more than 4300 digits");
}

/* ---- magnitudes ---- */

/* Compares the magnitudes: -1, 0 or 1. */
static int order(const struct big *a, const struct big *b)
{
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    for (uint32_t i = a->n; i-- > 0;)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

/* b = b * by + more, in place. False: the result has too many limbs. */
static bool scale(struct big *b, uint32_t by, uint32_t more)
{
    uint64_t carry = more;
    for (uint32_t i = 0; i < b->n; i++) {
        carry += (uint64_t)b->limb[i] * by;
        b->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry && b->n == BIG_MAX)
        return false;
    if (carry)
        b->limb[b->n++] = (uint32_t)carry;
    return true;
}

/* b = b / by; the remainder is returned. */
static uint32_t shrink(struct big *b, uint32_t by)
{
    uint64_t rest = 0;
    for (uint32_t i = b->n; i-- > 0;) {
        rest = rest << 32 | b->limb[i];
        b->limb[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    trim(b);
    return (uint32_t)rest;
}

/* out = a + b of the magnitudes; the sign is left to the caller. False: it has too many
 * limbs. */
static bool add(struct big *out, const struct big *a, const struct big *b)
{
    uint64_t carry = 0;
    uint32_t n = a->n > b->n ? a->n : b->n;
    for (uint32_t i = 0; i < n; i++) {
        carry += (uint64_t)(i < a->n ? a->limb[i] : 0) + (i < b->n ? b->limb[i] : 0);
        out->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry && n == BIG_MAX)
        return false;
    if (carry)
        out->limb[n++] = 1;
    out->n = n;
    return true;
}

/* out = a - b of the magnitudes; a must not be the smaller. out may be a. */
static void subtract(struct big *out, const struct big *a, const struct big *b)
{
    int64_t borrow = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        int64_t d = (int64_t)a->limb[i] - (i < b->n ? b->limb[i] : 0) + borrow;
        out->limb[i] = (uint32_t)d;
        borrow = d < 0 ? -1 : 0;
    }
    out->n = a->n;
    trim(out);
}

/* out = a * b, limb by limb, with the sign. out must be neither a nor b. */
static bool multiply(struct big *out, const struct big *a, const struct big *b)
{
    if (a->n + b->n > BIG_MAX)
        return false;
    memset(out->limb, 0, (a->n + b->n) * sizeof *out->limb);
    for (uint32_t i = 0; i < a->n; i++) {
        uint64_t carry = 0;
        for (uint32_t k = 0; k < b->n; k++) {
            carry += (uint64_t)a->limb[i] * b->limb[k] + out->limb[i + k];
            out->limb[i + k] = (uint32_t)carry;
            carry >>= 32;
        }
        out->limb[i + b->n] = (uint32_t)carry;
    }
    out->n = a->n + b->n;
    out->negative = a->negative != b->negative;
    trim(out);
    return true;
}

/* Bit by bit, which is 32 times as much work as limb by limb: q = a / b, rest = a % b of the magnitudes. */
static void divide(struct big *q, struct big *rest, const struct big *a, const struct big *b)
{
    memset(q, 0, sizeof *q);
    rest->n = 0;
    rest->negative = false;
    for (uint32_t i = 32 * a->n; i-- > 0;) {
        scale(rest, 2, a->limb[i / 32] >> i % 32 & 1);
        if (!rest->n && (a->limb[i / 32] >> i % 32 & 1))
            rest->limb[rest->n++] = 1;
        if (order(rest, b) >= 0) {
            subtract(rest, rest, b);
            q->limb[i / 32] |= 1u << i % 32;
        }
    }
    q->n = a->n;
    trim(q);
}

/* ---- integers ---- */

/* out = a + b with signs: magnitudes of one sign are added, of two signs the smaller is
 * taken from the larger. */
static bool sum(struct big *out, const struct big *a, const struct big *b)
{
    bool negative = a->negative;
    if (a->negative == b->negative) {
        if (!add(out, a, b))
            return false;
    } else if (order(a, b) >= 0) {
        subtract(out, a, b);
    } else {
        subtract(out, b, a);
        negative = b->negative;
    }
    out->negative = negative && out->n;
    return true;
}

/* Divides as Python does, which rounds down, so that the rest has the sign of b. b is
 * not 0. */
static void floor_divide(struct big *q, struct big *rest, const struct big *a, const struct big *b)
{
    static const struct big one = { .n = 1, .limb = { 1 } };
    struct big down;
    divide(q, rest, a, b);
    if (rest->n && a->negative != b->negative) {
        add(&down, q, &one);
        *q = down;
        subtract(&down, b, rest);
        *rest = down;
    }
    q->negative = a->negative != b->negative && q->n;
    rest->negative = b->negative && rest->n;
}

/* out = base to the power of exponent, by squaring. False as soon as a product is too
 * large, so that a huge exponent ends at once. */
static bool power(struct big *out, const struct big *base, uint64_t exponent)
{
    struct big square = *base, next;
    from_u64(out, 1, false);
    while (exponent) {
        if (exponent & 1) {
            if (!multiply(&next, out, &square))
                return false;
            *out = next;
        }
        exponent >>= 1;
        if (exponent && !multiply(&next, &square, &square))
            return false;
        if (exponent)
            square = next;
    }
    return true;
}

/* a to the power of b, which is not negative. */
static struct value raise_to(struct render *r, const struct big *a, const struct big *b)
{
    struct big out;
    bool small = a->n == 0 || (a->n == 1 && a->limb[0] == 1);       /* 0, 1, -1: whatever the exponent */
    uint64_t exponent = 0;
    if (b->n > 2)
        exponent = 2 + (b->limb[0] & 1); /* only odd or even matters, since a is small */
    else if (b->n == 2)
        exponent = (uint64_t)b->limb[1] << 32 | b->limb[0];
    else if (b->n == 1)
        exponent = b->limb[0];
    if ((b->n > 2 && !small) || !power(&out, a, exponent))
        too_large(r);
    tpl_charge(r, (size_t)out.n * out.n);
    return keep(r, &out);
}

/* An operation on two integers of any size. It is charged before it is done, by the
 * product of their lengths. A division by zero and a result that is too large end the
 * rendering. */
struct value tpl_big_binary(struct render *r, int op, struct value x, struct value y)
{
    struct big a, b, out, rest;
    bool fits = true;
    load(&a, x);
    load(&b, y);
    tpl_charge(r, 1 + (size_t)a.n * (b.n + 1) * (op == T_MOD || op == T_FLOORDIV ? 32 : 1));
    switch (op) {
    case T_ADD: fits = sum(&out, &a, &b); break;
    case T_MUL: fits = multiply(&out, &a, &b); break;
    case T_POW: return raise_to(r, &a, &b);
    case T_SUB:
        b.negative = !b.negative && b.n;
        fits = sum(&out, &a, &b);
        break;
    default:
        if (!b.n)
            tpl_fail(r, "integer division or modulo by zero");
        floor_divide(&out, &rest, &a, &b);
        return keep(r, op == T_MOD ? &rest : &out);
    }
    if (!fits)
        too_large(r);
    return keep(r, &out);
}

struct value tpl_big_negate(struct render *r, struct value v)
{
    struct big b;
    load(&b, v);
    b.negative = !b.negative && b.n;
    return keep(r, &b);
}

/* Compares two integers of any size: -1, 0 or 1. */
int big_order(struct value x, struct value y)
{
    struct big a, b;
    load(&a, x);
    load(&b, y);
    if (a.negative != b.negative)
        return a.negative ? -1 : 1;
    return a.negative ? -order(&a, &b) : order(&a, &b);
}

size_t big_bits(const struct big_int *b)
{
    return b->n ? 32 * (size_t)b->n - (size_t)__builtin_clz(b->limb[b->n - 1]) : 0;
}

/* The 64 highest bits, of which the last also says whether any lower one is set: rounded to even as a whole. */
double big_to_double(const struct big_int *b)
{
    size_t bits = big_bits(b), drop = bits > 64 ? bits - 64 : 0, low = drop / 32;
    __uint128_t top = 0;                      /* the limbs that hold them */
    bool below = false;
    for (size_t i = b->n; i-- > low;)
        top = top << 32 | b->limb[i];
    for (size_t i = 0; i < low && !below; i++)
        below = b->limb[i] != 0;
    below |= (top & (((__uint128_t)1 << drop % 32) - 1)) != 0;
    double f = ldexp((double)((uint64_t)(top >> drop % 32) | below), (int)drop);
    return b->negative ? -f : f;
}

/* The whole part of a finite double, exactly: its mantissa, shifted. */
static void whole_part(struct big *out, double f)
{
    int exponent;
    uint64_t mantissa = (uint64_t)ldexp(frexp(fabs(f), &exponent), 53);
    if (exponent < 0)
        mantissa = 0;
    else if (exponent < 53)
        mantissa >>= 53 - exponent;
    from_u64(out, mantissa, f < 0);
    if (exponent <= 53)
        return;
    uint32_t limbs = (uint32_t)(exponent - 53) / 32;
    memmove(out->limb + limbs, out->limb, out->n * sizeof *out->limb);
    memset(out->limb, 0, limbs * sizeof *out->limb);
    out->n += limbs;
    scale(out, 1u << (exponent - 53) % 32, 0);
}

/* Compares a V_BIG with a double exactly, which rounding the integer first would not. */
int big_order_double(struct value big, double f)
{
    struct big a, b;
    if (isinf(f))
        return f > 0 ? -1 : 1;
    load(&a, big);
    /* beyond 64 bits a double has nothing but a whole part, and below the integer is the larger */
    whole_part(&b, f);
    if (a.negative != b.negative)
        return a.negative ? -1 : 1;
    return a.negative ? -order(&a, &b) : order(&a, &b);
}

struct value tpl_big_from_double(struct render *r, double f)
{
    struct big b;
    whole_part(&b, f);
    tpl_charge(r, 1 + b.n / 4);
    return keep(r, &b);
}

/* ---- digits ---- */

/* Reads digits of a base up to 36. The caller has checked that they are digits of it.
 * False: the number is too large. */
bool big_parse(struct big *out, const char *digits, size_t n, int base, bool negative)
{
    *out = (struct big){ .negative = negative };
    for (size_t i = 0; i < n; i++) {
        unsigned c = (unsigned char)digits[i];
        uint32_t digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
        if (out->n == 0 && digit)
            out->limb[out->n++] = digit;
        else if (!scale(out, (uint32_t)base, digit))
            return false;
    }
    trim(out);
    return true;
}

/* The integer that the digits write; one that is too large ends the rendering. */
struct value tpl_big_parse(struct render *r, const char *digits, size_t n, int base, bool negative)
{
    struct big b;
    tpl_charge(r, 1 + n * n / 16);
    if (!big_parse(&b, digits, n, base, negative))
        too_large(r);
    return keep(r, &b);
}

/* The digits of an integer, without a sign, from the last to the first. Like Python it
 * refuses to write very long ones in base 10. */
struct str *tpl_big_digits(struct render *r, const struct big_int *big, int base, bool capitals)
{
    const char *names = capitals ? "0123456789ABCDEF" : "0123456789abcdef";
    struct big b;
    size_t size = 32 * (size_t)big->n + 1, at = size;
    char *out = tpl_alloc(r, size);
    load(&b, (struct value){ .kind = V_BIG, .u.big = (struct big_int *)(uintptr_t)big });
    tpl_charge(r, 4 * (size_t)b.n * b.n + 1);
    do
        out[--at] = names[shrink(&b, (uint32_t)base)];
    while (b.n);
    if (base == 10 && size - at > MAX_DIGITS)
        tpl_fail(r, "an integer of more than %d digits is not printed", MAX_DIGITS);
    return tpl_str(r, out + at, size - at);
}
