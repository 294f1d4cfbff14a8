/* template/tests.c - what may follow `is`. A test gets the value as `self` and
 * gives a bool; its parameters stand in the table at the end. */
#include <string.h>

#include "template/syntax.h"

#define TEST(name) \
    static struct value name(struct render *r, struct value self, const struct value *a, const struct args *args)

#define YES_IF(name, condition) TEST(name) { (void)r, (void)self, (void)a, (void)args; return v_bool(condition); }

YES_IF(t_defined, self.kind != V_UNDEFINED)
YES_IF(t_undefined, self.kind == V_UNDEFINED)
YES_IF(t_none, self.kind == V_NONE)
YES_IF(t_boolean, self.kind == V_BOOL)
YES_IF(t_true, self.kind == V_BOOL && self.u.b)
YES_IF(t_false, self.kind == V_BOOL && !self.u.b)
YES_IF(t_integer, self.kind == V_INT || self.kind == V_BIG)
YES_IF(t_float, self.kind == V_FLOAT)
YES_IF(t_number, tpl_is_number(self))
YES_IF(t_string, self.kind == V_STR)
YES_IF(t_mapping, self.kind == V_DICT)
YES_IF(t_iterable, tpl_iterable(self))
YES_IF(t_escaped, self.kind == V_STR && self.u.s->markup)
YES_IF(t_eq, tpl_equal(r, self, a[0]))
YES_IF(t_ne, !tpl_equal(r, self, a[0]))
YES_IF(t_lt, tpl_compare(r, self, a[0], "<") < 0)
YES_IF(t_le, tpl_compare(r, self, a[0], "<=") <= 0)
YES_IF(t_in, tpl_in(r, self, a[0]))

/* Names are looked up in a dict, so that nothing unhashable can be one. */
static bool is_name(struct render *r, struct value v)
{
    if (v.kind == V_LIST || v.kind == V_DICT)
        tpl_fail(r, "unhashable type: '%s'", tpl_type(v));
    return v.kind == V_STR;
}

YES_IF(t_filter, is_name(r, self) && tpl_find_filter(self.u.s))
YES_IF(t_test, is_name(r, self) && tpl_find_test(self.u.s))

/* An undefined value counts as callable, since its class has the method. */
TEST(t_callable)
{
    (void)r, (void)a, (void)args;
    enum value_kind k = self.kind;
    return v_bool(k == V_FUNCTION || k == V_METHOD || k == V_MACRO || k == V_JOINER || k == V_LOOP || k == V_UNDEFINED);
}

YES_IF(t_gt, tpl_compare(r, self, a[0], ">") == 1)

/* A nan compares as UNORDERED, which is neither. */
TEST(t_ge)
{
    (void)args;
    int order = tpl_compare(r, self, a[0], ">=");
    return v_bool(order == 0 || order == 1);
}

/* A sequence has a length and can be indexed, as mappings can by their keys. */
TEST(t_sequence)
{
    (void)r, (void)a, (void)args;
    size_t n;
    return v_bool(tpl_length(self, &n) && self.kind != V_VIEW);
}

/* Does a division by `by` leave `want`? */
static struct value remainder_is(struct render *r, struct value self, struct value by, int64_t want)
{
    return v_bool(tpl_equal(r, tpl_binary(r, T_MOD, self, by), v_int(want)));
}

TEST(t_odd) { (void)a, (void)args; return remainder_is(r, self, v_int(2), 1); }
TEST(t_even) { (void)a, (void)args; return remainder_is(r, self, v_int(2), 0); }
TEST(t_divisibleby) { (void)args; return remainder_is(r, self, a[0], 0); }

/* Asks a method of str about the value as text. */
static struct value text_is(struct render *r, struct value self, const char *method)
{
    struct args none = { 0 };
    return tpl_call_builtin(r, tpl_find_builtin(tpl_str_methods, method, strlen(method)), v_str(tpl_to_str(r, self)),
                            &none);
}

TEST(t_lower) { (void)a, (void)args; return text_is(r, self, "islower"); }
TEST(t_upper) { (void)a, (void)args; return text_is(r, self, "isupper"); }

/* CPython has one object for every character up to U+00FF, and one for no text. Others are the same where they are the
 * same bytes: what a method gives back as it is. */
static bool same_string(const struct str *a, const struct str *b)
{
    if (a->len != b->len)
        return false;
    bool single = a->len == 0 || (a->chars == 1 && a->len <= 2 && (unsigned char)a->data[0] < 0xc4);
    return a->data == b->data || (single && memcmp(a->data, b->data, a->len) == 0);
}

/* Python's `is`: the same object. Values of equal numbers are taken for one, whose literals the parser has told
 * apart. */
TEST(t_sameas)
{
    (void)args;
    if (self.kind != a[0].kind)
        return v_bool(false);
    switch (self.kind) {
    case V_NONE: return v_bool(true);
    case V_BOOL: case V_INT: case V_BIG: case V_FLOAT: return v_bool(tpl_equal(r, self, a[0]));
    case V_STR: return v_bool(same_string(self.u.s, a[0].u.s));
    default: return v_bool(self.u.dict == a[0].u.dict);
    }
}

static const struct builtin tests[] = {
    { "boolean", "", t_boolean },
    { "callable", "", t_callable },
    { "defined", "", t_defined },
    { "divisibleby", "num", t_divisibleby },
    { "==", "/other", t_eq }, { "eq", "/other", t_eq }, { "equalto", "/other", t_eq },
    { "escaped", "", t_escaped },
    { "even", "", t_even },
    { "false", "", t_false },
    { "filter", "", t_filter },
    { "float", "", t_float },
    { ">=", "/other", t_ge }, { "ge", "/other", t_ge },
    { ">", "/other", t_gt }, { "gt", "/other", t_gt }, { "greaterthan", "/other", t_gt },
    { "in", "seq", t_in },
    { "integer", "", t_integer },
    { "iterable", "", t_iterable },
    { "<=", "/other", t_le }, { "le", "/other", t_le },
    { "lower", "", t_lower },
    { "<", "/other", t_lt }, { "lt", "/other", t_lt }, { "lessthan", "/other", t_lt },
    { "mapping", "", t_mapping },
    { "!=", "/other", t_ne }, { "ne", "/other", t_ne },
    { "none", "", t_none },
    { "number", "", t_number },
    { "odd", "", t_odd },
    { "sameas", "other", t_sameas },
    { "sequence", "", t_sequence },
    { "string", "", t_string },
    { "test", "", t_test },
    { "true", "", t_true },
    { "undefined", "", t_undefined },
    { "upper", "", t_upper },
    { NULL, NULL, NULL },
};

const struct builtin *tpl_find_test(const struct str *name) { return tpl_find_builtin(tests, name->data, name->len); }
