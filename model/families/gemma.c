/* model/families/gemma.c - Gemma (2B, 7B) and Gemma 2 (2B, 9B, 27B): text models.
 *
 *     embedding * sqrt(hidden), gated tanh-GELU MLP, norms whose weights are offsets from one
 *     Gemma 2: four norms a layer, every second layer sees a window; scores x of attention become cap * tanh(x / cap)
 *     with one cap, logits with another */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/decoder.h"

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
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    if (hparams_bool(&l->config, "use_bidirectional_attention", false))
        hparams_fail(&l->config, "use_bidirectional_attention", "true is not supported");
    return load_text(l, d, &l->config, decoder_root(l), strcmp(m->type, "gemma2") == 0);
}

const struct family family_gemma = {
    .types = { "gemma", "gemma2" },
    .load = gemma_load,
    .forward = decoder_pass,
};
