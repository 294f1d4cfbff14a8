/* template/parse.c - expressions, by recursive descent.
 *
 * The grammar is Jinja's, oddities included: -x|f is (-x)|f, 2**3**2 is
 * (2**3)**2, ~ binds tighter than +, and `x is defined if y` reads `if` as the
 * test's argument. Nesting is bounded, so is the height of what is built. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "template/syntax.h"

enum { MAX_HEIGHT = 300 };

static struct node *unary(struct parser *p, bool filters);

/* Ends the parsing from any depth with "line N: ..." in the error. Nodes lie in the
 * arena, so nothing is left behind. */
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

/* Zeroed memory of the template's arena, aligned for any node. It never returns NULL: a
 * template that needs too much ends the parsing. */
void *parse_alloc(struct parser *p, size_t n)
{
    void *m = arena_alloc(p->arena, n ? (n + 15) & ~(size_t)15 : 16);
    if (!m)
        parse_fail(p, p->n_tokens ? p->token[p->at].line : 1, "the template takes too much memory");
    return m;
}

/* A string that belongs to the template. The bytes are copied and followed by a NUL,
 * which messages rely on. */
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

/* Appends a node. The array doubles, and the old one stays in the arena unused. */
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

/* Counts one more level of nesting and stops a source that nests too deeply, before the
 * recursion fills the stack. */
void parse_enter(struct parser *p)
{
    if (++p->nesting > TPL_MAX_NESTING)
        parse_fail(p, parse_now(p)->line, "nested too deeply");
}

void parse_leave(struct parser *p) { p->nesting--; }

/* Notes that `child`, which may be NULL, now hangs below n. The height of what is
 * built is bounded, so that the recursion over it is. Returns n. */
struct node *parse_adopt(struct parser *p, struct node *n, const struct node *child)
{
    if (child && child->height >= n->height)
        n->height = child->height + 1;
    if (n->height > MAX_HEIGHT)
        parse_fail(p, n->line, "an expression is too long");
    return n;
}

/* A node with up to two operands, which may be NULL. */
struct node *parse_make(struct parser *p, enum node_kind kind, int line, struct node *a, struct node *b)
{
    struct node *n = parse_new(p, kind, line);
    n->u.of.a = a;
    n->u.of.b = b;
    parse_adopt(p, n, a);
    return parse_adopt(p, n, b);
}

/* ---- tokens */

/* How a token looks in a message. The table is in the order of enum token_kind. */
const char *token_text(const struct token *t)
{
    static const char *const text[] = {
        "end of template", "text", "{{", "}}", "{%", "%}", "name", "string", "integer", "float", "+", "-", "*", "/",
        "//", "%", "**", "~", "[", "]", "(", ")", "{", "}", "==", "!=", ">", ">=", "<", "<=", "=", ".", ":", "|", ",",
        ";", "in", "not in",
    };
    return t->kind == T_NAME ? t->value.u.s->data : text[t->kind];
}

/* Passes the current token and returns it. The end is never passed, so that a look
 * beyond it is safe. */
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

struct token *parse_look(struct parser *p) { return parse_now(p)->kind == T_EOF ? parse_now(p) : parse_now(p) + 1; }

/* Passes the current token if it is of that kind, and tells whether it was. */
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

/* Passes a token that must be of that kind and returns it; anything else is an error
 * that names both. */
struct token *parse_expect(struct parser *p, enum token_kind kind)
{
    struct token *t = parse_now(p), want = { .kind = kind };
    if (t->kind != kind)
        parse_fail(p, t->line, "expected %s, got '%.60s'", kind == T_NAME ? "a name" : token_text(&want),
                   token_text(t));
    return parse_next(p);
}

/* ---- operators, loosest last
 *
 * Each function reads the operators of one level between operands of the level above
 * it. Loops make them group to the left, so a long chain nests in the tree and not on
 * the stack; parse_adopt() bounds its height. */

/* A primary with its signs, subscripts and calls; with `filters` also the filters and
 * tests behind it. The operand of a sign takes no filters, so -x|f filters the negated
 * value. */
static struct node *unary(struct parser *p, bool filters)
{
    struct token *t = parse_now(p);
    struct node *n;
    if (t->kind == T_SUB || t->kind == T_ADD) {
        parse_next(p);
        parse_enter(p);
        n = parse_make(p, t->kind == T_SUB ? N_NEGATE : N_POSITIVE, t->line, unary(p, false), NULL);
        parse_leave(p);
    } else {
        n = parse_primary(p, false);
    }
    n = parse_postfix(p, n);
    while (filters) {
        if (parse_now(p)->kind == T_PIPE)
            n = parse_filters(p, n, false);
        else if (parse_is_name(p, "is"))
            n = parse_test(p, n);
        else if (parse_now(p)->kind == T_LPAREN)
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static struct node *binary(struct parser *p, struct node *a, struct node *b, enum token_kind op, int line)
{
    struct node *n = parse_make(p, N_BINARY, line, a, b);
    n->op = op;
    return n;
}

/* Powers. They group to the left here, unlike in Python, because Jinja's parser does it
 * so. */
static struct node *power(struct parser *p)
{
    struct node *left = unary(p, true);
    while (parse_now(p)->kind == T_POW) {
        int line = parse_next(p)->line;
        left = binary(p, left, unary(p, true), T_POW, line);
    }
    return left;
}

/* Left to right, as Python binds these; power() binds more tightly. */
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

/* Operands joined by ~. They make one node with a list and not a chain, so that a long
 * concatenation is not deep. */
static struct node *concat(struct parser *p)
{
    struct node *first = product(p);
    if (parse_now(p)->kind != T_TILDE)
        return first;
    struct node *n = parse_new(p, N_CONCAT, first->line);
    parse_push(p, &n->u.list, first);
    parse_adopt(p, n, first);
    while (parse_skip(p, T_TILDE)) {
        struct node *item = product(p);
        parse_push(p, &n->u.list, item);
        parse_adopt(p, n, item);
    }
    return n;
}

/* Likewise; ~ lies between the two and binds more tightly than + here, as in Jinja. */
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

/* Passes a comparison operator and returns it; T_EOF if none stands here. `in` and `not
 * in` are names for the lexer and become operators only at this place. */
static enum token_kind comparison(struct parser *p)
{
    struct token *t = parse_now(p);
    if (t->kind >= T_EQ && t->kind <= T_LE) {
        parse_next(p);
        return t->kind;
    }
    if (parse_skip_name(p, "in"))
        return T_IN;
    if (parse_is_name(p, "not") && token_is_name(parse_look(p), "in")) {
        parse_next(p);
        parse_next(p);
        return T_NOT_IN;
    }
    return T_EOF;
}

/* A chain of comparisons such as a < b < c, kept in one node with its operands and
 * operators, since each operand is computed once and the chain stops at the first that
 * does not hold. */
static struct node *compare(struct parser *p)
{
    struct node *first = sum(p);
    enum token_kind op = comparison(p), ops[64];
    if (op == T_EOF)
        return first;
    struct node *n = parse_new(p, N_COMPARE, first->line);
    parse_push(p, &n->u.compare.items, first);
    parse_adopt(p, n, first);
    int count = 0;
    for (; op != T_EOF; op = comparison(p)) {
        if (count == 64)
            parse_fail(p, n->line, "an expression is too long");
        ops[count++] = op;
        struct node *item = sum(p);
        parse_push(p, &n->u.compare.items, item);
        parse_adopt(p, n, item);
    }
    n->u.compare.op = memcpy(parse_alloc(p, (size_t)count * sizeof *ops), ops, (size_t)count * sizeof *ops);
    return n;
}

/* `not`, as often as it stands there. Every one is a level of nesting. */
static struct node *negation(struct parser *p)
{
    if (!parse_is_name(p, "not"))
        return compare(p);
    int line = parse_next(p)->line;
    parse_enter(p);
    struct node *n = parse_make(p, N_NOT, line, negation(p), NULL);
    parse_leave(p);
    return n;
}

/* Operands of `and`, from left to right; `not` binds closer. */
static struct node *conjunction(struct parser *p)
{
    struct node *left = negation(p);
    while (parse_is_name(p, "and")) {
        int line = parse_next(p)->line;
        left = parse_make(p, N_AND, line, left, negation(p));
    }
    return left;
}

/* Operands of `or`, from left to right; `and` binds closer. */
static struct node *disjunction(struct parser *p)
{
    struct node *left = conjunction(p);
    while (parse_is_name(p, "or")) {
        int line = parse_next(p)->line;
        left = parse_make(p, N_OR, line, left, conjunction(p));
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
        struct node *cond = parse_make(p, N_CONDITION, line, n, disjunction(p));
        if (parse_skip_name(p, "else"))
            cond->u.of.c = parse_expression(p);
        n = parse_adopt(p, cond, cond->u.of.c);
    }
    parse_leave(p);
    return n;
}

/* Does what stands here end a tuple? The flags add the words that end one in the head
 * of a loop. */
static bool tuple_ends(struct parser *p, int flags)
{
    enum token_kind k = parse_now(p)->kind;
    return k == T_VARIABLE_END || k == T_BLOCK_END || k == T_RPAREN ||
           ((flags & TUPLE_END_IN) && parse_is_name(p, "in")) ||
           ((flags & TUPLE_END_RECURSIVE) && parse_is_name(p, "recursive"));
}

/* One item of a tuple: in a target only a primary, in the head of a loop no
 * condition, since its `if` is the loop's own. */
static struct node *tuple_item(struct parser *p, int flags)
{
    if (flags & TUPLE_PRIMARY)
        return parse_primary(p, flags & TUPLE_NAMESPACE);
    return flags & TUPLE_NO_CONDITION ? disjunction(p) : parse_expression(p);
}

/* One expression, or a tuple if commas follow. Nothing at all is an empty tuple
 * inside parentheses and an error elsewhere. */
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
        struct node *item = tuple_item(p, flags);
        parse_push(p, &n->u.list, item);
        parse_adopt(p, n, item);
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
