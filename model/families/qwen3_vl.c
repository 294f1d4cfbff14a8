/* model/families/qwen3_vl.c - Qwen3-VL, dense and with routed experts.
 *
 *     patches + position table (bilinear, corners aligned) -> vision layers -> merger -> image tokens
 *     deepstack: after some vision layers a merger of its own makes features that are added to the image's
 *     rows after text layers 0, 1, ...; the pool keeps them behind the image token: (1 + n_deep) * hidden
 *     the decoder of Qwen3 or Qwen3-MoE, its rotary embedding interleaved for t, h, w */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/vlm.h"

enum { MAX_DEEP = 16 };

struct qwen3_vl {
    struct vlm    vlm;
    int           side;              /* of the square position table                 */
    struct tensor positions;         /* (side * side, width)                         */
    struct merger merger;            /* norms before the merge                       */
    struct merger deep[MAX_DEEP];    /* norm after it                                */
    int           deep_layer[MAX_DEEP], n_deep;
};

/* After which vision layers features are taken for the text: three of them where the configuration does not say. They
 * must rise, because the encoder meets them in that order. */
static void read_deepstack(struct qwen3_vl *q, struct hparams *config)
{
    static const int usual[] = { 8, 16, 24 };
    q->n_deep = hparams_ints(config, "deepstack_visual_indexes", q->deep_layer, MAX_DEEP, 0, VLM_MAX_VISION - 1);
    if (!hparams_has(config, "deepstack_visual_indexes"))
        for (q->n_deep = 0; q->n_deep < 3; q->n_deep++)
            q->deep_layer[q->n_deep] = usual[q->n_deep];
    for (int i = 0; i < q->n_deep; i++)
        if (q->deep_layer[i] >= q->vlm.n_vision || (i && q->deep_layer[i] <= q->deep_layer[i - 1]))
            hparams_fail(config, "deepstack_visual_indexes", "must be layers in rising order");
    if (q->n_deep > q->vlm.text.n_layers)
        hparams_fail(config, "deepstack_visual_indexes", "has more entries than the text has layers");
}

/* The last merger norms patches, those of deepstack norm four of them side by side, so their norms are wider. */
static void load_mergers(struct loader *l, struct qwen3_vl *q, const struct vision_kind *k, const char *root)
{
    static const char *const names[] = { "norm", "linear_fc1", "linear_fc2" };
    int wide = k->width * q->vlm.patches.merge * q->vlm.patches.merge;
    char prefix[96];
    snprintf(prefix, sizeof prefix, "%smerger.", root);
    vlm_load_merger(l, &q->merger, k, k->width, wide, prefix, names);
    for (int i = 0; i < q->n_deep; i++) {
        snprintf(prefix, sizeof prefix, "%sdeepstack_merger_list.%d.", root, i);
        vlm_load_merger(l, &q->deep[i], k, wide, wide, prefix, names);
    }
}

/* The mergers of deepstack are like the last one, but norm what they have merged and not the patches before. */
static void load_vision(struct loader *l, struct vlm *v, struct hparams *config, const char *root)
{
    struct qwen3_vl *q = (struct qwen3_vl *)v;
    struct vision_kind k = {
        .width = (int)hparams_int(config, "hidden_size", 1152, 1, 1 << 14),
        .out = (int)hparams_int(config, "out_hidden_size", 3584, 1, 1 << 15),
        .heads = (int)hparams_int(config, "num_heads|num_attention_heads", 16, 1, 256),
        .eps = QWEN_VL_EPS, .norm = LAYER_NORM, .qkv_bias = WITH_BIAS, .o_bias = WITH_BIAS,
        .act = load_act(config, "hidden_act", "gelu_pytorch_tanh"),
        .inner = (int)hparams_int(config, "intermediate_size", 4304, 1, 1 << 18),
    };
    int cells = (int)hparams_int(config, "num_position_embeddings", 2304, 1, 1 << 22);
    q->side = (int)sqrt((double)cells);
    if (q->side * q->side != cells)
        hparams_fail(config, "num_position_embeddings", "%d is not a square", cells);
    if (vlm_begin_vision(l, v, config, &k, "out_hidden_size", 27) != 0)
        return;
    read_deepstack(q, config);
    if (hparams_end(config) != 0)
        return;
    l->m->image_row_width = l->m->hidden * (1 + q->n_deep);
    load_at(l, "%s", root);
    patches_load_embed(l, &v->patches, k.width, WITH_BIAS, "patch_embed.proj");
    q->positions = load_table(l, load_floats(l, SHAPE(cells, k.width), "pos_embed.weight"), cells, k.width);
    for (int i = 0; i < v->n_vision && !l->failed; i++) {
        struct block *b = vlm_load_layer(l, v, i, &k, root);
        load_linear(l, &b->up, k.inner, k.width, WITH_BIAS, "mlp.linear_fc1");
        load_linear(l, &b->down, k.width, k.inner, WITH_BIAS, "mlp.linear_fc2");
    }
    load_mergers(l, q, &k, root);
}

/* The text's defaults are the class's of Qwen3-VL; patches are 16 pixels wide instead of 14. With experts the class
 * takes the weights of the chosen ones for a whole, whatever norm_topk_prob says. */
static int qwen3_vl_load(struct model *m, struct loader *l)
{
    static const char *const text_roots[] = { "model.language_model.", "model.", NULL };
    static const char *const vision_roots[] = { "model.visual.", "visual.", NULL };
    m->impl = xcalloc(1, sizeof(struct qwen3_vl));
    struct hparams text = hparams_section(&l->config, "text_config");
    enum bias bias = hparams_bool(&text, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct vlm_kind kind = {
        .text = { .eps = 1e-6, .context = 128000, .head_dim = 128, .qkv_bias = bias, .o_bias = bias, .qk_norm = true,
                  .rope = { .theta = 500000, .partial = 1, .mrope = MROPE_INTERLEAVED, .section = { 24, 20, 20 } } },
        .patches = qwen_vl_patches, .text_roots = text_roots, .vision_roots = vision_roots,
        .image_token = QWEN_VL_IMAGE, .load_vision = load_vision,
    };
    kind.patches.patch = 16;
    if (!strcmp(m->type, "qwen3_vl_moe")) {
        kind.text.head_dim = 0;
        kind.text.moe = (struct moe_kind){ .experts = 60, .per_token = 4, .inner = 1408, .always = true };
    }
    return vlm_load(m, l, &kind);
}

/* Where patch i of n lies on a table of `side` entries: two neighbours and the weight of the second. */
static float sample_at(int i, int n, int side, int tap[2])
{
    float x = (float)i * (float)(side - 1) / (float)(n > 1 ? n - 1 : 1), low = floorf(x);
    tap[0] = (int)low;
    tap[1] = tap[0] + 1 < side ? tap[0] + 1 : side - 1;
    return x - low;
}

/* Adds the position table to the patches. The table is a square of a fixed size; each patch takes the weighted sum of
 * the four cells around its own place in the picture (bilinear sampling). Indices and weights are made on the host, (n,
 * 4) each. */
static void add_positions(struct run *r, struct tensor x, const struct qwen3_vl *q, const struct patch_grid *grid)
{
    int n = grid->n, *idx = nn_host(r, n * 4), ty[2], tx[2];
    float *w = nn_host_floats(r, n * 4);
    for (int i = 0; i < n; i++) {
        float fy = sample_at(patch_row(grid, i), grid->h, q->side, ty),
            fx = sample_at(patch_col(grid, i), grid->w, q->side, tx);
        for (int k = 0; k < 4; k++) {
            idx[i * 4 + k] = ty[k / 2] * q->side + tx[k % 2];
            w[i * 4 + k] = (k / 2 ? fy : 1 - fy) * (k % 2 ? fx : 1 - fx);
        }
    }
    NN_SCRATCH(r) {
        const int *at = nn_ints(r, idx, n * 4);
        nn_add(r, x, x, nn_gather(r, q->positions, n, 4, at, nn_floats(r, w, n * 4)));
    }
}

/* Merges x and writes the result into columns of the image's rows of the pool. */
static void merge(struct run *r, struct tensor to, const struct merger *g, struct tensor x, const int *rows)
{
    nn_scatter(r, to, vlm_merge(r, g, x), rows, false);
}

/* A row of the pool is the image token and behind it, in columns of `hidden` each, what deepstack adds after text
 * layer 0, 1 and so on. */
static void qwen3_vl_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct qwen3_vl *q = m->impl;
    const struct vlm *v = &q->vlm;
    int tokens = in->plan.n_tokens, wide = q->merger.in.in, deep = 0;
    struct patch_grid grid = patch_grid(&v->patches, &in->plan);
    const int all[2] = { 0, grid.n }, *first = nn_ints(r, all, 2), *places = patch_grid_places(r, &grid, NULL);
    struct stream s = stream_of(r, patches_embed(r, &v->patches, in, &grid));
    add_positions(r, s.x, q, &grid);
    for (int i = 0; i < v->n_vision; i++) {
        block_vision_attend(r, &s, &v->vision[i], places, 1, first);
        block_mlp(r, &s, &v->vision[i]);
        if (deep < q->n_deep && q->deep_layer[deep] == i)
            NN_SCRATCH(r) {
                struct tensor h = nn_new(r, tokens, wide);
                nn_norm(r, h, nn_reshape(s.x, tokens, wide), &q->deep[deep].norm);
                merge(r, nn_cols(in->pool, m->hidden * (deep + 1), m->hidden), &q->deep[deep], h, in->rows);
                deep++;
            }
    }
    struct tensor h = stream_norm(r, &s, &q->merger.norm);
    merge(r, nn_cols(in->pool, 0, m->hidden), &q->merger, nn_reshape(h, tokens, wide), in->rows);
}

/* x += the features that deepstack has made after vision layer deep_layer[i], in the rows of image tokens */
static void add_features(struct run *r, struct stream *s, const struct model *m, int i, const struct forward *in)
{
    NN_SCRATCH(r) {
        struct tensor features = nn_cols(in->pool, m->hidden * (i + 1), m->hidden);
        stream_add_rows(r, s, nn_gather(r, features, in->n_image, 1, in->image_src, NULL), in->image_dst);
    }
}

/* A step of text alone has no rows to add features to, and is then the plain decoder. */
static struct tensor qwen3_vl_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct qwen3_vl *q = m->impl;
    const struct decoder *d = &q->vlm.text;
    struct stream s = stream_of(r, block_embed(r, &d->embed, in));
    for (int i = 0; i < d->n_layers; i++) {
        block_layer(r, &s, &d->layer[i], d->layer[i].layer, in, i + 1 == d->n_layers && i >= q->n_deep);
        if (i < q->n_deep && in->n_image > 0)
            add_features(r, &s, m, i, in);
    }
    return block_logits(r, s.x, &d->norm, &d->head, in);
}

const struct family family_qwen3_vl = {
    .types = { "qwen3_vl", "qwen3_vl_moe" },
    .load = qwen3_vl_load,
    .plan_image = vlm_plan_image,
    .largest_image = vlm_largest,
    .positions = patches_positions,
    .encode_image = qwen3_vl_encode,
    .pixel_values = vlm_values,
    .forward = qwen3_vl_forward,
};
