/* image/image.h - bytes of a JPEG, PNG, WebP or GIF file -> RGB pixels -> resized
 * pixels, equal to the reference's.
 *
 *     struct image_info info; struct pixels px;
 *     image_probe(bytes, n, &info, &e);              // no pixels
 *     image_check(&info, &limits, &e);               // is it small enough?
 *     image_decode(bytes, n, &limits, &to, &px, &e); // RGB8, upright, alpha over white, views of the recipe
 *     pixels_free(&px);
 *
 * Nothing that a file holds can crash, hang or exhaust: sizes are checked from
 * the header before a pixel is allocated, and image_bytes() says before what a
 * decode will hold. All functions are thread-safe. */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum image_format { IMAGE_UNKNOWN, IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP, IMAGE_GIF, IMAGE_RGB };

struct image_info {
    enum image_format format;
    int width, height;       /* as stored, before the orientation      */
    int orientation;         /* EXIF's numbers, 1..8; 1: it is upright */
    size_t holds;            /* bytes that its decoder holds at most   */
};

/* What a decoder holds at most for each pixel, whatever the format: a lossy WebP with transparency. */
enum { IMAGE_BYTES_PER_PIXEL = 9 };

struct image_limits {
    size_t max_bytes;        /* largest file                           */
    int    max_side;         /* pixels of the stored picture; 0: any   */
    size_t max_pixels;       /* width * height                         */
};

struct pixels {              /* 8-bit RGB, rows without padding        */
    uint8_t *data;           /* owned, (height, width, 3)              */
    int      width, height;
};

enum filter { FILTER_NEAREST = 0, FILTER_LANCZOS = 1, FILTER_BILINEAR = 2, FILTER_BICUBIC = 3, FILTER_BOX = 4,
              FILTER_HAMMING = 5 };                       /* PIL's numbers                   */
enum resizer { RESIZER_PIL, RESIZER_TORCHVISION };        /* whose rounding; both antialias  */

struct resize_to {                    /* one size of the whole picture           */
    int width, height;
    enum filter  filter;
    enum resizer how;
};

enum { IMAGE_MAX_VIEWS = 8, IMAGE_SOURCE = -1 };

/* A picture that is made of another: a rectangle of it is resized and laid on a canvas. A centre crop lets the result
 * reach beyond the canvas; padding makes the canvas larger than the result; a rectangle that reaches beyond its picture
 * pads before the resize. What is cut off is never computed. */
struct image_view {
    int from;                /* IMAGE_SOURCE: the upright picture; else an earlier view's canvas     */
    int x, y, w, h;          /* the rectangle of it; w = h = 0: all of it                             */
    int to_w, to_h;          /* the size that the rectangle gets                                      */
    int left, top;           /* where that lies on the canvas; may be negative                        */
    int width, height;       /* of the canvas                                                         */
    uint8_t fill[3];         /* the colour where there is no picture: of the rectangle, of the canvas */
    bool hidden;             /* other views are made of it, and it is no part of the result           */
};

struct image_recipe {        /* what the upright picture is to become: views, one after another */
    enum filter  filter;     /* of all of them */
    enum resizer how;
    int n;
    struct image_view view[IMAGE_MAX_VIEWS];
};

/* One view: the whole picture, resized. */
struct image_recipe image_resized(const struct resize_to *to);
/* Bytes of all views that are not hidden. */
size_t image_recipe_bytes(const struct image_recipe *to);

/* A file that is refused gives one line, "PNG: 5000x20 is larger than 4096 a
 * side"; when memory is out, also status 503. `out` holds nothing after -1.
 * `to`: the views, each what pixels_resize would make of it, byte for byte; but
 * those of the picture itself are made row by row as they are decoded, so that
 * it is in memory as a whole only where its format wants it; NULL: it keeps its
 * size. `out` then has the size of the first view that is not hidden, and the
 * others lie behind its pixels. */
int  image_probe(const void *bytes, size_t n, struct image_info *info, struct err *e);
int  image_check(const struct image_info *info, const struct image_limits *limits, struct err *e);
int  image_decode(const void *bytes, size_t n, const struct image_limits *limits, const struct image_recipe *to,
                  struct pixels *out, struct err *e);
/* The same, and adds to *resize_seconds what of its time went to the resize. */
int  image_decode_timed(const void *bytes, size_t n, const struct image_limits *limits, const struct image_recipe *to,
                        struct pixels *out, double *resize_seconds, struct err *e);
void pixels_free(struct pixels *p);

/* Pixels that are there already, (height, width, 3) bytes of RGB, take the same way without a file: `info` is what
 * image_probe() would say, and image_from_rgb() is image_decode_timed() from there on. -1: n is not the size of such a
 * picture. */
int  image_rgb(int width, int height, size_t n, struct image_info *info, struct err *e);
int  image_from_rgb(const void *rgb, const struct image_info *info, const struct image_recipe *to, struct pixels *out,
                    double *resize_seconds, struct err *e);

/* Bytes that image_decode holds at most at one time, its result included. */
size_t image_bytes(const struct image_info *info, const struct image_recipe *to);

/* Byte-equal to Image.resize() of Pillow 13, or to torchvision's
 * resize(uint8, antialias=True), for every size; nearest is torchvision's
 * nearest-exact, which is what transformers maps it to. Box and hamming are
 * errors for torchvision, as they are there. */
int pixels_resize(struct pixels *out, const struct pixels *in, int width, int height, enum filter filter,
                  enum resizer how, struct err *e);

/* A rectangle of the picture. It may reach outside, where it is black: padding
 * is a crop too. */
int pixels_crop(struct pixels *out, const struct pixels *in, int x, int y, int width, int height, struct err *e);

/* Writes an RGB PNG file (for the marked copy of a screenshot). */
int png_write(const struct pixels *p, struct buf *out, struct err *e);

#endif
