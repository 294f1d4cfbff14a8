/* image/orientation.c - which way up a picture is, as Pillow's exif_transpose()
 * reads it: the EXIF tag if there is one, whatever it holds; else what the XMP
 * says first.
 *
 * An EXIF block is a small TIFF file: byte order, 42, offset of the first
 * directory; a directory is a count and 12-byte entries (tag, type, count,
 * value or its offset). Everything is checked against the length; nothing is
 * followed but that one directory and the value of that one entry. XMP is
 * looked at as text, as Pillow does: tiff:Orientation="6 or tiff:Orientation>6. */
#include "image/formats.h"

#include <string.h>

enum { TAG_ORIENTATION = 0x0112, ENTRY = 12, UPRIGHT = 1, NO_TAG = 0 };
enum { TYPE_SHORT = 3, TYPE_LONG = 4, TYPE_SBYTE = 6, TYPE_SSHORT = 8, TYPE_SLONG = 9, TYPE_IFD = 13 };

struct tiff {
    struct span s;
    bool big; /* byte order "MM" */
};

static unsigned get16(const struct tiff *t, size_t at) { return t->big ? be16(t->s.p + at) : le16(t->s.p + at); }
static uint32_t get32(const struct tiff *t, size_t at) { return t->big ? be32(t->s.p + at) : le32(t->s.p + at); }

/* Bytes of one value of a type, as far as types are of interest here. */
static size_t size_of(unsigned type)
{
    switch (type) {
    case TYPE_SBYTE: return 1;
    case TYPE_SHORT: case TYPE_SSHORT: return 2;
    default: return 4;
    }
}

/* The first value of an entry; 0 if that is no whole number, as for Pillow also an unsigned byte is not. */
static uint32_t entry_value(const struct tiff *t, size_t at)
{
    unsigned type = get16(t, at + 2);
    uint64_t size = (uint64_t)get32(t, at + 4) * size_of(type);
    size_t from = at + 8;
    if (size > 4 && (from = get32(t, at + 8)) > t->s.n - 4) return 0;
    switch (type) {
    case TYPE_SBYTE: return t->s.p[from];
    case TYPE_SHORT: case TYPE_SSHORT: return get16(t, from);
    case TYPE_LONG: case TYPE_SLONG: case TYPE_IFD: return get32(t, from);
    default: return 0;
    }
}

static bool is_tiff(const uint8_t *p)
{
    /* The last two have the magic number in the wrong byte order, which Pillow lets pass. */
    return !memcmp(p, "II*\0", 4) || !memcmp(p, "MM\0*", 4) || !memcmp(p, "II\0*", 4) || !memcmp(p, "MM*\0", 4);
}

/* What the tag in the first directory says: 1 to 8, UPRIGHT for a tag with another value, NO_TAG if there is none. The
 * name "Exif" may stand in front, even twice. The directory's entries are looked at one by one; a count that is larger
 * than what is there ends at the end of the block. */
static int exif_orientation(struct span s)
{
    for (int i = 0; i < 2 && s.n >= 6 && !memcmp(s.p, "Exif\0\0", 6); i++) s = (struct span){ s.p + 6, s.n - 6 };
    if (s.n < 8 || !is_tiff(s.p)) return NO_TAG;
    struct tiff t = { s, s.p[0] == 'M' };
    size_t at = get32(&t, 4);
    if (at > s.n - 2) return NO_TAG;
    unsigned entries = get16(&t, at);
    at += 2;
    for (unsigned i = 0; i < entries && s.n - at >= ENTRY; i++, at += ENTRY) {
        if (get16(&t, at) != TAG_ORIENTATION || get32(&t, at + 4) == 0) continue;
        uint32_t v = entry_value(&t, at);
        return v >= 1 && v <= 8 ? (int)v : UPRIGHT;
    }
    return NO_TAG;
}

/* The first of the places in the packet that looks like an orientation decides. */
static int xmp_orientation(struct span s)
{
    static const char name[] = "tiff:Orientation";
    const uint8_t *end = s.p + s.n;
    for (const uint8_t *p = s.p; p && (p = memmem(p, (size_t)(end - p), name, sizeof name - 1));) {
        p += sizeof name - 1;
        const uint8_t *digit = NULL;
        if (end - p >= 3 && !memcmp(p, "=\"", 2)) digit = p + 2;
        else if (end - p >= 2 && *p == '>') digit = p + 1;
        if (digit && *digit >= '0' && *digit <= '9') return *digit >= '1' && *digit <= '8' ? *digit - '0' : UPRIGHT;
    }
    return UPRIGHT;
}

int image_orientation(struct span exif, struct span xmp)
{
    int tag = exif_orientation(exif);
    return tag != NO_TAG ? tag : xmp_orientation(xmp);
}
