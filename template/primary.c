/* template/primary.c - the innermost expressions: literals, names,
 * brackets, and what may follow them: subscripts, calls, filters, tests. */
#include <string.h>

#include "template/syntax.h"

/* ---- primaries */

/* "[a, b]"; a comma may stand behind the last item. */
static struct node *list_display(struct parser *p)
{
    struct node *n = parse_new(p, N_LIST, parse_expect(p, T_LBRACKET)->line);
    while (parse_now(p)->kind != T_RBRACKET) {
        if (n->u.list.n)
            parse_expect(p, T_COMMA);
        if (parse_now(p)->kind == T_RBRACKET)
            break;
        struct node *item = parse_expression(p);
        parse_push(p, &n->u.list, item);
        parse_adopt(p, n, item);
    }
    parse_expect(p, T_RBRACKET);
    return n;
}

/* "{a: b}" with any number of pairs. Keys and values stand in turn in one list of the node. */
static struct node *dict_display(struct parser *p)
{
    struct node *n = parse_new(p, N_DICT, parse_expect(p, T_LBRACE)->line);
    while (parse_now(p)->kind != T_RBRACE) {
        if (n->u.list.n)
            parse_expect(p, T_COMMA);
        if (parse_now(p)->kind == T_RBRACE)
            break;
        struct node *key = parse_expression(p);
        parse_expect(p, T_COLON);
        struct node *item = parse_expression(p);
        parse_push(p, &n->u.list, key);
        parse_push(p, &n->u.list, item);
        parse_adopt(p, parse_adopt(p, n, key), item);
    }
    parse_expect(p, T_RBRACE);
    return n;
}

static struct node *constant(struct parser *p, int line, struct value v)
{
    struct node *n = parse_new(p, N_CONST, line);
    n->u.constant = v;
    return n;
}

/* A name, or one of the words that are literals in either spelling. In the target of
 * `set`, a name with a dot is an attribute of a namespace. */
static struct node *name_or_literal(struct parser *p, bool with_namespace)
{
    struct token *t = parse_next(p);
    const struct str *s = t->value.u.s;
    if (str_is(s, "true") || str_is(s, "True"))
        return constant(p, t->line, v_bool(true));
    if (str_is(s, "false") || str_is(s, "False"))
        return constant(p, t->line, v_bool(false));
    if (str_is(s, "none") || str_is(s, "None"))
        return constant(p, t->line, v_none());
    struct node *n = parse_new(p, N_NAME, t->line);
    n->u.name.name = t->value.u.s;
    if (with_namespace && parse_skip(p, T_DOT)) {
        n->kind = N_ATTRIBUTE_TARGET;
        n->u.name.attr = parse_expect(p, T_NAME)->value.u.s;
    }
    return n;
}

/* A string literal, together with those that follow it directly: they are one, as in
 * Python. */
static struct node *strings(struct parser *p)
{
    struct token *t = parse_next(p);
    if (parse_now(p)->kind != T_STRING)
        return constant(p, t->line, t->value);
    size_t n = t->value.u.s->len, at = 0;
    for (size_t i = p->at; p->token[i].kind == T_STRING; i++)
        n += p->token[i].value.u.s->len;
    char *all = parse_alloc(p, n);
    for (struct token *s = t; s->kind == T_STRING; s++) {
        memcpy(all + at, s->value.u.s->data, s->value.u.s->len);
        at += s->value.u.s->len;
    }
    while (parse_skip(p, T_STRING))
        ;
    return constant(p, t->line, v_str(parse_str(p, all, n)));
}

/* A literal, name or bracket. `with_namespace` is for targets, which may be attributes. */
struct node *parse_primary(struct parser *p, bool with_namespace)
{
    struct token *t = parse_now(p);
    struct node *n;
    switch (t->kind) {
    case T_NAME:
        return name_or_literal(p, with_namespace);
    case T_STRING:
        return strings(p);
    case T_INTEGER:
    case T_FLOAT:
        parse_next(p);
        return constant(p, t->line, t->value);
    case T_LPAREN:
        parse_next(p);
        n = parse_tuple(p, TUPLE_PARENTHESES);
        parse_expect(p, T_RPAREN);
        return n;
    case T_LBRACKET:
        return list_display(p);
    case T_LBRACE:
        return dict_display(p);
    default:
        parse_fail(p, t->line, "unexpected '%.60s'", token_text(t));
    }
}

/* ---- subscripts and calls: each takes the node that it stands behind as `on` and
 * returns the node that takes its place */

/* A bound of a slice, or NULL if it is left out. */
static struct node *slice_part(struct parser *p)
{
    enum token_kind k = parse_now(p)->kind;
    return k == T_COLON || k == T_RBRACKET || k == T_COMMA ? NULL : parse_expression(p);
}

/* What stands in square brackets between commas: an expression, or a slice with up to
 * two colons. */
static struct node *subscribed(struct parser *p)
{
    int line = parse_now(p)->line;
    struct node *start = parse_now(p)->kind == T_COLON ? NULL : parse_expression(p);
    if (start && parse_now(p)->kind != T_COLON)
        return start;
    parse_next(p);
    struct node *stop = slice_part(p), *step = parse_skip(p, T_COLON) ? slice_part(p) : NULL;
    struct node *n = parse_make(p, N_SLICE, line, start, stop);
    n->u.of.c = step;
    return parse_adopt(p, n, step);
}

/* ".name", ".0" or "[...]" behind a value. Several things in brackets make a tuple,
 * which is the key then. */
static struct node *subscript(struct parser *p, struct node *on)
{
    struct token *t = parse_next(p);
    if (t->kind == T_DOT) {
        struct token *attr = parse_next(p);
        if (attr->kind == T_NAME) {
            struct node *n = parse_new(p, N_ATTRIBUTE, t->line);
            n->u.attr.a = on;
            n->u.attr.name = attr->value.u.s;
            return parse_adopt(p, n, on);
        }
        if (attr->kind != T_INTEGER)
            parse_fail(p, attr->line, "expected a name or number after '.'");
        return parse_make(p, N_ITEM, t->line, on, constant(p, attr->line, attr->value));
    }
    struct node *tuple = parse_new(p, N_TUPLE, t->line);
    while (parse_now(p)->kind != T_RBRACKET) {
        if (tuple->u.list.n)
            parse_expect(p, T_COMMA);
        struct node *item = subscribed(p);
        parse_push(p, &tuple->u.list, item);
        parse_adopt(p, tuple, item);
    }
    parse_expect(p, T_RBRACKET);
    return parse_make(p, N_ITEM, t->line, on, tuple->u.list.n == 1 ? tuple->u.list.v[0] : tuple);
}

/* "name=value" in a call. The same name twice is an error already here, as in Python. */
static void keyword_argument(struct parser *p, struct call_node *c)
{
    struct token *key = parse_next(p);
    parse_next(p);
    for (int i = 0; i < c->kw.n; i++)
        if (str_order(c->kw_name[i], key->value.u.s) == 0)
            parse_fail(p, key->line, "keyword argument repeated: %.60s", key->value.u.s->data);
    struct str **names = parse_alloc(p, (size_t)(c->kw.n + 1) * sizeof *names);
    if (c->kw.n)
        memcpy(names, c->kw_name, (size_t)c->kw.n * sizeof *names);
    names[c->kw.n] = key->value.u.s;
    c->kw_name = names;
    parse_push(p, &c->kw, parse_expression(p));
}

/* "(a, b=c, *d, **e)", with Jinja's own rules of which may follow which; what breaks one is a syntax error of the
 * template. */
static void call_arguments(struct parser *p, struct node *n)
{
    struct call_node *c = n->u.call;
    int line = parse_expect(p, T_LPAREN)->line;
    bool comma = false, valid = true;
    while (parse_now(p)->kind != T_RPAREN) {
        if (comma) {
            parse_expect(p, T_COMMA);
            if (parse_now(p)->kind == T_RPAREN)
                break;
        }
        if (parse_skip(p, T_MUL)) {
            valid = !c->star && !c->star_star;
            parse_adopt(p, n, c->star = parse_expression(p));
        } else if (parse_skip(p, T_POW)) {
            valid = !c->star_star;
            parse_adopt(p, n, c->star_star = parse_expression(p));
        } else if (parse_now(p)->kind == T_NAME && parse_look(p)->kind == T_ASSIGN) {
            valid = !c->star_star && c->kw.n < 100;
            keyword_argument(p, c);
            parse_adopt(p, n, c->kw.v[c->kw.n - 1]);
        } else {
            valid = !c->star && !c->star_star && !c->kw.n;
            struct node *arg = parse_expression(p);
            parse_push(p, &c->args, arg);
            parse_adopt(p, n, arg);
        }
        if (!valid)
            parse_fail(p, line, "invalid syntax for function call expression");
        comma = true;
    }
    parse_expect(p, T_RPAREN);
}

/* A call, filter or test applied to `on`, without arguments so far. */
static struct node *new_call(struct parser *p, enum node_kind kind, int line, struct node *on)
{
    struct node *n = parse_new(p, kind, line);
    n->u.call = parse_alloc(p, sizeof *n->u.call);
    n->u.call->callee = on;
    return parse_adopt(p, n, on);
}

struct node *parse_call(struct parser *p, struct node *on)
{
    struct node *n = new_call(p, N_CALL, parse_now(p)->line, on);
    call_arguments(p, n);
    return n;
}

/* The name of a filter or test, which may have parts with dots between them. */
static struct str *dotted_name(struct parser *p)
{
    struct str *name = parse_expect(p, T_NAME)->value.u.s;
    while (parse_skip(p, T_DOT)) {
        struct str *more = parse_expect(p, T_NAME)->value.u.s;
        char *all = parse_alloc(p, name->len + 1 + more->len);
        memcpy(all, name->data, name->len);
        all[name->len] = '.';
        memcpy(all + name->len + 1, more->data, more->len);
        name = parse_str(p, all, name->len + 1 + more->len);
    }
    return name;
}

/* A chain of "|name(...)" behind `on`. With `start_inline` the first bar is left out,
 * as in the tag `filter`. An unknown name is no error yet: scope.c decides whether it
 * is one. */
struct node *parse_filters(struct parser *p, struct node *on, bool start_inline)
{
    while (parse_now(p)->kind == T_PIPE || start_inline) {
        if (!start_inline)
            parse_next(p);
        struct node *n = new_call(p, N_FILTER, parse_now(p)->line, on);
        n->u.call->name = dotted_name(p);
        n->u.call->builtin = tpl_find_filter(n->u.call->name);
        if (parse_now(p)->kind == T_LPAREN)
            call_arguments(p, n);
        start_inline = false;
        on = n;
    }
    return on;
}

/* Subscripts and calls behind a value, as many as there are. */
struct node *parse_postfix(struct parser *p, struct node *n)
{
    for (;;) {
        enum token_kind k = parse_now(p)->kind;
        if (k == T_DOT || k == T_LBRACKET)
            n = subscript(p, n);
        else if (k == T_LPAREN)
            n = parse_call(p, n);
        else
            return n;
    }
}

/* A number is another object wherever it is written, but for the small integers, of which Python has one each. */
static bool is_own_object(const struct node *n)
{
    return n->kind == N_CONST && (n->u.constant.kind == V_FLOAT || n->u.constant.kind == V_BIG ||
                                  (n->u.constant.kind == V_INT && (n->u.constant.u.i < -5 || n->u.constant.u.i > 256)));
}

/* `x is sameas 300.5` never holds: the literal becomes what nothing is the same as. */
static void separate(struct parser *p, struct node *test)
{
    struct call_node *c = test->u.call;
    if (str_is(c->name, "sameas") && c->args.n == 1 && (is_own_object(c->args.v[0]) || is_own_object(c->callee)))
        c->args.v[0] = constant(p, test->line, (struct value){ .kind = V_UNDEFINED });
}

/* "is name", "is not name", with arguments in parentheses, or one bare argument: `x is
 * divisibleby 3`. The words that go on with the expression around it are no argument. */
struct node *parse_test(struct parser *p, struct node *on)
{
    int line = parse_next(p)->line;
    bool negated = parse_skip_name(p, "not");
    struct node *n = new_call(p, N_TEST, line, on);
    n->u.call->name = dotted_name(p);
    n->u.call->builtin = tpl_find_test(n->u.call->name);
    enum token_kind k = parse_now(p)->kind;
    if (k == T_LPAREN) {
        call_arguments(p, n);
    } else if ((k == T_NAME && !parse_is_name(p, "else") && !parse_is_name(p, "or") && !parse_is_name(p, "and")) ||
               k == T_STRING || k == T_INTEGER || k == T_FLOAT || k == T_LBRACKET || k == T_LBRACE) {
        if (parse_is_name(p, "is"))
            parse_fail(p, line, "tests cannot be chained with 'is'");
        struct node *arg = parse_postfix(p, parse_primary(p, false));
        parse_push(p, &n->u.call->args, arg);
        parse_adopt(p, n, arg);
    }
    separate(p, n);
    return negated ? parse_make(p, N_NOT, line, n, NULL) : n;
}
