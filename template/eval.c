/* template/eval.c - expressions.
 *
 * tpl_eval() is the recursion that decides how much stack a template can use, so
 * it only dispatches: each case is a function of its own and keeps its locals
 * out of the common frame. */
#include <string.h>

#include "template/syntax.h"

#define OUT_OF_LINE __attribute__((noinline))

/* Where a variable lies: so many functions outwards, then its slot there. scope.c has
 * made both numbers. */
struct value *tpl_slot(struct render *r, struct place p)
{
    struct activation *a = r->act;
    for (int i = 0; i < p.hops; i++)
        a = a->outer;
    return &a->slot[p.slot];
}

/* The value of a variable; one that was never set is undefined. */
static OUT_OF_LINE struct value eval_name(struct render *r, const struct node *n)
{
    struct value v = *tpl_slot(r, n->u.name.place);
    if (v.kind == V_MISSING)
        return v_undefined(r, "'%.100s' is undefined", n->u.name.name->data);
    return v;
}

/* A list or tuple display. */
static OUT_OF_LINE struct value eval_items(struct render *r, const struct node *n)
{
    struct value v = v_list(r, n->kind == N_LIST ? V_LIST : V_TUPLE, NULL, 0);
    v.u.list->v = tpl_alloc(r, (size_t)n->u.list.n * sizeof *v.u.list->v);
    for (int i = 0; i < n->u.list.n; i++)
        v.u.list->v[v.u.list->n++] = tpl_eval(r, n->u.list.v[i]);
    return v;
}

/* A mapping display: keys and values stand in turn in the node's list. */
static OUT_OF_LINE struct value eval_dict(struct render *r, const struct node *n)
{
    struct dict *d = tpl_dict(r, (size_t)n->u.list.n / 2);
    for (int i = 0; i < n->u.list.n; i += 2) {
        struct value key = tpl_eval(r, n->u.list.v[i]);
        tpl_dict_set(r, d, key, tpl_eval(r, n->u.list.v[i + 1]));
    }
    return v_dict(d);
}

static struct value eval_or_missing(struct render *r, const struct node *n)
{
    return n ? tpl_eval(r, n) : v_missing();
}

/* `a[key]` or `a[i:j:k]`. The line is set again after the operands, so that an error
 * names the line of this node. */
static OUT_OF_LINE struct value eval_item(struct render *r, const struct node *n)
{
    struct value on = tpl_eval(r, n->u.of.a);
    const struct node *key = n->u.of.b;
    if (key->kind != N_SLICE) {
        struct value k = tpl_eval(r, key);
        r->line = n->line;
        return tpl_getitem(r, on, k);
    }
    struct value start = eval_or_missing(r, key->u.of.a), stop = eval_or_missing(r, key->u.of.b);
    struct value step = eval_or_missing(r, key->u.of.c);
    r->line = n->line;
    return tpl_slice(r, on, start, stop, step);
}

/* ---- calls */

/* Adds an argument; a call with *args may have more than stand in the source. */
static void push_value(struct render *r, struct args *a, int *cap, struct value v)
{
    if (a->n == *cap) {
        *cap = *cap ? 2 * *cap : 4;
        struct value *more = tpl_alloc(r, (size_t)*cap * sizeof *more);
        if (a->n)
            memcpy(more, a->v, (size_t)a->n * sizeof *more);
        a->v = more;
    }
    a->v[a->n++] = v;
}

/* Adds the entries of a **mapping as keyword arguments. Their names must be strings and
 * may not be given twice. */
static void add_keywords(struct render *r, struct args *a, struct value map)
{
    if (map.kind != V_DICT)
        tpl_fail(r, "argument after ** must be a mapping, not '%s'", tpl_type(map));
    const struct dict *d = map.u.dict;
    struct keyword *kw = tpl_alloc(r, ((size_t)a->n_kw + d->n) * sizeof *kw);
    if (a->n_kw)
        memcpy(kw, a->kw, (size_t)a->n_kw * sizeof *kw);
    a->kw = kw;
    for (size_t i = 0; i < d->n; i++) {
        struct str *name = tpl_str_arg(r, d->e[i].key, "a keyword");
        for (int k = 0; k < a->n_kw; k++)
            if (str_order(kw[k].name, name) == 0)
                tpl_fail(r, "got multiple values for a keyword argument");
        tpl_charge(r, 1 + (size_t)a->n_kw);
        kw[a->n_kw++] = (struct keyword){ name, d->e[i].value };
    }
}

/* Computes the arguments of a call from left to right: positional ones, *args,
 * keywords, **kwargs. */
void tpl_eval_args(struct render *r, const struct call_node *c, struct args *out)
{
    int cap = c->args.n;
    *out = (struct args){ 0 };
    if (cap)
        out->v = tpl_alloc(r, (size_t)cap * sizeof *out->v);
    for (int i = 0; i < c->args.n; i++)
        out->v[out->n++] = tpl_eval(r, c->args.v[i]);
    struct value star = v_missing(), item;
    if (c->star) {
        star = tpl_eval(r, c->star);
        for (struct iter *it = tpl_iter(r, star); tpl_next(r, it, &item);)
            push_value(r, out, &cap, item);
    }
    if (c->kw.n)
        out->kw = tpl_alloc(r, (size_t)c->kw.n * sizeof *out->kw);
    for (int i = 0; i < c->kw.n; i++)
        out->kw[out->n_kw++] = (struct keyword){ c->kw_name[i], tpl_eval(r, c->kw.v[i]) };
    if (c->star_star)
        add_keywords(r, out, tpl_eval(r, c->star_star));
}

/* The callee is evaluated before the arguments, as in Python: either may fail, and the order shows in the error. */
static OUT_OF_LINE struct value eval_call(struct render *r, const struct node *n)
{
    struct args args;
    struct value callee = tpl_eval(r, n->u.call->callee);
    tpl_eval_args(r, n->u.call, &args);
    r->line = n->line;
    return tpl_call(r, callee, &args);
}

/* Applies a filter or test to `on`. Its name may be unknown until here: inside an `if`
 * that is an error only when it is reached. */
struct value tpl_apply_filter(struct render *r, const struct call_node *c, struct value on)
{
    struct args args;
    tpl_eval_args(r, c, &args);
    if (!c->builtin)
        tpl_fail(r, "no filter or test named '%.60s'", c->name->data);
    return tpl_call_builtin(r, c->builtin, on, &args);
}

static OUT_OF_LINE struct value eval_filter(struct render *r, const struct node *n)
{
    struct value on = tpl_eval(r, n->u.call->callee);
    r->line = n->line;
    return tpl_apply_filter(r, n->u.call, on);
}

/* ---- operators: the operands are computed here, from left to right; what they give
 * is decided in operators.c and value.c */

static OUT_OF_LINE struct value eval_binary(struct render *r, const struct node *n)
{
    struct value a = tpl_eval(r, n->u.of.a), b = tpl_eval(r, n->u.of.b);
    r->line = n->line;
    return tpl_binary(r, n->op, a, b);
}

/* Joins operands with ~. Each is printed first, and the text grows in place, so that a
 * long chain stays linear. */
static OUT_OF_LINE struct value eval_concat(struct render *r, const struct node *n)
{
    struct str *s = tpl_to_str(r, tpl_eval(r, n->u.list.v[0]));
    if (s->markup) { /* ~ makes a plain string */
        struct str *plain = str_sub(r, s, 0, s->len);
        plain->markup = false;
        s = plain;
    }
    for (int i = 1; i < n->u.list.n; i++)
        s = tpl_concat(r, s, tpl_to_str(r, tpl_eval(r, n->u.list.v[i])));
    return v_str(s);
}

/* Does one comparison hold? A nan compares as UNORDERED, which is a positive number, so
 * < and <= fail by themselves while > and >= ask for exact results. */
static bool holds(struct render *r, enum token_kind op, struct value a, struct value b)
{
    int order;
    switch (op) {
    case T_EQ: return tpl_equal(r, a, b);
    case T_NE: return !tpl_equal(r, a, b);
    case T_IN: return tpl_in(r, a, b);
    case T_NOT_IN: return !tpl_in(r, a, b);
    case T_LT: return tpl_compare(r, a, b, "<") < 0;
    case T_LE: return tpl_compare(r, a, b, "<=") <= 0;
    case T_GT: return tpl_compare(r, a, b, ">") == 1;
    default:
        order = tpl_compare(r, a, b, ">=");
        return order == 0 || order == 1;
    }
}

/* A chain of comparisons. It stops at the first that fails, and each operand is
 * computed once at most. */
static OUT_OF_LINE struct value eval_compare(struct render *r, const struct node *n)
{
    struct value a = tpl_eval(r, n->u.compare.items.v[0]);
    for (int i = 1; i < n->u.compare.items.n; i++) {
        struct value b = tpl_eval(r, n->u.compare.items.v[i]);
        if (!holds(r, n->u.compare.op[i - 1], a, b))
            return v_bool(false);
        a = b;
    }
    return v_bool(true);
}

/* `a if b else c`. Without an else a false condition gives an undefined value that
 * remembers the line. */
static OUT_OF_LINE struct value eval_condition(struct render *r, const struct node *n)
{
    if (tpl_truth(r, tpl_eval(r, n->u.of.b)))
        return tpl_eval(r, n->u.of.a);
    if (n->u.of.c)
        return tpl_eval(r, n->u.of.c);
    return v_undefined(r, "the inline if-expression on line %d evaluated to false and no else section was defined.",
                       n->line);
}

/* `and` and `or`: the value of the operand that decides, as in Python, and not a bool. */
static OUT_OF_LINE struct value eval_logic(struct render *r, const struct node *n)
{
    struct value a = tpl_eval(r, n->u.of.a);
    return tpl_truth(r, a) == (n->kind == N_OR) ? a : tpl_eval(r, n->u.of.b);
}

static OUT_OF_LINE struct value eval_unary(struct render *r, const struct node *n)
{
    struct value v = tpl_eval(r, n->u.of.a);
    if (n->kind == N_NOT)
        return v_bool(!tpl_truth(r, v));
    return n->kind == N_NEGATE ? tpl_negate(r, v) : tpl_positive(r, v);
}

static OUT_OF_LINE struct value eval_attribute(struct render *r, const struct node *n)
{
    struct value on = tpl_eval(r, n->u.attr.a);
    r->line = n->line;
    return tpl_getattr(r, on, n->u.attr.name);
}

/* Calls the function for the kind of node. Constants are returned from here, everything
 * else from a frame of its own. */
static struct value dispatch(struct render *r, const struct node *n)
{
    switch (n->kind) {
    case N_CONST:     return n->u.constant;
    case N_NAME:      return eval_name(r, n);
    case N_LIST:
    case N_TUPLE:     return eval_items(r, n);
    case N_DICT:      return eval_dict(r, n);
    case N_ATTRIBUTE: return eval_attribute(r, n);
    case N_ITEM:      return eval_item(r, n);
    case N_SLICE:     tpl_fail(r, "a slice must stand alone in its brackets");
    case N_CALL:      return eval_call(r, n);
    case N_FILTER:
    case N_TEST:      return eval_filter(r, n);
    case N_NOT:
    case N_NEGATE:
    case N_POSITIVE:  return eval_unary(r, n);
    case N_BINARY:    return eval_binary(r, n);
    case N_AND:
    case N_OR:        return eval_logic(r, n);
    case N_CONCAT:    return eval_concat(r, n);
    case N_COMPARE:   return eval_compare(r, n);
    case N_CONDITION: return eval_condition(r, n);
    default:          tpl_fail(r, "not an expression");
    }
}

/* Computes an expression. Every node costs a step and counts as a level while it is
 * computed. */
struct value tpl_eval(struct render *r, const struct node *n)
{
    tpl_enter(r);
    tpl_charge(r, 1);
    r->line = n->line;
    struct value v = dispatch(r, n);
    tpl_leave(r);
    return v;
}
