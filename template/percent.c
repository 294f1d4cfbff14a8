/* template/percent.c - "%..." % args.
 *
 * "%(name)-08.3lf": an optional name in parentheses, flags, a width, a precision, a
 * length letter and the type. Each field takes the next argument, or the one of its
 * name. */
#include <math.h>
#include <string.h>

#include "template/big.h"
#include "template/layout.h"

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
        layout_string(out, l, tpl_to_str(r, v));
        break;
    case 'r': case 'a':
        text_init(&repr, r);
        text_repr(&repr, v);
        layout_string(out, l, text_take(&repr));
        break;
    case 'c':
        if (v.kind == V_STR && v.u.s->chars == 1) {
            layout_string(out, l, v.u.s);
        } else {
            text_init(&repr, r);
            int64_t cp = tpl_int_arg(r, v, "%c");
            if (cp < 0 || cp > 0x10ffff)
                tpl_fail(r, "%%c arg not in range(0x110000)");
            text_char(&repr, (uint32_t)cp);
            layout_string(out, l, text_take(&repr));
        }
        break;
    case 'd': case 'i': case 'u': case 'x': case 'X': case 'o':
        if (v.kind == V_FLOAT && l->type != 'x' && l->type != 'X' && l->type != 'o' && isfinite(v.u.f))
            v = tpl_big_from_double(r, v.u.f);
        layout_integer(out, l, v.kind == V_BIG ? v : v_int(tpl_int_arg(r, v, "a number to format")));
        break;
    case 'e': case 'E': case 'f': case 'F': case 'g': case 'G':
        if (!tpl_is_number(v))
            tpl_fail(r, "must be real number, not %s", tpl_type(v));
        layout_float(out, l, tpl_float_arg(r, v));
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
