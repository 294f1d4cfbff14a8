/* model/families/gemma.c - Gemma (2B, 7B) and Gemma 2 (2B, 9B, 27B), and PaliGemma and PaliGemma 2, which see images.
 *
 *     embedding * sqrt(hidden), gated tanh-GELU MLP, norms whose weights are offsets from one
 *     Gemma 2: four norms a layer, every second layer sees a window; scores x of attention become cap * tanh(x / cap)
 *     with one cap, logits with another
 *     PaliGemma: SigLIP's tower -> norm -> matrix -> one image token a patch; the prompt's tokens see each other both
 *     ways, through windows too */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/decoder.h"
#include "model/square.h"
#include "model/tower.h"

struct gemma {
    struct decoder text;
    struct tower   tower;            /* the rest: only in paligemma    */
    struct square  square;
    struct weight  project;          /* (hidden, the tower's width)    */
};

static const char *const norms2[4] = { "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                                       "post_feedforward_layernorm" };

/* A cap of the reference's default `def`; null in the configuration: there is none, 0. */
static double cap_of(struct hparams *t, const char *name, double def)
{
    bool none = json_is_null(json_object_get(t->object, name));
    return none ? 0 : hparams_number(t, name, def, 1e-3, 1e6);
}

/* Which layers of Gemma 2 have a window, and how its scores and logits are bent. */
static void load_second(struct loader *l, struct decoder *d, struct hparams *t)
{
    int window = (int)hparams_int(t, "sliding_window", 4096, 1, 1 << 28);
    double scalar = hparams_number(t, "query_pre_attn_scalar", 256, 1e-3, 1e6),
           scores = cap_of(t, "attn_logit_softcapping", 50), logits = cap_of(t, "final_logit_softcapping", 30);
    bool *windowed = load_keep(l, (size_t)d->n_layers * sizeof *windowed);
    for (int i = 0; i < d->n_layers; i++)
        windowed[i] = i % 2 == 0;
    decoder_layer_types(t, windowed, d->n_layers);
    decoder_windows(l->m, d, windowed, window);
    for (int i = 0; i < d->n_layers; i++) {
        d->layer[i].heads.scale = (float)(1 / sqrt(scalar));
        d->layer[i].heads.cap = (float)scores;
    }
    if (logits > 0)
        decoder_cap(l, d, logits);
}

/* The activation of the first Gemma's MLP. Configurations of its first weeks say "gelu" and mean its approximation; as
 * in the reference, `hidden_activation` counts for nothing. */
static void load_first(struct decoder *d, struct hparams *t)
{
    enum act act = load_act(t, "hidden_act", "gelu_pytorch_tanh");
    for (int i = 0; i < d->n_layers; i++)
        d->layer[i].act = act == ACT_GELU ? ACT_GELU_TANH : act;
}

/* A text model of either kind below `root`. -1: an error is noted. */
static int load_text(struct loader *l, struct decoder *d, struct hparams *t, const char *root, bool second)
{
    enum bias bias = hparams_bool(t, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct decoder_kind kind = {
        .eps = 1e-6, .head_dim = 256, .context = 8192, .vocab = 256000, .hidden = second ? 2304 : 3072,
        .layers = second ? 26 : 28, .heads = second ? 8 : 16, .n_kv = second ? 4 : 16, .inner = second ? 9216 : 24576,
        .tied = true, .qkv_bias = bias, .o_bias = bias, .act = "gelu_pytorch_tanh", .norm = RMS_NORM_OFFSET,
        .norms = second ? norms2 : NULL, .rope = { .theta = 10000, .partial = 1 },
    };
    decoder_load(l, d, t, root, &kind);
    if (load_end(l) != 0)
        return -1;
    if (second)
        load_second(l, d, t);
    else
        load_first(d, t);
    decoder_scale(l, d, sqrt(l->m->hidden));
    return load_end(l);
}

/* Text models that read in both directions are no published ones. */
static int gemma_load(struct model *m, struct loader *l)
{
    struct gemma *g = m->impl = xcalloc(1, sizeof *g);
    if (hparams_bool(&l->config, "use_bidirectional_attention", false))
        hparams_fail(&l->config, "use_bidirectional_attention", "true is not supported");
    return load_text(l, &g->text, &l->config, decoder_root(l), strcmp(m->type, "gemma2") == 0);
}

/* The tower, the matrix behind its last norm, and the size that all pictures get: an image token for each patch. -1: an
 * error is noted. */
static int load_sight(struct loader *l, struct gemma *g, struct hparams *vision)
{
    tower_load(l, &g->tower, vision, load_root(l, TOWER_PROBE, load_tower_roots), &(struct tower_kind){
        .patch_bias = WITH_BIAS, .width = 1152, .inner = 4096, .layers = 27, .heads = 16, .image = 224, .patch = 14,
        .act = "gelu_pytorch_tanh", .eps = 1e-6 });
    if (load_end(l) != 0)
        return -1;
    load_at(l, "%s", load_root(l, "linear.weight", load_projector_roots));
    load_linear(l, &g->project, l->m->hidden, g->tower.size.width, WITH_BIAS, "linear");
    pixel_norm_load(l, &g->tower.pixels, pixel_half, pixel_half);
    square_load(l, &g->square, g->tower.image, &(struct square_default){ .size = 224, .filter = FILTER_BICUBIC });
    g->square.grid_h = g->square.grid_w = g->tower.side;
    g->square.n_tokens = g->tower.side * g->tower.side;
    g->square.pixels = &g->tower.pixels;
    int said = (int)hparams_int(&l->image, "image_seq_length", g->square.n_tokens, 1, 1 << 20);
    if (said != g->square.n_tokens)
        hparams_fail(&l->image, "image_seq_length", "%d is not the %d patches of a picture", said, g->square.n_tokens);
    return load_end(l);
}

/* One of the two text models, whose hidden size the projector makes, and what it sees with. */
static int paligemma_load(struct model *m, struct loader *l)
{
    static const char *const texts[] = { "language_model.model.", "model.language_model.", "language_model.", NULL };
    struct gemma *g = m->impl = xcalloc(1, sizeof *g);
    struct hparams text = hparams_object(&l->config, "text_config"),
        vision = hparams_object(&l->config, "vision_config");
    const char *type = hparams_string(&text, "model_type", "gemma");
    bool second = strcmp(type, "gemma2") == 0;
    if (!second && strcmp(type, "gemma") != 0)
        hparams_fail(&text, "model_type", "\"%.40s\" is not supported (gemma, gemma2)", type);
    if (load_text(l, &g->text, &text, load_root(l, "norm.weight", texts), second) != 0)
        return -1;
    int width = (int)hparams_int(&l->config, "projection_dim", 2048, 1, 1 << 16);
    if (width != m->hidden)
        hparams_fail(&l->config, "projection_dim", "%d is not the text's hidden size %d", width, m->hidden);
    m->image_token = (int)hparams_int(&l->config, "image_token_index|image_token_id", 256000, 0, m->vocab - 1);
    m->image_row_width = m->hidden;
    m->prompts_whole = true;
    return load_sight(l, g, &vision);
}

/* One after the other, from 1 on. */
static int paligemma_positions(const struct model *m, const int32_t *ids, int n, const struct image_plan *images,
                               int n_images, int32_t *pos)
{
    (void)m, (void)ids, (void)images, (void)n_images;
    for (int i = 0; i < 3 * n; i++)
        pos[i] = i % n + 1;
    return n + 1;
}

/* Each patch's normed state becomes a token through one matrix. */
static void paligemma_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct gemma *g = m->impl;
    const struct tower *t = &g->tower;
    struct tensor x = tower_states(r, t, in->rgb, 1, in->plan.height, in->plan.width, t->n_layers);
    nn_norm(r, x, x, &t->post);
    nn_scatter(r, in->pool, nn_linear(r, x, &g->project, (struct epilogue){ 0 }), in->rows, false);
}

const struct family family_gemma = {
    .types = { "gemma", "gemma2" },
    .load = gemma_load,
    .forward = decoder_pass,
};

const struct family family_paligemma = {
    .types = { "paligemma" },
    .load = paligemma_load,
    .plan_image = square_plan_image,
    .largest_image = square_largest_image,
    .bos_within = true,
    .positions = paligemma_positions,
    .encode_image = paligemma_encode,
    .pixel_values = square_values,
    .forward = decoder_pass,
};
