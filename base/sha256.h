/* base/sha256.h - SHA-256 (FIPS 180-4), for hashes that others can compute too. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H
#include <stddef.h>

/* 64 hexadecimal digits and a NUL. About 200 MB/s. */
void sha256_hex(char out[65], const void *data, size_t n);

#endif
