/* image/decode.c - which format a file is, whether it may be decoded, and the
 * order of the steps: header, limits, rows as stored, resize, orientation.
 *
 * Conventions where the reference splits in two: alpha is put over white, gamma
 * and colour profiles are ignored, an animation is its first frame. */
#include "base/clock.h"
#include "image/formats.h"
#include "image/views.h"

#include <string.h>

struct format {
    const char *name;
    int (*probe)(const uint8_t *p, size_t n, struct image_info *info, struct err *e);
    int (*decode)(const uint8_t *p, size_t n, const struct image_info *info, struct sink *out, struct err *e);
};

/* Rows of RGB are handed on as they are. */
static int rgb_decode(const uint8_t *p, size_t n, const struct image_info *info, struct sink *out, struct err *e)
{
    size_t row = (size_t)info->width * 3;
    (void)n, (void)e;
    for (int y = 0; y < info->height; y++, p += row) {
        memcpy(out->room(out), p, row);
        out->take(out);
    }
    return 0;
}

static const struct format formats[] = {
    [IMAGE_JPEG] = { "JPEG", jpeg_probe, jpeg_decode },
    [IMAGE_PNG]  = { "PNG", png_probe, png_decode },
    [IMAGE_WEBP] = { "WebP", webp_probe, webp_decode },
    [IMAGE_GIF]  = { "GIF", gif_probe, gif_decode },
    [IMAGE_RGB]  = { "RGB", NULL, rgb_decode },
};

/* By the first bytes of the file. What a client calls it is not looked at. */
static enum image_format format_of(const uint8_t *p, size_t n)
{
    if (n >= 3 && !memcmp(p, "\xff\xd8\xff", 3)) return IMAGE_JPEG;
    if (n >= 8 && !memcmp(p, "\x89PNG\r\n\x1a\n", 8)) return IMAGE_PNG;
    if (n >= 12 && !memcmp(p, "RIFF", 4) && !memcmp(p + 8, "WEBP", 4)) return IMAGE_WEBP;
    if (n >= 6 && (!memcmp(p, "GIF87a", 6) || !memcmp(p, "GIF89a", 6))) return IMAGE_GIF;
    return IMAGE_UNKNOWN;
}

/* Reads the header alone: the size, the orientation and what decoding will hold. No pixel is decoded and no memory is
 * taken that grows with the picture, so this may run before the limits are checked. */
int image_probe(const void *bytes, size_t n, struct image_info *info, struct err *e)
{
    *info = (struct image_info){ .orientation = 1 };
    if (n == 0) return err_set(e, "the image is empty");
    info->format = format_of(bytes, n);
    if (info->format == IMAGE_UNKNOWN) return err_set(e, "not a JPEG, PNG, WebP or GIF image");
    const struct format *f = &formats[info->format];
    if (f->probe(bytes, n, info, e)) return err_prefix(e, "%s", f->name);
    if (info->width < 1 || info->height < 1)
        return err_set(e, "%s: a side of %dx%d is zero", f->name, info->width, info->height);
    return 0;
}

/* To be called before anything is allocated for the picture. */
int image_check(const struct image_info *info, const struct image_limits *limits, struct err *e)
{
    int w = info->width, h = info->height;
    const char *name = formats[info->format].name;
    if (limits->max_side && (w > limits->max_side || h > limits->max_side))
        return err_set(e, "%s: %dx%d is larger than %d a side", name, w, h, limits->max_side);
    if ((size_t)w * (size_t)h > limits->max_pixels)
        return err_set(e, "%s: %dx%d has more than %zu pixels", name, w, h, limits->max_pixels);
    return 0;
}

/* A picture that is kept as it comes. */
struct whole { struct sink sink; uint8_t *next; size_t bytes; };

static uint8_t *whole_room(struct sink *sink) { return ((struct whole *)sink)->next; }

static void whole_take(struct sink *sink)
{
    struct whole *w = (struct whole *)sink;
    w->next += w->bytes;
}

/* Without a recipe every row goes to its place in the result. */
static int decode_whole(const uint8_t *p, size_t n, const struct image_info *info, struct pixels *out, struct err *e)
{
    if (pixels_alloc(out, info->width, info->height, e)) return -1;
    struct whole w = { { whole_room, whole_take }, out->data, (size_t)info->width * 3 };
    if (formats[info->format].decode(p, n, info, &w.sink, e)) return -1;
    return pixels_upright(out, info->orientation, e);
}

/* Passes rows on to a resize and takes the time. */
struct timed { struct sink sink; struct sink *inner; double seconds; };

static uint8_t *timed_room(struct sink *sink)
{
    struct sink *inner = ((struct timed *)sink)->inner;
    return inner->room(inner);
}

static void timed_take(struct sink *sink)
{
    struct timed *t = (struct timed *)sink;
    double began = clock_seconds();
    t->inner->take(t->inner);
    t->seconds += clock_seconds() - began;
}

/* Rows are resized in the order in which the decoder gives them, and the small results are turned upright at the end.
 * Turning the large picture first would give the same bytes and need all of it in memory. */
static int decode_views(const uint8_t *p, size_t n, const struct image_info *info, const struct image_recipe *to,
                        struct pixels *out, double *resize_seconds, struct err *e)
{
    struct views v;
    int rc = views_begin(&v, to, info, out, e);
    struct timed timed = { { timed_room, timed_take }, views_sink(&v), 0 };
    rc = rc ? rc : formats[info->format].decode(p, n, info, &timed.sink, e);
    double began = clock_seconds();
    rc = rc ? rc : views_finish(&v, e);
    *resize_seconds += timed.seconds + (clock_seconds() - began);
    views_free(&v);
    return rc;
}

/* After an error `out` is empty and the text begins with the name of the format. */
static int decode(const void *bytes, size_t n, const struct image_info *info, const struct image_recipe *to,
                  struct pixels *out, double *resize_seconds, struct err *e)
{
    int rc = to ? decode_views(bytes, n, info, to, out, resize_seconds, e) : decode_whole(bytes, n, info, out, e);
    if (!rc) return 0;
    pixels_free(out);
    return err_prefix(e, "%s", formats[info->format].name);
}

/* Checks the limits again by itself, because callers may come with bytes that nobody has probed. */
int image_decode_timed(const void *bytes, size_t n, const struct image_limits *limits, const struct image_recipe *to,
                       struct pixels *out, double *resize_seconds, struct err *e)
{
    *out = (struct pixels){ 0 };
    if (n > limits->max_bytes)
        return err_set(e, "the image has %zu bytes, more than %zu", n, limits->max_bytes);
    struct image_info info;
    if (image_probe(bytes, n, &info, e) || image_check(&info, limits, e)) return -1;
    return decode(bytes, n, &info, to, out, resize_seconds, e);
}

int image_rgb(int width, int height, size_t n, struct image_info *info, struct err *e)
{
    *info = (struct image_info){ .format = IMAGE_RGB, .width = width, .height = height, .orientation = 1 };
    if (width < 1 || height < 1) return err_set(e, "RGB: a side of %dx%d is not positive", width, height);
    if (n / 3 / (size_t)width != (size_t)height || n % ((size_t)width * 3))
        return err_set(e, "RGB: %dx%d pixels are not %zu bytes", width, height, n);
    return 0;
}

int image_from_rgb(const void *rgb, const struct image_info *info, const struct image_recipe *to, struct pixels *out,
                   double *resize_seconds, struct err *e)
{
    *out = (struct pixels){ 0 };
    return decode(rgb, 0, info, to, out, resize_seconds, e);
}

int image_decode(const void *bytes, size_t n, const struct image_limits *limits, const struct image_recipe *to,
                 struct pixels *out, struct err *e)
{
    double unused = 0;
    return image_decode_timed(bytes, n, limits, to, out, &unused, e);
}

/* An upper bound, found without decoding. A picture that has to be turned exists twice for a moment. */
size_t image_bytes(const struct image_info *info, const struct image_recipe *to)
{
    size_t later, whole = (size_t)info->width * (size_t)info->height * 3;
    if (!to) return info->holds + whole * (info->orientation > 1 ? 2 : 1);
    size_t rows = info->holds + views_bytes(to, info, &later);
    return rows > later ? rows : later;
}
