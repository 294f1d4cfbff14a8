/* base/json.c - one pass over the text; a function for each rule of the grammar.
 *
 * A string without escapes, such as an image in base64, is looked at eight bytes
 * at a time and copied once. A number that is too large is an object with one
 * member, whose name is not UTF-8: no text can hold such a name. */
#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/utf8.h"

static const char big_name[] = "\xff";

struct reader {
    const char *what;          /* begins every message        */
    const char *s, *at, *end;  /* the text, and what is next  */
    int         depth;         /* of arrays and objects here  */
    struct json_limits *limits;
    struct err *e;
};

static json_t *read_value(struct reader *r);

/* The text is not JSON: says why, and in which line and column. The place is only looked for now, so that reading does
 * not count lines. Always -1. */
static int wrong(const struct reader *r, const char *why)
{
    int line = 1;
    const char *begin = r->s;
    for (const char *p = r->s; p < r->at; p++)
        if (*p == '\n') {
            line++;
            begin = p + 1;
        }
    err_set(r->e, "%s is not valid JSON: %s (line %d, column %d)", r->what, r->at == r->end ? "it ends too early" : why,
            line, (int)(r->at - begin) + 1);
    if (r->e)
        snprintf(r->e->code, sizeof r->e->code, "invalid_json");
    return -1;
}

/* Turns a value that could not be made into "out of memory"; hands any other through. */
static json_t *made(const struct reader *r, json_t *v)
{
    if (!v)
        err_memory(r->e);
    return v;
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

/* ---- strings ---- */

static bool is_plain(unsigned char c) { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\'; }

/* The first byte that is not plain ASCII. A word is passed over when none of its bytes is below a blank, above ASCII,
 * a quote or a backslash: subtracting from such a byte borrows into its highest bit. */
static const char *skip_plain(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    for (; end - p >= 8; p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        uint64_t quote = w ^ ones * '"', backslash = w ^ ones * '\\';
        if ((w | ((w - ones * 0x20) & ~w) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & high)
            break;
    }
    while (p < end && is_plain((unsigned char)*p))
        p++;
    return p;
}

/* Four hexadecimal digits; -1: there are not so many. */
static int read_hex(struct reader *r)
{
    int v = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        int digit = r->at < r->end ? hex_digit(*r->at) : -1;
        if (digit < 0)
            return wrong(r, "\\u needs four hexadecimal digits");
        v = v * 16 + digit;
    }
    return v;
}

/* What follows "\u", as UTF-8: one code point, or the two halves of one above FFFF. A half that stands alone is no text
 * and an error. NUL is a code point like any other. */
static int read_code_point(struct reader *r, struct buf *out)
{
    char bytes[4];
    int  cp = read_hex(r);
    if (cp >= 0xD800 && cp < 0xDC00 && r->end - r->at >= 2 && r->at[0] == '\\' && r->at[1] == 'u') {
        r->at += 2;
        int low = read_hex(r);
        if (low < 0)
            return -1;
        cp = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((cp - 0xD800) << 10) + low - 0xDC00 : 0xD800;
    }
    if (cp >= 0xD800 && cp < 0xE000)
        return wrong(r, "half of a surrogate pair");
    if (cp < 0)
        return -1;
    buf_add(out, bytes, (size_t)utf8_put(bytes, (uint32_t)cp));
    return 0;
}

/* What a backslash begins. r->at is at the backslash and ends up behind the escape, whose character goes to `out`. */
static int read_escape(struct reader *r, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    r->at++;
    const char *found = r->at < r->end && *r->at ? strchr(from, *r->at) : NULL;
    if (found) {
        r->at++;
        buf_byte(out, to[found - from]);
        return 0;
    }
    if (r->at == r->end || *r->at != 'u')
        return wrong(r, "an unknown escape");
    r->at++;
    return read_code_point(r, out);
}

/* A string from its opening quote on: *s, *n are its bytes, which lie in the text itself, or in `room` (empty at
 * first, freed by the caller) where there are escapes. */
static int read_string(struct reader *r, struct buf *room, const char **s, size_t *n)
{
    const char *plain = ++r->at;           /* what is before r->at needs no change */
    bool        escapes = false;
    for (;;) {
        r->at = skip_plain(r->at, r->end);
        unsigned char c = r->at < r->end ? (unsigned char)*r->at : 0;
        int           len;
        if (c == '"')
            break;
        if (c == '\\') {
            escapes = true;
            buf_add(room, plain, (size_t)(r->at - plain));
            if (read_escape(r, room) < 0)
                return -1;
            plain = r->at;
        } else if (c < 0x20) {
            return wrong(r, "a control character in a string");
        } else if (utf8_get(r->at, (size_t)(r->end - r->at), &len) == 0xFFFD && len == 1) {
            return wrong(r, "not UTF-8");
        } else {
            r->at += len;
        }
    }
    *s = plain;
    *n = (size_t)(r->at - plain);
    r->at++;
    if (!escapes)
        return 0;
    buf_add(room, *s, *n);
    *s = room->data;
    *n = room->len;
    return buf_ok(room) ? 0 : err_memory(r->e);
}

/* A string as a value. The buffer for escapes is bounded by the rest of the text, because no escape becomes longer
 * than it is written. */
static json_t *read_string_value(struct reader *r)
{
    struct buf  room;
    const char *s;
    size_t      n;
    buf_init(&room, (size_t)(r->end - r->at));
    json_t *v = read_string(r, &room, &s, &n) < 0 ? NULL : made(r, json_stringn_nocheck(s, n));
    buf_free(&room);
    return v;
}

/* ---- numbers ---- */

/* Are there digits here? Goes behind them. */
static bool skip_digits(struct reader *r)
{
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > from;
}

/* Is the next character one of these? Goes behind it. */
static bool skip_one_of(struct reader *r, const char *set)
{
    bool yes = r->at < r->end && *r->at && strchr(set, *r->at);
    r->at += yes;
    return yes;
}

/* The whole text of a number by its grammar; *whole: it has neither a fraction nor an exponent. */
static int skip_number(struct reader *r, bool *whole)
{
    *whole = true;
    skip_one_of(r, "-");
    if (!skip_one_of(r, "0") && !skip_digits(r))
        return wrong(r, "a digit is missing");
    if (skip_one_of(r, ".")) {
        *whole = false;
        if (!skip_digits(r))
            return wrong(r, "a digit is missing");
    }
    if (skip_one_of(r, "eE")) {
        *whole = false;
        skip_one_of(r, "+-");
        if (!skip_digits(r))
            return wrong(r, "a digit is missing");
    }
    return 0;
}

/* The stand-in for a number that is too large; json_big() finds it by the name that no text can hold. */
static json_t *keep_as_text(const char *s)
{
    json_t *v = json_object();
    if (v && json_object_set_new_nocheck(v, big_name, json_string_nocheck(s)) != 0) {
        json_decref(v);
        return NULL;
    }
    return v;
}

/* The text is cut out by the grammar first, since strtod() would take more than JSON allows ("0x1p3", "inf"). The
 * program never sets a locale, so the decimal point is a point. */
static json_t *read_number(struct reader *r)
{
    const char *s = r->at;
    bool        whole;
    if (skip_number(r, &whole) < 0)
        return NULL;
    char *copy = strndup(s, (size_t)(r->at - s));      /* the text need not end in a NUL */
    if (!copy)
        return made(r, NULL);
    errno = 0;
    long long i = whole ? strtoll(copy, NULL, 10) : 0;
    double    x = whole ? 0 : strtod(copy, NULL);
    json_t   *v;
    if (whole ? errno == ERANGE : isinf(x))
        v = keep_as_text(copy);
    else
        v = whole ? json_integer(i) : json_real(x);
    free(copy);
    return made(r, v);
}

/* ---- arrays, objects ---- */

/* After one element: is there another? 1: yes; 0: that was the last; -1: neither. */
static int another(struct reader *r, char closing)
{
    skip_space(r);
    if (r->at < r->end && *r->at == closing) {
        r->at++;
        return 0;
    }
    if (r->at == r->end || *r->at != ',')
        return wrong(r, closing == ']' ? "',' or ']' is missing" : "',' or '}' is missing");
    r->at++;
    return 1;
}

/* Does the array or object end before its first element? Goes behind the end. */
static bool is_empty(struct reader *r, char closing)
{
    skip_space(r);
    bool yes = r->at < r->end && *r->at == closing;
    r->at += yes;
    return yes;
}

/* The elements, one after the other, up to the closing bracket. Values that were read belong to `list`, which the
 * caller frees after an error. */
static int read_array(struct reader *r, json_t *list)
{
    if (is_empty(r, ']'))
        return 0;
    for (int more = 1; more == 1;) {
        json_t *v = read_value(r);
        if (!v)
            return -1;
        if (json_array_append_new(list, v) != 0)
            return err_memory(r->e);
        if ((more = another(r, ']')) < 0)
            return -1;
    }
    return 0;
}

/* One "name": value. The name is compared as bytes, so it may hold U+0000; a later member of the same name replaces
 * the value of the earlier one. `room` must live until the name was used, because a name with escapes lies in it. */
static int read_member(struct reader *r, json_t *object)
{
    struct buf  room;
    const char *s;
    size_t      n;
    int         rc = -1;
    skip_space(r);
    if (r->at == r->end || *r->at != '"')
        return wrong(r, "a member's name in quotes is missing");
    buf_init(&room, (size_t)(r->end - r->at));
    if (read_string(r, &room, &s, &n) == 0) {
        skip_space(r);
        if (r->at == r->end || *r->at != ':') {
            wrong(r, "':' is missing");
        } else {
            r->at++;
            json_t *v = read_value(r);
            if (v)
                rc = json_object_setn_new_nocheck(object, s, n, v) == 0 ? 0 : err_memory(r->e);
        }
    }
    buf_free(&room);
    return rc;
}

/* The members of an object whose opening bracket was read. The value that receives them exists already, so that what
 * was read is freed with it after an error. */
static int read_object(struct reader *r, json_t *object)
{
    if (is_empty(r, '}'))
        return 0;
    int more;
    do {
        if (read_member(r, object) < 0 || (more = another(r, '}')) < 0)
            return -1;
    } while (more);
    return 0;
}

/* Reads an array or an object into v, which it owns. The depth is counted before anything else: the reader calls
 * itself, and a text of nothing but brackets would otherwise end its stack. */
static json_t *read_nested(struct reader *r, json_t *v, int (*read)(struct reader *, json_t *))
{
    if (++r->depth > r->limits->depth) {
        err_set(r->e, "%s's JSON is nested more than %d levels deep", r->what, r->limits->depth);
        json_decref(v);
        return NULL;
    }
    if (!made(r, v))
        return NULL;
    r->at++;
    if (read(r, v) < 0) {
        json_decref(v);
        return NULL;
    }
    r->depth--;
    return v;
}

/* true, false or null. jansson has one value of each that is never freed, so v need not be given back. */
static json_t *read_word(struct reader *r, const char *word, json_t *v)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) >= n && memcmp(r->at, word, n) == 0) {
        r->at += n;
        return v;
    }
    wrong(r, "a value is missing");
    return NULL;
}

/* Any value, white space before it skipped. NULL after an error, which is then in r->e. Every value counts against the
 * limit before it is made. */
static json_t *read_value(struct reader *r)
{
    skip_space(r);
    if (r->limits->seen++ == r->limits->values) {
        err_set(r->e, "%s's JSON holds more than %d values", r->what, r->limits->values);
        return NULL;
    }
    switch (r->at < r->end ? *r->at : 0) {
    case '{': return read_nested(r, json_object(), read_object);
    case '[': return read_nested(r, json_array(), read_array);
    case '"': return read_string_value(r);
    case 't': return read_word(r, "true", json_true());
    case 'f': return read_word(r, "false", json_false());
    case 'n': return read_word(r, "null", json_null());
    case '-': case '0': case '1': case '2': case '3': case '4':
    case '5': case '6': case '7': case '8': case '9': return read_number(r);
    default: wrong(r, "a value is missing"); return NULL;
    }
}

/* White space may stand around the value, but nothing else: two values one after the other are an error, as a text cut
 * in the wrong place looks like that. */
json_t *json_read(const char *what, const char *s, size_t n, struct json_limits *limits, struct err *e)
{
    struct reader r = { .what = what, .s = s, .at = s, .end = s + n, .limits = limits, .e = e };
    json_t *v = read_value(&r);
    if (!v)
        return NULL;
    skip_space(&r);
    if (r.at == r.end)
        return v;
    wrong(&r, "something follows its end");
    json_decref(v);
    return NULL;
}

/* ---- what was read ---- */

const char *json_big(const json_t *v, size_t *n)
{
    const json_t *text = json_is_object(v) ? json_object_get(v, big_name) : NULL;
    if (text && n)
        *n = json_string_length(text);
    return json_string_value(text);
}

bool json_is_dict(const json_t *v) { return json_is_object(v) && !json_big(v, NULL); }

/* v as a whole number. 5.0 and 1e3 are whole; a number that jansson could not hold is too small or too large by its
 * sign, whatever its digits. What is no number at all is treated as 0.5, which is not whole either. */
enum json_whole json_whole(const json_t *v, int64_t *out)
{
    const double limit = 0x1p63;
    const char  *big = json_big(v, NULL);
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return JSON_WHOLE;
    }
    double x = json_is_real(v) ? json_real_value(v) : 0.5;
    if (big)
        x = *big == '-' ? -INFINITY : INFINITY;
    if (x != floor(x))
        return JSON_NOT_WHOLE;
    if (x < -limit || x >= limit)
        return x < 0 ? JSON_TOO_SMALL : JSON_TOO_LARGE;
    *out = (int64_t)x;
    return JSON_WHOLE;
}
