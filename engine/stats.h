/* engine/stats.h - counters of the engine, written by its thread, copied out under a lock. */
#ifndef ENGINE_STATS_H
#define ENGINE_STATS_H
#include <pthread.h>

#include "engine/engine.h"

struct stats {
    pthread_mutex_t lock;
    struct engine_stats v;         /* under the lock */
};

void stats_observe(struct histogram *h, double seconds);     /* with the lock held */

#endif
