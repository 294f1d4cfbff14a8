/* template/translate.c - the methods of str that map characters by a
 * table: a dictionary of code points. */
#include "base/utf8.h"
#include "template/syntax.h"

/* The number of the only character of a key. */
static struct value code_point(struct render *r, const struct str *s)
{
    int len;
    if (s->chars != 1)
        tpl_fail(r, "a key of a table must be one character long");
    return v_int(utf8_get(s->data, s->len, &len));
}

/* str.translate(): each character is looked up and replaced by a string or character,
 * dropped for none, or kept if the table does not have it. */
struct value tpl_translate(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)args;
    const struct str *s = self.u.s;
    struct text t;
    int len;
    if (a[0].kind != V_DICT)
        tpl_fail(r, "translate() needs a dictionary, not '%s'", tpl_type(a[0]));
    text_init(&t, r);
    tpl_charge(r, 1 + s->len / 4);
    for (size_t i = 0; i < s->len; i += (size_t)len) {
        struct value key = v_int(utf8_get(s->data + i, s->len - i, &len)), *to = tpl_dict_get(r, a[0].u.dict, key);
        if (!to)
            text_part(&t, s, i, i + (size_t)len);
        else if (to->kind == V_STR)
            text_str(&t, to->u.s);
        else if (to->kind == V_INT && to->u.i >= 0 && to->u.i <= 0x10ffff)
            text_char_as(&t, (uint32_t)to->u.i, str_origin(s, i));
        else if (to->kind != V_NONE)
            tpl_fail(r, "character mapping must return integer, None or str");
    }
    struct value v = text_value(&t);
    v.u.s->markup = s->markup;
    return v;
}

/* A table given as one mapping, with its keys as code points. */
static struct dict *table_of(struct render *r, struct value v)
{
    struct dict *out = tpl_dict(r, 0);
    if (v.kind != V_DICT)
        tpl_fail(r, "if you give only one argument to maketrans it must be a dict");
    for (size_t i = 0; i < v.u.dict->n; i++) {
        const struct entry *e = &v.u.dict->e[i];
        if (e->key.kind != V_STR && e->key.kind != V_INT)
            tpl_fail(r, "keys in translate table must be strings or integers");
        tpl_dict_set(r, out, e->key.kind == V_STR ? code_point(r, e->key.u.s) : e->key, e->value);
    }
    return out;
}

/* str.maketrans(): a table from one mapping, or from two strings of equal length and a
 * third with what is to be dropped. */
struct value tpl_maketrans(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)self, (void)args;
    if (a[1].kind == V_MISSING)
        return v_dict(table_of(r, a[0]));
    struct dict *out = tpl_dict(r, 0);
    const struct str *from = tpl_str_arg(r, a[0], "maketrans()'s argument"),
        *to = tpl_str_arg(r, a[1], "maketrans()'s argument");
    const struct str *gone = a[2].kind == V_MISSING ? NULL : tpl_str_arg(r, a[2], "maketrans()'s argument");
    if (from->chars != to->chars)
        tpl_fail(r, "the first two maketrans arguments must have equal length");
    for (size_t i = 0, at = 0, k = 0; i < from->chars; i++) {
        int n, m;
        uint32_t key = utf8_get(from->data + at, from->len - at, &n), value = utf8_get(to->data + k, to->len - k, &m);
        tpl_dict_set(r, out, v_int(key), v_int(value));
        at += (size_t)n;
        k += (size_t)m;
    }
    for (size_t at = 0; gone && at < gone->len;) {
        int n;
        tpl_dict_set(r, out, v_int(utf8_get(gone->data + at, gone->len - at, &n)), v_none());
        at += (size_t)n;
    }
    return v_dict(out);
}
