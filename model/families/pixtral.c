/* model/families/pixtral.c - Pixtral, which calls itself `llava` and has a tower of its own, and Mistral Small 3.1,
 * which calls itself `mistral3`.
 *
 *     patches of a picture of any shape -> RMSNorm -> layers (gated MLP), rotated by row and column
 *     Mistral 3: -> RMSNorm -> 2x2 neighbours -> linear
 *     -> linear, GELU, linear -> image tokens; in the prompt a token ends each of their rows
 *     the decoder of Mistral */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/heads.h"
#include "model/patches.h"
#include "model/texts.h"
#include "model/tower.h"

struct pixtral {
    struct decoder text;
    struct patches patches;          /* merge 1: every patch is an image token */
    int            longest;          /* pixels of the picture's longer side, at most */
    struct norm    pre;              /* of embedded patches */
    struct block  *layer;            /* (n_layers), the model's memory: those that are run */
    int            n_layers;
    struct rope    rope;
    struct norm    norm;             /* Mistral 3: before the merge */
    struct weight  merger;           /* likewise: (width, merge * merge * width); out 0: there is none */
    struct weight  in, out;          /* of the projector */
    enum act       act;
};

struct vision { int width, inner, heads, layers; enum act act; };

/* Rows turn the first half of the pairs with every other frequency, columns the second with those between. */
static void rope_by_turns(struct loader *l, struct rope *out, int dim, double theta)
{
    float *freq = load_scratch(l, (size_t)dim / 2);
    uint8_t axis[512];
    for (int i = 0; i < dim / 2 && freq; i++) {
        int column = i >= dim / 4, k = 2 * (i - column * (dim / 4)) + column;
        freq[i] = 1 / powf((float)theta, (float)(2 * k) / (float)dim);
        axis[i] = (uint8_t)column;
    }
    *out = (struct rope){ .rot_dim = dim, .mscale = 1 };
    if (freq) {
        out->freq = load_bytes(l, freq, (size_t)dim / 2 * sizeof *freq);
        out->axis = load_bytes(l, axis, (size_t)dim / 2);
    }
}

/* The layers that are run: vision_feature_layer counts states, 0 being what the first layer reads and -1 what the last
 * one gives. -1: an error is noted. */
static int vision_sizes(struct loader *l, struct pixtral *p, struct hparams *h, struct vision *v)
{
    int at[2] = { -1, 0 };
    v->width = (int)hparams_int(h, "hidden_size", 1024, 8, 1 << 14);
    v->inner = (int)hparams_int(h, "intermediate_size", 4096, 1, 1 << 18);
    v->heads = (int)hparams_int(h, "num_attention_heads", 16, 1, 1024);
    heads_check(h, "num_attention_heads", v->width / v->heads);
    v->layers = (int)hparams_int(h, "num_hidden_layers", 24, 1, TOWER_MAX_LAYERS);
    v->act = load_act(h, "hidden_act", "gelu");
    p->patches.patch = (int)hparams_int(h, "patch_size", 16, 1, 128);
    p->patches.frames = 1;
    pixel_channels(h, "num_channels");
    int n = hparams_ints(&l->config, "vision_feature_layer", at, 2, -v->layers, v->layers);
    if (n != 1 && hparams_has(&l->config, "vision_feature_layer"))
        hparams_fail(&l->config, "vision_feature_layer", "must be one layer");
    p->n_layers = at[0] < 0 ? v->layers + 1 + at[0] : at[0];
    if (p->n_layers < 1)
        hparams_fail(&l->config, "vision_feature_layer", "names what no layer has changed");
    if (v->width % v->heads || v->width / v->heads % 4 || v->width / v->heads > 1024)
        hparams_fail(h, "num_attention_heads", "%d heads of %d cannot be rotated by rows and columns", v->heads,
                     v->width);
    return load_end(l);
}

/* A layer of the tower, which is Llama's: RMS norms, a gated MLP, and rotated queries and keys, by the rows and
 * columns of patches. */
static void layer_load(struct loader *l, struct pixtral *p, int i, const struct vision *v, const char *root)
{
    struct block *b = &p->layer[i];
    int n = v->width, dim = n / v->heads;
    load_at(l, "%stransformer.layers.%d.", root, i);
    load_norm(l, &b->norm1, n, RMS_NORM, 1e-5, "attention_norm");
    load_norm(l, &b->norm2, n, RMS_NORM, 1e-5, "ffn_norm");
    load_qkv(l, &b->qkv, n, PARTS({ "attention.q_proj", n }, { "attention.k_proj", n }, { "attention.v_proj", n }),
             NO_BIAS);
    load_linear(l, &b->o, n, n, NO_BIAS, "attention.o_proj");
    load_stack(l, &b->up, n, PARTS({ "feed_forward.gate_proj", v->inner }, { "feed_forward.up_proj", v->inner }),
               NO_BIAS);
    load_linear(l, &b->down, n, v->inner, NO_BIAS, "feed_forward.down_proj");
    b->act = v->act;
    b->glu = true;
    b->heads = (struct heads){ .n = v->heads, .n_kv = v->heads, .dim = dim, .scale = 1 / sqrtf((float)dim),
                               .rope = &p->rope };
}

/* The tower up to the layer whose states are used. Layers behind it are known and left alone, so that nobody is warned
 * of them. */
static void tower_load_all(struct loader *l, struct pixtral *p, struct hparams *h, const struct vision *v)
{
    static const char *const roots[] = { "vision_tower.", "model.vision_tower.", NULL };
    const char *root = load_root(l, "patch_conv.weight", roots);
    struct hparams rope = hparams_object(h, "rope_parameters");
    double old = hparams_number(h, "rope_theta", 10000, 1.001, 1e12);
    double theta = hparams_number(&rope, "rope_theta", old, 1.001, 1e12);
    rope_by_turns(l, &p->rope, v->width / v->heads, theta);
    load_at(l, "%s", root);
    tower_patches_load(l, &p->patches.embed, v->width, p->patches.patch, NO_BIAS, "patch_conv");
    load_norm(l, &p->pre, v->width, RMS_NORM, 1e-5, "ln_pre");
    p->layer = load_keep(l, (size_t)p->n_layers * sizeof *p->layer);
    for (int i = 0; i < p->n_layers && !l->failed; i++)
        layer_load(l, p, i, v, root);
    blocks_chain(p->layer, p->n_layers);
    for (int i = p->n_layers; i < v->layers; i++) {
        load_at(l, "%stransformer.layers.%d.", root, i);
        load_skip(l, "");
    }
}

/* The reference puts each channel of the neighbours side by side; here the neighbours are, so columns change places. */
static void merger_load(struct loader *l, struct pixtral *p, int width, double eps)
{
    int area = p->patches.merge * p->patches.merge, in = area * width;
    load_norm(l, &p->norm, width, RMS_NORM, eps, "norm");
    const float *from = load_floats(l, SHAPE(width, in), "patch_merger.merging_layer.weight");
    float *to = load_scratch(l, (size_t)width * (size_t)in);
    for (int row = 0; row < width && from && to; row++)
        for (int c = 0; c < width; c++)
            for (int k = 0; k < area; k++)
                to[(size_t)row * (size_t)in + (size_t)(k * width + c)] =
                    from[(size_t)row * (size_t)in + (size_t)(c * area + k)];
    load_packed(l, &p->merger, LAYOUT_LINEAR, width, in, to, NULL);
}

/* Two layers; in front of them Mistral Small 3.1 merges neighbouring patches. */
static void projector_load(struct loader *l, struct pixtral *p, int width, bool mistral3, double eps)
{
    int hidden = l->m->hidden;
    enum bias bias = hparams_bool(&l->config, "multimodal_projector_bias", !mistral3) ? WITH_BIAS : NO_BIAS;
    p->act = load_act(&l->config, "projector_hidden_act", "gelu");
    load_at(l, "%s", load_root(l, "linear_1.weight", load_projector_roots));
    if (mistral3)
        merger_load(l, p, width, eps);
    load_linear(l, &p->in, hidden, width, bias, "linear_1");
    load_linear(l, &p->out, hidden, hidden, bias, "linear_2");
}

/* The processor's settings. Where it names a size of patches, one number or two, it has to be the tower's. */
static void processor_load(struct loader *l, struct pixtral *p)
{
    struct hparams *h = &l->image, size = pixel_edges(h);
    bool one = json_is_integer(json_object_get(h->object, "patch_size"));
    struct hparams both = hparams_object(h, one ? "-" : "patch_size");
    p->longest = (int)hparams_int(&size, "longest_edge", 1024, 1, 1 << 14);
    int side = one ? (int)hparams_int(h, "patch_size", 16, 1, 1 << 14)
                   : (int)hparams_int(&both, "height", p->patches.patch, 1, 1 << 14);
    if (side != p->patches.patch || hparams_int(&both, "width", side, 1, 1 << 14) != side)
        hparams_fail(h, "patch_size", "must be the tower's, %d", p->patches.patch);
    if (hparams_bool(h, "do_center_crop", false))
        hparams_fail(h, "do_center_crop", "true is not supported");
    pixel_norm_load(l, &p->patches.pixels, pixel_clip_mean, pixel_clip_std);
}

/* Pixtral and Mistral Small 3.1 differ in the merging of patches alone: one is a `llava` whose tower is `pixtral`, the
 * other a type of its own. */
static int pixtral_load(struct model *m, struct loader *l)
{
    struct pixtral *p = m->impl = xcalloc(1, sizeof *p);
    struct hparams text = hparams_object(&l->config, "text_config"),
        vision = hparams_object(&l->config, "vision_config");
    struct vision v;
    bool mistral3 = !strcmp(m->type, "mistral3");
    p->patches.merge = mistral3 ? (int)hparams_int(&l->config, "spatial_merge_size", 2, 1, 16) : 1;
    texts_load(l, &p->text, &text, "mistral", texts_find(l, texts_beside_images));
    if (load_end(l) != 0 || vision_sizes(l, p, &vision, &v) != 0)
        return -1;
    m->image_token = (int)hparams_int(&l->config, "image_token_index|image_token_id", 10, 0, m->vocab - 1);
    m->image_row_width = m->hidden;
    m->image_align = p->patches.patch * p->patches.merge;
    processor_load(l, p);
    tower_load_all(l, p, &vision, &v);
    projector_load(l, p, v.width, mistral3, hparams_number(&text, "rms_norm_eps", 1e-6, 0, 1));
    return load_end(l);
}

/* A picture whose longer side is at most `longest`, and then whole tokens: sides that have none left are 0. */
static struct image_plan plan_of(const struct pixtral *p, int width, int height, int longest)
{
    int side = p->patches.patch * p->patches.merge;
    double ratio = fmax((double)height / longest, (double)width / longest);
    if (ratio > 1) {
        height = (int)floor(height / ratio);
        width = (int)floor(width / ratio);
    }
    struct image_plan out = { .grid_h = (height + side - 1) / side, .grid_w = (width + side - 1) / side,
                              .filter = p->patches.pixels.filter, .resizer = RESIZER_TORCHVISION };
    out.height = out.grid_h * side;
    out.width = out.grid_w * side;
    out.n_tokens = out.grid_h * out.grid_w;
    out.runs = out.grid_h;
    return out;
}

/* Does a plan keep to the options' limits? */
static bool keeps(const struct image_plan *p, const struct image_options *opt)
{
    return !opt || ((opt->max_tokens <= 0 || p->n_tokens <= opt->max_tokens) &&
                    (opt->max_pixels <= 0 || (int64_t)p->width * p->height <= opt->max_pixels));
}

/* The longest side of the options, in the reference's meaning; limits of pixels and tokens make it shorter, a token at
 * a time. */
static struct image_plan fitting(const struct pixtral *p, int width, int height, const struct image_options *opt)
{
    int side = p->patches.patch * p->patches.merge, longest = p->longest;
    if (opt && opt->size_longest > 0 && opt->size_longest < longest)
        longest = (int)opt->size_longest;
    struct image_plan out = plan_of(p, width, height, longest);
    int at = (longest + side - 1) / side * side;
    while (!keeps(&out, opt) && (at -= side) > 0)
        out = plan_of(p, width, height, at);
    return out;
}

/* As large as the processor's longest side allows, in whole tokens. A picture that is so thin that no token is left is
 * refused. */
static int pixtral_plan(const struct model *m, int width, int height, const struct image_options *opt,
                        struct image_plan *out, struct err *e)
{
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    *out = fitting(m->impl, width, height, opt);
    if (out->n_tokens < 1)
        return err_set(e, "an image of %d x %d is too long and thin", width, height);
    return 0;
}

/* No picture has more tokens than a square of the longest side, and with limits any shape may have as many as they
 * allow. */
static void pixtral_largest(const struct model *m, const struct image_options *opt, int64_t pixels,
                            struct image_plan *out)
{
    const struct pixtral *p = m->impl;
    int64_t side = p->patches.patch * p->patches.merge, n;
    (void)pixels;
    *out = plan_of(p, p->longest, p->longest, p->longest);
    n = out->n_tokens;
    if (opt && opt->max_tokens > 0 && opt->max_tokens < n)
        n = opt->max_tokens;
    if (opt && opt->max_pixels > 0 && opt->max_pixels / (side * side) < n)
        n = opt->max_pixels / (side * side);
    out->n_tokens = n < 1 ? 1 : (int)n;
    out->grid_h = out->runs = grid_side(out->n_tokens);
    out->grid_w = out->n_tokens / out->grid_h;
    out->height = out->grid_h * (int)side;
    out->width = out->grid_w * (int)side;
}

/* Every row of tokens ends with [IMG_BREAK], the last one with [IMG_END]. */
static void pixtral_text(const struct model *m, const struct image_plan *p, const char *mark, const char *place,
                         bool joined, struct buf *out)
{
    (void)m, (void)mark, (void)joined;
    for (int y = 0; y < p->grid_h; y++) {
        buf_str(out, place);
        buf_str(out, y + 1 < p->grid_h ? "[IMG_BREAK]" : "[IMG_END]");
    }
}

/* The reference's pixel_values of one picture, (3, height, width). */
static void pixtral_values(const struct model *m, const struct image_plan *plan, const uint8_t *rgb, float *out,
                           int shape[4])
{
    const struct pixtral *p = m->impl;
    pixel_planes(&p->patches.pixels, rgb, plan->height, plan->width, out, shape);
}

/* Patches lie in blocks of those that one token is made of, so that merging them is a reshape. */
static void pixtral_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct pixtral *p = m->impl;
    struct patch_grid grid = patch_grid(&p->patches, &in->plan);
    const int all[2] = { 0, grid.n }, *first = nn_ints(r, all, 2), *places = patch_grid_places(r, &grid, NULL);
    struct tensor x = patches_embed(r, &p->patches, in, &grid);
    nn_norm(r, x, x, &p->pre);
    struct stream s = stream_of(r, x);
    for (int i = 0; i < p->n_layers; i++) {
        block_vision_attend(r, &s, &p->layer[i], places, 1, first);
        block_mlp(r, &s, &p->layer[i]);
    }
    x = s.x;
    if (p->merger.out) {
        nn_norm(r, x, x, &p->norm);
        x = nn_linear(r, nn_reshape(x, in->plan.n_tokens, p->merger.in), &p->merger, (struct epilogue){ 0 });
    }
    x = nn_linear(r, x, &p->in, (struct epilogue){ .act = p->act });
    nn_scatter(r, in->pool, nn_linear(r, x, &p->out, (struct epilogue){ 0 }), in->rows, false);
}

const struct family family_pixtral = {
    .types = { "mistral3" },
    .load = pixtral_load,
    .plan_image = pixtral_plan,
    .largest_image = pixtral_largest,
    .image_text = pixtral_text,
    .encode_image = pixtral_encode,
    .pixel_values = pixtral_values,
    .forward = decoder_pass,
};
