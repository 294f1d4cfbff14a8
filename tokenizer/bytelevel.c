/* tokenizer/bytelevel.c - see bytelevel.h. */
#include "tokenizer/bytelevel.h"

#include <stdbool.h>

#include "base/utf8.h"

/* Whether a byte stands for itself. */
static bool plain(unsigned b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad); }

/* The character for a byte. The bytes that are not plain, in order, are 0-0x20, 0x7f-0xa0 and 0xad. */
static unsigned to_char(unsigned b)
{
    if (plain(b))
        return b;
    if (b <= 0x20)
        return 0x100 + b;
    return b <= 0xa0 ? 0x121 + (b - 0x7f) : 0x143;
}

/* The byte that a character stands for, or -1: to_char() the other way round. */
static int to_byte(uint32_t c)
{
    if (c < 0x100)
        return plain(c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)(c - 0x100);
    if (c <= 0x142)
        return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}

/* Printable ASCII is nearly all of most texts and stands for itself: only other bytes take the way through to_char(),
 * and their characters all have two bytes of UTF-8. */
size_t bytelevel_encode(char *out, const char *s, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned b = (unsigned char)s[i];
        if (b >= 0x21 && b <= 0x7e) {
            out[k++] = (char)b;
        } else {
            unsigned c = to_char(b);
            out[k++] = (char)(0xc0 | c >> 6);
            out[k++] = (char)(0x80 | (c & 0x3f));
        }
    }
    return k;
}

/* Each character stands for one byte. -1: one of them stands for none, and the text is no text of this alphabet. */
long bytelevel_decode(char *out, const char *s, size_t n)
{
    long k = 0;
    for (size_t i = 0; i < n;) {
        int len, b = to_byte(utf8_get(s + i, n - i, &len));
        if (b < 0)
            return -1;
        out[k++] = (char)b;
        i += (size_t)len;
    }
    return k;
}
