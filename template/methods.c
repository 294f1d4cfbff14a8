/* template/methods.c - the methods of lists, tuples, dictionaries and
 * numbers that only read; those that change things never get here (see
 * attr.c). */
#include <math.h>
#include <string.h>

#include "template/big.h"
#include "template/syntax.h"

#define METHOD(name) \
    static struct value name(struct render *r, struct value self, const struct value *a, const struct args *args)

/* How many items are equal to the argument. */
METHOD(seq_count)
{
    (void)args;
    struct value v;
    int64_t n = 0;
    for (struct iter *it = tpl_iter(r, self); tpl_next(r, it, &v);)
        n += tpl_equal(r, v, a[0]);
    return v_int(n);
}

/* A bound of a search as a position of at least 0: negative ones count from the end,
 * none is `fallback`. */
static int64_t clip(struct render *r, struct value v, int64_t fallback, int64_t n)
{
    if (v.kind == V_MISSING)
        return fallback;
    int64_t i = tpl_int_arg(r, v, "an index");
    if (i < 0)
        i = i < -n ? 0 : i + n;
    return i;
}

/* The place of the first item equal to the argument, between two optional bounds. Not
 * to find it is an error, as in Python. */
METHOD(seq_index)
{
    (void)args;
    size_t n = 0;
    tpl_length(self, &n);
    int64_t from = clip(r, a[1], 0, (int64_t)n), to = clip(r, a[2], (int64_t)n, (int64_t)n);
    for (int64_t i = from; i < to && i < (int64_t)n; i++) {
        tpl_charge(r, 1);
        if (tpl_equal(r, tpl_at(r, self, (size_t)i), a[0]))
            return v_int(i);
    }
    tpl_fail(r, "value is not in the sequence");
}

METHOD(list_copy)
{
    (void)a, (void)args;
    return v_list(r, V_LIST, self.u.list->v, self.u.list->n);
}

/* keys(), values() or items(): a view that shares the mapping, not a copy. */
static struct value view(struct render *r, struct value self, enum view_kind kind)
{
    struct value v = { .kind = V_VIEW };
    v.u.view = tpl_alloc(r, sizeof *v.u.view);
    *v.u.view = (struct view){ kind, self.u.dict };
    return v;
}

METHOD(dict_keys) { (void)a, (void)args; return view(r, self, VIEW_KEYS); }
METHOD(dict_values) { (void)a, (void)args; return view(r, self, VIEW_VALUES); }
METHOD(dict_items) { (void)a, (void)args; return view(r, self, VIEW_ITEMS); }

/* The value of a key, or the default, which is none if it was not given. */
METHOD(dict_get)
{
    (void)args;
    struct value *v = tpl_dict_get(r, self.u.dict, a[0]);
    if (v)
        return *v;
    return a[1].kind == V_MISSING ? v_none() : a[1];
}

/* A new mapping with the same entries; the values are shared. */
METHOD(dict_copy)
{
    (void)a, (void)args;
    struct dict *d = tpl_dict(r, self.u.dict->n);
    for (size_t i = 0; i < self.u.dict->n; i++)
        tpl_dict_set(r, d, self.u.dict->e[i].key, self.u.dict->e[i].value);
    return v_dict(d);
}

/* A new mapping with the items of a sequence as keys and one value for all of them. */
METHOD(dict_fromkeys)
{
    (void)self, (void)args;
    struct dict *d = tpl_dict(r, 0);
    struct value key;
    for (struct iter *it = tpl_iter(r, a[0]); tpl_next(r, it, &key);)
        tpl_dict_set(r, d, key, a[1].kind == V_MISSING ? v_none() : a[1]);
    return v_dict(d);
}

/* Has a float no fraction? Infinities and nans are no integers. */
METHOD(number_is_integer)
{
    (void)a, (void)args;
    if (self.kind != V_FLOAT)
        tpl_fail(r, "'int' object has no attribute 'is_integer'"); /* came with Python 3.12 */
    return v_bool(isfinite(self.u.f) && self.u.f == floor(self.u.f));
}

METHOD(number_conjugate) { (void)r, (void)a, (void)args; return self.kind == V_BOOL ? v_int(self.u.b) : self; }

/* How many binary digits the magnitude of an integer has. */
METHOD(number_bit_length)
{
    (void)a, (void)args;
    if (self.kind == V_FLOAT)
        tpl_fail(r, "'float' object has no attribute 'bit_length'");
    if (self.kind == V_BIG)
        return v_int((int64_t)big_bits(self.u.big));
    int64_t i = self.kind == V_INT ? self.u.i : self.u.b;
    uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
    return v_int(u ? 64 - __builtin_clzll(u) : 0);
}

const struct builtin tpl_list_methods[] = {
    { "count", "/value", seq_count },
    { "copy", "", list_copy },
    { "index", "/value start= stop=", seq_index },
    { NULL, NULL, NULL },
};

const struct builtin tpl_tuple_methods[] = {
    { "count", "/value", seq_count },
    { "index", "/value start= stop=", seq_index },
    { NULL, NULL, NULL },
};

const struct builtin tpl_dict_methods[] = {
    { "copy", "", dict_copy },
    { "fromkeys", "/iterable value=", dict_fromkeys },
    { "get", "/key default=", dict_get },
    { "items", "", dict_items },
    { "keys", "", dict_keys },
    { "values", "", dict_values },
    { NULL, NULL, NULL },
};

const struct builtin tpl_number_methods[] = {
    { "bit_length", "", number_bit_length },
    { "conjugate", "", number_conjugate },
    { "is_integer", "", number_is_integer },
    { NULL, NULL, NULL },
};
