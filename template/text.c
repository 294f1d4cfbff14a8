/* template/text.c - strings: growing, slicing, searching. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "template/syntax.h"

/* ---- growing text: bytes are only ever added at the end, together with the number
 * of characters and the origin of each byte */

void text_init(struct text *t, struct render *r) { *t = (struct text){ .r = r }; }

/* Room for n more bytes at the end, which it returns. The buffer doubles, together with
 * the notes of origin, and the old one stays in the arena. */
static char *reserve(struct text *t, size_t n)
{
    if (n > t->cap - t->len) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        while (cap - t->len < n)
            cap *= 2;
        char *data = tpl_alloc(t->r, cap);
        if (t->len)
            memcpy(data, t->data, t->len);
        t->data = data;
        if (t->from)
            t->from = memcpy(tpl_alloc(t->r, cap), t->from, t->len);
        t->cap = cap;
    }
    return t->data + t->len;
}

/* Notes whose the next n bytes are, before t->len grows: `from` has it by byte, or is NULL and all are `origin`'s. Most
 * texts have one origin and need no note by byte. */
static void note_origin(struct text *t, size_t n, const uint8_t *from, enum origin origin)
{
    if (!t->from && !from && (t->len == 0 || t->origin == origin)) {
        t->origin = origin;
        return;
    }
    if (!t->from)
        t->from = memset(tpl_alloc(t->r, t->cap), t->origin, t->len);
    if (from)
        memcpy(t->from + t->len, from, n);
    else
        memset(t->from + t->len, origin, n);
}

/* How many characters there are in valid UTF-8: bytes that do not continue another. */
static size_t count_chars(const char *s, size_t n)
{
    size_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)s[i] & 0xc0) != 0x80;
    return chars;
}

/* Adds n bytes that hold so many characters, with the origin of each. All additions but
 * repetitions lead through here, so this is where they are charged. */
static void add(struct text *t, const char *data, size_t n, size_t chars, const uint8_t *from, enum origin origin)
{
    if (!n)
        return;
    tpl_charge(t->r, n / 64);
    memcpy(reserve(t, n), data, n);
    note_origin(t, n, from, origin);
    t->len += n;
    t->chars += chars;
}

void text_add_as(struct text *t, const char *data, size_t n, enum origin origin)
{
    add(t, data, n, count_chars(data, n), NULL, origin);
}

void text_add(struct text *t, const char *data, size_t n) { text_add_as(t, data, n, FROM_TEMPLATE); }
void text_cstr(struct text *t, const char *s) { text_add(t, s, strlen(s)); }
void text_str(struct text *t, const struct str *s) { add(t, s->data, s->len, s->chars, s->from, s->origin); }

/* Adds a part of a string, given in bytes. A part keeps the origin that its bytes have
 * in the whole. */
void text_part(struct text *t, const struct str *s, size_t from, size_t to)
{
    size_t n = to - from, chars = s->chars == s->len ? n : count_chars(s->data + from, n);
    add(t, s->data + from, n, chars, s->from ? s->from + from : NULL, s->origin);
}

void text_char_as(struct text *t, uint32_t cp, enum origin origin)
{
    char c[4];
    add(t, c, (size_t)utf8_put(c, cp), 1, NULL, origin);
}

void text_char(struct text *t, uint32_t cp) { text_char_as(t, cp, FROM_TEMPLATE); }

/* Adds an ASCII character n times; nothing if n is negative. */
void text_repeat(struct text *t, char c, int64_t n, enum origin origin)
{
    if (n <= 0)
        return;
    tpl_charge(t->r, (size_t)n / 64);
    memset(reserve(t, (size_t)n), c, (size_t)n);
    note_origin(t, (size_t)n, NULL, origin);
    t->len += (size_t)n;
    t->chars += (size_t)n;
}

/* Adds formatted text of up to 511 bytes, meant for numbers and short messages. Its
 * origin is the template. */
void text_printf(struct text *t, const char *fmt, ...)
{
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n;
    text_add(t, small, len < sizeof small ? len : sizeof small - 1);
}

/* The text as a string that shares its bytes. The text must not grow afterwards. */
struct str *text_take(struct text *t)
{
    struct str *s = tpl_alloc(t->r, sizeof *s);
    s->data = t->data ? t->data : "";
    s->len = t->len;
    s->chars = t->chars;
    s->from = t->from;
    s->origin = t->origin;
    return s;
}

struct value text_value(struct text *t) { return v_str(text_take(t)); }

/* ---- strings: immutable, so parts share the bytes of the whole */

/* A string over bytes that somebody else keeps until the rendering ends. */
struct str *tpl_str_view(struct render *r, const char *data, size_t len)
{
    struct str *s = tpl_alloc(r, sizeof *s);
    tpl_charge(r, len / 64);
    s->data = data;
    s->len = len;
    s->chars = count_chars(data, len);
    return s;
}

/* A string that copies its bytes, so that they need not outlive the call. */
struct str *tpl_str(struct render *r, const char *data, size_t len)
{
    char *copy = tpl_alloc(r, len);
    if (len)
        memcpy(copy, data, len);
    return tpl_str_view(r, copy, len);
}

struct value v_text(struct render *r, const char *data, size_t len) { return v_str(tpl_str(r, data, len)); }

/* Notes in the tail of `a + b` whose the bytes of b are, and gives that note; NULL: all of both are of one origin. */
static const uint8_t *concat_origin(struct render *r, const struct str *a, const struct str *b, struct tail *tail)
{
    if (!tail->from && !a->from && !b->from && (a->origin == b->origin || !a->len || !b->len))
        return NULL;
    if (!tail->from) {
        tail->from = tpl_alloc(r, (size_t)(tail->limit - tail->start));
        if (a->from)
            memcpy(tail->from, a->from, a->len);
        else
            memset(tail->from, a->origin, a->len);
    }
    if (b->from)
        memcpy(tail->from + a->len, b->from, b->len);
    else
        memset(tail->from + a->len, b->origin, b->len);
    return tail->from;
}

/* Appending in a loop stays linear: the text that ends a buffer goes on in it,
 * and the shorter string keeps its own length. */
struct str *tpl_concat(struct render *r, struct str *a, struct str *b)
{
    struct str *s = tpl_alloc(r, sizeof *s);
    size_t len = a->len + b->len;
    s->len = len;
    s->chars = a->chars + b->chars;
    tpl_charge(r, 1 + b->len / 64);
    if (a->tail && a->data + a->len == a->tail->end && (size_t)(a->tail->limit - a->tail->end) >= b->len) {
        s->tail = a->tail;
        s->data = a->data;
    } else {
        size_t cap = len < 32 ? 64 : 2 * len;
        tpl_charge(r, a->len / 64);
        char *data = tpl_alloc(r, cap);
        if (a->len)
            memcpy(data, a->data, a->len);
        s->data = data;
        s->tail = tpl_alloc(r, sizeof *s->tail);
        *s->tail = (struct tail){ data, data + a->len, data + cap, NULL };
    }
    s->origin = a->len ? a->origin : b->origin;
    s->from = concat_origin(r, a, b, s->tail);
    if (b->len)
        memcpy(s->tail->end, b->data, b->len);
    s->tail->end += b->len;
    return s;
}

/* The same string as safe HTML, which is not escaped again. */
struct str *tpl_as_markup(struct render *r, const struct str *s)
{
    struct str *m = tpl_alloc(r, sizeof *m);
    *m = *s;
    m->markup = true;
    m->tail = NULL;
    return m;
}

/* The string with the five characters that mean something in HTML replaced. What is
 * marked as safe stays as it is. The replacements have the origin of the character they
 * stand for. */
struct str *tpl_escape_html(struct render *r, const struct str *s)
{
    if (s->markup)
        return tpl_as_markup(r, s);
    struct text t;
    text_init(&t, r);
    size_t from = 0;
    for (size_t i = 0; i < s->len; i++) {
        const char *to = NULL;
        switch (s->data[i]) {
        case '&':  to = "&amp;"; break;
        case '<':  to = "&lt;"; break;
        case '>':  to = "&gt;"; break;
        case '\'': to = "&#39;"; break;
        case '"':  to = "&#34;"; break;
        }
        if (to) {
            text_part(&t, s, from, i);
            text_add_as(&t, to, strlen(to), str_origin(s, i));
            from = i + 1;
        }
    }
    text_part(&t, s, from, s->len);
    return tpl_as_markup(r, text_take(&t));
}

/* The byte at which character `index` begins, or the length of the string if it has
 * fewer. It is a search in all strings but pure ASCII. */
size_t str_offset(const struct str *s, size_t index)
{
    if (s->chars == s->len)
        return index < s->len ? index : s->len;
    size_t i = 0;
    for (; i < s->len && index; index--)
        do
            i++;
        while (i < s->len && ((unsigned char)s->data[i] & 0xc0) == 0x80);
    return i;
}

/* The bytes [from, to) of a string as a string that shares them; both must be borders
 * of characters. */
struct str *str_sub(struct render *r, const struct str *s, size_t from, size_t to)
{
    struct str *part = tpl_alloc(r, sizeof *part);
    part->data = s->data + from;
    part->len = to - from;
    part->from = s->from ? s->from + from : NULL;
    part->origin = s->origin;
    part->markup = s->markup;
    if (s->chars == s->len) {
        part->chars = part->len;
    } else {
        tpl_charge(r, part->len / 64);
        part->chars = count_chars(part->data, part->len);
    }
    return part;
}

/* The characters [from, to) of a string; empty if there are none. */
struct str *str_sub_chars(struct render *r, const struct str *s, size_t from, size_t to)
{
    if (s->chars != s->len)
        tpl_charge(r, s->len / 64);
    return from >= to ? str_sub(r, s, 0, 0) : str_sub(r, s, str_offset(s, from), str_offset(s, to));
}

int str_order(const struct str *a, const struct str *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int c = n ? memcmp(a->data, b->data, n) : 0; /* UTF-8 sorts as its code points */
    return c ? c : (a->len > b->len) - (a->len < b->len);
}

/* The offset at which `what` stands first within the bytes [from, to); -1: nowhere. */
ptrdiff_t str_find(const struct str *s, size_t from, size_t to, const struct str *what)
{
    if (from > to || what->len > to - from)
        return -1;
    if (!what->len)
        return (ptrdiff_t)from;
    const char *at = memmem(s->data + from, to - from, what->data, what->len);
    return at ? at - s->data : -1;
}

/* The offset at which `what` stands last within the bytes [from, to); -1: nowhere. */
ptrdiff_t str_rfind(const struct str *s, size_t from, size_t to, const struct str *what)
{
    if (from > to || what->len > to - from)
        return -1;
    for (size_t i = to - what->len + 1; i-- > from;)
        if (!what->len || (s->data[i] == what->data[0] && memcmp(s->data + i, what->data, what->len) == 0))
            return (ptrdiff_t)i;
    return -1;
}

/* Is the character at c, of `len` bytes, one of `chars`, or whitespace if that is
 * NULL? */
static bool strippable(const struct str *chars, const char *c, int len)
{
    int used;
    if (!chars)
        return uni_space(utf8_get(c, (size_t)len, &used));
    for (size_t i = 0; i + (size_t)len <= chars->len; i++)
        if (memcmp(chars->data + i, c, (size_t)len) == 0)
            return true;
    return false;
}

/* The string without the characters at its ends that are in `chars`, or that are
 * whitespace if `chars` is NULL. */
struct str *str_strip(struct render *r, const struct str *s, const struct str *chars, bool left, bool right)
{
    size_t from = 0, to = s->len;
    int len;
    tpl_charge(r, chars ? chars->len / 64 : 0);
    while (left && from < to) {
        utf8_get(s->data + from, to - from, &len);
        if (!strippable(chars, s->data + from, len))
            break;
        from += (size_t)len;
        tpl_charge(r, chars ? 1 + chars->len / 8 : 0);
    }
    while (right && to > from) {
        size_t k = to - 1;
        while (k > from && ((unsigned char)s->data[k] & 0xc0) == 0x80)
            k--;
        if (!strippable(chars, s->data + k, (int)(to - k)))
            break;
        to = k;
        tpl_charge(r, chars ? 1 + chars->len / 8 : 0);
    }
    return str_sub(r, s, from, to);
}

/* The string with up to `count` places of a replaced by b; all of them if `count` is
 * negative. An empty a stands between all characters and at both ends, as in Python. */
struct str *str_replace(struct render *r, const struct str *s, const struct str *a, const struct str *b, int64_t count)
{
    struct text t;
    text_init(&t, r);
    size_t at = 0;
    tpl_charge(r, 1 + s->len / 16);
    if (count < 0)
        count = INT64_MAX;
    if (!count || str_find(s, 0, s->len, a) < 0)
        return str_sub(r, s, 0, s->len);
    while (count && at <= s->len) {
        ptrdiff_t found = str_find(s, at, s->len, a);
        if (found < 0)
            break;
        text_part(&t, s, at, (size_t)found);
        text_str(&t, b);
        at = (size_t)found + a->len;
        count--;
        tpl_charge(r, 1);
        if (!a->len) { /* between all characters */
            int len;
            if (at == s->len)
                break;
            utf8_get(s->data + at, s->len - at, &len);
            text_part(&t, s, at, at + (size_t)len);
            at += (size_t)len;
        }
    }
    text_part(&t, s, at, s->len);
    struct str *out = text_take(&t);
    return s->markup ? tpl_as_markup(r, out) : out;
}
