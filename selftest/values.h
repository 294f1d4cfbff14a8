/* selftest/values.h - the reference's pixel values of an image, for a look from
 * outside: the commands preprocess and selftest. Serving never makes them.
 *
 *     struct values v;
 *     values_of(&v, m, &pixels, &opt, &e);     // planned, resized, normalised, hashed
 *     values_free(&v); */
#ifndef SELFTEST_VALUES_H
#define SELFTEST_VALUES_H
#include "model/model.h"

struct values {
    struct image_plan plan;
    int    shape[4];                 /* the reference's; 1 where it has fewer dimensions  */
    size_t n;                        /* their product                                     */
    float *data;                     /* owned (n)                                         */
    char   sha256[65];               /* hashlib.sha256(pixel_values.numpy().tobytes())    */
};

/* opt may be NULL. -1: the model takes no images, or none of this size. */
int  values_of(struct values *out, const struct model *m, const struct pixels *in, const struct image_options *opt,
               struct err *e);
void values_free(struct values *v);

/* The views of a picture that is in memory, one behind the other. */
int  views_of(struct pixels *out, const struct pixels *in, const struct image_plan *p, struct err *e);

#endif
