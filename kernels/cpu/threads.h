/* kernels/cpu/threads.h - the threads of one CPU device.
 *
 *   struct pool *p = pool_open(n);
 *   pool_run(p, count, body, arg);   // body(arg, i, worker) once for every i < count
 *   pool_close(p);
 *
 * The caller works too, as worker 0; helpers are workers 1 .. n - 1. Indices
 * are handed out one by one, so nothing may depend on who gets which. Helpers
 * spin for some microseconds after a run, because a step is a chain of short
 * runs, and then sleep until the next. One thread at a time calls pool_run. */
#ifndef KERNELS_CPU_THREADS_H
#define KERNELS_CPU_THREADS_H

struct pool;

struct pool *pool_open(int threads); /* may get fewer than asked for if the system refuses; at least the caller */
void         pool_close(struct pool *p);
int          pool_size(const struct pool *p); /* workers, with the caller */
void         pool_run(struct pool *p, int count, void (*body)(void *arg, int index, int worker), void *arg);

#endif
