/* tokenizer/bytelevel.h - GPT-2's mapping of bytes to printable characters:
 * 0x21-0x7e, 0xa1-0xac and 0xae-0xff stand for themselves, the others become
 * U+0100 and up in order. */
#ifndef TOKENIZER_BYTELEVEL_H
#define TOKENIZER_BYTELEVEL_H
#include <stddef.h>
#include <stdint.h>

/* Writes the character of each byte: at most 2 * n bytes; returns how many. */
size_t bytelevel_encode(char *out, const char *s, size_t n);

/* Writes the bytes of a token. Returns their number (at most n), or -1 when s has a character that stands for no
 * byte. */
long bytelevel_decode(char *out, const char *s, size_t n);

#endif
