/* image/formats.h - what decode.c asks of each file format, and the helpers
 * that the formats share. Private to image/.
 *
 * probe: reads the header and what says the orientation, and no pixel.
 * decode: `info` is what probe said and its size is already within the limits;
 * `out` takes every row of RGB as stored, from the top, alpha composited over
 * white. After -1 some may be missing. */
#ifndef IMAGE_FORMATS_H
#define IMAGE_FORMATS_H
#include "image/image.h"

struct sink {
    uint8_t *(*room)(struct sink *s);    /* where the next row goes, (info->width, 3) */
    void     (*take)(struct sink *s);    /* it is there                              */
};

int jpeg_probe(const uint8_t *p, size_t n, struct image_info *info, struct err *e);
int jpeg_decode(const uint8_t *p, size_t n, const struct image_info *info, struct sink *out, struct err *e);
int png_probe(const uint8_t *p, size_t n, struct image_info *info, struct err *e);
int png_decode(const uint8_t *p, size_t n, const struct image_info *info, struct sink *out, struct err *e);
int webp_probe(const uint8_t *p, size_t n, struct image_info *info, struct err *e);
int webp_decode(const uint8_t *p, size_t n, const struct image_info *info, struct sink *out, struct err *e);

struct span { const uint8_t *p; size_t n; };   /* borrowed bytes of the file; n = 0: there are none */

int gif_probe(const uint8_t *p, size_t n, struct image_info *info, struct err *e);
int gif_decode(const uint8_t *p, size_t n, const struct image_info *info, struct sink *out, struct err *e);

/* The orientation (1..8) that an EXIF block, with or without "Exif\0\0" in
 * front, or else an XMP packet says; 1 when neither does or both are broken. */
int image_orientation(struct span exif, struct span xmp);

enum { PNG_SIGNATURE = 8, PNG_CHUNK = 12 /* length, type, checksum */ };

/* Fills in the orientation from all chunks of a PNG file, and what finding it holds if that is more than decoding does.
 * -1: memory is out. */
int png_orientation(const uint8_t *p, size_t n, struct image_info *info, struct err *e);

/* Rows of `width` RGBA pixels -> RGB over white, with Pillow's rounding. */
void rgba_over_white(uint8_t *rgb, const uint8_t *rgba, size_t width);

/* Uninitialised pixels; refuses sides under 1 and absurd sizes. */
int pixels_alloc(struct pixels *p, int width, int height, struct err *e);

/* Writes the stored picture upright into a part of another one, from the pixel `to` on, whose rows have `width`
 * pixels. */
void pixels_upright_into(uint8_t *to, int width, const struct pixels *p, int orientation);

/* Turns the stored picture upright; may replace p->data. */
int pixels_upright(struct pixels *p, int orientation, struct err *e);

/* "not enough memory for ..." with status 503; returns -1. */
int image_no_memory(struct err *e, size_t bytes);

static inline unsigned be16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }
static inline uint32_t be32(const uint8_t *p) { return (uint32_t)be16(p) << 16 | be16(p + 2); }
static inline unsigned le16(const uint8_t *p) { return p[0] | (unsigned)p[1] << 8; }
static inline uint32_t le32(const uint8_t *p) { return le16(p) | (uint32_t)le16(p + 2) << 16; }

#endif
