/* model/families/glm4v.c - GLM-4.1V, GLM-4.6V-Flash, AutoGLM-Phone-9B, and with routed experts GLM-4.5V and GLM-4.6V;
 * GLM-OCR, whose tower norms queries and keys and has neither the first norm nor a position table.
 *
 *     patches -> norm + position -> vision layers -> norm -> 2x2 convolution -> merger -> image tokens
 *     the decoder of GLM-4 or of GLM-4.5, its rotary embedding in sections for t, h, w
 *
 * The position table is sampled bicubically at the patches' centres, as
 * grid_sample does it: a = -0.75, each of the 16 taps clamped on its own. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/vlm.h"

struct glm4v {
    struct vlm     vlm;
    int            side;             /* of the square position table            */
    enum act       act;              /* of the merger's gated MLP               */
    struct tensor  positions;        /* (side * side, hidden); empty in GLM-OCR, as norm_in is */
    struct norm    norm_in, norm_out, merge_norm;
    struct weight  downsample;       /* (out, merge * merge * hidden)           */
    struct weight  merge_in, merge_up, merge_down;
};

static bool is_ocr(const struct model *m) { return !strcmp(m->type, "glm_ocr"); }

/* (out, hidden, merge, merge) -> rows of (y, x, channel): the patches of a block lie end to end. */
static void load_downsample(struct loader *l, struct glm4v *g, int out, int hidden)
{
    int k = g->vlm.patches.merge, n = k * k;
    const float *from = load_floats(l, SHAPE(out, hidden, k, k), "downsample.weight");
    const float *bias = load_floats(l, SHAPE(out), "downsample.bias");
    float *to = load_scratch(l, (size_t)out * (size_t)hidden * (size_t)n);
    if (!to)
        return;
    for (size_t o = 0; o < (size_t)out; o++)
        for (size_t c = 0; c < (size_t)hidden; c++)
            for (size_t i = 0; i < (size_t)n; i++)
                to[(o * (size_t)n + i) * (size_t)hidden + c] = from[(o * (size_t)hidden + c) * (size_t)n + i];
    load_packed(l, &g->downsample, LAYOUT_LINEAR, out, hidden * n, to, bias);
}

/* norm_out's output -> downsample -> merge_in -> merge_norm -> gelu -> merge_down(act(gate) * up) */
static void load_merger(struct loader *l, struct glm4v *g, const struct vision_kind *k, int inner)
{
    load_norm(l, &g->norm_out, k->width, k->norm, k->eps, "post_layernorm");
    load_downsample(l, g, k->out, k->width);
    load_linear(l, &g->merge_in, k->out, k->out, NO_BIAS, "merger.proj");
    load_norm(l, &g->merge_norm, k->out, LAYER_NORM, 1e-5, "merger.post_projection_norm");
    load_stack(l, &g->merge_up, k->out, PARTS({ "merger.gate_proj", inner }, { "merger.up_proj", inner }), NO_BIAS);
    load_linear(l, &g->merge_down, k->out, inner, NO_BIAS, "merger.down_proj");
    g->act = k->act;
}

/* What is added to the patches before the first layer. */
static void load_positions(struct loader *l, struct glm4v *g, const struct vision_kind *k)
{
    int cells = g->side * g->side;
    const float *table = load_floats(l, SHAPE(cells, k->width), "embeddings.position_embedding.weight");
    g->positions = load_table(l, table, cells, k->width);
    load_norm(l, &g->norm_in, k->width, RMS_NORM, k->eps, "post_conv_layernorm");
}

/* The layers; `ocr`: queries and keys are normed head by head, and the MLP has the bias of the projections. */
static void load_layers(struct loader *l, struct vlm *v, const struct vision_kind *k, bool ocr, const char *root)
{
    int dim = k->width / k->heads;
    for (int i = 0; i < v->n_vision && !l->failed; i++) {
        struct block *b = vlm_load_layer(l, v, i, k, root);
        load_stack(l, &b->up, k->width, PARTS({ "mlp.gate_proj", k->inner }, { "mlp.up_proj", k->inner }), k->o_bias);
        load_linear(l, &b->down, k->width, k->inner, k->o_bias, "mlp.down_proj");
        b->glu = true;
        if (!ocr)
            continue;
        load_norm(l, &b->q_norm, dim, RMS_NORM, k->eps, "attn.q_norm");
        load_norm(l, &b->k_norm, dim, RMS_NORM, k->eps, "attn.k_norm");
        b->heads.q_norm = &b->q_norm;
        b->heads.k_norm = &b->k_norm;
    }
}

/* intermediate_size is the merger's; the MLPs of the layers are as wide as the tower's output, as in the reference. In
 * GLM-OCR it is the layers', and the merger is three times as wide as the output: once for each colour, as its class
 * has it. */
static void load_vision(struct loader *l, struct vlm *v, struct hparams *config, const char *root)
{
    struct glm4v *g = (struct glm4v *)v;
    bool ocr = is_ocr(l->m);
    bool bias = hparams_bool(config, "attention_bias", ocr);
    struct vision_kind k = {
        .width = (int)hparams_int(config, "hidden_size", ocr ? 1024 : 1536, 1, 1 << 14),
        .out = (int)hparams_int(config, "out_hidden_size", ocr ? 1536 : 4096, 1, 1 << 15),
        .heads = (int)hparams_int(config, "num_heads|num_attention_heads", ocr ? 16 : 12, 1, 256),
        .eps = hparams_number(config, "rms_norm_eps", 1e-5, 0, 1), .norm = RMS_NORM,
        .qkv_bias = bias ? WITH_BIAS : NO_BIAS, .o_bias = ocr && bias ? WITH_BIAS : NO_BIAS,
        .act = load_act(config, "hidden_act", "silu"),
    };
    int inner = (int)hparams_int(config, "intermediate_size", ocr ? 4096 : 13696, 1, 1 << 18);
    int image = (int)hparams_int(config, "image_size", 336, 1, 1 << 14);
    k.inner = ocr ? inner : k.out;
    g->side = image / v->patches.patch;
    if (!ocr && g->side < 1)
        hparams_fail(config, "image_size", "%d is less than a patch", image);
    if (vlm_begin_vision(l, v, config, &k, "out_hidden_size", 24) != 0)
        return;
    load_at(l, "%s", root);
    patches_load_embed(l, &v->patches, k.width, WITH_BIAS, "patch_embed.proj");
    if (!ocr)
        load_positions(l, g, &k);
    load_merger(l, g, &k, ocr ? 3 * k.out : inner);
    load_layers(l, v, &k, ocr, root);
}

/* GLM-4's, with a rope in sections. */
static const struct decoder_kind dense_text = {
    .eps = 1e-5, .context = 32768, .qkv_bias = WITH_BIAS, .post_norms = true, .gate_up = true,
    .rope = { .theta = 10000, .partial = 1, .interleaved = true, .mrope = MROPE_SECTIONS, .section = { 8, 12, 12 } },
};

/* GLM-4.5's, likewise; half of each head is rotated. */
static const struct decoder_kind moe_text = {
    .eps = 1e-5, .context = 65536,
    .rope = { .theta = 10000, .partial = 0.5, .mrope = MROPE_SECTIONS, .section = { 8, 12, 12 } },
    .moe = { .experts = 128, .per_token = 8, .inner = 1408, .sigmoid = true, .normalise = true, .shared = 1,
             .dense = 1 },
};

/* Whether the text has routed experts. `glm46v` takes the text of either of the other two, as the text's own model_type
 * says. */
static bool routed(const char *type, struct hparams *text)
{
    if (strcmp(type, "glm46v"))
        return !strcmp(type, "glm4v_moe");
    const char *own = hparams_string(text, "model_type", "glm4v_text");
    if (strcmp(own, "glm4v_text") && strcmp(own, "glm4v_moe_text"))
        hparams_fail(text, "model_type", "\"%.40s\" is not supported (glm4v_text, glm4v_moe_text)", own);
    return !strcmp(own, "glm4v_moe_text");
}

/* Where the configuration does not name it. */
static int image_token(const char *type)
{
    if (!strcmp(type, "glm_ocr"))
        return 59280;
    return strcmp(type, "glm4v_moe") ? 151343 : 151363;
}

/* What else is GLM-OCR's own: sizes, no biases, and an extra layer behind the last, with which it was trained to
 * predict a second token and which the reference does not read either. */
static int load_ocr(struct model *m, struct loader *l, struct vlm_kind *kind)
{
    kind->text.qkv_bias = NO_BIAS;
    kind->text.context = 131072;
    if (vlm_load(m, l, kind) != 0)
        return -1;
    load_at(l, "%slayers.%d.", load_root(l, "norm.weight", kind->text_roots), ((struct vlm *)m->impl)->text.n_layers);
    load_skip(l, "");
    return load_end(l);
}

/* The tower is the same with both texts; patches and their limits are the processor's own. */
static int glm4v_load(struct model *m, struct loader *l)
{
    static const char *const text_roots[] = { "model.language_model.", "model.", "language_model.model.", NULL };
    static const char *const vision_roots[] = { "model.visual.", "visual.", NULL };
    struct hparams text = hparams_section(&l->config, "text_config");
    bool moe = routed(m->type, &text);
    m->impl = xcalloc(1, sizeof(struct glm4v));
    struct vlm_kind kind = {
        .text = moe ? moe_text : dense_text, .image_token = image_token(m->type),
        .patches = { 14, 112 * 112, 28 * 28 * 15000, pixel_clip_mean, pixel_clip_std },
        .text_roots = text_roots, .vision_roots = vision_roots, .load_vision = load_vision,
    };
    if (moe)
        kind.text.qkv_bias = hparams_bool(&text, "attention_bias", true) ? WITH_BIAS : NO_BIAS;
    return is_ocr(m) ? load_ocr(m, l, &kind) : vlm_load(m, l, &kind);
}

/* The processor's smart_resize: a side under one block is first scaled up, with int(). */
static int glm4v_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                            struct image_plan *out, struct err *e)
{
    const struct patches *p = &((const struct vlm *)m->impl)->patches;
    int64_t min, max;
    double factor = p->patch * p->merge, w = width, h = height;
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    patches_limits(p, opt, p->frames, &min, &max);
    if (h < factor || w < factor) {
        double scale = fmax(factor / h, factor / w);
        h = floor(h * scale);
        w = floor(w * scale);
    }
    if (w > 1 << 24 || h > 1 << 24)
        return err_set(e, "an image of %d x %d is too long and thin", width, height);
    return patches_resize(p, (int)w, (int)h, p->frames, min, max, out, e);
}

/* Limits count all frames of a still image, of which there are two that are the same. */
static void glm4v_largest(const struct model *m, const struct image_options *opt, int64_t pixels,
                          struct image_plan *out)
{
    const struct patches *p = &((const struct vlm *)m->impl)->patches;
    patches_largest(p, opt, p->frames, true, pixels, out);
}

/* The four cubic coefficients at offset t between the middle two taps. */
static void cubic(double c[4], double t)
{
    const double a = -0.75;
    double x0 = t + 1, x3 = 2 - t, u = 1 - t;
    c[0] = ((a * x0 - 5 * a) * x0 + 8 * a) * x0 - 4 * a;
    c[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
    c[2] = ((a + 2) * u - (a + 3)) * u * u + 1;
    c[3] = ((a * x3 - 5 * a) * x3 + 8 * a) * x3 - 4 * a;
}

/* Where patch i of n lies on a table of `side` entries: the first of four taps' neighbours and its offset. */
static int sample_at(int i, int n, int side, double *t)
{
    float norm = (((float)i + 0.5f) / (float)n) * 2 - 1;     /* float32, as the reference has it */
    float x = ((norm + 1) * (float)side - 1) / 2;
    *t = (double)(x - floorf(x));
    return (int)floorf(x) - 1;
}

/* i, or the end of 0 .. n - 1 that it lies beyond: the border is repeated. */
static int clamp(int i, int n)
{
    if (i < 0)
        return 0;
    return i < n ? i : n - 1;
}

/* Adds the position table to the patches. The table is a square of a fixed size; each patch takes the weighted sum of
 * 16 of its cells (bicubic sampling) at its own place in the picture. Indices and weights are made on the host, (n, 16)
 * each. */
static void add_positions(struct run *r, struct tensor x, const struct glm4v *g, const struct patch_grid *grid)
{
    int n = grid->n, *idx = nn_host(r, n * 16);
    float *w = nn_host_floats(r, n * 16);
    for (int i = 0; i < n; i++) {
        double ty, tx, cy[4], cx[4];
        int y = sample_at(patch_row(grid, i), grid->h, g->side, &ty),
            xx = sample_at(patch_col(grid, i), grid->w, g->side, &tx);
        cubic(cy, ty);
        cubic(cx, tx);
        for (int k = 0; k < 16; k++) {
            idx[i * 16 + k] = clamp(y + k / 4, g->side) * g->side + clamp(xx + k % 4, g->side);
            w[i * 16 + k] = (float)(cy[k / 4] * cx[k % 4]);
        }
    }
    NN_SCRATCH(r) {
        const int *at = nn_ints(r, idx, n * 16);
        nn_add(r, x, x, nn_gather(r, g->positions, n, 16, at, nn_floats(r, w, n * 16)));
    }
}

/* Patches are in the order of 2x2 blocks, so the convolution that merges them is one linear over four rows side by
 * side. */
static void glm4v_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct glm4v *g = m->impl;
    const struct vlm *v = &g->vlm;
    struct patch_grid grid = patch_grid(&v->patches, &in->plan);
    const int all[2] = { 0, grid.n }, *first = nn_ints(r, all, 2), *places = patch_grid_places(r, &grid, NULL);
    struct stream s = stream_of(r, patches_embed(r, &v->patches, in, &grid));
    if (g->positions.cols) {
        nn_norm(r, s.x, s.x, &g->norm_in);
        add_positions(r, s.x, g, &grid);
    }
    for (int i = 0; i < v->n_vision; i++) {
        block_vision_attend(r, &s, &v->vision[i], places, 1, first);
        block_mlp(r, &s, &v->vision[i]);
    }
    struct tensor x = nn_reshape(stream_norm(r, &s, &g->norm_out), in->plan.n_tokens, g->downsample.in);
    x = nn_linear(r, x, &g->downsample, (struct epilogue){ 0 });
    x = nn_linear(r, x, &g->merge_in, (struct epilogue){ 0 });
    nn_norm(r, x, x, &g->merge_norm);
    nn_act(r, x, ACT_GELU);
    x = nn_linear(r, x, &g->merge_up, (struct epilogue){ .act = g->act, .glu = true });
    x = nn_linear(r, x, &g->merge_down, (struct epilogue){ 0 });
    nn_scatter(r, in->pool, x, in->rows, false);
}

const struct family family_glm4v = {
    .types = { "glm4v", "glm4v_moe", "glm46v", "glm_ocr" },
    .load = glm4v_load,
    .plan_image = glm4v_plan_image,
    .largest_image = glm4v_largest,
    .positions = patches_positions,
    .encode_image = glm4v_encode,
    .pixel_values = vlm_values,
    .forward = vlm_forward,
};
