/* kernels/cpu/threads.c - the pool of threads, see threads.h. */
#include "kernels/cpu/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

/* The state word: the number of the run, whether helpers may still join it, and how many are in it. A helper that
 * wakes late finds the run closed and goes back to sleep: nobody ever waits for it. */
#define OPEN   0x80000000u
#define ACTIVE 0x7fffffffu
#define RUN(s) ((uint32_t)((s) >> 32))

/* Measured with one stream of int4 weights, 647 million parameters, on two cores: with 20e-6 the helper fell asleep a
 * hundred times in each token, and these came 15 % later than with 100e-6 or 200e-6. */
static const double SPIN_SECONDS = 100e-6;
enum { SPIN_ROUNDS = 2000 };

struct helper {
    struct pool *pool;   /* borrowed */
    int          worker; /* its number */
    pthread_t    thread;
};

struct pool {
    int             n_helpers;
    struct helper  *helpers; /* owned */
    _Atomic uint64_t state;
    _Atomic int     next;    /* index to hand out */
    int             count;   /* of this run; body and arg likewise */
    void          (*body)(void *, int, int);
    void           *arg;
    pthread_mutex_t lock;    /* of sleeping and waking up only */
    pthread_cond_t  wake;    /* a run has begun                                    */
    pthread_cond_t  done;    /* the last helper has left a run that the caller closed */
    _Atomic int     sleepers;
    _Atomic bool    quit;
};

/* Tells the processor that this thread spins, so that its sibling on the same core gets on. */
static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes indices until none is left. Everybody in a run does just this. */
static void work(struct pool *p, int worker)
{
    for (int i; (i = atomic_fetch_add(&p->next, 1)) < p->count;)
        p->body(p->arg, i, worker);
}

/* Joins a run that this helper has not seen yet; false if there is none. */
static bool join(struct pool *p, int worker, uint32_t *seen)
{
    uint64_t s = atomic_load(&p->state);
    while (RUN(s) != *seen && (s & OPEN)) {
        if (!atomic_compare_exchange_weak(&p->state, &s, s + 1))
            continue;
        *seen = RUN(s);
        work(p, worker);
        if ((atomic_fetch_sub(&p->state, 1) & (OPEN | ACTIVE)) == 1) { /* the last one, and pool_run waits */
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
        return true;
    }
    *seen = RUN(s);
    return false;
}

/* The counter goes up before the state is read, and pool_run writes the state before it reads the counter: one of the
 * two sees the other. */
static void sleep_until_run(struct pool *p, uint32_t seen)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (RUN(atomic_load(&p->state)) == seen && !atomic_load(&p->quit))
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

/* A helper waits for the next run: awake for SPIN_SECONDS, since runs follow each other closely within a step, then
 * asleep until somebody wakes it. That time begins anew after each run, however long it was. */
static void *helper_main(void *arg)
{
    struct helper *h = arg;
    struct pool *p = h->pool;
    uint32_t seen = 0;
    while (!atomic_load(&p->quit)) {
        double until = clock_seconds() + SPIN_SECONDS;
        bool joined;
        while (!(joined = join(p, h->worker, &seen)) && clock_seconds() < until)
            for (int i = 0; i < 4; i++)
                relax();
        if (!joined)
            sleep_until_run(p, seen);
    }
    return NULL;
}

/* Starts a pool of `threads` workers, the caller being one of them. Where the system refuses a thread the pool works
 * with those that it got. Its threads take no signals: these are for the threads of the server. */
struct pool *pool_open(int threads)
{
    struct pool *p = xcalloc(1, sizeof *p);
    sigset_t all, old;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    p->helpers = xcalloc((size_t)threads, sizeof *p->helpers);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the threads of the server */
    for (int i = 0; i + 1 < threads; i++) {
        struct helper *h = &p->helpers[i];
        h->pool = p;
        h->worker = i + 1;
        if (pthread_create(&h->thread, NULL, helper_main, h))
            break;
        p->n_helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return p;
}

/* Wakes the helpers that sleep. The lock makes sure that a helper which has looked at the state, and found no run, is
 * already waiting. */
static void wake_all(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

/* Ends the pool's threads and waits for them. No work may be under way. */
void pool_close(struct pool *p)
{
    if (!p)
        return;
    atomic_store(&p->quit, true);
    wake_all(p);
    for (int i = 0; i < p->n_helpers; i++)
        pthread_join(p->helpers[i].thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->done);
    free(p->helpers);
    free(p);
}

int pool_size(const struct pool *p) { return p->n_helpers + 1; }

/* Opens a run, works on it like the helpers, closes it, and waits for those that are still in it: first awake, because
 * they are nearly always done within microseconds. That all helpers may come too late for a run, and find it closed, is
 * usual for short ones. */
void pool_run(struct pool *p, int count, void (*body)(void *arg, int index, int worker), void *arg)
{
    if (count <= 1 || p->n_helpers == 0) {
        for (int i = 0; i < count; i++)
            body(arg, i, 0);
        return;
    }
    p->body = body;
    p->arg = arg;
    p->count = count;
    atomic_store(&p->next, 0);
    atomic_store(&p->state, (uint64_t)(RUN(atomic_load(&p->state)) + 1) << 32 | OPEN);
    if (atomic_load(&p->sleepers))
        wake_all(p);
    work(p, 0);
    atomic_fetch_and(&p->state, ~(uint64_t)OPEN);
    for (int i = 0; i < SPIN_ROUNDS && (atomic_load(&p->state) & ACTIVE); i++)
        relax();
    if (!(atomic_load(&p->state) & ACTIVE))
        return;
    pthread_mutex_lock(&p->lock);          /* a helper's last task is long, or it lost its processor */
    while (atomic_load(&p->state) & ACTIVE)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
