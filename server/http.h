/* server/http.h - HTTP/1.1: exchanges in, answers out.
 *
 * Every connection has a thread. It reads a request into a bounded body, calls
 * `handle`, and sends what that left in the exchange: a whole reply, or a
 * stream whose pieces are asked for one after the other. Handlers may block;
 * they wait with exchange_wait(), which also notices that the client went away
 * or that the server stops.
 *
 *     begin(x)   the head is there: decide how large a body may be, or answer at once
 *     handle(x)  the body is there: answer
 *     done(x)    the answer was sent, or could not be
 *
 * A request that is none, or whose end is not clear, is answered here (400, 413,
 * 414, 431, 503, 505); only done(x) hears of it. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H
#include "server/exchange.h"
#include "server/listen.h"

struct http;

struct http_options {
    struct listen_options listen;
    struct tls *tls;           /* borrowed: for clients that come over a network; NULL: they speak plainly */
    int     max_connections;
    double  idle_timeout, read_timeout, write_timeout;   /* seconds               */
    size_t  max_body_total;    /* bytes of all bodies held at one time */
    struct tally *answers;     /* borrowed: counts the bytes of all answers that were not sent */
    void   *ctx;               /* given to the four functions                     */
    size_t (*begin)(void *ctx, struct exchange *x);      /* returns the body's limit */
    void   (*handle)(void *ctx, struct exchange *x);
    void   (*done)(void *ctx, struct exchange *x);
    int    (*retry_after)(void *ctx);                    /* seconds, for a request that is refused now */
};

struct http *http_start(const struct http_options *opt, struct err *e);
int          http_port(const struct http *h);      /* 0: it listens on none */
bool         http_name(const struct http *h, int i, char out[LISTEN_NAME]);   /* where it listens; false: no more */
int          http_connections(struct http *h);
int          http_reading(struct http *h);   /* connections whose request is arriving */
int          http_busy(struct http *h);   /* connections that are being answered */
bool         http_is_passed(const struct http *h);   /* its sockets are somebody else's, who has passed them on */
/* New connections are refused, or left to others where sockets were passed on; those that are open stay. */
void         http_close_port(struct http *h);
void         http_wake(struct http *h);   /* every exchange_wait() returns EXCHANGE_STOPPED from now on */
void         http_stop(struct http *h);   /* wakes, closes everything, waits for the threads            */

#endif
