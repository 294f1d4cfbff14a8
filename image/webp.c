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

/* The bytes of the first chunk of that name. A length beyond the end is cut to the end. */
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

int webp_probe(const uint8_t *p, size_t n, struct image_info *info, struct err *e)
{
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(p, n, &f);
    if (code != VP8_STATUS_OK) return explain(code, e);
    info->width = f.width;
    info->height = f.height;
    struct span head, exif = { 0 }, xmp = { 0 };
    if (!find_chunk(p, n, "VP8X", &head) || head.n < 1) return 0;
    if (head.p[0] & HAS_EXIF) find_chunk(p, n, "EXIF", &exif);
    if (head.p[0] & HAS_XMP) find_chunk(p, n, "XMP ", &xmp);
    info->orientation = image_orientation(exif, xmp);
    return 0;
}

/* Decodes a whole file or the chunks of one frame into rows of `stride` bytes. */
static int decode_into(const uint8_t *p, size_t n, WEBP_CSP_MODE mode, int width, int height, uint8_t *to,
                       size_t stride, struct err *e)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) return err_set(e, "another version of libwebp");
    config.output.colorspace = mode;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = to;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = stride * (size_t)(height - 1) + (size_t)width * (mode == MODE_RGB ? 3 : 4);
    VP8StatusCode code = WebPDecode(p, n, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? 0 : explain(code, e);
}

/* Decodes to RGBA and puts it over white at `to` in a picture of `stride`. */
static int decode_alpha(const uint8_t *p, size_t n, int width, int height, uint8_t *to, size_t stride, struct err *e)
{
    size_t row = (size_t)width * 4;
    uint8_t *rgba = malloc(row * (size_t)height);
    if (!rgba) return image_no_memory(e, row * (size_t)height);
    int rc = decode_into(p, n, MODE_RGBA, width, height, rgba, row, e);
    for (int y = 0; !rc && y < height; y++)
        rgba_over_white(to + (size_t)y * stride, rgba + (size_t)y * row, (size_t)width);
    free(rgba);
    return rc;
}

static uint32_t le24(const uint8_t *p) { return le16(p) | (uint32_t)p[2] << 16; }

static int decode_first_frame(const uint8_t *p, size_t n, bool alpha, struct pixels *out, struct err *e)
{
    struct span c;
    if (!find_chunk(p, n, "ANMF", &c) || c.n < FRAME_HEAD) return err_set(e, "an animation without frames");
    size_t x = le24(c.p) * 2, y = le24(c.p + 3) * 2;
    int width = (int)le24(c.p + 6) + 1, height = (int)le24(c.p + 9) + 1;
    if (x + (size_t)width > (size_t)out->width || y + (size_t)height > (size_t)out->height)
        return err_set(e, "a frame outside of the picture");
    const uint8_t *body = c.p + FRAME_HEAD;
    size_t len = c.n - FRAME_HEAD;
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(body, len, &f);
    if (code != VP8_STATUS_OK) return explain(code, e);
    if (f.width != width || f.height != height) return err_set(e, "a frame of another size than it says");
    size_t stride = (size_t)out->width * 3;
    memset(out->data, alpha ? 255 : 0, stride * (size_t)out->height);
    uint8_t *to = out->data + y * stride + x * 3;
    if (alpha) return decode_alpha(body, len, width, height, to, stride, e);
    return decode_into(body, len, MODE_RGB, width, height, to, stride, e);
}

int webp_decode(const uint8_t *p, size_t n, const struct image_info *info, struct pixels *out, struct err *e)
{
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(p, n, &f);
    if (code != VP8_STATUS_OK) return explain(code, e);
    if (f.has_animation) return decode_first_frame(p, n, f.has_alpha, out, e);
    size_t stride = (size_t)info->width * 3;
    if (f.has_alpha) return decode_alpha(p, n, info->width, info->height, out->data, stride, e);
    return decode_into(p, n, MODE_RGB, info->width, info->height, out->data, stride, e);
}
