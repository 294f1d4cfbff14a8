/* base/budget.h - a number of bytes that several threads share.
 *
 * A budget makes those who need bytes wait until they are there, in order of arrival, so that a large demand is not
 * starved by small ones. A demand over the whole budget gets all of it. A tally never makes anybody wait: who asks for
 * more than is left hears so at once. */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct budget {
    pthread_mutex_t lock;
    pthread_cond_t  changed;
    size_t   size, left;       /* bytes in all, and not taken                    */
    uint64_t next_ticket;      /* for the next one who asks                      */
    uint64_t serving;          /* whose turn it is                               */
};

void   budget_init(struct budget *b, size_t size);
void   budget_free(struct budget *b);
size_t budget_take(struct budget *b, size_t n);   /* waits; returns what was taken: give that back */
void   budget_give(struct budget *b, size_t taken);

struct tally {
    _Atomic size_t taken;      /* bytes */
    size_t size;               /* most of them; set before it is used */
};

bool tally_take(struct tally *t, size_t n);       /* false: so much is not left, and nothing was taken */
void tally_give(struct tally *t, size_t n);

/* A holder has `*own` bytes and wants `want`, which may be fewer. false: so much is not left, and `*own` stays. Up to
 * TALLY_LITTLE for a holder are never refused, so that those who hold much cannot shut out the others. */
enum { TALLY_LITTLE = 16 << 10 };
bool tally_set(struct tally *t, size_t *own, size_t want);

#endif
