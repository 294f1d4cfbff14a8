/* model/qwen2_5_vl.c - Qwen2.5-VL.
 *
 *     patches, reordered by windows -> vision layers (RMSNorm, gated MLP; inside windows or over the image)
 *     -> norm -> 2x2 neighbours -> MLP -> put back in order -> image tokens
 *     the decoder of Qwen2, its rotary embedding in sections for t, h, w */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/decoder.h"
#include "model/patches.h"

enum { MAX_VISION = 256 };

struct qwen2_5_vl {
    struct decoder text;
    struct patches patches;
    struct rope    rope;             /* of the vision layers                        */
    struct block  *vision;           /* (n_vision), the model's memory              */
    int            n_vision, window; /* window: side in image tokens                */
    bool           whole[MAX_VISION];    /* this layer sees the whole image         */
    enum act       act;
    struct norm    merge_norm;
    struct weight  merge_in, merge_out;
};

static void read_windows(struct qwen2_5_vl *q, struct hparams *v)
{
    static const int usual[] = { 7, 15, 23, 31 };
    int list[MAX_VISION], n = hparams_ints(v, "fullatt_block_indexes", list, MAX_VISION, 0, MAX_VISION - 1);
    if (!hparams_has(v, "fullatt_block_indexes"))
        for (n = 0; n < 4; n++)
            list[n] = usual[n];
    for (int i = 0; i < n; i++)
        q->whole[list[i]] = true;
    int size = (int)hparams_int(v, "window_size", 112, 1, 1 << 16);
    q->window = size / q->patches.merge / q->patches.patch;
    if (q->window < 1)
        hparams_fail(v, "window_size", "%d is less than an image token", size);
}

static void load_vision(struct loader *l, struct qwen2_5_vl *q, struct hparams *v, const char *root)
{
    int width = (int)hparams_int(v, "hidden_size", 1280, 1, 1 << 14);
    int out = (int)hparams_int(v, "out_hidden_size", 3584, 1, 1 << 15);
    int inner = (int)hparams_int(v, "intermediate_size", 3420, 1, 1 << 18);
    int heads = (int)hparams_int(v, "num_heads|num_attention_heads", 16, 1, 256), dim = width / heads;
    int wide = width * q->patches.merge * q->patches.merge;
    struct hparams rope = hparams_object(v, "rope_parameters");
    q->n_vision = (int)hparams_int(v, "depth|num_hidden_layers", 32, 1, MAX_VISION);
    q->act = load_act(v, "hidden_act", "silu");
    read_windows(q, v);
    if (width % heads)
        hparams_fail(v, "num_heads", "%d heads do not divide %d", heads, width);
    if (out != l->m->hidden)
        hparams_fail(v, "out_hidden_size", "%d is not the text's hidden size %d", out, l->m->hidden);
    if (hparams_end(v) != 0)
        return;
    load_at(l, "%s", root);
    patches_load_embed(l, &q->patches, width, NO_BIAS, "patch_embed.proj");
    load_norm(l, &q->merge_norm, width, RMS_NORM, 1e-6, "merger.ln_q");
    load_linear(l, &q->merge_in, wide, wide, WITH_BIAS, "merger.mlp.0");
    load_linear(l, &q->merge_out, out, wide, WITH_BIAS, "merger.mlp.2");
    rope_load_2d(l, &q->rope, dim, hparams_number(&rope, "rope_theta", 10000, 1.001, 1e12));
    q->vision = load_keep(l, (size_t)q->n_vision * sizeof *q->vision);
    for (int i = 0; i < q->n_vision && !l->failed; i++) {
        struct block *b = &q->vision[i];
        load_at(l, "%sblocks.%d.", root, i);
        load_norm(l, &b->norm1, width, RMS_NORM, 1e-6, "norm1");
        load_norm(l, &b->norm2, width, RMS_NORM, 1e-6, "norm2");
        load_linear(l, &b->qkv, 3 * width, width, WITH_BIAS, "attn.qkv");
        load_linear(l, &b->o, width, width, WITH_BIAS, "attn.proj");
        load_stack(l, &b->up, width, PARTS({ "mlp.gate_proj", inner }, { "mlp.up_proj", inner }), WITH_BIAS);
        load_linear(l, &b->down, width, inner, WITH_BIAS, "mlp.down_proj");
        b->heads = (struct heads){ .n = heads, .n_kv = heads, .dim = dim, .scale = 1 / sqrtf((float)dim), .rope = &q->rope };
    }
}

static int qwen2_5_vl_load(struct model *m, struct loader *l, struct err *e)
{
    (void)e;
    static const char *const text_roots[] = { "model.", "model.language_model.", NULL };
    static const char *const vision_roots[] = { "visual.", "model.visual.", NULL };
    struct qwen2_5_vl *q = m->impl = xcalloc(1, sizeof *q);
    struct hparams text = hparams_section(&l->config, "text_config"), v = hparams_object(&l->config, "vision_config");
    struct decoder_kind kind = { .eps = 1e-5, .context = 32768, .qkv_bias = WITH_BIAS,
                                 .rope = { .theta = 1e6, .partial = 1, .mrope = MROPE_SECTIONS, .section = { 16, 24, 24 } } };
    struct patches_default usual = { 14, 56 * 56, 28 * 28 * 1280, pixel_clip_mean, pixel_clip_std };
    patches_load(l, &q->patches, &v, &usual);
    decoder_load(l, &q->text, &text, load_root(l, "embed_tokens.weight", text_roots), &kind);
    m->image_token = (int)hparams_int(&l->config, "image_token_id", 151655, 0, m->vocab - 1);
    if (load_end(l) != 0)
        return -1;
    load_vision(l, q, &v, load_root(l, "patch_embed.proj.weight", vision_roots));
    m->image_row_width = m->hidden;
    patches_max_tokens(m, &q->patches, 1);
    return load_end(l);
}

static int qwen2_5_vl_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                                 struct image_plan *out, struct err *e)
{
    const struct qwen2_5_vl *q = m->impl;
    return patches_plan(&q->patches, width, height, opt, out, e);
}

struct windows {                     /* host arrays, owned                                      */
    int *order;                      /* (patches) reordered patch i is order[i] of the image    */
    int *undo;                       /* (tokens) image token i is undo[i] of the reordered ones */
    int *first;                      /* (n + 1) first patch of each window                      */
    int  n;
};

static void windows_init(struct windows *s, const struct image_plan *p, int side, int unit)
{
    int at = 0;
    *s = (struct windows){ .order = xmalloc((size_t)(p->n_tokens * unit) * sizeof(int)),
                           .undo = xmalloc((size_t)p->n_tokens * sizeof(int)),
                           .first = xmalloc((size_t)(p->n_tokens + 1) * sizeof(int)) };
    for (int y0 = 0; y0 < p->grid_h; y0 += side)
        for (int x0 = 0; x0 < p->grid_w; x0 += side) {
            s->first[s->n++] = at * unit;
            for (int y = y0; y < y0 + side && y < p->grid_h; y++)
                for (int x = x0; x < x0 + side && x < p->grid_w; x++, at++) {
                    int token = y * p->grid_w + x;
                    s->undo[token] = at;
                    for (int k = 0; k < unit; k++)
                        s->order[at * unit + k] = token * unit + k;
                }
        }
    s->first[s->n] = at * unit;
}

static void windows_free(struct windows *s)
{
    free(s->order);
    free(s->undo);
    free(s->first);
}

static void qwen2_5_vl_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct qwen2_5_vl *q = m->impl;
    struct patch_grid grid;
    struct windows win;
    patch_grid_init(&grid, &q->patches, &in->plan);
    windows_init(&win, &in->plan, q->window, q->patches.merge * q->patches.merge);
    const int all[2] = { 0, grid.n }, *whole = nn_ints(r, all, 2), *windows = nn_ints(r, win.first, win.n + 1);
    const int *order = nn_ints(r, win.order, grid.n), *undo = nn_ints(r, win.undo, in->plan.n_tokens);
    const int *places = patch_grid_places(r, &grid, win.order);
    struct tensor x = nn_new(r, grid.n, q->patches.embed.out);
    NN_SCRATCH(r) {
        struct tensor plain = patches_embed(r, &q->patches, in, &grid);
        r->ops->gather(r->dev, x, plain, 1, order, NULL);
    }
    for (int i = 0; i < q->n_vision; i++) {
        block_attend_ragged(r, x, &q->vision[i], places, q->whole[i] ? 1 : win.n, q->whole[i] ? whole : windows);
        block_mlp_gated(r, x, &q->vision[i], q->act);
    }
    patch_grid_free(&grid);
    windows_free(&win);
    nn_norm_to(r, x, x, &q->merge_norm);
    x = nn_reshape(x, in->plan.n_tokens, q->merge_in.in);
    x = nn_linear(r, x, &q->merge_in, (struct epilogue){ .act = ACT_GELU });
    x = nn_linear(r, x, &q->merge_out, (struct epilogue){ 0 });
    x = nn_gather(r, x, x.rows, 1, undo, NULL);
    nn_scatter(r, in->pool, x, in->rows, false);
}

static void qwen2_5_vl_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    patches_values(&((const struct qwen2_5_vl *)m->impl)->patches, p, rgb, out, shape);
}

static struct tensor qwen2_5_vl_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct qwen2_5_vl *q = m->impl;
    return decoder_forward(r, &q->text, in);
}

const struct family family_qwen2_5_vl = {
    .types = { "qwen2_5_vl" },
    .load = qwen2_5_vl_load,
    .plan_image = qwen2_5_vl_plan_image,
    .positions = patches_positions,
    .encode_image = qwen2_5_vl_encode,
    .pixel_values = qwen2_5_vl_values,
    .forward = qwen2_5_vl_forward,
};
