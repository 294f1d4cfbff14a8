/* grammar/scan.c - characters, literals and quantifiers of both notations of grammars. Every loop ends at the end of
 * the text or with the builder's failure, whatever the source holds. See scan.h. */
#include "grammar/scan.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "grammar/grammar.h"

enum { MAX_NUMBER = 100000 };

char scan_peek(const struct scan *p) { return p->at < p->n ? p->s[p->at] : 0; }

bool scan_skip(struct scan *p, const char *s)
{
    size_t n = strlen(s);
    bool there = p->n - p->at >= n && memcmp(p->s + p->at, s, n) == 0;
    p->at += there ? n : 0;
    return there;
}

/* Counted only when an error needs it. */
int scan_line(const struct scan *p)
{
    int line = 1;
    for (size_t i = 0; i < p->at && i < p->n; i++)
        line += p->s[i] == '\n';
    return line;
}

int32_t scan_wrong(struct scan *p, const char *what)
{
    return p->b->failed ? EXPR_NONE : build_fail(p->b, "is no grammar: line %d: %s", scan_line(p), what);
}

/* Passes over white space and comments, which begin with `comment` and end with their line. */
void scan_blank(struct scan *p, const char *comment)
{
    size_t n = strlen(comment);
    for (; p->at < p->n; p->at++) {
        if (p->n - p->at >= n && memcmp(p->s + p->at, comment, n) == 0)
            while (p->at < p->n && p->s[p->at] != '\n')
                p->at++;
        if (p->at < p->n && !strchr(" \t\r\n", p->s[p->at]))
            return;
    }
}

/* How many of the next bytes are letters, digits or one of `more`. Nothing is taken. */
size_t scan_name(const struct scan *p, const char *more)
{
    size_t i = p->at;
    for (; i < p->n; i++) {
        char c = p->s[i], lower = c | 32;
        if (!(c >= '0' && c <= '9') && !(lower >= 'a' && lower <= 'z') && !(c && strchr(more, c)))
            break;
    }
    return i - p->at;
}

/* One more bracket is open; false: too many, and the builder has failed. The caller takes it back by p->depth--. */
bool scan_deeper(struct scan *p)
{
    if (++p->depth <= GRAMMAR_MAX_NESTING)
        return true;
    build_fail(p->b, "has brackets that are nested more than %d deep", GRAMMAR_MAX_NESTING);
    return false;
}

/* A number of repetitions. The digits are read only as far as the limit, so that no number overflows. */
int32_t scan_number(struct scan *p)
{
    int64_t v = 0;
    size_t from = p->at;
    for (; scan_peek(p) >= '0' && scan_peek(p) <= '9' && v <= MAX_NUMBER; p->at++)
        v = v * 10 + scan_peek(p) - '0';
    if (p->at == from)
        return scan_wrong(p, "a number is missing");
    if (v > MAX_NUMBER)
        build_fail(p->b, "has a repetition of more than %d times", MAX_NUMBER);
    return (int32_t)v;
}

/* ---- literals ---- */

static uint32_t next_char(struct scan *p)
{
    int len = 1;
    uint32_t c = p->at < p->n ? utf8_get(p->s + p->at, p->n - p->at, &len) : 0;
    p->at += (size_t)len;
    return c;
}

/* The code point behind a backslash: a letter for a control character, two, four or eight hexadecimal digits, or a
 * character that stands for itself. */
static uint32_t escape(struct scan *p)
{
    static const char letters[] = "nrtfbv0", values[] = { 10, 13, 9, 12, 8, 11, 0 };
    char c = scan_peek(p);
    const char *known = c ? strchr(letters, c) : NULL;
    int digits = c == 'x' ? 2 : 0;
    digits = c == 'u' ? 4 : digits;
    digits = c == 'U' ? 8 : digits;
    if (known) {
        p->at++;
        return (uint32_t)values[known - letters];
    }
    if (!digits)
        return next_char(p);
    uint32_t v = 0;
    p->at++;
    for (int i = 0; i < digits; i++, p->at++) {
        if (hex_digit(scan_peek(p)) < 0)
            scan_wrong(p, "an escape has too few digits");
        v = v * 16 + (uint32_t)(hex_digit(scan_peek(p)) & 15);
    }
    return v;
}

/* The characters between two quotes, with their escapes resolved, as UTF-8. */
static void read_literal(struct scan *p, struct buf *out)
{
    char quote = scan_peek(p), utf8[4];
    p->at++;
    while (!p->b->failed && scan_peek(p) != quote) {
        if (p->at >= p->n || scan_peek(p) == '\n') {
            scan_wrong(p, "a string has no end");
            return;
        }
        uint32_t c = scan_skip(p, "\\") ? escape(p) : next_char(p);
        buf_add(out, utf8, (size_t)utf8_put(utf8, c));
    }
    p->at++;
}

static bool is_letter(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

/* A text in any case: each letter becomes a class of its two forms, and any other byte stays what it is. Letters beyond
 * ASCII have one form only. */
static int32_t in_any_case(struct build *b, const struct buf *s)
{
    struct exprs l = { 0 };
    for (size_t i = 0; i < s->len; i++) {
        uint32_t lower = (uint8_t)s->data[i] | 32u, upper = lower & ~32u;
        struct range both[2] = { { lower, lower }, { upper, upper } };
        exprs_add(b, &l, is_letter(s->data[i]) ? expr_class(b, both, 2, WRITE_UTF8) : expr_bytes(b, s->data + i, 1));
    }
    return exprs_seq(b, &l);
}

/* One of * + ? behind an expression, which becomes its repetition. false: there is none, and nothing was taken. */
bool scan_quantifier(struct scan *p, int32_t *x)
{
    if (scan_skip(p, "*"))
        *x = expr_repeat(p->b, *x, 0, NO_MAX);
    else if (scan_skip(p, "+"))
        *x = expr_repeat(p->b, *x, 1, NO_MAX);
    else if (scan_skip(p, "?"))
        *x = expr_optional(p->b, *x);
    else
        return false;
    return true;
}

/* A quoted text with its escapes. `any_case`: upper and lower case count as equal. */
int32_t scan_literal(struct scan *p, bool any_case)
{
    struct buf s;
    buf_init(&s, GRAMMAR_MAX_TEXT);
    read_literal(p, &s);
    if (!buf_ok(&s))
        build_starve(p->b);
    int32_t x = EXPR_NONE;
    if (!p->b->failed)
        x = any_case ? in_any_case(p->b, &s) : expr_bytes(p->b, s.data, s.len);
    buf_free(&s);
    return x;
}

/* A quoted text that must be a single character, as an end of a range has to be. */
uint32_t scan_literal_char(struct scan *p)
{
    struct buf s;
    int len = 0;
    buf_init(&s, GRAMMAR_MAX_TEXT);
    read_literal(p, &s);
    uint32_t c = s.len ? utf8_get(s.data, s.len, &len) : 0;
    if (s.len == 0 || (size_t)len != s.len)
        scan_wrong(p, "a range of characters needs one character at each end");
    buf_free(&s);
    return c;
}

/* ---- lists ---- */

void exprs_add(struct build *b, struct exprs *l, int32_t x)
{
    if (grow(&l->x, &l->cap, l->n + 1, sizeof *l->x) < 0)
        build_starve(b);
    else
        l->x[l->n++] = x;
}

/* The list becomes one sequence and is empty again. */
int32_t exprs_seq(struct build *b, struct exprs *l)
{
    int32_t x = expr_seq(b, l->x, l->n);
    free(l->x);
    *l = (struct exprs){ 0 };
    return x;
}

/* The list becomes one choice and is empty again. */
int32_t exprs_alt(struct build *b, struct exprs *l)
{
    int32_t x = expr_alt(b, l->x, l->n);
    free(l->x);
    *l = (struct exprs){ 0 };
    return x;
}
