/* model/patches.h - images as square patches in merge blocks, the way of the
 * Qwen-VL and GLM-V families: sizes, order, embedding, positions in the text.
 *
 * The order of patches is that of the reference: blocks of merge x merge row
 * by row, and inside a block row by row, so that the patches of one image
 * token are neighbours. */
#ifndef MODEL_PATCHES_H
#define MODEL_PATCHES_H
#include "model/load.h"
#include "model/nn.h"
#include "model/pixels.h"

struct patches {
    int patch, merge, frames;        /* frames: a still image is repeated, which is folded into the weights */
    int64_t shortest, longest;       /* the processor's `size`: limits on pixels                            */
    struct pixel_norm pixels;
    struct weight embed;             /* (hidden, patch * patch * 3)                                         */
};

struct patches_default { int patch; int64_t shortest, longest; const double *mean, *std; };

/* Reads the processor's settings and the vision configuration's patch sizes. */
void patches_load(struct loader *l, struct patches *p, struct hparams *vision, const struct patches_default *def);
/* NAME.weight (hidden, 3, frames, patch, patch): summed over the frames, which are equal in a still image. */
void patches_load_embed(struct loader *l, struct patches *p, int hidden, enum bias bias, const char *name);

/* min, max: what smart_resize compares with, in its own meaning (frames = 1 for Qwen, p->frames for GLM). */
void patches_limits(const struct patches *p, const struct image_options *opt, int frames, int64_t *min, int64_t *max);
/* The end of smart_resize: width and height rounded to blocks and brought within min..max, both counted over `frames`.
 * Fills the plan. */
int  patches_resize(const struct patches *p, int width, int height, int frames, int64_t min, int64_t max,
                    struct image_plan *out, struct err *e);

/* The two together, as Qwen's processors have them. */
int  patches_plan(const struct patches *p, int width, int height, const struct image_options *opt,
                  struct image_plan *out, struct err *e);

/* The shorter side of the grid of n that is nearest to a square. */
int  grid_side(int n);

/* family.largest_image. padded: sides under a block are scaled up before anything else, as GLM's processor does. */
void patches_largest(const struct patches *p, const struct image_options *opt, int frames, bool padded, int64_t pixels,
                     struct image_plan *out);

/* Position ids of text with images: family.positions. */
int  patches_positions(const struct model *m, const int32_t *ids, int n, const struct image_plan *images, int n_images,
                       int32_t *pos);

/* The reference's pixel_values (patches, 3 * frames * patch * patch): family.pixel_values. */
void patches_values(const struct patches *p, const struct image_plan *plan, const uint8_t *rgb, float *out,
                    int shape[4]);

struct patch_grid { int h, w, n, merge; };      /* of one image, in patches: n = h * w */
struct patch_grid patch_grid(const struct patches *p, const struct image_plan *plan);
int patch_row(const struct patch_grid *g, int i);    /* of patch i in the reference's order */
int patch_col(const struct patch_grid *g, int i);
/* Device pos (3, n): row, column, unused. `order` (n) or NULL: patch i of the result is order[i]. */
const int *patch_grid_places(struct run *r, const struct patch_grid *g, const int *order);
/* Pixels -> embedded patches (n, hidden) in the reference's order. */
struct tensor patches_embed(struct run *r, const struct patches *p, const struct encode *in,
                            const struct patch_grid *g);

#endif
