/* template/macro.c - macros: how arguments come to parameters, and how a body
 * becomes text. The rules are those of the functions that Jinja makes of macros:
 * `varargs`, `kwargs` and `caller` exist only in a body that names them. */
#include <string.h>

#include "template/syntax.h"

#define OUT_OF_LINE __attribute__((noinline))

/* Takes the argument called `name` out of args, so that what remains at the end is what
 * the macro does not know. False: it was not given. */
static bool take_keyword(struct args *args, const struct str *name, struct value *out)
{
    for (int i = 0; i < args->n_kw; i++)
        if (str_order(args->kw[i].name, name) == 0) {
            *out = args->kw[i].value;
            memmove(&args->kw[i], &args->kw[i + 1], (size_t)(args->n_kw - i - 1) * sizeof *args->kw);
            args->n_kw--;
            return true;
        }
    return false;
}

/* What is left of the keyword arguments, for `kwargs`. */
static struct value keywords_as_dict(struct render *r, const struct args *args)
{
    struct dict *d = tpl_dict(r, (size_t)args->n_kw);
    for (int i = 0; i < args->n_kw; i++)
        tpl_dict_set(r, d, v_str(args->kw[i].name), args->kw[i].value);
    return v_dict(d);
}

/* Fills the slots of the parameters; defaults see the parameters before them. */
static OUT_OF_LINE void bind_macro(struct render *r, const struct macro_node *m, const struct args *given)
{
    struct args rest = *given;
    rest.kw = tpl_alloc(r, (size_t)given->n_kw * sizeof *rest.kw);
    if (given->n_kw)
        memcpy(rest.kw, given->kw, (size_t)given->n_kw * sizeof *rest.kw);
    for (int i = 0; i < m->params.n; i++) {
        struct value v = v_missing();
        if (i < given->n)
            v = given->v[i];
        else
            take_keyword(&rest, m->params.v[i]->u.name.name, &v);
        *tpl_slot(r, m->params.v[i]->u.name.place) = v;
    }
    if (m->uses_caller && !m->caller_is_param) {
        struct str name = { .data = "caller", .len = 6, .chars = 6 };
        struct value v = v_missing();
        if (!take_keyword(&rest, &name, &v) || v.kind == V_NONE)
            v = v_undefined(r, "No caller defined");
        r->act->slot[m->caller_slot] = v;
    }
    if (m->uses_kwargs)
        r->act->slot[m->kwargs_slot] = keywords_as_dict(r, &rest);
    else if (rest.n_kw)
        tpl_fail(r, "macro '%.60s' takes no keyword argument '%.*s'", m->name ? m->name->data : "caller",
                 (int)(rest.kw[0].name->len < 100 ? rest.kw[0].name->len : 100), rest.kw[0].name->data);
    int extra = given->n > m->params.n ? given->n - m->params.n : 0;
    if (m->uses_varargs)
        r->act->slot[m->varargs_slot] = v_list(r, V_TUPLE, given->v + (given->n - extra), (size_t)extra);
    else if (extra)
        tpl_fail(r, "macro '%.60s' takes not more than %d argument(s)", m->name ? m->name->data : "caller",
                 m->params.n);
}

/* Gives the parameters that the call left out their defaults, in order and inside the
 * scope of the macro, so that a default may name an earlier parameter. One without a
 * default becomes undefined. */
static OUT_OF_LINE void default_params(struct render *r, const struct macro_node *m)
{
    int first = m->params.n - m->defaults.n;
    for (int i = 0; i < m->params.n; i++) {
        struct value *slot = tpl_slot(r, m->params.v[i]->u.name.place);
        if (slot->kind != V_MISSING)
            continue;
        struct value v;
        if (i >= first)
            v = tpl_eval(r, m->defaults.v[i - first]);
        else
            v = v_undefined(r, "parameter '%.60s' was not provided", m->params.v[i]->u.name.name->data);
        *slot = v;
    }
}

/* Calls a macro and gives its output as text. The body runs in an activation whose
 * outer one is where the macro was defined. The nesting counts, so that a macro which
 * calls itself ends in an error and not in a full stack. */
struct value tpl_call_macro(struct render *r, struct macro *m, const struct args *args)
{
    struct capture c;
    struct activation *before = r->act;
    tpl_enter(r);
    r->act = tpl_activate(r, &m->node->function, m->outer);
    bind_macro(r, m->node, args);
    tpl_enter_scope(r, &m->node->scope);
    default_params(r, m->node);
    tpl_capture_begin(r, &c);
    tpl_exec(r, &m->node->body);
    struct value out = tpl_capture_end(r, &c);
    r->act = before;
    tpl_leave(r);
    return out;
}

/* The value of a macro statement: its node together with the activation that runs now,
 * which it will see when it is called. */
struct value tpl_new_macro(struct render *r, const struct macro_node *node)
{
    struct value v = { .kind = V_MACRO };
    v.u.macro = tpl_alloc(r, sizeof *v.u.macro);
    *v.u.macro = (struct macro){ node, r->act };
    return v;
}
