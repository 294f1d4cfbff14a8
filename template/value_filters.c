/* template/value_filters.c - filters over single values, and the tables
 * of all filters. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template/big.h"
#include "template/syntax.h"

#define FILTER(name) \
    static struct value name(struct render *r, struct value self, const struct value *a, const struct args *args)

/* Ends the rendering with the reason why a value is undefined. */
static _Noreturn void fail_undefined(struct render *r, struct value v)
{
    tpl_fail(r, "%s", v.u.undefined ? v.u.undefined->text : "a value is undefined");
}

/* The value, or the default if it is undefined, or with `boolean` also if it is false. */
FILTER(f_default)
{
    (void)args;
    bool by_truth = a[1].kind != V_MISSING && tpl_truth(r, a[1]);
    if (self.kind != V_UNDEFINED && !(by_truth && !tpl_truth(r, self)))
        return self;
    return a[0].kind == V_MISSING ? v_text(r, "", 0) : a[0];
}

/* An attribute and never an item, which is what sets it apart from the dot. */
FILTER(f_attr)
{
    (void)args;
    struct value out;
    struct str *name = tpl_str_arg(r, a[0], "an attribute name");
    if (self.kind != V_UNDEFINED && tpl_own_attr(r, self, name, &out))
        return out;
    if (self.kind == V_UNDEFINED)
        fail_undefined(r, self);
    return v_undefined(r, "'%s object' has no attribute '%.*s'", tpl_type(self),
                       (int)(name->len < 100 ? name->len : 100), name->data);
}

/* The magnitude of a number. */
FILTER(f_abs)
{
    (void)a, (void)args;
    if (self.kind == V_FLOAT)
        return v_float(fabs(self.u.f));
    if (self.kind == V_UNDEFINED)
        fail_undefined(r, self);
    if (!tpl_is_number(self))
        tpl_fail(r, "bad operand type for abs(): '%s'", tpl_type(self));
    struct value v = tpl_positive(r, self);
    return tpl_compare(r, v, v_int(0), "<") < 0 ? tpl_negate(r, v) : v;
}

/* ---- numbers from text, as int() and float() read them */

/* The text without its outer spaces and inner underscores; false: underscores
 * stand where Python does not allow them, or the text is no ASCII. */
static bool tidy(struct render *r, const struct str *s, char *out, size_t size)
{
    const struct str *t = str_strip(r, s, NULL, true, true);
    size_t n = 0;
    for (size_t i = 0; i < t->len; i++) {
        char c = t->data[i];
        if (c == '_') {
            if (!i || i + 1 == t->len || !isalnum((unsigned char)t->data[i - 1]) ||
                !isalnum((unsigned char)t->data[i + 1]))
                return false;
            continue;
        }
        if (n + 1 == size || (unsigned char)c >= 0x80 || !c)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return n > 0;
}

/* The base that the letter behind a zero names; 0: none. */
static int prefix_base(char letter)
{
    switch (tolower((unsigned char)letter)) {
    case 'x': return 16;
    case 'o': return 8;
    case 'b': return 2;
    default:  return 0;
    }
}

/* int(s, base). Base 0 takes the base from the prefix, and then a number in base 10
 * may not begin with a zero. False: Python would not read it. */
static bool parse_int(struct render *r, const struct str *s, int64_t base, struct value *out)
{
    char text[400], *end;
    if (!tidy(r, s, text, sizeof text))
        return false;
    char *digits = text + (*text == '-' || *text == '+');
    if (digits[0] == '0' && isalpha((unsigned char)digits[1])) {
        int named = prefix_base(digits[1]);
        if (named && (base == 0 || base == named)) {
            base = named;
            digits += 2;
        }
    } else if (base == 0) {
        if (digits[0] == '0' && strspn(digits, "0") != strlen(digits))
            return false;
        base = 10;
    }
    if (base < 2 || base > 36 || !isalnum((unsigned char)*digits))
        return false;
    strtoull(digits, &end, (int)base);
    if (*end)
        return false;
    *out = tpl_big_parse(r, digits, (size_t)(end - digits), (int)base, *text == '-');
    return true;
}

/* float(s). strtod() also reads hexadecimal and named nans, which Python does not, so
 * they are refused here. False: Python would not read it. */
static bool parse_float(struct render *r, const struct str *s, double *out)
{
    char text[400], *end;
    if (!tidy(r, s, text, sizeof text))
        return false;
    const char *body = text + (*text == '-' || *text == '+');
    if (!isdigit((unsigned char)*body) && *body != '.' && strcasecmp(body, "inf") && strcasecmp(body, "infinity") &&
        strcasecmp(body, "nan"))
        return false;
    if (strpbrk(body, "xXpP("))
        return false;
    *out = strtod(text, &end);
    return !*end;
}

/* int(v), or the default where Python fails to convert. Text may also hold a float,
 * which is cut to its whole part. */
FILTER(f_int)
{
    (void)args;
    double f;
    struct value i, fallback = a[0].kind == V_MISSING ? v_int(0) : a[0];
    if (self.kind == V_UNDEFINED)
        fail_undefined(r, self);
    if (self.kind == V_INT || self.kind == V_BIG || self.kind == V_BOOL)
        return tpl_positive(r, self);
    if (self.kind == V_FLOAT) {
        if (isinf(self.u.f))
            tpl_fail(r, "cannot convert float infinity to integer");
        if (isnan(self.u.f))
            return fallback;
        return tpl_big_from_double(r, self.u.f);
    }
    if (self.kind != V_STR)
        return fallback;
    if (parse_int(r, self.u.s, a[1].kind == V_MISSING ? 10 : tpl_int_arg(r, a[1], "a base"), &i))
        return i;
    if (!parse_float(r, self.u.s, &f) || isnan(f) || isinf(f))
        return fallback;
    return tpl_big_from_double(r, f);
}

/* float(v), or the default where Python fails to convert. */
FILTER(f_float)
{
    (void)args;
    double f;
    if (self.kind == V_UNDEFINED)
        fail_undefined(r, self);
    if (tpl_is_number(self))
        return v_float(tpl_float_arg(r, self));
    if (self.kind == V_STR && parse_float(r, self.u.s, &f))
        return v_float(f);
    return a[0].kind == V_MISSING ? v_float(0) : a[0];
}

/* ---- round: Python's round() on integers and floats, and Jinja's two directions */

/* Rounds an integer of any size to a multiple of a power of ten, half to even. Digits
 * behind the point change nothing. */
static struct value round_integer(struct render *r, struct value v, int64_t digits)
{
    enum { ALL_DIGITS = 4310 };    /* of the largest integer */
    struct value two = v_int(2);
    if (digits >= 0)
        return v;
    if (digits < -ALL_DIGITS)
        return v_int(0);
    struct value unit = tpl_binary(r, T_POW, v_int(10), v_int(-digits));
    struct value down = tpl_binary(r, T_FLOORDIV, v, unit), rest = tpl_binary(r, T_MOD, v, unit);
    int order = tpl_compare(r, tpl_binary(r, T_MUL, rest, two), unit, "<");
    if (order > 0 || (order == 0 && tpl_equal(r, tpl_binary(r, T_MOD, down, two), v_int(1))))
        down = tpl_binary(r, T_ADD, down, v_int(1));
    return tpl_binary(r, T_MUL, down, unit);
}

/* Half to even on the exact binary value, which printf does. */
static double round_float(double f, int64_t digits)
{
    char text[400];
    if (isnan(f) || isinf(f) || digits > 22)
        return f;
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)digits, f);
        return strtod(text, NULL);
    }
    if (digits < -308)
        return copysign(0, f);
    snprintf(text, sizeof text, "%.0fe%d", nearbyint(f / pow(10, (double)-digits)), (int)-digits);
    return strtod(text, NULL);
}

/* Rounds to a number of digits, negative ones before the point: half to even, or always
 * up or down. Integers stay integers unless a direction is asked for, which computes in
 * floats. */
FILTER(f_round)
{
    (void)args;
    int64_t digits = a[0].kind == V_MISSING ? 0 : tpl_int_arg(r, a[0], "a precision");
    bool up = a[1].kind == V_STR && str_is(a[1].u.s, "ceil"), down = a[1].kind == V_STR && str_is(a[1].u.s, "floor");
    if (a[1].kind != V_MISSING && !up && !down && !(a[1].kind == V_STR && str_is(a[1].u.s, "common")))
        tpl_fail(r, "method must be common, ceil or floor");
    if (self.kind == V_UNDEFINED)
        fail_undefined(r, self);
    if (!tpl_is_number(self))
        tpl_fail(r, "type %s doesn't define round", tpl_type(self));
    if (!up && !down)
        return self.kind == V_FLOAT ? v_float(round_float(self.u.f, digits))
                                    : round_integer(r, tpl_positive(r, self), digits);
    double unit = pow(10, (double)digits), scaled = tpl_number(self) * unit;
    if (isnan(scaled) || isinf(scaled))
        tpl_fail(r, "cannot round this number");
    return v_float((up ? ceil(scaled) : floor(scaled)) / unit + 0.0);
}

FILTER(f_tojson) { (void)args; return tpl_to_json(r, self, a); }

/* Jinja has it; here it is an error, as the message says. */
FILTER(f_random)
{
    (void)self, (void)a, (void)args;
    tpl_fail(r, "the filter random is not supported: a prompt must not change by itself");
}

const struct builtin tpl_value_filters[] = {
    { "abs", "", f_abs },
    { "attr", "name", f_attr },
    { "d", "default_value= boolean=", f_default },
    { "default", "default_value= boolean=", f_default },
    { "float", "default=", f_float },
    { "int", "default= base=", f_int },
    { "pprint", "*", NULL },
    { "random", "", f_random },
    { "round", "precision= method=", f_round },
    { "tojson", "ensure_ascii= indent= separators= sort_keys=", f_tojson },
    { NULL, NULL, NULL },
};

/* The filter of that name in any of the three tables; NULL: there is none. */
const struct builtin *tpl_find_filter(const struct str *name)
{
    const struct builtin *const tables[] = { tpl_text_filters, tpl_sequence_filters, tpl_value_filters };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const struct builtin *b = tpl_find_builtin(tables[i], name->data, name->len);
        if (b)
            return b;
    }
    return NULL;
}
