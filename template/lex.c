/* template/lex.c - a template's source as tokens.
 *
 * Follows Jinja's lexer with trim_blocks and lstrip_blocks: which whitespace a
 * tag swallows is decided here and nowhere else. Line ends become \n, one at the
 * very end is dropped. Linear in the source. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/utf8.h"
#include "template/big.h"
#include "template/syntax.h"

/* A source on its way into tokens. */
struct lexer {
    struct parser *p;          /* takes the tokens, and the failures   */
    const char    *s;          /* (n), normalised                      */
    size_t         n, at;      /* at: what is read next                */
    int            line;       /* of `at`, from 1                      */
    bool           line_start; /* the last thing read ended a line */
    char           open[256];  /* closing brackets awaited          */
    size_t         n_open;
};

static const struct { char text[3]; enum token_kind kind; } operators[] = { /* longer ones first */
    { "//", T_FLOORDIV }, { "**", T_POW }, { "==", T_EQ }, { "!=", T_NE }, { ">=", T_GE }, { "<=", T_LE },
    { "+", T_ADD }, { "-", T_SUB }, { "/", T_DIV }, { "*", T_MUL }, { "%", T_MOD }, { "~", T_TILDE },
    { "[", T_LBRACKET }, { "]", T_RBRACKET }, { "(", T_LPAREN }, { ")", T_RPAREN }, { "{", T_LBRACE },
    { "}", T_RBRACE }, { ">", T_GT }, { "<", T_LT }, { "=", T_ASSIGN }, { ".", T_DOT }, { ":", T_COLON },
    { "|", T_PIPE }, { ",", T_COMMA }, { ";", T_SEMICOLON },
};

/* Adds a token. The array doubles as it grows; the last token of a source is T_EOF. */
static void push(struct lexer *l, enum token_kind kind, int line, struct value v)
{
    struct parser *p = l->p;
    if (p->n_tokens == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 256;
        struct token *t = parse_alloc(p, cap * sizeof *t);
        if (p->n_tokens)
            memcpy(t, p->token, p->n_tokens * sizeof *t);
        p->token = t;
        p->cap = cap;
    }
    p->token[p->n_tokens++] = (struct token){ kind, line, v };
}

static void push_text(struct lexer *l, enum token_kind kind, int line, const char *s, size_t n)
{
    push(l, kind, line, v_str(parse_str(l->p, s, n)));
}

static bool looking_at(const struct lexer *l, size_t at, const char *text)
{
    size_t n = strlen(text);
    return l->n - at >= n && memcmp(l->s + at, text, n) == 0;
}

/* Offset after the whitespace at `at`. */
static size_t skip_space(const struct lexer *l, size_t at)
{
    int len;
    while (at < l->n && uni_space(utf8_get(l->s + at, l->n - at, &len)))
        at += (size_t)len;
    return at;
}

/* End of s[from, to) without the whitespace at its end. */
static size_t strip_end(const struct lexer *l, size_t from, size_t to)
{
    while (to > from) {
        size_t k = to - 1;
        int len;
        while (k > from && ((unsigned char)l->s[k] & 0xc0) == 0x80)
            k--;
        if (!uni_space(utf8_get(l->s + k, to - k, &len)))
            break;
        to = k;
    }
    return to;
}

/* Goes on to offset `to` and counts the lines passed, for messages, and notes whether a
 * line has just ended, which decides what lstrip_blocks may remove. */
static void move_to(struct lexer *l, size_t to)
{
    for (size_t i = l->at; i < to; i++)
        l->line += l->s[i] == '\n';
    if (to > l->at)
        l->line_start = l->s[to - 1] == '\n';
    l->at = to;
}

/* The text before a tag, s[at, end), without what the tag removes: all white space with `-`, and without a sign the
 * indentation of a tag that begins its line (lstrip_blocks), which `+` keeps. Variables keep theirs always. */
static void text_before(struct lexer *l, size_t end, char sign, bool variable)
{
    size_t stop = end;
    if (sign == '-') {
        stop = strip_end(l, l->at, end);
    } else if (sign != '+' && !variable) {
        size_t from = end;
        while (from > l->at && l->s[from - 1] != '\n')
            from--;
        if ((from > l->at || l->line_start) && from < end && skip_space(l, from) >= end)
            stop = from;
    }
    if (stop > l->at)
        push_text(l, T_DATA, l->line, l->s + l->at, stop - l->at);
    move_to(l, end);
}

/* If a tag ends at `at` with `close`, the offset after it and the whitespace it
 * swallows, else 0. */
static size_t tag_end(const struct lexer *l, size_t at, const char *close, bool trims)
{
    size_t n = strlen(close);
    if (looking_at(l, at, close)) {
        at += n;
        return trims && at < l->n && l->s[at] == '\n' ? at + 1 : at;
    }
    if (at < l->n && l->s[at] == '-' && looking_at(l, at + 1, close))
        return skip_space(l, at + 1 + n);
    if (trims && at < l->n && l->s[at] == '+' && looking_at(l, at + 1, close))
        return at + 1 + n;
    return 0;
}

/* Skips a comment whose beginning has been passed, and the newline behind it. */
static void comment(struct lexer *l)
{
    int line = l->line;
    for (size_t at = l->at; at < l->n; at++) {
        size_t end = tag_end(l, at, "#}", true);
        if (end) {
            move_to(l, end);
            return;
        }
    }
    if (l->at < l->n) /* Jinja says nothing when the source ends right there */
        parse_fail(l->p, line, "missing end of comment tag");
}

/* If `{% word %}` stands at `at` returns the offset after it, else 0. `raw` does
 * not trim the newline that follows it; `endraw` does. */
static size_t raw_tag(const struct lexer *l, size_t at, const char *word, char *sign)
{
    if (!looking_at(l, at, "{%"))
        return 0;
    at += 2;
    *sign = at < l->n && (l->s[at] == '-' || l->s[at] == '+') ? l->s[at++] : 0;
    at = skip_space(l, at);
    if (!looking_at(l, at, word))
        return 0;
    at = skip_space(l, at + strlen(word));
    if (word[0] == 'e')
        return tag_end(l, at, "%}", true);
    return at < l->n && l->s[at] == '+' ? 0 : tag_end(l, at, "%}", false);
}

/* The text of a raw block up to its endraw tag, as it stands. */
static void raw(struct lexer *l)
{
    for (size_t at = l->at; at < l->n; at++) {
        char sign;
        size_t end = l->s[at] == '{' ? raw_tag(l, at, "endraw", &sign) : 0;
        if (end) {
            text_before(l, at, sign, false);
            move_to(l, end);
            return;
        }
    }
    if (l->at < l->n)
        parse_fail(l->p, l->line, "missing end of raw directive");
}

/* ---- inside a tag
 *
 * Numbers, names, strings and operators, in the notation of Python. Whitespace
 * separates them and is dropped. */

/* The end of the digits at `at`, with single underscores between them; `at` itself if
 * there are none. */
static size_t digits(const struct lexer *l, size_t at)
{
    size_t end = at;
    while (end < l->n && isdigit((unsigned char)l->s[end])) {
        while (end < l->n && isdigit((unsigned char)l->s[end]))
            end++;
        if (end + 1 < l->n && l->s[end] == '_' && isdigit((unsigned char)l->s[end + 1]))
            end++;
    }
    return end;
}

/* If a float stands at `at`, the offset after it, else 0. A number with neither a
 * fraction nor an exponent is an integer, and so is one that follows a dot, as in
 * `x.1.5`. */
static size_t float_end(const struct lexer *l, size_t at)
{
    if (at && l->s[at - 1] == '.')
        return 0;
    size_t whole = digits(l, at), end = whole, frac;
    if (whole == at)
        return 0;
    if (end < l->n && l->s[end] == '.' && (frac = digits(l, end + 1)) > end + 1)
        end = frac;
    if (end < l->n && (l->s[end] | 32) == 'e') {
        size_t exp = end + 1;
        if (exp < l->n && (l->s[exp] == '+' || l->s[exp] == '-'))
            exp++;
        size_t done = digits(l, exp);
        if (done > exp)
            return done;
    }
    return end > whole ? end : 0;
}

/* Digits of `base` with single underscores between, the first one optional. */
static size_t based_end(const struct lexer *l, size_t at, int base)
{
    for (;;) {
        size_t k = at < l->n && l->s[at] == '_' ? at + 1 : at;
        int digit = k < l->n ? hex_digit(l->s[k]) : -1;
        if (digit < 0 || digit >= base)
            return at;
        at = k + 1;
    }
}

/* The value of the digits s[at, end), with underscores between them ignored. Integers
 * of any size are kept, up to the number of digits that Python reads. */
static struct value integer_value(struct lexer *l, size_t at, size_t end, int base)
{
    struct value v;
    struct big big;
    char *digits = parse_alloc(l->p, end - at);
    size_t n = 0;
    for (size_t i = at; i < end; i++)
        if (l->s[i] != '_')
            digits[n++] = l->s[i];
    if (!big_parse(&big, digits, n, base, false))
        parse_fail(l->p, l->line, "the integer %.60s... has more than 4300 digits", digits);
    if (!big_keep(l->p->arena, &big, &v))
        parse_fail(l->p, l->line, "the template takes too much memory");
    return v;
}

/* An integer: hexadecimal, octal, binary or decimal. A zero at its beginning may be
 * followed by zeros alone, so that 012 reads as 0 and 12, and a prefix without digits
 * reads as 0 and a name. */
static void integer(struct lexer *l)
{
    size_t at = l->at, end;
    int base = 10, low = at + 1 < l->n ? l->s[at + 1] | 32 : 0;
    if (l->s[at] == '0' && (low == 'x' || low == 'o' || low == 'b')) {
        base = 2;
        if (low == 'x')
            base = 16;
        else if (low == 'o')
            base = 8;
        end = based_end(l, at + 2, base);
        if (end == at + 2) {
            base = 10;
            end = at + 1;
        }
    } else if (l->s[at] == '0') {
        for (end = at + 1; end < l->n; end++) {
            size_t k = l->s[end] == '_' ? end + 1 : end;
            if (k >= l->n || l->s[k] != '0')
                break;
            end = k;
        }
    } else {
        end = based_end(l, at, 10);
    }
    push(l, T_INTEGER, l->line, integer_value(l, base == 10 ? at : at + 2, end, base));
    move_to(l, end);
}

/* A float if one stands here, else an integer. Underscores between digits count for nothing, as in Python. */
static void number(struct lexer *l)
{
    size_t end = float_end(l, l->at);
    if (!end) {
        integer(l);
        return;
    }
    char text[400];
    size_t n = 0;
    for (size_t i = l->at; i < end; i++)
        if (l->s[i] != '_') {
            if (n + 1 == sizeof text)
                parse_fail(l->p, l->line, "a number is too long");
            text[n++] = l->s[i];
        }
    text[n] = 0;
    push(l, T_FLOAT, l->line, v_float(strtod(text, NULL)));
    move_to(l, end);
}

/* A name, or the error for a character that begins nothing. */
static void name(struct lexer *l)
{
    size_t end = l->at;
    int len;
    while (end < l->n && uni_word(utf8_get(l->s + end, l->n - end, &len)))
        end += (size_t)len;
    if (end == l->at)
        parse_fail(l->p, l->line, "unexpected character '%.*s'",
                   (int)(utf8_get(l->s + end, l->n - end, &len), len), l->s + end);
    push_text(l, T_NAME, l->line, l->s + l->at, end - l->at);
    move_to(l, end);
}

/* Reads exactly `want` hexadecimal digits into *cp; -1 if there are fewer. */
static int hex_digits(const char *s, const char *end, int want, uint32_t *cp)
{
    *cp = 0;
    for (int i = 0; i < want; i++) {
        int digit = s + i < end ? hex_digit(s[i]) : -1;
        if (digit < 0)
            return -1;
        *cp = *cp << 4 | (uint32_t)digit;
    }
    return 0;
}

/* How many hexadecimal digits belong to the escape with this letter; 0: none. */
static int escape_digits(char letter)
{
    switch (letter) {
    case 'x': return 2;
    case 'u': return 4;
    case 'U': return 8;
    default:  return 0;
    }
}

/* Writes what the escape sequence at s (behind its backslash) stands for and
 * returns where it ends. Python first turns text outside ASCII into escapes, so
 * a backslash before such a character escapes the backslash of that escape. */
static const char *unescape(struct lexer *l, const char *s, const char *end, char **out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *simple = *s ? strchr(from, *s) : NULL;
    uint32_t cp = 0;
    int len, want = escape_digits(*s);
    if (*s == '\n')
        return s + 1;
    if (simple) {
        *(*out)++ = to[simple - from];
        return s + 1;
    }
    if (*s >= '0' && *s <= '7') {
        for (len = 0; len < 3 && s < end && *s >= '0' && *s <= '7'; len++)
            cp = cp * 8 + (uint32_t)(*s++ - '0');
    } else if (want) {
        if (hex_digits(s + 1, end, want, &cp) || cp > 0x10ffff)
            parse_fail(l->p, l->line, "truncated or illegal \\%c escape", *s);
        s += 1 + want;
    } else if (*s == 'N') {
        parse_fail(l->p, l->line, "\\N{...} escapes are not supported");
    } else if ((unsigned char)*s < 0x80) {
        *(*out)++ = '\\';
        *(*out)++ = *s;
        return s + 1;
    } else {
        cp = utf8_get(s, (size_t)(end - s), &len);
        const char *escape = cp < 0x10000 ? "\\u%04x" : "\\U%08x";
        if (cp < 0x100)
            escape = "\\x%02x";
        *out += sprintf(*out, escape, cp); /* the format is one of the three */
        return s + len;
    }
    if (cp >= 0xd800 && cp < 0xe000)
        parse_fail(l->p, l->line, "a string holds a lone surrogate");
    *out += utf8_put(*out, cp);
    return s;
}

/* A string in either kind of quotes, with its escapes replaced. It must end before the
 * source does. */
static void string(struct lexer *l)
{
    char quote = l->s[l->at];
    size_t end = l->at + 1;
    while (end < l->n && l->s[end] != quote)
        end += l->s[end] == '\\' ? 2 : 1;
    if (end >= l->n)
        parse_fail(l->p, l->line, "unexpected character '%c' (a string without end)", quote);
    const char *s = l->s + l->at + 1, *stop = l->s + end;
    /* The longest escape of 2 bytes gives 10. */
    char *text = parse_alloc(l->p, 6 * (size_t)(stop - s) + 1), *out = text;
    while (s < stop) {
        if (*s == '\\')
            s = unescape(l, s + 1, stop, &out);
        else
            *out++ = *s++;
    }
    push_text(l, T_STRING, l->line, text, (size_t)(out - text));
    move_to(l, end + 1);
}

/* The bracket that closes the one given. */
static char closing(char open)
{
    if (open == '{')
        return '}';
    return open == '(' ? ')' : ']';
}

/* An operator or bracket, the longest that fits. Brackets are matched here, since
 * the end of a tag counts only outside of them: "}}" may close two mappings. */
static void operator(struct lexer *l)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (!looking_at(l, l->at, operators[i].text))
            continue;
        char c = operators[i].text[0];
        enum token_kind kind = operators[i].kind;
        if (kind == T_LBRACE || kind == T_LPAREN || kind == T_LBRACKET) {
            if (l->n_open == sizeof l->open)
                parse_fail(l->p, l->line, "nested too deeply");
            l->open[l->n_open++] = closing(c);
        } else if (kind == T_RBRACE || kind == T_RPAREN || kind == T_RBRACKET) {
            if (!l->n_open)
                parse_fail(l->p, l->line, "unexpected '%c'", c);
            if (l->open[--l->n_open] != c)
                parse_fail(l->p, l->line, "unexpected '%c', expected '%c'", c, l->open[l->n_open]);
        }
        push(l, kind, l->line, v_none());
        move_to(l, l->at + strlen(operators[i].text));
        return;
    }
    name(l);
}

/* The tokens of a tag whose beginning has been passed, up to and with its end. A source
 * that ends inside the tag is the parser's to refuse. */
static void inside_tag(struct lexer *l, bool variable)
{
    push(l, variable ? T_VARIABLE_BEGIN : T_BLOCK_BEGIN, l->line, v_none());
    l->n_open = 0;
    while (l->at < l->n) {
        size_t end = 0;
        if (!l->n_open)
            end = tag_end(l, l->at, variable ? "}}" : "%}", !variable);
        if (end) {
            push(l, variable ? T_VARIABLE_END : T_BLOCK_END, l->line, v_none());
            move_to(l, end);
            return;
        }
        size_t space = skip_space(l, l->at);
        unsigned char c = (unsigned char)l->s[l->at];
        if (space > l->at)
            move_to(l, space);
        else if (isdigit(c))
            number(l);
        else if (isalpha(c) || c == '_' || c >= 0x80)
            name(l);
        else if (c == '"' || c == '\'')
            string(l);
        else
            operator(l);
    }
}

/* Between tags: pushes the text up to the next tag and goes on with that tag. What stands between {% raw %} and {%
 * endraw %} is text, whatever it looks like. */
static void outside(struct lexer *l)
{
    size_t at = l->at;
    while (at + 1 < l->n && !(l->s[at] == '{' && strchr("{%#", l->s[at + 1]) && l->s[at + 1]))
        at++;
    if (at + 1 >= l->n) {
        push_text(l, T_DATA, l->line, l->s + l->at, l->n - l->at);
        move_to(l, l->n);
        return;
    }
    char kind = l->s[at + 1], sign = 0;
    size_t after_raw = kind == '%' ? raw_tag(l, at, "raw", &sign) : 0;
    size_t start = at + 2;
    sign = start < l->n && (l->s[start] == '-' || l->s[start] == '+') ? l->s[start++] : 0;
    text_before(l, at, sign, kind == '{');
    if (after_raw) {
        move_to(l, after_raw);
        raw(l);
        return;
    }
    move_to(l, start);
    if (kind == '#')
        comment(l);
    else
        inside_tag(l, kind == '{');
}

/* A copy with \n for every line end, without the last one, as valid UTF-8. */
static char *normalise(struct parser *p, const char *source, size_t n, size_t *len)
{
    char *valid = parse_alloc(p, 3 * n + 1);
    size_t m = utf8_sanitize(valid, source, n), k = 0;
    for (size_t i = 0; i < m; i++) {
        if (valid[i] == '\r' && i + 1 < m && valid[i + 1] == '\n')
            continue;
        valid[k++] = valid[i] == '\r' ? '\n' : valid[i];
    }
    if (k && valid[k - 1] == '\n')
        k--;
    valid[k] = 0;
    *len = k;
    return valid;
}

/* Turns a source into tokens. The lexer reads it in two modes, outside and inside of
 * tags, and every step moves on, so that the time is linear. */
void tpl_lex(struct parser *p, const char *source, size_t n)
{
    struct lexer l = { .p = p, .line = 1, .line_start = true };
    if (n > TPL_MAX_SOURCE)
        parse_fail(p, 1, "the template has more than %d bytes", TPL_MAX_SOURCE);
    l.s = normalise(p, source, n, &l.n);
    while (l.at < l.n)
        outside(&l);
    push(&l, T_EOF, l.line, v_none());
}
