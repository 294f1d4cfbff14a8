/* server/listen.h - the sockets that clients connect to: a port, or a Unix socket, or those that whoever has started
 * the process passes on (systemd's socket activation).
 *
 * One thread accepts; any thread may close. A socket that was passed on belongs to who has passed it: it is left alone
 * but for being closed, so that clients that come meanwhile wait in it for the next process. The file of a Unix socket
 * is ours: it is removed in the end, and at the beginning if it is left over from a process that has gone. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

enum { LISTEN_MOST = 8, LISTEN_NAME = 192 };

struct listen_options {
    const char *host;          /* borrowed: a name, or an address; IPv6 also in brackets as in a URL          */
    int         port;          /* 0: any free one                                                             */
    const char *path;          /* borrowed: of a Unix socket, in the place of host and port; "": none         */
    const char *mode;          /* borrowed: its permissions in octal digits                                   */
    const int  *passed;        /* borrowed (n_passed): sockets that listen already, in the place of all these */
    int         n_passed;
};

struct listeners {
    int   fd[LISTEN_MOST];     /* owned (n), not blocking                                          */
    int   n;
    _Atomic int next;          /* which one is asked first, so that each has its turn              */
    bool  passed;              /* they are not ours to end                                         */
    int   closed_fd;           /* owned eventfd: readable once nobody is accepted any more          */
    char *path;                /* owned: the file of our Unix socket; NULL: there is none           */
    dev_t dev;                 /* which file that is: another process may have put its own there    */
    ino_t ino;
};

/* -1: nobody listens, and e->field is the option at fault. */
int  listen_open(struct listeners *l, const struct listen_options *opt, struct err *e);

/* Waits for a client. -1 with errno: EINVAL once they are closed; else it may be tried again. */
int  listen_accept(struct listeners *l);
int  listen_accept_now(struct listeners *l);         /* without waiting: EAGAIN where nobody is there */

void listen_close(struct listeners *l);              /* new clients are refused; may be called again       */
void listen_free(struct listeners *l);               /* when no thread accepts any more                    */

int  listen_port(const struct listeners *l);         /* the first that there is; 0: there is none          */
/* "http://127.0.0.1:8000" or "unix:/run/x", for people. */
void listen_name(const struct listeners *l, int i, const char *scheme, char out[LISTEN_NAME]);

#endif
