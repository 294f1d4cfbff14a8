/* engine/stats.c - see stats.h. The bounds are those of all latencies alike, from a step of a tiny model to an answer
 * of half an hour, so that one histogram can be read beside another. */
#include "engine/stats.h"

const double engine_latency_bounds[ENGINE_LATENCY_BUCKETS] = {
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 20, 60, 300, 1800 };

/* As vLLM's: 1, 2, 5 and so on. One list for everything that is counted, from answers to one prompt to its tokens. */
const double engine_count_bounds[ENGINE_LATENCY_BUCKETS] = {
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6 };

void stats_add(struct stats *s, uint64_t *counter, uint64_t n)
{
    pthread_mutex_lock(&s->lock);
    *counter += n;
    pthread_mutex_unlock(&s->lock);
}

/* A bucket counts all that are no greater than its bound, as Prometheus has it. The caller holds the lock. */
static void add_value(struct histogram *h, const double *bounds, double value)
{
    for (int i = 0; i < ENGINE_LATENCY_BUCKETS; i++)
        h->bucket[i] += value <= bounds[i];
    h->count++;
    h->sum += value;
}

void stats_size(struct stats *s, struct histogram *h, int size)
{
    pthread_mutex_lock(&s->lock);
    add_value(h, engine_count_bounds, size);
    pthread_mutex_unlock(&s->lock);
}

/* counter may be NULL. */
void stats_time(struct stats *s, uint64_t *counter, struct histogram *h, double seconds)
{
    pthread_mutex_lock(&s->lock);
    add_value(h, engine_latency_bounds, seconds);
    if (counter)
        ++*counter;
    pthread_mutex_unlock(&s->lock);
}
