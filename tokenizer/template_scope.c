/* tokenizer/template_scope.c - gives every name its slot.
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
#include <string.h>

#include "tokenizer/template_syntax.h"

struct symbol {
    struct str    *name;
    int            slot;
    enum load_kind load;
    struct place   from;
    bool           stored;
};

struct symbols {
    struct symbols  *parent;
    struct function *fn;
    int              level;
    bool             soft; /* inside an `if`: an unknown filter is an error only when it runs */
    struct symbol   *v;    /* (n) */
    int              n, cap;
};

static void collect(struct parser *p, struct symbols *s, const struct node *n);
static void resolve(struct parser *p, struct symbols *s, struct node *n);

/* ---- symbols */

static struct symbol *find_here(const struct symbols *s, const struct str *name)
{
    for (int i = 0; i < s->n; i++)
        if (s->v[i].name == name || str_order(s->v[i].name, name) == 0)
            return &s->v[i];
    return NULL;
}

/* The symbol of `name` in s or around it; *owner is where. */
static struct symbol *find(struct symbols *s, const struct str *name, struct symbols **owner)
{
    for (; s; s = s->parent) {
        struct symbol *found = find_here(s, name);
        if (found) {
            *owner = s;
            return found;
        }
    }
    return NULL;
}

static struct place place_of(const struct symbols *from, const struct symbols *owner, const struct symbol *symbol)
{
    return (struct place){ from->fn->depth - owner->fn->depth, symbol->slot };
}

static int slot_for(struct parser *p, struct function *fn, struct str *name, int level)
{
    for (int i = 0; i < fn->n_slots; i++)
        if (fn->slot[i].level == level && str_order(fn->slot[i].name, name) == 0)
            return i;
    if (fn->n_slots == TPL_MAX_NAMES)
        parse_fail(p, 1, "more than %d variables", TPL_MAX_NAMES);
    if (fn->n_slots == fn->cap) {
        int cap = fn->cap ? 2 * fn->cap : 8;
        struct slot_name *v = parse_alloc(p, (size_t)cap * sizeof *v);
        if (fn->n_slots)
            memcpy(v, fn->slot, (size_t)fn->n_slots * sizeof *v);
        fn->slot = v;
        fn->cap = cap;
    }
    fn->slot[fn->n_slots] = (struct slot_name){ name, level };
    return fn->n_slots++;
}

static struct symbol *add(struct parser *p, struct symbols *s, struct str *name, enum load_kind load)
{
    struct symbol *found = find_here(s, name);
    if (!found) {
        if (s->n == s->cap) {
            int cap = s->cap ? 2 * s->cap : 8;
            struct symbol *v = parse_alloc(p, (size_t)cap * sizeof *v);
            if (s->n)
                memcpy(v, s->v, (size_t)s->n * sizeof *v);
            s->v = v;
            s->cap = cap;
        }
        found = &s->v[s->n++];
        *found = (struct symbol){ .name = name, .slot = slot_for(p, s->fn, name, s->level) };
    }
    found->load = load;
    return found;
}

static int parameter(struct parser *p, struct symbols *s, struct str *name)
{
    struct symbol *symbol = add(p, s, name, LOAD_PARAMETER);
    symbol->stored = true;
    return symbol->slot;
}

static void store(struct parser *p, struct symbols *s, struct str *name)
{
    struct symbols *owner;
    struct symbol *symbol = find_here(s, name), *outer;
    if (!symbol) {
        outer = s->parent ? find(s->parent, name, &owner) : NULL;
        symbol = add(p, s, name, outer ? LOAD_ALIAS : LOAD_UNSET);
        if (outer)
            symbol->from = place_of(s, owner, outer);
    }
    symbol->stored = true;
}

static void load(struct parser *p, struct symbols *s, struct str *name)
{
    struct symbols *owner;
    if (!find(s, name, &owner))
        add(p, s, name, LOAD_CONTEXT);
}

static struct symbols copy(struct parser *p, const struct symbols *s)
{
    struct symbols c = *s;
    c.v = parse_alloc(p, (size_t)(s->n + 8) * sizeof *c.v);
    c.cap = s->n + 8;
    if (s->n)
        memcpy(c.v, s->v, (size_t)s->n * sizeof *c.v);
    return c;
}

/* Takes over what the branches of an `if` found. A name that only branches store
 * may be unset afterwards: it starts as what is outside of this scope. */
static void merge(struct parser *p, struct symbols *s, struct symbols *const *branch, int n)
{
    struct symbols before = copy(p, s), *owner;
    for (int b = 0; b < n; b++)
        for (int i = 0; i < branch[b]->n; i++) {
            const struct symbol *from = &branch[b]->v[i];
            struct symbol *to = add(p, s, from->name, from->load);
            to->from = from->from;
            to->stored |= from->stored;
        }
    for (int i = 0; i < s->n; i++) {
        struct symbol *symbol = &s->v[i], *old = find_here(&before, symbol->name), *outer;
        if (!symbol->stored || (old && old->stored))
            continue;
        outer = s->parent ? find(s->parent, symbol->name, &owner) : NULL;
        symbol->load = outer ? LOAD_ALIAS : LOAD_CONTEXT;
        if (outer)
            symbol->from = place_of(s, owner, outer);
    }
}

/* ---- collecting */

static void collect_all(struct parser *p, struct symbols *s, const struct nodes *list)
{
    for (int i = 0; i < list->n; i++)
        collect(p, s, list->v[i]);
}

static void collect_call(struct parser *p, struct symbols *s, const struct call_node *c)
{
    collect(p, s, c->callee);
    collect_all(p, s, &c->args);
    collect_all(p, s, &c->kw);
    collect(p, s, c->star);
    collect(p, s, c->star_star);
}

static void collect_if(struct parser *p, struct symbols *s, const struct node *n)
{
    struct symbols first, elifs, last, *all[3] = { &first, &elifs, &last };
    collect(p, s, n->u.cond.v[0].test);
    first = copy(p, s);
    elifs = copy(p, s);
    last = copy(p, s);
    collect_all(p, &first, &n->u.cond.v[0].body);
    for (int i = 1; i < n->u.cond.n; i++) {
        const struct if_branch *b = &n->u.cond.v[i];
        if (!b->test) {
            collect_all(p, &last, &b->body);
            break;
        }
        collect(p, &elifs, b->test);
        struct symbols inner = copy(p, &elifs), *one = &inner;
        collect_all(p, &inner, &b->body);
        merge(p, &elifs, &one, 1);
    }
    merge(p, s, all, 3);
}

/* The targets of loops and `with`, whose names start in the scope. */
static void collect_parameters(struct parser *p, struct symbols *s, const struct node *target)
{
    if (target->kind == N_NAME)
        parameter(p, s, target->u.name.name);
    else if (target->kind == N_TUPLE)
        for (int i = 0; i < target->u.list.n; i++)
            collect_parameters(p, s, target->u.list.v[i]);
}

static void collect(struct parser *p, struct symbols *s, const struct node *n)
{
    if (!n)
        return;
    switch (n->kind) {
    case N_NAME:
        (n->u.name.store ? store : load)(p, s, n->u.name.name);
        return;
    case N_ATTRIBUTE_TARGET:
        load(p, s, n->u.name.name);
        return;
    case N_TUPLE: case N_LIST: case N_DICT: case N_CONCAT: case N_PRINT:
        collect_all(p, s, &n->u.list);
        return;
    case N_COMPARE:
        collect_all(p, s, &n->u.compare.items);
        return;
    case N_ATTRIBUTE:
        collect(p, s, n->u.attr.a);
        return;
    case N_CALL: case N_FILTER: case N_TEST:
        collect_call(p, s, n->u.call);
        return;
    case N_ITEM: case N_SLICE: case N_NOT: case N_NEGATE: case N_POSITIVE: case N_BINARY: case N_AND: case N_OR:
    case N_CONDITION:
        collect(p, s, n->u.of.a);
        collect(p, s, n->u.of.b);
        collect(p, s, n->u.of.c);
        return;
    case N_FOR:
        collect(p, s, n->u.loop->iter);
        return;
    case N_IF:
        collect_if(p, s, n);
        return;
    case N_MACRO:
        store(p, s, n->u.macro.m->name);
        return;
    case N_CALL_BLOCK:
        collect(p, s, n->u.macro.call);
        return;
    case N_FILTER_BLOCK:
        collect(p, s, n->u.block.filter);
        return;
    case N_WITH:
        collect_all(p, s, &n->u.with.values);
        return;
    case N_SET:
        collect(p, s, n->u.set.value);
        collect(p, s, n->u.set.target);
        return;
    case N_SET_BLOCK:
        collect(p, s, n->u.block.target);
        return;
    case N_CONST: case N_DATA: case N_BREAK: case N_CONTINUE:
        return;
    }
}

/* ---- which of caller, kwargs, varargs a macro's body reads before storing it */

enum { WANT_CALLER = 1, WANT_KWARGS = 2, WANT_VARARGS = 4, WANT_LOOP_STORED = 8 };

struct undeclared {
    int names, found;
};

static void undeclared(struct undeclared *u, const struct node *n);

static void undeclared_all(struct undeclared *u, const struct nodes *list)
{
    for (int i = 0; i < list->n; i++)
        undeclared(u, list->v[i]);
}

static void undeclared_name(struct undeclared *u, const struct str *name, bool stores)
{
    int bit = str_is(name, "caller") ? WANT_CALLER : str_is(name, "kwargs") ? WANT_KWARGS
              : str_is(name, "varargs") ? WANT_VARARGS : 0;
    if (stores && str_is(name, "loop"))
        u->found |= WANT_LOOP_STORED;
    if (stores)
        u->names &= ~bit;
    else
        u->found |= u->names & bit;
}

static void undeclared(struct undeclared *u, const struct node *n)
{
    if (!n)
        return;
    switch (n->kind) {
    case N_NAME:
        undeclared_name(u, n->u.name.name, n->u.name.store);
        return;
    case N_TUPLE: case N_LIST: case N_DICT: case N_CONCAT: case N_PRINT:
        undeclared_all(u, &n->u.list);
        return;
    case N_COMPARE:
        undeclared_all(u, &n->u.compare.items);
        return;
    case N_ATTRIBUTE:
        undeclared(u, n->u.attr.a);
        return;
    case N_CALL: case N_FILTER: case N_TEST:
        undeclared(u, n->u.call->callee);
        undeclared_all(u, &n->u.call->args);
        undeclared_all(u, &n->u.call->kw);
        undeclared(u, n->u.call->star);
        undeclared(u, n->u.call->star_star);
        return;
    case N_ITEM: case N_SLICE: case N_NOT: case N_NEGATE: case N_POSITIVE: case N_BINARY: case N_AND: case N_OR:
    case N_CONDITION:
        undeclared(u, n->u.of.a);
        undeclared(u, n->u.of.b);
        undeclared(u, n->u.of.c);
        return;
    case N_FOR:
        undeclared(u, n->u.loop->target);
        undeclared(u, n->u.loop->iter);
        undeclared_all(u, &n->u.loop->body);
        undeclared_all(u, &n->u.loop->other);
        undeclared(u, n->u.loop->test);
        return;
    case N_IF:
        for (int i = 0; i < n->u.cond.n; i++) {
            undeclared(u, n->u.cond.v[i].test);
            undeclared_all(u, &n->u.cond.v[i].body);
        }
        return;
    case N_MACRO: case N_CALL_BLOCK:
        undeclared(u, n->u.macro.call);
        for (int i = 0; i < n->u.macro.m->params.n; i++)
            undeclared_name(u, n->u.macro.m->params.v[i]->u.name.name, true);
        undeclared_all(u, &n->u.macro.m->defaults);
        undeclared_all(u, &n->u.macro.m->body);
        return;
    case N_FILTER_BLOCK: case N_SET_BLOCK:
        undeclared(u, n->u.block.target);
        undeclared(u, n->u.block.filter);
        undeclared_all(u, &n->u.block.body);
        return;
    case N_WITH:
        undeclared_all(u, &n->u.with.targets);
        undeclared_all(u, &n->u.with.values);
        undeclared_all(u, &n->u.with.body);
        return;
    case N_SET:
        undeclared(u, n->u.set.target);
        undeclared(u, n->u.set.value);
        return;
    case N_ATTRIBUTE_TARGET: case N_CONST: case N_DATA: case N_BREAK: case N_CONTINUE:
        return;
    }
}

/* ---- resolving */

static void resolve_all(struct parser *p, struct symbols *s, struct nodes *list)
{
    for (int i = 0; i < list->n; i++)
        resolve(p, s, list->v[i]);
}

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

static void resolve_for(struct parser *p, struct symbols *s, struct node *n)
{
    struct for_node *f = n->u.loop;
    struct undeclared u = { 0 };
    undeclared(&u, n);
    if (u.found & WANT_LOOP_STORED)
        parse_fail(p, n->line, "cannot assign to the special variable 'loop'");
    f->function.depth = f->test_function.depth = s->fn->depth + 1;
    struct symbols body = inner(s, f->recursive ? &f->function : NULL), other = inner(s, body.fn);
    f->loop_slot = parameter(p, &body, parse_str(p, "loop", 4));
    collect_parameters(p, &body, f->target);
    collect_all(p, &body, &f->body);
    collect_all(p, &other, &f->other);
    if (f->test) {
        struct symbols test = inner(s, &f->test_function);
        f->test_target = clone_target(p, f->target);
        collect_parameters(p, &test, f->test_target);
        collect(p, &test, f->test);
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

static void collect_macro(struct parser *p, struct symbols *s, struct macro_node *m)
{
    for (int i = 0; i < m->params.n; i++)
        parameter(p, s, m->params.v[i]->u.name.name);
    collect_all(p, s, &m->defaults);
    collect_all(p, s, &m->body);
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
        u.names &= ~(str_is(name, "kwargs") ? WANT_KWARGS : str_is(name, "varargs") ? WANT_VARARGS : 0);
    }
    undeclared_all(&u, &m->body);
    if ((u.found & WANT_CALLER) && m->caller_is_param && named > m->defaults.n)
        parse_fail(p, line, "the parameter 'caller' must be left out or given a default");
    m->uses_caller = u.found & WANT_CALLER;
    m->uses_kwargs = u.found & WANT_KWARGS;
    m->uses_varargs = u.found & WANT_VARARGS;
    if (m->uses_caller && !m->caller_is_param)
        m->caller_slot = parameter(p, &s, parse_str(p, "caller", 6));
    if (m->uses_kwargs)
        m->kwargs_slot = parameter(p, &s, parse_str(p, "kwargs", 6));
    if (m->uses_varargs)
        m->varargs_slot = parameter(p, &s, parse_str(p, "varargs", 7));
    collect_macro(p, &s, m);
    m->scope = freeze(p, &s);
    resolve_all(p, &s, &m->params);
    resolve_all(p, &s, &m->defaults);
    resolve_all(p, &s, &m->body);
}

static void resolve_block(struct parser *p, struct symbols *s, struct node *n)
{
    struct symbols block = inner(s, NULL);
    collect_all(p, &block, &n->u.block.body);
    collect(p, &block, n->u.block.filter);
    n->u.block.scope = freeze(p, &block);
    resolve_all(p, &block, &n->u.block.body);
    resolve(p, s, n->u.block.target);
    resolve(p, &block, n->u.block.filter);
}

static void resolve_with(struct parser *p, struct symbols *s, struct node *n)
{
    struct symbols with = inner(s, NULL);
    for (int i = 0; i < n->u.with.targets.n; i++)
        collect_parameters(p, &with, n->u.with.targets.v[i]);
    collect_all(p, &with, &n->u.with.body);
    n->u.with.scope = freeze(p, &with);
    resolve_all(p, &with, &n->u.with.targets);
    resolve_all(p, s, &n->u.with.values);
    resolve_all(p, &with, &n->u.with.body);
}

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

static void resolve_name(struct parser *p, struct symbols *s, struct node *n)
{
    struct symbols *owner = NULL;
    struct symbol *symbol = find(s, n->u.name.name, &owner);
    if (!symbol)
        parse_fail(p, n->line, "the variable '%.60s' belongs to no scope", n->u.name.name->data);
    n->u.name.place = place_of(s, owner, symbol);
}

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
        n->u.macro.place = place_of(s, s, find(s, n->u.macro.m->name, &owner));
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

void tpl_resolve(struct parser *p, struct template *t)
{
    struct symbols s = { .fn = &t->function };
    collect_all(p, &s, &t->body);
    t->scope = freeze(p, &s);
    resolve_all(p, &s, &t->body);
}
