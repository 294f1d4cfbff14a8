/* tokenizer/charsmap.c - see charsmap.h.
 *
 * The trie is a double array (Darts): the child of a node by a byte lies at the index of the node xor its distance
 * xor the byte, and has that byte as its label where there is such a child. */
#include "tokenizer/charsmap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/utf8.h"

struct charsmap {
    uint32_t *unit;    /* owned, (units): the trie         */
    size_t    units;
    char     *text;    /* owned, (n): strings ending in NUL */
    size_t    n;
};

/* Decodes the map. Its layout is four bytes with the size of the trie (little-endian), the trie, and the
 * replacements, each of which ends in a NUL. The replacements must be valid UTF-8, since they become part of a text
 * that everything else takes for valid. */
struct charsmap *charsmap_new(const char *base64, size_t n, struct err *e)
{
    uint8_t *raw = xmalloc(base64_room(n));
    struct charsmap *m = NULL;
    uint32_t size = 0;
    size_t k = 0;
    if (base64_decode(raw, &k, base64, n) == 0 && k >= 4)
        memcpy(&size, raw, 4);
    if (k < 4 || size > k - 4) {
        err_set(e, "precompiled_charsmap is damaged");
        goto out;
    }
    m = xcalloc(1, sizeof *m);
    m->units = size / 4;
    m->unit = xmalloc(m->units * 4);
    memcpy(m->unit, raw + 4, m->units * 4);
    m->n = k - 4 - m->units * 4;
    m->text = xmalloc(m->n + 1);
    memcpy(m->text, raw + 4 + m->units * 4, m->n);
    m->text[m->n] = 0;
    for (size_t i = 0; i < m->n;) {
        int len;
        if (utf8_get(m->text + i, m->n - i, &len) == 0xfffd && len == 1) {
            err_set(e, "precompiled_charsmap has invalid UTF-8");
            charsmap_free(m);
            m = NULL;
            goto out;
        }
        i += (size_t)len;
    }
out:
    free(raw);
    return m;
}

void charsmap_free(struct charsmap *m)
{
    if (!m)
        return;
    free(m->unit);
    free(m->text);
    free(m);
}

/* How far from a unit of the double array (Darts) its children lie. A unit has the label in its low byte; bit 8 tells
 * whether it has a value, and the rest is the distance. */
static uint32_t distance(uint32_t u) { return (u >> 10) << ((u & 1u << 9) >> 6); }

/* Follows the trie by the bytes of s until a unit has a value, which is the place of the replacement in the text.
 * Every index is checked, as the file may hold anything. */
const char *charsmap_find(const struct charsmap *m, const char *s, size_t n, size_t *len)
{
    if (!m->units)
        return NULL;
    size_t at = distance(m->unit[0]);
    for (size_t i = 0; i < n && s[i]; i++) {
        at ^= (uint8_t)s[i];
        if (at >= m->units)
            return NULL;
        uint32_t u = m->unit[at];
        if ((u & (1u << 31 | 0xff)) != (uint8_t)s[i])
            return NULL;
        at ^= distance(u);
        if (u >> 8 & 1) {
            size_t start = at < m->units ? m->unit[at] & 0x7fffffff : SIZE_MAX;
            if (start > m->n)
                return NULL;
            *len = strlen(m->text + start);
            return m->text + start;
        }
    }
    return NULL;
}
