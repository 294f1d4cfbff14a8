/* model/families/mllama.c - Llama 3.2 Vision, and its text model alone.
 *
 *     picture -> final and intermediate states of the tower (mllama_tiles.c) side by side -> projector
 *     -> keys and values of the text's cross-attention layers, which is all that the text sees of an image
 *     decoder of Llama; some of its layers have gated cross-attention in the place of self-attention */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/decoder.h"
#include "model/families/mllama_tiles.h"

enum { MAX_LAYERS = 256 };

struct cross {                       /* what a layer of the text has instead of self-attention */
    struct weight q, kv, o;          /* kv: keys stacked on values */
    struct norm   q_norm, k_norm;
    struct heads  heads;
    struct tensor attn_gate, mlp_gate;     /* (1, hidden) */
};

struct mllama {
    struct decoder text;
    int           apart[MAX_LAYERS], n_apart;    /* layers with cross-attention */
    struct cross *cross;             /* (n_apart), the model's memory */
    struct tiles  tower;
    struct weight project;
};

/* ---- loading ---- */

/* A cross-attention layer of the text: norms and MLP as the others have them, attention of its own. */
static void load_cross(struct loader *l, struct mllama *g, int i, struct hparams *t, const char *root)
{
    struct block *b = &g->text.layer[g->apart[i]];
    struct cross *c = &g->cross[i];
    struct kv_shape kv = l->m->text_kv;
    int hidden = l->m->hidden, n = (int)hparams_int(t, "num_attention_heads", HP_REQUIRED, 1, 1024);
    int inner = (int)hparams_int(t, "intermediate_size", HP_REQUIRED, 1, 1 << 20);
    double eps = hparams_number(t, "rms_norm_eps", 1e-5, 0, 1);
    load_at(l, "%slayers.%d.", root, g->apart[i]);
    load_norm(l, &b->norm1, hidden, RMS_NORM, eps, "input_layernorm");
    load_norm(l, &b->norm2, hidden, RMS_NORM, eps, "post_attention_layernorm");
    load_stack(l, &b->up, hidden, PARTS({ "mlp.gate_proj", inner }, { "mlp.up_proj", inner }), NO_BIAS);
    load_linear(l, &b->down, hidden, inner, NO_BIAS, "mlp.down_proj");
    b->act = ACT_SILU;
    b->glu = true;
    load_linear(l, &c->q, n * kv.dim, hidden, NO_BIAS, "cross_attn.q_proj");
    load_stack(l, &c->kv, hidden, PARTS({ "cross_attn.k_proj", kv.n_kv * kv.dim },
                                        { "cross_attn.v_proj", kv.n_kv * kv.dim }), NO_BIAS);
    load_linear(l, &c->o, hidden, n * kv.dim, NO_BIAS, "cross_attn.o_proj");
    load_norm(l, &c->q_norm, kv.dim, RMS_NORM, eps, "cross_attn.q_norm");
    load_norm(l, &c->k_norm, kv.dim, RMS_NORM, eps, "cross_attn.k_norm");
    c->attn_gate = tiles_gate(l, hidden, "cross_attn_attn_gate");
    c->mlp_gate = tiles_gate(l, hidden, "cross_attn_mlp_gate");
    c->heads = (struct heads){ .n = n, .n_kv = kv.n_kv, .dim = kv.dim, .scale = 1 / sqrtf((float)kv.dim),
                               .q_norm = &c->q_norm, .k_norm = &c->k_norm };
}

/* The decoder without its cross-attention layers. -1: something is wrong, and noted. */
static int load_text(struct loader *l, struct mllama *g, struct hparams *t, const char *root, const char *head)
{
    static const int usual[] = { 3, 8, 13, 18, 23, 28, 33, 38 };
    int layers = (int)hparams_int(t, "num_hidden_layers", HP_REQUIRED, 1, MAX_LAYERS);
    g->n_apart = hparams_ints(t, "cross_attention_layers", g->apart, MAX_LAYERS, 0, layers - 1);
    if (!hparams_has(t, "cross_attention_layers"))
        for (g->n_apart = 0; g->n_apart < 8; g->n_apart++)
            g->apart[g->n_apart] = usual[g->n_apart];
    for (int i = 0; i < g->n_apart; i++)
        if (g->apart[i] >= layers || (i && g->apart[i] <= g->apart[i - 1]))
            hparams_fail(t, "cross_attention_layers", "must be layers in rising order");
    if (g->n_apart == layers)
        hparams_fail(t, "cross_attention_layers", "leaves no layer with self-attention");
    if (hparams_bool(t, "tie_word_embeddings", false))
        hparams_fail(t, "tie_word_embeddings", "must be false: the embedding has more rows than the head");
    if (hparams_end(t) != 0)
        return -1;
    decoder_load(l, &g->text, t, root, &(struct decoder_kind){
        .eps = 1e-5, .context = 131072, .apart = g->apart, .n_apart = g->n_apart, .more_ids = 8, .head = head,
        .rope = { .theta = 500000, .partial = 1 } });
    return load_end(l);
}

/* The text first, whose sizes the cross-attention layers and the projector have; a projector for the final and the
 * intermediate states of the tower together. Newer writers keep text and tower below "model.". */
static int mllama_load(struct model *m, struct loader *l)
{
    static const char *const vision_roots[] = { "vision_model.", "model.vision_model.", NULL };
    struct mllama *g = m->impl = xcalloc(1, sizeof *g);
    struct hparams text = hparams_section(&l->config, "text_config"),
        vision = hparams_object(&l->config, "vision_config");
    const char *root = load_root(l, "norm.weight", load_text_roots);
    const char *tower = load_root(l, "class_embedding", vision_roots);
    if (load_text(l, g, &text, root, root == load_text_roots[0] ? "/language_model.lm_head" : NULL) != 0)
        return -1;
    m->image_token = (int)hparams_int(&l->config, "image_token_index|image_token_id", 128256, 0, m->n_ids - 1);
    m->image_kv = (struct kv_shape){ .layers = g->n_apart, .n_kv = m->text_kv.n_kv, .dim = m->text_kv.dim };
    g->cross = load_keep(l, (size_t)g->n_apart * sizeof *g->cross);
    for (int i = 0; i < g->n_apart && !l->failed; i++)
        load_cross(l, g, i, &text, root);
    tiles_load(l, &g->tower, &vision, tower);
    m->image_align = g->tower.side;
    load_at(l, "%.*s", (int)(strlen(tower) - strlen("vision_model.")), tower);
    load_linear(l, &g->project, m->hidden, g->tower.width * (1 + g->tower.n_taken), WITH_BIAS, "multi_modal_projector");
    return load_end(l);
}

/* The text model as a checkpoint of its own takes no images, and never runs the layers that would look at them. */
static int mllama_text_load(struct model *m, struct loader *l)
{
    struct mllama *g = m->impl = xcalloc(1, sizeof *g);
    const char *root = decoder_root(l);
    if (load_text(l, g, &l->config, root, NULL) != 0)
        return -1;
    for (int i = 0; i < g->n_apart; i++) {
        load_at(l, "%slayers.%d.", root, g->apart[i]);
        load_skip(l, "");
    }
    return load_end(l);
}

/* ---- images ---- */

static int mllama_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                             struct image_plan *out, struct err *e)
{
    const struct mllama *g = m->impl;
    return tiles_plan(&g->tower, width, height, opt, out, e);
}

static void mllama_largest(const struct model *m, const struct image_options *opt, int64_t pixels,
                           struct image_plan *out)
{
    const struct mllama *g = m->impl;
    (void)opt, (void)pixels;
    tiles_largest(&g->tower, out);
}

static void mllama_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out,
                          int shape[4])
{
    const struct mllama *g = m->impl;
    tiles_values(&g->tower, p, rgb, out, shape);
}

/* A token sees the images that stand together in the last place of images before it. One that has none before it is
 * blind, and one that is an image's place sees those of its group up to itself. */
static struct image_range mllama_sees(const struct model *m, const int32_t *ids, int n, const struct image_plan *images,
                                      int n_images, struct image_range *sees)
{
    struct image_range now = { 0, n_images, n_images > 0 };
    int begun = 0;
    (void)images;
    for (int i = 0; i < n; i++) {
        if (ids[i] == m->image_token && begun < n_images) {
            bool together = begun > 0 && ids[i - 1] == m->image_token;
            now = (struct image_range){ together ? now.first : begun, begun + 1, false };
            begun++;
        }
        sees[i] = now;
    }
    return now;
}

/* One tile: its final states, then the kept ones of every layer that is taken, unit by unit. Then the projector, and
 * what the text's layers make of its rows. */
static void store_tile(struct run *r, const struct mllama *g, struct tensor final, const struct tensor *kept,
                       const int *slots)
{
    int rows = final.rows, w = g->tower.width, n = g->tower.n_taken;
    struct tensor wide = nn_new(r, rows, w * (1 + n));
    nn_copy(r, nn_cols(wide, 0, w), final);
    if (n > 0)
        NN_SCRATCH(r) {
            struct tensor mixed = nn_new(r, rows * w, n);
            for (int i = 0; i < n; i++)
                nn_copy(r, nn_cols(mixed, i, 1), nn_reshape(kept[i], rows * w, 1));
            nn_copy(r, nn_cols(wide, w, w * n), nn_reshape(mixed, rows, w * n));
        }
    struct tensor x = nn_linear(r, wide, &g->project, (struct epilogue){ 0 });
    for (int i = 0; i < g->n_apart; i++)
        NN_SCRATCH(r) {
            const struct cross *c = &g->cross[i];
            int half = c->heads.n_kv * c->heads.dim;
            struct tensor kv = nn_linear(r, x, &c->kv, (struct epilogue){ 0 });
            nn_store_image(r, nn_cols(kv, 0, half), nn_cols(kv, half, half), i, &c->heads, slots);
        }
}

/* Nothing goes into the pool: the image's place in the prompt is a token like others. */
static void mllama_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct mllama *g = m->impl;
    struct tile_states s;
    struct tensor part[MAX_TAKEN];
    tiles_states(r, &g->tower, in, &s);
    for (int t = 0; t < g->tower.tiles; t++)
        NN_SCRATCH(r) {
            int from = t * s.per_tile;
            for (int i = 0; i < g->tower.n_taken; i++)
                part[i] = nn_rows(s.kept[i], from, s.per_tile);
            store_tile(r, g, nn_rows(s.final, from, s.per_tile), part, in->slots + from);
        }
}

/* ---- text ---- */

/* The rows that see an image, or that are blind: gated cross-attention, then a gated MLP, which is left out of the
 * blind ones. */
static void look(struct run *r, struct stream *s, const struct block *b, const struct cross *c, int layer,
                 const struct forward *in)
{
    NN_SCRATCH(r) {
        struct tensor x = nn_gather(r, s->x, in->cross.n_rows, 1, in->cross_rows, NULL);
        struct tensor h = nn_new(r, x.rows, x.cols);
        nn_norm(r, h, x, &b->norm1);
        struct tensor y = nn_linear(r, h, &c->q, (struct epilogue){ 0 });
        y = nn_attend_images(r, y, layer, &c->heads, &in->cross);
        nn_linear_to(r, x, y, &c->o, (struct epilogue){ .mul = c->attn_gate, .add = x });
        nn_scatter(r, s->x, x, in->cross_rows, false);
        nn_norm(r, h, x, &b->norm2);
        y = nn_linear(r, h, &b->up, (struct epilogue){ .act = b->act, .glu = b->glu });
        y = nn_linear(r, y, &b->down, (struct epilogue){ .mul = c->mlp_gate });
        stream_add_rows(r, s, y, in->cross_seeing);
    }
}

/* A step in which nobody has images passes over the layers that look at them. */
static struct tensor mllama_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct mllama *g = m->impl;
    const struct decoder *d = &g->text;
    struct stream s = stream_of(r, nn_embed(r, &d->embed, in->batch.token, in->batch.n_rows));
    for (int i = 0, cross = 0; i < d->n_layers; i++) {
        if (cross < g->n_apart && g->apart[cross] == i) {
            if (in->cross.n_rows > 0)
                look(r, &s, &d->layer[i], &g->cross[cross], cross, in);
            cross++;
            continue;
        }
        block_layer(r, &s, &d->layer[i], i - cross, in, i + 1 == d->n_layers);
    }
    return block_logits(r, s.x, &d->norm, &d->head, in);
}

const struct family family_mllama = {
    .types = { "mllama" },
    .load = mllama_load,
    .plan_image = mllama_plan_image,
    .largest_image = mllama_largest,
    .sees = mllama_sees,
    .encode_image = mllama_encode,
    .pixel_values = mllama_values,
    .forward = mllama_forward,
};

const struct family family_mllama_text = {
    .types = { "mllama_text_model" },
    .load = mllama_text_load,
    .forward = mllama_forward,
};
