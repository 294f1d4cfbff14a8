/* server/exchange.c - one request and its answer: memory for the body as it arrives, headers of the answer, waiting
 * for an event or for the client to go away. What each function promises stands in exchange.h. */
#include "server/exchange.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "server/connections.h"

enum {
    ANSWER_BYTES  = 256 << 20,         /* that a whole answer may have    */
    HEADERS_BYTES = 8 << 10,           /* that its own headers may have   */
};

/* Status 0 means that nobody has answered yet. */
struct exchange *exchange_new(struct exchanges *all, struct connection *conn)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->all = all;
    x->conn = conn;
    x->method = x->path = "-";         /* until the head was read */
    x->started = clock_seconds();
    x->content_type = "application/json";
    buf_init(&x->reply, ANSWER_BYTES);
    buf_init(&x->headers, HEADERS_BYTES);
    return x;
}

void exchange_drop_stream(struct exchange *x)
{
    if (x->stream.free)
        x->stream.free(x->stream.state);
    x->stream.free = NULL;
}

/* Also gives back what the exchange holds of the sums that all exchanges share; a stream that was never sent is freed
 * here. */
void exchange_free(struct exchange *x)
{
    exchange_drop_stream(x);
    exchange_drop_body(x);
    buf_free(&x->reply);
    buf_free(&x->headers);
    exchange_hold(x, 0);
    free(x->head_bytes);
    free(x);
}

/* ---- the request ---- */

/* What a client calls something, if it has 1 to `most` characters that are harmless in a header and in a log; else
 * NULL. */
static const char *harmless_name(const struct exchange *x, const char *header, size_t most)
{
    const char *given = exchange_header(x, header);
    size_t      n = given ? strlen(given) : 0;
    bool harmless = n > 0 && n <= most &&
        strspn(given, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/=+@") == n;
    return harmless ? given : NULL;
}

/* The name that the client has sent, or else 32 random digits. */
static void choose_request_id(struct exchange *x)
{
    const char *given = harmless_name(x, "X-Request-Id", sizeof x->request_id - 1);
    if (given) {
        snprintf(x->request_id, sizeof x->request_id, "%s", given);
        return;
    }
    unsigned char r[16] = { 0 };
    if (getrandom(r, sizeof r, 0) < 0)
        snprintf((char *)r, sizeof r, "%p", (void *)x);
    for (int i = 0; i < 16; i++)
        snprintf(x->request_id + 2 * i, 3, "%02x", r[i]);
}

/* Routers send the requests of a session to one server. Here what has been computed is found by what it was computed
 * from, whoever asks, so the name of the session is only told back: a client sees that it came through. */
static void echo_session(struct exchange *x)
{
    enum { SESSION_BYTES = 128 };
    const char *session = harmless_name(x, "X-Session-ID", SESSION_BYTES);
    if (session)
        exchange_add_header(x, "X-Session-ID", "%s", session);
}

/* Keeps a copy of the head, because method, path and headers point into it for as long as the exchange lives, while
 * the connection's buffer goes on to the body. Where the head is malformed none of its headers is used afterwards, and
 * the path stays "-": a log line or an answer must not show what was only half understood. */
int exchange_take_head(struct exchange *x, const char *bytes, size_t n, struct err *e)
{
    x->head_bytes = malloc(n + 1);
    if (!x->head_bytes)
        return head_wrong(e, 503, "out_of_memory", "there is no memory for the request");
    memcpy(x->head_bytes, bytes, n);
    x->head_bytes[n] = '\0';
    int rc = head_parse(&x->head, x->head_bytes, n, e);
    if (rc == 0) {
        x->method = x->head.method;
        x->path = x->head.path;
        x->last = !x->head.keep_alive;
        framing_begin(&x->framing, x->head.chunked, x->head.length);
    } else {
        x->head.n_fields = 0;          /* nobody shall believe a part of it */
    }
    choose_request_id(x);
    echo_session(x);
    return rc;
}

const char *exchange_header(const struct exchange *x, const char *name) { return head_value(&x->head, name); }

/* Frees the body and gives back its share of all bodies. May be called at any time and more than once. */
void exchange_drop_body(struct exchange *x)
{
    free(x->body);
    x->body = NULL;
    x->n_body = x->cap_body = 0;
    tally_give(&x->all->bodies, x->reserved);
    x->reserved = 0;
}

/* For refusals that happen before a handler runs, with text that is fixed at compile time and therefore needs no
 * escaping. Whatever the answer was to be is thrown away. */
void exchange_refuse(struct exchange *x, int status, const char *code, const char *text)
{
    if (!*x->request_id)
        choose_request_id(x);
    exchange_drop_body(x);
    x->refused = true;
    x->status = status;
    snprintf(x->record.error, sizeof x->record.error, "%s", code);
    buf_clear(&x->reply);
    buf_printf(&x->reply, "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}", text,
               status < 500 ? "invalid_request_error" : "server_error", code);
}

/* Room for a body of n bytes, within this request's limit and everybody's. It
 * grows with the bytes that arrive: announcing a large body takes nothing from
 * the others. */
static void reserve_body(struct exchange *x, size_t n)
{
    if (n <= x->cap_body)
        return;
    if (n > x->max_body) {
        exchange_refuse(x, 413, "request_too_large", "the request body is too large");
        return;
    }
    if (!tally_take(&x->all->bodies, n - x->reserved)) {
        exchange_refuse(x, 503, "overloaded", "too many request bodies are being read");
        exchange_retry_later(x);
        return;
    }
    x->reserved = n;
    char *body = realloc(x->body, n + 1);
    if (!body) {
        exchange_refuse(x, 503, "out_of_memory", "there is no memory for the request body");
        return;
    }
    x->body = body;
    x->cap_body = n;
}

/* Copies n more bytes of the body. Memory is doubled as it fills, but never beyond the announced length or, with
 * chunks, the route's limit. Once the exchange is refused the bytes are only counted, so that the reader knows when it
 * has thrown away enough. */
void exchange_add_body(struct exchange *x, const char *data, size_t n)
{
    if (!x->refused && x->n_body + n > x->cap_body) {
        size_t need = x->n_body + n, most = x->head.chunked ? x->max_body : (size_t)x->head.length;
        size_t want = x->cap_body * 2 < most ? x->cap_body * 2 : most;
        reserve_body(x, want > need ? want : need);
    }
    if (!x->refused) {
        memcpy(x->body + x->n_body, data, n);
        x->n_body += n;
        x->body[x->n_body] = '\0';
    } else {
        x->n_body += n;
    }
}

bool exchange_is_extra(struct exchange *x) { return connection_is_extra(x->all->connections, x->conn); }

/* ---- the answer ---- */

/* The value is cut at HEADERS_BYTES; callers check what comes from a request for control characters, because this
 * function does not. */
void exchange_add_header(struct exchange *x, const char *name, const char *fmt, ...)
{
    char    value[HEADERS_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    buf_printf(&x->headers, "%s: %s\r\n", name, value);
}

void exchange_retry_later(struct exchange *x)
{
    exchange_add_header(x, "Retry-After", "%d", x->retry_after ? x->retry_after : x->all->retry_after(x->all->ctx));
}

/* Waits on three things at once: the caller's descriptor, the client's half of the connection, and the server's stop.
 * A client that has gone is reported first, because nothing else matters then. A time of 0 only looks. The
 * milliseconds are rounded up, so that the loop does not spin through the last fraction of one. */
enum wait_result exchange_wait(struct exchange *x, int fd, double seconds)
{
    struct pollfd p[3] = {
        { .fd = fd, .events = POLLIN },
        { .fd = x->conn->fd, .events = POLLRDHUP },
        { .fd = x->all->stop_fd, .events = POLLIN },
    };
    double until = clock_seconds() + seconds;
    for (;;) {
        double left = until - clock_seconds();
        int    n = poll(p, 3, left <= 0 ? 0 : (int)(left * 1e3) + 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (p[1].revents) {
            x->broken = true;
            return EXCHANGE_GONE;
        }
        if (p[0].revents)
            return EXCHANGE_READABLE;
        if (p[2].revents)
            return EXCHANGE_STOPPED;
        if (n <= 0 && left <= 0)
            return EXCHANGE_TIMEOUT;
    }
}

bool exchange_hold(struct exchange *x, size_t n) { return tally_set(x->all->answers, &x->answer_held, n); }

/* An answer stays here until its client has taken it, however slowly. */
void exchange_hold_answer(struct exchange *x)
{
    exchange_drop_body(x);
    if (exchange_hold(x, x->reply.len))
        return;
    buf_free(&x->reply);
    exchange_refuse(x, 503, "overloaded", "too many answers are waiting for their clients");
    exchange_retry_later(x);
}
