/* model/families/qwen3_moe.c - Qwen3 with routed experts, text only (Qwen3-30B-A3B, Qwen3-235B-A22B): q and k are
 * normed per head, and each token has its best experts by a softmax over all. */
#include "base/mem.h"
#include "model/decoder.h"

static int qwen3_moe_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    enum bias bias = hparams_bool(&l->config, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct decoder_kind kind = {
        .eps = 1e-6, .context = 32768, .qkv_bias = bias, .o_bias = bias, .qk_norm = true,
        .windows = WINDOW_ALL,
        .rope = { .theta = 10000, .partial = 1 },
        .moe = { .experts = 128, .per_token = 8, .inner = 768 },
    };
    decoder_load(l, d, &l->config, decoder_root(l), &kind);
    return load_end(l);
}

const struct family family_qwen3_moe = {
    .types = { "qwen3_moe" }, .load = qwen3_moe_load, .forward = decoder_pass,
};
