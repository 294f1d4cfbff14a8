/* template/text_filters.c - filters that make text. Most take any value and work on
 * it as it prints. */
#include <string.h>

#include "base/utf8.h"
#include "template/syntax.h"

#define FILTER(name) \
    static struct value name(struct render *r, struct value self, const struct value *a, const struct args *args)

static bool given(struct value v) { return v.kind != V_MISSING && v.kind != V_NONE; }
static bool flag(struct render *r, struct value v, bool fallback)
{
    return v.kind == V_MISSING ? fallback : tpl_truth(r, v);
}

/* Calls a method of str by its name, where a filter is defined by it. */
static struct value str_method(struct render *r, struct value self, const char *name, const struct value *v, int n)
{
    struct args args = { .v = (struct value *)(uintptr_t)v, .n = n };
    return tpl_call_builtin(r, tpl_find_builtin(tpl_str_methods, name, strlen(name)), self, &args);
}

FILTER(f_upper) { (void)a, (void)args; return v_str(uni_to_upper(r, tpl_to_str(r, self))); }
FILTER(f_lower) { (void)a, (void)args; return v_str(uni_to_lower(r, tpl_to_str(r, self))); }
FILTER(f_capitalize) { (void)a, (void)args; return v_str(uni_capitalize(r, tpl_to_str(r, self))); }
FILTER(f_escape) { (void)a, (void)args; return v_str(tpl_escape_html(r, tpl_to_str(r, self))); }
FILTER(f_safe) { (void)a, (void)args; return v_str(tpl_as_markup(r, tpl_to_str(r, self))); }
FILTER(f_string) { (void)a, (void)args; return v_str(tpl_to_str(r, self)); }

/* Escapes also what is marked as safe. */
FILTER(f_forceescape)
{
    (void)a, (void)args;
    struct str *s = tpl_to_str(r, self), *plain = str_sub(r, s, 0, s->len);
    plain->markup = false;
    return v_str(tpl_escape_html(r, plain));
}

/* Without whitespace, or the given characters, at both ends. */
FILTER(f_trim)
{
    (void)args;
    const struct str *chars = given(a[0]) ? tpl_str_arg(r, a[0], "trim's argument") : NULL;
    return v_str(str_strip(r, tpl_to_str(r, self), chars, true, true));
}

/* Replaces a text, everywhere or so many times. The result is never marked as safe. */
FILTER(f_replace)
{
    (void)args;
    struct str *s = tpl_to_str(r, self);
    struct value v = v_str(str_replace(r, s, tpl_to_str(r, a[0]), tpl_to_str(r, a[1]),
                                       given(a[2]) ? tpl_int_arg(r, a[2], "count") : -1));
    v.u.s->markup = false;
    return v;
}

/* Centred in a width, which is 80 unless told otherwise. */
FILTER(f_center)
{
    (void)args;
    struct value width = a[0].kind == V_MISSING ? v_int(80) : a[0];
    return str_method(r, v_str(tpl_to_str(r, self)), "center", &width, 1);
}

/* "..."|format(...), which is the operator % with the arguments as a tuple or mapping. */
FILTER(f_format)
{
    (void)a;
    if (args->n && args->n_kw)
        tpl_fail(r, "can't handle positional and keyword arguments at the same time");
    struct value with = v_list(r, V_TUPLE, args->v, (size_t)args->n);
    if (args->n_kw) {
        with = v_dict(tpl_dict(r, (size_t)args->n_kw));
        for (int i = 0; i < args->n_kw; i++)
            tpl_dict_set(r, with.u.dict, v_str(args->kw[i].name), args->kw[i].value);
    }
    return tpl_percent(r, tpl_to_str(r, self), with);
}

/* Capitals at the beginnings of words, small letters in them. For Jinja a word begins
 * after whitespace and after each of - ( { [ < */
FILTER(f_title)
{
    (void)a, (void)args;
    const struct str *s = tpl_to_str(r, self);
    struct text t;
    size_t from = 0, at = 0;
    int len;
    text_init(&t, r);
    while (at < s->len) {
        uint32_t cp = utf8_get(s->data + at, s->len - at, &len);
        bool separator = uni_space(cp) || (cp && cp < 0x80 && strchr("-({[<", (int)cp));
        size_t next = at + (size_t)len;
        if (separator) {
            text_part(&t, s, at, next);
            from = next;
        } else if (at == from) {
            text_str(&t, uni_to_upper(r, str_sub(r, s, at, next)));
        } else {
            size_t end = next;
            while (end < s->len) {
                cp = utf8_get(s->data + end, s->len - end, &len);
                if (uni_space(cp) || (cp && cp < 0x80 && strchr("-({[<", (int)cp)))
                    break;
                end += (size_t)len;
            }
            text_str(&t, uni_to_lower(r, str_sub(r, s, at, end)));
            next = end;
        }
        at = next;
    }
    struct value v = text_value(&t);
    return v;
}

/* Puts spaces, or a given text, in front of every line; of the first and of blank ones
 * only if asked. */
FILTER(f_indent)
{
    (void)args;
    struct text pad, t;
    bool first = flag(r, a[1], false), blank = flag(r, a[2], false);
    if (self.kind != V_STR)
        tpl_fail(r, "indent needs a string, not '%s'", tpl_type(self));
    text_init(&pad, r);
    text_init(&t, r);
    if (a[0].kind == V_STR)
        text_str(&pad, a[0].u.s);
    else
        text_repeat(&pad, ' ', a[0].kind == V_MISSING ? 4 : tpl_int_arg(r, a[0], "a width"), FROM_TEMPLATE);
    struct str *indention = text_take(&pad);
    struct value lines = str_method(r, v_str(tpl_concat(r, self.u.s, tpl_str(r, "\n", 1))), "splitlines", NULL, 0);
    for (size_t i = 0; i < lines.u.list->n; i++) {
        const struct str *line = lines.u.list->v[i].u.s;
        if (i)
            text_char(&t, '\n');
        if (i ? blank || line->len : first)
            text_str(&t, indention);
        text_str(&t, line);
    }
    struct value v = text_value(&t);
    v.u.s->markup = self.u.s->markup;
    return v;
}

/* Cuts a string to a length, the end mark included, and unless told otherwise at the
 * last space before. One that is too long by no more than the leeway stays whole. */
FILTER(f_truncate)
{
    (void)args;
    size_t size;
    int64_t length = a[0].kind == V_MISSING ? 255 : tpl_int_arg(r, a[0], "a length");
    int64_t leeway = given(a[3]) ? tpl_int_arg(r, a[3], "leeway") : 5;
    struct str *end = a[2].kind == V_MISSING ? tpl_str(r, "...", 3) : tpl_str_arg(r, a[2], "end");
    if (length < (int64_t)end->chars || leeway < 0)
        tpl_fail(r, "truncate: length is less than that of the end, or leeway is negative");
    if (!tpl_length(self, &size))
        tpl_fail(r, "object of type '%s' has no len()", tpl_type(self));
    if ((int64_t)size - leeway <= length)
        return self;
    const struct str *s = tpl_str_arg(r, self, "what truncate shortens");
    struct str *cut = str_sub_chars(r, s, 0, (size_t)length - end->chars);
    if (!flag(r, a[1], false)) {
        struct str space = { .data = " ", .len = 1, .chars = 1 };
        ptrdiff_t at = str_rfind(cut, 0, cut->len, &space);
        if (at >= 0)
            cut = str_sub(r, cut, 0, (size_t)at);
    }
    return v_str(tpl_concat(r, cut, end));
}

/* The number of words as Python's \w sees them. */
FILTER(f_wordcount)
{
    (void)a, (void)args;
    const struct str *s = tpl_to_str(r, self);
    int64_t n = 0;
    bool inside = false;
    int len;
    tpl_charge(r, s->len / 16);
    for (size_t i = 0; i < s->len; i += (size_t)len) {
        bool word = uni_word(utf8_get(s->data + i, s->len - i, &len));
        n += word && !inside;
        inside = word;
    }
    return v_int(n);
}

/* ---- URLs */

/* Percent-encodes a text. In a query spaces become + and slashes are encoded too. */
static void quote(struct text *t, const struct str *s, bool query)
{
    for (size_t i = 0; i < s->len; i++) {
        unsigned char c = (unsigned char)s->data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("_.-~", c));
        if (plain || (c == '/' && !query))
            text_char_as(t, c, str_origin(s, i));
        else if (c == ' ' && query)
            text_char(t, '+');
        else
            text_printf(t, "%%%02X", c);
    }
}

/* Encodes a string for a path, or a mapping or pairs as a query. */
FILTER(f_urlencode)
{
    (void)a, (void)args;
    struct text t;
    struct value item;
    text_init(&t, r);
    if (self.kind == V_STR || !tpl_iterable(self)) {
        quote(&t, tpl_to_str(r, self), false);
        return text_value(&t);
    }
    if (self.kind == V_DICT)
        self = tpl_call_builtin(r, tpl_find_builtin(tpl_dict_methods, "items", 5), self, &(struct args){ 0 });
    for (struct iter *it = tpl_iter(r, self); tpl_next(r, it, &item);) {
        struct value pair = tpl_list_of(r, item);
        if (pair.u.list->n != 2)
            tpl_fail(r, "urlencode needs pairs");
        if (t.len)
            text_char(&t, '&');
        quote(&t, tpl_to_str(r, pair.u.list->v[0]), true);
        text_char(&t, '=');
        quote(&t, tpl_to_str(r, pair.u.list->v[1]), true);
    }
    return text_value(&t);
}

const struct builtin tpl_text_filters[] = {
    { "capitalize", "", f_capitalize },
    { "center", "width=", f_center },
    { "e", "", f_escape },
    { "escape", "", f_escape },
    { "filesizeformat", "*", NULL },
    { "forceescape", "", f_forceescape },
    { "format", "*", f_format },
    { "indent", "width= first= blank=", f_indent },
    { "lower", "", f_lower },
    { "replace", "old new count=", f_replace },
    { "safe", "", f_safe },
    { "string", "", f_string },
    { "striptags", "*", NULL },
    { "title", "", f_title },
    { "trim", "chars=", f_trim },
    { "truncate", "length= killwords= end= leeway=", f_truncate },
    { "upper", "", f_upper },
    { "urlencode", "", f_urlencode },
    { "wordcount", "", f_wordcount },
    { "wordwrap", "*", NULL },
    { "xmlattr", "*", NULL },
    { NULL, NULL, NULL },
};
