/* server/listen.c - makes the socket that clients connect to, and words the errors that a person can do something
 * about. */
#include "server/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

/* The first address that the name resolves to is the one that is used. SO_REUSEADDR lets a server that is restarted
 * take its port back at once, although connections of its predecessor still linger. */
int listen_on(const char *host, int port, int *bound, struct err *e)
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
