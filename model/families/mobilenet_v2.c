/* model/families/mobilenet_v2.c - MobileNetV2: a picture becomes one vector, the mean over its places, and from it
 * logits of the model's classes. It reads no texts. Batch norms are folded into the convolutions before them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/labels.h"
#include "model/mobile.h"
#include "model/pixels.h"
#include "model/square.h"

enum { N_BLOCKS = 16, MAX_CHANNELS = 1 << 14 };

struct mobilenet {
    struct pixel_norm pixels;
    struct square square;
    struct weight first, last;       /* 3x3 of the picture, 1x1 behind the blocks */
    struct residual stem, block[N_BLOCKS];
    struct weight classes;           /* classifier                                */
    enum act act;
    bool     same;                   /* tf_padding                                */
};

struct widths {                      /* how the published numbers of channels are scaled */
    double depth, expand;
    int    divisible, least;
};

/* Rounded to a multiple, but never down by more than a tenth: make_divisible() of the reference. */
static int divisible(int value, const struct widths *w)
{
    int n = (int)(value + w->divisible / 2.0) / w->divisible * w->divisible;
    n = n > w->least ? n : w->least;
    return n < 0.9 * value ? n + w->divisible : n;
}

/* Python's round() is half to even, as nearbyint() is. */
static int scaled(int channels, double by, const struct widths *w)
{
    return divisible((int)nearbyint(channels * by), w);
}

/* NAME.convolution (out, in, k, k) without a bias, and NAME.normalization folded in: its weight over the deviation
 * scales a channel, and what is left is the bias. `depthwise`: in is 1, and every channel has its own kernel. */
static void load_layer(struct loader *l, struct weight *w, int out, int in, int k, bool depthwise, double eps,
                       const char *name)
{
    char full[160];
    const float *stat[4];
    static const char *const stats[] = { "weight", "bias", "running_mean", "running_var" };
    snprintf(full, sizeof full, "%s.convolution.weight", name);
    float *kernel = load_floats(l, SHAPE(out, depthwise ? 1 : in, k, k), full), *bias = load_scratch(l, (size_t)out);
    for (int i = 0; i < 4; i++) {
        snprintf(full, sizeof full, "%s.normalization.%s", name, stats[i]);
        stat[i] = load_floats(l, SHAPE(out), full);
    }
    if (l->failed)
        return;
    size_t each = (size_t)(depthwise ? 1 : in) * (size_t)(k * k);
    for (size_t o = 0; o < (size_t)out; o++) {
        double scale = (double)stat[0][o] / sqrt((double)stat[3][o] + eps);
        for (size_t i = 0; i < each; i++)
            kernel[o * each + i] = (float)(kernel[o * each + i] * scale);
        bias[o] = (float)((double)stat[1][o] - (double)stat[2][o] * scale);
    }
    if (depthwise)
        mobile_pack_depthwise(l, w, out, k, kernel, bias);
    else
        mobile_pack_conv(l, w, out, in, k, kernel, bias);
}

/* expanded 0: nothing is widened. */
static void load_block(struct loader *l, struct residual *b, int in, int expanded, int out, double eps)
{
    int wide = expanded ? expanded : in;
    if (expanded)
        load_layer(l, &b->expand, expanded, in, 1, false, eps, "expand_1x1");
    load_layer(l, &b->depthwise, wide, wide, 3, true, eps, "conv_3x3");
    load_layer(l, &b->project, out, wide, 1, false, eps, "reduce_1x1");
    b->add = b->stride == 1 && in == out && expanded;
}

/* The blocks' channels and strides as they were published, scaled as the configuration says. Returns the channels of
 * the last one. */
static int load_blocks(struct loader *l, struct mobilenet *g, const struct widths *w, bool stem_expands, double eps,
                       const char *root)
{
    static const int channels[] = { 16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320 },
        strides[] = { 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1 };
    int first = scaled(32, w->depth, w), in = scaled(channels[0], w->depth, w);
    load_at(l, "%sconv_stem.", root);
    load_layer(l, &g->first, first, 3, 3, false, eps, "first_conv");
    g->stem = (struct residual){ .stride = 1, .act = g->act, .same = g->same };
    load_block(l, &g->stem, first, stem_expands ? 0 : first, in, eps);
    g->stem.add = false;
    for (int i = 0; i < N_BLOCKS && !l->failed; i++) {
        int out = scaled(channels[i + 1], w->depth, w);
        load_at(l, "%slayer.%d.", root, i);
        g->block[i] = (struct residual){ .stride = strides[i], .act = g->act, .same = g->same };
        load_block(l, &g->block[i], in, scaled(in, w->expand, w), out, eps);
        in = out;
    }
    return in;
}

/* Sizes follow from the depth multiplier by the rules of the original. Without a classifier in the file the model
 * gives features alone; it never has texts, so what a text would need is set to the least that is allowed. */
static int mobilenet_load(struct model *m, struct loader *l)
{
    static const char *const roots[] = { "mobilenet_v2.", "", NULL };
    struct mobilenet *g = m->impl = xcalloc(1, sizeof *g);
    struct hparams *h = &l->config;
    struct widths w = { .depth = hparams_number(h, "depth_multiplier", 1, 1e-3, 16),
                        .expand = hparams_number(h, "expand_ratio", 6, 1e-3, 64),
                        .divisible = (int)hparams_int(h, "depth_divisible_by", 8, 1, 1024),
                        .least = (int)hparams_int(h, "min_depth", 8, 1, 1024) };
    double eps = hparams_number(h, "layer_norm_eps", 0.001, 0, 1);
    bool fine = hparams_bool(h, "finegrained_output", true), stem = hparams_bool(h, "first_layer_is_expansion", true);
    const char *root = load_root(l, "conv_stem.first_conv.convolution.weight", roots);
    g->act = load_act(h, "hidden_act", "relu6");
    g->same = hparams_bool(h, "tf_padding", true);
    if (hparams_int(h, "output_stride", 32, 1, 64) != 32)
        hparams_fail(h, "output_stride", "must be 32: dilated filters are not supported");
    pixel_channels(h, "num_channels");
    labels_load(l, 2);
    if (hparams_end(h) != 0)
        return -1;
    int last = load_blocks(l, g, &w, stem, eps, root);
    m->shared = fine && w.depth < 1 ? 1280 : scaled(1280, w.depth, &w);
    load_at(l, "%s", root);
    load_layer(l, &g->last, m->shared, last, 1, false, eps, "conv_1x1");
    if (load_has(l, "/classifier.weight")) {
        load_linear(l, &g->classes, m->n_classes, m->shared, WITH_BIAS, "/classifier");
        m->classes = &g->classes;
    } else {
        m->n_classes = 0;
    }
    pixel_norm_load(l, &g->pixels, pixel_half, pixel_half);
    square_load(l, &g->square, 0, &(struct square_default){ .shortest = 256, .crop = 224, .filter = FILTER_BILINEAR });
    g->square.pixels = &g->pixels;
    m->no_texts = m->no_head = m->image_alone = m->share_last = m->shared_normalised = true;
    m->vocab = m->context = 1;
    m->hidden = m->image_row_width = m->shared;
    m->text_kv = (struct kv_shape){ .layers = 1, .n_kv = 1, .dim = 1 };
    return load_end(l);
}

/* A map is needed only until the next one is there: each block's result is copied behind the place of the one before
 * it, and the scratch of its own is given back. */
static struct map next_map(struct run *r, struct map in, const struct residual *b, struct tensor room[2], int i)
{
    struct map out = in;
    NN_SCRATCH(r) {
        out = mobile_block(r, in, b);
        struct tensor to = room[i % 2];
        to.rows = out.x.rows;
        to.cols = to.stride = out.x.cols;
        r->ops->copy(r->dev, to, out.x);
        out.x = to;
    }
    return out;
}

/* Floats of the largest map between two blocks. */
static int largest_map(const struct mobilenet *g, struct map at)
{
    struct conv c = { .kernel = 3, .stride = 2, .pad = 1 };
    int h = conv_out(at.h, &c), w = conv_out(at.w, &c), most = h * w * g->stem.project.out;
    for (int i = 0; i < N_BLOCKS; i++) {
        h = g->block[i].stride == 2 ? conv_out(h, &c) : h;
        w = g->block[i].stride == 2 ? conv_out(w, &c) : w;
        int n = h * w * g->block[i].project.out;
        most = n > most ? n : most;
    }
    return most;
}

/* The stem needs the largest map by far, whose scratch is given back before the blocks. Between blocks the maps lie in
 * two places by turns. The features are the mean of the last map. */
static void mobilenet_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct mobilenet *g = m->impl;
    struct map at = { .h = in->plan.height, .w = in->plan.width };
    int most = largest_map(g, at);
    struct tensor room[2] = { nn_new(r, 1, most), nn_new(r, 1, most) };
    NN_SCRATCH(r) {
        at.x = nn_pixels(r, in->rgb, at.h * at.w, g->pixels.scale, g->pixels.shift);
        at = mobile_conv(r, at, &g->first, 3, 2, g->act, g->same, false);
        at = next_map(r, at, &g->stem, room, 0);
    }
    for (int i = 0; i < N_BLOCKS; i++)
        at = next_map(r, at, &g->block[i], room, i + 1);
    struct tensor x = mobile_pool(r, nn_linear(r, at.x, &g->last, (struct epilogue){ .act = g->act }));
    nn_scatter(r, in->pool, x, in->rows, false);
    if (in->shared)
        *in->shared = x;
}

const struct family family_mobilenet_v2 = {
    .types = { "mobilenet_v2" },
    .load = mobilenet_load,
    .plan_image = square_plan_image,
    .largest_image = square_largest_image,
    .encode_image = mobilenet_encode,
    .pixel_values = square_values,
};
