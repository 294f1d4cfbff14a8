/* The notation of Lark, as people write it for vLLM: `rule: alternatives` in lower case, `TERMINAL: ...` in upper case,
 * literals, regular expressions between slashes, %import of the terminals of Lark's `common`, and %ignore, which lets
 * texts stand behind every terminal of a rule. How Lark would cut a text into terminals is not copied: the texts are
 * those that the rules describe, character by character. */
#include <stdlib.h>
#include <string.h>

#include "grammar/names.h"
#include "grammar/regex.h"
#include "grammar/scan.h"
#include "grammar/sources.h"

struct parser {
    struct scan in;
    struct names names;        /* owned */
    struct exprs ignored;      /* owned */
    int32_t gap;               /* the rule of what is ignored behind terminals */
    bool in_terminal;          /* nothing is ignored inside a terminal */
};

static const struct { const char *name, *regex; } common[] = {
    { "DIGIT", "[0-9]" }, { "HEXDIGIT", "[0-9a-fA-F]" }, { "INT", "[0-9]+" }, { "SIGNED_INT", "[+-]?[0-9]+" },
    { "DECIMAL", "[0-9]+\\.[0-9]*|\\.[0-9]+" },
    { "FLOAT", "[0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?" },
    { "SIGNED_FLOAT", "[+-]?([0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)" },
    { "NUMBER", "[0-9]+|[0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?" },
    { "SIGNED_NUMBER", "[+-]?([0-9]+|[0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)" },
    { "ESCAPED_STRING", "\"([^\"\\\\\\n]|\\\\.)*\"" },
    { "LCASE_LETTER", "[a-z]" }, { "UCASE_LETTER", "[A-Z]" }, { "LETTER", "[a-zA-Z]" }, { "WORD", "[a-zA-Z]+" },
    { "CNAME", "[a-zA-Z_][a-zA-Z0-9_]*" }, { "WS_INLINE", "[ \\t]+" }, { "WS", "[ \\t\\f\\r\\n]+" },
    { "CR", "\\r" }, { "LF", "\\n" }, { "NEWLINE", "(\\r?\\n)+" }, { "SH_COMMENT", "#[^\\n]*" },
    { "CPP_COMMENT", "//[^\\n]*" }, { "SQL_COMMENT", "--[^\\n]*" },
};

static int32_t alternatives(struct parser *p);

static void blank(struct parser *p) { scan_blank(&p->in, "//"); }

static size_t name_here(const struct parser *p) { return scan_name(&p->in, "_"); }

/* Lark tells terminals from rules by their first letter, past underscores: upper case is a terminal. */
static bool is_terminal(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] != '_')
            return s[i] >= 'A' && s[i] <= 'Z';
    return false;
}

/* The length of what begins a definition: [?!]name, maybe .priority, then a colon; 0: none begins here. */
static size_t definition(const struct parser *p, size_t *name_at, size_t *name_n)
{
    struct scan look = p->in;
    while (scan_skip(&look, "?") || scan_skip(&look, "!"))
        ;
    *name_at = look.at;
    *name_n = scan_name(&look, "_");
    look.at += *name_n;
    if (*name_n && scan_skip(&look, "."))
        while ((scan_peek(&look) >= '0' && scan_peek(&look) <= '9') || scan_peek(&look) == '-')
            look.at++;
    while (scan_peek(&look) == ' ')
        look.at++;
    return *name_n && scan_skip(&look, ":") ? look.at - p->in.at : 0;
}

/* What may be ignored stands behind every terminal of a rule. */
static int32_t terminal(struct parser *p, int32_t x)
{
    return p->in_terminal ? x : expr_pair(p->in.b, x, expr_rule(p->in.b, p->gap));
}

/* "literal", "literal"i in either case, or "a".."z". What follows the closing quote decides, so the end of the literal
 * is looked for first, and then it is read again. */
static int32_t literal(struct parser *p)
{
    struct scan *in = &p->in, look = *in;
    size_t from = in->at;
    char quote = scan_peek(in);
    for (look.at++; look.at < look.n && look.s[look.at] != quote; look.at++)
        look.at += look.s[look.at] == '\\';
    look.at++;
    if (look.at < look.n && scan_skip(&look, "..")) {
        uint32_t lo = scan_literal_char(in), hi = 0;
        scan_skip(in, "..");
        hi = scan_literal_char(in);
        return hi < lo ? scan_wrong(in, "a range is upside down")
                       : expr_class(in->b, &(struct range){ lo, hi }, 1, WRITE_UTF8);
    }
    bool any_case = look.at < look.n && scan_peek(&look) == 'i' && scan_name(&look, "_") == 1;
    in->at = from;
    int32_t x = scan_literal(in, any_case);
    in->at += any_case;
    return x;
}

/* A regular expression between two slashes, of which the first is here. A slash behind a backslash does not end it.
 * Flags are refused: they would change what it means. */
static int32_t regex(struct parser *p)
{
    struct scan *in = &p->in;
    size_t from = ++in->at;
    for (; in->at < in->n && in->s[in->at] != '/' && in->s[in->at] != '\n'; in->at++)
        in->at += in->s[in->at] == '\\';
    if (in->at >= in->n || in->s[in->at] != '/')
        return scan_wrong(in, "a regular expression has no end");
    size_t n = in->at++ - from;
    if (scan_name(in, ""))
        return scan_wrong(in, "flags of regular expressions are not supported");
    return regex_expr(in->b, in->s + from, n, true, WRITE_UTF8);
}

/* What stands in brackets, up to `close`; `optional`: these were square ones. */
static int32_t group(struct parser *p, const char *close, bool optional)
{
    if (!scan_deeper(&p->in))
        return EXPR_NONE;
    int32_t x = alternatives(p);
    p->in.depth--;
    blank(p);
    if (!scan_skip(&p->in, close))
        return scan_wrong(&p->in, "a bracket is not closed");
    return optional ? expr_optional(p->in.b, x) : x;
}

/* A string, a regular expression between slashes, a group in ( ) or [ ] (which may be missing), or the name of a rule
 * or terminal. What is a terminal goes through terminal(), which lets ignored text stand behind it. */
static int32_t atom(struct parser *p)
{
    struct scan *in = &p->in;
    const char *s = in->s + in->at;
    size_t n = name_here(p);
    if (scan_peek(in) == '"' || scan_peek(in) == '\'')
        return terminal(p, literal(p));
    if (scan_peek(in) == '/')
        return terminal(p, regex(p));
    if (scan_skip(in, "("))
        return group(p, ")", false);
    if (scan_skip(in, "["))
        return group(p, "]", true);
    if (n == 0)
        return scan_wrong(in, "a literal, a regular expression, a name or a bracket is expected");
    int32_t x = expr_rule(in->b, names_rule(in->b, &p->names, s, n, false));
    in->at += n;
    if (scan_peek(in) == '{')
        return scan_wrong(in, "templates are not supported");
    return is_terminal(s, n) ? terminal(p, x) : x;
}

/* ~ n or ~ n..m; the tilde was read. */
static int32_t counted(struct parser *p, int32_t x)
{
    blank(p);
    int32_t min = scan_number(&p->in), max = min;
    blank(p);
    if (scan_skip(&p->in, "..")) {
        blank(p);
        max = scan_number(&p->in);
    }
    return max < min ? scan_wrong(&p->in, "a repetition is upside down") : expr_repeat(p->in.b, x, min, max);
}

/* An atom and what repeats it: ?, *, + or a count behind ~. A ? may also begin the name of the next definition (`?rule:
 * ...`), so it is looked at as that first. */
static int32_t repeated(struct parser *p)
{
    struct build *b = p->in.b;
    int32_t x = atom(p);
    while (!b->failed) {
        size_t at, n;
        blank(p);
        if (definition(p, &at, &n))
            break;                      /* its question mark is no quantifier */
        if (scan_quantifier(&p->in, &x))
            continue;
        if (!scan_skip(&p->in, "~"))
            break;
        x = counted(p, x);
    }
    return x;
}

/* Whether an alternative goes on: not at its end, nor at the next definition, nor at the name behind ->. */
static bool at_item(struct parser *p)
{
    size_t at, n;
    blank(p);
    return !p->in.b->failed && p->in.at < p->in.n && !strchr("|)]%", scan_peek(&p->in)) &&
           !(scan_peek(&p->in) == '-' && p->in.s[p->in.at + 1] == '>') && !definition(p, &at, &n);
}

/* Sequences separated by |, each with an optional `-> name`, which names a node of Lark's parse tree and changes no
 * text. */
static int32_t alternatives(struct parser *p)
{
    struct build *b = p->in.b;
    struct exprs all = { 0 };
    do {
        struct exprs seq = { 0 };
        while (at_item(p))
            exprs_add(b, &seq, repeated(p));
        exprs_add(b, &all, exprs_seq(b, &seq));
        if (scan_skip(&p->in, "->")) {          /* a name for the parsed tree */
            blank(p);
            p->in.at += name_here(p);
            blank(p);
        }
    } while (!b->failed && scan_skip(&p->in, "|"));
    return exprs_alt(b, &all);
}

/* Defines one terminal of Lark's `common` under the name that the source gives it. Those that are known are written as
 * regular expressions in a table. */
static void import_one(struct parser *p, const char *s, size_t n, const char *as, size_t n_as)
{
    struct build *b = p->in.b;
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        if (strlen(common[i].name) == n && memcmp(common[i].name, s, n) == 0) {
            int32_t x = regex_expr(b, common[i].regex, strlen(common[i].regex), true, WRITE_UTF8);
            rule_set(b, names_rule(b, &p->names, as, n_as, true), x);
            return;
        }
    build_fail(b, "imports \"%.*s\", which is not one of the terminals of common that are known", n < 80 ? (int)n : 80,
               s);
}

/* %import common.NAME, %import common.NAME -> OTHER, %import common (A, B). */
static void import(struct parser *p)
{
    struct scan *in = &p->in;
    blank(p);
    if (!scan_skip(in, "common")) {
        scan_wrong(in, "only terminals of common can be imported");
        return;
    }
    bool list = false;
    if (!scan_skip(in, ".")) {
        blank(p);
        list = scan_skip(in, "(");
    }
    do {
        blank(p);
        const char *s = in->s + in->at, *as = s;
        size_t n = name_here(p), n_as = n;
        in->at += n;
        blank(p);
        if (!list && scan_skip(in, "->")) {
            blank(p);
            as = in->s + in->at;
            n_as = name_here(p);
            in->at += n_as;
        }
        import_one(p, s, n, as, n_as);
        blank(p);
    } while (!in->b->failed && list && scan_skip(in, ","));
    if (list && !scan_skip(in, ")"))
        scan_wrong(in, "a bracket is not closed");
}

/* %import takes terminals of Lark's library, %ignore adds to what may stand behind every terminal. The others
 * (%declare, %override, %extend) would need more than one file or code, and are refused. */
static void directive(struct parser *p)
{
    struct scan *in = &p->in;
    if (scan_skip(in, "import")) {
        import(p);
    } else if (scan_skip(in, "ignore")) {
        p->in_terminal = true;
        exprs_add(in->b, &p->ignored, alternatives(p));
    } else
        scan_wrong(in, "of the directives only %import and %ignore are supported");
}

/* The whole text: directives, which begin with %, and definitions of rules and terminals. `in_terminal` tells the
 * parsers below whether they are within a terminal, where ignored text must not be let in. */
static void definitions(struct parser *p)
{
    struct scan *in = &p->in;
    for (blank(p); !in->b->failed && in->at < in->n; blank(p)) {
        size_t at, n, length = definition(p, &at, &n);
        if (scan_skip(in, "%")) {
            directive(p);
            continue;
        }
        if (!length) {
            scan_wrong(in, "a definition is expected: name: ...");
            return;
        }
        int32_t rule = names_rule(in->b, &p->names, in->s + at, n, true);
        in->at += length;
        p->in_terminal = is_terminal(in->s + at, n);
        rule_set(in->b, rule, alternatives(p));
    }
}

/* The gap is a rule from the start on, because terminals refer to it while later %ignore lines may still add to it.
 * Lark starts at the rule `start`, and ignored text may also stand before it. */
int32_t lark_expr(struct build *b, const char *s, size_t n)
{
    struct parser p = { .in = { .b = b, .s = s, .n = n }, .gap = rule_new(b) };
    definitions(&p);
    int32_t start = names_find(&p.names, "start", 5);
    if (start < 0)
        build_fail(b, "is a grammar without a rule named \"start\"");
    names_check(b, &p.names);
    rule_set(b, p.gap, p.ignored.n ? expr_repeat(b, exprs_alt(b, &p.ignored), 0, NO_MAX) : expr_empty(b));
    names_free(&p.names);
    free(p.ignored.x);
    return b->failed ? EXPR_NONE : expr_pair(b, expr_rule(b, p.gap), expr_rule(b, start));
}

/* GBNF's definitions have ::=, which Lark's never have outside of literals. */
int32_t ebnf_expr(struct build *b, const char *s, size_t n)
{
    bool gbnf = memmem(s, n, "::=", 3) != NULL;
    return gbnf ? gbnf_expr(b, s, n) : lark_expr(b, s, n);
}
