/* selftest/values.c - the pixel values that a family makes of an image, and their hash. See values.h. */
#include "selftest/values.h"

#include <stdlib.h>

#include "base/sha256.h"

int views_of(struct pixels *out, const struct pixels *in, const struct image_plan *p, struct err *e)
{
    struct image_recipe to = plan_recipe(p);
    struct image_info info = { .format = IMAGE_RGB, .width = in->width, .height = in->height, .orientation = 1 };
    double unused = 0;
    return image_from_rgb(in->data, &info, &to, out, &unused, e);
}

/* Asks for the shape first, then for the values. */
static int fill(struct values *v, const struct model *m, const uint8_t *rgb, struct err *e)
{
    m->family->pixel_values(m, &v->plan, rgb, NULL, v->shape);
    v->n = (size_t)v->shape[0] * (size_t)v->shape[1] * (size_t)v->shape[2] * (size_t)v->shape[3];
    v->data = malloc(v->n * sizeof *v->data);
    if (!v->data)
        return err_set(e, "out of memory for %zu pixel values", v->n);
    m->family->pixel_values(m, &v->plan, rgb, v->data, v->shape);
    sha256_hex(v->sha256, v->data, v->n * sizeof *v->data);
    return 0;
}

/* The same steps as in serving: plan, make the views, normalise; only the layout is the reference's. */
int values_of(struct values *out, const struct model *m, const struct pixels *in, const struct image_options *opt,
              struct err *e)
{
    struct pixels small = { 0 };
    *out = (struct values){ 0 };
    if (!m->family->plan_image)
        return err_set(e, "%s takes no images", m->type);
    if (m->family->plan_image(m, in->width, in->height, opt, &out->plan, e) != 0 ||
        views_of(&small, in, &out->plan, e) != 0)
        return -1;
    int rc = fill(out, m, small.data, e);
    pixels_free(&small);
    return rc;
}

void values_free(struct values *v)
{
    free(v->data);
    v->data = NULL;
}
