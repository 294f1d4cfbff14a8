/* base/hash.h - SipHash-2-4 with 128 bits (Aumasson & Bernstein, 2012), keyed
 * with random bytes drawn at start, so that no client can aim for collisions
 * in the caches. About 1 GB/s. */
#ifndef BASE_HASH_H
#define BASE_HASH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash { uint64_t lo, hi; };

/* Hash of n bytes with a key of the caller's, for tests against published values. */
struct hash hash_keyed(const uint8_t key[16], const void *data, size_t n);

/* Hash of n bytes with the key of this process, which is drawn once. Hashes must not be kept beyond the process: the
 * next one has another key. */
struct hash hash_bytes(const void *data, size_t n);

/* Hash of a block that follows others, whose hash is `parent`: two texts have equal chains only as far as they are
 * equal from the beginning. */
struct hash hash_chain(struct hash parent, const void *data, size_t n);

static inline bool hash_equal(struct hash a, struct hash b) { return a.lo == b.lo && a.hi == b.hi; }

#endif
