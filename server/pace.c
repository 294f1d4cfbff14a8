/* server/pace.c - counts taken places and the time during which any was taken; what it is for stands in pace.h. */
#include "server/pace.h"

#include <math.h>
#include <string.h>

void pace_init(struct pace *p)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
}

void pace_free(struct pace *p) { pthread_mutex_destroy(&p->lock); }

/* Adds the time since the last change to `busy`, if any place was taken during it. Every function calls it first, with
 * the lock held. */
static void pass_time(struct pace *p, double now)
{
    if (p->taken > 0)
        p->busy += now - p->since;
    p->since = now;
}

void pace_enter(struct pace *p, double now)
{
    pthread_mutex_lock(&p->lock);
    pass_time(p, now);
    p->taken++;
    pthread_mutex_unlock(&p->lock);
}

/* A place was given back by a request that was refused: it says nothing about how fast requests are answered. */
void pace_leave(struct pace *p, double now)
{
    pthread_mutex_lock(&p->lock);
    pass_time(p, now);
    p->taken--;
    pthread_mutex_unlock(&p->lock);
}

/* A request has ended: its place is free, and how long that took is remembered. */
void pace_end(struct pace *p, double now)
{
    pthread_mutex_lock(&p->lock);
    pass_time(p, now);
    p->taken--;
    p->end[p->n_ends++ % PACE_ENDS] = p->busy;
    pthread_mutex_unlock(&p->lock);
}

/* Requests that end in a second, with the lock held. While none has ended, those that are computed are taken to be half
 * done. That none ends for long counts, too: the time since the last end belongs to the measure. */
static double rate(const struct pace *p, int at_once)
{
    double ends = at_once, seconds = 2 * p->busy;
    if (p->n_ends > PACE_ENDS) {
        ends = PACE_ENDS - 1;
        seconds = p->busy - p->end[p->n_ends % PACE_ENDS];
    } else if (p->n_ends > 0) {
        ends = (double)p->n_ends;
        seconds = p->busy;
    }
    return ends / fmax(seconds, 1e-3);
}

/* Requests that wait now will be served before one that comes later, at the rate at which requests have ended of late:
 * that is how long it is told to stay away. */
int pace_retry_after(struct pace *p, double now, int at_once)
{
    pthread_mutex_lock(&p->lock);
    pass_time(p, now);
    int    waiting = p->taken - at_once;
    double seconds = waiting > 0 ? ceil(waiting / rate(p, at_once)) : 1;
    pthread_mutex_unlock(&p->lock);
    return (int)fmin(fmax(seconds, 1), PACE_LONGEST);
}
