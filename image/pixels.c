/* image/pixels.c - a picture in memory: allocate, free, crop, turn, and put
 * over white. */
#include "image/formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far over any limit of a server: catches wrong arguments, not big files. */
#define MAX_PIXELS ((size_t)1 << 28)

/* bytes: how many were asked for; 0 where that is not known. */
int image_no_memory(struct err *e, size_t bytes)
{
    err_memory(e);
    if (e) snprintf(e->text, sizeof e->text, "not enough memory for an image: %zu bytes", bytes);
    return -1;
}

/* The only place where memory for an image's pixels is taken, so the largest size is checked here for all formats. */
int pixels_alloc(struct pixels *p, int width, int height, struct err *e)
{
    *p = (struct pixels){ 0 };
    if (width < 1 || height < 1 || (size_t)width > MAX_PIXELS / (size_t)height)
        return err_set(e, "cannot make an image of %dx%d", width, height);
    size_t bytes = (size_t)width * (size_t)height * 3;
    p->data = malloc(bytes);
    if (!p->data) return image_no_memory(e, bytes);
    p->width = width;
    p->height = height;
    return 0;
}

void pixels_free(struct pixels *p)
{
    if (!p) return;
    free(p->data);
    *p = (struct pixels){ 0 };
}

/* The result is black first, and then the part that lies inside the picture is copied. The coordinates are long, so
 * that a rectangle far outside cannot overflow. */
int pixels_crop(struct pixels *out, const struct pixels *in, int x, int y, int width, int height, struct err *e)
{
    if (pixels_alloc(out, width, height, e)) return -1;
    memset(out->data, 0, (size_t)width * (size_t)height * 3);
    /* The part of the rectangle that lies inside, in the picture's coordinates. */
    long x0 = x > 0 ? x : 0, x1 = (long)x + width < in->width ? (long)x + width : in->width;
    long y0 = y > 0 ? y : 0, y1 = (long)y + height < in->height ? (long)y + height : in->height;
    if (x0 >= x1) return 0;
    for (long r = y0; r < y1; r++)
        memcpy(out->data + ((r - y) * width + (x0 - x)) * 3, in->data + (r * in->width + x0) * 3,
               (size_t)(x1 - x0) * 3);
    return 0;
}

/* Where the pixel (0, 0) of the upright picture is stored, and how far apart
 * its right and lower neighbours are, in pixels. */
struct walk {
    ptrdiff_t first, right, down;
};

/* The orientations are EXIF's. A picture of w x h is stored; from the upright picture's first pixel one goes `right`
 * and `down` by these steps. */
static struct walk walk_of(int orientation, ptrdiff_t w, ptrdiff_t h)
{
    ptrdiff_t last_row = (h - 1) * w, last_col = w - 1;
    switch (orientation) {
    case 2:  return (struct walk){ last_col, -1, w };             /* mirrored                  */
    case 3:  return (struct walk){ last_row + last_col, -1, -w }; /* turned by 180 degrees     */
    case 4:  return (struct walk){ last_row, 1, -w };             /* flipped upside down       */
    case 5:  return (struct walk){ 0, w, 1 };                     /* rows and columns swapped  */
    case 6:  return (struct walk){ last_row, -w, 1 };             /* needs 90 clockwise        */
    case 7:  return (struct walk){ last_row + last_col, -w, -1 }; /* swapped, turned by 180    */
    case 8:  return (struct walk){ last_col, w, -1 };             /* needs 90 anticlockwise    */
    default: return (struct walk){ 0, 1, w };
    }
}

/* Fills the upright picture in tiles: where rows and columns swap, one of the two would otherwise be read across its
 * rows, a cache line for every pixel. */
void pixels_upright_into(uint8_t *to, int width, const struct pixels *p, int orientation)
{
    enum { TILE = 32 }; /* square tiles keep both pictures in the cache when sides swap */
    bool swap = orientation >= 5;
    int up_width = swap ? p->height : p->width, up_height = swap ? p->width : p->height;
    struct walk s = walk_of(orientation, p->width, p->height);
    for (int ty = 0; ty < up_height; ty += TILE)
        for (int tx = 0; tx < up_width; tx += TILE)
            for (int y = ty; y < up_height && y < ty + TILE; y++) {
                uint8_t *d = to + ((ptrdiff_t)y * width + tx) * 3;
                ptrdiff_t from = s.first + y * s.down + tx * s.right;
                for (int x = tx; x < up_width && x < tx + TILE; x++, d += 3, from += s.right)
                    memcpy(d, p->data + from * 3, 3);
            }
}

int pixels_upright(struct pixels *p, int orientation, struct err *e)
{
    if (orientation < 2 || orientation > 8) return 0;
    bool swap = orientation >= 5;
    struct pixels up;
    if (pixels_alloc(&up, swap ? p->height : p->width, swap ? p->width : p->height, e)) return -1;
    pixels_upright_into(up.data, up.width, p, orientation);
    pixels_free(p);
    *p = up;
    return 0;
}

/* Pillow's alpha_composite with an opaque white background: its 7 extra bits
 * and its two shifts in place of the division by 255. */
static inline uint8_t over_white(unsigned v, unsigned a)
{
    unsigned t = ((v * a + 255 * (255 - a)) << 7) + (0x80u << 7);
    return (uint8_t)(((t >> 8) + t) >> 8 >> 7);
}

void rgba_over_white(uint8_t *rgb, const uint8_t *rgba, size_t width)
{
    for (size_t i = 0; i < width; i++, rgb += 3, rgba += 4)
        for (int c = 0; c < 3; c++) rgb[c] = over_white(rgba[c], rgba[3]);
}
