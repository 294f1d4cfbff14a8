/* template/format.c - str.format().
 *
 * "{0.name[key]!r:>8}": which argument, how to get from it to the value, an optional
 * conversion and a specification. The specification may hold fields itself. */
#include <string.h>

#include "base/utf8.h"
#include "template/layout.h"

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
        layout_float(out, &l, tpl_float_arg(r, v));
        return;
    }
    if ((l.type && !strchr("dxXobn", l.type)) || l.precision >= 0)
        tpl_fail(r, "unknown format code or precision for object of type 'int'");
    layout_integer(out, &l, v);
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
    layout_string(out, &l, v.u.s);
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
