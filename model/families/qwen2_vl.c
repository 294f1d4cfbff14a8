/* model/families/qwen2_vl.c - Qwen2-VL.
 *
 *     patches -> vision layers (LayerNorm, quick GELU) -> norm -> 2x2 neighbours -> MLP -> image tokens
 *     the decoder of Qwen2, its rotary embedding in sections for t, h, w */
#include "base/mem.h"
#include "model/vlm.h"

struct qwen2_vl {
    struct vlm    vlm;
    struct merger merger;
};

/* embed_dim is the tower's width here, and hidden_size the text's, to which the merger leads. */
static void load_vision(struct loader *l, struct vlm *v, struct hparams *config, const char *root)
{
    struct qwen2_vl *q = (struct qwen2_vl *)v;
    struct vision_kind k = {
        .width = (int)hparams_int(config, "embed_dim", 1280, 1, 1 << 14),
        .out = (int)hparams_int(config, "hidden_size", 3584, 1, 1 << 15),
        .heads = (int)hparams_int(config, "num_heads|num_attention_heads", 16, 1, 256),
        .eps = QWEN_VL_EPS, .norm = LAYER_NORM, .qkv_bias = WITH_BIAS, .o_bias = WITH_BIAS,
        .act = load_act(config, "hidden_act", "quick_gelu"),
    };
    k.inner = (int)(k.width * hparams_number(config, "mlp_ratio", 4, 0.1, 64));
    if (vlm_begin_qwen2(l, v, config, &k, "hidden_size", root, &q->merger) != 0)
        return;
    for (int i = 0; i < v->n_vision && !l->failed; i++) {
        struct block *b = vlm_load_layer(l, v, i, &k, root);
        load_linear(l, &b->up, k.inner, k.width, WITH_BIAS, "mlp.fc1");
        load_linear(l, &b->down, k.width, k.inner, WITH_BIAS, "mlp.fc2");
    }
}

static int qwen2_vl_load(struct model *m, struct loader *l)
{
    m->impl = xcalloc(1, sizeof(struct qwen2_vl));
    return vlm_load_qwen2(m, l, load_vision);
}

/* All patches of the image see each other. Four patches of a block lie side by side in memory, so merging them is a
 * reshape. */
static void qwen2_vl_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct qwen2_vl *q = m->impl;
    const struct vlm *v = &q->vlm;
    struct patch_grid grid = patch_grid(&v->patches, &in->plan);
    const int all[2] = { 0, grid.n }, *first = nn_ints(r, all, 2), *places = patch_grid_places(r, &grid, NULL);
    struct stream s = stream_of(r, patches_embed(r, &v->patches, in, &grid));
    for (int i = 0; i < v->n_vision; i++) {
        block_vision_attend(r, &s, &v->vision[i], places, 1, first);
        block_mlp(r, &s, &v->vision[i]);
    }
    struct tensor x = stream_norm(r, &s, &q->merger.norm);
    x = vlm_merge(r, &q->merger, nn_reshape(x, in->plan.n_tokens, q->merger.in.in));
    nn_scatter(r, in->pool, x, in->rows, false);
}

const struct family family_qwen2_vl = {
    .types = { "qwen2_vl" },
    .load = qwen2_vl_load,
    .plan_image = vlm_plan_image,
    .largest_image = vlm_largest,
    .positions = patches_positions,
    .encode_image = qwen2_vl_encode,
    .pixel_values = vlm_values,
    .forward = vlm_forward,
};
