/* image/taps.h - makes the weights of one side. Private to image/. */
#ifndef IMAGE_TAPS_H
#define IMAGE_TAPS_H
#include "image/passes.h"

/* Weights to resize a side of `from` pixels to `to`; any filter but nearest.
 * -1: memory is out. */
int  taps_init(struct taps *t, int from, int to, enum filter filter, enum resizer how);
void taps_free(struct taps *t);

/* Nearest, whose sums have one pixel each: a side of `from` pixels to `to` in a picture that becomes `all`. */
int  taps_nearest(struct taps *t, int from, int to, const struct resize_to *all);

/* Turns the weights of a side of `from` pixels into those of the same side running the other way. */
void taps_mirror(struct taps *t, int from);

/* Upper bounds: weights of one output, and bytes that the weights take while they are made. */
int    taps_most(int from, int to, enum filter filter);
size_t taps_bytes(int from, int to, enum filter filter);

#endif
