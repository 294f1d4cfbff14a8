/* image/taps.h - makes the weights of one side. Private to image/. */
#ifndef IMAGE_TAPS_H
#define IMAGE_TAPS_H
#include "image/passes.h"

/* Weights to resize a side; any filter but nearest. -1: memory is out. */
int  taps_init(struct taps *t, const struct extent *side, enum filter filter, enum resizer how);
void taps_free(struct taps *t);

/* Nearest, whose sums have one pixel each. all: width + height of the whole result. */
int  taps_nearest(struct taps *t, const struct extent *side, int64_t all, enum resizer how);

/* Turns the weights of a side of `from` pixels into those of the same side running the other way. */
void taps_mirror(struct taps *t, int from);

/* Upper bounds: weights of one output, and bytes that the weights take while they are made. */
int    taps_most(int from, int to, enum filter filter);
size_t taps_bytes(const struct extent *side, enum filter filter);

#endif
