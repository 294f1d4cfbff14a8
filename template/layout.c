/* template/layout.c - see layout.h. */
#include "template/layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "template/big.h"

/* Writes `prefix` and `body` in the width of the layout. With '=' the padding
 * stands between the two, behind a sign. */
static void padded(struct text *out, const struct layout *l, const struct str *prefix, const struct str *body,
                   char align)
{
    int64_t missing = l->width - (int64_t)(prefix->chars + body->chars);
    if (missing < 0)
        missing = 0;
    tpl_charge(out->r, (size_t)missing);
    int64_t before = 0, inside = align == '=' ? missing : 0;
    if (align == '>')
        before = missing;
    else if (align == '^')
        before = missing / 2;
    for (int64_t i = 0; i < before; i++)
        text_char(out, l->fill);
    text_str(out, prefix);
    for (int64_t i = 0; i < inside; i++)
        text_char(out, l->fill);
    text_str(out, body);
    for (int64_t i = before + inside; i < missing; i++)
        text_char(out, l->fill);
}

/* Writes a string, to the left unless told otherwise. A precision cuts it to so many
 * characters. */
void layout_string(struct text *out, const struct layout *l, const struct str *s)
{
    if (l->precision >= 0 && (size_t)l->precision < s->chars)
        s = str_sub_chars(out->r, s, 0, (size_t)l->precision);
    padded(out, l, str_sub(out->r, s, 0, 0), s, l->align ? l->align : '<');
}

/* Separators every `each` digits of the whole part of `digits`. With zero
 * padding the zeros are grouped as well. */
static struct str *grouped(struct render *r, const char *digits, char group, int each, int64_t width)
{
    struct text t;
    size_t whole = strspn(digits, "0123456789abcdefABCDEF"), n = strlen(digits);
    int64_t zeros = 0;
    text_init(&t, r);
    if (group && strchr(digits, 'e'))
        whole = strspn(digits, "0123456789");
    while (width > 0) { /* as many zeros as fit, separators counted */
        int64_t count = (int64_t)whole + zeros, total = count + (group ? (count - 1) / each : 0) + (int64_t)(n - whole);
        if (total >= width)
            break;
        zeros++;
        tpl_charge(r, 1);
    }
    int64_t count = (int64_t)whole + zeros;
    for (int64_t i = 0; i < count; i++) {
        text_char(&t, i < zeros ? '0' : (unsigned char)digits[i - zeros]);
        if (group && i + 1 < count && (count - 1 - i) % each == 0)
            text_char(&t, (unsigned char)group);
    }
    text_cstr(&t, digits + whole);
    return text_take(&t);
}

/* Writes a number from its digits without sign: chooses the sign, puts the prefix of
 * the base behind it, groups the digits and pads the whole. */
static void put_number(struct text *out, const struct layout *l, bool negative, const char *prefix, const char *digits)
{
    char lead[8];
    const char *sign = "";
    if (negative)
        sign = "-";
    else if (l->sign == '+')
        sign = "+";
    else if (l->sign == ' ')
        sign = " ";
    char align = l->align ? l->align : '>';
    snprintf(lead, sizeof lead, "%s%s", sign, prefix);
    bool zeros = l->fill == '0' && align == '=' && l->group;
    bool hex = l->type == 'x' || l->type == 'X' || l->type == 'o' || l->type == 'b';
    struct str *body = grouped(out->r, digits, l->group, hex ? 4 : 3, zeros ? l->width - (int64_t)strlen(lead) : 0);
    padded(out, l, tpl_str(out->r, lead, strlen(lead)), body, align);
}

/* The digits of an integer, without a sign. */
static struct str *integer_digits(struct render *r, struct value v, int base, bool capitals)
{
    char back[70];
    size_t at = sizeof back;
    if (v.kind == V_BIG)
        return tpl_big_digits(r, v.u.big, base, capitals);
    int64_t i = v.kind == V_INT ? v.u.i : v.u.b;
    uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
    do
        back[--at] = (capitals ? "0123456789ABCDEF" : "0123456789abcdef")[u % (unsigned)base];
    while (u /= (unsigned)base);
    return tpl_str(r, back + at, sizeof back - at);
}

/* The base that a type letter asks for, and the prefix of the alternate form. */
static int integer_base(char type, const char **prefix)
{
    switch (type) {
    case 'x': *prefix = "0x"; return 16;
    case 'X': *prefix = "0X"; return 16;
    case 'o': *prefix = "0o"; return 8;
    case 'b': *prefix = "0b"; return 2;
    default:  *prefix = ""; return 10;
    }
}

/* Writes an integer: a bool, V_INT or V_BIG. A precision, which only % allows,
 * asks for at least so many digits. */
void layout_integer(struct text *out, const struct layout *l, struct value v)
{
    const char *prefix;
    int base = integer_base(l->type, &prefix);
    if (!l->alternate)
        prefix = "";
    const struct str *s = integer_digits(out->r, v, base, l->type == 'X');
    size_t zeros = l->precision > (int64_t)s->len ? (size_t)l->precision - s->len : 0;
    char *digits = tpl_alloc(out->r, zeros + s->len + 1);
    memset(digits, '0', zeros);
    memcpy(digits + zeros, s->data, s->len);
    put_number(out, l, tpl_compare(out->r, v, v_int(0), "<") < 0, prefix, digits);
}

/* A float without type but with a precision: like g, and at least one decimal. */
static void general_with_point(char *digits, size_t size, double f, int precision)
{
    snprintf(digits, size, "%.*g", precision, f);
    if (!strpbrk(digits, ".en"))
        strncat(digits, ".0", size - strlen(digits) - 1);
}

/* Writes a float. The digits are made by printf, which rounds as Python does; a
 * precision is at most MAX_PRECISION, so that the longest double fits `digits`. */
void layout_float(struct text *out, const struct layout *l, double f)
{
    char digits[MAX_PRECISION + 400], format[16];
    int precision = l->precision < 0 ? 6 : (int)l->precision;
    if (precision == 0 && (l->type == 'g' || l->type == 'G'))
        precision = 1;
    double size = fabs(f);
    if (isnan(f) || isinf(f)) {
        strcpy(digits, isnan(f) ? "nan" : "inf");
    } else if (!l->type && l->precision < 0) {
        tpl_float_repr(digits, size);
    } else if (!l->type) {
        general_with_point(digits, sizeof digits, size, precision ? precision : 1);
        /* Python switches to exponents one digit earlier here. */
        if (size >= pow(10, precision ? precision - 1 : 0) && strstr(digits, ".0") && !strchr(digits, 'e'))
            snprintf(digits, sizeof digits, "%.*e", precision > 1 ? precision - 1 : 0, size);
    } else if (l->type == '%') {
        snprintf(digits, sizeof digits, "%.*f%%", precision, size * 100);
    } else {
        snprintf(format, sizeof format, "%%%s.*%c", l->alternate ? "#" : "", l->type == 'n' ? 'g' : l->type);
        snprintf(digits, sizeof digits, format, precision, size); /* the format is made from a checked letter */
    }
    put_number(out, l, signbit(f) && !isnan(f), "", digits);
}
