/* model/families/qwen3.c - Qwen3, text only: q and k are normed per head. */
#include "base/mem.h"
#include "model/decoder.h"

static int qwen3_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    enum bias bias = hparams_bool(&l->config, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct decoder_kind kind = {
        .eps = 1e-6, .context = 32768, .head_dim = 128, .qkv_bias = bias, .o_bias = bias, .qk_norm = true,
        .rope = { .theta = 10000, .partial = 1 },
    };
    decoder_load(l, d, &l->config, decoder_root(l), &kind);
    return load_end(l);
}

static struct tensor qwen3_forward(const struct model *m, struct run *r, const struct forward *in)
{
    return decoder_forward(r, m->impl, in);
}

const struct family family_qwen3 = { .types = { "qwen3" }, .load = qwen3_load, .forward = qwen3_forward };
