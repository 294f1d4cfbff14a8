/* template/statements.c - text, {{ }} and {% %} as nodes.
 *
 * A statement's function is called behind its name and leaves the end of its tag
 * for statement(). Statements with a body read it up to the name that ends it. */
#include <string.h>

#include "template/syntax.h"

static void body_until(struct parser *p, struct nodes *out, const char *const *ends);

/* Turns what was read as an expression into something to assign to. */
static void make_target(struct parser *p, struct node *n)
{
    if (n->kind == N_NAME || n->kind == N_ATTRIBUTE_TARGET) {
        n->u.name.store = true;
    } else if (n->kind == N_TUPLE) {
        for (int i = 0; i < n->u.list.n; i++)
            make_target(p, n->u.list.v[i]);
    } else {
        parse_fail(p, n->line, "cannot assign to this");
    }
}

/* Something to assign to, of the kind that `flags` allow. */
static struct node *target(struct parser *p, int flags)
{
    struct node *n = parse_tuple(p, TUPLE_PRIMARY | flags);
    make_target(p, n);
    return n;
}

/* A plain name to assign to: of a macro or of a parameter. */
static struct node *target_name(struct parser *p)
{
    struct token *t = parse_expect(p, T_NAME);
    struct node *n = parse_new(p, N_NAME, t->line);
    n->u.name.name = t->value.u.s;
    n->u.name.store = true;
    /* The same names Jinja's generated code could not assign to. */
    static const char *const literals[] = { "true", "false", "none", "True", "False", "None" };
    for (size_t i = 0; i < sizeof literals / sizeof *literals; i++)
        if (str_is(t->value.u.s, literals[i]))
            parse_fail(p, t->line, "cannot assign to %s", literals[i]);
    return n;
}

/* The statement's own end (":" is allowed before it), its body, and the name
 * that ended it, which is passed. */
static struct str *statements(struct parser *p, struct nodes *out, const char *const *ends)
{
    parse_skip(p, T_COLON);
    parse_expect(p, T_BLOCK_END);
    body_until(p, out, ends);
    return parse_next(p)->value.u.s;
}

/* {% for target in sequence if condition recursive %}, its body and an optional else
 * part. `loops` counts the loops around, for break and continue. */
static struct node *parse_for(struct parser *p, int line)
{
    static const char *const ends[] = { "endfor", "else", NULL }, *const last[] = { "endfor", NULL };
    struct node *n = parse_new(p, N_FOR, line);
    struct for_node *f = n->u.loop = parse_alloc(p, sizeof *f);
    f->target = target(p, TUPLE_END_IN);
    if (!parse_skip_name(p, "in"))
        parse_fail(p, parse_now(p)->line, "expected 'in', got '%.60s'", token_text(parse_now(p)));
    f->iter = parse_tuple(p, TUPLE_NO_CONDITION | TUPLE_END_RECURSIVE);
    if (parse_skip_name(p, "if"))
        f->test = parse_expression(p);
    f->recursive = parse_skip_name(p, "recursive");
    p->loops++;
    struct str *end = statements(p, &f->body, ends);
    p->loops--;
    if (str_is(end, "else"))
        statements(p, &f->other, last);
    return n;
}

/* {% if %} with its elif and else parts. The name that ended the part before tells what
 * the next one is. */
static struct node *parse_if(struct parser *p, int line)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL }, *const last[] = { "endif", NULL };
    struct node *n = parse_new(p, N_IF, line);
    for (bool more = true; more;) {
        if (n->u.cond.n == n->u.cond.cap) {
            int cap = n->u.cond.cap ? 2 * n->u.cond.cap : 4;
            struct if_branch *v = parse_alloc(p, (size_t)cap * sizeof *v);
            if (n->u.cond.n)
                memcpy(v, n->u.cond.v, (size_t)n->u.cond.n * sizeof *v);
            n->u.cond.v = v;
            n->u.cond.cap = cap;
        }
        struct if_branch *b = &n->u.cond.v[n->u.cond.n++];
        bool is_else = n->u.cond.n > 1 && str_is(p->token[p->at - 1].value.u.s, "else");
        if (!is_else)
            b->test = parse_tuple(p, TUPLE_NO_CONDITION);
        struct str *end = statements(p, &b->body, is_else ? last : ends);
        more = !str_is(end, "endif");
    }
    return n;
}

/* The parameters of a macro or call block in parentheses. Defaults belong to the last
 * ones, as in Python. */
static void signature(struct parser *p, struct macro_node *m)
{
    parse_expect(p, T_LPAREN);
    while (parse_now(p)->kind != T_RPAREN) {
        if (m->params.n)
            parse_expect(p, T_COMMA);
        struct node *param = target_name(p);
        for (int i = 0; i < m->params.n; i++)
            if (str_order(m->params.v[i]->u.name.name, param->u.name.name) == 0)
                parse_fail(p, param->line, "parameter %.60s is named twice", param->u.name.name->data);
        if (parse_skip(p, T_ASSIGN))
            parse_push(p, &m->defaults, parse_expression(p));
        else if (m->defaults.n)
            parse_fail(p, param->line, "a parameter without a default follows one with a default");
        if (m->params.n == 200)
            parse_fail(p, param->line, "too many parameters");
        parse_push(p, &m->params, param);
    }
    parse_expect(p, T_RPAREN);
}

/* Macros and call blocks are functions: no loop around them reaches inside. */
static void function_body(struct parser *p, struct macro_node *m, const char *end)
{
    const char *const ends[] = { end, NULL };
    int loops = p->loops;
    p->loops = 0;
    statements(p, &m->body, ends);
    p->loops = loops;
}

/* {% macro name(parameters) %}. */
static struct node *parse_macro(struct parser *p, int line)
{
    struct node *n = parse_new(p, N_MACRO, line), *name = target_name(p);
    struct macro_node *m = n->u.macro.m = parse_alloc(p, sizeof *m);
    m->name = name->u.name.name;
    signature(p, m);
    function_body(p, m, "endmacro");
    return n;
}

/* {% call(parameters) f(...) %}: its body is a macro without a name, which f gets as
 * `caller`. */
static struct node *parse_call_block(struct parser *p, int line)
{
    struct node *n = parse_new(p, N_CALL_BLOCK, line);
    struct macro_node *m = n->u.macro.m = parse_alloc(p, sizeof *m);
    if (parse_now(p)->kind == T_LPAREN)
        signature(p, m);
    n->u.macro.call = parse_expression(p);
    if (n->u.macro.call->kind != N_CALL)
        parse_fail(p, line, "expected a call");
    function_body(p, m, "endcall");
    return n;
}

/* {% generation %} marks what the assistant wrote, for training. It renders its
 * body, as a call block does: what is set inside stays inside. */
static struct node *parse_generation(struct parser *p, int line)
{
    struct node *n = parse_new(p, N_CALL_BLOCK, line);
    n->u.macro.m = parse_alloc(p, sizeof *n->u.macro.m);
    function_body(p, n->u.macro.m, "endgeneration");
    return n;
}

/* {% filter name|name %}: the chain begins without a bar. */
static struct node *parse_filter_block(struct parser *p, int line)
{
    static const char *const ends[] = { "endfilter", NULL };
    struct node *n = parse_new(p, N_FILTER_BLOCK, line);
    n->u.block.filter = parse_filters(p, NULL, true);
    statements(p, &n->u.block.body, ends);
    return n;
}

/* {% with a = 1, b = 2 %}; it may be empty, for the scope alone. */
static struct node *parse_with(struct parser *p, int line)
{
    static const char *const ends[] = { "endwith", NULL };
    struct node *n = parse_new(p, N_WITH, line);
    while (parse_now(p)->kind != T_BLOCK_END) {
        if (n->u.with.targets.n)
            parse_expect(p, T_COMMA);
        parse_push(p, &n->u.with.targets, target(p, 0));
        parse_expect(p, T_ASSIGN);
        parse_push(p, &n->u.with.values, parse_expression(p));
    }
    statements(p, &n->u.with.body, ends);
    return n;
}

/* {% set target = value %}, or the block form, whose value is the text up to endset,
 * through filters if there are any. */
static struct node *parse_set(struct parser *p, int line)
{
    static const char *const ends[] = { "endset", NULL };
    struct node *to = target(p, TUPLE_NAMESPACE), *n;
    if (parse_skip(p, T_ASSIGN)) {
        n = parse_new(p, N_SET, line);
        n->u.set.target = to;
        n->u.set.value = parse_tuple(p, 0);
        return n;
    }
    n = parse_new(p, N_SET_BLOCK, line);
    n->u.block.target = to;
    n->u.block.filter = parse_filters(p, NULL, false);
    statements(p, &n->u.block.body, ends);
    return n;
}

/* {% print a, b %}, the old form of {{ }}. */
static struct node *parse_print(struct parser *p, int line)
{
    struct node *n = parse_new(p, N_PRINT, line);
    while (parse_now(p)->kind != T_BLOCK_END) {
        if (n->u.list.n)
            parse_expect(p, T_COMMA);
        parse_push(p, &n->u.list, parse_expression(p));
    }
    return n;
}

/* break or continue. Outside of a loop they are errors at once. */
static struct node *parse_jump(struct parser *p, int line, enum node_kind kind)
{
    if (!p->loops)
        parse_fail(p, line, "%s outside of a loop", kind == N_BREAK ? "break" : "continue");
    return parse_new(p, kind, line);
}

static struct node *parse_break(struct parser *p, int line) { return parse_jump(p, line, N_BREAK); }
static struct node *parse_continue(struct parser *p, int line) { return parse_jump(p, line, N_CONTINUE); }

static const struct {
    const char *name;
    struct node *(*parse)(struct parser *p, int line); /* NULL: Jinja has it, chat templates cannot use it */
} statement_table[] = {
    { "for", parse_for }, { "if", parse_if }, { "set", parse_set }, { "macro", parse_macro },
    { "call", parse_call_block }, { "filter", parse_filter_block }, { "with", parse_with },
    { "generation", parse_generation }, { "print", parse_print }, { "break", parse_break },
    { "continue", parse_continue },
    { "import", NULL }, { "from", NULL }, { "include", NULL }, { "extends", NULL }, { "block", NULL },
    { "autoescape", NULL },
};

/* One tag, from its name to its end. Tags that would load other templates are known and
 * refused by name. */
static struct node *statement(struct parser *p)
{
    struct token *t = parse_now(p);
    if (t->kind != T_NAME)
        parse_fail(p, t->line, "tag name expected, got '%.60s'", token_text(t));
    for (size_t i = 0; i < sizeof statement_table / sizeof *statement_table; i++) {
        if (!str_is(t->value.u.s, statement_table[i].name))
            continue;
        if (!statement_table[i].parse)
            parse_fail(p, t->line, "{%% %s %%} is not supported", statement_table[i].name);
        parse_next(p);
        parse_enter(p);
        struct node *n = statement_table[i].parse(p, t->line);
        parse_leave(p);
        parse_expect(p, T_BLOCK_END);
        return n;
    }
    parse_fail(p, t->line, "encountered unknown tag '%.60s'", t->value.u.s->data);
}

/* Does one of the names that end the body stand here? */
static bool at_end(struct parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (parse_is_name(p, *ends))
            return true;
    return false;
}

/* Text between tags, as the lexer has trimmed it. */
static struct node *text_node(struct parser *p)
{
    struct token *t = parse_next(p);
    struct node *n = parse_new(p, N_DATA, t->line);
    n->u.constant = t->value;
    return n;
}

/* {{ expression }}, which may be a tuple without parentheses. */
static struct node *print_node(struct parser *p)
{
    struct node *n = parse_new(p, N_PRINT, parse_next(p)->line);
    parse_push(p, &n->u.list, parse_tuple(p, 0));
    parse_expect(p, T_VARIABLE_END);
    return n;
}

/* Stops at the name that is one of `ends` (NULL: at the end of the template). */
static void body_until(struct parser *p, struct nodes *out, const char *const *ends)
{
    int line = parse_now(p)->line;
    for (;;) {
        struct token *t = parse_now(p);
        if (t->kind == T_EOF)
            break;
        if (t->kind == T_DATA) {
            parse_push(p, out, text_node(p));
        } else if (t->kind == T_VARIABLE_BEGIN) {
            parse_push(p, out, print_node(p));
        } else {
            parse_expect(p, T_BLOCK_BEGIN);
            if (at_end(p, ends))
                return;
            parse_push(p, out, statement(p));
        }
    }
    if (ends)
        parse_fail(p, parse_now(p)->line, "unexpected end of template: '%s' is missing for the tag of line %d",
                   ends[0], line);
}

void parse_template(struct parser *p, struct template *t) { body_until(p, &t->body, NULL); }
