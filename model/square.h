/* model/square.h - how the processors of CLIP, SigLIP and MobileNet bring any
 * picture to the one size that the model was trained with: resized as a whole
 * to that size, or by its shorter side and then cut out of the middle. */
#ifndef MODEL_SQUARE_H
#define MODEL_SQUARE_H
#include "model/load.h"

struct square {
    int shortest;                    /* the length that the shorter side gets; 0: the picture gets width x height   */
    int width, height;               /* of the resize                                                               */
    int crop_width, crop_height;     /* that is cut out of the middle, filled up with black; 0: all of it           */
    enum filter filter;
};

struct square_default { int shortest, size, crop; enum filter filter; };   /* shortest or size; crop 0: none */

/* Reads size, crop_size and resample of the processor's settings. The result has to be a picture of side x side pixels,
 * or of any size with side 0. Errors stay in the loader. */
void square_load(struct loader *l, struct square *s, int side, const struct square_default *def);

/* Fills in sizes and views; the image has one place. -1: a size that cannot be. */
int  square_plan(const struct square *s, int width, int height, struct image_plan *out, struct err *e);
/* family.largest_image: all images become as large. */
void square_largest(const struct square *s, struct image_plan *out);

#endif
