/* base/budget.c - a budget serves those that wait in order of arrival, by tickets as at a counter; a tally is one
 * atomic number. See budget.h for which is meant for what. */
#include "base/budget.h"

void budget_init(struct budget *b, size_t size)
{
    *b = (struct budget){ .size = size, .left = size };
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
}

void budget_free(struct budget *b)
{
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
}

/* A demand over the whole budget gets all of it, so it waits for everybody else but not for ever. Only the ticket that
 * is being served may take, even if a later, smaller demand would fit: otherwise small ones could starve a large
 * one. */
size_t budget_take(struct budget *b, size_t n)
{
    n = n < b->size ? n : b->size;
    pthread_mutex_lock(&b->lock);
    uint64_t ticket = b->next_ticket++;
    while (ticket != b->serving || b->left < n)
        pthread_cond_wait(&b->changed, &b->lock);
    b->serving++;
    b->left -= n;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    return n;
}

void budget_give(struct budget *b, size_t taken)
{
    pthread_mutex_lock(&b->lock);
    b->left += taken;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

/* Adds first and takes it back where it was too much. Two threads that ask at once may both be refused although one
 * would have fitted; neither may get more than there is. */
bool tally_take(struct tally *t, size_t n)
{
    if (atomic_fetch_add(&t->taken, n) + n <= t->size)
        return true;
    atomic_fetch_sub(&t->taken, n);
    return false;
}

void tally_give(struct tally *t, size_t n) { atomic_fetch_sub(&t->taken, n); }

/* Brings a holder from *own bytes to `want`. What is given back always succeeds, and so does a holding that stays
 * small. */
bool tally_set(struct tally *t, size_t *own, size_t want)
{
    if (want <= *own)
        tally_give(t, *own - want);
    else if (want <= TALLY_LITTLE)
        atomic_fetch_add(&t->taken, want - *own);
    else if (!tally_take(t, want - *own))
        return false;
    *own = want;
    return true;
}
