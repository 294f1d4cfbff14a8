/* server/pace.h - how fast places have become free of late, and when it is worth while to ask for one again.
 *
 * Time counts only while a place is taken: an idle hour says nothing about how fast requests are answered. Every
 * function gets the time, in seconds of any clock that does not go back. */
#ifndef SERVER_PACE_H
#define SERVER_PACE_H
#include <pthread.h>
#include <stdint.h>

enum { PACE_ENDS = 32, PACE_LONGEST = 60 };

struct pace {
    pthread_mutex_t lock;
    int      taken;            /* places                                           */
    double   busy, since;      /* seconds with a taken place until the time `since` */
    double   end[PACE_ENDS];   /* values of `busy` when the last requests ended; a ring */
    uint64_t n_ends;
};

void pace_init(struct pace *p);
void pace_free(struct pace *p);
void pace_enter(struct pace *p, double now);                /* a place is taken                             */
void pace_leave(struct pace *p, double now);                /* it is given back by a request that was none  */
void pace_end(struct pace *p, double now);                  /* it is given back because a request has ended */

/* Whole seconds, 1 to PACE_LONGEST, until those that wait now have probably had their turn. `at_once` is how many
 * requests are computed together; taken places beyond that are waiting. */
int  pace_retry_after(struct pace *p, double now, int at_once);

#endif
