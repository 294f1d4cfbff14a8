/* tokenizer/cursor.c - see cursor.h.
 *
 * Every function leaves the cursor behind what it has read, or, where it fails, at a place of no meaning: the caller
 * then gives up on the text. */
#include "tokenizer/cursor.h"

#include <math.h>
#include <string.h>

#include "base/hex.h"
#include "base/utf8.h"

/* Passes over the white space that JSON allows between its parts. */
static void skip_space(struct cursor *c)
{
    while (c->at < c->n && (c->s[c->at] == ' ' || c->s[c->at] == '\n' || c->s[c->at] == '\t' || c->s[c->at] == '\r'))
        c->at++;
}

int cursor_peek(struct cursor *c)
{
    skip_space(c);
    return c->at < c->n ? (unsigned char)c->s[c->at] : -1;
}

bool cursor_take(struct cursor *c, char want)
{
    if (cursor_peek(c) != want)
        return false;
    c->at++;
    return true;
}

/* The number that the four hexadecimal digits at `at` make, or -1 where there are not four. */
static int32_t hex4(const struct cursor *c, size_t at)
{
    int32_t x = 0;
    for (size_t i = at; i < at + 4; i++) {
        int digit = i < c->n ? hex_digit(c->s[i]) : -1;
        if (digit < 0)
            return -1;
        x = x * 16 + digit;
    }
    return x;
}

/* Reads the escape at c, which stands behind its backslash, and adds its bytes to tmp. Two \u escapes that are a
 * surrogate pair are one character; half a pair alone is an error. Returns -1 where it is no escape. */
static int escape(struct cursor *c, struct buf *tmp)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char u[4];
    const char *p = c->at < c->n && c->s[c->at] ? strchr(from, c->s[c->at]) : NULL;
    if (p) {
        c->at++;
        buf_byte(tmp, to[p - from]);
        return 0;
    }
    if (c->at >= c->n || c->s[c->at] != 'u')
        return -1;
    int32_t cp = hex4(c, c->at + 1);
    c->at += 5;
    /* The first half of a pair wants the second one right behind it. */
    if (cp >= 0xd800 && cp < 0xdc00) {
        int32_t low = c->at + 1 < c->n && c->s[c->at] == '\\' && c->s[c->at + 1] == 'u' ? hex4(c, c->at + 2) : -1;
        if (low < 0xdc00 || low >= 0xe000)
            return -1;
        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
        c->at += 6;
    }
    if (cp < 0 || (cp >= 0xd800 && cp < 0xe000))
        return -1;
    buf_add(tmp, u, (size_t)utf8_put(u, (uint32_t)cp));
    return 0;
}

/* Nearly all strings have no escapes and are used where they stand. At the first escape the text up to there goes to
 * tmp, and from then on stretches between escapes are copied. */
int cursor_string(struct cursor *c, struct buf *tmp, const char **s, size_t *n)
{
    bool copied = false;
    int len;
    if (!cursor_take(c, '"'))
        return -1;
    size_t from = c->at; /* of the stretch that is not copied yet */
    buf_clear(tmp);
    for (;;) {
        if (c->at >= c->n)
            return -1;
        unsigned char b = (unsigned char)c->s[c->at];
        if (b == '"')
            break;
        if (b == '\\') {
            buf_add(tmp, c->s + from, c->at - from);
            copied = true;
            c->at++;
            if (escape(c, tmp) < 0)
                return -1;
            from = c->at;
        } else if (b < 0x20) {
            return -1;
        } else if (b < 0x80) {
            c->at++;
        } else {
            if (utf8_get(c->s + c->at, c->n - c->at, &len) == 0xfffd && len == 1)
                return -1;
            c->at += (size_t)len;
        }
    }
    *s = c->s + from;
    *n = c->at - from;
    c->at++;
    if (copied) {
        buf_add(tmp, *s, *n);
        *s = tmp->data;
        *n = tmp->len;
    }
    return buf_ok(tmp) ? 0 : -1;
}

static bool digit(const struct cursor *c) { return c->at < c->n && c->s[c->at] >= '0' && c->s[c->at] <= '9'; }

/* JSON forbids leading zeros; a fraction or an exponent makes a number that is not whole here, whatever its value. */
int cursor_integer(struct cursor *c, int64_t *out)
{
    bool minus = cursor_take(c, '-');
    size_t start = c->at;
    *out = 0;
    for (; digit(c) && c->at - start < 18; c->at++)
        *out = *out * 10 + (c->s[c->at] - '0');
    bool more = c->at < c->n && (digit(c) || c->s[c->at] == '.' || c->s[c->at] == 'e' || c->s[c->at] == 'E');
    bool zero = c->at > start + 1 && c->s[start] == '0';
    if (minus)
        *out = -*out;
    return c->at == start || more || zero ? -1 : 0;
}

/* Reads digits into *digits as far as they fit 64 bits; the others are left out. `fraction`: the digits stand behind
 * the point. Returns the power of ten by which *digits is to be multiplied because of these. */
static int read_digits(struct cursor *c, uint64_t *digits, bool fraction)
{
    int power = 0;
    for (; digit(c); c->at++) {
        unsigned d = (unsigned)(c->s[c->at] - '0');
        if (*digits > (UINT64_MAX - d) / 10) {
            power += !fraction;
            continue;
        }
        *digits = *digits * 10 + d;
        power -= fraction;
    }
    return power;
}

/* 17 digits need two roundings: the digits as a double, then times or divided by a power of ten. The reference's
 * parser takes that way, and among equal scores its last bit decides which token wins. */
int cursor_number(struct cursor *c, double *out)
{
    bool minus = cursor_take(c, '-');
    uint64_t digits = 0;
    int exponent = 0;
    if (!digit(c))
        return -1;
    int power = read_digits(c, &digits, false);
    if (c->at < c->n && c->s[c->at] == '.') {
        c->at++;
        if (!digit(c))
            return -1;
        power += read_digits(c, &digits, true);
    }
    if (c->at < c->n && (c->s[c->at] == 'e' || c->s[c->at] == 'E')) {
        c->at++;
        bool down = c->at < c->n && c->s[c->at] == '-';
        c->at += c->at < c->n && (c->s[c->at] == '-' || c->s[c->at] == '+');
        if (!digit(c))
            return -1;
        for (; digit(c); c->at++)
            exponent = exponent < 100000 ? exponent * 10 + (c->s[c->at] - '0') : exponent;
        power += down ? -exponent : exponent;
    }
    /* 1e308 is the greatest power of ten that a double holds: smaller numbers are divided more than once. */
    double x = (double)digits;
    for (; power < -308; power += 308)
        x /= 1e308;
    if (power < 0)
        x /= pow(10, -power);
    else
        x *= power > 308 ? INFINITY : pow(10, power);
    if (digits && !isfinite(x))
        return -1;
    if (minus)
        x = -x;
    *out = digits ? x : 0;
    return 0;
}

/* Counts brackets and passes over strings; nothing else is checked. A number or a word ends where a comma or the
 * bracket around it stands, or at the end of the text. */
int cursor_skip(struct cursor *c)
{
    long depth = 0;
    int first = cursor_peek(c);
    for (; c->at < c->n; c->at++) {
        char b = c->s[c->at];
        if (b == '"') {
            for (c->at++; c->at < c->n && c->s[c->at] != '"'; c->at++)
                if (c->s[c->at] == '\\')
                    c->at++;
            if (c->at >= c->n)
                return -1;
        } else if (b == '{' || b == '[') {
            depth++;
        } else if (b == '}' || b == ']') {
            if (depth == 0) /* the end of what a number or word stands in */
                return 0;
            depth--;
        } else if (b == ',' && depth == 0) {
            return 0;
        }
        /* The end of a string, or of the outermost bracket, is the end of the value. */
        if (depth == 0 && (b == '"' || b == '}' || b == ']')) {
            c->at++;
            return 0;
        }
    }
    return first == '{' || first == '[' || first == '"' || first < 0 ? -1 : 0;
}
