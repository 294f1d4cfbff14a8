/* server/exchange.h - one request and its answer, and what all of them together may hold. */
#ifndef SERVER_EXCHANGE_H
#define SERVER_EXCHANGE_H
#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/budget.h"
#include "base/buf.h"
#include "base/err.h"
#include "server/framing.h"
#include "server/head.h"
#include "server/record.h"

struct connection;
struct connections;
struct key;

enum { REQUEST_ID_SIZE = 72 };

/* Pieces of an answer whose length nobody knows yet. */
struct stream {
    /* Appends at least one whole piece to `out`, blocking until there is one.
     * Returns 1: more may follow, 0: that was all, -1: break the connection. */
    int  (*more)(void *state, struct buf *out);
    void (*free)(void *state);
    void  *state;              /* owned through free() */
};

/* What the exchanges of a server share. */
struct exchanges {
    struct tally  bodies;      /* bytes of all requests that are being read */
    struct tally *answers;     /* borrowed: bytes of all answers that were not sent yet */
    int  (*retry_after)(void *ctx);        /* seconds, for who is refused now */
    void  *ctx;                /* borrowed: retry_after's         */
    int    stop_fd;            /* borrowed; readable once the server stops */
    struct connections *connections;       /* borrowed */
};

struct exchange {              /* belongs to its connection's thread */
    /* the request */
    const char *method, *path; /* borrowed; the path without the query, unescaped */
    char   *body;              /* owned; NUL-terminated for convenience           */
    size_t  n_body;
    char    request_id[REQUEST_ID_SIZE];
    double  started;           /* clock_seconds() when the head was read          */
    /* the answer */
    int         status;        /* 0: none yet                                     */
    const char *content_type;  /* static                                          */
    void (*write_error)(struct buf *out, int status, const struct err *e);   /* in the route's form; NULL: OpenAI's */
    const json_t *field_names; /* borrowed: of the request, as field_names.h has them; NULL: they are as they are */
    struct buf  reply;         /* sent as it is, unless there is a stream         */
    struct stream stream;      /* more is NULL: there is none                     */
    struct buf  headers;       /* "Name: value" lines beside those that every answer has */
    bool        last;          /* close the connection after the answer           */
    bool        broken;        /* the client went away, or the answer could not be sent whole */
    struct record record;      /* what the log will say of it                     */
    void       *user;          /* routes.c's: the route                           */
    struct key *key;           /* access.c's: held; whose it is. NULL: nobody was asked for a key */
    bool        key_counts;    /* access.c's: it counts among the running requests of its key */
    int         retry_after;   /* seconds, where it may try again; 0: as all are told */
    bool        has_input;     /* app.c's: it has a turn for heavy input          */
    size_t      parsing;       /* app.c's: bytes taken for its JSON               */
    bool        parses_short;  /* `parsing` was taken from the sum of short bodies */
    /* http.c's and exchange.c's own */
    struct exchanges  *all;    /* borrowed                                        */
    struct connection *conn;   /* borrowed                                        */
    struct head    head;       /* as it was parsed; no fields if it was malformed */
    char          *head_bytes; /* owned; what `head` points into                  */
    struct framing framing;    /* how much of the body is still to come           */
    size_t  max_body;          /* bytes that this route allows                    */
    size_t  cap_body;          /* bytes that `body` has room for                  */
    size_t  reserved;          /* bytes taken from all->bodies                    */
    size_t  answer_held;       /* bytes of this answer, as far as they were not sent */
    bool    refused;           /* answered before the body was read: the rest of it is thrown away */
};

/* The value of the request's header of that name, or NULL. */
const char *exchange_header(const struct exchange *x, const char *name);
/* One more header of the answer. Nothing of it may come from a request unchecked. */
void        exchange_add_header(struct exchange *x, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

enum wait_result { EXCHANGE_TIMEOUT, EXCHANGE_READABLE, EXCHANGE_GONE, EXCHANGE_STOPPED };
/* Waits until fd (or -1) is readable, the client has gone, or `seconds` have
 * passed. A client that has closed its sending half counts as gone: most that
 * do so have closed both, and nobody could tell the others apart. */
enum wait_result exchange_wait(struct exchange *x, int fd, double seconds);

/* Adds Retry-After: the request may succeed later. */
void exchange_retry_later(struct exchange *x);

/* Did it come on one of the few connections beyond the maximum? */
bool exchange_is_extra(struct exchange *x);

/* The body is not needed any more: its memory and its share of the total are given back. */
void exchange_drop_body(struct exchange *x);

/* The answer takes n bytes now, as far as it was not sent; false: all answers together would take too many. */
bool exchange_hold(struct exchange *x, size_t n);

/* ---- for http.c ---- */

/* A new exchange of that connection; NULL when there is no memory for it. */
struct exchange *exchange_new(struct exchanges *all, struct connection *conn);
void             exchange_free(struct exchange *x);

/* Reads the head, n bytes that head_end() has found; -1 as head_parse(), or without memory. */
int exchange_take_head(struct exchange *x, const char *bytes, size_t n, struct err *e);

/* More of the body; where it has no room, the exchange is refused and the bytes are only counted. */
void exchange_add_body(struct exchange *x, const char *data, size_t n);

/* Answers with an error whatever else was to be answered; what still comes of the body is thrown away. */
void exchange_refuse(struct exchange *x, int status, const char *code, const char *text);

/* What makes the pieces of the answer is not needed any more: it is freed, and learns so that its client has gone if
 * it was not at its end. */
void exchange_drop_stream(struct exchange *x);

/* The reply is whole and its request's body not needed any more: counts it among those that wait for their clients. */
void exchange_hold_answer(struct exchange *x);

#endif
