/* model/pixels.h - what families share of a processor's configuration: colour
 * normalisation and filter. */
#ifndef MODEL_PIXELS_H
#define MODEL_PIXELS_H
#include "model/load.h"

struct pixel_norm {                  /* value = (byte - 255 mean) / (255 std), per channel */
    float mean[3], std[3];           /* as given, times 1 / rescale_factor                 */
    const float *scale, *shift;      /* device (3): the same as byte * scale + shift       */
    enum filter  filter;
};

/* as the reference rounds it */
static inline float pixel_value(const struct pixel_norm *n, uint8_t byte, int channel)
{
    return ((float)byte - n->mean[channel]) / n->std[channel];
}

/* The values of a picture as three planes, as family.pixel_values. */
void pixel_planes(const struct pixel_norm *n, const uint8_t *rgb, int height, int width, float *out, int shape[4]);

/* Notes an error where a configuration of the tower says that pictures are not RGB. */
void pixel_channels(struct hparams *vision, const char *names);

/* Notes an error where the processor says that it does not resize: no family takes pictures as they are. */
void pixel_resized(struct hparams *image);

/* The processor's `size`, where that is limits within which a picture keeps its shape: one that names a height or a
 * width instead is an error, and so is a processor that does not resize. */
struct hparams pixel_edges(struct hparams *image);

/* The colour around a picture: the processor's mean, cut off to whole bytes. Notes an error where that is no colour. */
void pixel_background(struct hparams *image, uint8_t colour[3]);

/* Reads image_mean, image_std, rescale_factor and resample; the defaults are the class's. */
void pixel_norm_load(struct loader *l, struct pixel_norm *out, const double mean[3], const double std[3]);

extern const double pixel_clip_mean[3], pixel_clip_std[3], pixel_half[3];

#endif
