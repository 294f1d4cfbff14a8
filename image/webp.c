/* image/webp.c - WebP through libwebp: lossy, lossless, alpha over white, and
 * the first frame of an animation drawn on its canvas.
 *
 * The RIFF container is walked here, for EXIF, XMP and the frame: a
 * chunk is a name, a little-endian length and the bytes, padded to even. The
 * canvas around a small first frame is transparent, so white; when the file
 * says that it has no alpha it is black, as Pillow shows it. */
#include "image/formats.h"

#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>

enum { RIFF_HEAD = 12, CHUNK_HEAD = 8, FRAME_HEAD = 16 };

enum { HAS_XMP = 0x04, HAS_EXIF = 0x08 };    /* flags of VP8X */

/* The bytes of the first chunk of that name. A length beyond the end of the file is cut to the end, as libwebp does
 * it. false: there is no such chunk. */
static bool find_chunk(const uint8_t *p, size_t n, const char *name, struct span *c)
{
    for (size_t at = RIFF_HEAD; n > at && n - at >= CHUNK_HEAD;) {
        size_t len = le32(p + at + 4), left = n - at - CHUNK_HEAD;
        if (!memcmp(p + at, name, 4)) {
            *c = (struct span){ p + at + CHUNK_HEAD, len < left ? len : left };
            return true;
        }
        if (len >= left) break;
        at += CHUNK_HEAD + len + (len & 1);
    }
    return false;
}

/* libwebp's error in words that say whether the file was cut, damaged, or memory was out. */
static int explain(VP8StatusCode code, struct err *e)
{
    switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:       return image_no_memory(e, 0);
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:     return err_set(e, "premature end of data");
    case VP8_STATUS_UNSUPPORTED_FEATURE: return err_set(e, "a feature that is not supported");
    default:                             return err_set(e, "damaged data");
    }
}

/* libwebp holds the picture once as it comes out, and a lossless one once more; of a transparent lossy one also its
 * alpha, and what that is made from. What the frames of an animation are is not known yet. */
static size_t webp_holds(const WebPBitstreamFeatures *f)
{
    enum { LOSSY = 1, LOSSLESS = 2, ROW_BYTES = 160, TABLES = 512 << 10 };
    size_t pixel = IMAGE_BYTES_PER_PIXEL;
    if (!f->has_animation && f->format == LOSSLESS) pixel = f->has_alpha ? 8 : 7;
    if (!f->has_animation && f->format == LOSSY && !f->has_alpha) pixel = 3;
    return (size_t)f->width * (size_t)f->height * pixel + (size_t)f->width * ROW_BYTES + TABLES;
}

/* libwebp reads the size; the extended header (VP8X) says whether there are EXIF and XMP to look for. A simple file
 * has neither. */
int webp_probe(const uint8_t *p, size_t n, struct image_info *info, struct err *e)
{
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(p, n, &f);
    if (code != VP8_STATUS_OK) return explain(code, e);
    info->width = f.width;
    info->height = f.height;
    info->holds = webp_holds(&f);
    struct span head, exif = { 0 }, xmp = { 0 };
    if (!find_chunk(p, n, "VP8X", &head) || head.n < 1) return 0;
    if (head.p[0] & HAS_EXIF) find_chunk(p, n, "EXIF", &exif);
    if (head.p[0] & HAS_XMP) find_chunk(p, n, "XMP ", &xmp);
    info->orientation = image_orientation(exif, xmp);
    return 0;
}

/* Decodes a whole file, or the chunks of one frame of an animation, into memory of our own; *out is the caller's
 * (free()) and holds rows of RGB, or of RGBA if `alpha`. */
static int decode_frame(const uint8_t *p, size_t n, int width, int height, bool alpha, uint8_t **out, struct err *e)
{
    WebPDecoderConfig config;
    size_t stride = (size_t)width * (alpha ? 4 : 3), bytes = stride * (size_t)height;
    if (!WebPInitDecoderConfig(&config)) return err_set(e, "another version of libwebp");
    if (!(*out = malloc(bytes))) return image_no_memory(e, bytes);
    config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = *out;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = bytes;
    VP8StatusCode code = WebPDecode(p, n, &config);
    WebPFreeDecBuffer(&config.output);
    if (code == VP8_STATUS_OK) return 0;
    free(*out);
    return explain(code, e);
}

struct placed { int x, y, width, height; };    /* a frame on its canvas */

/* Puts the canvas with the frame on it into `out`, row by row. Around the frame it is white or, in a picture without
 * alpha, black. */
static void put_rows(const struct image_info *info, const uint8_t *frame, struct placed f, bool alpha, struct sink *out)
{
    size_t left = (size_t)f.x * 3, width = (size_t)f.width, right = (size_t)(info->width - f.x - f.width) * 3;
    int around = alpha ? 255 : 0;
    for (int y = 0; y < info->height; y++) {
        uint8_t *row = out->room(out);
        if (y < f.y || y >= f.y + f.height) {
            memset(row, around, (size_t)info->width * 3);
        } else {
            const uint8_t *from = frame + (size_t)(y - f.y) * width * (alpha ? 4 : 3);
            memset(row, around, left);
            if (alpha) rgba_over_white(row + left, from, width);
            else memcpy(row + left, from, width * 3);
            memset(row + left + width * 3, around, right);
        }
        out->take(out);
    }
}

static uint32_t le24(const uint8_t *p) { return le16(p) | (uint32_t)p[2] << 16; }

/* The first frame of an animation: where it lies on the canvas, and the chunks that it is made of. A frame that
 * reaches outside or is of another size than it says is refused, because put_rows() relies on both. */
static int find_frame(const uint8_t *p, size_t n, const struct image_info *info, struct placed *f, struct span *body,
                      struct err *e)
{
    struct span c;
    if (!find_chunk(p, n, "ANMF", &c) || c.n < FRAME_HEAD) return err_set(e, "an animation without frames");
    *f = (struct placed){ (int)le24(c.p) * 2, (int)le24(c.p + 3) * 2, (int)le24(c.p + 6) + 1, (int)le24(c.p + 9) + 1 };
    if (f->x + f->width > info->width || f->y + f->height > info->height)
        return err_set(e, "a frame outside of the picture");
    *body = (struct span){ c.p + FRAME_HEAD, c.n - FRAME_HEAD };
    WebPBitstreamFeatures w;
    VP8StatusCode code = WebPGetFeatures(body->p, body->n, &w);
    if (code != VP8_STATUS_OK) return explain(code, e);
    if (w.width != f->width || w.height != f->height) return err_set(e, "a frame of another size than it says");
    return 0;
}

/* A still picture is a frame that fills its canvas, so both kinds go the same way. */
int webp_decode(const uint8_t *p, size_t n, const struct image_info *info, struct sink *out, struct err *e)
{
    WebPBitstreamFeatures w;
    VP8StatusCode code = WebPGetFeatures(p, n, &w);
    if (code != VP8_STATUS_OK) return explain(code, e);
    struct placed f = { 0, 0, info->width, info->height };
    struct span body = { p, n };
    uint8_t *frame = NULL;
    if (w.has_animation && find_frame(p, n, info, &f, &body, e)) return -1;
    if (decode_frame(body.p, body.n, f.width, f.height, w.has_alpha, &frame, e)) return -1;
    put_rows(info, frame, f, w.has_alpha, out);
    free(frame);
    return 0;
}
