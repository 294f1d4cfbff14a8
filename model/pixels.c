/* model/pixels.c - see pixels.h. */
#include "model/pixels.h"

#include <math.h>
#include <string.h>

const double pixel_clip_mean[3] = { 0.48145466, 0.4578275, 0.40821073 };
const double pixel_clip_std[3] = { 0.26862954, 0.26130258, 0.27577711 };
const double pixel_half[3] = { 0.5, 0.5, 0.5 };

/* Three numbers, one for each channel, or the default where the field is missing. */
static void three(struct hparams *h, const char *name, double out[3], const double def[3])
{
    int n = hparams_numbers(h, name, out, 3);
    if (n != 0 && n != 3)
        hparams_fail(h, name, "must be three numbers");
    for (int i = 0; n != 3 && i < 3; i++)
        out[i] = def[i];
}

void pixel_channels(struct hparams *vision, const char *names)
{
    if (hparams_int(vision, names, 3, 1, 64) != 3)
        hparams_fail(vision, names, "must be 3");
}

void pixel_resized(struct hparams *image)
{
    if (!hparams_bool(image, "do_resize", true))
        hparams_fail(image, "do_resize", "must be true");
}

struct hparams pixel_edges(struct hparams *image)
{
    static const char *const sides[] = { "height", "width" };
    struct hparams size = hparams_object(image, "size");
    pixel_resized(image);
    for (int i = 0; i < 2; i++)
        if (hparams_has(&size, sides[i]))
            hparams_fail(&size, sides[i], "is not supported: pictures of this model keep their shape");
    return size;
}

/* int(255 * mean), as Python has it. */
void pixel_background(struct hparams *image, uint8_t colour[3])
{
    double mean[3];
    three(image, "image_mean", mean, pixel_clip_mean);
    for (int i = 0; i < 3; i++) {
        double byte = 255 * mean[i];
        if (!(byte >= 0 && byte < 256))
            hparams_fail(image, "image_mean", "%g makes no colour for the edges of a picture", mean[i]), byte = 0;
        colour[i] = (uint8_t)byte;
    }
}

/* Folds the processor's two steps, rescaling and normalising, into one multiplication and one addition for the
 * device, and keeps mean and deviation in units of a byte for pixel_value(). */
void pixel_norm_load(struct loader *l, struct pixel_norm *out, const double mean[3], const double std[3])
{
    double m[3], s[3];
    float scale[3], shift[3];
    struct hparams *h = &l->image;
    three(h, "image_mean", m, mean);
    three(h, "image_std", s, std);
    double rescale = hparams_number(h, "rescale_factor", 1.0 / 255, 1e-9, 1e9);
    if (!hparams_bool(h, "do_rescale", true))
        rescale = 1;
    bool normalize = hparams_bool(h, "do_normalize", true);
    for (int i = 0; i < 3; i++) {
        if (!normalize)
            m[i] = 0, s[i] = 1;
        if (!(fabs(m[i]) < 1e9))
            hparams_fail(h, "image_mean", "%g is not a usable mean", m[i]), m[i] = 0;
        if (!(s[i] > 1e-9 && s[i] < 1e9))
            hparams_fail(h, "image_std", "%g is not a usable deviation", s[i]), s[i] = 1;
        out->mean[i] = (float)m[i] * (float)(1 / rescale);
        out->std[i] = (float)s[i] * (float)(1 / rescale);
        scale[i] = (float)(rescale / s[i]);
        shift[i] = (float)(-m[i] / s[i]);
    }
    out->filter = (enum filter)hparams_int(h, "resample", FILTER_BICUBIC, FILTER_NEAREST, FILTER_HAMMING);
    out->scale = load_bytes(l, scale, sizeof scale);
    out->shift = load_bytes(l, shift, sizeof shift);
}

void pixel_planes(const struct pixel_norm *norm, const uint8_t *rgb, int height, int width, float *out, int shape[4])
{
    size_t n = (size_t)height * (size_t)width;
    memcpy(shape, (const int[4]){ 3, height, width, 1 }, 4 * sizeof *shape);
    for (size_t i = 0; out && i < 3 * n; i++)
        out[i] = pixel_value(norm, rgb[i % n * 3 + i / n], (int)(i / n));
}
