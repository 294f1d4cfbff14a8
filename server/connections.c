#include "server/connections.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

void connection_phase(struct connection *c, enum phase p)
{
    if (!c)
        return;                /* there was no memory for it; its request will fail */
    atomic_store(&c->since, clock_seconds());
    atomic_store(&c->phase, p);
}

struct connection *connection_open(struct connections *all, int fd)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->fd = fd;
    connection_phase(c, PHASE_IDLE);
    pthread_mutex_lock(&all->lock);
    c->next = all->first;
    c->link = &all->first;
    if (c->next)
        c->next->link = &c->next;
    all->first = c;
    all->n++;
    c->extra = all->n > all->max;
    pthread_mutex_unlock(&all->lock);
    return c;
}

bool connection_is_extra(struct connections *all, struct connection *c)
{
    pthread_mutex_lock(&all->lock);
    bool extra = c->extra = c->extra && all->n > all->max;
    pthread_mutex_unlock(&all->lock);
    return extra;
}

void connection_close(struct connections *all, struct connection *c)
{
    pthread_mutex_lock(&all->lock);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    all->n--;
    pthread_mutex_unlock(&all->lock);
    free(c);
}

int connections_count(struct connections *all, enum phase least)
{
    int n = 0;
    pthread_mutex_lock(&all->lock);
    for (struct connection *c = all->first; c; c = c->next)
        n += atomic_load(&c->phase) >= (int)least;
    pthread_mutex_unlock(&all->lock);
    return n;
}

/* With the lock held. */
static double limit_of(const struct connections *all, int phase)
{
    double limit = all->limit[phase];
    bool   waits = phase == PHASE_IDLE || phase == PHASE_READ;
    return all->n > all->max && waits && (limit <= 0 || limit > CROWDED_SECONDS) ? CROWDED_SECONDS : limit;
}

/* Has the client's side taken bytes since the last look? Only the kernel knows: a whole answer is handed to it in few
 * pieces, and megabytes may wait in the socket's buffer while a slow client reads them steadily. */
static bool has_taken_bytes(struct connection *c)
{
    struct tcp_info info = { 0 };
    socklen_t n = sizeof info;
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
        return false;
    bool more = info.tcpi_bytes_acked != c->acked;
    c->acked = info.tcpi_bytes_acked;
    return more;
}

/* With the lock held. */
static void shut_down_overdue(struct connections *all)
{
    static const char *const doing[] = { "idle", "reading", "working", "writing" };
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

static struct timespec seconds_from_now(double seconds)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    double until = (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9 + seconds;
    ts.tv_sec = (time_t)until;
    ts.tv_nsec = (long)((until - (double)ts.tv_sec) * 1e9);
    return ts;
}

static void *reap(void *ctx)
{
    struct connections *all = ctx;
    double pause = 2;          /* a quarter of the shortest limit, within 0.05 and 2 s */
    for (int i = 0; i < N_PHASES; i++)
        if (all->limit[i] > 0 && all->limit[i] / 4 < pause)
            pause = all->limit[i] / 4;
    pthread_mutex_lock(&all->lock);
    while (!all->stopping) {
        struct timespec until = seconds_from_now(pause < 0.05 ? 0.05 : pause);
        pthread_cond_timedwait(&all->stop, &all->lock, &until);
        shut_down_overdue(all);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

int connections_start(struct connections *all, int max, double idle, double read, double write)
{
    *all = (struct connections){ .max = max, .limit = { idle, read, 0, write } };
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&all->stop, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&all->lock, NULL);
    return pthread_create(&all->reaper, NULL, reap, all) == 0 ? 0 : -1;
}

void connections_stop(struct connections *all)
{
    pthread_mutex_lock(&all->lock);
    all->stopping = true;
    pthread_cond_signal(&all->stop);
    pthread_mutex_unlock(&all->lock);
    pthread_join(all->reaper, NULL);
}
