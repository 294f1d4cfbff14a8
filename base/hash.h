/* base/hash.h - SipHash-2-4 with 128 bits (Aumasson & Bernstein, 2012), keyed
 * with random bytes drawn at start, so that no client can aim for collisions
 * in the caches. About 1 GB/s. */
#ifndef BASE_HASH_H
#define BASE_HASH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash { uint64_t lo, hi; };

struct hash hash_keyed(const uint8_t key[16], const void *data, size_t n);

/* With the key of this process (drawn once; the same for every call). */
struct hash hash_bytes(const void *data, size_t n);

/* Hash of (parent, data): chains blocks. */
struct hash hash_chain(struct hash parent, const void *data, size_t n);

static inline bool hash_equal(struct hash a, struct hash b) { return a.lo == b.lo && a.hi == b.hi; }

#endif
