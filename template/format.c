/* template/format.c - "%..." % args and str.format().
 *
 * Both notations are read into a struct layout, and the put_ functions write one
 * value by it. Widths are charged as steps before anything is padded. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/big.h"
#include "template/syntax.h"

/* How one value is laid out; both notations end here. */
struct layout {
    uint32_t fill;
    char     align;     /* '<' '>' '^' '=' or 0: the type's own */
    char     sign;      /* '+' ' ' or '-'                       */
    bool     alternate, zero;
    int64_t  width, precision; /* precision -1: none            */
    char     group;     /* ',' '_' or 0                         */
    char     type;      /* 0: none given                        */
};

enum { MAX_PRECISION = 200 };

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
static void put_string(struct text *out, const struct layout *l, const struct str *s)
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
static void put_integer(struct text *out, const struct layout *l, struct value v)
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
static void put_float(struct text *out, const struct layout *l, double f)
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

/* ---- %
 *
 * "%(name)-08.3lf": an optional name in parentheses, flags, a width, a precision, a
 * length letter and the type. Each field takes the next argument, or the one of its
 * name. */

/* A format of % on its way. */
struct percent {
    const struct str *f;    /* the format                            */
    size_t            at;   /* the byte that is read next            */
    struct value      args;
    size_t            used; /* of a tuple; for a single value 0 or 1 */
    bool              by_name;
};

/* The next argument of %: an item of the tuple, or the single value, once. */
static struct value next_argument(struct render *r, struct percent *p)
{
    if (p->args.kind == V_TUPLE) {
        if (p->used >= p->args.u.list->n)
            tpl_fail(r, "not enough arguments for format string");
        return p->args.u.list->v[p->used++];
    }
    if (p->used++)
        tpl_fail(r, "not enough arguments for format string");
    return p->args;
}

static char peek(const struct percent *p) { return p->at < p->f->len ? p->f->data[p->at] : 0; }

/* A width or precision of %: digits, or a * that takes it from the arguments, or
 * `fallback` if there is none. */
static int64_t number_or_star(struct render *r, struct percent *p, int64_t fallback)
{
    int64_t n = 0;
    if (peek(p) == '*') {
        p->at++;
        return tpl_int_arg(r, next_argument(r, p), "* in a format");
    }
    if (peek(p) < '0' || peek(p) > '9')
        return fallback;
    while (peek(p) >= '0' && peek(p) <= '9') {
        n = n * 10 + (peek(p) - '0');
        p->at++;
        if (n > 100000000)
            tpl_fail(r, "width too big");
    }
    return n;
}

/* The argument of "%(key)s". The key goes to the parenthesis that matches, so it may
 * hold pairs of them. */
static struct value named_argument(struct render *r, struct percent *p)
{
    size_t from = ++p->at;
    for (int depth = 1; depth; p->at++) {
        if (p->at >= p->f->len)
            tpl_fail(r, "incomplete format key");
        depth += (peek(p) == '(') - (peek(p) == ')');
    }
    if (p->args.kind != V_DICT)
        tpl_fail(r, "format requires a mapping");
    struct value *v = tpl_dict_get_str(r, p->args.u.dict, str_sub(r, p->f, from, p->at - 1));
    if (!v)
        tpl_fail(r, "a key of the format is not in the mapping");
    p->by_name = true;
    return *v;
}

/* Writes one argument of % by the letter of its field, with the conversions and errors
 * of Python. */
static void percent_one(struct text *out, struct percent *p, const struct layout *l, struct value v)
{
    struct render *r = out->r;
    struct text repr;
    switch (l->type) {
    case 's':
        put_string(out, l, tpl_to_str(r, v));
        break;
    case 'r': case 'a':
        text_init(&repr, r);
        text_repr(&repr, v);
        put_string(out, l, text_take(&repr));
        break;
    case 'c':
        if (v.kind == V_STR && v.u.s->chars == 1) {
            put_string(out, l, v.u.s);
        } else {
            text_init(&repr, r);
            int64_t cp = tpl_int_arg(r, v, "%c");
            if (cp < 0 || cp > 0x10ffff)
                tpl_fail(r, "%%c arg not in range(0x110000)");
            text_char(&repr, (uint32_t)cp);
            put_string(out, l, text_take(&repr));
        }
        break;
    case 'd': case 'i': case 'u': case 'x': case 'X': case 'o':
        if (v.kind == V_FLOAT && l->type != 'x' && l->type != 'X' && l->type != 'o' && isfinite(v.u.f))
            v = tpl_big_from_double(r, v.u.f);
        put_integer(out, l, v.kind == V_BIG ? v : v_int(tpl_int_arg(r, v, "a number to format")));
        break;
    case 'e': case 'E': case 'f': case 'F': case 'g': case 'G':
        if (!tpl_is_number(v))
            tpl_fail(r, "must be real number, not %s", tpl_type(v));
        put_float(out, l, tpl_float_arg(r, v));
        break;
    default:
        tpl_fail(r, "unsupported format character at index %zu", p->at - 1);
    }
}

/* Reads one field of %, from behind its percent sign, and writes what it stands for:
 * flags, width, precision, a length letter that means nothing, and the type. */
static void percent_field(struct text *out, struct percent *p)
{
    struct render *r = out->r;
    struct layout l = { .fill = ' ', .sign = '-', .precision = -1 };
    struct value v = v_missing();
    bool left = false;
    if (peek(p) == '(')
        v = named_argument(r, p);
    for (;; p->at++) {
        char c = peek(p);
        if (c == '-')
            left = true;
        else if (c == '+' || (c == ' ' && l.sign != '+'))
            l.sign = c;
        else if (c == '#')
            l.alternate = true;
        else if (c == '0')
            l.zero = true;
        else if (c != ' ')
            break;
    }
    l.width = number_or_star(r, p, 0);
    if (l.width < 0) {
        left = true;
        l.width = -l.width;
    }
    if (peek(p) == '.') {
        p->at++;
        l.precision = number_or_star(r, p, 0);
        if (l.precision < 0)
            l.precision = 0;
    }
    while (peek(p) == 'l' || peek(p) == 'h' || peek(p) == 'L')
        p->at++;
    l.type = peek(p);
    if (!l.type)
        tpl_fail(r, "incomplete format");
    p->at++;
    bool numeric = strchr("diuxXoeEfFgG", l.type);
    if (numeric && l.precision > MAX_PRECISION)
        tpl_fail(r, "precision too big");
    l.align = '>';
    if (left)
        l.align = '<';
    else if (l.zero && numeric)
        l.align = '=';
    l.fill = l.align == '=' ? '0' : ' ';
    if (l.type == '%')
        text_char(out, '%');
    else
        percent_one(out, p, &l, v.kind == V_MISSING ? next_argument(r, p) : v);
}

/* Lists and the like have no unused arguments for Python, since they have keys. */
static bool may_stay_unused(struct value v)
{
    return v.kind == V_DICT || v.kind == V_LIST || v.kind == V_UNDEFINED || v.kind == V_RANGE;
}

/* `format % args`. A tuple gives one argument to each field, a mapping gives them by
 * name, anything else is the only argument. Arguments that no field took are an error. */
struct value tpl_percent(struct render *r, const struct str *format, struct value args)
{
    struct percent p = { .f = format, .args = args };
    struct text out;
    text_init(&out, r);
    while (p.at < format->len) {
        const char *next = memchr(format->data + p.at, '%', format->len - p.at);
        size_t end = next ? (size_t)(next - format->data) : format->len;
        text_part(&out, format, p.at, end);
        p.at = end + 1;
        tpl_charge(r, 1);
        if (next)
            percent_field(&out, &p);
    }
    if (args.kind == V_TUPLE ? p.used < args.u.list->n : !p.used && !may_stay_unused(args))
        tpl_fail(r, "not all arguments converted during string formatting");
    struct value v = text_value(&out);
    v.u.s->markup = format->markup;
    return v;
}

/* ---- str.format
 *
 * "{0.name[key]!r:>8}": which argument, how to get from it to the value, an optional
 * conversion and a specification. The specification may hold fields itself. */

/* What the fields of str.format() draw from. */
struct fields {
    const struct args *args; /* borrowed: of the call */
    int64_t            next; /* automatic number; -1: numbers are given */
};

static void format_into(struct text *out, const struct str *s, struct fields *f, int depth);

/* The digits at *s as a number, passed; 0 if there are none. */
static int64_t read_number(struct render *r, const char **s, const char *end)
{
    int64_t n = 0;
    while (*s < end && **s >= '0' && **s <= '9') {
        n = n * 10 + (*(*s)++ - '0');
        if (n > 100000000)
            tpl_fail(r, "too many decimal digits in format string");
    }
    return n;
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static struct layout read_layout(struct render *r, const struct str *spec)
{
    struct layout l = { .fill = ' ', .sign = '-', .precision = -1 };
    const char *s = spec->data, *end = s + spec->len;
    int len = 0;
    uint32_t first = spec->len ? utf8_get(s, spec->len, &len) : 0;
    if (spec->len > (size_t)len && strchr("<>^=", s[len]) && s[len]) {
        l.fill = first;
        l.align = s[len];
        s += len + 1;
    } else if (s < end && *s && strchr("<>^=", *s)) {
        l.align = *s++;
    }
    if (s < end && *s && strchr("+- ", *s))
        l.sign = *s++;
    if (s < end && *s == '#') {
        l.alternate = true;
        s++;
    }
    if (s < end && *s == '0') {
        l.zero = true;
        if (!l.align)
            l.fill = '0';
        s++;
    }
    l.width = read_number(r, &s, end);
    if (s < end && (*s == ',' || *s == '_'))
        l.group = *s++;
    if (s < end && *s == '.') {
        s++;
        if (s == end || *s < '0' || *s > '9')
            tpl_fail(r, "format specifier missing precision");
        l.precision = read_number(r, &s, end);
    }
    if (s < end)
        l.type = *s++;
    if (s < end)
        tpl_fail(r, "invalid format specifier");
    return l;
}

/* Writes a number by a format specification and refuses the type letters that do not
 * belong to its type. */
static void format_number(struct text *out, struct layout l, struct value v)
{
    struct render *r = out->r;
    if (l.zero && !l.align)
        l.align = '=';
    if (l.precision > MAX_PRECISION)
        tpl_fail(r, "precision too big");
    if (v.kind == V_FLOAT || (l.type && strchr("eEfFgG%", l.type))) {
        if (l.type && !strchr("eEfFgGn%", l.type))
            tpl_fail(r, "unknown format code '%c' for object of type 'float'", l.type);
        put_float(out, &l, tpl_float_arg(r, v));
        return;
    }
    if ((l.type && !strchr("dxXobn", l.type)) || l.precision >= 0)
        tpl_fail(r, "unknown format code or precision for object of type 'int'");
    put_integer(out, &l, v);
}

/* Writes a value by a format specification, which may be empty. Only numbers and
 * strings understand one. */
static void format_value(struct text *out, struct value v, const struct str *spec)
{
    struct render *r = out->r;
    if (!spec->len) {
        text_print(out, v);
        return;
    }
    struct layout l = read_layout(r, spec);
    if (tpl_is_number(v)) {
        format_number(out, l, v);
        return;
    }
    if (v.kind != V_STR)
        tpl_fail(r, "unsupported format string passed to %s.__format__", tpl_type(v));
    if ((l.type && l.type != 's') || l.align == '=' || l.sign != '-' || l.alternate || l.group)
        tpl_fail(r, "unknown format code for object of type 'str'");
    put_string(out, &l, v.u.s);
}

/* The argument that a field of str.format() begins with: a number, a keyword, or
 * nothing for the next one. A format may number its fields or leave that to Python, not
 * both. */
static struct value first_argument(struct render *r, struct fields *f, const struct str *name)
{
    int64_t index = 0;
    size_t i = 0;
    while (i < name->len && name->len < 10 && name->data[i] >= '0' && name->data[i] <= '9')
        index = index * 10 + (name->data[i++] - '0');
    if (!name->len || i == name->len) {
        if (name->len ? f->next > 0 : f->next < 0)
            tpl_fail(r, "cannot switch between manual and automatic field numbering");
        index = name->len ? index : f->next++;
        if (name->len)
            f->next = -1;
        if (index >= f->args->n)
            tpl_fail(r, "replacement index %lld out of range", (long long)index);
        return f->args->v[index];
    }
    for (int k = 0; k < f->args->n_kw; k++)
        if (str_order(f->args->kw[k].name, name) == 0)
            return f->args->kw[k].value;
    tpl_fail(r, "format() got no argument '%.*s'", (int)(name->len < 100 ? name->len : 100), name->data);
}

/* The value that the name of a field means: an argument, followed by any number of
 * .attribute and [key]. */
static struct value field_value(struct render *r, struct fields *f, const struct str *name)
{
    size_t at = 0;
    while (at < name->len && name->data[at] != '.' && name->data[at] != '[')
        at++;
    struct value v = first_argument(r, f, str_sub(r, name, 0, at));
    while (at < name->len) {
        bool item = name->data[at] == '[';
        size_t from = ++at;
        while (at < name->len && (item ? name->data[at] != ']' : name->data[at] != '.' && name->data[at] != '['))
            at++;
        struct str *part = str_sub(r, name, from, at);
        if (!part->len || (item && at == name->len))
            tpl_fail(r, "empty attribute in format string");
        if (!item) {
            v = tpl_getattr(r, v, part);
            continue;
        }
        int64_t index = 0;
        size_t i = 0;
        while (i < part->len && part->len < 10 && part->data[i] >= '0' && part->data[i] <= '9')
            index = index * 10 + (part->data[i++] - '0');
        v = tpl_getitem(r, v, i == part->len ? v_int(index) : v_str(part));
        at++;
        if (at < name->len && name->data[at] != '.' && name->data[at] != '[')
            tpl_fail(r, "only '.' or '[' may follow ']' in format field specifier");
    }
    return v;
}

/* Writes one field "name!conversion:specification", without its braces. The
 * specification may hold fields itself, which are filled first. */
static void format_field(struct text *out, const struct str *field, struct fields *f, int depth)
{
    struct render *r = out->r;
    struct text t;
    size_t name = 0, spec;
    while (name < field->len && field->data[name] != '!' && field->data[name] != ':') {
        if (field->data[name] == '[') /* a key may hold anything */
            while (name < field->len && field->data[name] != ']')
                name++;
        name += name < field->len;
    }
    struct value v = field_value(r, f, str_sub(r, field, 0, name));
    spec = name;
    if (spec < field->len && field->data[spec] == '!') {
        char c = spec + 1 < field->len ? field->data[spec + 1] : 0;
        if ((c != 's' && c != 'r' && c != 'a') || (spec + 2 < field->len && field->data[spec + 2] != ':'))
            tpl_fail(r, "unknown conversion specifier");
        text_init(&t, r);
        (c == 's' ? text_print : text_repr)(&t, v);
        v = text_value(&t);
        spec += 2;
    }
    text_init(&t, r);
    if (spec < field->len)
        format_into(&t, str_sub(r, field, spec + 1, field->len), f, depth + 1);
    format_value(out, v, text_take(&t));
}

/* Writes s with its fields filled. `depth` is 0 for the format itself and 1 for a
 * specification inside a field; a doubled brace stands for a single one. */
static void format_into(struct text *out, const struct str *s, struct fields *f, int depth)
{
    struct render *r = out->r;
    if (depth > 2)
        tpl_fail(r, "max string recursion exceeded");
    for (size_t i = 0; i < s->len; i++) {
        char c = s->data[i];
        if (c != '{' && c != '}') {
            text_part(out, s, i, i + 1);
            continue;
        }
        if (i + 1 < s->len && s->data[i + 1] == c) {
            text_part(out, s, i, i + 1);
            i++;
            continue;
        }
        if (c == '}')
            tpl_fail(r, "single '}' encountered in format string");
        size_t from = ++i;
        for (int open = 1; open; i++) {
            if (i >= s->len)
                tpl_fail(r, "expected '}' before end of string");
            open += (s->data[i] == '{') - (s->data[i] == '}');
        }
        i--;
        tpl_charge(r, 1);
        format_field(out, str_sub(r, s, from, i), f, depth);
    }
}

/* `format.format(*args)`. The result is marked as safe HTML if the format is. */
struct value tpl_format(struct render *r, const struct str *format, const struct args *args)
{
    struct fields f = { .args = args };
    struct text out;
    text_init(&out, r);
    format_into(&out, format, &f, 0);
    struct value v = text_value(&out);
    v.u.s->markup = format->markup;
    return v;
}
