/* base/sha1.h - SHA-1 (FIPS 180-4): the names that git gives to files, which are no protection against forgery. */
#ifndef BASE_SHA1_H
#define BASE_SHA1_H
#include <stddef.h>
#include <stdint.h>

struct sha1 {
    uint32_t h[5];             /* the state after all whole blocks */
    uint8_t  rest[64];         /* bytes that make no block yet     */
    uint64_t n;                /* bytes so far                     */
};

void sha1_begin(struct sha1 *s);
void sha1_add(struct sha1 *s, const void *data, size_t n);
/* 40 hexadecimal digits and a NUL. Nothing may be added afterwards. */
void sha1_end(struct sha1 *s, char out[41]);

#endif
