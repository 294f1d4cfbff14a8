/* engine/stats.c - see stats.h. The bounds are those of all latencies alike, from a step of a tiny model to an answer
 * of half an hour, so that one histogram can be read beside another. */
#include "engine/stats.h"

const double engine_latency_bounds[ENGINE_LATENCY_BUCKETS] = {
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 20, 60, 300, 1800 };

void stats_add(struct stats *s, uint64_t *counter, uint64_t n)
{
    pthread_mutex_lock(&s->lock);
    *counter += n;
    pthread_mutex_unlock(&s->lock);
}

/* A bucket counts all that took no longer than its bound, as Prometheus has it. counter may be NULL. */
void stats_time(struct stats *s, uint64_t *counter, struct histogram *h, double seconds)
{
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < ENGINE_LATENCY_BUCKETS; i++)
        h->bucket[i] += seconds <= engine_latency_bounds[i];
    h->count++;
    h->sum += seconds;
    if (counter)
        ++*counter;
    pthread_mutex_unlock(&s->lock);
}
