/* model/families/qwen2_5_vl.c - Qwen2.5-VL.
 *
 *     patches, reordered by windows -> vision layers (RMSNorm, gated MLP; inside windows or over the image)
 *     -> norm -> 2x2 neighbours -> MLP -> put back in order -> image tokens
 *     the decoder of Qwen2, its rotary embedding in sections for t, h, w */

#include "base/mem.h"
#include "model/vlm.h"

struct qwen2_5_vl {
    struct vlm    vlm;
    struct merger merger;
    int           window;                /* side in image tokens            */
    bool          whole[VLM_MAX_VISION]; /* this layer sees the whole image */
};

/* Which layers see the whole image, and how many image tokens a window of the others is wide. The window's size is
 * given in pixels. */
static void read_windows(struct qwen2_5_vl *q, struct hparams *config)
{
    static const int usual[] = { 7, 15, 23, 31 };
    int list[VLM_MAX_VISION], n = hparams_ints(config, "fullatt_block_indexes", list, VLM_MAX_VISION, 0,
                                               VLM_MAX_VISION - 1);
    if (!hparams_has(config, "fullatt_block_indexes"))
        for (n = 0; n < 4; n++)
            list[n] = usual[n];
    for (int i = 0; i < n; i++)
        q->whole[list[i]] = true;
    int size = (int)hparams_int(config, "window_size", 112, 1, 1 << 16);
    q->window = size / q->vlm.patches.merge / q->vlm.patches.patch;
    if (q->window < 1)
        hparams_fail(config, "window_size", "%d is less than an image token", size);
}

/* The tower of Qwen2.5-VL: that of Qwen2-VL with RMSNorm, gated MLPs, and windows of attention in most layers. Errors
 * stay in the loader. */
static void load_vision(struct loader *l, struct vlm *v, struct hparams *config, const char *root)
{
    struct qwen2_5_vl *q = (struct qwen2_5_vl *)v;
    struct vision_kind k = {
        .width = (int)hparams_int(config, "hidden_size", 1280, 1, 1 << 14),
        .out = (int)hparams_int(config, "out_hidden_size", 3584, 1, 1 << 15),
        .heads = (int)hparams_int(config, "num_heads|num_attention_heads", 16, 1, 256),
        .eps = QWEN_VL_EPS, .norm = RMS_NORM, .qkv_bias = WITH_BIAS, .o_bias = WITH_BIAS,
        .act = load_act(config, "hidden_act", "silu"),
        .inner = (int)hparams_int(config, "intermediate_size", 3420, 1, 1 << 18),
    };
    read_windows(q, config);
    if (vlm_begin_qwen2(l, v, config, &k, "out_hidden_size", root, &q->merger) != 0)
        return;
    for (int i = 0; i < v->n_vision && !l->failed; i++) {
        struct block *b = vlm_load_layer(l, v, i, &k, root);
        load_stack(l, &b->up, k.width, PARTS({ "mlp.gate_proj", k.inner }, { "mlp.up_proj", k.inner }), WITH_BIAS);
        load_linear(l, &b->down, k.width, k.inner, WITH_BIAS, "mlp.down_proj");
        b->glu = true;
    }
}

static int qwen2_5_vl_load(struct model *m, struct loader *l)
{
    m->impl = xcalloc(1, sizeof(struct qwen2_5_vl));
    return vlm_load_qwen2(m, l, load_vision);
}

struct windows {                     /* host arrays, the run's                                    */
    int *order;                      /* (patches) reordered patch i is order[i] of the image    */
    int *undo;                       /* (tokens) image token i is undo[i] of the reordered ones */
    int *first;                      /* (n + 1) first patch of each window                      */
    int  n;
};

/* The image cut into windows of `side` x `side` tokens, of `unit` patches each. */
static struct windows windows_of(struct run *r, const struct image_plan *p, int side, int unit)
{
    int at = 0;
    struct windows s = { .order = nn_host(r, p->n_tokens * unit), .undo = nn_host(r, p->n_tokens),
                         .first = nn_host(r, p->n_tokens + 1) };
    for (int y0 = 0; y0 < p->grid_h; y0 += side)
        for (int x0 = 0; x0 < p->grid_w; x0 += side) {
            s.first[s.n++] = at * unit;
            for (int y = y0; y < y0 + side && y < p->grid_h; y++)
                for (int x = x0; x < x0 + side && x < p->grid_w; x++, at++) {
                    int token = y * p->grid_w + x;
                    s.undo[token] = at;
                    for (int k = 0; k < unit; k++)
                        s.order[at * unit + k] = token * unit + k;
                }
        }
    s.first[s.n] = at * unit;
    return s;
}

/* Patches are put in the order of windows once, so that a window is a segment of rows for attention. Rotary positions
 * are taken along; the order of image tokens is restored after the merger. */
static void qwen2_5_vl_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct qwen2_5_vl *q = m->impl;
    const struct vlm *v = &q->vlm;
    struct patch_grid grid = patch_grid(&v->patches, &in->plan);
    struct windows win = windows_of(r, &in->plan, q->window, v->patches.merge * v->patches.merge);
    const int all[2] = { 0, grid.n }, *whole = nn_ints(r, all, 2), *windows = nn_ints(r, win.first, win.n + 1);
    const int *order = nn_ints(r, win.order, grid.n), *undo = nn_ints(r, win.undo, in->plan.n_tokens);
    const int *places = patch_grid_places(r, &grid, win.order);
    struct stream s = stream_of(r, nn_new(r, grid.n, v->patches.embed.out));
    NN_SCRATCH(r) nn_gather_to(r, s.x, patches_embed(r, &v->patches, in, &grid), 1, order, NULL);
    for (int i = 0; i < v->n_vision; i++) {
        block_vision_attend(r, &s, &v->vision[i], places, q->whole[i] ? 1 : win.n, q->whole[i] ? whole : windows);
        block_mlp(r, &s, &v->vision[i]);
    }
    struct tensor x = stream_norm(r, &s, &q->merger.norm);
    x = vlm_merge(r, &q->merger, nn_reshape(x, in->plan.n_tokens, q->merger.in.in));
    x = nn_gather(r, x, x.rows, 1, undo, NULL);
    nn_scatter(r, in->pool, x, in->rows, false);
}

const struct family family_qwen2_5_vl = {
    .types = { "qwen2_5_vl" },
    .load = qwen2_5_vl_load,
    .plan_image = vlm_plan_image,
    .largest_image = vlm_largest,
    .positions = patches_positions,
    .encode_image = qwen2_5_vl_encode,
    .pixel_values = vlm_values,
    .forward = vlm_forward,
};
