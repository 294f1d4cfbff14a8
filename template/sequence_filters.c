/* template/sequence_filters.c - filters over lists and mappings.
 *
 * A filter gets the value before the bar as `self` and its arguments bound to the
 * parameters that the table at the end names; what was left out is V_MISSING.
 * Filters that Jinja writes as generators return an iterator and compute nothing
 * yet. */
#include <string.h>

#include "template/syntax.h"

#define FILTER(name) \
    static struct value name(struct render *r, struct value self, const struct value *a, const struct args *args)

static bool given(struct value v) { return v.kind != V_MISSING && v.kind != V_NONE; }
static bool flag(struct render *r, struct value v, bool fallback)
{
    return v.kind == V_MISSING ? fallback : tpl_truth(r, v);
}

/* The value as filters compare it that ignore case: strings in small letters, others as
 * they are. */
struct value tpl_ignore_case(struct render *r, struct value v)
{
    return v.kind == V_STR ? v_str(uni_to_lower(r, v.u.s)) : v;
}

/* What a filter compares of an item: the item or its attribute, with or without case. */
static struct value key_of(struct render *r, struct value v, struct value attribute, bool case_sensitive)
{
    v = tpl_path(r, v, attribute, v_missing());
    return case_sensitive ? v : tpl_ignore_case(r, v);
}

/* ---- sorting: a stable merge sort of places by their keys */

struct sort {
    struct render      *r;
    const struct value *keys;
    size_t             *place, *spare; /* (n) */
    bool                reverse;
};

static bool before(struct sort *s, size_t a, size_t b) /* strictly */
{
    tpl_charge(s->r, 1);
    int order = s->reverse ? tpl_compare(s->r, s->keys[b], s->keys[a], "<")
                           : tpl_compare(s->r, s->keys[a], s->keys[b], "<");
    return order < 0;
}

/* Sorts the places [from, to) by their keys. Equal ones keep their order, in reverse as
 * well, as Python's sort promises. */
static void merge_sort(struct sort *s, size_t from, size_t to)
{
    size_t mid = from + (to - from) / 2, i = from, k = mid, out = from;
    if (to - from < 2)
        return;
    merge_sort(s, from, mid);
    merge_sort(s, mid, to);
    while (i < mid || k < to) {
        bool right = i == mid || (k < to && before(s, s->place[k], s->place[i]));
        s->spare[out++] = right ? s->place[k++] : s->place[i++];
    }
    memcpy(s->place + from, s->spare + from, (to - from) * sizeof *s->place);
}

/* A copy of the list in the order of `keys`, which has one for each item. Keys that
 * cannot be compared end the rendering. */
struct value tpl_compare_sort(struct render *r, struct value list, const struct value *keys, bool reverse)
{
    size_t n = list.u.list->n;
    struct value out = v_list(r, V_LIST, list.u.list->v, n);
    struct sort s = { r, keys, tpl_alloc(r, n * sizeof *s.place), tpl_alloc(r, n * sizeof *s.spare), reverse };
    for (size_t i = 0; i < n; i++)
        s.place[i] = i;
    merge_sort(&s, 0, n);
    for (size_t i = 0; i < n; i++)
        out.u.list->v[i] = list.u.list->v[s.place[i]];
    return out;
}

/* What `sort` compares when it is given "a,b.c": the values of all these attributes, as a list. A single attribute
 * makes a list of one. */
static struct value multi_key(struct render *r, struct value v, struct value attribute, bool case_sensitive)
{
    if (attribute.kind != V_STR)
        return v_list(r, V_LIST, (struct value[]){ key_of(r, v, attribute, case_sensitive) }, 1);
    const struct str *s = attribute.u.s;
    struct value keys = v_list(r, V_LIST, NULL, 0);
    size_t n = 1;
    for (size_t i = 0; i < s->len; i++)
        n += s->data[i] == ',';
    keys.u.list->v = tpl_alloc(r, n * sizeof *keys.u.list->v);
    for (size_t from = 0, to; from <= s->len; from = to + 1) {
        for (to = from; to < s->len && s->data[to] != ','; to++)
            ;
        keys.u.list->v[keys.u.list->n++] = key_of(r, v, v_str(str_sub(r, s, from, to)), case_sensitive);
    }
    return keys;
}

/* A sorted list. All keys are computed once, before anything is compared. */
FILTER(f_sort)
{
    (void)args;
    struct value list = tpl_list_of(r, self), *keys = tpl_alloc(r, list.u.list->n * sizeof *keys);
    for (size_t i = 0; i < list.u.list->n; i++)
        keys[i] = multi_key(r, list.u.list->v[i], a[2], flag(r, a[1], false));
    return tpl_compare_sort(r, list, keys, flag(r, a[0], false));
}

/* The items of a mapping as pairs, sorted by key or by value. */
FILTER(f_dictsort)
{
    (void)args;
    bool by_value = a[1].kind == V_STR && str_is(a[1].u.s, "value"), sensitive = flag(r, a[0], false);
    if (a[1].kind != V_MISSING && !by_value && !(a[1].kind == V_STR && str_is(a[1].u.s, "key")))
        tpl_fail(r, "you can only sort by either \"key\" or \"value\"");
    if (self.kind != V_DICT)
        tpl_fail(r, "dictsort needs a mapping, not '%s'", tpl_type(self));
    size_t n = self.u.dict->n;
    struct value items = v_list(r, V_LIST, NULL, 0), *keys = tpl_alloc(r, n * sizeof *keys);
    items.u.list->v = tpl_alloc(r, n * sizeof *keys);
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &self.u.dict->e[i];
        items.u.list->v[items.u.list->n++] = v_pair(r, e->key, e->value);
        keys[i] = by_value ? e->value : e->key;
        if (!sensitive)
            keys[i] = tpl_ignore_case(r, keys[i]);
    }
    return tpl_compare_sort(r, items, keys, flag(r, a[2], false));
}

/* One group of groupby: a pair that also answers to .grouper and .list. */
static struct value group(struct render *r, struct value key, struct value items)
{
    struct value g = v_pair(r, key, items);
    g.u.list->group = true;
    return g;
}

/* The items in groups of equal attributes, sorted by it. The name of a group is the
 * attribute as its first item has it, not in small letters. */
FILTER(f_groupby)
{
    (void)args;
    bool sensitive = flag(r, a[2], false);
    struct value list = tpl_list_of(r, self), fallback = a[1], *keys, out = v_list(r, V_LIST, NULL, 0);
    size_t n = list.u.list->n;
    keys = tpl_alloc(r, n * sizeof *keys);
    for (size_t i = 0; i < n; i++) {
        struct value key = tpl_path(r, list.u.list->v[i], a[0], fallback);
        keys[i] = sensitive ? key : tpl_ignore_case(r, key);
    }
    list = tpl_compare_sort(r, list, keys, false);
    /* The keys are computed again in the new order, and a group ends where they change. */
    out.u.list->v = tpl_alloc(r, n * sizeof *keys);
    for (size_t i = 0, from = 0; i <= n; i++) {
        if (i < n) {
            struct value key = tpl_path(r, list.u.list->v[i], a[0], fallback);
            keys[i] = sensitive ? key : tpl_ignore_case(r, key);
        }
        if (i == from || (i < n && tpl_equal(r, keys[i], keys[from])))
            continue;
        struct value shown = sensitive ? keys[from] : tpl_path(r, list.u.list->v[from], a[0], fallback);
        out.u.list->v[out.u.list->n++] = group(r, shown, v_list(r, V_LIST, list.u.list->v + from, i - from));
        from = i;
    }
    return out;
}

/* The smallest or largest item; of equal ones the first. Undefined if there are none. */
static struct value extreme(struct render *r, struct value self, const struct value *a, bool most)
{
    struct value best = v_missing(), best_key = v_missing(), v;
    bool sensitive = flag(r, a[0], false);
    for (struct iter *it = tpl_iter(r, self); tpl_next(r, it, &v);) {
        struct value key = key_of(r, v, a[1], sensitive);
        int order = 0;
        if (best.kind != V_MISSING)
            order = most ? tpl_compare(r, best_key, key, "<") : tpl_compare(r, key, best_key, "<");
        if (best.kind == V_MISSING || order < 0) {
            best = v;
            best_key = key;
        }
    }
    return best.kind == V_MISSING ? v_undefined(r, "No aggregated item, sequence was empty.") : best;
}

FILTER(f_min) { (void)args; return extreme(r, self, a, false); }
FILTER(f_max) { (void)args; return extreme(r, self, a, true); }

/* ---- taking apart */

FILTER(f_first)
{
    (void)a, (void)args;
    struct value v;
    return tpl_next(r, tpl_iter(r, self), &v) ? v : v_undefined(r, "No first item, sequence was empty.");
}

FILTER(f_last)
{
    (void)a, (void)args;
    size_t n;
    if (!tpl_length(self, &n))
        tpl_fail(r, "'%s' object is not reversible", tpl_type(self));
    return n ? tpl_at(r, self, n - 1) : v_undefined(r, "No last item, sequence was empty.");
}

/* The number of items. A loop is asked for its own length, which a generator under it
 * may have to be read for. */
FILTER(f_length)
{
    (void)a, (void)args;
    size_t n;
    struct value v;
    struct str length = { .data = "length", .len = 6, .chars = 6 };
    if (self.kind == V_LOOP && tpl_loop_attr(r, self.u.loop, &length, &v))
        return v;
    if (!tpl_length(self, &n))
        tpl_fail(r, "object of type '%s' has no len()", tpl_type(self));
    return v_int((int64_t)n);
}

FILTER(f_list) { (void)a, (void)args; return tpl_list_of(r, self); }

/* The items from the last to the first: a string again for a string, an iterator for
 * whatever has a length, a list for a generator. */
FILTER(f_reverse)
{
    (void)a, (void)args;
    size_t n;
    if (self.kind == V_STR) {
        struct value v = tpl_slice(r, self, v_missing(), v_missing(), v_int(-1));
        return v;
    }
    if (self.kind == V_UNDEFINED)
        return v_iter(tpl_iter_new(r, ITER_EMPTY, self));
    if (tpl_length(self, &n))
        return v_iter(tpl_iter_new(r, ITER_REVERSED, self));
    struct value list = tpl_list_of(r, self);
    return tpl_slice(r, list, v_missing(), v_missing(), v_int(-1));
}

FILTER(f_items) { (void)a, (void)args; return v_iter(tpl_iter_new(r, ITER_PAIRS, self)); }

/* The iterator behind batch and slice. A count that is no integer is reported when the
 * first part is asked for, as a generator would. */
static struct value lazy_parts(struct render *r, struct value self, const struct value *a, enum iter_kind kind)
{
    struct iter *it = tpl_iter_new(r, kind, self);
    if (a[0].kind == V_INT)
        it->count = a[0].u.i;
    else
        it->error = "a count must be an integer";
    it->fallback = a[1];
    return v_iter(it);
}

FILTER(f_batch) { (void)args; return lazy_parts(r, self, a, ITER_BATCH); }
FILTER(f_slice) { (void)args; return lazy_parts(r, self, a, ITER_SLICES); }

/* The items without those that are equal to an earlier one. */
FILTER(f_unique)
{
    (void)args;
    struct iter *it = tpl_iter_new(r, ITER_UNIQUE, self);
    it->want = flag(r, a[0], false);
    it->attribute = a[1];
    it->seen = tpl_dict(r, 0);
    return v_iter(it);
}

/* ---- map, select and their kin: what is wrong with the arguments is said when
 * the first item is asked for */

/* The arguments from place `from` on, for the filter or test that an outer filter
 * calls. */
static struct args *rest_of(struct render *r, const struct args *args, int from)
{
    struct args *rest = tpl_alloc(r, sizeof *rest);
    *rest = *args;
    rest->v += from;
    rest->n -= from;
    return rest;
}

/* The keyword argument of that name, or NULL. */
static const struct value *keyword(const struct args *args, const char *name)
{
    for (int i = 0; i < args->n_kw; i++)
        if (str_is(args->kw[i].name, name))
            return &args->kw[i].value;
    return NULL;
}

/* map(attribute=..., default=...) gives an attribute of every item; map("filter", ...)
 * applies a filter, with the other arguments, to each. */
FILTER(f_map)
{
    (void)a;
    struct iter *it = tpl_iter_new(r, ITER_MAP, self);
    const struct value *attribute = keyword(args, "attribute"), *fallback = keyword(args, "default");
    if (!args->n && attribute) {
        it->attribute = *attribute;
        it->fallback = fallback ? *fallback : v_missing();
        if (args->n_kw > (fallback ? 2 : 1))
            it->error = "map got an unexpected keyword argument";
    } else if (!args->n) {
        it->error = "map requires a filter argument";
    } else {
        it->filter = args->v[0].kind == V_STR ? tpl_find_filter(args->v[0].u.s) : NULL;
        it->args = rest_of(r, args, 1);
        if (!it->filter)
            it->error = "map was given a filter that does not exist";
    }
    return v_iter(it);
}

/* select, reject and their forms by attribute: keeps the items for which a test holds
 * (`want`) or fails. Without a test the item or its attribute is asked for its truth. */
static struct value selection(struct render *r, struct value self, const struct args *args, bool want,
                              bool by_attribute)
{
    struct iter *it = tpl_iter_new(r, ITER_SELECT, self);
    it->want = want;
    it->by_attribute = by_attribute;
    if (by_attribute && !args->n) {
        it->error = "missing parameter for attribute name";
        return v_iter(it);
    }
    if (by_attribute)
        it->attribute = args->v[0];
    if (args->n > by_attribute) {
        struct value name = args->v[by_attribute];
        it->filter = name.kind == V_STR ? tpl_find_test(name.u.s) : NULL;
        it->args = rest_of(r, args, by_attribute + 1);
        if (!it->filter)
            it->error = "a selection was given a test that does not exist";
    }
    return v_iter(it);
}

FILTER(f_select) { (void)a; return selection(r, self, args, true, false); }
FILTER(f_reject) { (void)a; return selection(r, self, args, false, false); }
FILTER(f_selectattr) { (void)a; return selection(r, self, args, true, true); }
FILTER(f_rejectattr) { (void)a; return selection(r, self, args, false, true); }

/* ---- putting together */

/* The printed items with a separator between them, or one attribute of each. */
FILTER(f_join)
{
    (void)args;
    struct text t;
    struct value v;
    struct str *sep = a[0].kind == V_MISSING ? tpl_str(r, "", 0) : tpl_to_str(r, a[0]);
    bool first = true;
    text_init(&t, r);
    for (struct iter *it = tpl_iter(r, self); tpl_next(r, it, &v); first = false) {
        if (!first)
            text_str(&t, sep);
        if (given(a[1]))
            v = tpl_path(r, v, a[1], v_missing());
        text_print(&t, v);
    }
    return text_value(&t);
}

/* The sum of the items, or of one attribute of each, added by Python's + to a start of
 * 0. */
FILTER(f_sum)
{
    (void)args;
    struct value total = a[1].kind == V_MISSING ? v_int(0) : a[1], v;
    if (total.kind == V_STR)
        tpl_fail(r, "sum() can't sum strings");
    for (struct iter *it = tpl_iter(r, self); tpl_next(r, it, &v);)
        total = tpl_binary(r, T_ADD, total, given(a[0]) ? tpl_path(r, v, a[0], v_missing()) : v);
    return total;
}

const struct builtin tpl_sequence_filters[] = {
    { "batch", "linecount fill_with=", f_batch },
    { "count", "", f_length },
    { "dictsort", "case_sensitive= by= reverse=", f_dictsort },
    { "first", "", f_first },
    { "groupby", "attribute default= case_sensitive=", f_groupby },
    { "items", "", f_items },
    { "join", "d= attribute=", f_join },
    { "last", "", f_last },
    { "length", "", f_length },
    { "list", "", f_list },
    { "map", "*", f_map },
    { "max", "case_sensitive= attribute=", f_max },
    { "min", "case_sensitive= attribute=", f_min },
    { "reject", "*", f_reject },
    { "rejectattr", "*", f_rejectattr },
    { "reverse", "", f_reverse },
    { "select", "*", f_select },
    { "selectattr", "*", f_selectattr },
    { "slice", "slices fill_with=", f_slice },
    { "sort", "reverse= case_sensitive= attribute=", f_sort },
    { "sum", "attribute= start=", f_sum },
    { "unique", "case_sensitive= attribute=", f_unique },
    { NULL, NULL, NULL },
};
