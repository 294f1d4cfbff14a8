/* template/repr.c - str() and repr() of values. They reach the model, and so match Python to the byte. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/big.h"
#include "template/syntax.h"

/* The shortest digits that read back as f, found by trying more and more of them, laid out as Python's repr() does:
 * with an exponent from 1e16 on and below 1e-4. */
void tpl_float_repr(char out[40], double f)
{
    char text[40];
    if (isnan(f) || isinf(f)) {
        const char *infinite = f < 0 ? "-inf" : "inf";
        strcpy(out, isnan(f) ? "nan" : infinite);
        return;
    }
    int digits = 1;
    do
        snprintf(text, sizeof text, "%.*e", digits - 1, f);
    while (strtod(text, NULL) != f && ++digits <= 17);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        snprintf(out, 40, "%.*e", digits - 1, f);
        return;
    }
    int after = digits - 1 - exponent;
    snprintf(out, 40, "%.*f", after > 0 ? after : 1, f);
}

/* repr() of a string. Double quotes are used only where the string holds single ones
 * and no double ones. Characters that cannot be seen are written as escapes, whose
 * origin is the template. */
static void repr_str(struct text *t, const struct str *s)
{
    char quote = memchr(s->data, '\'', s->len) && !memchr(s->data, '"', s->len) ? '"' : '\'';
    int len;
    if (s->markup)
        text_cstr(t, "Markup(");
    text_char(t, (unsigned char)quote);
    for (size_t i = 0; i < s->len; i += (size_t)len) {
        uint32_t cp = utf8_get(s->data + i, s->len - i, &len);
        if (cp == '\\' || cp == (unsigned char)quote)
            text_printf(t, "\\%c", (char)cp);
        else if (cp == '\n')
            text_cstr(t, "\\n");
        else if (cp == '\r')
            text_cstr(t, "\\r");
        else if (cp == '\t')
            text_cstr(t, "\\t");
        else if (cp >= 0x20 && cp < 0x7f)
            text_char_as(t, cp, str_origin(s, i));
        else if (cp < 0x100 && !uni_printable(cp))
            text_printf(t, "\\x%02x", cp);
        else if (uni_printable(cp))
            text_part(t, s, i, i + (size_t)len);
        else
            text_printf(t, cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
    }
    text_char(t, (unsigned char)quote);
    if (s->markup)
        text_char(t, ')');
}

static void repr_items(struct text *t, const struct list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            text_cstr(t, ", ");
        text_repr(t, l->v[i]);
    }
}

/* As Python prints a dictionary. */
static void repr_dict(struct text *t, const struct dict *d)
{
    text_char(t, '{');
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            text_cstr(t, ", ");
        text_repr(t, d->e[i].key);
        text_cstr(t, ": ");
        text_repr(t, d->e[i].value);
    }
    text_char(t, '}');
}

/* repr() of keys(), values() or items() of a mapping. */
static void repr_view(struct text *t, const struct view *v)
{
    static const char *const names[] = { "dict_keys([", "dict_values([", "dict_items([" };
    struct value view = { .kind = V_VIEW, .u.view = (struct view *)(uintptr_t)v };
    text_cstr(t, names[v->kind]);
    for (size_t i = 0; i < v->dict->n; i++) {
        if (i)
            text_cstr(t, ", ");
        text_repr(t, tpl_at(t->r, view, i));
    }
    text_cstr(t, "])");
}

/* repr() of what templates seldom print: ranges, macros, namespaces, `loop` and objects
 * without a form of their own. */
static void repr_rest(struct text *t, struct value v)
{
    if (v.kind == V_RANGE) {
        text_printf(t, "range(%lld, %lld", (long long)v.u.range->start, (long long)v.u.range->stop);
        if (v.u.range->step != 1)
            text_printf(t, ", %lld", (long long)v.u.range->step);
        text_char(t, ')');
    } else if (v.kind == V_MACRO) {
        if (v.u.macro->node->name)
            text_printf(t, "<Macro '%.100s'>", v.u.macro->node->name->data);
        else
            text_cstr(t, "<Macro anonymous>");
    } else if (v.kind == V_NAMESPACE) {
        text_cstr(t, "<Namespace ");
        repr_dict(t, v.u.dict);
        text_char(t, '>');
    } else if (v.kind == V_LOOP) {
        struct value index = v_int(0), length = index;
        tpl_loop_attr(t->r, v.u.loop, &(struct str){ .data = "index", .len = 5, .chars = 5 }, &index);
        tpl_loop_attr(t->r, v.u.loop, &(struct str){ .data = "length", .len = 6, .chars = 6 }, &length);
        text_printf(t, "<LoopContext %lld/%lld>", (long long)index.u.i, (long long)length.u.i);
    } else { /* Python prints addresses here: nothing to be equal to */
        text_printf(t, "<%s object>", tpl_type(v));
    }
}

/* Adds repr(v), as Python prints a value inside a list. Nested values count as levels. */
void text_repr(struct text *t, struct value v)
{
    char number[40];
    tpl_enter(t->r);
    tpl_charge(t->r, 1);
    switch (v.kind) {
    case V_MISSING: break;
    case V_UNDEFINED: text_cstr(t, "Undefined"); break;
    case V_NONE:      text_cstr(t, "None"); break;
    case V_BOOL:      text_cstr(t, v.u.b ? "True" : "False"); break;
    case V_INT:       text_printf(t, "%lld", (long long)v.u.i); break;
    case V_BIG:
        text_cstr(t, v.u.big->negative ? "-" : "");
        text_str(t, tpl_big_digits(t->r, v.u.big, 10, false));
        break;
    case V_FLOAT:
        tpl_float_repr(number, v.u.f);
        text_cstr(t, number);
        break;
    case V_STR: repr_str(t, v.u.s); break;
    case V_LIST:
        text_char(t, '[');
        repr_items(t, v.u.list);
        text_char(t, ']');
        break;
    case V_TUPLE:
        text_char(t, '(');
        repr_items(t, v.u.list);
        text_cstr(t, v.u.list->n == 1 ? ",)" : ")");
        break;
    case V_DICT: repr_dict(t, v.u.dict); break;
    case V_VIEW: repr_view(t, v.u.view); break;
    default:     repr_rest(t, v);
    }
    tpl_leave(t->r);
}

/* Adds str(v), as Jinja prints a value: a string as it is, nothing for an undefined
 * one, repr() for the rest. */
void text_print(struct text *t, struct value v)
{
    if (v.kind == V_STR)
        text_str(t, v.u.s);
    else if (v.kind != V_UNDEFINED)
        text_repr(t, v);
}

/* str(v). A string is returned as it is, not copied. */
struct str *tpl_to_str(struct render *r, struct value v)
{
    struct text t;
    if (v.kind == V_STR)
        return v.u.s;
    text_init(&t, r);
    text_print(&t, v);
    return text_take(&t);
}
