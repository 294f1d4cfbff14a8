/* image/taps.h - makes the weights of one side. Private to image/. */
#ifndef IMAGE_TAPS_H
#define IMAGE_TAPS_H
#include "image/passes.h"

/* Weights to resize a side of `from` pixels to `to`; any filter but nearest.
 * -1: memory is out. */
int  taps_init(struct taps *t, int from, int to, enum filter filter, enum resizer how);
void taps_free(struct taps *t);

#endif
