/* kernels/host.h - what the backends that live in host memory share: what the
 * machine lets this process use, and its memory as a "device". */
#ifndef KERNELS_HOST_H
#define KERNELS_HOST_H
#include <stddef.h>

#include "kernels/ops.h"

int    host_threads(void); /* cores this process may use: affinity, hyperthreads once, cgroup quota; at least 1 */
size_t host_memory(struct device *);                     /* physical memory, or less where a cgroup says so */

void *host_alloc(struct device *, size_t n);             /* 64-byte aligned, large blocks on huge pages */
void  host_free(struct device *, void *p);
void  host_zero(struct device *, void *p, size_t n);     /* by all cores: the first touch of memory takes its time */
void  host_copy(struct device *, void *dst, const void *src, size_t n);

#endif
