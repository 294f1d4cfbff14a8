/* model/square.h - how the processors of CLIP, SigLIP and MobileNet bring any
 * picture to the one size that the model was trained with: resized as a whole
 * to that size, or by its shorter side and then cut out of the middle. */
#ifndef MODEL_SQUARE_H
#define MODEL_SQUARE_H
#include "model/load.h"
#include "model/pixels.h"

struct square {
    int shortest;                    /* the length that the shorter side gets; 0: the picture gets width x height   */
    int width, height;               /* of the resize                                                               */
    int crop_width, crop_height;     /* that is cut out of the middle, filled up with black; 0: all of it           */
    enum filter filter;
    int grid_h, grid_w, n_tokens;    /* of the plan; the family fills them in behind square_load(). 0: one place     */
    const struct pixel_norm *pixels; /* likewise, borrowed: for square_values()                                      */
};

struct square_default { int shortest, size, crop; enum filter filter; };   /* shortest or size; crop 0: none */

/* Reads size, crop_size and resample of the processor's settings. The result has to be a picture of side x side pixels,
 * or of any size with side 0. Errors stay in the loader. */
void square_load(struct loader *l, struct square *s, int side, const struct square_default *def);

/* Fills in sizes, views and places. -1: a size that cannot be. */
int  square_plan(const struct square *s, int width, int height, struct image_plan *out, struct err *e);
/* All images become as large. */
void square_largest(const struct square *s, struct image_plan *out);

/* The functions of struct family, for one in which all pictures become model.square. */
int  square_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                       struct image_plan *out, struct err *e);
void square_largest_image(const struct model *m, const struct image_options *opt, int64_t pixels,
                          struct image_plan *out);
void square_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4]);

#endif
