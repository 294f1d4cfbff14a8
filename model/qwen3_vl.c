/* model/qwen3_vl.c - Qwen3-VL.
 *
 *     patches + position table (bilinear, corners aligned) -> vision layers -> merger -> image tokens
 *     deepstack: after some vision layers a merger of its own makes features that are added to the image's
 *     rows after text layers 0, 1, ...; the pool keeps them behind the image token: (1 + n_deep) * hidden
 *     the decoder of Qwen3, its rotary embedding interleaved for t, h, w */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/decoder.h"
#include "model/patches.h"

enum { MAX_DEEP = 16 };

struct merger { struct norm norm; struct weight in, out; };

struct qwen3_vl {
    struct decoder text;
    struct patches patches;
    struct rope    rope;             /* of the vision layers                         */
    struct block  *vision;           /* (n_vision), the model's memory               */
    int            n_vision, side;   /* side: of the square position table           */
    enum act       act;
    struct tensor  positions;        /* (side * side, width)                         */
    struct merger  merger;           /* norms before the merge                       */
    struct merger  deep[MAX_DEEP];   /* norm after it                                */
    int            deep_layer[MAX_DEEP], n_deep;
};

static void load_merger(struct loader *l, struct merger *g, int norm, int wide, int out, const char *prefix)
{
    load_at(l, "%s", prefix);
    load_norm(l, &g->norm, norm, LAYER_NORM, 1e-6, "norm");
    load_linear(l, &g->in, wide, wide, WITH_BIAS, "linear_fc1");
    load_linear(l, &g->out, out, wide, WITH_BIAS, "linear_fc2");
}

static void load_layers(struct loader *l, struct qwen3_vl *q, int width, int heads, int inner, const char *root)
{
    int dim = width / heads;
    q->vision = load_keep(l, (size_t)q->n_vision * sizeof *q->vision);
    for (int i = 0; i < q->n_vision && !l->failed; i++) {
        struct block *b = &q->vision[i];
        load_at(l, "%sblocks.%d.", root, i);
        load_norm(l, &b->norm1, width, LAYER_NORM, 1e-6, "norm1");
        load_norm(l, &b->norm2, width, LAYER_NORM, 1e-6, "norm2");
        load_linear(l, &b->qkv, 3 * width, width, WITH_BIAS, "attn.qkv");
        load_linear(l, &b->o, width, width, WITH_BIAS, "attn.proj");
        load_linear(l, &b->up, inner, width, WITH_BIAS, "mlp.linear_fc1");
        load_linear(l, &b->down, width, inner, WITH_BIAS, "mlp.linear_fc2");
        b->heads = (struct heads){ .n = heads, .n_kv = heads, .dim = dim, .scale = 1 / sqrtf((float)dim), .rope = &q->rope };
    }
}

static void load_vision(struct loader *l, struct qwen3_vl *q, struct hparams *v, const char *root)
{
    static const int usual[] = { 8, 16, 24 };
    int width = (int)hparams_int(v, "hidden_size", 1152, 1, 1 << 14), wide = width * q->patches.merge * q->patches.merge;
    int out = (int)hparams_int(v, "out_hidden_size", 3584, 1, 1 << 15);
    int inner = (int)hparams_int(v, "intermediate_size", 4304, 1, 1 << 18);
    int heads = (int)hparams_int(v, "num_heads|num_attention_heads", 16, 1, 256);
    int cells = (int)hparams_int(v, "num_position_embeddings", 2304, 1, 1 << 22);
    struct hparams rope = hparams_object(v, "rope_parameters");
    q->n_vision = (int)hparams_int(v, "depth|num_hidden_layers", 27, 1, 1024);
    q->act = load_act(v, "hidden_act", "gelu_pytorch_tanh");
    q->side = (int)sqrt((double)cells);
    q->n_deep = hparams_ints(v, "deepstack_visual_indexes", q->deep_layer, MAX_DEEP, 0, q->n_vision - 1);
    if (!hparams_has(v, "deepstack_visual_indexes"))
        for (q->n_deep = 0; q->n_deep < 3; q->n_deep++)
            q->deep_layer[q->n_deep] = usual[q->n_deep];
    for (int i = 0; i < q->n_deep; i++)
        if (q->deep_layer[i] >= q->n_vision || (i && q->deep_layer[i] <= q->deep_layer[i - 1]))
            hparams_fail(v, "deepstack_visual_indexes", "must be layers in rising order");
    if (q->n_deep > q->text.n_layers)
        hparams_fail(v, "deepstack_visual_indexes", "has more entries than the text has layers");
    if (width % heads)
        hparams_fail(v, "num_heads", "%d heads do not divide %d", heads, width);
    if (out != l->m->hidden)
        hparams_fail(v, "out_hidden_size", "%d is not the text's hidden size %d", out, l->m->hidden);
    if (q->side * q->side != cells)
        hparams_fail(v, "num_position_embeddings", "%d is not a square", cells);
    if (hparams_end(v) != 0)
        return;
    load_at(l, "%s", root);
    patches_load_embed(l, &q->patches, width, WITH_BIAS, "patch_embed.proj");
    q->positions = load_table(l, load_floats(l, SHAPE(cells, width), "pos_embed.weight"), cells, width);
    rope_load_2d(l, &q->rope, width / heads, hparams_number(&rope, "rope_theta", 10000, 1.001, 1e12));
    load_layers(l, q, width, heads, inner, root);
    char prefix[96];
    snprintf(prefix, sizeof prefix, "%smerger.", root);
    load_merger(l, &q->merger, width, wide, out, prefix);
    for (int i = 0; i < q->n_deep; i++) {
        snprintf(prefix, sizeof prefix, "%sdeepstack_merger_list.%d.", root, i);
        load_merger(l, &q->deep[i], wide, wide, out, prefix);
    }
}

static int qwen3_vl_load(struct model *m, struct loader *l, struct err *e)
{
    (void)e;
    static const char *const text_roots[] = { "model.language_model.", "model.", NULL };
    static const char *const vision_roots[] = { "model.visual.", "visual.", NULL };
    struct qwen3_vl *q = m->impl = xcalloc(1, sizeof *q);
    struct hparams text = hparams_section(&l->config, "text_config"), v = hparams_object(&l->config, "vision_config");
    enum bias bias = hparams_bool(&text, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct decoder_kind kind = {
        .eps = 1e-6, .context = 128000, .head_dim = 128, .qkv_bias = bias, .o_bias = bias, .qk_norm = true,
        .rope = { .theta = 500000, .partial = 1, .mrope = MROPE_INTERLEAVED, .section = { 24, 20, 20 } },
    };
    struct patches_default usual = { 16, 56 * 56, 28 * 28 * 1280, pixel_clip_mean, pixel_clip_std };
    patches_load(l, &q->patches, &v, &usual);
    decoder_load(l, &q->text, &text, load_root(l, "embed_tokens.weight", text_roots), &kind);
    m->image_token = (int)hparams_int(&l->config, "image_token_id", 151655, 0, m->vocab - 1);
    if (load_end(l) != 0)
        return -1;
    load_vision(l, q, &v, load_root(l, "patch_embed.proj.weight", vision_roots));
    m->image_row_width = m->hidden * (1 + q->n_deep);
    patches_max_tokens(m, &q->patches, 1);
    return load_end(l);
}

static int qwen3_vl_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                               struct image_plan *out, struct err *e)
{
    const struct qwen3_vl *q = m->impl;
    return patches_plan(&q->patches, width, height, opt, out, e);
}

/* Where patch i of n lies on a table of `side` entries: two neighbours and the weight of the second. */
static float sample_at(int i, int n, int side, int tap[2])
{
    float x = (float)i * (float)(side - 1) / (float)(n > 1 ? n - 1 : 1), low = floorf(x);
    tap[0] = (int)low;
    tap[1] = tap[0] + 1 < side ? tap[0] + 1 : side - 1;
    return x - low;
}

/* x += the position table sampled at the patches */
static void add_positions(struct run *r, struct tensor x, const struct qwen3_vl *q, const struct patch_grid *grid)
{
    size_t n = (size_t)grid->n;
    int *idx = xmalloc(n * 4 * sizeof *idx), ty[2], tx[2];
    float *w = xmalloc(n * 4 * sizeof *w);
    for (size_t i = 0; i < n; i++) {
        float fy = sample_at(grid->row[i], grid->h, q->side, ty), fx = sample_at(grid->col[i], grid->w, q->side, tx);
        for (int k = 0; k < 4; k++) {
            idx[i * 4 + (size_t)k] = ty[k / 2] * q->side + tx[k % 2];
            w[i * 4 + (size_t)k] = (k / 2 ? fy : 1 - fy) * (k % 2 ? fx : 1 - fx);
        }
    }
    NN_SCRATCH(r) {
        const int *at = nn_ints(r, idx, (int)n * 4);
        nn_add(r, x, x, nn_gather(r, q->positions, (int)n, 4, at, nn_floats(r, w, (int)n * 4)));
    }
    free(idx);
    free(w);
}

static void merge(struct run *r, struct tensor to, const struct merger *g, struct tensor x, const int *rows)
{
    x = nn_linear(r, x, &g->in, (struct epilogue){ .act = ACT_GELU });
    x = nn_linear(r, x, &g->out, (struct epilogue){ 0 });
    nn_scatter(r, to, x, rows, false);
}

static void qwen3_vl_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct qwen3_vl *q = m->impl;
    int tokens = in->plan.n_tokens, wide = q->merger.in.in, deep = 0;
    struct patch_grid grid;
    patch_grid_init(&grid, &q->patches, &in->plan);
    const int all[2] = { 0, grid.n }, *first = nn_ints(r, all, 2), *places = patch_grid_places(r, &grid, NULL);
    struct tensor x = patches_embed(r, &q->patches, in, &grid);
    add_positions(r, x, q, &grid);
    patch_grid_free(&grid);
    for (int i = 0; i < q->n_vision; i++) {
        block_attend_ragged(r, x, &q->vision[i], places, 1, first);
        block_mlp(r, x, &q->vision[i], q->act);
        if (deep < q->n_deep && q->deep_layer[deep] == i)
            NN_SCRATCH(r) {
                struct tensor h = nn_norm(r, nn_reshape(x, tokens, wide), &q->deep[deep].norm);
                merge(r, nn_cols(in->pool, m->hidden * (deep + 1), m->hidden), &q->deep[deep], h, in->rows);
                deep++;
            }
    }
    nn_norm_to(r, x, x, &q->merger.norm);
    merge(r, nn_cols(in->pool, 0, m->hidden), &q->merger, nn_reshape(x, tokens, wide), in->rows);
}

static void qwen3_vl_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    patches_values(&((const struct qwen3_vl *)m->impl)->patches, p, rgb, out, shape);
}

static struct tensor qwen3_vl_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct qwen3_vl *q = m->impl;
    struct tensor x = block_embed(r, &q->text.embed, in);
    for (int i = 0; i < q->text.n_layers; i++) {
        block_attend(r, x, &q->text.layer[i], i, &in->batch);
        block_mlp_gated(r, x, &q->text.layer[i], ACT_SILU);
        if (i < q->n_deep && in->n_image > 0)
            NN_SCRATCH(r) {
                struct tensor rows = nn_cols(in->pool, m->hidden * (i + 1), m->hidden);
                rows = nn_gather(r, rows, in->n_image, 1, in->image_src, NULL);
                nn_scatter(r, x, rows, in->image_dst, true);
            }
    }
    return block_logits(r, x, &q->text.norm, &q->text.head, in);
}

const struct family family_qwen3_vl = {
    .types = { "qwen3_vl" },
    .load = qwen3_vl_load,
    .plan_image = qwen3_vl_plan_image,
    .positions = patches_positions,
    .encode_image = qwen3_vl_encode,
    .pixel_values = qwen3_vl_values,
    .forward = qwen3_vl_forward,
};
