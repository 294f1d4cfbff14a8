/* cli/service.c - systemd's two protocols, as its manual describes them. See service.h. */
#include "cli/service.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

enum { FIRST_PASSED = 3, PASSED_MOST = 1000 };

/* A whole number of the environment; -1: it is not there, or none. */
static long number(const char *name)
{
    const char *text = getenv(name);
    char *end;
    long  n = text && *text ? strtol(text, &end, 10) : -1;
    return text && *text && !*end ? n : -1;
}

/* The sockets that systemd has opened for this process, from file 3 on. Returns how many; `out` gets the first `most`.
 * The variables are removed, so that no program started from here takes the sockets for its own. */
int service_sockets(int *out, int most)
{
    long n = number("LISTEN_PID") == (long)getpid() ? number("LISTEN_FDS") : 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (n < 0 || n > PASSED_MOST)
        n = 0;
    for (int i = 0; i < n; i++) {
        fcntl(FIRST_PASSED + i, F_SETFD, FD_CLOEXEC);
        if (i < most)
            out[i] = FIRST_PASSED + i;
    }
    return (int)n;
}

/* An address that begins with @ has no file: its first byte is a NUL. */
void service_tell(const char *lines)
{
    const char *where = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t n = where ? strlen(where) : 0;
    if (n < 2 || n >= sizeof to.sun_path || !strchr("/@", *where))
        return;
    memcpy(to.sun_path, where, n);
    if (*where == '@')
        *to.sun_path = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, lines, strlen(lines), MSG_NOSIGNAL, (struct sockaddr *)&to,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        log_debug("the service manager could not be told: %.20s", lines);
    if (fd >= 0)
        close(fd);
}

/* systemd wants the time with the word, so that it can tell this reload from an earlier one. */
void service_tell_reloading(void)
{
    struct timespec now;
    char lines[80];
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(lines, sizeof lines, "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    service_tell(lines);
}
