/* template/exec.c - statements: scopes, loops and blocks.
 *
 * tpl_exec() calls itself through nested bodies, so what a statement needs on the
 * stack is kept out of the common frame (OUT_OF_LINE), as in eval.c. Output goes
 * to r->out, which macros (macro.c), recursive loops and blocks replace for a while. */
#include <string.h>

#include "template/syntax.h"

#define OUT_OF_LINE __attribute__((noinline))

/* ---- scopes */

/* Makes the slots of one call of a function. Every slot starts as V_MISSING, which
 * reads as an undefined variable. `outer` is the activation in which the function was
 * defined, not the caller's, so that names of the scope around keep their meaning. */
struct activation *tpl_activate(struct render *r, const struct function *f, struct activation *outer)
{
    struct activation *a = tpl_alloc(r, sizeof *a);
    a->outer = outer;
    a->slot = tpl_alloc(r, (size_t)f->n_slots * sizeof *a->slot); /* zeroed: V_MISSING */
    return a;
}

/* Looks a name up that no scope stores: first among the variables of the request, then
 * among those of the checkpoint, then among the global functions. */
static struct value from_context(struct render *r, const struct str *name)
{
    struct value *v = tpl_dict_get_str(r, r->context, name);
    if (!v)
        v = tpl_dict_get_str(r, r->names, name);
    if (v)
        return *v;
    const struct builtin *b = tpl_find_builtin(tpl_globals, name->data, name->len);
    return b ? (struct value){ .kind = V_FUNCTION, .u.function = b } : v_missing();
}

/* Gives the variables of a scope the values they start with, as scope.c has decided for
 * each. Parameters are left alone: whoever enters the scope has set them. */
void tpl_enter_scope(struct render *r, const struct scope *s)
{
    for (int i = 0; i < s->n; i++) {
        const struct load *l = &s->load[i];
        if (l->kind == LOAD_CONTEXT)
            r->act->slot[l->slot] = from_context(r, l->name);
        else if (l->kind == LOAD_ALIAS)
            r->act->slot[l->slot] = *tpl_slot(r, l->from);
        else if (l->kind == LOAD_UNSET)
            r->act->slot[l->slot] = v_missing();
    }
}

/* Empties the slots of a scope, so that a sibling scope which shares them does not see
 * old values. */
void tpl_leave_scope(struct render *r, const struct scope *s)
{
    for (int i = 0; i < s->n; i++)
        r->act->slot[s->load[i].slot] = v_missing();
}

/* ---- assignment */

/* Stores an attribute of a namespace, the only object that a template may change. The
 * caller has checked that the target is a namespace. */
static void assign_attribute(struct render *r, const struct node *target, struct value v)
{
    struct value on = *tpl_slot(r, target->u.name.place);
    struct str *attr = target->u.name.attr;
    if (attr->data[0] == '_')
        tpl_fail(r, "a namespace cannot store names that begin with an underscore");
    tpl_dict_set(r, on.u.dict, v_str(attr), v);
}

/* Python checks all namespaces before the value is computed. */
static void check_namespaces(struct render *r, const struct node *target)
{
    if (target->kind == N_ATTRIBUTE_TARGET && tpl_slot(r, target->u.name.place)->kind != V_NAMESPACE)
        tpl_fail(r, "cannot assign attribute on non-namespace object");
    for (int i = 0; target->kind == N_TUPLE && i < target->u.list.n; i++)
        check_namespaces(r, target->u.list.v[i]);
}

/* Assigns v to a target: a name, an attribute of a namespace, or a tuple of targets.
 * For a tuple all items are taken before the first is stored, as in Python, and their
 * number must be exact. */
void tpl_assign(struct render *r, const struct node *target, struct value v)
{
    struct value item;
    if (target->kind == N_NAME) {
        *tpl_slot(r, target->u.name.place) = v;
        return;
    }
    if (target->kind == N_ATTRIBUTE_TARGET) {
        check_namespaces(r, target); /* `set` has done so; a set block has not */
        assign_attribute(r, target, v);
        return;
    }
    int n = target->u.list.n, i = 0;
    struct value *all = tpl_alloc(r, (size_t)n * sizeof *all);
    struct iter *it = tpl_iter(r, v);
    for (; i < n && tpl_next(r, it, &all[i]); i++)
        ;
    if (i < n)
        tpl_fail(r, "not enough values to unpack (expected %d, got %d)", n, i);
    if (tpl_next(r, it, &item))
        tpl_fail(r, "too many values to unpack (expected %d)", n);
    for (i = 0; i < n; i++)
        tpl_assign(r, target->u.list.v[i], all[i]);
}

/* ---- captured output */

/* Sends the output to a text of its own until tpl_capture_end(), which gives that text and
 * restores the output before. A rendering that fails in between leaves by longjmp and
 * never writes again, so nothing needs to be restored then. */
void tpl_capture_begin(struct render *r, struct capture *c)
{
    text_init(&c->text, r);
    c->before = r->out;
    r->out = &c->text;
}

struct value tpl_capture_end(struct render *r, struct capture *c)
{
    r->out = c->before;
    return text_value(&c->text);
}

/* Ends a rendering that writes without end. It is called after each statement that may
 * have written, and captured text is bounded by it as well. */
static void check_output(struct render *r)
{
    if (r->out->len > r->max_output)
        tpl_fail(r, "the output has more than %zu bytes", r->max_output);
}

/* ---- loops */

/* Moves the loop to its next item; *more tells whether there was one. The item may
 * already have been read, by has_next(), and then lies in l->after. */
static void advance(struct render *r, struct loop *l, bool *more)
{
    struct value v = l->after;
    *more = true;
    l->after = v_missing();
    if (v.kind == V_MISSING)
        *more = tpl_next(r, l->iter, &v);
    if (!*more)
        return;
    l->index0++;
    l->before = l->current;
    l->current = v;
}

/* Reads one item ahead to answer `loop.last` and `loop.nextitem`. Only these pay for
 * it: a loop that does not ask computes no item early. */
static bool has_next(struct render *r, struct loop *l)
{
    struct value v;
    if (l->after.kind == V_MISSING && tpl_next(r, l->iter, &v))
        l->after = v;
    return l->after.kind != V_MISSING;
}

/* The length of what a loop goes through. A generator has to be read to its end for that; what it gave is kept, and the
 * loop goes on with it. */
static int64_t loop_length(struct render *r, struct loop *l)
{
    size_t n;
    if (l->length >= 0)
        return l->length;
    if (tpl_length(l->iterable, &n)) {
        l->length = (int64_t)n;
    } else {
        struct value rest = tpl_list_of(r, v_iter(l->iter));
        l->iter = tpl_iter(r, rest);
        l->length = (int64_t)rest.u.list->n + l->index0 + 1 + (l->after.kind != V_MISSING);
    }
    return l->length;
}

/* `loop.cycle(a, b, ...)`: the argument whose turn it is in this iteration. */
static struct value loop_cycle(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)a;
    if (!args->n || args->n_kw)
        tpl_fail(r, "no items for cycling given");
    return args->v[self.u.loop->index0 % args->n];
}

/* `loop.changed(...)`: whether the arguments differ from those of the last call in this
 * loop; true at the first call. */
static struct value loop_changed(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)a;
    struct value now = v_list(r, V_TUPLE, args->v, (size_t)args->n);
    if (self.u.loop->changed.kind != V_MISSING && tpl_equal(r, self.u.loop->changed, now))
        return v_bool(false);
    self.u.loop->changed = now;
    return v_bool(true);
}

static const struct builtin loop_methods[] = {
    { "cycle", "*", loop_cycle },
    { "changed", "*", loop_changed },
    { NULL, NULL, NULL },
};

/* In the order of the names in tpl_loop_attr(). */
enum loop_attr {
    L_INDEX, L_INDEX0, L_REVINDEX, L_REVINDEX0, L_FIRST, L_LAST, L_LENGTH, L_DEPTH, L_DEPTH0, L_PREV, L_NEXT,
};

/* Computes one attribute of `loop`. The length and what follows from it may read a
 * generator to its end, so they are computed only when a template asks. */
static struct value loop_value(struct render *r, struct loop *l, enum loop_attr attr)
{
    switch (attr) {
    case L_INDEX:     return v_int(l->index0 + 1);
    case L_INDEX0:    return v_int(l->index0);
    case L_REVINDEX:  return v_int(loop_length(r, l) - l->index0);
    case L_REVINDEX0: return v_int(loop_length(r, l) - l->index0 - 1);
    case L_FIRST:     return v_bool(l->index0 == 0);
    case L_LAST:      return v_bool(!has_next(r, l));
    case L_LENGTH:    return v_int(loop_length(r, l));
    case L_DEPTH:     return v_int(l->depth0 + 1);
    case L_DEPTH0:    return v_int(l->depth0);
    case L_PREV:      return l->index0 == 0 ? v_undefined(r, "there is no previous item") : l->before;
    case L_NEXT:      return has_next(r, l) ? l->after : v_undefined(r, "there is no next item");
    }
    return v_none();
}

/* Answers `loop.name`: a value, or one of the two methods bound to this loop. False
 * where `loop` has no such attribute. */
bool tpl_loop_attr(struct render *r, struct loop *l, const struct str *name, struct value *out)
{
    static const char *const names[] = { "index", "index0", "revindex", "revindex0", "first", "last", "length",
                                         "depth", "depth0", "previtem", "nextitem" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_is(name, names[i])) {
            *out = loop_value(r, l, (enum loop_attr)i);
            return true;
        }
    const struct builtin *b = tpl_find_builtin(loop_methods, name->data, name->len);
    if (!b)
        return false;
    *out = (struct value){ .kind = V_METHOD };
    out->u.method = tpl_alloc(r, sizeof *out->u.method);
    *out->u.method = (struct method){ { .kind = V_LOOP, .u.loop = l }, b };
    return true;
}

/* Whether the item passes the condition of `for ... if`, which is evaluated in a scope of its own with the loop's
 * variables set. */
bool tpl_for_if(struct render *r, struct for_if *f, struct value item)
{
    struct activation *before = r->act;
    r->act = tpl_activate(r, &f->node->test_function, f->outer);
    tpl_enter_scope(r, &f->node->test_scope);
    tpl_assign(r, f->node->test_target, item);
    bool pass = tpl_truth(r, tpl_eval(r, f->node->test));
    r->act = before;
    return pass;
}

/* The loop itself, in the function that is active. `outer` is that of the scope
 * in which the loop stands. */
static OUT_OF_LINE void run_loop(struct render *r, const struct for_node *f, struct activation *outer,
                                 struct value iterable, int64_t depth0)
{
    bool more, completed = false;
    struct loop *l = tpl_alloc(r, sizeof *l);
    l->node = f;
    l->outer = outer;
    l->index0 = l->length = -1;
    l->depth0 = depth0;
    if (f->test) {
        struct iter *it = tpl_iter_new(r, ITER_FOR_IF, iterable);
        it->for_if = tpl_alloc(r, sizeof *it->for_if);
        *it->for_if = (struct for_if){ f, outer };
        iterable = v_iter(it);
    }
    l->iterable = iterable;
    l->iter = tpl_iter(r, iterable);
    for (advance(r, l, &more); more; advance(r, l, &more)) {
        tpl_assign(r, f->target, l->current);
        r->act->slot[f->loop_slot] = (struct value){ .kind = V_LOOP, .u.loop = l };
        tpl_enter_scope(r, &f->scope);
        enum flow flow = tpl_exec(r, &f->body);
        if (flow == FLOW_BREAK)
            break;
        if (flow == FLOW_NEXT)
            completed = true; /* as in Jinja, an iteration left by continue does not count */
    }
    tpl_leave_scope(r, &f->scope);
    if (!completed && f->other.n) {
        tpl_enter_scope(r, &f->other_scope);
        tpl_exec(r, &f->other);
        tpl_leave_scope(r, &f->other_scope);
    }
}

/* Runs a recursive loop as the function it is in Jinja: in an activation of its own,
 * with its output captured and given back as text. */
static struct value recurse(struct render *r, const struct for_node *f, struct activation *outer,
                            struct value iterable, int64_t depth0)
{
    struct capture c;
    struct activation *before = r->act;
    tpl_enter(r);
    tpl_capture_begin(r, &c);
    r->act = tpl_activate(r, &f->function, outer);
    run_loop(r, f, outer, iterable, depth0);
    r->act = before;
    tpl_leave(r);
    return tpl_capture_end(r, &c);
}

/* `loop(iterable)` inside a recursive loop: the text of the same loop over other items,
 * one level deeper. */
struct value tpl_loop_recurse(struct render *r, struct loop *l, struct value iterable)
{
    if (!l->node->recursive)
        tpl_fail(r, "the loop must have the 'recursive' marker to be called recursively");
    return recurse(r, l->node, l->outer, iterable, l->depth0 + 1);
}

/* A recursive loop is a text that the loop makes of itself; any other writes as it goes. */
static void exec_for(struct render *r, const struct node *n)
{
    const struct for_node *f = n->u.loop;
    struct value iterable = tpl_eval(r, f->iter);
    r->line = n->line;
    if (f->recursive)
        text_str(r->out, recurse(r, f, r->act, iterable, 0).u.s);
    else
        run_loop(r, f, r->act, iterable, 0);
}

/* ---- macros and blocks */

/* Runs `{% call f(...) %}`: calls f with the body as the extra keyword argument
 * `caller`, and prints what f gives. The tag `generation`, which only marks text for
 * training, has no call and prints its body. */
static OUT_OF_LINE void exec_call_block(struct render *r, const struct node *n)
{
    struct value caller = tpl_new_macro(r, n->u.macro.m), callee;
    struct args args = { 0 };
    if (!n->u.macro.call) { /* {% generation %} */
        text_str(r->out, tpl_call_macro(r, caller.u.macro, &args).u.s);
        return;
    }
    const struct call_node *c = n->u.macro.call->u.call;
    callee = tpl_eval(r, c->callee);
    tpl_eval_args(r, c, &args);
    struct keyword *kw = tpl_alloc(r, ((size_t)args.n_kw + 1) * sizeof *kw);
    if (args.n_kw)
        memcpy(kw, args.kw, (size_t)args.n_kw * sizeof *kw);
    kw[args.n_kw++] = (struct keyword){ tpl_str(r, "caller", 6), caller };
    args.kw = kw;
    r->line = n->line;
    text_print(r->out, tpl_call(r, callee, &args));
}

/* A chain of filters has what it is applied to at its innermost end. */
static struct value filter_text(struct render *r, const struct node *filter, struct value text)
{
    if (!filter)
        return text;
    struct value on = filter_text(r, filter->u.call->callee, text);
    r->line = filter->line;
    return tpl_apply_filter(r, filter->u.call, on);
}

/* Runs a filter block or a set block: the output of the body is captured, sent through
 * the filters, and printed or assigned. A body left by break or continue is thrown
 * away, as in Jinja. */
static OUT_OF_LINE enum flow exec_block(struct render *r, const struct node *n)
{
    struct capture c;
    tpl_enter_scope(r, &n->u.block.scope);
    tpl_capture_begin(r, &c);
    enum flow flow = tpl_exec(r, &n->u.block.body);
    struct value text = tpl_capture_end(r, &c);
    if (flow == FLOW_NEXT) {
        struct value v = filter_text(r, n->u.block.filter, text);
        if (n->kind == N_FILTER_BLOCK)
            text_print(r->out, v);
        else
            tpl_assign(r, n->u.block.target, v);
    }
    tpl_leave_scope(r, &n->u.block.scope);
    return flow;
}

/* Runs `{% with %}`: the values are computed one after the other and stored in the new
 * scope. */
static OUT_OF_LINE enum flow exec_with(struct render *r, const struct node *n)
{
    tpl_enter_scope(r, &n->u.with.scope);
    for (int i = 0; i < n->u.with.targets.n; i++)
        tpl_assign(r, n->u.with.targets.v[i], tpl_eval(r, n->u.with.values.v[i]));
    enum flow flow = tpl_exec(r, &n->u.with.body);
    tpl_leave_scope(r, &n->u.with.scope);
    return flow;
}

/* Runs the first branch whose condition is true; an else has no condition. */
static enum flow exec_if(struct render *r, const struct node *n)
{
    for (int i = 0; i < n->u.cond.n; i++) {
        const struct if_branch *b = &n->u.cond.v[i];
        if (!b->test || tpl_truth(r, tpl_eval(r, b->test)))
            return tpl_exec(r, &b->body);
    }
    return FLOW_NEXT;
}

/* Runs `{% set target = value %}`. The line is set again after the value, since errors
 * of the assignment belong to the statement. */
static OUT_OF_LINE void exec_set(struct render *r, const struct node *n)
{
    check_namespaces(r, n->u.set.target);
    struct value v = tpl_eval(r, n->u.set.value);
    r->line = n->line;
    tpl_assign(r, n->u.set.target, v);
}

static OUT_OF_LINE void exec_print(struct render *r, const struct node *n)
{
    for (int i = 0; i < n->u.list.n; i++)
        text_print(r->out, tpl_eval(r, n->u.list.v[i]));
    check_output(r);
}

/* Runs one statement. What it returns tells the bodies around it whether to go on, or
 * to leave or repeat the loop that they stand in. */
static enum flow exec_one(struct render *r, const struct node *n)
{
    switch (n->kind) {
    case N_DATA:
        text_str(r->out, n->u.constant.u.s);
        check_output(r);
        return FLOW_NEXT;
    case N_PRINT:
        exec_print(r, n);
        return FLOW_NEXT;
    case N_SET:
        exec_set(r, n);
        return FLOW_NEXT;
    case N_FOR:
        exec_for(r, n);
        check_output(r);
        return FLOW_NEXT;
    case N_MACRO:
        *tpl_slot(r, n->u.macro.place) = tpl_new_macro(r, n->u.macro.m);
        return FLOW_NEXT;
    case N_CALL_BLOCK:
        exec_call_block(r, n);
        check_output(r);
        return FLOW_NEXT;
    case N_IF:
        return exec_if(r, n);
    case N_WITH:
        return exec_with(r, n);
    case N_FILTER_BLOCK:
    case N_SET_BLOCK:
        return exec_block(r, n);
    case N_BREAK:
        return FLOW_BREAK;
    case N_CONTINUE:
        return FLOW_CONTINUE;
    default:
        tpl_fail(r, "not a statement");
    }
}

/* Runs a body until its end or until a break or continue. Every statement is charged
 * and every body counts as a level, which is what bounds the time and the stack of a
 * template. */
enum flow tpl_exec(struct render *r, const struct nodes *body)
{
    enum flow flow = FLOW_NEXT;
    tpl_enter(r);
    for (int i = 0; i < body->n && flow == FLOW_NEXT; i++) {
        tpl_charge(r, 1);
        r->line = body->v[i]->line;
        flow = exec_one(r, body->v[i]);
    }
    tpl_leave(r);
    return flow;
}
