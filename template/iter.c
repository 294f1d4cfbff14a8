/* template/iter.c - walking values, and the lazy sequences that
 * filters return.
 *
 * Filters such as map and select give Python generators: always true, without
 * length or index, walked once, and nothing in them is computed (or fails) before
 * somebody asks for the next item. */
#include <string.h>

#include "base/utf8.h"
#include "template/syntax.h"

struct value v_iter(struct iter *it) { return (struct value){ .kind = V_ITER, .u.iter = it }; }

/* An iterator of that kind over `source`; the caller sets the fields which the kind
 * needs. */
struct iter *tpl_iter_new(struct render *r, enum iter_kind kind, struct value source)
{
    struct iter *it = tpl_alloc(r, sizeof *it);
    it->kind = kind;
    it->source = source;
    return it;
}

/* Can the value be walked? Everything that has a length can. */
bool tpl_iterable(struct value v)
{
    size_t n;
    return v.kind == V_ITER || v.kind == V_LOOP || tpl_length(v, &n);
}

/* An iterator over a value. A generator is its own iterator, so what has been taken
 * from it is gone. */
struct iter *tpl_iter(struct render *r, struct value v)
{
    if (v.kind == V_ITER)
        return v.u.iter;
    if (v.kind == V_LOOP)
        tpl_fail(r, "iterating over the loop itself is not supported");
    if (!tpl_iterable(v))
        tpl_fail(r, "'%s' object is not iterable", tpl_type(v));
    return tpl_iter_new(r, v.kind == V_UNDEFINED ? ITER_EMPTY : ITER_ITEMS, v);
}

/* Item i of something that has a length; the caller has checked that i is below it. Of a mapping the items are its
 * keys, as in Python. */
struct value tpl_at(struct render *r, struct value v, size_t i)
{
    const struct entry *e;
    switch (v.kind) {
    case V_LIST: case V_TUPLE:
        return v.u.list->v[i];
    case V_DICT:
        return v.u.dict->e[i].key;
    case V_STR:
        return v_str(str_sub_chars(r, v.u.s, i, i + 1));
    case V_RANGE:
        return v_int(v.u.range->start + (int64_t)i * v.u.range->step);
    case V_VIEW:
        e = &v.u.view->dict->e[i];
        if (v.u.view->kind == VIEW_KEYS)
            return e->key;
        return v.u.view->kind == VIEW_VALUES ? e->value : v_pair(r, e->key, e->value);
    default:
        tpl_fail(r, "'%s' object has no items", tpl_type(v));
    }
}

/* The next character of a string. The byte is remembered, since finding a character by
 * its number would start from the front each time. */
static bool next_char(struct render *r, struct iter *it, struct value *out)
{
    const struct str *s = it->source.u.s;
    int len;
    if (it->byte >= s->len)
        return false;
    utf8_get(s->data + it->byte, s->len - it->byte, &len);
    *out = v_str(str_sub(r, s, it->byte, it->byte + (size_t)len));
    out->u.s->markup = false;
    it->byte += (size_t)len;
    return true;
}

/* The next item of what has a length, from the front or, for ITER_REVERSED, from the
 * end. */
static bool next_item(struct render *r, struct iter *it, struct value *out)
{
    size_t n = 0;
    if (it->source.kind == V_STR && it->kind == ITER_ITEMS)
        return next_char(r, it, out);
    tpl_length(it->source, &n);
    if (it->pos >= n)
        return false;
    *out = tpl_at(r, it->source, it->kind == ITER_ITEMS ? it->pos : n - 1 - it->pos);
    it->pos++;
    return true;
}

/* The next item of `map`: a filter applied to it, or one of its attributes. */
static bool next_mapped(struct render *r, struct iter *it, struct value *out)
{
    struct value item;
    if (!tpl_next(r, it->inner, &item))
        return false;
    *out = it->filter ? tpl_call_builtin(r, it->filter, item, it->args)
                      : tpl_path(r, item, it->attribute, it->fallback);
    return true;
}

/* The next item of select, reject and their kin whose test, or truth, is the one
 * wanted. */
static bool next_selected(struct render *r, struct iter *it, struct value *out)
{
    while (tpl_next(r, it->inner, out)) {
        struct value v = it->by_attribute ? tpl_path(r, *out, it->attribute, v_missing()) : *out;
        if (it->filter)
            v = tpl_call_builtin(r, it->filter, v, it->args);
        if (tpl_truth(r, v) == it->want)
            return true;
    }
    return false;
}

/* The next item that is not equal to an earlier one. Their keys are kept in a mapping,
 * so they must be hashable. */
static bool next_unique(struct render *r, struct iter *it, struct value *out)
{
    while (tpl_next(r, it->inner, out)) {
        struct value key = tpl_path(r, *out, it->attribute, v_missing());
        if (!it->want) /* not case sensitive */
            key = tpl_ignore_case(r, key);
        if (tpl_dict_get(r, it->seen, key))
            continue;
        tpl_dict_set(r, it->seen, key, v_none());
        return true;
    }
    return false;
}

/* The next list of `count` items. The last one may be shorter, and is filled up if
 * there is something to fill it with. A count of 0 or less puts all items into one
 * list, as Jinja does. */
static bool next_batch(struct render *r, struct iter *it, struct value *out)
{
    struct value v = v_list(r, V_LIST, NULL, 0), item;
    size_t cap = 0;
    struct list *l = v.u.list;
    while (l->n == 0 || it->count <= 0 || l->n < (size_t)it->count) {
        if (!tpl_next(r, it->inner, &item))
            break;
        if (l->n == cap) {
            struct value *more = tpl_alloc(r, (cap ? 2 * cap : 8) * sizeof *more);
            if (l->n)
                memcpy(more, l->v, l->n * sizeof *more);
            l->v = more;
            cap = cap ? 2 * cap : 8;
        }
        l->v[l->n++] = item;
    }
    if (!l->n)
        return false;
    if (it->fallback.kind != V_MISSING && it->fallback.kind != V_NONE && it->count > 0 && l->n < (size_t)it->count) {
        tpl_charge(r, (size_t)it->count);
        struct value *all = tpl_alloc(r, (size_t)it->count * sizeof *all);
        memcpy(all, l->v, l->n * sizeof *all);
        while (l->n < (size_t)it->count)
            all[l->n++] = it->fallback;
        l->v = all;
    }
    *out = v;
    return true;
}

/* Part it->pos of `count` parts whose sizes differ by at most one; the larger ones come first. A part that is one
 * shorter is filled up with the fallback, where one was given. */
static bool next_slice(struct render *r, struct iter *it, struct value *out)
{
    if ((int64_t)it->pos >= it->count)
        return false;
    const struct list *all = it->source.u.list;
    size_t slices = (size_t)it->count, each = all->n / slices, extra = all->n % slices, i = it->pos++;
    size_t from = i * each + (i < extra ? i : extra), n = each + (i < extra);
    bool fill = it->fallback.kind != V_MISSING && it->fallback.kind != V_NONE && i >= extra;
    struct value v = v_list(r, V_LIST, NULL, 0);
    v.u.list->v = tpl_alloc(r, (n + fill) * sizeof *all->v);
    if (n)
        memcpy(v.u.list->v, all->v + from, n * sizeof *all->v);
    if (fill)
        v.u.list->v[n] = it->fallback;
    v.u.list->n = n + fill;
    *out = v;
    return true;
}

/* The next item that passes the condition of a loop. */
static bool next_for_if(struct render *r, struct iter *it, struct value *out)
{
    while (tpl_next(r, it->inner, out))
        if (tpl_for_if(r, it->for_if, *out))
            return true;
    return false;
}

/* What a generator does when its first item is asked for, and not when it is made: errors show at the place where Jinja
 * shows them, and a source that is never read costs nothing. */
static void start(struct render *r, struct iter *it)
{
    it->started = true;
    if ((it->kind == ITER_MAP || it->kind == ITER_SELECT) && !tpl_truth(r, it->source)) {
        it->done = true;
        return;
    }
    if (it->error)
        tpl_fail(r, "%s", it->error);
    if (it->kind == ITER_PAIRS) {
        if (it->source.kind == V_DICT) {
            struct value v = { .kind = V_VIEW };
            v.u.view = tpl_alloc(r, sizeof *v.u.view);
            *v.u.view = (struct view){ VIEW_ITEMS, it->source.u.dict };
            it->source = v;
        } else if (it->source.kind != V_UNDEFINED) {
            tpl_fail(r, "can only get item pairs from a mapping");
        }
    }
    if (it->kind == ITER_SLICES) {
        it->source = tpl_list_of(r, it->source);
        if (it->count == 0)
            tpl_fail(r, "integer division or modulo by zero");
        return;
    }
    it->inner = tpl_iter(r, it->source);
}

/* The next item of an iterator that has started, by its kind; false at its end. */
static bool step(struct render *r, struct iter *it, struct value *out)
{
    switch (it->kind) {
    case ITER_EMPTY:    return false;
    case ITER_ITEMS:
    case ITER_REVERSED: return next_item(r, it, out);
    case ITER_FOR_IF:   return next_for_if(r, it, out);
    case ITER_MAP:      return next_mapped(r, it, out);
    case ITER_SELECT:   return next_selected(r, it, out);
    case ITER_UNIQUE:   return next_unique(r, it, out);
    case ITER_BATCH:    return next_batch(r, it, out);
    case ITER_SLICES:   return next_slice(r, it, out);
    case ITER_PAIRS:    return tpl_next(r, it->inner, out);
    }
    return false;
}

/* The next item, or false, from then on for good. A lazy iterator starts at its first
 * step. Chains of iterators recurse here and count as levels. */
bool tpl_next(struct render *r, struct iter *it, struct value *out)
{
    if (it->done)
        return false;
    tpl_charge(r, 1);
    tpl_enter(r);
    if (!it->started && it->kind > ITER_EMPTY)
        start(r, it);
    bool more = !it->done && step(r, it, out);
    tpl_leave(r);
    it->done = !more;
    return more;
}

/* list(v): a new list of all items. A generator is read to its end, a tuple is copied. */
struct value tpl_list_of(struct render *r, struct value v)
{
    struct value out = v_list(r, V_LIST, NULL, 0), item;
    size_t n, cap = tpl_length(v, &n) ? n : 16;
    if (v.kind == V_LIST || v.kind == V_TUPLE)
        return v_list(r, V_LIST, v.u.list->v, v.u.list->n);
    struct list *l = out.u.list;
    l->v = tpl_alloc(r, cap * sizeof *l->v);
    for (struct iter *it = tpl_iter(r, v); tpl_next(r, it, &item);) {
        if (l->n == cap) {
            struct value *more = tpl_alloc(r, 2 * cap * sizeof *more);
            memcpy(more, l->v, l->n * sizeof *more);
            l->v = more;
            cap *= 2;
        }
        l->v[l->n++] = item;
    }
    return out;
}
