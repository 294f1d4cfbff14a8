/* kernels/host.h - what the backends that live in host memory share: its memory
 * as a "device". */
#ifndef KERNELS_HOST_H
#define KERNELS_HOST_H
#include <stddef.h>

#include "kernels/ops.h"

void *host_alloc(struct device *, size_t n);             /* 64-byte aligned; there is no memory behind large blocks
                                                            until it is used */
void  host_free(struct device *, void *p);
void  host_take(struct device *, void *p, size_t n);
void  host_give_back(struct device *, void *p, size_t n);
void  host_copy(struct device *, void *dst, const void *src, size_t n);
size_t host_memory(struct device *);                     /* the machine's, see kernels/machine.h */

#endif
