/* engine/stats.h - counters of the engine, which several threads add to and any may copy out. */
#ifndef ENGINE_STATS_H
#define ENGINE_STATS_H
#include <pthread.h>

#include "engine/engine.h"

struct stats {
    pthread_mutex_t lock;
    struct engine_stats v;         /* under the lock */
};

/* n more of what a counter of s->v counts; one more of it (NULL: of nothing), which has taken so many seconds. */
void stats_add(struct stats *s, uint64_t *counter, uint64_t n);
void stats_time(struct stats *s, uint64_t *counter, struct histogram *h, double seconds);
/* One more value of a histogram of numbers. */
void stats_size(struct stats *s, struct histogram *h, int size);

#endif
