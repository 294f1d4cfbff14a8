/* server/data_url.c - reads data: URLs in two passes: data_url_parse() finds the body and bounds its size without
 * decoding it, data_url_decode() makes the bytes. Both go through one cursor that leaves out what a URL parser
 * removes. */
#include "server/data_url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/hex.h"

/* What a URL parser removes wherever it stands. */
static bool is_break(char c) { return c == '\t' || c == '\n' || c == '\r'; }

static bool is_space(char c) { return c == ' ' || c == '\f' || is_break(c); }

struct cursor { const char *p, *end; };

/* The next character, breaks left out; -1 at the end. */
static int next_char(struct cursor *c)
{
    while (c->p < c->end && is_break(*c->p))
        c->p++;
    return c->p < c->end ? (unsigned char)*c->p++ : -1;
}

/* The next byte of a percent-encoded text; -1 at the end. A % without two digits stands for itself. */
static int next_byte(struct cursor *c)
{
    int first = next_char(c);
    if (first != '%')
        return first;
    struct cursor ahead = *c;
    int high = hex_digit(next_char(&ahead)), low = high < 0 ? -1 : hex_digit(next_char(&ahead));
    if (low < 0)
        return '%';
    *c = ahead;
    return high << 4 | low;
}

/* Goes behind "NAME:" if the text begins with that, in whatever case. */
static bool take_scheme(struct cursor *c, const char *name)
{
    struct cursor ahead = *c;
    for (; *name; name++)
        if (tolower(next_char(&ahead)) != *name)
            return false;
    if (next_char(&ahead) != ':')
        return false;
    *c = ahead;
    return true;
}

/* Does the media type end in ; and, after any spaces, the word base64? */
static bool ends_in_base64(const char *head, size_t n)
{
    static const char word[] = "base64";
    while (n > 0 && is_space(head[n - 1]))
        n--;
    for (size_t i = sizeof word - 1; i > 0; i--, n--) {
        while (n > 0 && is_break(head[n - 1]))
            n--;
        if (n == 0 || tolower((unsigned char)head[n - 1]) != word[i - 1])
            return false;
    }
    while (n > 0 && (head[n - 1] == ' ' || is_break(head[n - 1])))
        n--;
    return n > 0 && head[n - 1] == ';';
}

/* How many bytes the body has once it is decoded, if it is well-formed. */
static size_t decoded_size(const struct data_url *u)
{
    struct cursor at = { u->body, u->body + u->n };
    size_t count = 0;
    for (int c = next_byte(&at); c >= 0; c = next_byte(&at))
        count += !u->base64 || !(is_space((char)c) || c == '=');
    return u->base64 ? count / 4 * 3 + count % 4 * 3 / 4 : count;
}

/* Finds the body between the comma and the fragment. A remote URL comes here only if it is written in a strange way.
 * The size is first bounded from the length alone; only where that bound is over the limit are the characters
 * counted. */
int data_url_parse(struct data_url *out, const char *url, size_t n, size_t max, const char *field, struct err *e)
{
    struct cursor at = { url, url + n };
    while (at.p < at.end && (unsigned char)*at.p <= ' ')
        at.p++;
    while (at.p < at.end && (unsigned char)at.end[-1] <= ' ')
        at.end--;
    if (take_scheme(&at, "http") || take_scheme(&at, "https"))
        return err_field(e, field, "%s: a remote image URL must begin with http: or https:, without spaces", field);
    if (!take_scheme(&at, "data"))
        return err_field(e, field, "%s must be a data: URL such as data:image/png;base64,...", field);
    const char *fragment = memchr(at.p, '#', (size_t)(at.end - at.p));
    at.end = fragment ? fragment : at.end;
    const char *comma = memchr(at.p, ',', (size_t)(at.end - at.p));
    if (!comma)
        return err_field(e, field, "%s: the data: URL has no comma before its data (data:image/png;base64,...)", field);
    *out = (struct data_url){ comma + 1, (size_t)(at.end - comma - 1), ends_in_base64(at.p, (size_t)(comma - at.p)) };
    /* Most bodies are within the limit however they are encoded: those need not be gone through here. */
    size_t bytes = out->base64 ? out->n / 4 * 3 : out->n;
    if (bytes > max && (bytes = decoded_size(out)) > max)
        return err_field(e, field, "%s holds %zu bytes; an image file may have %zu", field, bytes, max);
    return 0;
}

/* Percent-decodes the body into `to`, which has room for all of it; returns the number of bytes, which is never more
 * than the characters. */
static size_t unescape(unsigned char *to, const struct data_url *u)
{
    struct cursor at = { u->body, u->body + u->n };
    size_t k = 0;
    for (int c = next_byte(&at); c >= 0; c = next_byte(&at))
        to[k++] = (unsigned char)c;
    return k;
}

/* Plain base64, which nearly every client sends, is decoded straight from the request into its own memory. Where
 * percent-escapes stand in between they are resolved first, into the same memory, and base64 is then decoded in place.
 * The memory is cut to size at the end, because it is held until the image has been decoded. */
int data_url_decode(const struct data_url *u, const char *field, unsigned char **out, size_t *n, struct err *e)
{
    bool plain = u->base64 && !memchr(u->body, '%', u->n);
    unsigned char *p = malloc(plain ? base64_room(u->n) : u->n + 1);
    if (!p)
        return err_memory(e);
    size_t k = plain ? u->n : unescape(p, u);
    if (u->base64 && base64_decode(p, &k, plain ? u->body : (const char *)p, k) != 0) {
        free(p);
        return err_field(e, field, "%s is not valid base64", field);
    }
    if (k == 0) {
        free(p);
        return err_field(e, field, "%s holds no data", field);
    }
    unsigned char *exact = realloc(p, k);
    *out = exact ? exact : p;
    *n = k;
    return 0;
}
