/* image/passes.h - what a separable resize does, for whoever carries it out:
 * image/resize.c, or a device.
 *
 * One side of the picture is resized by `struct taps`: output i is the sum of
 * count[i] inputs from start[i] on, each times its weight, plus a half, shifted
 * right by `bits` and clamped to 0..255. |sum| stays under 2^31: the weights
 * of one output add up to 1 << bits and the negative ones to little. */
#ifndef IMAGE_PASSES_H
#define IMAGE_PASSES_H
#include "image/image.h"

enum { TAP_GROUP = 4 /* weights are padded to groups with zeros */ };

struct taps {
    int      n, stride;  /* outputs; weights stored for each, a multiple of TAP_GROUP */
    int      bits;       /* of a weight that are its fraction                         */
    int      most;       /* largest count                                             */
    bool     wide;       /* weights need more than 16 bits: `high` is in use           */
    int     *start;      /* owned, (n), never decreasing                              */
    int     *count;      /* owned, (n)                                                */
    int32_t *weight;     /* owned, (n, stride)                                        */
    int16_t *low, *high; /* owned, (n, stride): weight = high * 2^12 + low            */
};

struct passes {
    struct taps x, y;    /* owned, the outputs that are wanted; n = 0: this side keeps its length */
    bool columns_first;  /* y, then x; what lies between is rounded to bytes too */
};

/* One pass: the picture is `outer` blocks of `from` lines of `inner` bytes each, and the lines of every block become
 * taps->n. */
struct pass { const struct taps *taps; int outer, from, inner; };

/* The i-th pass over a picture of that size, which becomes the size after it. false: there is none. */
bool passes_nth(const struct passes *p, int i, int *width, int *height, struct pass *out);

struct extent { int from, to, first, n; };   /* `from` pixels become `to`, and of these n from `first` on are wanted */

/* The weights to resize an upright picture of that size. -1: memory is out, and nothing is owned. */
int  passes_init(struct passes *p, int width, int height, const struct resize_to *to);
/* The same of a part of the result. Of a side that keeps its length, only the wanted pixels may come in. */
int  passes_init_part(struct passes *p, const struct extent *x, const struct extent *y, enum filter filter,
                      enum resizer how);
void passes_free(struct passes *p);

/* Passes over an upright picture become those over the picture as it is stored, of width x height and to be turned by
 * `orientation`: the same sums of the same pixels in the same order of passes. */
void passes_turn(struct passes *p, int orientation, int width, int height);

#endif
