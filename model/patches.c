/* model/patches.c - see patches.h. Sizes follow the reference's smart_resize step by step. */
#include "model/patches.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PIXELS = 1 << 26,         /* of a resized image: nobody may ask for more */
       MAX_RATIO = 200 };            /* of its longer side to the shorter           */

/* The model's configuration fixes how large patches and blocks are, and the processor's may repeat it but not differ:
 * a difference would be a picture cut in another grid than the model learned. Limits on the size are read from the
 * places where processors of different ages have put them; the plain min_pixels and max_pixels win. */
void patches_load(struct loader *l, struct patches *p, struct hparams *v, const struct patches_default *def)
{
    struct hparams *h = &l->image, size = pixel_edges(h);
    if (hparams_end(v) != 0)
        return; /* the first error is the one to tell */
    p->patch = (int)hparams_int(v, "patch_size", def->patch, 1, 64);
    p->merge = (int)hparams_int(v, "spatial_merge_size", 2, 1, 8);
    p->frames = (int)hparams_int(v, "temporal_patch_size", 2, 1, 8);
    p->shortest = hparams_int(&size, "shortest_edge|min_pixels", def->shortest, 1, INT64_MAX / 2);
    p->longest = hparams_int(&size, "longest_edge|max_pixels", def->longest, 1, INT64_MAX / 2);
    p->shortest = hparams_int(h, "min_pixels", p->shortest, 1, INT64_MAX / 2);
    p->longest = hparams_int(h, "max_pixels", p->longest, 1, INT64_MAX / 2);
    if (hparams_int(h, "patch_size", p->patch, 1, 64) != p->patch)
        hparams_fail(h, "patch_size", "is not the model's %d", p->patch);
    if (hparams_int(h, "merge_size", p->merge, 1, 8) != p->merge)
        hparams_fail(h, "merge_size", "is not the model's %d", p->merge);
    if (hparams_int(h, "temporal_patch_size", p->frames, 1, 8) != p->frames)
        hparams_fail(h, "temporal_patch_size", "is not the model's %d", p->frames);
    pixel_channels(v, "in_channels|in_chans");
    pixel_norm_load(l, &p->pixels, def->mean, def->std);
    l->m->image_align = p->patch * p->merge;
}

/* A still image fills all frames of a patch with the same pixels, so the sum over the frames of the weights gives the
 * same result in one pass. Rows become (y, x, channel), the order in which conv2d reads. */
void patches_load_embed(struct loader *l, struct patches *p, int hidden, enum bias bias, const char *name)
{
    char full[64];
    int area = p->patch * p->patch, t = p->frames;
    snprintf(full, sizeof full, "%s.weight", name);
    const float *from = load_floats(l, SHAPE(hidden, 3, t, p->patch, p->patch), full), *b = NULL;
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias == WITH_BIAS)
        b = load_floats(l, SHAPE(hidden), full);
    float *to = load_scratch(l, (size_t)hidden * (size_t)area * 3);
    if (!to)
        return;
    for (int o = 0; o < hidden; o++, to += area * 3)
        for (int c = 0; c < 3; c++)
            for (int f = 0; f < t; f++, from += area)
                for (int i = 0; i < area; i++)
                    to[i * 3 + c] += from[i];
    load_packed(l, &p->embed, LAYOUT_LINEAR, hidden, area * 3, to - (size_t)hidden * (size_t)area * 3, b);
}

/* The request's options stand above the processor's settings, and the token limit above all. Pixels are counted over
 * `frames`, as the caller's smart_resize counts them; options give them for a single frame. */
void patches_limits(const struct patches *p, const struct image_options *opt, int frames, int64_t *min, int64_t *max)
{
    int64_t token = (int64_t)p->patch * p->merge * p->patch * p->merge;
    *min = p->shortest;
    *max = p->longest;
    if (!opt)
        return;
    if (opt->size_shortest > 0)
        *min = opt->size_shortest;
    if (opt->size_longest > 0)
        *max = opt->size_longest;
    if (opt->min_pixels > 0)
        *min = opt->min_pixels < MAX_PIXELS ? opt->min_pixels * frames : (int64_t)MAX_PIXELS * frames;
    if (opt->max_pixels > 0)
        *max = opt->max_pixels < MAX_PIXELS ? opt->max_pixels * frames : (int64_t)MAX_PIXELS * frames;
    if (opt->max_tokens > 0 && opt->max_tokens * token * frames < *max)
        *max = opt->max_tokens * token * frames;
}

int patches_plan(const struct patches *p, int width, int height, const struct image_options *opt,
                 struct image_plan *out, struct err *e)
{
    int64_t min, max;
    patches_limits(p, opt, 1, &min, &max);
    return patches_resize(p, width, height, 1, min, max, out, e);
}

static struct image_plan plan_of_grid(const struct patches *p, int h, int w)
{
    int f = p->patch * p->merge;
    return (struct image_plan){ .width = w * f, .height = h * f, .grid_h = h, .grid_w = w, .n_tokens = h * w,
                                .filter = p->pixels.filter, .resizer = RESIZER_TORCHVISION };
}

/* Follows the reference's arithmetic in doubles step by step, for a pixel more or less would be another grid. The
 * result may still be larger than anything we would resize to; that is an error. */
int patches_resize(const struct patches *p, int width, int height, int frames, int64_t min, int64_t max,
                   struct image_plan *out, struct err *e)
{
    double f = p->patch * p->merge, area = (double)frames * height * width;
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    double ratio = (double)(width > height ? width : height) / (width > height ? height : width);
    if (ratio > MAX_RATIO)
        return err_set(e, "absolute aspect ratio must be smaller than %d, got %g", MAX_RATIO, ratio);
    double h = rint(height / f) * f, w = rint(width / f) * f; /* half to even, as Python rounds */
    if (frames * h * w > (double)max) {
        double beta = sqrt(area / (double)max);
        h = fmax(f, floor(height / beta / f) * f);
        w = fmax(f, floor(width / beta / f) * f);
    } else if (frames * h * w < (double)min) {
        double beta = sqrt((double)min / area);
        h = ceil(height * beta / f) * f;
        w = ceil(width * beta / f) * f;
    }
    if (!(h * w <= MAX_PIXELS) || h < f || w < f)
        return err_set(e, "an image of %d x %d would become %.0f x %.0f pixels", width, height, w, h);
    *out = plan_of_grid(p, (int)h / (int)f, (int)w / (int)f);
    return 0;
}

/* For sums in doubles that come out a little above a whole number. */
static const double ROUNDING = 1e-12;

/* The most tokens to which an image is shrunk. Two sides whose product is `limit` are both rounded down; but a side
 * under one block becomes one, and then the other may be as long as the ratio allows. */
static double most_when_shrunk(double limit)
{
    return fmax(floor(limit), floor(sqrt(MAX_RATIO * limit)));
}

/* The most tokens to which an image is enlarged, or, where a side rounds to nothing, shrunk. Two sides whose product is
 * `limit` are both rounded up. If the shorter one becomes i, it was more than i - 1, and the longer one less than limit
 * / (i - 1). */
static double most_when_enlarged(double limit)
{
    double thinnest = ceil(sqrt(MAX_RATIO * limit) * (1 + ROUNDING)), most = thinnest;
    for (double i = 2; i - 1 <= sqrt(limit); i++)
        most = fmax(most, i * fmin(thinnest, ceil(limit / (i - 1) * (1 + ROUNDING))));
    return most;
}

/* The most tokens of an image of so many pixels, in blocks of `f`, whose sides are only rounded to blocks: each by half
 * a block at most, and their sum is largest where the ratio is. */
static double most_when_kept(double pixels, double f)
{
    double sum = sqrt(pixels) * (sqrt(MAX_RATIO) + 1 / sqrt(MAX_RATIO));
    return floor(pixels / (f * f) + sum / (2 * f) + 0.25);
}

/* The divisor of n that is nearest to its square root from below: the rows of the most nearly square grid of n cells.
 * */
int grid_side(int n)
{
    int side = (int)sqrt(n);
    while (n % side)
        side--;
    return side;
}

/* An upper bound over all shapes of image, from the three things that smart_resize may do: enlarge, shrink, or only
 * round to blocks. The plan of memory rests on it. */
void patches_largest(const struct patches *p, const struct image_options *opt, int frames, bool padded, int64_t pixels,
                     struct image_plan *out)
{
    int64_t min, max;
    int f = p->patch * p->merge;
    patches_limits(p, opt, frames, &min, &max);
    double block = (double)f * f, all = floor(MAX_PIXELS / block);
    double least = fmin((double)min / frames / block, all), limit = (double)max / frames / block * (1 + ROUNDING);
    double kept = most_when_kept((double)pixels, f), most = fmax(1, most_when_enlarged(least));
    if (padded)
        kept = fmax(kept, MAX_RATIO);           /* a strip of one block's height */
    most = fmax(most, kept <= limit ? kept : most_when_shrunk(limit));
    int n = (int)fmin(most, all), h = grid_side(n);
    *out = plan_of_grid(p, h, n / h);
}

/* Text counts on, equal on all three axes. An image stands still in t while h and w run over its grid, and the text
 * after it goes on behind the larger side. */
int patches_positions(const struct model *m, const int32_t *ids, int n, const struct image_plan *images, int n_images,
                      int32_t *pos)
{
    int next = 0, image = 0;
    for (int i = 0; i < n;) {
        if (ids[i] != m->image_token || image == n_images) {
            pos[i] = pos[n + i] = pos[2 * n + i] = next++;
            i++;
            continue;
        }
        const struct image_plan *p = &images[image++];
        for (int k = 0; k < p->n_tokens && i < n; k++, i++) {
            pos[i] = next;
            pos[n + i] = next + k / p->grid_w;
            pos[2 * n + i] = next + k % p->grid_w;
        }
        next += p->grid_h > p->grid_w ? p->grid_h : p->grid_w;
    }
    return next;
}

struct patch_grid patch_grid(const struct patches *p, const struct image_plan *plan)
{
    int h = plan->grid_h * p->merge, w = plan->grid_w * p->merge;
    return (struct patch_grid){ .h = h, .w = w, .n = h * w, .merge = p->merge };
}

/* Blocks of merge x merge patches row by row, and inside a block row by row. */
int patch_row(const struct patch_grid *g, int i)
{
    int area = g->merge * g->merge, blocks = g->w / g->merge;
    return i / area / blocks * g->merge + i % area / g->merge;
}

int patch_col(const struct patch_grid *g, int i)
{
    int area = g->merge * g->merge, blocks = g->w / g->merge;
    return i / area % blocks * g->merge + i % g->merge;
}

/* Only for comparing with the reference: a forward pass makes its patches on the device. Frames of a patch are
 * equal. */
void patches_values(const struct patches *p, const struct image_plan *plan, const uint8_t *rgb, float *out,
                    int shape[4])
{
    struct patch_grid g = patch_grid(p, plan);
    int side = p->patch;
    shape[0] = g.n;
    shape[1] = 3 * p->frames * side * side;
    shape[2] = shape[3] = 1;
    for (int i = 0; out && i < g.n; i++)
        for (int k = 0; k < shape[1]; k++) {
            int c = k / (side * side * p->frames), y = patch_row(&g, i) * side + k / side % side,
                x = patch_col(&g, i) * side + k % side;
            *out++ = pixel_value(&p->pixels, rgb[((size_t)y * (size_t)plan->width + (size_t)x) * 3 + (size_t)c], c);
        }
}

/* Row and column of every patch as positions of mrope: (3, n), of which the third axis stays 0. `order`: which patch
 * stands at each place; NULL: they stand as they lie. */
const int *patch_grid_places(struct run *r, const struct patch_grid *g, const int *order)
{
    int *pos = nn_host(r, 3 * g->n);
    memset(pos, 0, 3 * (size_t)g->n * sizeof *pos);
    for (int i = 0; i < g->n; i++) {
        int from = order ? order[i] : i;
        pos[i] = patch_row(g, from);
        pos[g->n + i] = patch_col(g, from);
    }
    return nn_ints(r, pos, 3 * g->n);
}

/* The rows (n, width) of all patches: the pixels are normalised, a convolution makes one row of each patch, and these
 * are put into the order of the grid. */
struct tensor patches_embed(struct run *r, const struct patches *p, const struct encode *in, const struct patch_grid *g)
{
    struct conv c = { in->plan.height, in->plan.width, p->patch, p->patch, 0, ACT_NONE };
    struct tensor out = nn_new(r, g->n, p->embed.out);
    int *idx = nn_host(r, g->n);
    for (int i = 0; i < g->n; i++)
        idx[i] = patch_row(g, i) * g->w + patch_col(g, i);
    NN_SCRATCH(r) {
        struct tensor x = nn_pixels(r, in->rgb, c.h * c.w, p->pixels.scale, p->pixels.shift);
        x = nn_conv(r, x, &p->embed, c);
        nn_gather_to(r, out, x, 1, nn_ints(r, idx, g->n), NULL);
    }
    return out;
}
