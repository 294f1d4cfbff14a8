/* model/families/idefics.c - Idefics, the open reproduction of Flamingo (Alayrac et al. 2022).
 *
 *     picture -> tower of CLIP -> perceiver resampler: a few learned latents look at all patches, and at each other
 *     -> keys and values of the text's cross-attention blocks, which is all that the text sees of an image
 *     decoder of Llama; before every `cross_layer_interval`-th layer a block of gated cross-attention and gated MLP
 *
 * A token looks at the last image before it and at no other. One that has none before it, or stands behind the end of a
 * text, skips the attention; the block's MLP is for all. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/decoder.h"
#include "model/tower.h"

enum { MAX_LAYERS = 256, MAX_DEPTH = 64 };
#define FAKE "<fake_token_around_image>"    /* stands on both sides of an image; neighbours share one */

struct perceiver {                   /* a layer of the resampler */
    struct norm   of_context, of_latents, of_mlp, q_norm, k_norm;
    struct weight q, kv, o, up, down;      /* kv: keys stacked on values */
    struct heads  heads;
};

struct cross {                       /* a block between the layers of the text */
    struct norm   norm1, norm2, q_norm, k_norm;
    struct weight q, kv, o, up, down;
    struct heads  heads;
    struct tensor attn_gate, mlp_gate;     /* (1, hidden) */
};

struct idefics {
    struct decoder   text;
    struct cross    *cross;          /* (n_cross), the model's memory */
    struct tower     tower;
    struct perceiver *layer;         /* (depth), the model's memory   */
    struct norm      last;           /* behind the resampler          */
    struct tensor    latents;        /* (n_latents, width)            */
    int depth, n_latents;            /* 0: there is no resampler, and the text looks at the tower's states */
    int n_cross, interval;
    int side;                        /* of a picture, in pixels       */
    int end;                         /* the token that ends a text    */
};

/* ---- loading ---- */

/* A gate is one number, or one for each column, of which the hyperbolic tangent is taken: a factor of every column. */
static struct tensor load_gate(struct loader *l, bool vector, int n, const char *name)
{
    const float *x = vector ? load_floats(l, SHAPE(1, 1, n), name) : load_floats(l, SHAPE(1), name);
    float *row = load_scratch(l, (size_t)n);
    for (int i = 0; row && i < n; i++)
        row[i] = tanhf(x[vector ? i : 0]);
    return load_table(l, row, 1, n);
}

/* Per head, where the checkpoint has them. */
static void head_norms(struct loader *l, struct heads *h, struct norm *q, struct norm *k, enum norm_kind kind,
                       double eps, const char *const names[2])
{
    load_norm(l, q, h->dim, kind, eps, names[0]);
    load_norm(l, k, h->dim, kind, eps, names[1]);
    h->q_norm = q;
    h->k_norm = k;
}

/* One block of gated cross-attention between layers of the text: its keys and values are made of the tower's rows, so
 * they read as many columns as those have. Its gates are a number or a vector each. */
static void load_cross(struct loader *l, struct idefics *g, int i, const char *root)
{
    static const char *const norms[] = { "cross_attn.q_layer_norm", "cross_attn.k_layer_norm" };
    struct cross *c = &g->cross[i];
    struct hparams *h = &l->config;
    int hidden = l->m->hidden, width = g->tower.size.width;
    int inner = (int)hparams_int(h, "intermediate_size", HP_REQUIRED, 1, 1 << 20);
    double eps = hparams_number(h, "rms_norm_eps", 1e-6, 0, 1);
    bool vector = !strcmp(hparams_string(h, "alpha_type", "float"), "vector");
    load_at(l, "%sgated_cross_attn_layers.%d.", root, i);
    load_norm(l, &c->norm1, hidden, RMS_NORM, eps, "input_layernorm");
    load_norm(l, &c->norm2, hidden, RMS_NORM, eps, "post_attention_layernorm");
    load_linear(l, &c->q, hidden, hidden, NO_BIAS, "cross_attn.q_proj");
    load_stack(l, &c->kv, width, PARTS({ "cross_attn.k_proj", hidden }, { "cross_attn.v_proj", hidden }), NO_BIAS);
    load_linear(l, &c->o, hidden, hidden, NO_BIAS, "cross_attn.o_proj");
    load_stack(l, &c->up, hidden, PARTS({ "mlp.gate_proj", inner }, { "mlp.up_proj", inner }), NO_BIAS);
    load_linear(l, &c->down, hidden, inner, NO_BIAS, "mlp.down_proj");
    c->attn_gate = load_gate(l, vector, hidden, "alpha_cross_attn");
    c->mlp_gate = load_gate(l, vector, hidden, "alpha_dense");
    struct kv_shape kv = l->m->image_kv;
    c->heads = (struct heads){ .n = kv.n_kv, .n_kv = kv.n_kv, .dim = kv.dim, .scale = 1 / sqrtf((float)kv.dim) };
    if (hparams_bool(h, "qk_layer_norms", false))
        head_norms(l, &c->heads, &c->q_norm, &c->k_norm, RMS_NORM, eps, norms);
}

/* The resampler's layers: attention, then a plain MLP with a norm of its own. */
static void load_resampler(struct loader *l, struct idefics *g, const char *root)
{
    static const char *const norms[] = { "0.q_layer_norm", "0.k_layer_norm" };
    struct hparams h = hparams_object(&l->config, "perceiver_config");
    int heads = (int)hparams_int(&h, "resampler_n_heads", 16, 1, 256), width = g->tower.size.width;
    int dim = (int)hparams_int(&h, "resampler_head_dim", 96, 2, 512), all = heads * dim;
    bool normed = hparams_bool(&h, "qk_layer_norms_perceiver", false);
    g->n_latents = (int)hparams_int(&h, "resampler_n_latents", 64, 1, 1 << 12);
    g->depth = (int)hparams_int(&h, "resampler_depth", 6, 1, MAX_DEPTH);
    if (hparams_end(&l->config) != 0)
        return;
    g->layer = load_keep(l, (size_t)g->depth * sizeof *g->layer);
    load_at(l, "%sperceiver_resampler.", root);
    g->latents = load_table(l, load_floats(l, SHAPE(g->n_latents, width), "latents"), g->n_latents, width);
    load_norm(l, &g->last, width, LAYER_NORM, 1e-5, "layer_norm");
    for (int i = 0; i < g->depth && !l->failed; i++) {
        struct perceiver *p = &g->layer[i];
        load_at(l, "%sperceiver_resampler.blocks.%d.", root, i);
        load_norm(l, &p->of_context, width, LAYER_NORM, 1e-5, "0.context_layer_norm");
        load_norm(l, &p->of_latents, width, LAYER_NORM, 1e-5, "0.latents_layer_norm");
        load_linear(l, &p->q, all, width, NO_BIAS, "0.q_proj");
        load_stack(l, &p->kv, width, PARTS({ "0.k_proj", all }, { "0.v_proj", all }), NO_BIAS);
        load_linear(l, &p->o, width, all, NO_BIAS, "0.output_proj");
        load_norm(l, &p->of_mlp, width, LAYER_NORM, 1e-5, "1.ln");
        load_linear(l, &p->up, 4 * width, width, NO_BIAS, "1.fc");
        load_linear(l, &p->down, width, 4 * width, NO_BIAS, "1.c_proj");
        p->heads = (struct heads){ .n = heads, .n_kv = heads, .dim = dim, .scale = 1 / sqrtf((float)dim) };
        if (normed)
            head_norms(l, &p->heads, &p->q_norm, &p->k_norm, LAYER_NORM, 1e-5, norms);
    }
}

/* The image processor squeezes pictures into a square of the tower's size. */
static void read_picture(struct loader *l, struct idefics *g)
{
    struct hparams size = hparams_object(&l->image, "size");
    g->side = g->tower.side * g->tower.patch;
    int side = (int)hparams_int(&l->image, "image_size", g->side, 1, 4096);
    if (hparams_int(&size, "height", side, 1, 4096) != g->side || hparams_int(&size, "width", side, 1, 4096) != g->side)
        hparams_fail(&l->image, "size", "a picture of the image processor is not the tower's of %d x %d", g->side,
                     g->side);
    pixel_resized(&l->image);
    pixel_norm_load(l, &g->tower.pixels, pixel_clip_mean, pixel_clip_std);
}

/* Where the cross-attention blocks stand, and the token that ends a text. -1: something is wrong, and noted. */
static int read_text(struct loader *l, struct idefics *g)
{
    struct hparams *h = &l->config;
    int layers = (int)hparams_int(h, "num_hidden_layers", HP_REQUIRED, 1, MAX_LAYERS);
    g->interval = (int)hparams_int(h, "cross_layer_interval", 1, 1, MAX_LAYERS);
    g->n_cross = layers / g->interval;
    if (layers % g->interval)
        hparams_fail(h, "cross_layer_interval", "%d does not divide %d layers", g->interval, layers);
    if (hparams_bool(h, "tie_word_embeddings", false))
        hparams_fail(h, "tie_word_embeddings", "must be false");
    g->end = -1;
    hparams_ints(h, "eos_token_id", &g->end, 1, 0, 1 << 24);
    return hparams_end(h);
}

/* The text comes first, because the sizes of what looks at images follow from it. Vocabulary and head have rows of
 * their own for the tokens that were added to Llama's. */
static int idefics_load(struct model *m, struct loader *l)
{
    struct idefics *g = m->impl = xcalloc(1, sizeof *g);
    struct hparams *h = &l->config, vision = hparams_object(h, "vision_config");
    const char *root = "model.";
    if (read_text(l, g) != 0)
        return -1;
    int more = (int)hparams_int(h, "additional_vocab_size", 0, 0, 1 << 16);
    decoder_load(l, &g->text, h, root, &(struct decoder_kind){
        .eps = 1e-6, .context = 2048, .rope = { .theta = 10000, .partial = 1 },
        .more_embed = { "embed_tokens.additional_embedding", more }, .more_head = { "/lm_head.additional_fc", more } });
    if (load_end(l) != 0)
        return -1;
    m->image_token = (int)hparams_int(h, "image_token_id", m->vocab - more + 1, 0, m->n_ids - 1);
    tower_load(l, &g->tower, &vision, "model.vision_model.", &(struct tower_kind){
        .class_token = true, .pre_norm = true, .no_post = true, .width = 768, .inner = 5120, .layers = 32, .heads = 16,
        .image = 224, .patch = 14, .act = "gelu", .eps = 1e-5 });
    m->image_kv = (struct kv_shape){ .layers = g->n_cross, .n_kv = m->text_kv.n_kv, .dim = m->text_kv.dim };
    if (m->text_kv.n_kv * m->text_kv.dim != m->hidden)
        hparams_fail(h, "num_attention_heads", "%d heads of keys with %d numbers each are not the hidden size %d",
                     m->text_kv.n_kv, m->text_kv.dim, m->hidden);
    if (load_end(l) != 0)
        return -1;
    read_picture(l, g);
    if (hparams_bool(h, "use_resampler", false))
        load_resampler(l, g, root);
    g->cross = load_keep(l, (size_t)g->n_cross * sizeof *g->cross);
    for (int i = 0; i < g->n_cross && !l->failed; i++)
        load_cross(l, g, i, root);
    m->image_align = g->side;
    return load_end(l);
}

/* ---- images ---- */

/* Every picture becomes the same square, whatever its shape. */
static void idefics_largest(const struct model *m, const struct image_options *opt, int64_t pixels,
                            struct image_plan *out)
{
    const struct idefics *g = m->impl;
    (void)opt, (void)pixels;
    *out = (struct image_plan){ .width = g->side, .height = g->side, .grid_h = 1, .grid_w = 1, .n_tokens = 1,
                                .n_cells = g->depth ? g->n_latents : tower_rows(&g->tower, g->side, g->side),
                                .filter = g->tower.pixels.filter, .resizer = RESIZER_TORCHVISION };
}

static int idefics_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                              struct image_plan *out, struct err *e)
{
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    idefics_largest(m, opt, 0, out);
    return 0;
}

/* Images that stand next to each other share the token between them. */
static void idefics_image_text(const struct model *m, const struct image_plan *p, const char *mark, const char *place,
                               bool joined, struct buf *out)
{
    (void)m, (void)p, (void)mark;
    buf_printf(out, "%s%s%s", joined ? "" : FAKE, place, FAKE);
}

/* A token sees the last image before it, and none after the end of a text: what follows is another one. */
static struct image_range idefics_sees(const struct model *m, const int32_t *ids, int n,
                                       const struct image_plan *images, int n_images, struct image_range *sees)
{
    const struct idefics *g = m->impl;
    struct image_range now = { 0 };
    int begun = 0;
    (void)images;
    for (int i = 0; i < n; i++) {
        if (ids[i] == m->image_token && begun < n_images) {
            now = (struct image_range){ begun, begun + 1, false };
            begun++;
        }
        sees[i] = now;
        if (ids[i] == g->end)
            now = (struct image_range){ 0 };
    }
    return now;
}

/* Latents look at the tower's states and at themselves; what they find is added to them. */
static struct tensor resample(struct run *r, const struct idefics *g, struct tensor x)
{
    int n = x.rows, latents = g->n_latents, width = x.cols;
    struct tensor out = nn_new(r, latents, width);
    const int *ends = nn_ints(r, (const int[]){ 0, latents, 0, n + latents }, 4);
    nn_copy(r, out, g->latents);
    for (int i = 0; i < g->depth; i++)
        NN_SCRATCH(r) {
            const struct perceiver *p = &g->layer[i];
            int all = p->heads.n * p->heads.dim;
            struct tensor seen = nn_new(r, n + latents, width), own = nn_rows(seen, n, latents);
            nn_norm(r, nn_rows(seen, 0, n), x, &p->of_context);
            nn_norm(r, own, out, &p->of_latents);
            struct tensor q = nn_linear(r, own, &p->q, (struct epilogue){ 0 });
            struct tensor kv = nn_linear(r, seen, &p->kv, (struct epilogue){ 0 });
            struct tensor y = nn_attend_across(r, q, nn_cols(kv, 0, all), nn_cols(kv, all, all), &p->heads, 1, ends,
                                               ends + 2);
            nn_linear_to(r, out, y, &p->o, (struct epilogue){ .add = out });
            nn_norm(r, own, out, &p->of_mlp);
            y = nn_linear(r, own, &p->up, (struct epilogue){ .act = ACT_RELU });
            nn_linear_to(r, out, y, &p->down, (struct epilogue){ .add = out });
        }
    nn_norm(r, out, out, &g->last);
    return out;
}

/* Nothing goes into the pool: the image's place in the prompt is a token like others. */
static void idefics_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct idefics *g = m->impl;
    struct tensor x = tower_states(r, &g->tower, in->rgb, 1, g->side, g->side, g->tower.n_layers);
    if (g->depth)
        x = resample(r, g, x);
    for (int i = 0; i < g->n_cross; i++)
        NN_SCRATCH(r) {
            struct tensor kv = nn_linear(r, x, &g->cross[i].kv, (struct epilogue){ 0 });
            nn_store_image(r, nn_cols(kv, 0, m->hidden), nn_cols(kv, m->hidden, m->hidden), i, &g->cross[i].heads,
                           in->slots);
        }
}

static void idefics_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out,
                           int shape[4])
{
    const struct idefics *g = m->impl;
    tower_values(&g->tower, rgb, p->height, p->width, out, shape);
}

/* ---- text ---- */

/* Gated cross-attention for the rows that see an image, and a gated MLP for all. */
static void cross_block(struct run *r, struct stream *s, const struct cross *c, int layer, const struct forward *in)
{
    if (in->cross.n_rows > 0)
        NN_SCRATCH(r) {
            struct tensor x = nn_gather(r, s->x, in->cross.n_rows, 1, in->cross_rows, NULL);
            nn_norm(r, x, x, &c->norm1);
            struct tensor y = nn_linear(r, x, &c->q, (struct epilogue){ 0 });
            y = nn_attend_images(r, y, layer, &c->heads, &in->cross);
            y = nn_linear(r, y, &c->o, (struct epilogue){ .mul = c->attn_gate });
            stream_add_rows(r, s, y, in->cross_rows);
        }
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, stream_norm(r, s, &c->norm2), &c->up,
                                    (struct epilogue){ .act = ACT_SILU, .glu = true });
        nn_linear_to(r, s->x, y, &c->down, (struct epilogue){ .mul = c->mlp_gate, .add = s->x });
    }
    s->normed = NULL;
}

/* In front of every `interval`-th layer of the text stands a block that looks at images. */
static struct tensor idefics_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct idefics *g = m->impl;
    const struct decoder *d = &g->text;
    struct stream s = stream_of(r, nn_embed(r, &d->embed, in->batch.token, in->batch.n_rows));
    for (int i = 0; i < d->n_layers; i++) {
        if (i % g->interval == 0)
            cross_block(r, &s, &g->cross[i / g->interval], i / g->interval, in);
        block_layer(r, &s, &d->layer[i], i, in, i + 1 == d->n_layers);
    }
    return block_logits(r, s.x, &d->norm, &d->head, in);
}

const struct family family_idefics = {
    .types = { "idefics" },
    .load = idefics_load,
    .plan_image = idefics_plan_image,
    .largest_image = idefics_largest,
    .image_text = idefics_image_text,
    .sees = idefics_sees,
    .encode_image = idefics_encode,
    .pixel_values = idefics_values,
    .forward = idefics_forward,
};
