/* template/symbols.c - which names a scope loads and stores. Follows
 * Jinja's own analysis, since its outcome is visible (see scope.c). */
#include <string.h>

#include "template/scope.h"

/* ---- symbols */

/* The symbol of `name` in this scope alone, or NULL. */
static struct symbol *find_here(const struct symbols *s, const struct str *name)
{
    for (int i = 0; i < s->n; i++)
        if (s->v[i].name == name || str_order(s->v[i].name, name) == 0)
            return &s->v[i];
    return NULL;
}

/* The symbol of `name` in s or around it; *owner is where. */
struct symbol *scope_find(struct symbols *s, const struct str *name, struct symbols **owner)
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

/* Where a variable of `owner` lies as seen from another scope: the number of functions
 * between the two, and its slot. */
struct place scope_place(const struct symbols *from, const struct symbols *owner, const struct symbol *symbol)
{
    return (struct place){ from->fn->depth - owner->fn->depth, symbol->slot };
}

/* The slot of a variable in its function. The same name at the same level has one slot,
 * however many scopes use it, as it is one Python variable in Jinja's code. */
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

/* Notes how a scope starts with a name, and gives the name a slot if it is new there. */
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

/* A variable that whoever enters the scope sets: a parameter, a loop's target, `loop`
 * itself. */
int scope_parameter(struct parser *p, struct symbols *s, struct str *name)
{
    struct symbol *symbol = add(p, s, name, LOAD_PARAMETER);
    symbol->stored = true;
    return symbol->slot;
}

/* Notes that a scope stores a name. It starts as a copy of the variable around of that
 * name, or unset if there is none. */
static void store(struct parser *p, struct symbols *s, struct str *name)
{
    struct symbols *owner;
    struct symbol *symbol = find_here(s, name), *outer;
    if (!symbol) {
        outer = s->parent ? scope_find(s->parent, name, &owner) : NULL;
        symbol = add(p, s, name, outer ? LOAD_ALIAS : LOAD_UNSET);
        if (outer)
            symbol->from = scope_place(s, owner, outer);
    }
    symbol->stored = true;
}

/* Notes that a scope reads a name. If no scope around knows it, it comes from the
 * context. */
static void load(struct parser *p, struct symbols *s, struct str *name)
{
    struct symbols *owner;
    if (!scope_find(s, name, &owner))
        add(p, s, name, LOAD_CONTEXT);
}

/* A copy to which names can be added without changing the original. */
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
        outer = s->parent ? scope_find(s->parent, symbol->name, &owner) : NULL;
        symbol->load = outer ? LOAD_ALIAS : LOAD_CONTEXT;
        if (outer)
            symbol->from = scope_place(s, owner, outer);
    }
}

/* ---- collecting: walks one scope and notes its names, without looking into the
 * scopes inside of it */

void scope_collect_all(struct parser *p, struct symbols *s, const struct nodes *list)
{
    for (int i = 0; i < list->n; i++)
        scope_collect(p, s, list->v[i]);
}

/* A call, filter or test: what it is applied to and all its arguments. */
static void collect_call(struct parser *p, struct symbols *s, const struct call_node *c)
{
    scope_collect(p, s, c->callee);
    scope_collect_all(p, s, &c->args);
    scope_collect_all(p, s, &c->kw);
    scope_collect(p, s, c->star);
    scope_collect(p, s, c->star_star);
}

/* An `if`: each branch is collected as if the others were not there, then all are
 * merged into the scope. The elif parts see each other in turn. */
static void collect_if(struct parser *p, struct symbols *s, const struct node *n)
{
    struct symbols first, elifs, last, *all[3] = { &first, &elifs, &last };
    scope_collect(p, s, n->u.cond.v[0].test);
    first = copy(p, s);
    elifs = copy(p, s);
    last = copy(p, s);
    scope_collect_all(p, &first, &n->u.cond.v[0].body);
    for (int i = 1; i < n->u.cond.n; i++) {
        const struct if_branch *b = &n->u.cond.v[i];
        if (!b->test) {
            scope_collect_all(p, &last, &b->body);
            break;
        }
        scope_collect(p, &elifs, b->test);
        struct symbols inner = copy(p, &elifs), *one = &inner;
        scope_collect_all(p, &inner, &b->body);
        merge(p, &elifs, &one, 1);
    }
    merge(p, s, all, 3);
}

/* The targets of loops and `with`, whose names start in the scope. */
void scope_collect_targets(struct parser *p, struct symbols *s, const struct node *target)
{
    if (target->kind == N_NAME)
        scope_parameter(p, s, target->u.name.name);
    else if (target->kind == N_TUPLE)
        for (int i = 0; i < target->u.list.n; i++)
            scope_collect_targets(p, s, target->u.list.v[i]);
}

/* Each kind of node tells which of its parts belong to this scope. Bodies that are
 * scopes of their own are left out: scope.c collects them by themselves. */
void scope_collect(struct parser *p, struct symbols *s, const struct node *n)
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
        scope_collect_all(p, s, &n->u.list);
        return;
    case N_COMPARE:
        scope_collect_all(p, s, &n->u.compare.items);
        return;
    case N_ATTRIBUTE:
        scope_collect(p, s, n->u.attr.a);
        return;
    case N_CALL: case N_FILTER: case N_TEST:
        collect_call(p, s, n->u.call);
        return;
    case N_ITEM: case N_SLICE: case N_NOT: case N_NEGATE: case N_POSITIVE: case N_BINARY: case N_AND: case N_OR:
    case N_CONDITION:
        scope_collect(p, s, n->u.of.a);
        scope_collect(p, s, n->u.of.b);
        scope_collect(p, s, n->u.of.c);
        return;
    case N_FOR:
        scope_collect(p, s, n->u.loop->iter);
        return;
    case N_IF:
        collect_if(p, s, n);
        return;
    case N_MACRO:
        store(p, s, n->u.macro.m->name);
        return;
    case N_CALL_BLOCK:
        scope_collect(p, s, n->u.macro.call);
        return;
    case N_FILTER_BLOCK:
        scope_collect(p, s, n->u.block.filter);
        return;
    case N_WITH:
        scope_collect_all(p, s, &n->u.with.values);
        return;
    case N_SET:
        scope_collect(p, s, n->u.set.value);
        scope_collect(p, s, n->u.set.target);
        return;
    case N_SET_BLOCK:
        scope_collect(p, s, n->u.block.target);
        return;
    case N_CONST: case N_DATA: case N_BREAK: case N_CONTINUE:
        return;
    }
}

/* ---- which of caller, kwargs, varargs a macro's body reads before storing it */

void scope_undeclared_all(struct undeclared *u, const struct nodes *list)
{
    for (int i = 0; i < list->n; i++)
        scope_undeclared(u, list->v[i]);
}

/* One name on the way: reading it finds it, unless it was stored before, which ends the
 * search for it. */
static void undeclared_name(struct undeclared *u, const struct str *name, bool stores)
{
    int bit = 0;
    if (str_is(name, "caller"))
        bit = WANT_CALLER;
    else if (str_is(name, "kwargs"))
        bit = WANT_KWARGS;
    else if (str_is(name, "varargs"))
        bit = WANT_VARARGS;
    if (stores && str_is(name, "loop"))
        u->found |= LOOP_STORED;
    if (stores)
        u->names &= ~bit;
    else
        u->found |= u->names & bit;
}

/* Walks the node and everything inside it, scopes as well, in the order of Jinja's
 * own search, on which the outcome depends. */
void scope_undeclared(struct undeclared *u, const struct node *n)
{
    if (!n)
        return;
    switch (n->kind) {
    case N_NAME:
        undeclared_name(u, n->u.name.name, n->u.name.store);
        return;
    case N_TUPLE: case N_LIST: case N_DICT: case N_CONCAT: case N_PRINT:
        scope_undeclared_all(u, &n->u.list);
        return;
    case N_COMPARE:
        scope_undeclared_all(u, &n->u.compare.items);
        return;
    case N_ATTRIBUTE:
        scope_undeclared(u, n->u.attr.a);
        return;
    case N_CALL: case N_FILTER: case N_TEST:
        scope_undeclared(u, n->u.call->callee);
        scope_undeclared_all(u, &n->u.call->args);
        scope_undeclared_all(u, &n->u.call->kw);
        scope_undeclared(u, n->u.call->star);
        scope_undeclared(u, n->u.call->star_star);
        return;
    case N_ITEM: case N_SLICE: case N_NOT: case N_NEGATE: case N_POSITIVE: case N_BINARY: case N_AND: case N_OR:
    case N_CONDITION:
        scope_undeclared(u, n->u.of.a);
        scope_undeclared(u, n->u.of.b);
        scope_undeclared(u, n->u.of.c);
        return;
    case N_FOR:
        scope_undeclared(u, n->u.loop->target);
        scope_undeclared(u, n->u.loop->iter);
        scope_undeclared_all(u, &n->u.loop->body);
        scope_undeclared_all(u, &n->u.loop->other);
        scope_undeclared(u, n->u.loop->test);
        return;
    case N_IF:
        for (int i = 0; i < n->u.cond.n; i++) {
            scope_undeclared(u, n->u.cond.v[i].test);
            scope_undeclared_all(u, &n->u.cond.v[i].body);
        }
        return;
    case N_MACRO: case N_CALL_BLOCK:
        scope_undeclared(u, n->u.macro.call);
        for (int i = 0; i < n->u.macro.m->params.n; i++)
            undeclared_name(u, n->u.macro.m->params.v[i]->u.name.name, true);
        scope_undeclared_all(u, &n->u.macro.m->defaults);
        scope_undeclared_all(u, &n->u.macro.m->body);
        return;
    case N_FILTER_BLOCK: case N_SET_BLOCK:
        scope_undeclared(u, n->u.block.target);
        scope_undeclared(u, n->u.block.filter);
        scope_undeclared_all(u, &n->u.block.body);
        return;
    case N_WITH:
        scope_undeclared_all(u, &n->u.with.targets);
        scope_undeclared_all(u, &n->u.with.values);
        scope_undeclared_all(u, &n->u.with.body);
        return;
    case N_SET:
        scope_undeclared(u, n->u.set.target);
        scope_undeclared(u, n->u.set.value);
        return;
    case N_ATTRIBUTE_TARGET: case N_CONST: case N_DATA: case N_BREAK: case N_CONTINUE:
        return;
    }
}
