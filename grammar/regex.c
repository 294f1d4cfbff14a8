/* A parser by recursive descent, as deep as GRAMMAR_MAX_NESTING. Where ^ and $ stand at the ends of the whole or of its
 * alternatives they only say where other text may be. Elsewhere the beginning and the end of the text become symbols of
 * their own, and what remains of the language between them is the answer. */
#include "grammar/regex.h"

#include <string.h>

#include "base/hex.h"
#include "base/utf8.h"
#include "grammar/grammar.h"
#include "grammar/language.h"

enum { MAX_RANGES = 512, MAX_COUNT = 100000, MAX_KIDS = 64 };

struct parser {
    struct build *b;           /* borrowed */
    const char *s;
    size_t n, at;
    enum writing w;
    bool whole;
    bool marks;                /* ^ and $ are symbols                     */
    bool inner;                /* one stands where it needs to be one     */
    int depth;
};

struct set { struct range r[MAX_RANGES + 1]; size_t n; };  /* one more: inverted */

static int32_t alternatives(struct parser *p);

static bool at_end(const struct parser *p) { return p->at >= p->n; }
static char peek(const struct parser *p) { return at_end(p) ? 0 : p->s[p->at]; }
static bool looking_at(const struct parser *p, const char *s)
{
    size_t n = strlen(s);
    return p->n - p->at >= n && memcmp(p->s + p->at, s, n) == 0;
}

static bool skip(struct parser *p, const char *s)
{
    bool there = looking_at(p, s);
    p->at += there ? strlen(s) : 0;
    return there;
}

static uint32_t next_char(struct parser *p)
{
    int len = 1;
    uint32_t c = utf8_get(p->s + p->at, p->n - p->at, &len);
    p->at += (size_t)len;
    return c;
}

static int32_t refuse(struct parser *p, const char *what)
{
    return build_fail(p->b, "is a regular expression with %s (at character %zu), which is not supported", what, p->at);
}

static int32_t wrong(struct parser *p, const char *what)
{
    return build_fail(p->b, "is no regular expression: %s (at character %zu)", what, p->at);
}

/* ---- classes ---- */

static const struct range digits[] = { { '0', '9' } };
static const struct range words[] = { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' } };
static const struct range spaces[] = { { 9, 13 }, { 32, 32 }, { 0xA0, 0xA0 }, { 0x1680, 0x1680 }, { 0x2000, 0x200A },
                                       { 0x2028, 0x2029 }, { 0x202F, 0x202F }, { 0x205F, 0x205F }, { 0x3000, 0x3000 },
                                       { 0xFEFF, 0xFEFF } };
static const struct range line_ends[] = { { 10, 10 }, { 13, 13 }, { 0x2028, 0x2029 } };

/* Adds ranges to a class. When there is no room they are joined first, since most classes repeat themselves. */
static void add(struct parser *p, struct set *set, const struct range *r, size_t n)
{
    if (set->n + n > MAX_RANGES)
        set->n = ranges_join(set->r, set->n);
    if (set->n + n > MAX_RANGES) {
        build_fail(p->b, "is a regular expression with a class of more than %d ranges", MAX_RANGES);
        return;
    }
    memcpy(set->r + set->n, r, n * sizeof *r);
    set->n += n;
}

/* The class becomes everything else. That may be one range more than add() lets a class have. */
static void invert(struct set *set)
{
    struct range out[MAX_RANGES + 1];
    set->n = ranges_invert(set->r, ranges_join(set->r, set->n), out);
    memcpy(set->r, out, set->n * sizeof *out);
}

/* The number that n hexadecimal digits write, or those in braces for n 0. What is no code point is an error. */
static uint32_t hex(struct parser *p, int n)
{
    uint32_t v = 0;
    int i = 0;
    bool braces = n == 0 && skip(p, "{");
    for (; (braces ? i < 7 : i < n) && hex_digit(peek(p)) >= 0; i++, p->at++)
        v = v * 16 + (uint32_t)hex_digit(p->s[p->at]);
    if ((braces && (!skip(p, "}") || i == 0)) || (!braces && i != n) || v > 0x10FFFF)
        wrong(p, "an escape has no code point");
    return v;
}

/* \uXXXX, and the second half of a pair of surrogates if it follows. */
static uint32_t unicode(struct parser *p)
{
    uint32_t c = hex(p, peek(p) == '{' ? 0 : 4);
    if (c >= 0xD800 && c < 0xDC00 && skip(p, "\\u")) {
        uint32_t low = hex(p, 4);
        if (low < 0xDC00 || low > 0xDFFF)
            wrong(p, "a surrogate is alone");
        c = 0x10000 + ((c - 0xD800) << 10) + ((low - 0xDC00) & 1023);
    }
    return c;
}

/* Adds one of the escapes that are sets; false: it is something else, and nothing was read. */
static bool set_escape(struct parser *p, struct set *set)
{
    static const struct { char lower; const struct range *r; size_t n; } known[] = {
        { 'd', digits, 1 }, { 'w', words, 4 }, { 's', spaces, sizeof spaces / sizeof *spaces } };
    char c = peek(p);
    for (size_t i = 0; i < 3; i++) {
        if ((c | 32) != known[i].lower)
            continue;
        struct range out[16];
        size_t n = ranges_invert(known[i].r, known[i].n, out);
        bool inverted = c != known[i].lower;
        add(p, set, inverted ? out : known[i].r, inverted ? n : known[i].n);
        p->at++;
        return true;
    }
    return false;
}

/* The code point of an escape, whose backslash was read. What is not done here is refused by name, and letters that
 * mean nothing are, too: in another engine they may mean something. `in_class`: \b is a backspace there. */
static uint32_t char_escape(struct parser *p, bool in_class)
{
    static const char letters[] = "tnrfv0", values[] = { 9, 10, 13, 12, 11, 0 };
    if (at_end(p)) {
        wrong(p, "it ends in a backslash");
        return 0;
    }
    uint32_t c = next_char(p);
    const char *known = c && c < 128 ? strchr(letters, (int)c) : NULL;
    if (c == '0' && peek(p) >= '0' && peek(p) <= '9')
        return refuse(p, "an octal escape"), 0;
    if (known)
        return (uint32_t)values[known - letters];
    if (c == 'b' && in_class)
        return 8;
    if (c == 'x')
        return hex(p, 2);
    if (c == 'u')
        return unicode(p);
    if (c == 'U')
        return hex(p, 8);
    if (c == 'c' && ((peek(p) | 32) >= 'a' && (peek(p) | 32) <= 'z'))
        return next_char(p) & 31;
    if (c == 'a')
        return 7;
    if (c >= '1' && c <= '9')
        return refuse(p, "a reference to a group"), 0;
    if (c == 'b' || c == 'B')
        return refuse(p, "a word boundary"), 0;
    if (c == 'p' || c == 'P')
        return refuse(p, "a property of Unicode"), 0;
    if (c == 'k')
        return refuse(p, "a reference to a group"), 0;
    if (c < 128 && ((c | 32) >= 'a' && (c | 32) <= 'z'))
        return refuse(p, "an unknown escape"), 0;
    return c;
}

/* A class, whose opening bracket was read. A ] that comes first stands for itself, and so does a - that is first or
 * last. */
static int32_t class(struct parser *p)
{
    struct set set = { .n = 0 };
    bool not = skip(p, "^"), first = true;
    for (; !p->b->failed && (first || peek(p) != ']'); first = false) {
        if (at_end(p))
            return wrong(p, "a [ has no ]");
        bool escaped = skip(p, "\\");
        if (escaped && set_escape(p, &set))
            continue;
        uint32_t lo = escaped ? char_escape(p, true) : next_char(p), hi = lo;
        if (peek(p) == '-' && p->at + 1 < p->n && p->s[p->at + 1] != ']') {
            p->at++;
            if (skip(p, "\\")) {
                if (strchr("dDwWsS", peek(p)) && peek(p))
                    return wrong(p, "a range of a class ends in a set");
                hi = char_escape(p, true);
            } else
                hi = next_char(p);
        }
        if (hi < lo)
            return wrong(p, "a range of a class is upside down");
        add(p, &set, &(struct range){ lo, hi }, 1);
    }
    skip(p, "]");
    if (not)
        invert(&set);
    return expr_class(p->b, set.r, set.n, p->w);
}

/* ---- atoms, quantifiers, sequences ---- */

static int32_t one(struct parser *p, uint32_t c) { return expr_class(p->b, &(struct range){ c, c }, 1, p->w); }

/* Everything but the ends of lines, as ECMA-262 has it without its flag s. */
static int32_t dot(struct parser *p)
{
    struct range out[8];
    size_t n = ranges_invert(line_ends, sizeof line_ends / sizeof *line_ends, out);
    return expr_class(p->b, out, n, p->w);
}

/* What stands behind an opening bracket: a group, with or without a name, neither of which makes a difference here.
 * Lookaround and flags are refused by name. */
static int32_t group(struct parser *p)
{
    if (skip(p, "?")) {
        if (looking_at(p, "=") || looking_at(p, "!") || looking_at(p, "<=") || looking_at(p, "<!"))
            return refuse(p, "lookaround");
        if (skip(p, "P<") || skip(p, "<")) {
            while (!at_end(p) && peek(p) != '>')
                p->at++;
            skip(p, ">");
        } else if (!skip(p, ":"))
            return refuse(p, "flags or another kind of group");
    }
    if (++p->depth > GRAMMAR_MAX_NESTING)
        return build_fail(p->b, "has brackets that are nested more than %d deep", GRAMMAR_MAX_NESTING);
    int32_t x = alternatives(p);
    p->depth--;
    return skip(p, ")") ? x : wrong(p, "a ( has no )");
}

/* An anchor that is not at an end of an alternative of the whole. */
static int32_t anchor(struct parser *p, char c)
{
    if (p->marks)
        return one(p, c == '^' ? MARK_BEGIN : MARK_END);
    p->inner = true;
    return expr_empty(p->b);
}

/* One element of a pattern: a group, a class, a dot, an anchor, an escape, or a character that stands for itself. A
 * quantifier at this place has nothing to repeat, which is an error, as in ECMA-262. */
static int32_t atom(struct parser *p)
{
    char c = peek(p);
    switch (c) {
    case '(':  p->at++; return group(p);
    case '[':  p->at++; return class(p);
    case '.':  p->at++; return dot(p);
    case '^': case '$': p->at++; return anchor(p, c);
    case '*': case '+': case '?': return wrong(p, "a quantifier follows nothing");
    case '\\': {
        struct set set = { .n = 0 };
        p->at++;
        if (peek(p) == 'A' || peek(p) == 'Z' || peek(p) == 'z')
            return anchor(p, p->s[p->at++] == 'A' ? '^' : '$');
        if (set_escape(p, &set))
            return expr_class(p->b, set.r, set.n, p->w);
        return one(p, char_escape(p, false));
    }
    default:   return one(p, next_char(p));
    }
}

/* {m}, {m,}, {m,n} or {,n}. false: it is none of these, nothing was taken, and the brace is an ordinary character. */
static bool counts(struct parser *p, int32_t *min, int32_t *max)
{
    size_t at = p->at + 1;
    int64_t v[2] = { 0, -1 };
    bool digit[2] = { false, false };
    int i = 0;
    for (; at < p->n && p->s[at] != '}'; at++) {
        if (p->s[at] == ',' && i == 0) {
            i = 1;
        } else if (p->s[at] >= '0' && p->s[at] <= '9') {
            v[i] = (v[i] < 0 ? 0 : v[i]) * 10 + p->s[at] - '0';
            v[i] = v[i] > MAX_COUNT ? MAX_COUNT + 1 : v[i];
            digit[i] = true;
        } else
            return false;
    }
    if (at >= p->n || (!digit[0] && !digit[1]))
        return false;
    p->at = at + 1;
    if (v[0] > MAX_COUNT || v[1] > MAX_COUNT)
        build_fail(p->b, "has a repetition of more than %d times", MAX_COUNT);
    *min = (int32_t)v[0];
    *max = digit[1] ? (int32_t)v[1] : NO_MAX;
    if (i == 0)
        *max = *min;
    if (*max < *min)
        wrong(p, "a repetition's bounds are upside down");
    return true;
}

/* An atom and at most one quantifier, with a ? behind it allowed and without influence: which texts match does not
 * depend on greed. Possessive quantifiers and repeated anchors do change the language in ways that are not done here,
 * and are refused by name. */
static int32_t quantified(struct parser *p)
{
    bool anchored = peek(p) == '^' || peek(p) == '$';
    int32_t x = atom(p), min = 1, max = 1;
    for (int i = 0; !p->b->failed; i++) {
        if (skip(p, "*"))
            min = 0, max = NO_MAX;
        else if (skip(p, "+"))
            min = 1, max = NO_MAX;
        else if (skip(p, "?"))
            min = 0, max = 1;
        else if (peek(p) != '{' || !counts(p, &min, &max))
            break;
        if (anchored)
            return refuse(p, "a repeated anchor");
        if (i > 0)
            return wrong(p, "a quantifier follows another");
        if (peek(p) == '+')
            return refuse(p, "a possessive quantifier");
        skip(p, "?");
        x = expr_repeat(p->b, x, min, max);
    }
    return x;
}

/* A list of kids that is handed on in parts, so that its length is not limited. */
struct list { int32_t kid[MAX_KIDS]; size_t n; };

/* A list of any length in a small array: when it is full, what is in it becomes one expression. */
static void list_add(struct build *b, struct list *l, int32_t x,
                     int32_t (*join)(struct build *, const int32_t *, size_t))
{
    if (l->n == MAX_KIDS) {
        l->kid[0] = join(b, l->kid, l->n);
        l->n = 1;
    }
    l->kid[l->n++] = x;
}

/* One alternative. At depth 0, ^ at its beginning and $ at its end are taken here. */
static int32_t sequence(struct parser *p)
{
    struct list l = { .n = 0 };
    bool outer = p->depth == 0 && !p->marks, begins = false, ends = false;
    if (outer)
        begins = skip(p, "^") || skip(p, "\\A");
    while (!p->b->failed && !at_end(p) && peek(p) != '|' && peek(p) != ')') {
        bool last = p->at + 1 == p->n || p->s[p->at + 1] == '|';
        if (outer && peek(p) == '$' && last) {
            p->at++;
            ends = true;
            break;
        }
        list_add(p->b, &l, quantified(p), expr_seq);
    }
    int32_t x = expr_seq(p->b, l.kid, l.n);
    if (!outer || p->whole)
        return x;
    int32_t any = expr_repeat(p->b, expr_any_char(p->b, p->w), 0, NO_MAX);
    if (!begins)
        x = expr_pair(p->b, any, x);
    return ends ? x : expr_pair(p->b, x, any);
}

static int32_t alternatives(struct parser *p)
{
    struct list l = { .n = 0 };
    do
        list_add(p->b, &l, sequence(p), expr_alt);
    while (!p->b->failed && skip(p, "|"));
    return expr_alt(p->b, l.kid, l.n);
}

/* The whole pattern. Whatever alternatives() leaves is a bracket too many. */
static int32_t parse(struct parser *p)
{
    int32_t x = alternatives(p);
    if (!p->b->failed && !at_end(p))
        return wrong(p, "a ) has no (");
    return x;
}

/* Parses the pattern once more, now with ^ and $ as symbols of their own that stand around the text, and takes from the
 * language what lies between the marks. A pattern that need not match the whole text may have anything before and
 * behind it, also the marks. This costs more than the first attempt, which is why it is done only for patterns that
 * have an anchor in their midst. */
static struct dfa *with_marks(struct parser *p)
{
    struct build *b = p->b;
    p->marks = true;
    p->at = 0;
    p->depth = 0;
    p->w = WRITE_UTF8;
    int32_t x = parse(p), begin = one(p, MARK_BEGIN), end = one(p, MARK_END);
    if (p->whole) {
        x = expr_seq(b, (int32_t[]){ expr_optional(b, begin), x, expr_optional(b, end) }, 3);
    } else {
        struct range all = { 0, MARK_LAST };
        int32_t any = expr_repeat(b, expr_class(b, &all, 1, WRITE_UTF8), 0, NO_MAX);
        x = expr_seq(b, (int32_t[]){ any, x, any }, 3);
    }
    struct dfa *marked = b->failed ? NULL : language_make(b, x), *out = language_unmark(b, marked);
    dfa_free(marked);
    return out;
}

/* A class for other parsers, whose notation of classes is the same. *at stands on its opening bracket and goes behind
 * its end. */
int32_t regex_class(struct build *b, const char *s, size_t n, size_t *at)
{
    struct parser p = { .b = b, .s = s, .n = n, .at = *at + 1, .w = WRITE_UTF8 };
    int32_t x = class(&p);
    *at = p.at;
    return x;
}

/* The pattern as an expression. Only where an anchor stands in its midst does it have to become a language first. */
int32_t regex_expr(struct build *b, const char *s, size_t n, bool whole, enum writing w)
{
    struct parser p = { .b = b, .s = s, .n = n, .w = w, .whole = whole };
    int32_t x = parse(&p);
    return p.inner && !b->failed ? expr_lang(b, with_marks(&p), w) : x;
}

/* The pattern as a language, to be compared or intersected with others. */
struct dfa *regex_language(struct build *b, const char *s, size_t n, bool whole)
{
    struct parser p = { .b = b, .s = s, .n = n, .w = WRITE_UTF8, .whole = whole };
    int32_t x = parse(&p);
    if (b->failed)
        return NULL;
    return p.inner ? with_marks(&p) : language_make(b, x);
}
