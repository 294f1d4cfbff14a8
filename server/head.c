/* server/head.c - the grammar of a request's head. Functions of bytes alone: nothing here waits, allocates or keeps
 * state of its own. Which forms are refused, and why, stands in head.h. */
#include "server/head.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"

/* Makes the error of a malformed head or body: its text is fixed at compile time, so that an answer never repeats
 * bytes that could not be understood. */
int head_wrong(struct err *e, int status, const char *code, const char *text)
{
    err_set(e, "%s", text);
    e->status = status;
    snprintf(e->code, sizeof e->code, "%s", code);
    return -1;
}

static int malformed(struct err *e, const char *text) { return head_wrong(e, 400, "malformed_request", text); }
static int unclear(struct err *e, const char *text) { return head_wrong(e, 400, "invalid_framing", text); }

/* ---- bytes ---- */

static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }
static bool is_alnum(unsigned char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_one_of(const char *set, unsigned char c) { return c && strchr(set, c); }

bool head_byte(unsigned char c) { return c == '\t' || (c >= 0x20 && c != 0x7f); }
bool head_token_byte(unsigned char c) { return is_alnum(c) || is_one_of("!#$%&'*+-.^_`|~", c); }

/* Is this a non-empty run of the letters that methods and header names may have? */
static bool is_token(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && head_token_byte((unsigned char)s[i]))
        i++;
    return n > 0 && i == n;
}

/* What may stand where a host is named; whether there is such a host is nobody's business here. */
static bool is_host(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && (is_alnum((unsigned char)s[i]) || is_one_of("-._~%!$&'()*+,;=:[]", (unsigned char)s[i])))
        i++;
    return i == n;
}

/* ---- where it ends ---- */

/* The byte at position i, which has just come. Returns 1 if it ends the head. */
static int look_at(struct head_scan *s, const char *bytes, size_t i, struct err *e)
{
    unsigned char c = (unsigned char)bytes[i];
    bool          after_cr = i > s->line && bytes[i - 1] == '\r';
    if (after_cr != (c == '\n'))
        return malformed(e, "a line of the request's head does not end in CR LF");
    if (c != '\r' && c != '\n' && !head_byte(c))
        return malformed(e, "the request's head holds a control character");
    if (i == s->line && (c == ' ' || c == '\t'))
        return malformed(e, "a line of the request's head begins with white space");
    if (c != '\n')
        return 0;
    bool empty = i - s->line == 1;
    s->line = i + 1;
    if (empty && s->lines == 0)
        return 0;              /* some clients end a body with a line too many (RFC 9112, 2.2) */
    s->lines++;
    return empty;
}

/* Looks at every byte once, however many calls it takes to get them all. The limit is checked here and not by the
 * reader: which of the two answers (414, 431) is right depends on whether the request line had already ended. */
int head_end(struct head_scan *s, const char *bytes, size_t n, size_t *length, struct err *e)
{
    for (; s->looked < n && s->looked < HEAD_BYTES; s->looked++) {
        int rc = look_at(s, bytes, s->looked, e);
        if (rc != 0) {
            *length = s->looked + 1;
            return rc;
        }
    }
    if (s->looked < HEAD_BYTES)
        return 0;
    return s->lines == 0 ? head_wrong(e, 414, "uri_too_long", "the request line is too long")
                         : head_wrong(e, 431, "headers_too_large", "the request's headers are too large");
}

/* ---- the request line ---- */

/* In place. What would be cut off, or forge a line of a log, is refused: %00 and other control characters. */
static int unescape(char *path, struct err *e)
{
    char *out = path;
    for (const char *in = path; *in; in++) {
        unsigned char c = (unsigned char)*in;
        if (c == '%') {
            int high = hex_digit(in[1]), low = high < 0 ? -1 : hex_digit(in[2]);
            if (low < 0)
                return malformed(e, "the request's path holds a % without two hexadecimal digits");
            c = (unsigned char)(high * 16 + low);
            in += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return malformed(e, "the request's path holds an escaped control character");
        *out++ = (char)c;
    }
    *out = '\0';
    return 0;
}

/* Bytes of "http://" or "https://" at the beginning of a target; 0: it begins with neither. */
static size_t scheme_length(const char *target)
{
    if (strncasecmp(target, "http://", 7) == 0)
        return 7;
    return strncasecmp(target, "https://", 8) == 0 ? 8 : 0;
}

/* The path of the target, which may be a whole URL, as to a proxy (RFC 9112, 3.2.2), or `*` of OPTIONS. */
static int parse_target(struct head *h, char *target, struct err *e)
{
    size_t scheme = scheme_length(target);
    size_t host = scheme ? strcspn(target + scheme, "/?#") : 0;
    char  *path = target + scheme + host;
    if (scheme && (host == 0 || !is_host(target + scheme, host)))
        return malformed(e, "the URL of the request line does not name a host");
    if (!scheme && *target != '/' && !(strcmp(target, "*") == 0 && strcmp(h->method, "OPTIONS") == 0))
        return malformed(e, "the request line must name a path that begins with /, or an http:// URL");
    path[strcspn(path, "?#")] = '\0';
    h->path = *path ? path : "/";
    return unescape(path, e);
}

/* HTTP/d.d */
static bool is_version(const char *s)
{
    return strlen(s) == 8 && strncmp(s, "HTTP/", 5) == 0 && is_digit((unsigned char)s[5]) && s[6] == '.' &&
           is_digit((unsigned char)s[7]);
}

/* `line` ends in a NUL and holds: method, target, version, with one space between them and no other white space. Later
 * versions of HTTP/1 do not exist and are refused rather than guessed at. */
static int parse_request_line(struct head *h, char *line, struct err *e)
{
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version || !is_token(line, (size_t)(target - line)) || strchr(version + 1, ' ') || strchr(line, '\t'))
        return malformed(e, "the request line must be: method, target, HTTP version");
    *target++ = *version++ = '\0';
    if (!is_version(version))
        return malformed(e, "the request line does not end in an HTTP version");
    if (version[5] != '1' || version[7] > '1')
        return head_wrong(e, 505, "http_version_not_supported", "this server speaks HTTP/1.1 and HTTP/1.0");
    h->minor = version[7] - '0';
    h->method = line;
    return parse_target(h, target, e);
}

/* ---- the headers ---- */

/* Cuts "name: value" in place. White space between the name and the colon is an error and not trimmed, since servers
 * that trim it and servers that do not would see different headers. */
int head_parse_field(char *line, size_t n, struct head_field *f, struct err *e)
{
    char *colon = memchr(line, ':', n), *end = line + n;
    if (!colon || !is_token(line, (size_t)(colon - line)))
        return malformed(e, "a header line must be a name, a colon right behind it, and a value on the same line");
    char *value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *colon = *end = '\0';
    *f = (struct head_field){ line, value };
    return 0;
}

/* The first field with this name; names are compared without case. */
const char *head_value(const struct head *h, const char *name)
{
    for (int i = 0; i < h->n_fields; i++)
        if (strcasecmp(h->field[i].name, name) == 0)
            return h->field[i].value;
    return NULL;
}

/* How many headers have this name: more than one of those that say where a body ends is refused. */
static int count(const struct head *h, const char *name)
{
    int n = 0;
    for (int i = 0; i < h->n_fields; i++)
        n += strcasecmp(h->field[i].name, name) == 0;
    return n;
}

/* Does a Connection header list this word? */
static bool connection_says(const struct head *h, const char *word)
{
    size_t n = strlen(word);
    for (int i = 0; i < h->n_fields; i++) {
        if (strcasecmp(h->field[i].name, "Connection") != 0)
            continue;
        for (const char *s = h->field[i].value; *s; s += strcspn(s, ",")) {
            s += strspn(s, ", \t");
            if (strncasecmp(s, word, n) == 0 && (!s[n] || is_one_of(", \t", (unsigned char)s[n])))
                return true;
        }
    }
    return false;
}

/* Only digits: a sign, white space within, or a list such as "5, 5" would be read differently by others. A number
 * beyond 64 bits is refused before it wraps around. */
static int parse_length(struct head *h, const char *digits, struct err *e)
{
    uint64_t n = 0;
    if (!*digits)
        return unclear(e, "Content-Length is empty");
    for (const char *s = digits; *s; s++) {
        if (!is_digit((unsigned char)*s))
            return unclear(e, "Content-Length must be a number");
        if (n > (UINT64_MAX - 9) / 10)
            return unclear(e, "Content-Length is beyond all numbers");
        n = n * 10 + (uint64_t)(*s - '0');
    }
    h->length = n;
    return 0;
}

/* Where the body ends, if the head says so in one way only. */
static int parse_framing(struct head *h, struct err *e)
{
    int         lengths = count(h, "Content-Length"), codings = count(h, "Transfer-Encoding");
    const char *coding = head_value(h, "Transfer-Encoding");
    if (lengths + codings > 1)
        return unclear(e, "the request needs one Content-Length, or Transfer-Encoding: chunked");
    if (coding && strcasecmp(coding, "chunked") != 0)
        return unclear(e, "Transfer-Encoding must be chunked, and nothing else");
    if (coding && h->minor == 0)
        return unclear(e, "HTTP/1.0 has no Transfer-Encoding");
    h->chunked = coding != NULL;
    return lengths ? parse_length(h, head_value(h, "Content-Length"), e) : 0;
}

/* A request must say which host it means, exactly once (HTTP/1.0 may leave it out). The name is not compared with
 * anything, but what cannot be a name is refused. */
static int check_host(const struct head *h, struct err *e)
{
    int         hosts = count(h, "Host");
    const char *host = head_value(h, "Host");
    if (hosts > 1)
        return malformed(e, "the request has two Host headers");
    if (hosts == 0 && h->minor == 1)
        return malformed(e, "the request has no Host header");
    if (host && !is_host(host, strlen(host)))
        return malformed(e, "the Host header does not name a host");
    return 0;
}

/* Cuts the head into lines in place; head_end() has made sure that each ends in CR LF and that the last one is empty.
 * The request line comes first, because the rest is read by its version. What the headers together mean is worked out
 * at the end, when all of them are there. */
int head_parse(struct head *h, char *bytes, size_t n, struct err *e)
{
    h->n_fields = 0;
    h->length = 0;
    char *line = bytes + strspn(bytes, "\r\n"), *last = bytes + n - 2;    /* `last` is the empty line */
    for (bool first = true; line < last; first = false) {
        char  *end = memchr(line, '\r', (size_t)(last - line));
        size_t length = (size_t)(end - line);
        *end = '\0';
        if (!first && h->n_fields == HEAD_FIELDS)
            return head_wrong(e, 431, "headers_too_large", "the request has too many headers");
        int rc = first ? parse_request_line(h, line, e) : head_parse_field(line, length, &h->field[h->n_fields++], e);
        if (rc != 0)
            return -1;
        line = end + 2;
    }
    const char *expect = head_value(h, "Expect");
    h->keep_alive = !connection_says(h, "close") && (h->minor == 1 || connection_says(h, "keep-alive"));
    h->expects = h->minor == 1 && expect && strcasecmp(expect, "100-continue") == 0;
    return check_host(h, e) != 0 ? -1 : parse_framing(h, e);
}
