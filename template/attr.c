/* template/attr.c - a.b, a["b"], a[i:j:k], as the immutable sandbox
 * answers them.
 *
 * a.b asks for a Python attribute first (so d.items is the method even if there
 * is a key "items"), a["b"] for the item first. What would change a list or dict,
 * and what begins with an underscore, is undefined and an error to use. */
#include <string.h>

#include "template/big.h"
#include "template/syntax.h"

static const char *const list_changers[] = { "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove",
                                             NULL };
static const char *const dict_changers[] = { "clear", "pop", "popitem", "setdefault", "update", NULL };

/* What the sandbox gives for an attribute that it forbids: an undefined value, so that
 * asking for it is no error yet and calling it is. */
static struct value unsafe(struct render *r, struct value v, const struct str *name)
{
    return v_undefined(r, "access to attribute '%.*s' of '%s' object is unsafe.",
                       (int)(name->len < 100 ? name->len : 100), name->data, tpl_type(v));
}

/* What an attribute that is not there gives. */
static struct value no_attribute(struct render *r, struct value v, const struct str *name)
{
    return v_undefined(r, "'%s object' has no attribute '%.*s'", tpl_type(v), (int)(name->len < 100 ? name->len : 100),
                       name->data);
}

static bool is_one_of(const struct str *name, const char *const *list)
{
    for (; *list; list++)
        if (str_is(name, *list))
            return true;
    return false;
}

/* Binds the method called `name`, if the table has it, to its object. */
static bool method(struct render *r, const struct builtin *table, struct value self, const struct str *name,
                   struct value *out)
{
    const struct builtin *b = tpl_find_builtin(table, name->data, name->len);
    if (!b)
        return false;
    *out = (struct value){ .kind = V_METHOD };
    out->u.method = tpl_alloc(r, sizeof *out->u.method);
    *out->u.method = (struct method){ self, b };
    return true;
}

/* An attribute of a list or tuple. Methods that change a list are unsafe; the pairs of
 * groupby also answer to .grouper and .list. */
static bool list_attr(struct render *r, struct value v, const struct str *name, struct value *out)
{
    if (v.kind == V_TUPLE) {
        if (v.u.list->group && (str_is(name, "grouper") || str_is(name, "list"))) {
            *out = v.u.list->v[str_is(name, "list")];
            return true;
        }
        return method(r, tpl_tuple_methods, v, name, out);
    }
    if (is_one_of(name, list_changers)) {
        *out = unsafe(r, v, name);
        return true;
    }
    return method(r, tpl_list_methods, v, name, out);
}

/* An attribute of a number: its parts as a complex number or fraction, or a method. */
static bool number_attr(struct render *r, struct value v, const struct str *name, struct value *out)
{
    if (str_is(name, "real") || (str_is(name, "numerator") && v.kind != V_FLOAT))
        *out = v.kind == V_BOOL ? v_int(v.u.b) : v;
    else if (str_is(name, "imag"))
        *out = v.kind == V_FLOAT ? v_float(0) : v_int(0);
    else if (str_is(name, "denominator") && v.kind != V_FLOAT)
        *out = v_int(1);
    else
        return method(r, tpl_number_methods, v, name, out);
    return true;
}

/* What a range has: start, stop and step. */
static bool range_attr(struct value v, const struct str *name, struct value *out)
{
    if (str_is(name, "start"))
        *out = v_int(v.u.range->start);
    else if (str_is(name, "stop"))
        *out = v_int(v.u.range->stop);
    else if (str_is(name, "step"))
        *out = v_int(v.u.range->step);
    else
        return false;
    return true;
}

/* An attribute of a macro, by which a template may ask what arguments it takes. */
static bool macro_attr(struct render *r, const struct macro_node *m, const struct str *name, struct value *out)
{
    if (str_is(name, "name")) {
        *out = m->name ? v_str(m->name) : v_none();
    } else if (str_is(name, "arguments")) {
        *out = v_list(r, V_TUPLE, NULL, 0);
        out->u.list->v = tpl_alloc(r, (size_t)m->params.n * sizeof *out->u.list->v);
        for (int i = 0; i < m->params.n; i++)
            out->u.list->v[out->u.list->n++] = v_str(m->params.v[i]->u.name.name);
    } else if (str_is(name, "caller")) {
        *out = v_bool(m->uses_caller);
    } else if (str_is(name, "catch_kwargs")) {
        *out = v_bool(m->uses_kwargs);
    } else if (str_is(name, "catch_varargs")) {
        *out = v_bool(m->uses_varargs);
    } else {
        return false;
    }
    return true;
}

/* Python's getattr(), after the sandbox; false: AttributeError. */
bool tpl_own_attr(struct render *r, struct value v, const struct str *name, struct value *out)
{
    if (name->len > 1 && name->data[0] == '_' && name->data[1] == '_' && str_is(name, "__class__")) {
        *out = unsafe(r, v, name);
        return true;
    }
    switch (v.kind) {
    case V_UNDEFINED:
        if (name->len >= 2 && name->data[0] == '_' && name->data[1] == '_')
            return false;
        tpl_fail(r, "%s", v.u.undefined ? v.u.undefined->text : "a value is undefined");
    case V_STR:
        return method(r, tpl_str_methods, v, name, out);
    case V_LIST: case V_TUPLE:
        return list_attr(r, v, name, out);
    case V_DICT:
        if (is_one_of(name, dict_changers)) {
            *out = unsafe(r, v, name);
            return true;
        }
        return method(r, tpl_dict_methods, v, name, out);
    case V_BOOL: case V_INT: case V_BIG: case V_FLOAT:
        return number_attr(r, v, name, out);
    case V_RANGE:
        return range_attr(v, name, out) || method(r, tpl_tuple_methods, v, name, out);
    case V_NAMESPACE: {
        struct value *found = tpl_dict_get_str(r, v.u.dict, name);
        if (found)
            *out = *found;
        return found;
    }
    case V_LOOP:
        return tpl_loop_attr(r, v.u.loop, name, out);
    case V_MACRO:
        return macro_attr(r, v.u.macro->node, name, out);
    case V_CYCLER:
        if (str_is(name, "current") || str_is(name, "pos")) {
            *out = str_is(name, "pos") ? v_int((int64_t)v.u.cycler->pos) : v.u.cycler->v[v.u.cycler->pos];
            return true;
        }
        return method(r, tpl_cycler_methods, v, name, out);
    default:
        return false;
    }
}

/* The item at an index, which may count from the end. False: the key is no index, or
 * there is no such item. */
static bool item_at(struct render *r, struct value v, struct value key, struct value *out)
{
    size_t n;
    if ((key.kind != V_INT && key.kind != V_BOOL) || !tpl_length(v, &n))
        return false;
    int64_t i = key.kind == V_INT ? key.u.i : key.u.b;
    if (i < 0)
        i += (int64_t)n;
    if (i < 0 || (uint64_t)i >= n)
        return false;
    *out = tpl_at(r, v, (size_t)i);
    return true;
}

/* Python's v[key]; false: a TypeError or LookupError. */
static bool own_item(struct render *r, struct value v, struct value key, struct value *out)
{
    struct value *found;
    switch (v.kind) {
    case V_UNDEFINED:
        tpl_fail(r, "%s", v.u.undefined ? v.u.undefined->text : "a value is undefined");
    case V_DICT:
        if (key.kind == V_LIST || key.kind == V_DICT)
            return false; /* unhashable */
        found = tpl_dict_get(r, v.u.dict, key);
        if (found)
            *out = *found;
        return found;
    case V_STR: case V_LIST: case V_TUPLE: case V_RANGE:
        return item_at(r, v, key, out);
    default:
        return false;
    }
}

/* `v.name` in a template: the attribute, else the item of that name, else undefined. */
struct value tpl_getattr(struct render *r, struct value v, struct str *name)
{
    struct value out;
    if (tpl_own_attr(r, v, name, &out) || own_item(r, v, v_str(name), &out))
        return out;
    return no_attribute(r, v, name);
}

/* `v[key]` in a template: the item, else the attribute of that name, else undefined. */
struct value tpl_getitem(struct render *r, struct value v, struct value key)
{
    struct value out;
    if (own_item(r, v, key, &out))
        return out;
    if (key.kind == V_STR) {
        if (!tpl_own_attr(r, v, key.u.s, &out))
            return no_attribute(r, v, key.u.s);
        bool hidden = v.kind == V_NAMESPACE && key.u.s->len && key.u.s->data[0] == '_';
        return hidden ? unsafe(r, v, key.u.s) : out;
    }
    struct str *shown = tpl_to_str(r, key);
    return v_undefined(r, "%s object has no element %.*s", tpl_type(v), (int)(shown->len < 100 ? shown->len : 100),
                       shown->data);
}

/* One bound of a slice, as slice.indices() makes it. */
static int64_t bound(struct render *r, struct value v, int64_t fallback, int64_t n, int64_t step)
{
    if (v.kind == V_NONE || v.kind == V_MISSING)
        return fallback;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n, i;
    if (v.kind == V_BIG) /* beyond every end */
        i = v.u.big->negative ? INT64_MIN : INT64_MAX;
    else
        i = tpl_int_arg(r, v, "a slice index");
    if (i < 0)
        i = i < -n ? low : i + n;
    if (i < low)
        return low;
    return i > high ? high : i;
}

/* A part of a range is a range again, with a step that is a multiple of its own. */
static struct value slice_range(struct render *r, const struct range *g, int64_t from, int64_t to, int64_t step,
                                size_t n)
{
    struct value out = { .kind = V_RANGE };
    out.u.range = tpl_alloc(r, sizeof *out.u.range);
    __int128 each = (__int128)g->step * step;
    if (each > INT64_MAX || each < INT64_MIN)
        tpl_fail(r, "integer overflow");
    *out.u.range = (struct range){ g->start + from * g->step, g->start + to * g->step, (int64_t)each, n };
    return out;
}

/* n characters of a string from `from` on, `step` apart. Characters that stand together
 * are a view of the string, others are copied one by one. */
static struct value slice_str(struct render *r, const struct str *s, int64_t from, int64_t step, size_t n)
{
    struct text t;
    if (step == 1)
        return v_str(str_sub_chars(r, s, (size_t)from, (size_t)from + n));
    text_init(&t, r);
    if (s->chars != s->len) /* every character is looked up from the start */
        tpl_charge(r, n * (1 + s->len / 32));
    for (size_t i = 0; i < n; i++, from += step)
        text_str(&t, str_sub_chars(r, s, (size_t)from, (size_t)from + 1));
    struct value v = text_value(&t);
    v.u.s->markup = s->markup;
    return v;
}

/* `v[start:stop:step]` of a string, list, tuple or range, with Python's rules for
 * bounds that are left out, negative or beyond the ends. */
struct value tpl_slice(struct render *r, struct value v, struct value start, struct value stop, struct value step)
{
    size_t length = 0;
    int64_t by = step.kind == V_NONE || step.kind == V_MISSING ? 1 : tpl_int_arg(r, step, "a slice step");
    if (v.kind == V_UNDEFINED)
        tpl_fail(r, "%s", v.u.undefined ? v.u.undefined->text : "a value is undefined");
    if (v.kind != V_STR && v.kind != V_LIST && v.kind != V_TUPLE && v.kind != V_RANGE)
        tpl_fail(r, "'%s' object cannot be sliced", tpl_type(v));
    if (!by)
        tpl_fail(r, "slice step cannot be zero");
    tpl_length(v, &length);
    int64_t n = (int64_t)length;
    int64_t from = bound(r, start, by < 0 ? n - 1 : 0, n, by), to = bound(r, stop, by < 0 ? -1 : n, n, by);
    uint64_t width = 0;
    if (by > 0 && to > from)
        width = (uint64_t)(to - from);
    else if (by < 0 && from > to)
        width = (uint64_t)(from - to);
    uint64_t each = by > 0 ? (uint64_t)by : -(uint64_t)by;
    size_t count = width ? (size_t)((width - 1) / each + 1) : 0;
    if (v.kind == V_RANGE)
        return slice_range(r, v.u.range, from, to, by, count);
    if (v.kind == V_STR)
        return slice_str(r, v.u.s, from, count > 1 ? by : 1, count);
    tpl_charge(r, count);
    struct value out = v_list(r, v.kind, NULL, 0);
    out.u.list->v = tpl_alloc(r, count * sizeof *out.u.list->v);
    for (size_t i = 0; i < count; i++)
        out.u.list->v[out.u.list->n++] = v.u.list->v[from + (int64_t)i * by];
    return out;
}

/* A part of a path: an index if it is all digits, else a key. */
static struct value path_part(const struct str *s)
{
    int64_t index = 0;
    size_t i = 0;
    for (; i < s->len && s->len < 19 && s->data[i] >= '0' && s->data[i] <= '9'; i++)
        index = index * 10 + (s->data[i] - '0');
    return s->len && i == s->len ? v_int(index) : v_str((struct str *)(uintptr_t)s);
}

/* What filters call an attribute: "a.b.0" means v["a"]["b"][0]; none is v itself.
 * An undefined step becomes `fallback`, if one is given. */
struct value tpl_path(struct render *r, struct value v, struct value path, struct value fallback)
{
    if (path.kind == V_NONE || path.kind == V_MISSING)
        return v;
    if (path.kind != V_STR)
        v = tpl_getitem(r, v, path);
    const struct str *s = path.u.s;
    for (size_t at = 0; path.kind == V_STR && at <= s->len;) {
        size_t end = at;
        while (end < s->len && s->data[end] != '.')
            end++;
        v = tpl_getitem(r, v, path_part(str_sub(r, s, at, end)));
        if (v.kind == V_UNDEFINED && fallback.kind != V_MISSING && fallback.kind != V_NONE)
            v = fallback;
        at = end + 1;
    }
    if (path.kind != V_STR && v.kind == V_UNDEFINED && fallback.kind != V_MISSING && fallback.kind != V_NONE)
        v = fallback;
    return v;
}
