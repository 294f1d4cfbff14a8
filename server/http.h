/* server/http.h - HTTP on libmicrohttpd: exchanges in, answers out.
 *
 * Every connection has a thread. It reads a request into a bounded body, calls
 * `handle`, and sends what that left in the exchange: a whole reply, or a
 * stream whose pieces are asked for one after the other. Handlers may block;
 * they wait with exchange_wait(), which also notices that the client went away
 * or that the server stops.
 *
 *     begin(x)   the head is there: decide how large a body may be, or answer at once
 *     handle(x)  the body is there: answer
 *     done(x)    the answer was sent, or could not be */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct MHD_Connection;
struct http;
struct connection;

enum { EXCHANGE_MAX_HEADERS = 8, REQUEST_ID_SIZE = 72 };

/* Pieces of an answer whose length nobody knows yet. */
struct stream {
    /* Appends at least one whole piece to `out`, blocking until there is one.
     * Returns 1: more may follow, 0: that was all, -1: break the connection. */
    int  (*more)(void *state, struct buf *out);
    void (*free)(void *state);
    void  *state;              /* owned through free() */
};

struct exchange {              /* one request and its answer; belongs to its connection's thread */
    /* the request */
    const char *method, *path; /* borrowed; the path without the query, unescaped */
    char   *body;              /* owned; NUL-terminated for convenience           */
    size_t  n_body;
    char    request_id[REQUEST_ID_SIZE];
    double  started;           /* clock_seconds() when the head was read          */
    /* the answer */
    int         status;        /* 0: none yet                                     */
    const char *content_type;  /* static                                          */
    struct buf  reply;         /* sent as it is, unless there is a stream         */
    struct stream stream;
    struct { const char *name; char value[200]; } header[EXCHANGE_MAX_HEADERS];  /* names static */
    int         n_headers;
    bool        last;          /* close the connection after the answer           */
    bool        broken;        /* the client went away, or the answer could not be sent whole */
    void       *user;          /* of the handlers                                 */
    bool        has_input;     /* likewise: app_input_enter()                     */
    /* http.c's own */
    struct http       *http;
    struct connection *conn;
    struct MHD_Connection *mhd;
    size_t  max_body, cap_body, reserved;
    size_t  answer_held;       /* this answer's share of all that are held        */
    size_t  length;            /* Content-Length; 0: none                         */
    bool    refused;           /* answered before the body was read: the rest of it is thrown away */
    bool    queued;
    struct buf pending;        /* bytes of the stream that MHD has not taken      */
    size_t  sent;              /* of pending                                      */
    bool    ended;             /* the stream has given its last piece             */
};

struct http_options {
    const char *host;
    int     port;              /* 0: any free one                                 */
    int     max_connections;
    double  idle_timeout, read_timeout, write_timeout;   /* seconds               */
    size_t  max_body_total;    /* bytes of all bodies held at one time; and of all answers */
    void   *ctx;               /* given to the three functions                    */
    size_t (*begin)(void *ctx, struct exchange *x);      /* returns the body's limit */
    void   (*handle)(void *ctx, struct exchange *x);
    void   (*done)(void *ctx, struct exchange *x);
};

struct http *http_start(const struct http_options *opt, struct err *e);
int          http_port(const struct http *h);
int          http_connections(struct http *h);
int          http_busy(struct http *h);   /* connections that are being answered */
void         http_wake(struct http *h);   /* every exchange_wait() returns EXCHANGE_STOPPED from now on */
void         http_stop(struct http *h);   /* wakes, closes everything, waits for the threads            */

const char *exchange_header(const struct exchange *x, const char *name);
void        exchange_add_header(struct exchange *x, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

enum wait_result { EXCHANGE_TIMEOUT, EXCHANGE_READABLE, EXCHANGE_GONE, EXCHANGE_STOPPED };
/* Waits until fd (or -1) is readable, the client has gone, or `seconds` have
 * passed. A client that has closed its sending half counts as gone: most that
 * do so have closed both, and nobody could tell the others apart. */
enum wait_result exchange_wait(struct exchange *x, int fd, double seconds);

/* Did it come on one of the few connections beyond the maximum? */
bool exchange_is_extra(struct exchange *x);

/* The body is not needed any more: its memory and its share of the total are given back. */
void exchange_drop_body(struct exchange *x);

#endif
