/* tokenizer/template_parse.c - expressions, by recursive descent.
 *
 * The grammar is Jinja's, oddities included: -x|f is (-x)|f, 2**3**2 is
 * (2**3)**2, ~ binds tighter than +, and `x is defined if y` reads `if` as the
 * test's argument. Nesting is bounded, so is the height of what is built. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tokenizer/template_syntax.h"

enum { MAX_HEIGHT = 300 };

static struct node *unary(struct parser *p, bool filters);

void parse_fail(struct parser *p, int line, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(p->err, "line %d: %s", line, text);
    longjmp(p->escape, 1);
}

void *parse_alloc(struct parser *p, size_t n)
{
    void *m = arena_alloc(p->arena, n ? (n + 15) & ~(size_t)15 : 16);
    if (!m)
        parse_fail(p, p->n_tokens ? p->token[p->at].line : 1, "the template takes too much memory");
    return m;
}

struct str *parse_str(struct parser *p, const char *data, size_t n)
{
    struct str *s = parse_alloc(p, sizeof *s);
    s->data = memcpy(parse_alloc(p, n + 1), data, n);
    s->len = n;
    for (size_t i = 0; i < n; i++)
        s->chars += ((unsigned char)data[i] & 0xc0) != 0x80;
    return s;
}

struct node *parse_new(struct parser *p, enum node_kind kind, int line)
{
    struct node *n = parse_alloc(p, sizeof *n);
    n->kind = kind;
    n->line = line;
    return n;
}

void parse_push(struct parser *p, struct nodes *list, struct node *n)
{
    if (list->n == list->cap) {
        int cap = list->cap ? 2 * list->cap : 4;
        struct node **v = parse_alloc(p, (size_t)cap * sizeof *v);
        if (list->n)
            memcpy(v, list->v, (size_t)list->n * sizeof *v);
        list->v = v;
        list->cap = cap;
    }
    list->v[list->n++] = n;
}

void parse_enter(struct parser *p)
{
    if (++p->nesting > TPL_MAX_NESTING)
        parse_fail(p, parse_now(p)->line, "nested too deeply");
}

void parse_leave(struct parser *p) { p->nesting--; }

/* `child` (may be NULL) now hangs below `n`. */
static struct node *adopt(struct parser *p, struct node *n, const struct node *child)
{
    if (child && child->height >= n->height)
        n->height = child->height + 1;
    if (n->height > MAX_HEIGHT)
        parse_fail(p, n->line, "an expression is too long");
    return n;
}

static struct node *make(struct parser *p, enum node_kind kind, int line, struct node *a, struct node *b)
{
    struct node *n = parse_new(p, kind, line);
    n->u.of.a = a;
    n->u.of.b = b;
    adopt(p, n, a);
    return adopt(p, n, b);
}

/* ---- tokens */

const char *token_text(const struct token *t)
{
    static const char *const text[] = {
        "end of template", "text", "{{", "}}", "{%", "%}", "name", "string", "integer", "float", "+", "-", "*", "/",
        "//", "%", "**", "~", "[", "]", "(", ")", "{", "}", "==", "!=", ">", ">=", "<", "<=", "=", ".", ":", "|", ",",
        ";", "in", "not in",
    };
    return t->kind == T_NAME ? t->value.u.s->data : text[t->kind];
}

struct token *parse_next(struct parser *p)
{
    struct token *t = parse_now(p);
    if (t->kind != T_EOF)
        p->at++;
    return t;
}

static bool token_is_name(const struct token *t, const char *name)
{
    return t->kind == T_NAME && str_is(t->value.u.s, name);
}

bool parse_is_name(struct parser *p, const char *name) { return token_is_name(parse_now(p), name); }

static struct token *look(struct parser *p) { return parse_now(p)->kind == T_EOF ? parse_now(p) : parse_now(p) + 1; }

bool parse_skip(struct parser *p, enum token_kind kind)
{
    if (parse_now(p)->kind != kind)
        return false;
    parse_next(p);
    return true;
}

bool parse_skip_name(struct parser *p, const char *name)
{
    if (!parse_is_name(p, name))
        return false;
    parse_next(p);
    return true;
}

struct token *parse_expect(struct parser *p, enum token_kind kind)
{
    struct token *t = parse_now(p), want = { .kind = kind };
    if (t->kind != kind)
        parse_fail(p, t->line, "expected %s, got '%.60s'", kind == T_NAME ? "a name" : token_text(&want), token_text(t));
    return parse_next(p);
}

/* ---- primaries */

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
        adopt(p, n, item);
    }
    parse_expect(p, T_RBRACKET);
    return n;
}

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
        adopt(p, adopt(p, n, key), item);
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

static struct node *primary(struct parser *p, bool with_namespace)
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

/* ---- subscripts and calls */

static struct node *slice_part(struct parser *p)
{
    enum token_kind k = parse_now(p)->kind;
    return k == T_COLON || k == T_RBRACKET || k == T_COMMA ? NULL : parse_expression(p);
}

static struct node *subscribed(struct parser *p)
{
    int line = parse_now(p)->line;
    struct node *start = parse_now(p)->kind == T_COLON ? NULL : parse_expression(p);
    if (start && parse_now(p)->kind != T_COLON)
        return start;
    parse_next(p);
    struct node *stop = slice_part(p), *step = parse_skip(p, T_COLON) ? slice_part(p) : NULL;
    struct node *n = make(p, N_SLICE, line, start, stop);
    n->u.of.c = step;
    return adopt(p, n, step);
}

static struct node *subscript(struct parser *p, struct node *on)
{
    struct token *t = parse_next(p);
    if (t->kind == T_DOT) {
        struct token *attr = parse_next(p);
        if (attr->kind == T_NAME) {
            struct node *n = parse_new(p, N_ATTRIBUTE, t->line);
            n->u.attr.a = on;
            n->u.attr.name = attr->value.u.s;
            return adopt(p, n, on);
        }
        if (attr->kind != T_INTEGER)
            parse_fail(p, attr->line, "expected a name or number after '.'");
        return make(p, N_ITEM, t->line, on, constant(p, attr->line, attr->value));
    }
    struct node *tuple = parse_new(p, N_TUPLE, t->line);
    while (parse_now(p)->kind != T_RBRACKET) {
        if (tuple->u.list.n)
            parse_expect(p, T_COMMA);
        struct node *item = subscribed(p);
        parse_push(p, &tuple->u.list, item);
        adopt(p, tuple, item);
    }
    parse_expect(p, T_RBRACKET);
    return make(p, N_ITEM, t->line, on, tuple->u.list.n == 1 ? tuple->u.list.v[0] : tuple);
}

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

/* "(a, b=c, *d, **e)". The same rules of order as Jinja's. */
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
            adopt(p, n, c->star = parse_expression(p));
        } else if (parse_skip(p, T_POW)) {
            valid = !c->star_star;
            adopt(p, n, c->star_star = parse_expression(p));
        } else if (parse_now(p)->kind == T_NAME && look(p)->kind == T_ASSIGN) {
            valid = !c->star_star && c->kw.n < 100;
            keyword_argument(p, c);
            adopt(p, n, c->kw.v[c->kw.n - 1]);
        } else {
            valid = !c->star && !c->star_star && !c->kw.n;
            struct node *arg = parse_expression(p);
            parse_push(p, &c->args, arg);
            adopt(p, n, arg);
        }
        if (!valid)
            parse_fail(p, line, "invalid syntax for function call expression");
        comma = true;
    }
    parse_expect(p, T_RPAREN);
}

static struct node *new_call(struct parser *p, enum node_kind kind, int line, struct node *on)
{
    struct node *n = parse_new(p, kind, line);
    n->u.call = parse_alloc(p, sizeof *n->u.call);
    n->u.call->callee = on;
    return adopt(p, n, on);
}

static struct node *call(struct parser *p, struct node *on)
{
    struct node *n = new_call(p, N_CALL, parse_now(p)->line, on);
    call_arguments(p, n);
    return n;
}

/* "name" or "name.name" of a filter or test. */
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

static struct node *postfix(struct parser *p, struct node *n)
{
    for (;;) {
        enum token_kind k = parse_now(p)->kind;
        if (k == T_DOT || k == T_LBRACKET)
            n = subscript(p, n);
        else if (k == T_LPAREN)
            n = call(p, n);
        else
            return n;
    }
}

static struct node *test(struct parser *p, struct node *on)
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
        struct node *arg = postfix(p, primary(p, false));
        parse_push(p, &n->u.call->args, arg);
        adopt(p, n, arg);
    }
    return negated ? make(p, N_NOT, line, n, NULL) : n;
}

/* ---- operators, loosest last */

static struct node *unary(struct parser *p, bool filters)
{
    struct token *t = parse_now(p);
    struct node *n;
    if (t->kind == T_SUB || t->kind == T_ADD) {
        parse_next(p);
        parse_enter(p);
        n = make(p, t->kind == T_SUB ? N_NEGATE : N_POSITIVE, t->line, unary(p, false), NULL);
        parse_leave(p);
    } else {
        n = primary(p, false);
    }
    n = postfix(p, n);
    while (filters) {
        if (parse_now(p)->kind == T_PIPE)
            n = parse_filters(p, n, false);
        else if (parse_is_name(p, "is"))
            n = test(p, n);
        else if (parse_now(p)->kind == T_LPAREN)
            n = call(p, n);
        else
            break;
    }
    return n;
}

static struct node *binary(struct parser *p, struct node *a, struct node *b, enum token_kind op, int line)
{
    struct node *n = make(p, N_BINARY, line, a, b);
    n->op = op;
    return n;
}

static struct node *power(struct parser *p)
{
    struct node *left = unary(p, true);
    while (parse_now(p)->kind == T_POW) {
        int line = parse_next(p)->line;
        left = binary(p, left, unary(p, true), T_POW, line);
    }
    return left;
}

static struct node *product(struct parser *p)
{
    struct node *left = power(p);
    for (;;) {
        struct token *t = parse_now(p);
        if (t->kind != T_MUL && t->kind != T_DIV && t->kind != T_FLOORDIV && t->kind != T_MOD)
            return left;
        parse_next(p);
        left = binary(p, left, power(p), t->kind, t->line);
    }
}

static struct node *concat(struct parser *p)
{
    struct node *first = product(p);
    if (parse_now(p)->kind != T_TILDE)
        return first;
    struct node *n = parse_new(p, N_CONCAT, first->line);
    parse_push(p, &n->u.list, first);
    adopt(p, n, first);
    while (parse_skip(p, T_TILDE)) {
        struct node *item = product(p);
        parse_push(p, &n->u.list, item);
        adopt(p, n, item);
    }
    return n;
}

static struct node *sum(struct parser *p)
{
    struct node *left = concat(p);
    for (;;) {
        struct token *t = parse_now(p);
        if (t->kind != T_ADD && t->kind != T_SUB)
            return left;
        parse_next(p);
        left = binary(p, left, concat(p), t->kind, t->line);
    }
}

static enum token_kind comparison(struct parser *p)
{
    struct token *t = parse_now(p);
    if (t->kind >= T_EQ && t->kind <= T_LE) {
        parse_next(p);
        return t->kind;
    }
    if (parse_skip_name(p, "in"))
        return T_IN;
    if (parse_is_name(p, "not") && token_is_name(look(p), "in")) {
        parse_next(p);
        parse_next(p);
        return T_NOT_IN;
    }
    return T_EOF;
}

static struct node *compare(struct parser *p)
{
    struct node *first = sum(p);
    enum token_kind op = comparison(p), ops[64];
    if (op == T_EOF)
        return first;
    struct node *n = parse_new(p, N_COMPARE, first->line);
    parse_push(p, &n->u.compare.items, first);
    adopt(p, n, first);
    int count = 0;
    for (; op != T_EOF; op = comparison(p)) {
        if (count == 64)
            parse_fail(p, n->line, "an expression is too long");
        ops[count++] = op;
        struct node *item = sum(p);
        parse_push(p, &n->u.compare.items, item);
        adopt(p, n, item);
    }
    n->u.compare.op = memcpy(parse_alloc(p, (size_t)count * sizeof *ops), ops, (size_t)count * sizeof *ops);
    return n;
}

static struct node *negation(struct parser *p)
{
    if (!parse_is_name(p, "not"))
        return compare(p);
    int line = parse_next(p)->line;
    parse_enter(p);
    struct node *n = make(p, N_NOT, line, negation(p), NULL);
    parse_leave(p);
    return n;
}

static struct node *conjunction(struct parser *p)
{
    struct node *left = negation(p);
    while (parse_is_name(p, "and")) {
        int line = parse_next(p)->line;
        left = make(p, N_AND, line, left, negation(p));
    }
    return left;
}

static struct node *disjunction(struct parser *p)
{
    struct node *left = conjunction(p);
    while (parse_is_name(p, "or")) {
        int line = parse_next(p)->line;
        left = make(p, N_OR, line, left, conjunction(p));
    }
    return left;
}

/* Every way into nested brackets leads through here or through parse_tuple(). */
struct node *parse_expression(struct parser *p)
{
    parse_enter(p);
    struct node *n = disjunction(p);
    while (parse_is_name(p, "if")) {
        int line = parse_next(p)->line;
        struct node *cond = make(p, N_CONDITION, line, n, disjunction(p));
        if (parse_skip_name(p, "else"))
            cond->u.of.c = parse_expression(p);
        n = adopt(p, cond, cond->u.of.c);
    }
    parse_leave(p);
    return n;
}

static bool tuple_ends(struct parser *p, int flags)
{
    enum token_kind k = parse_now(p)->kind;
    return k == T_VARIABLE_END || k == T_BLOCK_END || k == T_RPAREN ||
           ((flags & TUPLE_END_IN) && parse_is_name(p, "in")) ||
           ((flags & TUPLE_END_RECURSIVE) && parse_is_name(p, "recursive"));
}

/* One expression, or a tuple if commas follow. */
struct node *parse_tuple(struct parser *p, int flags)
{
    struct node *n = parse_new(p, N_TUPLE, parse_now(p)->line);
    bool comma = false;
    parse_enter(p);
    for (;;) {
        if (n->u.list.n)
            parse_expect(p, T_COMMA);
        if (tuple_ends(p, flags))
            break;
        struct node *item = flags & TUPLE_PRIMARY        ? primary(p, flags & TUPLE_NAMESPACE)
                            : flags & TUPLE_NO_CONDITION ? disjunction(p)
                                                         : parse_expression(p);
        parse_push(p, &n->u.list, item);
        adopt(p, n, item);
        if (parse_now(p)->kind != T_COMMA)
            break;
        comma = true;
    }
    parse_leave(p);
    if (!comma && n->u.list.n)
        return n->u.list.v[0];
    if (!comma && !(flags & TUPLE_PARENTHESES))
        parse_fail(p, n->line, "expected an expression, got '%.60s'", token_text(parse_now(p)));
    return n;
}
