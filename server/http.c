/* server/http.c - libmicrohttpd: sockets, bodies, timeouts.
 *
 * Threads. Each connection has a thread of its own that blocks in poll().
 * The other way, a pool of epoll threads with suspended connections, was tried
 * beside it (libmicrohttpd 0.9.75, two busy cores; 2,000 idle keep-alive
 * connections, 256 streams of ten frames a second, 64 clients that read a byte
 * a second, and a probe of /health every 20 ms):
 *
 *                                 thread each      epoll pool of 4
 *     open 2,000 connections      0.9 s            1.6 s
 *     gap between frames, p99     106 ms           111 ms      (100 would be ideal)
 *     probe p50 / p99 / worst     0.3/7.3/7.7 ms   0.3/10.6/15.8 ms
 *     resident, 2,000 + 320       100 MB           80 MB
 *     CPU of the 4 s              0.35 s           0.25 s
 *
 * They are equal where it matters, and a thread each needs no suspend and
 * resume, where 0.9.75 has faults; JSON, templates and image decoding can run
 * right in the handler without holding up the other connections of an epoll
 * thread. A connection costs about 10 kB more and a thread.
 */
#include "server/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/connections.h"

enum {
    STACK_BYTES     = 1 << 20,   /* virtual; JSON and templates recurse to bounded depths      */
    HEAD_BYTES      = 32 << 10,  /* request line, headers and read buffer of a connection      */
    DISCARD_BYTES   = 256 << 20, /* of a refused body, read and thrown away before the answer  */
    ANSWER_BYTES    = 256 << 20, /* of a whole answer, or of one piece of a stream             */
    BACKLOG         = 1024,
};

struct http {
    struct http_options opt;
    struct MHD_Daemon  *daemon;
    int                 port, stop_fd;   /* stop_fd: readable once the server stops */
    _Atomic size_t      body_total, answer_total;
    struct connections  connections;
};

/* MHD calls this when a connection was accepted, and before its socket is closed. */
static void on_connection(void *ctx, struct MHD_Connection *mhd, void **slot, enum MHD_ConnectionNotificationCode what)
{
    struct http *h = ctx;
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        *slot = connection_open(&h->connections,
                                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
    else if (*slot)
        connection_close(&h->connections, *slot);
}

static void *on_request_line(void *ctx, const char *uri, struct MHD_Connection *mhd)
{
    (void)ctx, (void)uri;
    connection_phase(MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context, PHASE_READ);
    return NULL;
}

/* ---- the request ---- */

/* What the client sent, if it is harmless in a header and in a log; else 32 random digits. */
static void choose_request_id(struct exchange *x)
{
    const char *given = exchange_header(x, "X-Request-Id");
    size_t      n = given ? strlen(given) : 0;
    if (n > 0 && n < sizeof x->request_id &&
        strspn(given, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/=+@") == n) {
        memcpy(x->request_id, given, n + 1);
        return;
    }
    unsigned char r[16] = { 0 };
    if (getrandom(r, sizeof r, 0) < 0)
        snprintf((char *)r, sizeof r, "%p", (void *)x);
    for (int i = 0; i < 16; i++)
        snprintf(x->request_id + 2 * i, 3, "%02x", r[i]);
}

/* A request may name the whole URL, as to a proxy (RFC 9112, 3.2.2). */
static const char *path_of(const char *target)
{
    size_t scheme = strncasecmp(target, "http://", 7) == 0 ? 7 : strncasecmp(target, "https://", 8) == 0 ? 8 : 0;
    const char *path = scheme ? strchr(target + scheme, '/') : target;
    return path ? path : "/";
}

static struct exchange *exchange_new(struct http *h, struct MHD_Connection *mhd, const char *method, const char *path)
{
    struct connection *c = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    struct exchange   *x = c ? calloc(1, sizeof *x) : NULL;
    if (!x)
        return NULL;
    x->http = h;
    x->mhd = mhd;
    x->conn = c;
    x->method = method;
    x->path = path_of(path);
    x->started = clock_seconds();
    x->content_type = "application/json";
    buf_init(&x->reply, ANSWER_BYTES);
    buf_init(&x->pending, ANSWER_BYTES);
    choose_request_id(x);
    return x;
}

static void exchange_free(struct exchange *x)
{
    if (x->stream.free)
        x->stream.free(x->stream.state);
    exchange_drop_body(x);
    buf_free(&x->reply);
    buf_free(&x->pending);
    atomic_fetch_sub(&x->http->answer_total, x->answer_held);
    free(x);
}

void exchange_drop_body(struct exchange *x)
{
    free(x->body);
    x->body = NULL;
    x->n_body = x->cap_body = 0;
    atomic_fetch_sub(&x->http->body_total, x->reserved);
    x->reserved = 0;
}

/* Answers without having read the body: what still comes is thrown away. */
static void refuse(struct exchange *x, int status, const char *code, const char *text)
{
    exchange_drop_body(x);
    x->refused = true;
    x->status = status;
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
    struct http *h = x->http;
    if (n > x->max_body) {
        refuse(x, 413, "request_too_large", "the request body is too large");
        return;
    }
    size_t more = n - x->reserved;
    if (atomic_fetch_add(&h->body_total, more) + more > h->opt.max_body_total) {
        atomic_fetch_sub(&h->body_total, more);
        refuse(x, 503, "overloaded", "too many request bodies are being read");
        exchange_add_header(x, "Retry-After", "1");
        return;
    }
    x->reserved = n;
    char *body = realloc(x->body, n + 1);
    if (!body) {
        refuse(x, 503, "out_of_memory", "there is no memory for the request body");
        return;
    }
    x->body = body;
    x->cap_body = n;
}

static void add_body(struct exchange *x, const char *data, size_t n)
{
    if (!x->refused && x->n_body + n > x->cap_body) {
        size_t need = x->n_body + n, most = x->length ? x->length : x->max_body;
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

const char *exchange_header(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, name);
}

/* ---- the answer ---- */

void exchange_add_header(struct exchange *x, const char *name, const char *fmt, ...)
{
    if (x->n_headers == EXCHANGE_MAX_HEADERS)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(x->header[x->n_headers].value, sizeof x->header->value, fmt, ap);
    va_end(ap);
    x->header[x->n_headers++].name = name;
}

enum wait_result exchange_wait(struct exchange *x, int fd, double seconds)
{
    struct pollfd p[3] = {
        { .fd = fd, .events = POLLIN },
        { .fd = x->conn->fd, .events = POLLRDHUP },
        { .fd = x->http->stop_fd, .events = POLLIN },
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

/* MHD asks for bytes of a stream: `pending` first, then a new piece. */
static ssize_t on_more(void *ctx, uint64_t pos, char *out, size_t max)
{
    (void)pos;
    struct exchange *x = ctx;
    if (x->sent == x->pending.len) {
        if (x->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        buf_clear(&x->pending);
        x->sent = 0;
        connection_phase(x->conn, PHASE_WORK);
        int rc = x->stream.more(x->stream.state, &x->pending);
        if (rc < 0 || !buf_ok(&x->pending) || x->broken) {
            x->broken = true;
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        x->ended = rc == 0;
        if (x->pending.len == 0)
            return MHD_CONTENT_READER_END_OF_STREAM;
    }
    connection_phase(x->conn, PHASE_WRITE);
    size_t n = x->pending.len - x->sent < max ? x->pending.len - x->sent : max;
    memcpy(out, x->pending.data + x->sent, n);
    x->sent += n;
    return (ssize_t)n;
}

/* An answer stays here until its client has taken it, however slowly. */
static void reserve_answer(struct exchange *x)
{
    struct http *h = x->http;
    size_t       n = x->reply.len;
    exchange_drop_body(x);
    if (atomic_fetch_add(&h->answer_total, n) + n <= h->opt.max_body_total) {
        x->answer_held = n;
        return;
    }
    atomic_fetch_sub(&h->answer_total, n);
    buf_free(&x->reply);
    refuse(x, 503, "overloaded", "too many answers are waiting for their clients");
    exchange_add_header(x, "Retry-After", "1");
}

static enum MHD_Result queue_answer(struct exchange *x)
{
    if (x->broken || x->status == 0 || !buf_ok(&x->reply))
        return MHD_NO;
    struct MHD_Response *r =
        x->stream.more ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HEAD_BYTES, on_more, x, NULL)
                       : MHD_create_response_from_buffer(x->reply.len, x->reply.data, MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    bool whole = MHD_add_response_header(r, "X-Request-Id", x->request_id) == MHD_YES;
    if (x->stream.more || x->reply.len > 0)
        whole &= MHD_add_response_header(r, "Content-Type", x->content_type) == MHD_YES;
    if (x->last)
        whole &= MHD_add_response_header(r, "Connection", "close") == MHD_YES;
    for (int i = 0; i < x->n_headers; i++)
        whole &= MHD_add_response_header(r, x->header[i].name, x->header[i].value) == MHD_YES;
    connection_phase(x->conn, PHASE_WRITE);
    x->queued = true;
    enum MHD_Result rc = whole ? MHD_queue_response(x->mhd, (unsigned)x->status, r) : MHD_NO;    /* no memory for a header */
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result count_header(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind, (void)value;
    int *n = ctx;
    n[0] += strcasecmp(name, "Content-Length") == 0;
    n[1] += strcasecmp(name, "Transfer-Encoding") == 0;
    return MHD_YES;
}

/* Is it clear where the body ends? Who stands in front of us may read two
 * answers to that the other way round, and take the rest for a request. */
static bool framing_is_clear(struct exchange *x)
{
    int n[2] = { 0 };
    MHD_get_connection_values(x->mhd, MHD_HEADER_KIND, count_header, n);
    return n[0] + n[1] == 0 || (n[0] + n[1] == 1 && (n[0] || strcasecmp(exchange_header(x, "Transfer-Encoding"), "chunked") == 0));
}

bool exchange_is_extra(struct exchange *x) { return connection_is_extra(&x->http->connections, x->conn); }

/* The head has been read. A refused body is read to its end all the same, so
 * that the client gets to see the answer instead of a reset connection - but
 * not when it asked first (Expect: 100-continue) or when it is endless. */
static enum MHD_Result begin(struct exchange *x)
{
    struct http *h = x->http;
    x->max_body = h->opt.begin(h->opt.ctx, x);
    const char *length = exchange_header(x, "Content-Length");
    unsigned long long n = length ? strtoull(length, NULL, 10) : 0;
    if (exchange_is_extra(x))
        x->last = true;
    if (!framing_is_clear(x)) {
        refuse(x, 400, "invalid_framing", "the request needs one Content-Length, or Transfer-Encoding: chunked");
        x->last = true;
        return queue_answer(x);
    }
    if (x->status != 0)
        x->refused = true;
    else if (n > x->max_body)
        refuse(x, 413, "request_too_large", "the request body is too large");
    x->length = (size_t)n;
    bool asks = exchange_header(x, "Expect") != NULL;
    return x->refused && n > 0 && (asks || n > DISCARD_BYTES) ? queue_answer(x) : MHD_YES;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *mhd, const char *path, const char *method,
                                  const char *version, const char *data, size_t *n_data, void **slot)
{
    (void)version;
    struct exchange *x = *slot;
    if (!x) {
        *slot = x = exchange_new(ctx, mhd, method, path);
        return x ? begin(x) : MHD_NO;
    }
    if (*n_data > 0) {
        add_body(x, data, *n_data);
        *n_data = 0;
        return x->refused && x->n_body > DISCARD_BYTES ? MHD_NO : MHD_YES;
    }
    if (x->queued)
        return MHD_YES;
    connection_phase(x->conn, PHASE_WORK);
    if (!x->refused)
        x->http->opt.handle(x->http->opt.ctx, x);
    reserve_answer(x);
    return queue_answer(x);
}

static void on_completed(void *ctx, struct MHD_Connection *mhd, void **slot, enum MHD_RequestTerminationCode why)
{
    (void)mhd;
    struct http     *h = ctx;
    struct exchange *x = *slot;
    if (!x)
        return;
    if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        x->broken = true;
    h->opt.done(h->opt.ctx, x);
    connection_phase(x->conn, PHASE_IDLE);
    exchange_free(x);
    *slot = NULL;
}

/* ---- the server ---- */

static int listen_on(const char *host, int port, int *bound, struct err *e)
{
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list;
    if (!*host)
        return err_field(e, "host", "option host is empty; 0.0.0.0 is everywhere");
    size_t length = strlen(host);
    char address[64];
    if (*host == '[' && host[length - 1] == ']' && length <= sizeof address)      /* as in a URL */
        host = memcpy(address, host + 1, length - 2), address[length - 2] = 0;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0)
        return err_field(e, "host", "cannot listen on %s: %s", host, gai_strerror(rc));
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0) {
        err_field(e, "port", "cannot listen on %s port %d: %s", host, port, strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    } else if (getnameinfo((struct sockaddr *)&at, n, NULL, 0, service, sizeof service, NI_NUMERICSERV) == 0) {
        *bound = atoi(service);
    }
    freeaddrinfo(list);
    return fd;
}

__attribute__((format(printf, 2, 0))) static void on_log(void *ctx, const char *fmt, va_list ap)
{
    (void)ctx;
    char line[256];
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = '\0';
    log_debug("http: %s", line);
}

static struct MHD_Daemon *start_daemon(struct http *h, int fd)
{
    return MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)h->opt.max_connections + EXTRA_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_BYTES, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, h,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_END);
}

struct http *http_start(const struct http_options *opt, struct err *e)
{
    struct http *h = xcalloc(1, sizeof *h);
    h->opt = *opt;
    h->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int fd = h->stop_fd < 0 ? err_set(e, "eventfd: %s", strerror(errno)) : listen_on(opt->host, opt->port, &h->port, e);
    if (fd >= 0 && connections_start(&h->connections, opt->max_connections, opt->idle_timeout, opt->read_timeout, opt->write_timeout) != 0) {
        err_set(e, "there is no thread for the server");
    } else if (fd >= 0) {
        h->daemon = start_daemon(h, fd);
        if (h->daemon)
            return h;
        err_set(e, "libmicrohttpd did not start: %s", strerror(errno));
        connections_stop(&h->connections);
    }
    if (fd >= 0)
        close(fd);
    if (h->stop_fd >= 0)
        close(h->stop_fd);
    free(h);
    return NULL;
}

int http_port(const struct http *h) { return h->port; }

int http_connections(struct http *h) { return connections_count(&h->connections, PHASE_IDLE); }
int http_busy(struct http *h) { return connections_count(&h->connections, PHASE_WORK); }

void http_wake(struct http *h)
{
    uint64_t one = 1;
    if (write(h->stop_fd, &one, sizeof one) < 0)
        log_warn("cannot wake the connections: %s", strerror(errno));
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    http_wake(h);
    /* Those that were waiting now say so to their clients: a moment for that. */
    for (int i = 0; i < 100 && http_busy(h) > 0; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 }, NULL);
    MHD_stop_daemon(h->daemon);
    connections_stop(&h->connections);
    close(h->stop_fd);
    free(h);
}
