/* model/vlm.c - see vlm.h. */
#include "model/vlm.h"
#include "model/heads.h"

#include <math.h>

const struct patches_default qwen_vl_patches = { 14, 56 * 56, 28 * 28 * 1280, pixel_clip_mean, pixel_clip_std };

/* The text is loaded first, because the sizes of the tower are checked against its hidden size. At the end every
 * vision layer knows the norm that follows it. */
int vlm_load(struct model *m, struct loader *l, const struct vlm_kind *kind)
{
    struct vlm *v = m->impl;
    struct hparams text = hparams_section(&l->config, "text_config"),
        vision = hparams_object(&l->config, "vision_config");
    patches_load(l, &v->patches, &vision, &kind->patches);
    decoder_load(l, &v->text, &text, load_root(l, "norm.weight", kind->text_roots), &kind->text);
    m->image_token = (int)hparams_int(&l->config, "image_token_id", kind->image_token, 0, m->vocab - 1);
    if (load_end(l) != 0)
        return -1;
    m->image_row_width = m->hidden;
    kind->load_vision(l, v, &vision, load_root(l, "patch_embed.proj.weight", kind->vision_roots));
    if (load_end(l) != 0)
        return -1;
    blocks_chain(v->vision, v->n_vision);
    return 0;
}

int vlm_load_qwen2(struct model *m, struct loader *l,
                   void (*load_vision)(struct loader *, struct vlm *, struct hparams *, const char *root))
{
    static const char *const text_roots[] = { "model.", "model.language_model.", NULL };
    static const char *const vision_roots[] = { "visual.", "model.visual.", NULL };
    return vlm_load(m, l, &(struct vlm_kind){
        .text = { .eps = 1e-5, .context = 32768, .qkv_bias = WITH_BIAS, .windows = WINDOW_LATER,
                  .rope = { .theta = 1e6, .partial = 1, .mrope = MROPE_SECTIONS, .section = { 16, 24, 24 } } },
        .patches = qwen_vl_patches, .text_roots = text_roots, .vision_roots = vision_roots,
        .image_token = QWEN_VL_IMAGE, .load_vision = load_vision });
}

int vlm_begin_qwen2(struct loader *l, struct vlm *v, struct hparams *config, const struct vision_kind *k,
                    const char *out_name, const char *root, struct merger *merger)
{
    static const char *const names[] = { "merger.ln_q", "merger.mlp.0", "merger.mlp.2" };
    if (vlm_begin_vision(l, v, config, k, out_name, 32) != 0)
        return -1;
    load_at(l, "%s", root);
    patches_load_embed(l, &v->patches, k->width, NO_BIAS, "patch_embed.proj");
    vlm_load_merger(l, merger, k, k->width, k->width * v->patches.merge * v->patches.merge, root, names);
    return load_end(l);
}

/* Everything that can be checked before a tensor is touched; the family goes on only if all of it was right. */
int vlm_begin_vision(struct loader *l, struct vlm *v, struct hparams *config, const struct vision_kind *k,
                     const char *out_name, int layers)
{
    struct hparams rope = hparams_object(config, "rope_parameters");
    double old = hparams_number(config, "rope_theta", 10000, 1.001, 1e12);
    v->n_vision = (int)hparams_int(config, "depth|num_hidden_layers", layers, 1, VLM_MAX_VISION);
    if (k->width % k->heads)
        hparams_fail(config, "num_heads", "%d heads do not divide %d", k->heads, k->width);
    heads_check(config, "num_heads", k->width / k->heads);
    if (k->out != l->m->hidden)
        hparams_fail(config, out_name, "%d is not the text's hidden size %d", k->out, l->m->hidden);
    if (hparams_end(config) != 0)
        return -1;
    rope_load_2d(l, &v->rope, k->width / k->heads, hparams_number(&rope, "rope_theta", old, 1.001, 1e12));
    v->vision = load_keep(l, (size_t)v->n_vision * sizeof *v->vision);
    return load_end(l);
}

/* The tensors of a layer have the same names in all these families. q, k and v come stacked as the forward pass wants
 * them. */
struct block *vlm_load_layer(struct loader *l, struct vlm *v, int i, const struct vision_kind *k, const char *root)
{
    struct block *b = &v->vision[i];
    int dim = k->width / k->heads;
    load_at(l, "%sblocks.%d.", root, i);
    load_norm(l, &b->norm1, k->width, k->norm, k->eps, "norm1");
    load_norm(l, &b->norm2, k->width, k->norm, k->eps, "norm2");
    load_linear(l, &b->qkv, 3 * k->width, k->width, k->qkv_bias, "attn.qkv");
    load_linear(l, &b->o, k->width, k->width, k->o_bias, "attn.proj");
    b->act = k->act;
    b->heads = (struct heads){ .n = k->heads, .n_kv = k->heads, .dim = dim, .scale = 1 / sqrtf((float)dim),
                               .rope = &v->rope };
    return b;
}

void vlm_load_merger(struct loader *l, struct merger *g, const struct vision_kind *k, int width, int wide,
                     const char *prefix, const char *const names[3])
{
    load_at(l, "%s", prefix);
    load_norm(l, &g->norm, width, k->norm, k->eps, names[0]);
    load_linear(l, &g->in, wide, wide, WITH_BIAS, names[1]);
    load_linear(l, &g->out, k->out, wide, WITH_BIAS, names[2]);
}

struct tensor vlm_merge(struct run *r, const struct merger *g, struct tensor x)
{
    x = nn_linear(r, x, &g->in, (struct epilogue){ .act = ACT_GELU });
    return nn_linear(r, x, &g->out, (struct epilogue){ 0 });
}

int vlm_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                   struct image_plan *out, struct err *e)
{
    const struct vlm *v = m->impl;
    return patches_plan(&v->patches, width, height, opt, out, e);
}

void vlm_largest(const struct model *m, const struct image_options *opt, int64_t pixels, struct image_plan *out)
{
    const struct vlm *v = m->impl;
    patches_largest(&v->patches, opt, 1, false, pixels, out);
}

void vlm_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    const struct vlm *v = m->impl;
    patches_values(&v->patches, p, rgb, out, shape);
}

struct tensor vlm_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct vlm *v = m->impl;
    return decoder_forward(r, &v->text, in);
}
