/* GBNF, as llama.cpp has it, and xgrammar's EBNF, which is nearly the same: rules `name ::= alternatives`, of literals,
 * classes, groups and repetitions, beginning with the rule `root`. A rule ends where the next one begins. */
#include <string.h>

#include "grammar/names.h"
#include "grammar/regex.h"
#include "grammar/scan.h"
#include "grammar/sources.h"

struct parser {
    struct scan in;
    struct names names;        /* owned */
};

static int32_t alternatives(struct parser *p);

static void blank(struct parser *p) { scan_blank(&p->in, "#"); }

static size_t name_here(const struct parser *p) { return scan_name(&p->in, "-_."); }

/* Does a rule begin here: a name, and then ::= ? */
static bool at_rule(const struct parser *p)
{
    struct scan look = p->in;
    size_t n = name_here(p);
    look.at += n;
    scan_blank(&look, "#");
    return n > 0 && scan_skip(&look, "::=");
}

/* A literal, a class, a dot, a group in brackets, or the name of a rule, which may be defined further on. Brackets
 * count against the limit of nesting, because groups recurse. */
static int32_t atom(struct parser *p)
{
    struct scan *in = &p->in;
    char c = scan_peek(in);
    size_t n = name_here(p);
    if (c == '"' || c == '\'')
        return scan_literal(in, false);
    if (c == '[')
        return regex_class(in->b, in->s, in->n, &in->at);
    if (c == '.') {
        in->at++;
        return expr_any_char(in->b, WRITE_UTF8);
    }
    if (scan_skip(in, "(")) {
        if (!scan_deeper(in))
            return EXPR_NONE;
        int32_t x = alternatives(p);
        in->depth--;
        blank(p);
        return scan_skip(in, ")") ? x : scan_wrong(in, "a ( has no )");
    }
    if (n == 0)
        return scan_wrong(in, "a literal, a class, a rule or ( is expected");
    int32_t rule = names_rule(in->b, &p->names, in->s + in->at, n, false);
    in->at += n;
    return expr_rule(in->b, rule);
}

/* The repetition {m}, {m,}, {m,n} or {,n} of x; the brace was read. Blanks may stand anywhere within. */
static int32_t counted(struct parser *p, int32_t x)
{
    struct scan *in = &p->in;
    blank(p);
    int32_t min = scan_peek(in) == ',' ? 0 : scan_number(in), max = min;
    blank(p);
    if (scan_skip(in, ",")) {
        blank(p);
        max = scan_peek(in) == '}' ? NO_MAX : scan_number(in);
        blank(p);
    }
    if (!scan_skip(in, "}") || max < min)
        return scan_wrong(in, "a repetition is {m}, {m,} or {m,n}");
    return expr_repeat(in->b, x, min, max);
}

/* An atom with any number of quantifiers behind it, each of which repeats what stands before it: *, +, ? or {m,n}. */
static int32_t repeated(struct parser *p)
{
    struct build *b = p->in.b;
    int32_t x = atom(p);
    while (!b->failed) {
        blank(p);
        if (scan_quantifier(&p->in, &x))
            continue;
        if (!scan_skip(&p->in, "{"))
            break;
        x = counted(p, x);
    }
    return x;
}

/* Sequences separated by |. One ends at a bracket, at the end of the text, and where the next rule begins. */
static int32_t alternatives(struct parser *p)
{
    struct build *b = p->in.b;
    struct exprs all = { 0 };
    do {
        struct exprs seq = { 0 };
        for (blank(p); !b->failed && p->in.at < p->in.n && !strchr("|)", scan_peek(&p->in)) && !at_rule(p); blank(p))
            exprs_add(b, &seq, repeated(p));
        exprs_add(b, &all, exprs_seq(b, &seq));
    } while (!b->failed && scan_skip(&p->in, "|"));
    return exprs_alt(b, &all);
}

/* All rules of the text. The end of a rule is not marked in this notation: alternatives() stops where a name and ::=
 * come next, and here the next turn begins. Whether `root` and every name that was used are defined, the caller asks
 * afterwards. */
static void rules(struct parser *p)
{
    struct scan *in = &p->in;
    for (blank(p); !in->b->failed && in->at < in->n; blank(p)) {
        size_t n = name_here(p);
        if (!at_rule(p)) {
            scan_wrong(in, "a rule is expected: name ::= ...");
            return;
        }
        int32_t rule = names_rule(in->b, &p->names, in->s + in->at, n, true);
        in->at += n;
        blank(p);
        scan_skip(in, "::=");
        rule_set(in->b, rule, alternatives(p));
    }
}

/* Rules may be used before they are defined, so what is missing can only be said at the end. llama.cpp starts at the
 * rule `root`, and so does this. */
int32_t gbnf_expr(struct build *b, const char *s, size_t n)
{
    struct parser p = { .in = { .b = b, .s = s, .n = n } };
    rules(&p);
    int32_t root = names_find(&p.names, "root", 4);
    if (root < 0)
        build_fail(b, "is a grammar without a rule named \"root\"");
    names_check(b, &p.names);
    names_free(&p.names);
    return b->failed ? EXPR_NONE : expr_rule(b, root);
}
