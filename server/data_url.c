#include "server/data_url.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BAD = 64, SPACE = 65, PAD = 66 };

static int digit(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    switch (c) {
    case '+': return 62;
    case '/': return 63;
    case '=': return PAD;
    case ' ': case '\t': case '\r': case '\n': return SPACE;
    default: return BAD;
    }
}

int base64_decode(const char *s, size_t n, unsigned char **out, size_t *n_out)
{
    unsigned char *p = malloc(n / 4 * 3 + 3);
    if (!p)
        return -1;
    size_t   k = 0;
    unsigned bits = 0, digits = 0, pads = 0;
    for (size_t i = 0; i < n; i++) {
        int d = digit((unsigned char)s[i]);
        if (d == SPACE)
            continue;
        if (d == PAD && digits % 4 >= 2 && pads < 2) {
            pads++;
            digits++;
            bits <<= 6;
        } else if (d < 64 && pads == 0) {
            digits++;
            bits = bits << 6 | (unsigned)d;
        } else {
            goto bad;
        }
        if (digits % 4 == 0) {
            p[k++] = (unsigned char)(bits >> 16);
            p[k++] = (unsigned char)(bits >> 8);
            p[k++] = (unsigned char)bits;
            bits = 0;
            if (pads == 2 && (p[k - 2] || p[k - 1]))
                goto bad;        /* bits after the end: two texts for the same bytes */
            if (pads == 1 && p[k - 1])
                goto bad;
            if (pads > 0 && digits > 0)
                digits = 4;      /* nothing but white space may follow */
        }
    }
    if (digits % 4 != 0)
        goto bad;
    *out = p;
    *n_out = k - pads;
    return 0;
bad:
    free(p);
    return -1;
}

int data_url_check(const char *url, size_t n_url, size_t max, const char *field, const char **data, size_t *n,
                   struct err *e)
{
    if (strncasecmp(url, "http:", 5) == 0 || strncasecmp(url, "https:", 6) == 0)
        return err_field(e, field, "%s: remote image URLs are off; send the image as a base64 data: URL", field);
    if (strncasecmp(url, "data:", 5) != 0)
        return err_field(e, field, "%s must be a data: URL such as data:image/png;base64,...", field);
    const char *comma = memchr(url, ',', n_url < 256 ? n_url : 256);
    if (!comma || comma - url < 12 || strncasecmp(comma - 7, ";base64", 7) != 0)
        return err_field(e, field, "%s: only base64 data: URLs are understood (data:image/png;base64,...)", field);
    *data = comma + 1;
    *n = n_url - (size_t)(comma + 1 - url);
    if (*n == 0)
        return err_field(e, field, "%s holds no data", field);
    if (*n / 4 * 3 > max)
        return err_field(e, field, "%s holds about %zu bytes; an image file may have %zu", field, *n / 4 * 3, max);
    return 0;
}
