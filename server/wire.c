/* server/wire.c - bytes of a connection; see wire.h. */
#include "server/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    RECORD_BYTES   = 16 << 10, /* most that a record of TLS holds                            */
    LINGER_SECONDS = 5,        /* how long a client that still sends may take to see its answer */
};

/* ---- reading ---- */

void wire_wait(struct connection *c)
{
    if (!c->tls || !tls_pending(c->tls))
        poll(&(struct pollfd){ .fd = c->fd, .events = POLLIN }, 1, -1);
}

ssize_t wire_read(struct connection *c, void *out, size_t n)
{
    ssize_t got;
    if (c->tls)
        return tls_read(c->tls, out, n);
    do
        got = recv(c->fd, out, n, 0);
    while (got < 0 && errno == EINTR);
    return got;
}

/* ---- writing ---- */

/* Takes k bytes from the beginning of *n pieces. */
static void advance(struct iovec **v, size_t *n, size_t k)
{
    for (; *n > 0 && k >= (*v)->iov_len; ++*v, --*n)
        k -= (*v)->iov_len;
    if (*n > 0 && k > 0) {
        (*v)->iov_base = (char *)(*v)->iov_base + k;
        (*v)->iov_len -= k;
    }
}

/* Some bytes of the pieces; 0: none for the moment. */
static ssize_t send_some(struct connection *c, struct iovec *v, size_t n)
{
    struct msghdr m = { .msg_iov = v, .msg_iovlen = n };
    ssize_t       k = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (k < 0 && errno == EAGAIN)
        poll(&(struct pollfd){ .fd = c->fd, .events = POLLOUT }, 1, -1);
    return k < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : k;
}

/* The same as one record, so that small pieces do not become a record each. A large piece goes out from where it
 * lies. */
static ssize_t seal_some(struct connection *c, const struct iovec *v, size_t n)
{
    char   record[RECORD_BYTES];
    size_t len = 0;
    if (v->iov_len >= sizeof record)
        return tls_write(c->tls, v->iov_base, v->iov_len);
    for (size_t i = 0; i < n && len < sizeof record; i++) {
        size_t more = v[i].iov_len < sizeof record - len ? v[i].iov_len : sizeof record - len;
        memcpy(record + len, v[i].iov_base, more);
        len += more;
    }
    return tls_write(c->tls, record, len);
}

/* Every byte that was taken begins the client's time anew. */
int wire_write(struct connection *c, struct iovec *v, size_t n)
{
    advance(&v, &n, 0);
    while (n > 0) {
        ssize_t k = c->tls ? seal_some(c, v, n) : send_some(c, v, n);
        if (k < 0)
            return -1;
        if (k > 0)
            connection_phase(c, PHASE_WRITE);
        advance(&v, &n, (size_t)k);
    }
    return 0;
}

int wire_text(struct connection *c, const char *text)
{
    struct iovec v = { (char *)text, strlen(text) };
    return wire_write(c, &v, 1);
}

/* Through TLS it could not be done without memory and without waiting; then the connection just ends. */
void wire_no_memory(struct connection *c)
{
    static const char body[] = "{\"error\":{\"message\":\"there is no memory for the request\","
                               "\"type\":\"server_error\",\"param\":null,\"code\":\"out_of_memory\"}}";
    char answer[512];
    int  n = snprintf(answer, sizeof answer, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                      "Content-Length: %zu\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s", sizeof body - 1, body);
    if (!c->tls && send(c->fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_debug("a client could not be told that there is no memory: %s", strerror(errno));
}

/* ---- beginning and end ---- */

/* Does the client come from this machine through a file, which nobody else can listen at? */
static bool is_local(const struct connection *c)
{
    int       domain = AF_UNSPEC;
    socklen_t n = sizeof domain;
    return getsockopt(c->fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_UNIX;
}

bool wire_begin(struct connection *c, struct tls *tls, bool *unread)
{
    static const char body[] = "{\"error\":{\"message\":\"this port speaks HTTPS: begin the URL with https://\","
                               "\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"https_needed\"}}";
    bool plain;
    if (!tls || is_local(c))
        return true;
    connection_handshake(c);
    c->tls = tls_accept(tls, c->fd, &plain);
    connection_phase(c, PHASE_IDLE);
    *unread = plain;
    if (plain) {
        char answer[400];
        snprintf(answer, sizeof answer, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
                 "Content-Length: %zu\r\nConnection: close\r\n\r\n%s", sizeof body - 1, body);
        wire_text(c, answer);
    }
    return c->tls;
}

/* A client would see a reset connection instead of its answer if this end were just closed while bytes of the client
 * are unread. */
static void throw_away(struct connection *c)
{
    char   waste[4096];
    double until = clock_seconds() + LINGER_SECONDS;
    shutdown(c->fd, SHUT_WR);
    connection_phase(c, PHASE_READ);
    for (;;) {
        double left = until - clock_seconds();
        if (left <= 0 || poll(&(struct pollfd){ .fd = c->fd, .events = POLLIN }, 1, (int)(left * 1e3) + 1) <= 0 ||
            recv(c->fd, waste, sizeof waste, MSG_DONTWAIT) <= 0)
            return;
    }
}

void wire_end(struct connection *c, bool unread)
{
    char byte;
    if (c->tls) {
        connection_phase(c, PHASE_WRITE);
        tls_goodbye(c->tls);
    }
    if (unread || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        throw_away(c);
    tls_free(c->tls);
    c->tls = NULL;
}
