/* model/square.c - see square.h. */
#include "model/square.h"

enum { MAX_SIDE = 4096, MAX_LONG = 1 << 24 };

/* Is there something at `name` that is no object? */
static bool is_plain(const struct hparams *h, const char *name)
{
    return hparams_has(h, name) && !json_is_object(json_object_get(h->object, name));
}

/* {"height": h, "width": w}, [h, w], or one number for both, at `name`. */
static void both(struct hparams *h, const char *name, int def, int *height, int *width)
{
    int pair[2] = { def, def };
    struct hparams in;
    if (is_plain(h, name)) {
        int n = hparams_ints(h, name, pair, 2, 1, MAX_SIDE);
        if (n == 0)
            hparams_fail(h, name, "must be a number, two numbers, or an object of height and width");
        *height = pair[0];
        *width = pair[n > 1];
        return;
    }
    in = hparams_object(h, name);
    int64_t missing = hparams_has(h, name) ? HP_REQUIRED : def;
    *height = (int)hparams_int(&in, "height", missing, 1, MAX_SIDE);
    *width = (int)hparams_int(&in, "width", missing, 1, MAX_SIDE);
}

/* A single number is the shorter side where the class says that, else both sides. An object says which of the two it
 * means by its members. */
static void size_load(struct square *s, struct hparams *h, const struct square_default *def)
{
    bool plain = is_plain(h, "size"), number = plain && !json_is_array(json_object_get(h->object, "size"));
    struct hparams in = hparams_object(h, plain ? "-" : "size");
    bool whole = hparams_has(&in, "shortest_edge") || number || !hparams_has(h, "size");
    if (hparams_has(&in, "longest_edge"))
        hparams_fail(h, "size", "longest_edge is not supported");
    if (hparams_has(&in, "shortest_edge"))
        s->shortest = (int)hparams_int(&in, "shortest_edge", HP_REQUIRED, 1, MAX_SIDE);
    else if (def->shortest && whole)
        s->shortest = (int)hparams_int(h, number ? "size" : "-", def->shortest, 1, MAX_SIDE);
    else
        both(h, "size", def->size, &s->height, &s->width);
}

void square_load(struct loader *l, struct square *s, int side, const struct square_default *def)
{
    struct hparams *h = &l->image;
    *s = (struct square){ 0 };
    l->m->square = s;
    if (!hparams_bool(h, "do_resize", true))
        hparams_fail(h, "do_resize", "must be true: this model takes pictures of one size");
    size_load(s, h, def);
    if (hparams_bool(h, "do_center_crop", def->crop > 0))
        both(h, "crop_size", def->crop ? def->crop : side, &s->crop_height, &s->crop_width);
    s->filter = (enum filter)hparams_int(h, "resample", def->filter, FILTER_NEAREST, FILTER_HAMMING);
    int height = s->crop_height ? s->crop_height : s->height, width = s->crop_width ? s->crop_width : s->width;
    if (!s->crop_height && s->shortest)
        hparams_fail(h, "do_center_crop", "must be true where the size is that of the shorter side");
    else if (side && (height != side || width != side))
        hparams_fail(h, s->crop_height ? "crop_size" : "size", "makes pictures of %d x %d, but the model takes %d x %d",
                     width, height, side, side);
}

/* Python's int(size * long / short): the product is whole, the quotient a double. */
static int64_t scaled(int64_t size, int longer, int shorter)
{
    return (int64_t)((double)(size * longer) / (double)shorter);
}

/* Where the picture begins on the canvas, or the canvas in the picture, of which half the difference is left on either
 * side; an odd pixel is padded on the right, and cut off there, too. */
static int offset(int canvas, int64_t picture) { return (int)((canvas - picture) / 2); }

static int one(int n) { return n ? n : 1; }

int square_plan(const struct square *s, int width, int height, struct image_plan *out, struct err *e)
{
    int64_t w = s->width, h = s->height;
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    if (s->shortest) {
        w = width <= height ? s->shortest : scaled(s->shortest, width, height);
        h = height <= width ? s->shortest : scaled(s->shortest, height, width);
    }
    if (w > MAX_LONG || h > MAX_LONG)
        return err_set(e, "an image of %d x %d is too long and thin", width, height);
    *out = (struct image_plan){ .width = (int)w, .height = (int)h, .grid_h = one(s->grid_h), .grid_w = one(s->grid_w),
                                .n_tokens = one(s->n_tokens), .filter = s->filter, .resizer = RESIZER_TORCHVISION };
    if (s->crop_height)
        plan_view(out, (struct image_view){ .from = IMAGE_SOURCE, .to_w = (int)w, .to_h = (int)h,
                                            .left = offset(s->crop_width, w), .top = offset(s->crop_height, h),
                                            .width = s->crop_width, .height = s->crop_height });
    return 0;
}

void square_largest(const struct square *s, struct image_plan *out)
{
    square_plan(s, s->crop_width ? s->crop_width : s->width, s->crop_height ? s->crop_height : s->height, out, NULL);
}

int square_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                      struct image_plan *out, struct err *e)
{
    (void)opt;
    return square_plan(m->square, width, height, out, e);
}

void square_largest_image(const struct model *m, const struct image_options *opt, int64_t pixels,
                          struct image_plan *out)
{
    (void)opt, (void)pixels;
    square_largest(m->square, out);
}

void square_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    pixel_planes(m->square->pixels, rgb, p->height, p->width, out, shape);
}
