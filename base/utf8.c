/* base/utf8.c - UTF-8 by the table of well-formed sequences in the Unicode standard (3-7): no overlong forms, no
 * surrogates, nothing over U+10FFFF. See utf8.h. */
#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

/* Reads one sequence. Returns its length when well formed; else 0, and *bad is
 * the length of the malformed part (Unicode's "maximal subpart"), *cut tells
 * that the bytes ended inside a sequence that was well formed so far. */
static int sequence(const unsigned char *s, size_t n, uint32_t *cp, int *bad, bool *cut)
{
    unsigned char c = s[0], lo = 0x80, hi = 0xbf;
    int len;
    *cut = false;
    *bad = 1;
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    if (c < 0xc2 || c > 0xf4)
        return 0;
    if (c < 0xe0) {
        len = 2;
        *cp = c & 0x1f;
    } else if (c < 0xf0) {
        len = 3;
        *cp = c & 0x0f;
        lo = c == 0xe0 ? 0xa0 : 0x80;
        hi = c == 0xed ? 0x9f : 0xbf;
    } else {
        len = 4;
        *cp = c & 0x07;
        lo = c == 0xf0 ? 0x90 : 0x80;
        hi = c == 0xf4 ? 0x8f : 0xbf;
    }
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n) {
            *cut = true;
            *bad = i;
            return 0;
        }
        if (s[i] < lo || s[i] > hi) {
            *bad = i;
            return 0;
        }
        *cp = *cp << 6 | (s[i] & 0x3f);
        lo = 0x80;
        hi = 0xbf;
    }
    return len;
}

/* The code point at the beginning of s, and its length in bytes. What is no UTF-8 gives U+FFFD and a length of 1, so
 * that a loop always goes on. */
uint32_t utf8_get(const char *s, size_t n, int *len)
{
    uint32_t cp;
    int bad;
    bool cut;
    int k = sequence((const unsigned char *)s, n, &cp, &bad, &cut);
    *len = k ? k : 1;
    return k ? cp : 0xfffd;
}

/* Writes one to four bytes, the fewest that can hold the code point, and returns how many. What is no code point, as
 * half of a surrogate pair, becomes U+FFFD. */
int utf8_put(char *out, uint32_t cp)
{
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        cp = 0xfffd;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

/* Looks back over at most three bytes for one that begins a sequence. Only if that sequence is cut off by the end is
 * it left for later; anything malformed will not become right and counts as complete. A stream of text is cut by this,
 * so that no client gets half a character. */
size_t utf8_complete(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if (c < 0x80)
            break;
        if (c < 0xc0)
            continue;
        uint32_t cp;
        int bad;
        bool cut;
        sequence((const unsigned char *)s + n - back, back, &cp, &bad, &cut);
        return cut ? n - back : n;
    }
    return n;
}

/* A malformed part becomes one U+FFFD however many bytes it has, as Python counts them; a run of broken bytes can
 * therefore become longer than it was, by a factor of three at most. */
size_t utf8_sanitize(char *out, const char *s, size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int bad;
        bool cut;
        int k = sequence((const unsigned char *)s + i, n - i, &cp, &bad, &cut);
        if (k) {
            memcpy(out + used, s + i, (size_t)k);
            used += (size_t)k;
            i += (size_t)k;
        } else {
            used += (size_t)utf8_put(out + used, 0xfffd);
            i += (size_t)bad;
        }
    }
    return used;
}

size_t utf8_mark(const char *s, size_t n) { return n >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; }
