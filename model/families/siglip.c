/* model/families/siglip.c - SigLIP and SigLIP 2: as CLIP, but a text is read both ways and padded to a fixed length,
 * its vector is that of the last place; a picture's vector is what a learned probe gathers by attention from all
 * patches. Zhai and others, 2023 (arXiv:2303.15343); Tschannen and others, 2025 (arXiv:2502.14786).
 *
 * SigLIP 2 comes in two forms. With a fixed resolution it is a checkpoint of SigLIP. The other one (NaFlex, model_type
 * siglip2) keeps the picture's ratio: of all sizes that are whole patches it takes the largest with at most
 * max_num_patches, and bends the table of positions to that grid. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/square.h"
#include "model/twin.h"

enum { MAX_PATCHES = 1 << 14, MAX_WEIGHTS = 1 << 26 /* of positions */ };

struct siglip {
    struct twin   twin;
    struct square square;            /* what becomes of a picture; NaFlex: unused          */
    int           most_patches;      /* NaFlex: of a picture; 0: it is not                 */
    struct tensor probe;             /* (1, width): the query of the attention that pools  */
    struct heads  heads;             /* of this attention                                  */
    struct weight kv, out;           /* kv: rows of k and v stacked                        */
    struct norm   norm;              /* before the MLP behind it                           */
    struct weight up, down;
};

/* ---- loading ---- */

/* NAME (rows, in) and NAME_bias as computed floats, from row `from` on. */
static void load_rows(struct loader *l, struct weight *w, const float *all, const float *bias, int from, int rows,
                      int in)
{
    float *part = load_scratch(l, (size_t)rows * (size_t)in);
    if (!part)
        return;
    memcpy(part, all + (size_t)from * (size_t)in, (size_t)rows * (size_t)in * sizeof *part);
    load_packed(l, w, LAYOUT_LINEAR, rows, in, part, bias + from);
}

/* The probe is the same for every picture, and so is its query, which is computed here. */
static void load_probe(struct loader *l, struct siglip *g, const float *in, const float *bias, int width)
{
    const float *probe = load_floats(l, SHAPE(1, 1, width), "probe");
    float *query = load_scratch(l, (size_t)width);
    for (int i = 0; i < width && query; i++) {
        double sum = bias[i];
        for (int k = 0; k < width; k++)
            sum += (double)in[(size_t)i * (size_t)width + (size_t)k] * (double)probe[k];
        query[i] = (float)sum;
    }
    if (query)
        g->probe = load_table(l, query, 1, width);
}

/* The head that pools: PyTorch's MultiheadAttention stacks the projections of q, k and v in one matrix. */
static void load_head(struct loader *l, struct siglip *g)
{
    const struct tower_sizes *s = &g->twin.image.size;
    int width = s->width, dim = width / s->heads;
    load_at(l, "vision_model.head.");
    const float *in = load_floats(l, SHAPE(3 * width, width), "attention.in_proj_weight"),
        *bias = load_floats(l, SHAPE(3 * width), "attention.in_proj_bias");
    if (!bias)
        return;
    load_probe(l, g, in, bias, width);
    load_rows(l, &g->kv, in, bias, width, 2 * width, width);
    load_linear(l, &g->out, width, width, WITH_BIAS, "attention.out_proj");
    load_norm(l, &g->norm, width, LAYER_NORM, s->eps, "layernorm");
    load_linear(l, &g->up, s->inner, width, WITH_BIAS, "mlp.fc1");
    load_linear(l, &g->down, width, s->inner, WITH_BIAS, "mlp.fc2");
    g->heads = (struct heads){ .n = s->heads, .n_kv = s->heads, .dim = dim, .scale = 1 / sqrtf((float)dim) };
}

/* At least as many weights as positions_for() needs for any grid of at most `patches`. A side of n has no more than
 * min(side, 2 max(side / n, 1) + 2) of them at each of its n places, so all of them are at most 2 side + 4 n; of the
 * product of two sides the sum is largest where one of them is 1. */
static int64_t most_weights(int64_t side, int64_t patches)
{
    int64_t few = 4 * side * side + 8 * side * (patches + 1) + 16 * patches, all = side * side * patches;
    return few < all ? few : all;
}

/* NaFlex stores the embedding of patches as a plain matrix, whose columns are (y, x, channel) already. */
static void load_processor(struct loader *l, struct siglip *g, bool flexible)
{
    struct tower *t = &g->twin.image;
    pixel_norm_load(l, &t->pixels, pixel_half, pixel_half);
    if (!flexible) {
        square_load(l, &g->square, t->image, &(struct square_default){ .size = 224, .filter = FILTER_BICUBIC });
        return;
    }
    g->most_patches = (int)hparams_int(&l->image, "max_num_patches", 256, 1, MAX_PATCHES);
    g->square.filter = (enum filter)hparams_int(&l->image, "resample", FILTER_BILINEAR, FILTER_NEAREST, FILTER_HAMMING);
    if (most_weights(t->side, g->most_patches) > MAX_WEIGHTS)
        hparams_fail(&l->image, "max_num_patches", "%d are too many for a table of %d x %d positions",
                     g->most_patches, t->side, t->side);
    if (hparams_int(&l->image, "patch_size", 16, 1, 128) != t->patch)
        hparams_fail(&l->image, "patch_size", "is not the model's %d", t->patch);
}

/* Both encoders, the head of texts and the pooling head of pictures. The vectors of both are equally wide, and their
 * cosine becomes a logit by a scale and a bias. In SigLIP 2 a picture keeps its shape and has no more than so many
 * patches. */
static int siglip_load(struct model *m, struct loader *l)
{
    struct siglip *g = m->impl = xcalloc(1, sizeof *g);
    struct twin *t = &g->twin;
    bool flexible = strcmp(m->type, "siglip2") == 0;
    struct hparams text = hparams_object(&l->config, "text_config"),
        vision = hparams_object(&l->config, "vision_config");
    const struct twin_kind kind = {
        .image = { .patch_bias = WITH_BIAS, .flat_patches = flexible, .width = 768, .inner = 3072, .layers = 12,
                   .heads = 12, .image = flexible ? 256 : 224, .patch = 16, .act = "gelu_pytorch_tanh", .eps = 1e-6 },
        .text = { .width = 768, .inner = 3072, .layers = 12, .heads = 12, .act = "gelu_pytorch_tanh", .eps = 1e-6 },
        .vocab = 32000, .context = 64, .both_ways = true };
    if (twin_load(m, l, &kind) != 0)
        return -1;
    m->shared = (int)hparams_int(&text, "projection_size", m->hidden, 1, 1 << 16);
    if (m->shared != t->image.size.width)
        hparams_fail(&text, "projection_size", "%d is not the %d of a picture's vector", m->shared,
                     t->image.size.width);
    if (!hparams_bool(&vision, "vision_use_head", true))
        hparams_fail(&vision, "vision_use_head", "must be true: a picture has no vector without it");
    if (load_end(l) != 0)
        return -1;
    load_linear(l, &t->text_head, m->shared, m->hidden, WITH_BIAS, "text_model.head");
    twin_load_scale(l, true);
    load_head(l, g);
    m->share_text = &t->text_head;
    m->image_row_width = m->shared;
    load_processor(l, g, flexible);
    return load_end(l);
}

/* ---- texts ---- */

/* As long as the context, always: cut, its end kept, or padded. */
static int siglip_text_ids(const struct model *m, int32_t *ids, int n, int pad)
{
    if (n > m->context)
        ids[m->context - 1] = ids[n - 1];
    for (int i = n; i < m->context; i++)
        ids[i] = pad;
    return m->context;
}

/* ---- pictures ---- */

/* A side at this scale, rounded up to whole patches. */
static int whole_patches(double scale, int side, int patch)
{
    double n = ceil(side * scale / patch);
    return n < 1 ? 1 : (int)fmin(n, INT32_MAX / 256);
}

/* The reference searches for the scale by halving an interval, and stops when that is short: so do we, step by step. */
static int flexible_plan(const struct siglip *g, int width, int height, struct image_plan *out, struct err *e)
{
    const double eps = 1e-5;
    double low = eps / 10, high = 100;
    int patch = g->twin.image.patch;
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    while (high - low >= eps) {
        double scale = (low + high) / 2;
        double n = (double)whole_patches(scale, height, patch) * whole_patches(scale, width, patch);
        *(n <= g->most_patches ? &low : &high) = scale;
    }
    int h = whole_patches(low, height, patch), w = whole_patches(low, width, patch);
    if ((int64_t)h * w > g->most_patches)
        return err_set(e, "an image of %d x %d cannot be brought to %d patches", width, height, g->most_patches);
    *out = (struct image_plan){ .width = w * patch, .height = h * patch, .grid_h = 1, .grid_w = 1, .n_tokens = 1,
                                .filter = g->square.filter, .resizer = RESIZER_TORCHVISION };
    return 0;
}

static int siglip_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                             struct image_plan *out, struct err *e)
{
    const struct siglip *g = m->impl;
    (void)opt;
    return g->most_patches ? flexible_plan(g, width, height, out, e) : square_plan(&g->square, width, height, out, e);
}

/* Of one row of patches there are as many as may be, and no picture has more. */
static void siglip_largest(const struct model *m, const struct image_options *opt, int64_t pixels,
                           struct image_plan *out)
{
    const struct siglip *g = m->impl;
    int patch = g->twin.image.patch;
    (void)opt, (void)pixels;
    if (!g->most_patches) {
        square_largest(&g->square, out);
        return;
    }
    *out = (struct image_plan){ .width = g->most_patches * patch, .height = patch, .grid_h = 1, .grid_w = 1,
                                .n_tokens = 1, .filter = g->square.filter, .resizer = RESIZER_TORCHVISION };
}

/* The weights with which each of `to` places reads `from` places of a table: of F.interpolate(mode="bilinear",
 * antialias=True, align_corners=False), in float32 as the reference computes them. out (to, from) */
static void bend(float *out, int from, int to)
{
    float scale = (float)from / (float)to, support = fmaxf(scale, 1);
    for (int i = 0; i < to; i++, out += from) {
        float centre = ((float)i + 0.5f) * scale - 0.5f, sum = 0;
        for (int k = 0; k < from; k++) {
            out[k] = fmaxf(1 - fabsf((float)k - centre) / support, 0);
            sum += out[k];
        }
        for (int k = 0; k < from; k++)
            out[k] /= sum;
    }
}

/* The places of a line that have a weight: where they begin, and at most how many there are. */
static int taps_of(const float *weights, int from, int to, int *first)
{
    int most = 1;
    for (int i = 0; i < to; i++) {
        const float *w = weights + (size_t)i * (size_t)from;
        int begin = 0, end = from;
        while (begin < from - 1 && w[begin] <= 0)
            begin++;
        while (end > begin + 1 && w[end - 1] <= 0)
            end--;
        first[i] = begin;
        most = end - begin > most ? end - begin : most;
    }
    return most;
}

/* The table of positions for a grid of h x w patches, (h * w, width): every place is a weighted sum of places of the
 * table that was trained, by its row's and its column's weights. Another shape than that of siglip_largest() may have
 * more weights, so in measuring there is room for as many as may be. */
static struct tensor positions_for(struct run *r, const struct siglip *g, int h, int w)
{
    const struct tower *t = &g->twin.image;
    int side = t->side, *first_y = nn_host(r, h), *first_x = nn_host(r, w);
    float *wy = nn_host_floats(r, h * side), *wx = nn_host_floats(r, w * side);
    bend(wy, side, h);
    bend(wx, side, w);
    int ny = taps_of(wy, side, h, first_y), nx = taps_of(wx, side, w, first_x), taps = ny * nx;
    int n = r->measuring ? (int)most_weights(side, g->most_patches) : h * w * taps, *idx = nn_host(r, n), at = 0;
    float *weight = nn_host_floats(r, n);
    for (int i = 0; i < h * w; i++)
        for (int k = 0; k < taps; k++, at++) {
            int y = first_y[i / w] + k / nx, x = first_x[i % w] + k % nx;
            bool there = y < side && x < side;
            weight[at] = there ? wy[i / w * side + y] * wx[i % w * side + x] : 0;
            idx[at] = there ? y * side + x : -1;
        }
    return nn_gather(r, t->position, h * w, taps, nn_ints(r, idx, n), nn_floats(r, weight, n));
}

/* All patches' states become one: attention with the learned probe as its only query, then an MLP. */
static struct tensor gather_probe(struct run *r, const struct siglip *g, struct tensor x)
{
    int width = x.cols;
    const int *one = nn_ints(r, (const int[2]){ 0, 1 }, 2), *all = nn_ints(r, (const int[2]){ 0, x.rows }, 2);
    struct tensor kv = nn_linear(r, x, &g->kv, (struct epilogue){ 0 });
    struct tensor y = nn_attend_across(r, g->probe, nn_cols(kv, 0, width), nn_cols(kv, width, width), &g->heads, 1, one,
                                       all);
    y = nn_linear(r, y, &g->out, (struct epilogue){ 0 });
    struct tensor h = nn_new(r, 1, width);
    nn_norm(r, h, y, &g->norm);
    h = nn_linear(r, h, &g->up, (struct epilogue){ .act = g->twin.image.size.act });
    return nn_linear(r, h, &g->down, (struct epilogue){ .add = y });
}

/* The vector of a picture is what a learned probe sees of the patches' normed states. NaFlex bends the table of
 * positions to the picture's shape first. */
static void siglip_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct siglip *g = m->impl;
    const struct tower *t = &g->twin.image;
    int h = in->plan.height, w = in->plan.width;
    struct tensor x = nn_new(r, tower_rows(t, h, w), t->size.width);
    NN_SCRATCH(r)
        tower_embed_at(r, t, x, in->rgb, h, w, g->most_patches ? positions_for(r, g, h / t->patch, w / t->patch)
                                                               : t->position);
    tower_run(r, t, x, t->n_layers);
    nn_norm(r, x, x, &t->post);
    twin_give(r, in, gather_probe(r, g, x));
}

/* NaFlex: (patches, patch * patch, 3); the reference pads them with zeros to max_num_patches, and has the last two as
 * one. */
static void siglip_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out,
                          int shape[4])
{
    const struct siglip *g = m->impl;
    const struct tower *t = &g->twin.image;
    int side = t->patch, w = p->width / side, n = p->height / side * w;
    if (!g->most_patches) {
        tower_values(t, rgb, p->height, p->width, out, shape);
        return;
    }
    memcpy(shape, (const int[4]){ n, side * side, 3, 1 }, 4 * sizeof *shape);
    for (int i = 0; out && i < n; i++)
        for (int k = 0; k < side * side; k++) {
            int y = i / w * side + k / side, x = i % w * side + k % side;
            for (int c = 0; c < 3; c++)
                *out++ = pixel_value(&t->pixels, rgb[((size_t)y * (size_t)p->width + (size_t)x) * 3 + (size_t)c], c);
        }
}

const struct family family_siglip = {
    .types = { "siglip", "siglip2" },
    .load = siglip_load,
    .plan_image = siglip_plan_image,
    .largest_image = siglip_largest,
    .text_ids = siglip_text_ids,
    .encode_image = siglip_encode,
    .pixel_values = siglip_values,
    .forward = twin_forward,
};
