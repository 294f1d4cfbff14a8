/* base/sum.h - a checksum of 64 bits for large files, at the speed of memory: it finds what a disk or a download has
 * damaged, not what somebody has changed on purpose. */
#ifndef BASE_SUM_H
#define BASE_SUM_H
#include <stddef.h>
#include <stdint.h>

uint64_t sum_bytes(const void *data, size_t n);

#endif
