/* image/exif.c - the one EXIF tag that changes pixels: the orientation.
 *
 * An EXIF block is a small TIFF file: byte order, 42, offset of the first
 * directory; a directory is a count and 12-byte entries (tag, type, count,
 * value). Everything is checked against the length; nothing is followed
 * but that one directory. */
#include "image/formats.h"

#include <string.h>

enum { TAG_ORIENTATION = 0x0112, TYPE_BYTE = 1, TYPE_SHORT = 3, TYPE_LONG = 4, ENTRY = 12 };

struct tiff {
    const uint8_t *p; /* borrowed */
    size_t         n;
    bool           big; /* byte order "MM" */
};

static unsigned get16(const struct tiff *t, size_t at) { return t->big ? be16(t->p + at) : le16(t->p + at); }
static uint32_t get32(const struct tiff *t, size_t at) { return t->big ? be32(t->p + at) : le32(t->p + at); }

static uint32_t entry_value(const struct tiff *t, size_t at)
{
    switch (get16(t, at + 2)) {
    case TYPE_BYTE:  return t->p[at + 8];
    case TYPE_SHORT: return get16(t, at + 8);
    case TYPE_LONG:  return get32(t, at + 8);
    default:         return 0;
    }
}

int exif_orientation(const uint8_t *p, size_t n)
{
    if (n >= 6 && !memcmp(p, "Exif\0\0", 6)) p += 6, n -= 6;
    if (n < 8 || (memcmp(p, "II*\0", 4) && memcmp(p, "MM\0*", 4))) return 1;
    struct tiff t = { p, n, p[0] == 'M' };
    size_t at = get32(&t, 4);
    if (at > n - 2) return 1;
    unsigned entries = get16(&t, at);
    at += 2;
    for (unsigned i = 0; i < entries && n - at >= ENTRY; i++, at += ENTRY) {
        if (get16(&t, at) != TAG_ORIENTATION) continue;
        uint32_t v = entry_value(&t, at);
        return v >= 1 && v <= 8 ? (int)v : 1;
    }
    return 1;
}
