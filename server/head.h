/* server/head.h - the head of one HTTP/1 request, read as RFC 9112 writes it and in no other way.
 *
 * Whoever stands in front of this server (a proxy, a router) reads the same
 * bytes, and both must agree on where a request ends: otherwise the end of one
 * client's body is answered as a request of somebody else's. Nothing is
 * therefore repaired, joined or guessed. A line that can be read in two ways is
 * refused: an end of line that is not CR LF, a control character, white space
 * before a colon, a folded line, two lengths, a length beside chunks, a
 * transfer coding that is not exactly `chunked`, two hosts.
 *
 * These are functions of bytes alone; tests/server/test_head.c holds the cases. */
#ifndef SERVER_HEAD_H
#define SERVER_HEAD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    HEAD_BYTES  = 32 << 10,    /* longest head, its last empty line included: more is 414 or 431 */
    HEAD_FIELDS = 100,         /* most header lines: more is 431                                */
};

struct head_field {
    const char *name, *value;  /* into the bytes of the head; the value without white space around it */
};

struct head {
    const char *method;        /* into the bytes of the head                          */
    const char *path;          /* into the same bytes, unescaped and without the query; or static */
    int         minor;         /* 0 or 1: HTTP/1.0 or HTTP/1.1                        */
    bool        chunked;       /* the body comes in chunks; `length` is 0 then        */
    uint64_t    length;        /* bytes of the body                                   */
    bool        keep_alive;    /* the client can use the connection again             */
    bool        expects;       /* it waits for "100 Continue" before it sends a body  */
    int         n_fields;
    struct head_field field[HEAD_FIELDS];
};

/* How far head_end() has looked; all zero before the first byte of a head. */
struct head_scan {
    size_t looked, line;       /* bytes looked at; where the line begins that is not at its end yet */
    int    lines;              /* ends of line seen, without those before the request line          */
};

/* Is the head complete in the first n bytes? Returns 1 with its length, 0 when
 * more is needed, -1 when it cannot become one whatever follows. To be called
 * again, with the same scan, whenever more bytes have come; each byte is looked
 * at once. */
int head_end(struct head_scan *s, const char *bytes, size_t n, size_t *length, struct err *e);

/* Reads the n bytes that head_end() found to be one head, and writes NULs into
 * them; bytes[n] must be there, too. Returns -1 with a status (400, 431, 505)
 * when this is not a request whose end everybody sees at the same place. */
int head_parse(struct head *h, char *bytes, size_t n, struct err *e);

/* The value of the first header of that name, or NULL. */
const char *head_value(const struct head *h, const char *name);

/* "name: value" without its end of line, also for trailers: cuts it in place. */
int head_parse_field(char *line, size_t n, struct head_field *f, struct err *e);

/* May the byte stand within a line: not a control character other than a tab? */
bool head_byte(unsigned char c);
bool head_token_byte(unsigned char c);       /* a letter of a name (RFC 9110, 5.6.2) */

/* Fills e with what a client did against the grammar; returns -1. The text goes out as it is. */
int head_wrong(struct err *e, int status, const char *code, const char *text);

#endif
