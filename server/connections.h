/* server/connections.h - the open connections, what each is doing and since
 * when, and the reaper that shuts down those that take too long.
 *
 * A limit for each phase, and not for the time since the last byte: a client
 * that sends a byte a second never passes that, and a request that waits long
 * for its first token wrongly does. The reaper looks once in a while and shuts down
 * overdue connections (shutdown(2), under the lock that their closing takes as
 * well, so that the descriptor is still theirs); their threads see that and
 * tidy up. A client that is being written to is overdue when it has taken
 * nothing for that long, however much of its answer is still to come.
 *
 * Beyond `max` connections there is room for a few more: they hear that there
 * are too many, and /health still answers. Until there is room again, those
 * that wait for their client are given CROWDED_SECONDS, no more.
 *
 * Of all connections a quarter (at least sixteen) may be in a handshake of
 * TLS. If there are more, the oldest handshake is given up: who begins one and
 * does not go on keeps nobody out. */
#ifndef SERVER_CONNECTIONS_H
#define SERVER_CONNECTIONS_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { EXTRA_CONNECTIONS = 64, CROWDED_SECONDS = 5, HANDSHAKE_SECONDS = 10 };

enum phase {
    PHASE_IDLE,                /* waiting for a request                        */
    PHASE_HANDSHAKE,           /* TLS is being agreed on                       */
    PHASE_READ,                /* its head and body are arriving               */
    PHASE_WORK,                /* the handler has it: no limit                 */
    PHASE_WRITE,               /* waiting for the client to take bytes         */
    N_PHASES
};

struct tls_session;

struct connection {            /* freed by its thread */
    int fd;                    /* owned                                        */
    struct tls_session *tls;   /* owned by its thread; NULL: it speaks plainly */
    struct connections *all;   /* borrowed                                     */
    void (*serve)(void *ctx, struct connection *c);      /* what its thread does */
    void *ctx;                 /* borrowed: serve's                            */
    _Atomic int phase;         /* enum phase; written by its own thread        */
    _Atomic double since;      /* clock_seconds() of its begin or last progress */
    uint64_t acked;            /* bytes that its side had taken at the reaper's last look, or that waited for it */
    bool given_up;             /* its handshake was shut down for a younger one; its thread will notice */
    bool extra;                /* there were more than `max` when it came, and still when it last asked */
    struct connection *next;   /* in the list of all                           */
    struct connection **link;  /* the pointer that leads here                  */
};

struct connections {
    double limit[N_PHASES];    /* seconds; 0: none                             */
    pthread_mutex_t lock;      /* guards everything below                      */
    pthread_cond_t  reap;      /* the reaper shall look again                  */
    pthread_cond_t  fewer;     /* a connection has ended, or all are to end    */
    bool stopping;             /* no more are taken                            */
    struct connection *first;  /* the list of all open connections             */
    int n, max;                /* how many there are, and may be without extra ones */
    pthread_t reaper;          /* looks once in a while; joined at the end     */
};

int  connections_start(struct connections *all, int max, double idle, double read, double write);   /* -1: no thread */
void connections_close_all(struct connections *all);     /* takes no more, shuts down those that there are */
void connections_stop(struct connections *all);          /* does that, and waits for their threads         */

/* Waits until another connection may be accepted; false: they are being closed. */
bool connections_wait_for_room(struct connections *all);

/* Owns the socket `fd` from now on and calls `serve` on a thread of its own; what serve returns from is closed.
 * -1: there is no memory or no thread for it, or all are being closed; the descriptor stays the caller's. */
int  connection_start(struct connections *all, int fd, void (*serve)(void *ctx, struct connection *c), void *ctx);
void connection_phase(struct connection *c, enum phase p);
void connection_handshake(struct connection *c);     /* PHASE_HANDSHAKE; the oldest one may have to go for it */
bool connection_is_extra(struct connections *all, struct connection *c);

int connections_count(struct connections *all, enum phase least);   /* in this phase or a later one */

#endif
