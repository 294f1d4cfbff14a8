/* image/decode.c - which format a file is, whether it may be decoded, and the
 * order of the steps: header, limits, pixels as stored, orientation.
 *
 * Conventions where the reference splits in two: alpha is put over white, gamma
 * and colour profiles are ignored, an animation is its first frame. */
#include "image/formats.h"

#include <string.h>

struct format {
    const char *name;
    int (*probe)(const uint8_t *p, size_t n, struct image_info *info, struct err *e);
    int (*decode)(const uint8_t *p, size_t n, const struct image_info *info, struct pixels *out, struct err *e);
};

static const struct format formats[] = {
    [IMAGE_JPEG] = { "JPEG", jpeg_probe, jpeg_decode },
    [IMAGE_PNG]  = { "PNG", png_probe, png_decode },
    [IMAGE_WEBP] = { "WebP", webp_probe, webp_decode },
};

static enum image_format format_of(const uint8_t *p, size_t n)
{
    if (n >= 3 && !memcmp(p, "\xff\xd8\xff", 3)) return IMAGE_JPEG;
    if (n >= 8 && !memcmp(p, "\x89PNG\r\n\x1a\n", 8)) return IMAGE_PNG;
    if (n >= 12 && !memcmp(p, "RIFF", 4) && !memcmp(p + 8, "WEBP", 4)) return IMAGE_WEBP;
    return IMAGE_UNKNOWN;
}

int image_probe(const void *bytes, size_t n, struct image_info *info, struct err *e)
{
    *info = (struct image_info){ .orientation = 1 };
    if (n == 0) return err_set(e, "the image is empty");
    info->format = format_of(bytes, n);
    if (info->format == IMAGE_UNKNOWN) return err_set(e, "not a JPEG, PNG or WebP image");
    const struct format *f = &formats[info->format];
    if (f->probe(bytes, n, info, e)) return err_prefix(e, "%s", f->name);
    if (info->width < 1 || info->height < 1)
        return err_set(e, "%s: a side of %dx%d is zero", f->name, info->width, info->height);
    return 0;
}

static int check_size(const struct image_info *info, const struct image_limits *limits, struct err *e)
{
    int w = info->width, h = info->height;
    if (w > limits->max_side || h > limits->max_side)
        return err_set(e, "%dx%d is larger than %d a side", w, h, limits->max_side);
    if ((size_t)w * (size_t)h > limits->max_pixels)
        return err_set(e, "%dx%d has more than %zu pixels", w, h, limits->max_pixels);
    return 0;
}

int image_decode(const void *bytes, size_t n, const struct image_limits *limits, struct pixels *out, struct err *e)
{
    *out = (struct pixels){ 0 };
    if (n > limits->max_bytes)
        return err_set(e, "the image has %zu bytes, more than %zu", n, limits->max_bytes);
    struct image_info info;
    if (image_probe(bytes, n, &info, e)) return -1;
    const struct format *f = &formats[info.format];
    if (check_size(&info, limits, e)) goto fail;
    if (pixels_alloc(out, info.width, info.height, e)) goto fail;
    if (f->decode(bytes, n, &info, out, e)) goto fail;
    if (pixels_upright(out, info.orientation, e)) goto fail;
    return 0;
fail:
    pixels_free(out);
    return err_prefix(e, "%s", f->name);
}
