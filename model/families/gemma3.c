/* model/families/gemma3.c - Gemma 3, text only (270M, 1B; the larger ones without their vision tower).
 *
 *     embedding * sqrt(hidden), layers with four norms, q and k normed per head, gated tanh-GELU MLP
 *     of each so many layers the last sees all tokens, the others a window; each kind has a rope of its own */
#include <math.h>

#include "base/mem.h"
#include "model/decoder.h"

struct gemma3 {
    struct decoder text;
    struct rope    local;            /* of the layers with a window; text.rope is that of the others */
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

static int gemma3_load(struct model *m, struct loader *l)
{
    struct gemma3 *g = m->impl = xcalloc(1, sizeof *g);
    enum bias bias = hparams_bool(&l->config, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct decoder_kind kind = {
        .eps = 1e-6, .head_dim = 256, .context = 131072, .vocab = 262208, .heads = 8, .n_kv = 4, .tied = true,
        .qkv_bias = bias, .o_bias = bias, .qk_norm = true, .act = "gelu_pytorch_tanh", .norm = RMS_NORM_OFFSET,
        .norms = norms, .rope = { .theta = 1e6, .partial = 1, .layers = "full_attention" },
    };
    refuse(&l->config);
    decoder_load(l, &g->text, &l->config, decoder_root(l), &kind);
    if (load_end(l) != 0)
        return -1;
    load_kinds(l, g, &l->config);
    decoder_scale(l, &g->text, sqrt(m->hidden));
    return load_end(l);
}

static struct tensor gemma3_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct gemma3 *g = m->impl;
    return decoder_forward(r, &g->text, in);
}

const struct family family_gemma3 = { .types = { "gemma3_text" }, .load = gemma3_load, .forward = gemma3_forward };
