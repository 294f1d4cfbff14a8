/* image/png_text.c - the orientation of a PNG file, wherever Pillow finds it:
 * the chunk eXIf (or a text "exif"), a text "Raw profile type exif", which
 * ImageMagick writes as lines of hexadecimal digits, or XMP. Texts are plain
 * (tEXt), compressed (zTXt) or either (iTXt), before or after the pixels, and
 * the last of a kind counts.
 *
 * Only the texts that decide are ever inflated, at most two and each to a
 * megabyte at most: what a file may cost does not grow with what it holds. */
#include "image/formats.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/hex.h"

enum { MAX_TEXT = 1 << 20, INFLATE = 64 << 10 /* zlib's own */ };

struct text {
    struct span s;   /* as stored */
    bool compressed;
};

struct found { struct span exif; struct text profile, xmp; };

/* Splits off what stands before the first NUL; false: there is none. */
static bool cut(struct span *s, struct span *before)
{
    const uint8_t *nul = s->n ? memchr(s->p, 0, s->n) : NULL;
    if (!nul) return false;
    *before = (struct span){ s->p, (size_t)(nul - s->p) };
    *s = (struct span){ nul + 1, s->n - before->n - 1 };
    return true;
}

static bool is(struct span s, const char *name) { return s.n == strlen(name) && !memcmp(s.p, name, s.n); }

/* Splits a text chunk into its key and its text, which may be compressed. An international one (iTXt) has a language
 * and a translated key in between, which are not used. false: it is broken, or compressed in a way that nobody
 * knows. */
static bool read_text(const uint8_t *type, struct span body, struct span *key, struct text *out)
{
    struct span language;
    if (!cut(&body, key)) return false;
    *out = (struct text){ body, false };
    if (!memcmp(type, "tEXt", 4)) return true;
    bool international = !memcmp(type, "iTXt", 4);
    size_t head = international ? 2 : 1;    /* whether it is compressed (zTXt always is), and how: 0 is zlib */
    if (body.n < head || body.p[head - 1] != 0) return false;
    out->compressed = !international || body.p[0] != 0;
    out->s = (struct span){ body.p + head, body.n - head };
    return !international || (cut(&out->s, &language) && cut(&out->s, &language));
}

/* Remembers what a chunk says about the orientation, if anything. Later ones of a kind take the place of earlier
 * ones. */
static void read_chunk(const uint8_t *type, struct span body, struct found *f)
{
    struct span key;
    struct text text;
    if (!memcmp(type, "eXIf", 4)) f->exif = body;
    if (memcmp(type, "tEXt", 4) && memcmp(type, "zTXt", 4) && memcmp(type, "iTXt", 4)) return;
    if (!read_text(type, body, &key, &text)) return;
    if (is(key, "exif") && !memcmp(type, "tEXt", 4)) f->exif = text.s;
    if (is(key, "Raw profile type exif")) f->profile = text;
    if (is(key, "XML:com.adobe.xmp")) f->xmp = text;
}

/* Walks over all chunks up to the end or to one that is cut. Pixels are stepped over like everything else. */
static void read_chunks(const uint8_t *p, size_t n, struct found *f)
{
    for (size_t at = PNG_SIGNATURE, len; n - at >= PNG_CHUNK; at += len + PNG_CHUNK) {
        len = be32(p + at);
        if (len > n - at - PNG_CHUNK || !memcmp(p + at + 4, "IEND", 4)) break;
        read_chunk(p + at + 4, (struct span){ p + at + 8, len }, f);
    }
}

/* Copies or inflates a text to `to`, up to MAX_TEXT bytes, and returns how many. As in Pillow, one that is cut has what
 * is there, and one that is damaged has none. */
static size_t expand(const struct text *t, uint8_t *to)
{
    size_t n = t->s.n < MAX_TEXT ? t->s.n : MAX_TEXT;
    if (!t->compressed) {
        memcpy(to, t->s.p, n);
        return n;
    }
    z_stream z = { .next_in = (uint8_t *)(uintptr_t)t->s.p, .avail_in = (uInt)t->s.n, .next_out = to,
                   .avail_out = MAX_TEXT };
    if (inflateInit(&z) != Z_OK) return 0;
    int rc = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return rc == Z_STREAM_END || rc == Z_BUF_ERROR || rc == Z_OK ? MAX_TEXT - z.avail_out : 0;
}

/* The bytes of a raw profile, written in its place: three lines of head, then pairs of digits with white space between
 * them. ImageMagick writes EXIF like this. Reading never falls behind writing, since two digits become one byte. */
static struct span unhex(uint8_t *p, size_t n)
{
    size_t at = 0, k = 0;
    for (int line = 0; line < 3; line++) {
        const uint8_t *end = memchr(p + at, '\n', n - at);
        if (!end) return (struct span){ 0 };
        at = (size_t)(end - p) + 1;
    }
    while (at + 1 < n) {
        int high = hex_digit(p[at]), low = hex_digit(p[at + 1]);
        if (high >= 0 && low >= 0) p[k++] = (uint8_t)(high << 4 | low);
        else if (p[at] > ' ') break;
        at += high >= 0 && low >= 0 ? 2 : 1;
    }
    return (struct span){ p, k };
}

/* Looks at all chunks first and inflates only what decides: a profile if there is no chunk eXIf, and XMP if it is
 * compressed. The memory that this takes for a moment counts in info->holds where it is more than decoding takes. */
int png_orientation(const uint8_t *p, size_t n, struct image_info *info, struct err *e)
{
    struct found f = { 0 };
    read_chunks(p, n, &f);
    bool profile = !f.exif.n && f.profile.s.n;
    size_t room = profile || f.xmp.compressed ? 2 * (size_t)MAX_TEXT : 0;
    uint8_t *texts = room ? malloc(room) : NULL;
    if (room && !texts) return image_no_memory(e, room);
    if (room + INFLATE > info->holds) info->holds = room + INFLATE;
    if (profile) f.exif = unhex(texts, expand(&f.profile, texts));
    struct span xmp = f.xmp.s;
    if (f.xmp.compressed) xmp = (struct span){ texts + MAX_TEXT, expand(&f.xmp, texts + MAX_TEXT) };
    info->orientation = image_orientation(f.exif, xmp);
    free(texts);
    return 0;
}
