/* base/utf8.h - UTF-8 as text comes in and goes out. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H
#include <stddef.h>
#include <stdint.h>

/* Decodes the code point at s (n > 0 bytes left) and stores its length in
 * *len. A malformed byte gives 0xFFFD with length 1. */
uint32_t utf8_get(const char *s, size_t n, int *len);

/* Writes cp (up to 4 bytes) and returns how many; surrogates and values over
 * 0x10FFFF become U+FFFD. */
int utf8_put(char *out, uint32_t cp);

/* Length of the longest prefix of s that does not end inside a sequence which
 * later bytes could complete. Malformed bytes count as complete. */
size_t utf8_complete(const char *s, size_t n);

/* Copies s to out (room for 3 * n bytes), each maximal malformed part becoming
 * one U+FFFD as Python's errors="replace" does; returns the new length. */
size_t utf8_sanitize(char *out, const char *s, size_t n);

/* Bytes of the byte order mark that some writers begin UTF-8 with and readers of JSON may skip (RFC 8259, 8.1): 3 or
 * 0. */
size_t utf8_mark(const char *s, size_t n);

#endif
