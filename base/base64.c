/* base/base64.c - one table says what each character means; groups of four digits are taken four at a time, and only
 * white space, padding and the end go through the slow loop. See base64.h for what is accepted. */
#include "base/base64.h"

#include <stdbool.h>

/* What a character stands for: a digit plus one, or one of these. */
enum { OTHER = 0, LAST_DIGIT = 64, SPACE, PAD };

static const uint8_t meaning[256] = {
    ['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
    ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
    ['+'] = 63, ['/'] = 64, ['='] = PAD, ['\t'] = SPACE, ['\n'] = SPACE, ['\f'] = SPACE, ['\r'] = SPACE, [' '] = SPACE,
};

static bool is_digit(unsigned m) { return m - 1u < LAST_DIGIT; }

/* Takes groups of four digits as long as nothing else comes; returns how many characters that were. */
static size_t whole_groups(uint8_t *out, const uint8_t *s, size_t n)
{
    size_t i = 0;
    for (; n - i >= 4; i += 4, out += 3) {
        unsigned a = meaning[s[i]], b = meaning[s[i + 1]], c = meaning[s[i + 2]], d = meaning[s[i + 3]];
        if (!(is_digit(a) && is_digit(b) && is_digit(c) && is_digit(d)))
            break;
        unsigned bits = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
        out[0] = (uint8_t)(bits >> 16);
        out[1] = (uint8_t)(bits >> 8);
        out[2] = (uint8_t)bits;
    }
    return i;
}

/* White space may stand anywhere, so a group can be collected across it. `out` never gets ahead of the text, because
 * four characters become three bytes: decoding in place is safe. Padding is checked at the end: two digits and "==",
 * three and "=", or none at all. */
int base64_decode(uint8_t *out, size_t *n_out, const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t k = 0, pads = 0;
    unsigned bits = 0, digits = 0;       /* of the group that is being collected */
    for (size_t i = 0; i < n; i++) {
        if (digits == 0 && pads == 0) {
            size_t done = whole_groups(out + k, s + i, n - i);
            k += done / 4 * 3;
            i += done;
            if (i == n)
                break;
        }
        unsigned m = meaning[s[i]];
        if (m == SPACE)
            continue;
        if (m == PAD) {
            pads++;
            continue;
        }
        if (!is_digit(m) || pads > 0)
            return -1;
        bits = bits << 6 | (m - 1);
        if (++digits < 4)
            continue;
        out[k++] = (uint8_t)(bits >> 16);
        out[k++] = (uint8_t)(bits >> 8);
        out[k++] = (uint8_t)bits;
        bits = digits = 0;
    }
    if (digits == 1 || pads > 2 || (pads > 0 && digits + pads != 4))
        return -1;
    if (digits == 2)
        out[k++] = (uint8_t)(bits >> 4);
    if (digits == 3) {
        out[k++] = (uint8_t)(bits >> 10);
        out[k++] = (uint8_t)(bits >> 2);
    }
    *n_out = k;
    return 0;
}

/* Three bytes become four characters; = stands for what is missing at the end. */
void base64_encode(char *out, const uint8_t *bytes, size_t n)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)bytes[i] << 16;
        v |= i + 1 < n ? (uint32_t)bytes[i + 1] << 8 : 0;
        v |= i + 2 < n ? bytes[i + 2] : 0;
        for (size_t k = 0; k < 4; k++)
            *out++ = i + k > n ? '=' : alphabet[v >> (18 - 6 * k) & 63];
    }
    *out = 0;
}
