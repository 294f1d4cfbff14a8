/* server/connections.c - a list of connections under one lock, a detached thread for each, and the reaper. Which
 * thread may do what, and why limits belong to phases, stands in connections.h. */
#include "server/connections.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { STACK_BYTES = 1 << 20 };        /* virtual; JSON and templates recurse to bounded depths */

/* The time is written before the phase: the reaper, which reads them without a lock in the other order, may then see a
 * new time with the old phase (harmless: it waits longer) but never an old time with a new, shorter limit. */
void connection_phase(struct connection *c, enum phase p)
{
    atomic_store(&c->since, clock_seconds());
    atomic_store(&c->phase, p);
}

/* Puts a connection at the front of the list and decides whether it is one too many. The caller holds the lock. */
static void add(struct connections *all, struct connection *c)
{
    c->next = all->first;
    c->link = &all->first;
    if (c->next)
        c->next->link = &c->next;
    all->first = c;
    all->n++;
    c->extra = all->n > all->max;
}

/* Takes a connection out of the list without searching for it: `link` is the pointer that leads to it. The caller
 * holds the lock. */
static void take_out(struct connections *all, struct connection *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    all->n--;
}

/* The life of a connection's thread. Its descriptor is closed under the lock: nobody may shut down
 * one of the same number that somebody else has opened meanwhile. */
static void *run(void *arg)
{
    struct connection  *c = arg;
    struct connections *all = c->all;
    c->serve(c->ctx, c);
    pthread_mutex_lock(&all->lock);
    take_out(all, c);
    close(c->fd);
    pthread_cond_broadcast(&all->fewer);
    pthread_mutex_unlock(&all->lock);
    free(c);
    return NULL;
}

/* A thread that nobody joins: what it leaves is counted down in run(). */
static int start_thread(struct connection *c)
{
    pthread_attr_t attr;
    pthread_t      thread;
    if (pthread_attr_init(&attr) != 0)
        return -1;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, run, c);
    pthread_attr_destroy(&attr);
    return rc == 0 ? 0 : -1;
}

/* Enters the connection into the list before its thread runs, so that connections_close_all() finds it however early
 * it comes. If no thread can be made the entry is taken out again, and the descriptor stays the caller's to close. */
int connection_start(struct connections *all, int fd, void (*serve)(void *ctx, struct connection *c), void *ctx)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return -1;
    c->fd = fd;
    c->all = all;
    c->serve = serve;
    c->ctx = ctx;
    connection_phase(c, PHASE_IDLE);
    pthread_mutex_lock(&all->lock);
    bool stopping = all->stopping;
    if (!stopping)
        add(all, c);
    pthread_mutex_unlock(&all->lock);
    if (!stopping && start_thread(c) == 0)
        return 0;
    pthread_mutex_lock(&all->lock);
    if (!stopping)
        take_out(all, c);
    pthread_mutex_unlock(&all->lock);
    free(c);
    return -1;
}

/* The acceptor waits here while all connections, including the few extra ones, are taken; new clients stay in the
 * kernel's backlog meanwhile. */
bool connections_wait_for_room(struct connections *all)
{
    pthread_mutex_lock(&all->lock);
    while (all->n >= all->max + EXTRA_CONNECTIONS && !all->stopping)
        pthread_cond_wait(&all->fewer, &all->lock);
    bool room = !all->stopping;
    pthread_mutex_unlock(&all->lock);
    return room;
}

/* Asked once for every request. A connection that came as one too many becomes an ordinary one as soon as others have
 * ended, and stays that. */
bool connection_is_extra(struct connections *all, struct connection *c)
{
    pthread_mutex_lock(&all->lock);
    bool extra = c->extra = c->extra && all->n > all->max;
    pthread_mutex_unlock(&all->lock);
    return extra;
}

/* Phases are ordered: everybody who is at least that far, so PHASE_IDLE counts all. */
int connections_count(struct connections *all, enum phase least)
{
    int n = 0;
    pthread_mutex_lock(&all->lock);
    for (struct connection *c = all->first; c; c = c->next)
        n += atomic_load(&c->phase) >= (int)least;
    pthread_mutex_unlock(&all->lock);
    return n;
}

/* Seconds that this phase may last; 0: for ever. While there are too many connections, those that wait for their
 * client (idle, in a handshake, or reading) get CROWDED_SECONDS at most, so that room comes back. The caller holds the
 * lock. */
static double limit_of(const struct connections *all, int phase)
{
    double limit = all->limit[phase];
    bool   waits = phase < PHASE_WORK;
    return all->n > all->max && waits && (limit <= 0 || limit > CROWDED_SECONDS) ? CROWDED_SECONDS : limit;
}

/* Has the client's side taken bytes since the last look? Only the kernel knows: a whole answer is handed to it in few
 * pieces, and megabytes may wait in the socket's buffer while a slow client reads them steadily. Of a Unix socket it
 * tells how many bytes wait: other ones than at the last look, since what was written meanwhile counts by itself. */
static bool has_taken_bytes(struct connection *c)
{
    struct tcp_info info = { 0 };
    socklen_t n = sizeof info;
    int       waiting;
    uint64_t  taken = c->acked;
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0)
        taken = info.tcpi_bytes_acked;
    else if (ioctl(c->fd, SIOCOUTQ, &waiting) == 0)
        taken = (uint64_t)waiting;
    bool more = taken != c->acked;
    c->acked = taken;
    return more;
}

/* Shuts down every connection whose phase has lasted too long. Only shutdown(), never close(): the thread of the
 * connection wakes up from its read or write, tidies up and closes. A writing connection whose client has taken bytes
 * since the last look starts its time again. The caller holds the lock, which keeps the descriptors from being closed
 * meanwhile. */
static void shut_down_overdue(struct connections *all)
{
    static const char *const doing[] = { "idle", "in a handshake", "reading", "working", "writing" };
    double now = clock_seconds();
    for (struct connection *c = all->first; c; c = c->next) {
        int phase = atomic_load(&c->phase);
        if (phase == PHASE_WRITE && has_taken_bytes(c))
            atomic_store(&c->since, now);
        double limit = limit_of(all, phase);
        if (limit > 0 && now - atomic_load(&c->since) > limit) {
            log_debug("closing a connection: %s too long", doing[phase]);
            shutdown(c->fd, SHUT_RDWR);
            connection_phase(c, phase);        /* once is enough */
        }
    }
}

/* Handshakes that may be under way at one time. */
static int most_handshakes(const struct connections *all)
{
    enum { LEAST = 16 };
    return all->max / 4 > LEAST ? all->max / 4 : LEAST;
}

/* Counts the handshakes with this one, and gives up the oldest where they are too many: of the connection that came
 * first, which is the last of the list. When a thread gets to its handshake says less, because on a busy machine the
 * youngest may be the first to begin. */
void connection_handshake(struct connection *c)
{
    struct connections *all = c->all;
    struct connection  *oldest = NULL;
    int n = 0;
    connection_phase(c, PHASE_HANDSHAKE);
    pthread_mutex_lock(&all->lock);
    for (struct connection *o = all->first; o; o = o->next) {
        if (atomic_load(&o->phase) != PHASE_HANDSHAKE || o->given_up)
            continue;
        n++;
        oldest = o;
    }
    if (n > most_handshakes(all)) {
        shutdown(oldest->fd, SHUT_RDWR);
        oldest->given_up = true;
    }
    pthread_mutex_unlock(&all->lock);
}

/* The reaper's thread. It looks often enough that a limit is passed by a quarter at most, and ends when the server
 * stops and the last connection has gone; until then overdue ones are still shut down. */
static void *reap(void *ctx)
{
    struct connections *all = ctx;
    double pause = 2;          /* a quarter of the shortest limit, within 0.05 and 2 s */
    for (int i = 0; i < N_PHASES; i++)
        if (all->limit[i] > 0 && all->limit[i] / 4 < pause)
            pause = all->limit[i] / 4;
    pthread_mutex_lock(&all->lock);
    while (!all->stopping || all->n > 0) {
        struct timespec until = clock_from_now(CLOCK_MONOTONIC, pause < 0.05 ? 0.05 : pause);
        pthread_cond_timedwait(&all->reap, &all->lock, &until);
        shut_down_overdue(all);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

/* -1: there is no thread for the reaper; then nothing runs, and the server cannot start. */
int connections_start(struct connections *all, int max, double idle, double read, double write)
{
    *all = (struct connections){ .max = max, .limit = { idle, fmin(read, HANDSHAKE_SECONDS), read, 0, write } };
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&all->reap, &monotonic);
    pthread_cond_init(&all->fewer, NULL);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&all->lock, NULL);
    return pthread_create(&all->reaper, NULL, reap, all) == 0 ? 0 : -1;
}

/* Wakes everybody who waits for bytes, for room or for the reaper's next look. May be called more than once. */
void connections_close_all(struct connections *all)
{
    pthread_mutex_lock(&all->lock);
    all->stopping = true;
    for (struct connection *c = all->first; c; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    pthread_cond_broadcast(&all->fewer);
    pthread_mutex_unlock(&all->lock);
}

/* Waits until the last thread has left the list, then ends the reaper. Afterwards no thread uses `all` any more, so
 * its owner may be freed. A thread that works in a handler holds this up until the handler returns; http_stop() tells
 * handlers to stop before. */
void connections_stop(struct connections *all)
{
    connections_close_all(all);
    pthread_mutex_lock(&all->lock);
    while (all->n > 0)
        pthread_cond_wait(&all->fewer, &all->lock);
    pthread_cond_signal(&all->reap);
    pthread_mutex_unlock(&all->lock);
    pthread_join(all->reaper, NULL);
    pthread_cond_destroy(&all->fewer);
    pthread_cond_destroy(&all->reap);
    pthread_mutex_destroy(&all->lock);
}
