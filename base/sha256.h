/* base/sha256.h - SHA-256 (FIPS 180-4), for hashes that others can compute too. About 200 MB/s. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H
#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t h[8];             /* the state after all whole blocks */
    uint8_t  rest[64];         /* bytes that make no block yet     */
    uint64_t n;                /* bytes so far                     */
};

void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n);
/* 64 hexadecimal digits and a NUL. Nothing may be added afterwards. */
void sha256_end(struct sha256 *s, char out[65]);

/* All three in one. */
void sha256_hex(char out[65], const void *data, size_t n);

#endif
