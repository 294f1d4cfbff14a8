/* model/families/glm4.c - GLM-4, text only: four norms a layer, fused gate and up,
 * partial rotary embedding in interleaved pairs. */
#include "base/mem.h"
#include "model/decoder.h"

static int glm4_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    struct decoder_kind kind = { .eps = 1.5625e-7, .head_dim = 128, .context = 131072,
                                 .qkv_bias = hparams_bool(&l->config, "attention_bias", true) ? WITH_BIAS : NO_BIAS,
                                 .post_norms = true, .gate_up = true,
                                 .rope = { .theta = 10000, .partial = 0.5, .interleaved = true } };
    decoder_load(l, d, &l->config, "model.", &kind);
    return load_end(l);
}

const struct family family_glm4 = { .types = { "glm4" }, .load = glm4_load, .forward = decoder_pass };
