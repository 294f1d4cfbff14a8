/* model/families/llama.c - Llama, text only: 1 to 3.3, with every rope scaling. */
#include "base/mem.h"
#include "model/decoder.h"

static int llama_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    enum bias bias = hparams_bool(&l->config, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct decoder_kind kind = {
        .eps = 1e-6, .context = 2048, .qkv_bias = bias, .o_bias = bias,
        .mlp_bias = hparams_bool(&l->config, "mlp_bias", false) ? WITH_BIAS : NO_BIAS,
        .rope = { .theta = 10000, .partial = 1 },
    };
    decoder_load(l, d, &l->config, decoder_root(l), &kind);
    return load_end(l);
}

static struct tensor llama_forward(const struct model *m, struct run *r, const struct forward *in)
{
    return decoder_forward(r, m->impl, in);
}

const struct family family_llama = { .types = { "llama" }, .load = llama_load, .forward = llama_forward };
