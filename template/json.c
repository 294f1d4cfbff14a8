/* template/json.c - the filter tojson: Python's json.dumps(), with
 * ensure_ascii false unless asked for. Keys keep their order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/syntax.h"

/* One text of JSON while it is written. */
struct json {
    struct text       out;           /* what has been written               */
    const struct str *indent;        /* of one level; NULL: all on one line  */
    const struct str *comma, *colon; /* what separates items, and key from value */
    bool              ascii, sort;   /* escape other characters; sort keys   */
    int               level;         /* of nesting, for the indention        */
};

/* May this byte be written as it is? */
static bool is_plain(const struct json *j, char c)
{
    unsigned char byte = (unsigned char)c;
    return byte >= 0x20 && c != '"' && c != '\\' && (!j->ascii || byte < 0x7f);
}

/* A string in quotes. Runs of plain bytes are copied as one part, which keeps
 * their origin; the rest is escaped, beyond U+FFFF as a pair of surrogates. */
static void write_string(struct json *j, const struct str *s)
{
    int len;
    text_char(&j->out, '"');
    for (size_t i = 0; i < s->len; i += (size_t)len) {
        static const char special[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
        size_t plain = i;
        while (plain < s->len && is_plain(j, s->data[plain]))
            plain++;
        if (plain > i) {
            text_part(&j->out, s, i, plain);
            len = (int)(plain - i);
            continue;
        }
        uint32_t cp = utf8_get(s->data + i, s->len - i, &len);
        const char *found = cp && cp < 0x80 ? strchr(special, (int)cp) : NULL;
        if (found)
            text_printf(&j->out, "\\%c", letters[found - special]);
        else if (cp < 0x10000)
            text_printf(&j->out, "\\u%04x", cp);
        else
            text_printf(&j->out, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10), 0xdc00 + ((cp - 0x10000) & 0x3ff));
    }
    text_char(&j->out, '"');
}

/* A float as Python writes it, with the words that JSON does not have. */
static void write_float(struct json *j, double f)
{
    char text[40];
    if (isnan(f) || isinf(f)) {
        const char *infinite = f < 0 ? "-Infinity" : "Infinity";
        text_cstr(&j->out, isnan(f) ? "NaN" : infinite);
        return;
    }
    tpl_float_repr(text, f);
    text_cstr(&j->out, text);
}

/* A new line at the present level, if the output is indented. */
static void new_line(struct json *j)
{
    if (!j->indent)
        return;
    text_char(&j->out, '\n');
    for (int i = 0; i < j->level; i++)
        text_str(&j->out, j->indent);
}

static void write_value(struct json *j, struct value v);

/* A list, with each item on a line of its own if the output is indented. An empty one
 * stays together. */
static void write_list(struct json *j, const struct list *l)
{
    text_char(&j->out, '[');
    j->level++;
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            text_str(&j->out, j->comma);
        new_line(j);
        write_value(j, l->v[i]);
    }
    j->level--;
    if (l->n)
        new_line(j);
    text_char(&j->out, ']');
}

/* A key as a string. Numbers and none are written as their value would be, in quotes. */
static void write_key(struct json *j, struct value key)
{
    if (key.kind == V_STR) {
        write_string(j, key.u.s);
    } else if (tpl_is_number(key) || key.kind == V_NONE) {
        text_char(&j->out, '"');
        write_value(j, key);
        text_char(&j->out, '"');
    } else {
        tpl_fail(j->out.r, "keys must be str, int, float, bool or None, not %s", tpl_type(key));
    }
}

/* A copy of a mapping in the order of its keys, for sort_keys. Keys that do not compare
 * with each other are an error, as in Python. */
static const struct dict *sorted(struct render *r, const struct dict *d)
{
    struct value *keys = tpl_alloc(r, d->n * sizeof *keys), places = v_list(r, V_LIST, NULL, 0);
    struct dict *out = tpl_dict(r, d->n);
    places.u.list->v = tpl_alloc(r, d->n * sizeof *keys);
    for (size_t i = 0; i < d->n; i++) {
        keys[i] = d->e[i].key;
        places.u.list->v[places.u.list->n++] = v_int((int64_t)i);
    }
    places = tpl_compare_sort(r, places, keys, false);
    for (size_t i = 0; i < d->n; i++) {
        const struct entry *e = &d->e[places.u.list->v[i].u.i];
        tpl_dict_set(r, out, e->key, e->value);
    }
    return out;
}

/* A mapping, laid out as lists are, in its own order or sorted by key, as the filter's arguments say. */
static void write_dict(struct json *j, const struct dict *d)
{
    if (j->sort)
        d = sorted(j->out.r, d);
    text_char(&j->out, '{');
    j->level++;
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            text_str(&j->out, j->comma);
        new_line(j);
        write_key(j, d->e[i].key);
        text_str(&j->out, j->colon);
        write_value(j, d->e[i].value);
    }
    j->level--;
    if (d->n)
        new_line(j);
    text_char(&j->out, '}');
}

/* Writes any value that JSON knows; others end the rendering. Nested values count
 * as levels, so that a deep one cannot fill the stack. */
static void write_value(struct json *j, struct value v)
{
    struct render *r = j->out.r;
    tpl_enter(r);
    tpl_charge(r, 1);
    switch (v.kind) {
    case V_NONE:  text_cstr(&j->out, "null"); break;
    case V_BOOL:  text_cstr(&j->out, v.u.b ? "true" : "false"); break;
    case V_INT: case V_BIG: text_repr(&j->out, v); break;
    case V_FLOAT: write_float(j, v.u.f); break;
    case V_STR:   write_string(j, v.u.s); break;
    case V_LIST:
    case V_TUPLE: write_list(j, v.u.list); break;
    case V_DICT:  write_dict(j, v.u.dict); break;
    default:      tpl_fail(r, "object of type %s is not JSON serializable", tpl_type(v));
    }
    tpl_leave(r);
}

static bool flag(struct render *r, struct value v, bool fallback)
{
    return v.kind == V_MISSING ? fallback : tpl_truth(r, v);
}

/* The filter. `options` are ensure_ascii, indent, separators and sort_keys, each
 * V_MISSING if it was not given. Separators are chosen as json.dumps() does: a
 * comma has no space behind it where a new line follows. */
struct value tpl_to_json(struct render *r, struct value v, const struct value *options)
{
    struct json j = { .ascii = flag(r, options[0], false), .sort = flag(r, options[3], false) };
    struct value indent = options[1], separators = options[2];
    struct text spaces;
    text_init(&j.out, r);
    if (indent.kind == V_STR) {
        j.indent = indent.u.s;
    } else if (indent.kind != V_MISSING && indent.kind != V_NONE) {
        text_init(&spaces, r);
        text_repeat(&spaces, ' ', tpl_int_arg(r, indent, "indent"), FROM_TEMPLATE);
        j.indent = text_take(&spaces);
    }
    j.comma = tpl_str(r, ", ", j.indent ? 1 : 2);
    j.colon = tpl_str(r, ": ", 2);
    if (separators.kind != V_MISSING && separators.kind != V_NONE) {
        struct value both = tpl_list_of(r, separators);
        if (both.u.list->n != 2)
            tpl_fail(r, "separators must be two strings");
        j.comma = tpl_str_arg(r, both.u.list->v[0], "a separator");
        j.colon = tpl_str_arg(r, both.u.list->v[1], "a separator");
    }
    write_value(&j, v);
    return text_value(&j.out);
}
