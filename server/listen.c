/* server/listen.c - makes the sockets that clients connect to, accepts clients, and words the errors that a person can
 * do something about. See listen.h. */
#include "server/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

enum { BACKLOG = 1024 };

/* ---- a port ---- */

/* The first address that the name resolves to is the one that is used. SO_REUSEADDR lets a server that is restarted
 * take its port back at once, although connections of its predecessor still linger. */
static int open_port(const char *host, int port, struct err *e)
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
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        err_field(e, "port", "cannot listen on %s port %d: %s", host, port, strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    return fd;
}

/* ---- a Unix socket ---- */

/* "0660" as a number; -1: it is none. */
static int mode_of(const char *text)
{
    size_t n = strspn(text, "01234567");
    long mode = n > 0 && n < 6 && !text[n] ? strtol(text, NULL, 8) : -1;
    return mode > 0777 ? -1 : (int)mode;
}

/* Does a process answer at this socket? One that is left over from a process that has gone refuses. */
static bool is_alive(const struct sockaddr_un *at)
{
    int  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return !refused;
}

/* Takes a left-over socket out of the way. What is no socket, or has a process behind it, stays: then bind() says
 * that the name is taken. */
static void remove_stale(const struct sockaddr_un *at)
{
    struct stat st;
    if (lstat(at->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && !is_alive(at))
        unlink(at->sun_path);
}

/* Nobody may connect before the permissions are right: the socket is made with none at all, and listens last. The mask
 * is the whole process's; nothing else makes files yet. */
static int bind_path(int fd, const struct sockaddr_un *at, int mode)
{
    mode_t old = umask(0777);
    int    rc = bind(fd, (const struct sockaddr *)at, sizeof *at);
    umask(old);
    if (rc != 0)
        return -1;
    if (chmod(at->sun_path, (mode_t)mode) == 0 && listen(fd, BACKLOG) == 0)
        return 0;
    unlink(at->sun_path);
    return -1;
}

/* Listens on a Unix socket with the mode of the option. A socket that a dead server has left is removed first. Its
 * device and inode are kept, so that only this socket is removed at the end, and not one that another server has put
 * there. */
static int open_path(struct listeners *l, const struct listen_options *opt, struct err *e)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct stat st;
    int mode = mode_of(opt->mode);
    if (mode < 0)
        return err_field(e, "uds-mode", "option uds-mode: \"%.20s\" is no mode; one is 0600, 0660 or 0666", opt->mode);
    if (strlen(opt->path) >= sizeof at.sun_path)
        return err_field(e, "uds", "option uds: a path of a socket has at most %zu bytes", sizeof at.sun_path - 1);
    strcpy(at.sun_path, opt->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    remove_stale(&at);
    if (fd < 0 || bind_path(fd, &at, mode) != 0 || lstat(at.sun_path, &st) != 0) {
        err_field(e, "uds", "cannot listen on %s: %s", opt->path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    l->path = xstrdup(opt->path);
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    return fd;
}

/* Another process may have taken the name over meanwhile. */
static void remove_path(struct listeners *l)
{
    struct stat st;
    if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    free(l->path);
    l->path = NULL;
}

/* ---- sockets that were passed on ---- */

/* Takes over the sockets that were passed on. Each is looked at, because a number that somebody passes on need not be a
 * socket that listens. */
static int take_passed(struct listeners *l, const struct listen_options *opt, struct err *e)
{
    if (opt->n_passed > LISTEN_MOST)
        return err_set(e, "%d sockets were passed on; at most %d can be", opt->n_passed, LISTEN_MOST);
    for (int i = 0; i < opt->n_passed; i++) {
        int listens = 0, type = 0, flags = fcntl(opt->passed[i], F_GETFL);
        socklen_t n = sizeof listens, m = sizeof type;
        if (getsockopt(opt->passed[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) != 0 || !listens ||
            getsockopt(opt->passed[i], SOL_SOCKET, SO_TYPE, &type, &m) != 0 || type != SOCK_STREAM)
            return err_set(e, "the descriptor %d that was passed on is no stream socket that listens", opt->passed[i]);
        fcntl(opt->passed[i], F_SETFL, flags | O_NONBLOCK);
        l->fd[l->n++] = opt->passed[i];
    }
    l->passed = true;
    return 0;
}

/* ---- all of them ---- */

/* Opens what clients connect to: sockets that were passed on, a path, or a port. The eventfd wakes listen_accept() when
 * the server stops. After -1 nothing stays open. */
int listen_open(struct listeners *l, const struct listen_options *opt, struct err *e)
{
    *l = (struct listeners){ .closed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    if (l->closed_fd < 0)
        return err_set(e, "eventfd: %s", strerror(errno));
    int rc = 0;
    if (opt->n_passed > 0) {
        rc = take_passed(l, opt, e);
    } else {
        l->fd[0] = *opt->path ? open_path(l, opt, e) : open_port(opt->host, opt->port, e);
        l->n = l->fd[0] >= 0;
        rc = l->n > 0 ? 0 : -1;
    }
    if (rc != 0)
        listen_free(l);
    return rc;
}

/* Looks at each socket once, beginning with the one behind the last that had a client. */
int listen_accept_now(struct listeners *l)
{
    int fd = -1, first = atomic_load(&l->next);
    errno = EAGAIN;
    for (int i = 0; i < l->n && fd < 0 && (errno == EAGAIN || errno == ECONNABORTED); i++) {
        int at = (first + i) % l->n;
        fd = accept4(l->fd[at], NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            atomic_store(&l->next, (at + 1) % l->n);
    }
    return fd;
}

/* Several processes may wait at a socket that was passed on: another one may be faster than this. */
int listen_accept(struct listeners *l)
{
    struct pollfd p[LISTEN_MOST + 1] = { { .fd = l->closed_fd, .events = POLLIN } };
    for (int i = 0; i < l->n; i++)
        p[i + 1] = (struct pollfd){ .fd = l->fd[i], .events = POLLIN };
    if (poll(p, (nfds_t)l->n + 1, -1) < 0)
        return -1;
    if (p[0].revents) {
        errno = EINVAL;
        return -1;
    }
    return listen_accept_now(l);
}

/* The descriptors stay open until the thread that accepts has ended. */
void listen_close(struct listeners *l)
{
    uint64_t one = 1;
    bool     told = write(l->closed_fd, &one, sizeof one) == sizeof one;
    for (int i = 0; i < l->n && !l->passed; i++)
        shutdown(l->fd[i], SHUT_RDWR);
    if (told)
        remove_path(l);
}

void listen_free(struct listeners *l)
{
    remove_path(l);
    for (int i = 0; i < l->n; i++)
        close(l->fd[i]);
    close(l->closed_fd);
    l->n = 0;
}

int listen_port(const struct listeners *l)
{
    for (int i = 0; i < l->n; i++) {
        struct sockaddr_storage at;
        socklen_t n = sizeof at;
        char service[16];
        if (getsockname(l->fd[i], (struct sockaddr *)&at, &n) == 0 && at.ss_family != AF_UNIX &&
            getnameinfo((struct sockaddr *)&at, n, NULL, 0, service, sizeof service, NI_NUMERICSERV) == 0)
            return atoi(service);
    }
    return 0;
}

/* An IPv6 address is written in brackets, as a URL wants it; of a Unix socket the name may not end in a NUL. */
void listen_name(const struct listeners *l, int i, const char *scheme, char out[LISTEN_NAME])
{
    struct sockaddr_storage at = { 0 };
    socklen_t n = sizeof at;
    char host[128] = "?", service[16] = "?";
    getsockname(l->fd[i], (struct sockaddr *)&at, &n);
    if (at.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)&at;
        snprintf(out, LISTEN_NAME, "unix:%.*s", (int)sizeof un->sun_path, un->sun_path);
        return;
    }
    getnameinfo((struct sockaddr *)&at, n, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, LISTEN_NAME, strchr(host, ':') ? "%s://[%s]:%s" : "%s://%s:%s", scheme, host, service);
}
