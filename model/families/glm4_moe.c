/* model/families/glm4_moe.c - GLM-4.5, GLM-4.5-Air, GLM-4.6, text only: routed experts beside one that all tokens
 * share, chosen by logistic scores with a correction; partial rotary embedding in halves. */
#include "base/mem.h"
#include "model/decoder.h"

static int glm4_moe_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    struct decoder_kind kind = {
        .eps = 1e-5, .context = 131072,
        .qkv_bias = hparams_bool(&l->config, "attention_bias", false) ? WITH_BIAS : NO_BIAS,
        .qk_norm = hparams_bool(&l->config, "use_qk_norm", false),
        .rope = { .theta = 10000, .partial = 0.5 },
        .moe = { .experts = 128, .per_token = 8, .inner = 1408, .sigmoid = true, .normalise = true, .shared = 1,
                 .dense = 1 },
    };
    decoder_load(l, d, &l->config, decoder_root(l), &kind);
    return load_end(l);
}

const struct family family_glm4_moe = {
    .types = { "glm4_moe" }, .load = glm4_moe_load, .forward = decoder_pass,
};
