/* server/http.c - requests in, answers out, one thread for each connection. The parts: head.c reads a head, framing.c
 * finds where a body ends, exchange.c holds one request and its answer, wire.c moves bytes, connections.c has all
 * connections, listen.c what they come in by; this file puts them together.
 *
 * Why there is no library under this. An earlier version used libmicrohttpd 0.9.75. It reads heads more generously than
 * the proxies in front of it (it joins folded lines, takes a space before a colon, cuts a value at a NUL), so that one
 * request could hide a second; it does not show the bytes to anybody, and answers its own errors with its own pages.
 * Version 1.0 is stricter, but keeps the pages and is not in Debian 12; the other libraries there (libevent, civetweb,
 * http-parser) are no stricter. What would have to stand in front of any of them, a reader of heads and bodies that
 * lets only the plain forms through, is all that is hard about HTTP/1.1. With it (head.c and framing.c: functions of
 * bytes, tested alone) little is left to do, and there is one reader whose opinion counts instead of two that may
 * differ.
 *
 * What both cost, measured one after the other on the same two cores with four clients, medians of three runs: user and
 * system time of the server for a request, and requests a second (these vary by a third, as others worked there, too):
 *
 *                                          libmicrohttpd        this file
 *     GET /health, kept alive              11 us   32,700/s     9 us   31,900/s
 *     GET /health, a connection each       52 us    9,900/s    53 us    8,900/s
 *     POST of 3 MB, read and thrown away  580 us      196/s   470 us      257/s
 *
 * Why each connection has a thread. A pool of threads that wait with epoll was measured beside it on that library: the
 * gaps between events of a stream and the latency of a probe were equal, memory 20 % less, but handlers might not
 * block. Here JSON, templates and image decoding run right in the handler without holding up anybody. A connection that
 * waits costs a thread and no buffer: the bytes of a request have one (HEAD_BYTES) only while they are read. */
#include "server/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/connections.h"
#include "server/listen.h"
#include "server/wire.h"

enum {
    DISCARD_BYTES  = 256 << 20, /* most of a refused body that is read and thrown away       */
    PIECE_BYTES    = 256 << 20, /* longest piece of a stream                                 */
    KEPT_BYTES     = 64 << 10,  /* memory of a piece that is kept for the next one           */
    HEADERS_BYTES  = 16 << 10,  /* longest head of an answer                                 */
    UNSENT_BYTES   = 128 << 10, /* what the kernel keeps for a client beyond what is under way */
};

struct http {
    struct http_options opt;        /* as given; what it points to is borrowed            */
    struct listeners    listeners;
    int                 stop_fd;    /* owned eventfd: readable once the server stops      */
    pthread_t           acceptor;   /* joined by http_stop()                              */
    struct exchanges    exchanges;
    struct connections  connections;
};

/* ---- bytes of a connection ---- */

struct input {                 /* what a client has sent and nobody has used yet */
    struct connection *conn;
    char  *bytes;              /* owned, HEAD_BYTES; NULL while there is nothing */
    size_t at, end;            /* bytes[at, end) have come                       */
    bool   unread;             /* a request was answered before it was read      */
};

/* Waits for more bytes of the client and puts them behind those that are there. The buffer is made when the first byte
 * has come and is given back by drop_if_empty(), so that an idle connection holds none. Returns false when none will
 * come: the client has gone, the reaper has shut the connection down, or there is no memory. */
static bool fill(struct input *in)
{
    if (!in->bytes) {
        wire_wait(in->conn);
        in->bytes = malloc(HEAD_BYTES);
        if (!in->bytes) {
            wire_no_memory(in->conn);
            in->unread = true;
            return false;
        }
    }
    if (in->at == in->end)
        in->at = in->end = 0;
    ssize_t n = wire_read(in->conn, in->bytes + in->end, HEAD_BYTES - in->end);
    in->end += n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* The body has been read: while its request is being worked on, the connection needs no buffer, unless the client has
 * sent the next request already. */
static void drop_if_empty(struct input *in)
{
    if (in->at < in->end)
        return;
    free(in->bytes);
    in->bytes = NULL;
    in->at = in->end = 0;
}

/* ---- the request ---- */

/* The next head is bytes[at, at + *n) of the input. Returns 1; 0 when the
 * client has gone, or was sent away; -1 when what came is no head. */
static int read_head(struct input *in, size_t *n, struct err *e)
{
    struct head_scan scan = { 0 };
    if (in->bytes)
        memmove(in->bytes, in->bytes + in->at, in->end - in->at);
    in->end -= in->at;
    in->at = 0;
    bool began = in->end > 0;
    if (began)
        connection_phase(in->conn, PHASE_READ);
    for (;;) {
        int rc = head_end(&scan, in->bytes, in->end, n, e);
        if (rc != 0)
            return rc;
        if (!fill(in))
            return 0;
        if (!began)
            connection_phase(in->conn, PHASE_READ);
        began = true;
    }
}

/* What the handlers say to the head. A refused body is read to its end all the
 * same, so that the client gets to see the answer instead of a reset connection
 * - but not when it asked first (Expect: 100-continue) or when it is endless.
 * Returns whether the body is to be read. */
static bool begin(struct http *h, struct exchange *x, const struct input *in)
{
    x->max_body = h->opt.begin(h->opt.ctx, x);
    if (exchange_is_extra(x))
        x->last = true;
    if (x->status != 0)
        x->refused = true;
    else if (x->head.length > x->max_body)
        exchange_refuse(x, 413, "request_too_large", "the request body is too large");
    if (framing_done(&x->framing))
        return false;
    if (x->refused && (x->head.expects || x->head.length > DISCARD_BYTES))
        return false;
    if (x->head.expects && in->at == in->end)
        wire_text(x->conn, "HTTP/1.1 100 Continue\r\n\r\n");
    return true;
}

/* Reads the body, or of a refused one enough of it. Returns -1 when the client went away within it. */
static int read_body(struct exchange *x, struct input *in)
{
    connection_phase(x->conn, PHASE_READ);
    while (!framing_done(&x->framing)) {
        struct err  e;
        const char *data;
        size_t      n;
        if (x->refused && (x->n_body > DISCARD_BYTES || x->framing.left > DISCARD_BYTES))
            return 0;
        if (in->at == in->end && !fill(in))
            return -1;
        ssize_t used = framing_take(&x->framing, in->bytes + in->at, in->end - in->at, &data, &n, &e);
        if (used < 0) {
            exchange_refuse(x, e.status, e.code, e.text);
            return 0;
        }
        in->at += (size_t)used;
        if (n > 0)
            exchange_add_body(x, data, n);
    }
    return 0;
}

/* ---- the answer ---- */

/* The words behind the number are for people who read the wire; programs look at the number. */
static const char *reason_of(int status)
{
    static const struct { int status; const char *reason; } known[] = {
        { 200, "OK" }, { 204, "No Content" }, { 304, "Not Modified" }, { 400, "Bad Request" },
        { 401, "Unauthorized" }, { 403, "Forbidden" },
        { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 413, "Content Too Large" }, { 414, "URI Too Long" },
        { 415, "Unsupported Media Type" }, { 422, "Unprocessable Content" }, { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
        { 503, "Service Unavailable" }, { 505, "HTTP Version Not Supported" },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status)
            return known[i].reason;
    return "Unknown";
}

/* These two end with their head and tell no length (RFC 9110, 8.6). */
static bool ends_with_head(const struct exchange *x) { return x->status == 204 || x->status == 304; }

static bool has_body(const struct exchange *x) { return !ends_with_head(x) && (x->stream.more || x->reply.len > 0); }

/* Writes the head of an answer. A whole reply has a Content-Length; a stream has chunks for clients of HTTP/1.1, and
 * for those of HTTP/1.0 it simply ends with the connection. Headers that handlers added come last. */
static void write_head(const struct exchange *x, struct buf *out)
{
    char      date[40];
    time_t    now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\nX-Request-Id: %s\r\n", x->status, reason_of(x->status), date,
               x->request_id);
    if (has_body(x))
        buf_printf(out, "Content-Type: %s\r\n", x->content_type);
    if (!x->stream.more && !ends_with_head(x))
        buf_printf(out, "Content-Length: %zu\r\n", x->reply.len);
    else if (x->stream.more && x->head.minor == 1)
        buf_str(out, "Transfer-Encoding: chunked\r\n");
    if (x->last)
        buf_str(out, "Connection: close\r\n");
    else if (x->head.minor == 0)
        buf_str(out, "Connection: keep-alive\r\n");
    buf_add(out, x->headers.data, x->headers.len);
    buf_str(out, "\r\n");
}

/* Asks for the pieces of the stream and sends each as it comes, as one chunk to who knows chunks. */
static int send_stream(struct exchange *x)
{
    bool       chunks = x->head.minor == 1, more = true;
    int        rc = 0;
    struct buf piece;
    buf_init(&piece, PIECE_BYTES);
    while (rc == 0 && more) {
        buf_reuse(&piece, KEPT_BYTES);
        connection_phase(x->conn, PHASE_WORK);
        int left = x->stream.more(x->stream.state, &piece);
        if (left < 0 || !buf_ok(&piece) || x->broken) {
            rc = -1;
            break;
        }
        more = left > 0 && piece.len > 0;
        char size[24];
        const char  *after = more ? "\r\n" : "\r\n0\r\n\r\n";
        struct iovec v[3] = { { size, (size_t)snprintf(size, sizeof size, "%zx\r\n", piece.len) },
                              { piece.data, piece.len }, { (char *)after, strlen(after) } };
        connection_phase(x->conn, PHASE_WRITE);
        if (!chunks)
            rc = wire_write(x->conn, v + 1, 1);
        else if (piece.len > 0)
            rc = wire_write(x->conn, v, 3);
        else
            rc = wire_text(x->conn, "0\r\n\r\n");
    }
    buf_free(&piece);
    return rc;
}

/* Sends head and body of an answer, together where both are there, so that a small one is one packet, or the head and
 * then a stream. -1: the client did not get all of it, and the connection ends. */
static int send_answer(struct exchange *x)
{
    struct buf head;
    bool       alone = strcmp(x->method, "HEAD") == 0 || !has_body(x);
    if (x->stream.more && x->head.minor == 0)
        x->last = true;                    /* its end is the connection's */
    buf_init(&head, HEADERS_BYTES);
    write_head(x, &head);
    connection_phase(x->conn, PHASE_WRITE);
    int rc = -1;
    if (!buf_ok(&head) || !buf_ok(&x->headers) || !buf_ok(&x->reply)) {
        wire_no_memory(x->conn);
    } else {
        struct iovec v[2] = { { head.data, head.len }, { x->reply.data, x->reply.len } };
        rc = wire_write(x->conn, v, alone || x->stream.more ? 1 : 2);
    }
    buf_free(&head);
    return rc == 0 && !alone && x->stream.more ? send_stream(x) : rc;
}

/* ---- a connection ---- */

/* Answers one request; `bad` is what was wrong with its head, or NULL. Returns whether the next one can follow. */
static bool serve(struct http *h, struct exchange *x, struct input *in, const struct err *bad)
{
    if (bad) {
        exchange_refuse(x, bad->status, bad->code, bad->text);
        in->unread = true;
    } else {
        bool reads = begin(h, x, in);
        if (reads && read_body(x, in) != 0)
            x->broken = true;
        in->unread = !framing_done(&x->framing);
    }
    if (in->unread)
        x->last = true;
    drop_if_empty(in);
    if (!x->broken && !x->refused) {
        connection_phase(x->conn, PHASE_WORK);
        h->opt.handle(h->opt.ctx, x);
    }
    if (!x->broken)
        exchange_hold_answer(x);
    if (x->broken || x->status == 0 || send_answer(x) != 0)
        x->broken = true;
    exchange_drop_stream(x);
    h->opt.done(h->opt.ctx, x);
    return !x->broken && !x->last;
}

/* Reads one head, makes an exchange of it, and serves that. Also a malformed head becomes an exchange, so that it is
 * counted and logged like every other request. Returns whether the connection can carry another request. */
static bool serve_next(struct http *h, struct connection *c, struct input *in)
{
    struct err e;
    size_t     n;
    int        rc = read_head(in, &n, &e);
    if (rc == 0)
        return false;
    struct exchange *x = exchange_new(&h->exchanges, c);
    if (!x) {
        wire_no_memory(c);
        in->unread = true;
        return false;
    }
    if (rc > 0) {
        rc = exchange_take_head(x, in->bytes, n, &e);
        in->at = n;
    }
    bool again = serve(h, x, in, rc < 0 ? &e : NULL);
    exchange_free(x);
    connection_phase(c, PHASE_IDLE);
    return again;
}

/* The whole life of a connection, on its own thread. Afterwards connections.c closes the socket. */
static void serve_client(void *ctx, struct connection *c)
{
    struct http *h = ctx;
    struct input in = { .conn = c };
    if (wire_begin(c, h->opt.tls, &in.unread))
        while (serve_next(h, c, &in))
            ;
    wire_end(c, in.unread || in.at < in.end);
    free(in.bytes);
}

/* ---- the server ---- */

/* What a client does not read waits here, where it is counted, and not by megabytes in the kernel. */
static void greet(struct http *h, int fd)
{
    int one = 1, unsent = UNSENT_BYTES;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    if (connection_start(&h->connections, fd, serve_client, h) == 0)
        return;
    wire_no_memory(&(struct connection){ .fd = fd });
    close(fd);
}

/* The acceptor's thread. It ends when the port was closed or all connections are being closed. When descriptors or
 * memory run out it tries again a little later: connections that end in the meantime make room. */
static void *accept_clients(void *ctx)
{
    struct http *h = ctx;
    while (connections_wait_for_room(&h->connections)) {
        int fd = listen_accept(&h->listeners);
        if (fd >= 0) {
            greet(h, fd);
        } else if (errno == EINVAL) {
            break;             /* the port was closed */
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_debug("a connection cannot be accepted: %s", strerror(errno));
            nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
        }
    }
    return NULL;
}

/* The threads that answer and the one that accepts, in this order, so that no connection comes before somebody can take
 * it. */
static int start_threads(struct http *h)
{
    const struct http_options *o = &h->opt;
    if (connections_start(&h->connections, o->max_connections, o->idle_timeout, o->read_timeout, o->write_timeout) != 0)
        return -1;
    if (pthread_create(&h->acceptor, NULL, accept_clients, h) == 0)
        return 0;
    connections_stop(&h->connections);
    return -1;
}

/* Opens the port, then starts the reaper and the acceptor. After any failure everything is taken back and NULL
 * returned, with the option at fault in `e` where there is one. What `opt` points to must live until http_stop(). */
struct http *http_start(const struct http_options *opt, struct err *e)
{
    struct http *h = xcalloc(1, sizeof *h);
    h->opt = *opt;
    h->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    h->exchanges.bodies.size = opt->max_body_total;
    h->exchanges.answers = opt->answers;
    h->exchanges.retry_after = opt->retry_after;
    h->exchanges.ctx = opt->ctx;
    h->exchanges.stop_fd = h->stop_fd;
    h->exchanges.connections = &h->connections;
    int rc = h->stop_fd < 0 ? err_set(e, "eventfd: %s", strerror(errno)) : listen_open(&h->listeners, &opt->listen, e);
    if (rc == 0 && start_threads(h) == 0)
        return h;
    if (rc == 0) {
        err_set(e, "there is no thread for the server");
        listen_free(&h->listeners);
    }
    if (h->stop_fd >= 0)
        close(h->stop_fd);
    free(h);
    return NULL;
}

int http_port(const struct http *h) { return listen_port(&h->listeners); }

bool http_name(const struct http *h, int i, char out[LISTEN_NAME])
{
    if (i >= h->listeners.n)
        return false;
    listen_name(&h->listeners, i, h->opt.tls ? "https" : "http", out);
    return true;
}

bool http_is_passed(const struct http *h) { return h->listeners.passed; }

/* Those of all phases, idle ones included. */
int http_connections(struct http *h) { return connections_count(&h->connections, PHASE_IDLE); }
int http_reading(struct http *h)
{
    return connections_count(&h->connections, PHASE_READ) - connections_count(&h->connections, PHASE_WORK);
}
int http_busy(struct http *h) { return connections_count(&h->connections, PHASE_WORK); }

/* Clients whose connection stands already in the kernel, but was not accepted yet, would find it reset when the port is
 * closed. They are accepted first; in a socket that was passed on they wait for the next process. */
void http_close_port(struct http *h)
{
    int fd = -1;
    while (!h->listeners.passed && http_connections(h) < h->opt.max_connections + EXTRA_CONNECTIONS &&
           (fd = listen_accept_now(&h->listeners)) >= 0)
        greet(h, fd);
    listen_close(&h->listeners);
}

/* Makes stop_fd readable and leaves it so: every wait from now on returns EXCHANGE_STOPPED at once. */
void http_wake(struct http *h)
{
    uint64_t one = 1;
    if (write(h->stop_fd, &one, sizeof one) < 0)
        log_warn("cannot wake the connections: %s", strerror(errno));
}

/* First the handlers that wait for events are told, and get up to a second to send their clients an error; then all
 * connections are shut down, and their threads waited for. The engine must still be there, because handlers may be in
 * the middle of a call to it. */
void http_stop(struct http *h)
{
    if (!h)
        return;
    http_wake(h);
    /* Those that were waiting now say so to their clients: a moment for that. */
    for (int i = 0; i < 100 && http_busy(h) > 0; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 }, NULL);
    connections_close_all(&h->connections);
    listen_close(&h->listeners);               /* the acceptor waits for a client, or for room */
    pthread_join(h->acceptor, NULL);
    connections_stop(&h->connections);
    listen_free(&h->listeners);
    close(h->stop_fd);
    free(h);
}
