/* model/families/open_autoglm.c - the native family: MobileNetV2-style stem, vision
 * layers, merger; decoder whose layers also look at the image's fine features.
 * The definition is python/openautoglm/model.py.
 *
 *     pixels -> stem (1/16) + position -> vision layers -> fine features -> keys and values of the cross layers
 *     fine features -> 2x2 neighbours -> merger -> image tokens, in the places of <|image|>
 *     decoder layer: self-attention, cross-modal attention and fusion, gated MLP
 *
 * Rows of image tokens and rows before the first image skip the cross-modal
 * block: the engine gives the others as a batch of their own (forward.cross). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/heads.h"
#include "model/blocks.h"
#include "model/load.h"
#include "model/mobile.h"
#include "model/patches.h"
#include "model/pixels.h"
#include "model/rope.h"

#define TEMPERATURE 0.07f            /* with which python/openautoglm/embeddings.py trains the shared space */
enum { CELL = 16, MAX_LAYERS = 64, MAX_STEM = 32, MAX_STEM_WIDTH = 1024, MAX_RATIO = 200 };
enum fusion { FUSION_DYNAMIC, FUSION_MEAN, FUSION_CONCAT };

struct cross {                       /* of one decoder layer              */
    struct norm   norm, out_norm;
    struct weight q, o;              /* from the text                     */
    struct weight k, v;              /* from the fine features            */
    struct weight route_text, route_image;    /* the two halves of route's columns; the bias in the first */
    int index;                       /* layer of the image KV; -1: this layer has no cross attention */
};

struct autoglm {
    struct weight embed;
    struct norm   norm;
    struct rope   rope, vision_rope;
    struct heads  cross_heads;
    enum fusion   fusion;
    int n_layers, n_vision, n_stem, merge;
    struct block  layer[MAX_LAYERS], vision[MAX_LAYERS];
    struct cross  cross[MAX_LAYERS];

    struct weight   stem_conv, stem_out, position, fc1, fc2;
    struct residual stem[MAX_STEM];
    struct norm     vision_norm;
    struct weight   project_image, project_text;    /* (shared, width), (shared, hidden): into one space */
    int    frequencies;              /* of the absolute position, per axis */
    double min_cycles, max_cycles;

    struct pixel_norm pixels;
    int factor, max_tokens;          /* pixels per image token along an axis */
};

/* ---- loading ---- */

/* NAME.weight (out, in, k, k) and NAME.bias. */
static void load_conv(struct loader *l, struct weight *w, int out, int in, int k, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    const float *from = load_floats(l, SHAPE(out, in, k, k), full);
    snprintf(full, sizeof full, "%s.bias", name);
    mobile_pack_conv(l, w, out, in, k, from, load_floats(l, SHAPE(out), full));
}

/* NAME.weight (channels, 1, 3, 3) and NAME.bias. */
static void load_depthwise(struct loader *l, struct weight *w, int channels, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    float *from = load_floats(l, SHAPE(channels, 1, 3, 3), full);
    snprintf(full, sizeof full, "%s.bias", name);
    mobile_pack_depthwise(l, w, channels, 3, from, load_floats(l, SHAPE(channels), full));
}

/* The stem's blocks are rows [channels, expansion, stride] of the configuration. Whatever they are, the strides must
 * shrink the image to cells of 16 x 16 pixels, on which sizes, positions and the merger rest. Batch norms were folded
 * at export. */
static void load_stem(struct loader *l, struct autoglm *g, struct hparams *v, int width)
{
    int in = (int)hparams_int(v, "stem_channels", 16, 1, MAX_STEM_WIDTH), scale = 2;
    json_t *rows = json_object_get(v->object, "stem"), *row;
    size_t i;
    load_at(l, "vision.stem.");
    load_conv(l, &g->stem_conv, in, 3, 3, "conv");
    if (!json_is_array(rows) || json_array_size(rows) < 1 || json_array_size(rows) > MAX_STEM) {
        hparams_fail(v, "stem", "must be a list of 1..%d blocks", MAX_STEM);
        return;
    }
    json_array_foreach(rows, i, row) {
        json_int_t t[3] = { 0 };
        for (size_t k = 0; k < 3; k++)
            t[k] = json_integer_value(json_array_get(row, k));
        if (json_array_size(row) != 3 || t[0] < 1 || t[0] > MAX_STEM_WIDTH || t[1] < 1 || t[1] > 16 || t[2] < 1 ||
            t[2] > 2) {
            hparams_fail(v, "stem", "block %zu is not [channels, expansion, stride]", i);
            return;
        }
        int out = (int)t[0], wide = in * (int)t[1];
        struct residual *b = &g->stem[i];
        b->act = ACT_RELU6;
        b->stride = (int)t[2];
        b->add = b->stride == 1 && out == in;
        scale *= b->stride;
        load_at(l, "vision.stem.blocks.%zu.", i);
        load_conv(l, &b->expand, wide, in, 1, "expand");
        load_depthwise(l, &b->depthwise, wide, "depthwise");
        load_conv(l, &b->project, out, wide, 1, "project");
        in = out;
    }
    g->n_stem = (int)json_array_size(rows);
    if (scale != CELL)
        hparams_fail(v, "stem", "shrinks the image by %d, not %d", scale, CELL);
    load_at(l, "vision.stem.");
    load_conv(l, &g->stem_out, width, in, 1, "out");
}

/* Positions as Fourier features, then pre-norm layers with two-dimensional rotary embedding. */
static void load_vision(struct loader *l, struct autoglm *g, struct hparams *v, int width)
{
    int n_heads = (int)hparams_int(v, "num_attention_heads", HP_REQUIRED, 1, 256);
    int inner = (int)hparams_int(v, "intermediate_size", HP_REQUIRED, 1, 1 << 16), dim = width / n_heads;
    heads_check(v, "num_attention_heads", dim);
    double eps = hparams_number(v, "layer_norm_eps", 1e-5, 0, 1);
    g->n_vision = (int)hparams_int(v, "num_hidden_layers", HP_REQUIRED, 1, MAX_LAYERS);
    g->frequencies = (int)hparams_int(v, "position_frequencies", 12, 1, 1024);
    g->min_cycles = hparams_number(v, "position_min_cycles", 0.5, 1e-6, 1e6);
    g->max_cycles = hparams_number(v, "position_max_cycles", 64, 1e-6, 1e6);
    if (width % n_heads)
        hparams_fail(v, "num_attention_heads", "%d heads do not divide %d", n_heads, width);
    load_at(l, "vision.");
    load_linear(l, &g->position, width, 4 * g->frequencies, NO_BIAS, "position");
    load_norm(l, &g->vision_norm, width, LAYER_NORM, eps, "norm");
    rope_load_2d(l, &g->vision_rope, dim, hparams_number(v, "rope_theta", 100, 1.001, 1e12));
    for (int i = 0; i < g->n_vision; i++) {
        struct block *b = &g->vision[i];
        load_at(l, "vision.layers.%d.", i);
        load_norm(l, &b->norm1, width, LAYER_NORM, eps, "norm1");
        load_norm(l, &b->norm2, width, LAYER_NORM, eps, "norm2");
        load_linear(l, &b->qkv, 3 * width, width, WITH_BIAS, "qkv");
        load_linear(l, &b->o, width, width, WITH_BIAS, "o");
        load_linear(l, &b->up, inner, width, WITH_BIAS, "up");
        load_linear(l, &b->down, width, inner, WITH_BIAS, "down");
        b->act = ACT_GELU_TANH;
        b->heads = (struct heads){ .n = n_heads, .n_kv = n_heads, .dim = dim, .scale = 1 / sqrtf((float)dim),
                                   .rope = &g->vision_rope };
    }
    blocks_chain(g->vision, g->n_vision);
}

/* The routing matrix multiplies [text; image]. It is cut into the half of the columns that meets the text and the half
 * that meets the image, so that the two never have to be put side by side; the bias goes with the first. */
static void load_route(struct loader *l, struct cross *c, int out, int hidden)
{
    const float *w = load_floats(l, SHAPE(out, 2 * hidden), "route.weight"),
        *bias = load_floats(l, SHAPE(out), "route.bias");
    float *text = load_scratch(l, (size_t)out * (size_t)hidden), *image = load_scratch(l, (size_t)out * (size_t)hidden);
    if (!image)
        return;
    for (int o = 0; o < out; o++) {
        memcpy(text + (size_t)o * (size_t)hidden, w + 2 * (size_t)o * (size_t)hidden, (size_t)hidden * sizeof *w);
        memcpy(image + (size_t)o * (size_t)hidden, w + (2 * (size_t)o + 1) * (size_t)hidden,
               (size_t)hidden * sizeof *w);
    }
    load_packed(l, &c->route_text, LAYOUT_LINEAR, out, hidden, text, bias);
    load_packed(l, &c->route_image, LAYOUT_LINEAR, out, hidden, image, NULL);
}

/* The cross-modal block of one layer. Its keys and values come from the image's fine features, which are `width`
 * wide. */
static void load_cross(struct loader *l, struct autoglm *g, struct cross *c, int hidden, int width, double eps)
{
    int inner = g->cross_heads.n * g->cross_heads.dim;
    load_norm(l, &c->norm, hidden, RMS_NORM, eps, "norm");
    /* The mean's half goes into the epsilon: norm((a + b) / 2) is norm(a + b) with four times the epsilon. */
    load_norm(l, &c->out_norm, hidden, LAYER_NORM, g->fusion == FUSION_MEAN ? 4e-5 : 1e-5, "out_norm");
    load_linear(l, &c->q, inner, hidden, NO_BIAS, "q_proj");
    load_linear(l, &c->k, inner, width, NO_BIAS, "k_proj");
    load_linear(l, &c->v, inner, width, NO_BIAS, "v_proj");
    load_linear(l, &c->o, hidden, inner, NO_BIAS, "o_proj");
    if (g->fusion != FUSION_MEAN)
        load_route(l, c, g->fusion == FUSION_DYNAMIC ? 2 : hidden, hidden);
}

/* How text and image are mixed: by a learned weight for each row, half and half, or by a product with both. */
static enum fusion read_fusion(struct hparams *h)
{
    const char *s = hparams_string(h, "fusion", "dynamic");
    if (strcmp(s, "dynamic") && strcmp(s, "mean") && strcmp(s, "concat"))
        hparams_fail(h, "fusion", "\"%.40s\" is not dynamic, mean or concat", s);
    if (!strcmp(s, "mean"))
        return FUSION_MEAN;
    return !strcmp(s, "concat") ? FUSION_CONCAT : FUSION_DYNAMIC;
}

/* A layer of the decoder, and in every `cross_attention_every`-th one the cross-modal block with a layer of its own
 * in the cache of images. */
static void load_decoder(struct loader *l, struct autoglm *g, struct hparams *h, int width)
{
    struct model *m = l->m;
    int n_heads = (int)hparams_int(h, "num_attention_heads", HP_REQUIRED, 1, 256);
    int n_kv = (int)hparams_int(h, "num_key_value_heads", n_heads, 1, n_heads);
    int dim = (int)hparams_int(h, "head_dim", m->hidden / n_heads, 2, 512), q = n_heads * dim, kv = n_kv * dim;
    int inner = (int)hparams_int(h, "intermediate_size", HP_REQUIRED, 1, 1 << 18), hidden = m->hidden;
    int every = (int)hparams_int(h, "cross_attention_every", 1, 1, MAX_LAYERS);
    bool cross = hparams_bool(h, "cross_attention", true);
    double eps = hparams_number(h, "rms_norm_eps", 1e-6, 0, 1);
    g->n_layers = (int)hparams_int(h, "num_hidden_layers", HP_REQUIRED, 1, MAX_LAYERS);
    g->fusion = read_fusion(h);
    if (n_heads % n_kv)
        hparams_fail(h, "num_key_value_heads", "%d does not divide %d heads", n_kv, n_heads);
    rope_load(l, &g->rope, h, &(struct rope_kind){ .head_dim = dim, .theta = 10000, .partial = 1 }, &m->context);
    g->cross_heads = (struct heads){ .n = n_heads, .n_kv = n_heads, .dim = dim, .scale = 1 / sqrtf((float)dim) };
    for (int i = 0; i < g->n_layers; i++) {
        struct block *b = &g->layer[i];
        load_at(l, "layers.%d.", i);
        load_norm(l, &b->norm1, hidden, RMS_NORM, eps, "input_norm");
        load_norm(l, &b->norm2, hidden, RMS_NORM, eps, "post_norm");
        load_qkv(l, &b->qkv, hidden, PARTS({ "q_proj", q }, { "k_proj", kv }, { "v_proj", kv }), NO_BIAS);
        load_linear(l, &b->o, hidden, q, NO_BIAS, "o_proj");
        load_stack(l, &b->up, hidden, PARTS({ "gate_proj", inner }, { "up_proj", inner }), NO_BIAS);
        load_linear(l, &b->down, hidden, inner, NO_BIAS, "down_proj");
        b->act = ACT_SILU;
        b->glu = true;
        b->heads = (struct heads){ .n = n_heads, .n_kv = n_kv, .dim = dim, .scale = 1 / sqrtf((float)dim),
                                   .rope = &g->rope };
        g->cross[i].index = cross && (i + 1) % every == 0 ? m->image_kv.layers++ : -1;
        load_at(l, "layers.%d.cross.", i);
        if (g->cross[i].index >= 0)
            load_cross(l, g, &g->cross[i], hidden, width, eps);
    }
    blocks_chain(g->layer, g->n_layers);
    m->text_kv = (struct kv_shape){ .layers = g->n_layers, .n_kv = n_kv, .dim = dim };
    m->image_kv.n_kv = n_heads, m->image_kv.dim = dim;
}

/* Sizes come first, then the tensors that they are checked against. A field or tensor that is wrong is noted where it
 * is met and reported by load_end(). */
static int autoglm_load(struct model *m, struct loader *l)
{
    struct autoglm *g = m->impl = xcalloc(1, sizeof *g);
    struct hparams *h = &l->config, v = hparams_object(h, "vision_config");
    int width = (int)hparams_int(&v, "hidden_size", HP_REQUIRED, 1, 1 << 16);
    m->vocab = (int)hparams_int(h, "vocab_size", HP_REQUIRED, 1, 1 << 24);
    m->hidden = (int)hparams_int(h, "hidden_size", HP_REQUIRED, 1, 1 << 16);
    m->context = (int)hparams_int(h, "max_position_embeddings", 2048, 1, 1 << 24);
    m->image_token = (int)hparams_int(h, "image_token_id", HP_REQUIRED, 0, m->vocab - 1);
    g->merge = (int)hparams_int(&v, "merge_size", 2, 1, 8);
    g->factor = (int)hparams_int(&l->image, "factor", CELL * g->merge, CELL * g->merge, CELL * g->merge);
    g->max_tokens = (int)hparams_int(&l->image, "max_image_tokens", 200, 1, 1 << 14);
    if (!hparams_bool(h, "tie_word_embeddings", true))
        hparams_fail(h, "tie_word_embeddings", "must be true");
    if (hparams_end(h) != 0 || hparams_end(&l->image) != 0)
        return -1;
    load_at(l, "%s", "");
    load_embedding(l, &g->embed, m->vocab, m->hidden, "embed_tokens");
    load_norm(l, &g->norm, m->hidden, RMS_NORM, hparams_number(h, "rms_norm_eps", 1e-6, 0, 1), "norm");
    load_linear(l, &g->fc1, m->hidden, g->merge * g->merge * width, WITH_BIAS, "merger.fc1");
    load_linear(l, &g->fc2, m->hidden, m->hidden, WITH_BIAS, "merger.fc2");
    int shared = (int)hparams_int(h, "projection_dim", 512, 1, 1 << 16);
    load_linear(l, &g->project_image, shared, width, NO_BIAS, "projection.image");
    load_linear(l, &g->project_text, shared, m->hidden, NO_BIAS, "projection.text");
    m->shared = shared;
    m->share_text = &g->project_text;
    m->shared_normalised = hparams_bool(h, "feature_norm", true);
    m->match = (struct match){ .there = true, .scale = 1 / TEMPERATURE };
    load_stem(l, g, &v, width);
    load_vision(l, g, &v, width);
    load_decoder(l, g, h, width);
    pixel_norm_load(l, &g->pixels, pixel_half, pixel_half);
    m->image_row_width = m->hidden;
    m->image_align = g->factor;
    return load_end(l);
}

/* ---- images ---- */

/* n, but at least 1 and at most `most`. */
static int within(int64_t n, int most)
{
    if (n < 1)
        return 1;
    return n < most ? (int)n : most;
}

/* The tokens that an image may take: the checkpoint's, unless the request or the server says otherwise. */
static int token_limit(const struct autoglm *g, const struct image_options *opt)
{
    int64_t area = (int64_t)g->factor * g->factor, n = g->max_tokens;
    if (opt && opt->size_longest > 0)
        n = opt->size_longest / area;
    if (opt && opt->max_pixels > 0)
        n = opt->max_pixels / area;
    if (opt && opt->max_tokens > 0 && opt->max_tokens < n)
        n = opt->max_tokens;
    return within(n, 1 << 14);
}

/* An image of h x w tokens. In cross-attention it has a cell for each of the finer features, merge x merge to a token.
 * */
static struct image_plan plan_of_grid(const struct model *m, int h, int w)
{
    const struct autoglm *g = m->impl;
    return (struct image_plan){ .width = w * g->factor, .height = h * g->factor, .grid_h = h, .grid_w = w,
                                .n_tokens = h * w,
                                .n_cells = m->image_kv.layers ? h * w * g->merge * g->merge : 0,
                                    .filter = g->pixels.filter,
                                .resizer = RESIZER_PIL };
}

/* As python/openautoglm/preprocess.py: an image is shrunk to the token limit if it is larger, never enlarged, and its
 * sides are rounded down to blocks. One that is thinner than a block becomes one block wide. */
static int autoglm_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                              struct image_plan *out, struct err *e)
{
    const struct autoglm *g = m->impl;
    int limit = token_limit(g, opt), f = g->factor;
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    if (width / height >= MAX_RATIO || height / width >= MAX_RATIO)
        return err_set(e, "an image of %d x %d is too long and thin (ratio over %d)", width, height, MAX_RATIO);
    double s = fmin(1, sqrt((double)((int64_t)limit * f * f) / (double)((int64_t)width * height)));
    int w = (int)floor(width * s / f), h = (int)floor(height * s / f);
    if (w < 1) {
        w = 1;
        h = within(h, limit);
    }
    if (h < 1) {
        h = 1;
        w = within(w, limit);
    }
    *out = plan_of_grid(m, h, w);
    return 0;
}

/* An image is never enlarged, and sides are rounded down, so that it takes no more tokens than it has blocks; but one
 * that is thinner than a block takes one for every block of its length. */
static void autoglm_largest(const struct model *m, const struct image_options *opt, int64_t pixels,
                            struct image_plan *out)
{
    const struct autoglm *g = m->impl;
    double f = g->factor, blocks = fmax((double)pixels / (f * f), sqrt(MAX_RATIO * (double)pixels) / f);
    int n = (int)fmax(1, fmin(blocks, token_limit(g, opt))), h = grid_side(n);
    *out = plan_of_grid(m, h, n / h);
}

/* A picture of h x w pixels becomes a map of a sixteenth of its sides. */
static struct tensor stem(struct run *r, const struct autoglm *g, struct tensor x, int h, int w)
{
    struct map at = mobile_conv(r, (struct map){ x, h, w }, &g->stem_conv, 3, 2, ACT_RELU6, false, false);
    for (int i = 0; i < g->n_stem; i++)
        at = mobile_block(r, at, &g->stem[i]);
    return nn_linear(r, at.x, &g->stem_out, (struct epilogue){ 0 });
}

/* n sines, then n cosines. */
static void fourier(float *out, const struct autoglm *g, float u)
{
    int n = g->frequencies;
    double low = log10(g->min_cycles), step = n > 1 ? (log10(g->max_cycles) - low) / (n - 1) : 0;
    for (int i = 0; i < n; i++) {
        float angle = u * 2 * (float)M_PI * (float)pow(10, low + step * i);
        out[i] = sinf(angle);
        out[n + i] = cosf(angle);
    }
}

/* The cells' centres as features (cells, 4 * frequencies): x, then y. */
static struct tensor positions(struct run *r, const struct autoglm *g, int h, int w)
{
    int n = 2 * g->frequencies;
    float *all = nn_host_floats(r, h * w * 2 * n);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            float *to = all + (size_t)(y * w + x) * 2 * (size_t)n;
            fourier(to, g, ((float)x + 0.5f) / (float)w);
            fourier(to + n, g, ((float)y + 0.5f) / (float)h);
        }
    return nn_table(r, all, h * w, 2 * n);
}

/* pos (3, cells): row, column, unused. */
static const int *cell_places(struct run *r, int h, int w)
{
    int n = h * w, *pos = nn_host(r, 3 * n);
    for (int i = 0; i < n; i++) {
        pos[i] = i / w;
        pos[n + i] = i % w;
        pos[2 * n + i] = 0;
    }
    return nn_ints(r, pos, 3 * n);
}

/* (h * w, c) -> (blocks, merge * merge * c), blocks and the cells in them row by row. */
static struct tensor blocks_of(struct run *r, struct tensor fine, int h, int w, int merge)
{
    int n = h * w, *idx = nn_host(r, n), at = 0;
    for (int y = 0; y < h; y += merge)
        for (int x = 0; x < w; x += merge)
            for (int i = 0; i < merge * merge; i++)
                idx[at++] = (y + i / merge) * w + x + i % merge;
    struct tensor t = nn_gather(r, fine, n, 1, nn_ints(r, idx, n), NULL);
    return nn_reshape(t, n / (merge * merge), merge * merge * fine.cols);
}

/* One row per cell of 16 x 16 pixels. What the stem needs, which is by far the most, is given back before the layers
 * begin. */
static struct tensor fine_features(struct run *r, const struct autoglm *g, const struct encode *in, int h, int w)
{
    int n = h * w, ph = in->plan.height, pw = in->plan.width, first[2] = { 0, n };
    const int *places = cell_places(r, h, w), *all = nn_ints(r, first, 2);
    struct stream s = stream_of(r, nn_new(r, n, g->position.out));
    NN_SCRATCH(r) {
        struct tensor image = nn_pixels(r, in->rgb, ph * pw, g->pixels.scale, g->pixels.shift);
        nn_linear_to(r, s.x, positions(r, g, h, w), &g->position,
                     (struct epilogue){ .add = stem(r, g, image, ph, pw) });
    }
    for (int i = 0; i < g->n_vision; i++) {
        block_vision_attend(r, &s, &g->vision[i], places, 1, all);
        block_mlp(r, &s, &g->vision[i]);
    }
    return stream_norm(r, &s, &g->vision_norm);
}

/* A token of the text sees every image before it. The places of images see none. */
static struct image_range autoglm_sees(const struct model *m, const int32_t *ids, int n,
                                       const struct image_plan *images, int n_images, struct image_range *sees)
{
    struct image_range before = { 0 };
    for (int i = 0; i < n;) {
        if (ids[i] != m->image_token || before.end == n_images) {
            sees[i++] = before;
            continue;
        }
        int last = i + images[before.end++].n_tokens;
        while (i < last && i < n)
            sees[i++] = (struct image_range){ 0 };
    }
    return before;
}

/* Two products of one encoder: keys and values for the decoder's cross-attention, stored in pages of the image's own,
 * and image tokens for the prompt, one for each block of cells. */
static void autoglm_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct autoglm *g = m->impl;
    int h = in->plan.grid_h * g->merge, w = in->plan.grid_w * g->merge;
    struct tensor fine = fine_features(r, g, in, h, w);
    for (int i = 0; i < g->n_layers; i++)
        if (g->cross[i].index >= 0)
            NN_SCRATCH(r) {
                struct tensor k = nn_linear(r, fine, &g->cross[i].k, (struct epilogue){ 0 });
                struct tensor v = nn_linear(r, fine, &g->cross[i].v, (struct epilogue){ 0 });
                nn_store_image(r, k, v, g->cross[i].index, &g->cross_heads, in->slots);
            }
    struct tensor t = blocks_of(r, fine, h, w, g->merge);
    t = nn_linear(r, t, &g->fc1, (struct epilogue){ .act = ACT_GELU_TANH });
    t = nn_linear(r, t, &g->fc2, (struct epilogue){ 0 });
    nn_scatter(r, in->pool, t, in->rows, false);
    if (in->shared)
        *in->shared = nn_linear(r, mobile_pool(r, fine), &g->project_image, (struct epilogue){ 0 });
}

/* (3, height, width), rounded as python/openautoglm/preprocess.py does it */
static void autoglm_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out,
                           int shape[4])
{
    const struct autoglm *g = m->impl;
    size_t n = (size_t)p->width * (size_t)p->height;
    memcpy(shape, (const int[4]){ 3, p->height, p->width, 1 }, 4 * sizeof *shape);
    for (size_t i = 0; out && i < 3 * n; i++)
        out[i] = ((float)rgb[i % n * 3 + i / n] / 255 - g->pixels.mean[i / n] / 255) / (g->pixels.std[i / n] / 255);
}

/* ---- text ---- */

/* x[cross_rows] += out_norm(text and image mixed), for the rows that see an image. Text and what it gets from the
 * images by cross-attention are mixed as the fusion says: by a routing softmax over the two, by a linear layer over
 * both, or as their sum. */
static void cross_modal(struct run *r, struct stream *s, const struct autoglm *g, const struct cross *c,
                        const struct forward *in)
{
    NN_SCRATCH(r) {
        struct tensor t = nn_gather(r, s->x, in->cross.n_rows, 1, in->cross_rows, NULL);
        nn_norm(r, t, t, &c->norm);
        struct tensor im = nn_linear(r, t, &c->q, (struct epilogue){ 0 });
        im = nn_attend_images(r, im, c->index, &g->cross_heads, &in->cross);
        im = nn_linear(r, im, &c->o, (struct epilogue){ 0 });
        if (g->fusion == FUSION_MEAN) {
            nn_add(r, t, t, im);
        } else {
            struct tensor route = nn_linear(r, t, &c->route_text, (struct epilogue){ 0 });
            nn_linear_to(r, route, im, &c->route_image, (struct epilogue){ .add = route });
            t = g->fusion == FUSION_CONCAT ? route : nn_fuse(r, t, im, route);
        }
        nn_norm(r, t, t, &c->out_norm);
        stream_add_rows(r, s, t, in->cross_rows);
    }
}

/* The cross-modal block adds to the rows of text that see an image, between the two halves of a layer. */
static struct tensor autoglm_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct autoglm *g = m->impl;
    struct stream s = stream_of(r, block_embed(r, &g->embed, in));
    for (int i = 0; i < g->n_layers; i++) {
        block_attend(r, &s, &g->layer[i], i, &in->batch);
        if (g->cross[i].index >= 0 && in->cross.n_rows > 0)
            cross_modal(r, &s, g, &g->cross[i], in);
        block_mlp(r, &s, &g->layer[i]);
    }
    return block_logits(r, s.x, &g->norm, &g->embed, in);
}

const struct family family_open_autoglm = {
    .types = { "open_autoglm" },
    .load = autoglm_load,
    .plan_image = autoglm_plan_image,
    .largest_image = autoglm_largest,
    .sees = autoglm_sees,
    .encode_image = autoglm_encode,
    .pixel_values = autoglm_values,
    .forward = autoglm_forward,
};
