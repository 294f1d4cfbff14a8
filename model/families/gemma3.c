/* model/families/gemma3.c - Gemma 3: its text models (270M, 1B), and those that see images (4B, 12B, 27B).
 *
 *     embedding * sqrt(hidden), layers with four norms, q and k normed per head, gated tanh-GELU MLP
 *     of each so many layers the last sees all tokens, the others a window; each kind has a rope of its own
 *     SigLIP's tower -> mean of squares of patches -> norm -> matrix -> image tokens, which see each other both ways */
#include <math.h>

#include "base/mem.h"
#include "model/decoder.h"
#include "model/square.h"
#include "model/tower.h"

struct gemma3 {
    struct decoder text;
    struct rope    local;            /* of the layers with a window; text.rope is that of the others */
    struct tower   tower;            /* the rest: only in gemma3                                     */
    struct square  square;
    int            side;             /* image tokens along a side                                    */
    struct norm    soft;             /* (the tower's width)                                          */
    struct weight  project;          /* (hidden, the tower's width)                                  */
};

static const char *const norms[4] = { "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                                      "post_feedforward_layernorm" };

/* What no published checkpoint of this generation has, and would change every result. */
static void refuse(struct hparams *t)
{
    static const char *const caps[] = { "attn_logit_softcapping", "final_logit_softcapping" };
    for (int i = 0; i < 2; i++)
        if (hparams_has(t, caps[i]))
            hparams_fail(t, caps[i], "softcapping is not supported");
    if (hparams_bool(t, "use_bidirectional_attention", false))
        hparams_fail(t, "use_bidirectional_attention", "true is not supported");
}

/* Which layers have a window, and what else differs between the two kinds. */
static void load_kinds(struct loader *l, struct gemma3 *g, struct hparams *t)
{
    struct decoder *d = &g->text;
    int window = (int)hparams_int(t, "sliding_window", 4096, 1, 1 << 28);
    int pattern = (int)hparams_int(t, "sliding_window_pattern|_sliding_window_pattern", 6, 1, 1024);
    double scalar = hparams_number(t, "query_pre_attn_scalar", 256, 1e-3, 1e6);
    struct rope_kind local = { .head_dim = l->m->text_kv.dim, .theta = 10000, .partial = 1,
                               .layers = "sliding_attention", .local_theta = "rope_local_base_freq" };
    bool *windowed = load_keep(l, (size_t)d->n_layers * sizeof *windowed);
    for (int i = 0; i < d->n_layers; i++)
        windowed[i] = (i + 1) % pattern != 0;
    decoder_layer_types(t, windowed, d->n_layers);
    decoder_windows(l->m, d, windowed, window);
    rope_load(l, &g->local, t, &local, NULL);
    for (int i = 0; i < d->n_layers; i++) {
        d->layer[i].heads.scale = (float)(1 / sqrt(scalar));
        if (windowed[i])
            d->layer[i].heads.rope = &g->local;
    }
}

/* -1: an error is noted. */
static int load_text(struct loader *l, struct gemma3 *g, struct hparams *t, const char *root)
{
    enum bias bias = hparams_bool(t, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct decoder_kind kind = {
        .eps = 1e-6, .head_dim = 256, .context = 131072, .vocab = 262208, .hidden = 2304, .layers = 26, .heads = 8,
        .n_kv = 4, .inner = 9216, .tied = true,
        .qkv_bias = bias, .o_bias = bias, .qk_norm = true, .act = "gelu_pytorch_tanh", .norm = RMS_NORM_OFFSET,
        .norms = norms, .rope = { .theta = 1e6, .partial = 1, .layers = "full_attention" },
    };
    refuse(t);
    decoder_load(l, &g->text, t, root, &kind);
    if (load_end(l) != 0)
        return -1;
    load_kinds(l, g, t);
    decoder_scale(l, &g->text, sqrt(l->m->hidden));
    return load_end(l);
}

static int gemma3_text_load(struct model *m, struct loader *l)
{
    return load_text(l, m->impl = xcalloc(1, sizeof(struct gemma3)), &l->config, decoder_root(l));
}

/* Behind the tower. The matrix lies in the file the other way round than all others. */
static void load_projector(struct loader *l, struct gemma3 *g, const char *root)
{
    struct tower *t = &g->tower;
    int in = t->size.width, out = l->m->hidden;
    int n = (int)hparams_int(&l->config, "mm_tokens_per_image", 256, 1, 1 << 16);
    g->side = (int)sqrt(n);
    if (g->side * g->side != n || t->side % g->side)
        hparams_fail(&l->config, "mm_tokens_per_image", "%d is not a square whose side divides %d patches", n, t->side);
    load_at(l, "%s", root);
    load_norm(l, &g->soft, in, RMS_NORM_OFFSET, t->size.eps, "mm_soft_emb_norm");
    const float *w = load_floats(l, SHAPE(in, out), "mm_input_projection_weight");
    float *turned = load_scratch(l, (size_t)in * (size_t)out);
    for (int o = 0; o < out && w && turned; o++)
        for (int i = 0; i < in; i++)
            turned[(size_t)o * (size_t)in + (size_t)i] = w[(size_t)i * (size_t)out + (size_t)o];
    load_packed(l, &g->project, LAYOUT_LINEAR, out, in, turned, NULL);
}

/* Text, tower and projector, wherever the writer has put them. The tokens of an image see each other both ways, and a
 * template writes the mark of its beginning for an image. */
static int gemma3_load(struct model *m, struct loader *l)
{
    struct gemma3 *g = m->impl = xcalloc(1, sizeof *g);
    struct hparams text = hparams_object(&l->config, "text_config"),
        vision = hparams_object(&l->config, "vision_config");
    if (load_text(l, g, &text, load_root(l, "norm.weight", load_text_roots)) != 0)
        return -1;
    m->image_token = (int)hparams_int(&l->config, "image_token_index|image_token_id", 262144, 0, m->vocab - 1);
    m->image_mark = (int)hparams_int(&l->config, "boi_token_index|boi_token_id", 255999, 0, m->vocab - 1);
    m->image_row_width = m->hidden;
    m->image_spans = true;
    if (hparams_bool(&l->image, "do_pan_and_scan", false))
        hparams_fail(&l->image, "do_pan_and_scan", "true is not supported");
    const char *root = load_root(l, TOWER_PROBE, load_tower_roots);
    tower_load(l, &g->tower, &vision, root, &(struct tower_kind){
        .patch_bias = WITH_BIAS, .width = 768, .inner = 3072, .layers = 12, .heads = 12, .image = 224, .patch = 16,
        .act = "gelu_pytorch_tanh", .eps = 1e-6 });
    if (load_end(l) != 0)
        return -1;
    load_projector(l, g, load_root(l, "mm_soft_emb_norm.weight", load_projector_roots));
    pixel_norm_load(l, &g->tower.pixels, pixel_half, pixel_half);
    square_load(l, &g->square, g->tower.image, &(struct square_default){ .size = 224, .filter = FILTER_BILINEAR });
    g->square.grid_h = g->square.grid_w = g->side;
    g->square.n_tokens = g->side * g->side;
    g->square.pixels = &g->tower.pixels;
    return load_end(l);
}

/* As the processor writes it. */
static void gemma3_image_text(const struct model *m, const struct image_plan *p, const char *mark, const char *place,
                              bool joined, struct buf *out)
{
    (void)m, (void)p, (void)joined;
    buf_printf(out, "\n\n%s%s<end_of_image>\n\n", mark, place);
}

/* The mean of each square of patches, row by row: (side * side, width). */
static struct tensor pool(struct run *r, const struct gemma3 *g, struct tensor x)
{
    int k = g->tower.side / g->side, taps = k * k, n = g->side * g->side;
    int *patch = nn_host(r, n * taps);
    float *share = nn_host_floats(r, n * taps);
    for (int i = 0; i < n; i++)
        for (int t = 0; t < taps; t++) {
            int y = i / g->side * k + t / k, at = i % g->side * k + t % k;
            patch[i * taps + t] = y * g->tower.side + at;
            share[i * taps + t] = 1.0f / (float)taps;
        }
    return nn_gather(r, x, n, taps, nn_ints(r, patch, n * taps), nn_floats(r, share, n * taps));
}

static void gemma3_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct gemma3 *g = m->impl;
    const struct tower *t = &g->tower;
    struct tensor x = tower_states(r, t, in->rgb, 1, in->plan.height, in->plan.width, t->n_layers);
    nn_norm(r, x, x, &t->post);
    x = pool(r, g, x);
    nn_norm(r, x, x, &g->soft);
    nn_scatter(r, in->pool, nn_linear(r, x, &g->project, (struct epilogue){ 0 }), in->rows, false);
}

const struct family family_gemma3_text = {
    .types = { "gemma3_text" },
    .load = gemma3_text_load,
    .forward = decoder_pass,
};

const struct family family_gemma3 = {
    .types = { "gemma3" },
    .load = gemma3_load,
    .plan_image = square_plan_image,
    .largest_image = square_largest_image,
    .image_text = gemma3_image_text,
    .encode_image = gemma3_encode,
    .pixel_values = square_values,
    .forward = decoder_pass,
};
