/* template/scope.c - gives every name its slot.
 *
 * Jinja compiles templates to Python, so what a name means is decided before
 * anything runs: a name that a scope stores anywhere belongs to that scope
 * everywhere in it, an inner scope starts from a copy of the outer value, and
 * only names that no scope around stores come from the context. Published
 * templates depend on it ("set" inside a loop is lost after it), so this is done
 * the same way: first a scope's symbols are collected without looking into inner
 * scopes, then its nodes are resolved, and inner scopes in turn. Variables of
 * one function that have the same name and level share a slot, as they share a
 * Python variable there. */
#include "template/scope.h"

static void resolve(struct parser *p, struct symbols *s, struct node *n);

static void resolve_all(struct parser *p, struct symbols *s, struct nodes *list)
{
    for (int i = 0; i < list->n; i++)
        resolve(p, s, list->v[i]);
}

/* A scope inside of s, in a function of its own if `fn` is one. */
static struct symbols inner(struct symbols *s, struct function *fn)
{
    return (struct symbols){ .parent = s, .fn = fn ? fn : s->fn, .level = s->level + 1 };
}

/* What is left to do at run time when a scope is entered. */
static struct scope freeze(struct parser *p, const struct symbols *s)
{
    struct scope scope = { parse_alloc(p, (size_t)s->n * sizeof *scope.load), s->n };
    for (int i = 0; i < s->n; i++)
        scope.load[i] = (struct load){ s->v[i].load, s->v[i].name, s->v[i].slot, s->v[i].from };
    return scope;
}

/* A copy of a loop's target. The condition of the loop is a function with slots of its
 * own, so its names need other places than those of the body. */
static struct node *clone_target(struct parser *p, const struct node *n)
{
    struct node *c = parse_new(p, n->kind, n->line);
    c->u = n->u;
    if (n->kind == N_TUPLE) {
        c->u.list = (struct nodes){ 0 };
        for (int i = 0; i < n->u.list.n; i++)
            parse_push(p, &c->u.list, clone_target(p, n->u.list.v[i]));
    }
    return c;
}

/* Resolves a loop. It has up to three scopes: the body with its target and `loop`, the
 * else part, and the condition. All symbols are collected before any name is resolved;
 * the sequence belongs to the scope around. */
static void resolve_for(struct parser *p, struct symbols *s, struct node *n)
{
    struct for_node *f = n->u.loop;
    struct undeclared u = { 0 };
    scope_undeclared(&u, n);
    if (u.found & LOOP_STORED)
        parse_fail(p, n->line, "cannot assign to the special variable 'loop'");
    f->function.depth = f->test_function.depth = s->fn->depth + 1;
    struct symbols body = inner(s, f->recursive ? &f->function : NULL), other = inner(s, body.fn);
    f->loop_slot = scope_parameter(p, &body, parse_str(p, "loop", 4));
    scope_collect_targets(p, &body, f->target);
    scope_collect_all(p, &body, &f->body);
    scope_collect_all(p, &other, &f->other);
    if (f->test) {
        struct symbols test = inner(s, &f->test_function);
        f->test_target = clone_target(p, f->target);
        scope_collect_targets(p, &test, f->test_target);
        scope_collect(p, &test, f->test);
        f->test_scope = freeze(p, &test);
        resolve(p, &test, f->test_target);
        resolve(p, &test, f->test);
    }
    f->scope = freeze(p, &body);
    f->other_scope = freeze(p, &other);
    resolve(p, s, f->iter);
    resolve(p, &body, f->target);
    resolve_all(p, &body, &f->body);
    resolve_all(p, &other, &f->other);
}

/* Notes the names of a macro: its parameters, and what defaults and body load and
 * store. */
static void collect_macro(struct parser *p, struct symbols *s, struct macro_node *m)
{
    for (int i = 0; i < m->params.n; i++)
        scope_parameter(p, s, m->params.v[i]->u.name.name);
    scope_collect_all(p, s, &m->defaults);
    scope_collect_all(p, s, &m->body);
}

/* caller, kwargs and varargs are parameters only if the body reads them. */
static void resolve_macro(struct parser *p, struct symbols *outer, struct macro_node *m, int line)
{
    struct undeclared u = { .names = WANT_CALLER | WANT_KWARGS | WANT_VARARGS };
    struct symbols s = inner(outer, &m->function);
    int named = 0;
    m->function.depth = outer->fn->depth + 1;
    collect_macro(p, &s, m);
    for (int i = 0; i < m->params.n; i++) {
        const struct str *name = m->params.v[i]->u.name.name;
        if (str_is(name, "caller")) {
            m->caller_is_param = true;
            named = m->params.n - i;
        }
        if (str_is(name, "kwargs"))
            u.names &= ~WANT_KWARGS;
        else if (str_is(name, "varargs"))
            u.names &= ~WANT_VARARGS;
    }
    scope_undeclared_all(&u, &m->body);
    if ((u.found & WANT_CALLER) && m->caller_is_param && named > m->defaults.n)
        parse_fail(p, line, "the parameter 'caller' must be left out or given a default");
    m->uses_caller = u.found & WANT_CALLER;
    m->uses_kwargs = u.found & WANT_KWARGS;
    m->uses_varargs = u.found & WANT_VARARGS;
    if (m->uses_caller && !m->caller_is_param)
        m->caller_slot = scope_parameter(p, &s, parse_str(p, "caller", 6));
    if (m->uses_kwargs)
        m->kwargs_slot = scope_parameter(p, &s, parse_str(p, "kwargs", 6));
    if (m->uses_varargs)
        m->varargs_slot = scope_parameter(p, &s, parse_str(p, "varargs", 7));
    collect_macro(p, &s, m);
    m->scope = freeze(p, &s);
    resolve_all(p, &s, &m->params);
    resolve_all(p, &s, &m->defaults);
    resolve_all(p, &s, &m->body);
}

/* Resolves a filter block or set block. The target of `set` lies in the scope around,
 * the filters and the body in the block's own. */
static void resolve_block(struct parser *p, struct symbols *s, struct node *n)
{
    struct symbols block = inner(s, NULL);
    scope_collect_all(p, &block, &n->u.block.body);
    scope_collect(p, &block, n->u.block.filter);
    n->u.block.scope = freeze(p, &block);
    resolve_all(p, &block, &n->u.block.body);
    resolve(p, s, n->u.block.target);
    resolve(p, &block, n->u.block.filter);
}

/* Resolves `with`: the targets lie in its scope, the values are computed in the scope
 * around. */
static void resolve_with(struct parser *p, struct symbols *s, struct node *n)
{
    struct symbols with = inner(s, NULL);
    for (int i = 0; i < n->u.with.targets.n; i++)
        scope_collect_targets(p, &with, n->u.with.targets.v[i]);
    scope_collect_all(p, &with, &n->u.with.body);
    n->u.with.scope = freeze(p, &with);
    resolve_all(p, &with, &n->u.with.targets);
    resolve_all(p, s, &n->u.with.values);
    resolve_all(p, &with, &n->u.with.body);
}

/* Resolves a call, filter or test. An unknown filter or test is an error here, unless
 * it stands inside an `if`. */
static void resolve_call(struct parser *p, struct symbols *s, struct node *n)
{
    struct call_node *c = n->u.call;
    if (n->kind != N_CALL && !c->builtin && !s->soft)
        parse_fail(p, n->line, "no %s named '%.60s'", n->kind == N_FILTER ? "filter" : "test", c->name->data);
    resolve(p, s, c->callee);
    resolve_all(p, s, &c->args);
    resolve_all(p, s, &c->kw);
    resolve(p, s, c->star);
    resolve(p, s, c->star_star);
}

/* Resolves an `if` or a condition, inside of which unknown filters and tests are errors
 * only when they run. Templates ask for a filter's existence that way. */
static void resolve_soft(struct parser *p, struct symbols *s, struct node *n)
{
    bool soft = s->soft;
    s->soft = true;
    if (n->kind == N_IF) {
        for (int i = 0; i < n->u.cond.n; i++) {
            resolve(p, s, n->u.cond.v[i].test);
            resolve_all(p, s, &n->u.cond.v[i].body);
        }
    } else {
        resolve(p, s, n->u.of.a);
        resolve(p, s, n->u.of.b);
        resolve(p, s, n->u.of.c);
    }
    s->soft = soft;
}

/* Gives a name its place. Its symbol has been collected before. */
static void resolve_name(struct parser *p, struct symbols *s, struct node *n)
{
    struct symbols *owner = NULL;
    struct symbol *symbol = scope_find(s, n->u.name.name, &owner);
    if (!symbol)
        parse_fail(p, n->line, "the variable '%.60s' belongs to no scope", n->u.name.name->data);
    n->u.name.place = scope_place(s, owner, symbol);
}

/* Gives every name below a node its place, as seen from scope s. Nodes that open a
 * scope of their own have functions above; NULL has no names. */
static void resolve(struct parser *p, struct symbols *s, struct node *n)
{
    if (!n)
        return;
    switch (n->kind) {
    case N_NAME: case N_ATTRIBUTE_TARGET:
        resolve_name(p, s, n);
        return;
    case N_TUPLE: case N_LIST: case N_DICT: case N_CONCAT: case N_PRINT:
        resolve_all(p, s, &n->u.list);
        return;
    case N_COMPARE:
        resolve_all(p, s, &n->u.compare.items);
        return;
    case N_ATTRIBUTE:
        resolve(p, s, n->u.attr.a);
        return;
    case N_CALL: case N_FILTER: case N_TEST:
        resolve_call(p, s, n);
        return;
    case N_ITEM: case N_SLICE: case N_NOT: case N_NEGATE: case N_POSITIVE: case N_BINARY: case N_AND: case N_OR:
        resolve(p, s, n->u.of.a);
        resolve(p, s, n->u.of.b);
        resolve(p, s, n->u.of.c);
        return;
    case N_CONDITION: case N_IF:
        resolve_soft(p, s, n);
        return;
    case N_FOR:
        resolve_for(p, s, n);
        return;
    case N_MACRO: {
        struct symbols *owner = NULL;
        resolve_macro(p, s, n->u.macro.m, n->line);
        n->u.macro.place = scope_place(s, s, scope_find(s, n->u.macro.m->name, &owner));
        return;
    }
    case N_CALL_BLOCK:
        resolve_macro(p, s, n->u.macro.m, n->line);
        resolve(p, s, n->u.macro.call);
        return;
    case N_FILTER_BLOCK: case N_SET_BLOCK:
        resolve_block(p, s, n);
        return;
    case N_WITH:
        resolve_with(p, s, n);
        return;
    case N_SET:
        resolve(p, s, n->u.set.value);
        resolve(p, s, n->u.set.target);
        return;
    case N_CONST: case N_DATA: case N_BREAK: case N_CONTINUE:
        return;
    }
}

/* Resolves a whole template, whose outermost scope is a function of its own. */
void tpl_resolve(struct parser *p, struct template *t)
{
    struct symbols s = { .fn = &t->function };
    scope_collect_all(p, &s, &t->body);
    t->scope = freeze(p, &s);
    resolve_all(p, &s, &t->body);
}
