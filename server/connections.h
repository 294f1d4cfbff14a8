/* server/connections.h - the open connections, what each is doing and since
 * when, and the reaper that shuts down those that take too long.
 *
 * MHD's own timeout counts from the last byte, which a client that sends a byte
 * a second never passes and a request that waits long for its first token
 * wrongly does. So it is off. The reaper looks once in a while and shuts down
 * overdue connections (shutdown(2), under the lock that their closing takes as
 * well, so that the descriptor is still theirs); their threads see that and
 * tidy up. */
#ifndef SERVER_CONNECTIONS_H
#define SERVER_CONNECTIONS_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum phase {
    PHASE_IDLE,                /* waiting for a request                        */
    PHASE_READ,                /* of its head and body                         */
    PHASE_WORK,                /* the handler has it: no limit                 */
    PHASE_WRITE,               /* waiting for the client to take bytes         */
    N_PHASES
};

struct connection {
    int fd;                    /* borrowed                                     */
    _Atomic int phase;
    _Atomic double since;      /* clock_seconds() of its begin or last progress */
    struct connection *next, **link;
};

struct connections {
    double limit[N_PHASES];    /* seconds; 0: none                             */
    pthread_mutex_t lock;      /* of everything below                          */
    pthread_cond_t  stop;
    bool stopping;
    struct connection *first;
    int n;
    pthread_t reaper;
};

int  connections_start(struct connections *all, double idle, double read, double write);   /* -1: no thread */
void connections_stop(struct connections *all);

struct connection *connection_open(struct connections *all, int fd);
void               connection_close(struct connections *all, struct connection *c);   /* before its fd is closed */
void               connection_phase(struct connection *c, enum phase p);

int connections_count(struct connections *all, enum phase least);   /* in this phase or a later one */

#endif
