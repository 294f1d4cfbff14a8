/* model/families/glm4v.c - GLM-4.1V, GLM-4.6V-Flash, AutoGLM-Phone-9B.
 *
 *     patches -> norm + position -> vision layers -> norm -> 2x2 convolution -> merger -> image tokens
 *     the decoder of GLM-4, its rotary embedding in sections for t, h, w
 *
 * The position table is sampled bicubically at the patches' centres, as
 * grid_sample does it: a = -0.75, each of the 16 taps clamped on its own. */
#include <math.h>

#include "base/mem.h"
#include "model/decoder.h"
#include "model/patches.h"

struct glm4v {
    struct decoder text;
    struct patches patches;
    struct rope    rope;             /* of the vision layers                    */
    struct block  *vision;           /* (n_vision), the model's memory          */
    int            n_vision, side;   /* side: of the square position table      */
    enum act       act;              /* of the gated MLPs                       */
    struct tensor  positions;        /* (side * side, hidden)                   */
    struct norm    norm_in, norm_out, merge_norm;
    struct weight  downsample;       /* (out, merge * merge * hidden)           */
    struct weight  merge_in, merge_up, merge_down;
};

static void load_block(struct loader *l, struct block *b, struct glm4v *g, int hidden, int heads, int inner, double eps,
                       enum bias bias)
{
    int dim = hidden / heads;
    load_norm(l, &b->norm1, hidden, RMS_NORM, eps, "norm1");
    load_norm(l, &b->norm2, hidden, RMS_NORM, eps, "norm2");
    load_linear(l, &b->qkv, 3 * hidden, hidden, bias, "attn.qkv");
    load_linear(l, &b->o, hidden, hidden, NO_BIAS, "attn.proj");
    load_stack(l, &b->up, hidden, PARTS({ "mlp.gate_proj", inner }, { "mlp.up_proj", inner }), NO_BIAS);
    load_linear(l, &b->down, hidden, inner, NO_BIAS, "mlp.down_proj");
    b->heads = (struct heads){ .n = heads, .n_kv = heads, .dim = dim, .scale = 1 / sqrtf((float)dim), .rope = &g->rope };
}

/* (out, hidden, merge, merge) -> rows of (y, x, channel): the patches of a block lie end to end. */
static void load_downsample(struct loader *l, struct glm4v *g, int out, int hidden)
{
    int k = g->patches.merge, n = k * k;
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

static void load_vision(struct loader *l, struct glm4v *g, struct hparams *v, const char *root)
{
    int hidden = (int)hparams_int(v, "hidden_size", 1536, 1, 1 << 14);
    int out = (int)hparams_int(v, "out_hidden_size", 4096, 1, 1 << 15);
    int heads = (int)hparams_int(v, "num_heads|num_attention_heads", 12, 1, 256);
    int inner = (int)hparams_int(v, "intermediate_size", 13696, 1, 1 << 18);
    int image = (int)hparams_int(v, "image_size", 336, 1, 1 << 14);
    double eps = hparams_number(v, "rms_norm_eps", 1e-5, 0, 1);
    enum bias bias = hparams_bool(v, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct hparams rope = hparams_object(v, "rope_parameters");
    g->n_vision = (int)hparams_int(v, "depth|num_hidden_layers", 24, 1, 1024);
    g->side = image / g->patches.patch;
    g->act = load_act(v, "hidden_act", "silu");
    if (hidden % heads)
        hparams_fail(v, "num_heads", "%d heads do not divide %d", heads, hidden);
    if (g->side < 1)
        hparams_fail(v, "image_size", "%d is less than a patch", image);
    if (out != l->m->hidden)
        hparams_fail(v, "out_hidden_size", "%d is not the text's hidden size %d", out, l->m->hidden);
    if (hparams_end(v) != 0)
        return;
    load_at(l, "%s", root);
    patches_load_embed(l, &g->patches, hidden, WITH_BIAS, "patch_embed.proj");
    int cells = g->side * g->side;
    const float *table = load_floats(l, SHAPE(cells, hidden), "embeddings.position_embedding.weight");
    g->positions = load_table(l, table, cells, hidden);
    load_norm(l, &g->norm_in, hidden, RMS_NORM, eps, "post_conv_layernorm");
    load_norm(l, &g->norm_out, hidden, RMS_NORM, eps, "post_layernorm");
    load_downsample(l, g, out, hidden);
    load_linear(l, &g->merge_in, out, out, NO_BIAS, "merger.proj");
    load_norm(l, &g->merge_norm, out, LAYER_NORM, 1e-5, "merger.post_projection_norm");
    load_stack(l, &g->merge_up, out, PARTS({ "merger.gate_proj", inner }, { "merger.up_proj", inner }), NO_BIAS);
    load_linear(l, &g->merge_down, out, inner, NO_BIAS, "merger.down_proj");
    rope_load_2d(l, &g->rope, hidden / heads, hparams_number(&rope, "rope_theta", 10000, 1.001, 1e12));
    g->vision = load_keep(l, (size_t)g->n_vision * sizeof *g->vision);
    for (int i = 0; i < g->n_vision && !l->failed; i++) {
        load_at(l, "%sblocks.%d.", root, i);
        load_block(l, &g->vision[i], g, hidden, heads, out, eps, bias); /* yes, the MLP is as wide as the output */
    }
}

static int glm4v_load(struct model *m, struct loader *l, struct err *e)
{
    (void)e;
    static const char *const text_roots[] = { "model.language_model.", "model.", "language_model.model.", NULL };
    static const char *const vision_roots[] = { "model.visual.", "visual.", NULL };
    struct glm4v *g = m->impl = xcalloc(1, sizeof *g);
    struct hparams text = hparams_section(&l->config, "text_config"), v = hparams_object(&l->config, "vision_config");
    struct decoder_kind kind = {
        .eps = 1e-5, .context = 32768, .qkv_bias = WITH_BIAS,
        .rope = { .theta = 10000, .partial = 1, .interleaved = true, .mrope = MROPE_SECTIONS, .section = { 8, 12, 12 } },
    };
    struct patches_default usual = { 14, 112 * 112, 28 * 28 * 15000, pixel_clip_mean, pixel_clip_std };
    patches_load(l, &g->patches, &v, &usual);
    glm_decoder_load(l, &g->text, &text, load_root(l, "norm.weight", text_roots), &kind);
    m->image_token = (int)hparams_int(&l->config, "image_token_id", 151343, 0, m->vocab - 1);
    if (load_end(l) != 0)
        return -1;
    load_vision(l, g, &v, load_root(l, "patch_embed.proj.weight", vision_roots));
    m->image_row_width = m->hidden;
    return load_end(l);
}

/* The processor's smart_resize: a side under one block is first scaled up, with int(). */
static int glm4v_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                            struct image_plan *out, struct err *e)
{
    const struct glm4v *g = m->impl;
    const struct patches *p = &g->patches;
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

static void glm4v_largest(const struct model *m, const struct image_options *opt, int64_t pixels, struct image_plan *out)
{
    const struct patches *p = &((const struct glm4v *)m->impl)->patches;
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

static int clamp(int i, int n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/* x += the position table sampled at the patches */
static void add_positions(struct run *r, struct tensor x, const struct glm4v *g, const struct patch_grid *grid)
{
    int n = grid->n, *idx = nn_host(r, n * 16);
    float *w = nn_host_floats(r, n * 16);
    for (int i = 0; i < n; i++) {
        double ty, tx, cy[4], cx[4];
        int y = sample_at(patch_row(grid, i), grid->h, g->side, &ty), xx = sample_at(patch_col(grid, i), grid->w, g->side, &tx);
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

static void glm4v_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct glm4v *g = m->impl;
    struct patch_grid grid = patch_grid(&g->patches, &in->plan);
    const int all[2] = { 0, grid.n }, *first = nn_ints(r, all, 2), *places = patch_grid_places(r, &grid, NULL);
    struct tensor x = patches_embed(r, &g->patches, in, &grid);
    nn_norm_to(r, x, x, &g->norm_in);
    add_positions(r, x, g, &grid);
    for (int i = 0; i < g->n_vision; i++) {
        block_vision_attend(r, x, &g->vision[i], places, 1, first);
        block_vision_mlp_gated(r, x, &g->vision[i], g->act);
    }
    nn_norm_to(r, x, x, &g->norm_out);
    x = nn_reshape(x, in->plan.n_tokens, g->downsample.in);
    x = nn_linear(r, x, &g->downsample, (struct epilogue){ 0 });
    x = nn_linear(r, x, &g->merge_in, (struct epilogue){ 0 });
    nn_norm_to(r, x, x, &g->merge_norm);
    nn_act(r, x, ACT_GELU);
    x = nn_linear(r, x, &g->merge_up, (struct epilogue){ .act = g->act, .glu = true });
    x = nn_linear(r, x, &g->merge_down, (struct epilogue){ 0 });
    nn_scatter(r, in->pool, x, in->rows, false);
}

static void glm4v_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    patches_values(&((const struct glm4v *)m->impl)->patches, p, rgb, out, shape);
}

static struct tensor glm4v_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct glm4v *g = m->impl;
    return decoder_forward(r, &g->text, in);
}

const struct family family_glm4v = {
    .types = { "glm4v" },
    .load = glm4v_load,
    .plan_image = glm4v_plan_image,
    .largest_image = glm4v_largest,
    .positions = patches_positions,
    .encode_image = glm4v_encode,
    .pixel_values = glm4v_values,
    .forward = glm4v_forward,
};
