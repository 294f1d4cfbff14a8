/* server/framing.c - a state machine over the bytes of a body. It is given whatever has arrived, and remembers where
 * it stands in `struct framing`; see framing.h for what it accepts. */
#include "server/framing.h"

#include <string.h>

#include "base/hex.h"
#include "server/head.h"

static int wrong(struct err *e, const char *text) { return head_wrong(e, 400, "invalid_framing", text); }

/* A body of length 0 is done before it begins. */
void framing_begin(struct framing *f, bool chunked, uint64_t length)
{
    f->state = length > 0 ? FRAMING_LENGTH : FRAMING_DONE;
    if (chunked)
        f->state = FRAMING_SIZE;
    f->left = length;
    f->trailers = f->n_line = 0;
}

/* The next byte of a line. Returns 1 when that was its end, which is not kept. */
static int add_to_line(struct framing *f, char c, struct err *e)
{
    bool after_cr = f->n_line > 0 && f->line[f->n_line - 1] == '\r';
    if (after_cr != (c == '\n'))
        return wrong(e, "a line between the chunks does not end in CR LF");
    if (c == '\n') {
        f->n_line--;
        return 1;
    }
    if (c != '\r' && !head_byte((unsigned char)c))
        return wrong(e, "a line between the chunks holds a control character");
    if (f->n_line == CHUNK_LINE_BYTES - 1)
        return wrong(e, "a line between the chunks is too long");
    f->line[f->n_line++] = c;
    return 0;
}

/* ---- chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) ---- */

static const char *skip_white(const char *s) { return s + strspn(s, " \t"); }

/* Behind a token at s; NULL if there is none. */
static const char *skip_token(const char *s)
{
    const char *end = s;
    while (head_token_byte((unsigned char)*end))
        end++;
    return end > s ? end : NULL;
}

/* Behind the quoted string that begins at s, in which a backslash keeps the next character from ending it; NULL if it
 * has no end. */
static const char *skip_quoted(const char *s)
{
    for (s++; *s && *s != '"'; s++)
        if (*s == '\\' && !*++s)
            return NULL;
    return *s ? s + 1 : NULL;
}

/* Checks the form of a chunk's extensions, which are then ignored. They are checked because a proxy in front of this
 * server may read something else into a malformed line, and both must agree on where the chunk begins. */
static bool are_extensions(const char *s)
{
    while (s && *s) {
        s = skip_white(s);
        if (*s != ';')
            return false;
        s = skip_token(skip_white(s + 1));
        const char *value = s ? skip_white(s) : NULL;
        if (value && *value == '=') {
            value = skip_white(value + 1);
            s = *value == '"' ? skip_quoted(value) : skip_token(value);
        }
    }
    return s != NULL;
}

/* f->line is the first line of a chunk: its size in hexadecimal digits and perhaps extensions. A size that would not
 * fit into 64 bits is refused before it wraps around, since a wrapped size would end the body in the wrong place. Size
 * 0 ends the body; trailers follow. */
static int parse_size(struct framing *f, struct err *e)
{
    uint64_t size = 0;
    size_t   n = 0;
    for (int digit; (digit = hex_digit(f->line[n])) >= 0; n++) {
        if (size >> 59)
            return wrong(e, "the size of a chunk is beyond all numbers");
        size = size * 16 + (uint64_t)digit;
    }
    if (n == 0 || !are_extensions(f->line + n))
        return wrong(e, "the size of a chunk must be a hexadecimal number");
    f->left = size;
    f->state = size > 0 ? FRAMING_CHUNK : FRAMING_TRAILER;
    return 0;
}

/* f->line is a trailer, or the empty line behind the last one, which ends the request. Trailers are checked like
 * headers and their total is bounded, but their values are not used. */
static int parse_trailer(struct framing *f, struct err *e)
{
    struct head_field unused;
    if (f->n_line == 0) {
        f->state = FRAMING_DONE;
        return 0;
    }
    f->trailers += f->n_line;
    if (f->trailers > TRAILER_BYTES)
        return head_wrong(e, 431, "headers_too_large", "the request's trailers are too large");
    return head_parse_field(f->line, f->n_line, &unused, e);
}

/* The next byte of a line of FRAMING_SIZE, FRAMING_CHUNK_END or FRAMING_TRAILER. */
static int take_line_byte(struct framing *f, char c, struct err *e)
{
    if (f->state == FRAMING_CHUNK_END && f->n_line == 0 && c != '\r')
        return wrong(e, "a chunk does not end where its size says");
    int rc = add_to_line(f, c, e);
    if (rc <= 0)
        return rc;
    f->line[f->n_line] = '\0';
    if (f->state == FRAMING_CHUNK_END)
        f->state = FRAMING_SIZE;
    else
        rc = f->state == FRAMING_SIZE ? parse_size(f, e) : parse_trailer(f, e);
    f->n_line = 0;
    return rc < 0 ? rc : 0;
}

/* Bytes of the body are handed out where they lie, as many as belong to it. Lines between chunks are taken byte by
 * byte, as they may arrive in any pieces; the loop stops at the end of such a line if bytes of a chunk follow, so that
 * the next call hands those out. Returns at least 1 for n > 0, so a caller that loops makes progress. */
ssize_t framing_take(struct framing *f, const char *bytes, size_t n, const char **body, size_t *n_body, struct err *e)
{
    *n_body = 0;
    *body = bytes;
    if (f->state == FRAMING_LENGTH || f->state == FRAMING_CHUNK) {
        *n_body = n < f->left ? n : (size_t)f->left;
        f->left -= *n_body;
        if (f->left == 0)
            f->state = f->state == FRAMING_LENGTH ? FRAMING_DONE : FRAMING_CHUNK_END;
        return (ssize_t)*n_body;
    }
    size_t i = 0;
    while (i < n && (f->state == FRAMING_SIZE || f->state == FRAMING_CHUNK_END || f->state == FRAMING_TRAILER))
        if (take_line_byte(f, bytes[i++], e) != 0)
            return -1;
    return (ssize_t)i;
}
