/* model/families/phi3.c - Phi-3, Phi-3.5 mini, Phi-4 and Phi-4 mini, text only: q, k and v lie in one tensor, gate and
 * up in another; long contexts by LongRoPE, part of each head is rotated in Phi-4 mini. */
#include "base/mem.h"
#include "model/decoder.h"

static int phi3_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    struct decoder_kind kind = {
        .eps = 1e-5, .context = 4096, .fused_qkv = true, .gate_up = true,
        .rope = { .theta = 10000, .partial = 1, .original = 4096, .old_longrope = true },
    };
    decoder_load(l, d, &l->config, decoder_root(l), &kind);
    int window = (int)hparams_int(&l->config, "sliding_window", m->context, 1, 1 << 28);
    m->text_kv.window = window < m->context ? window : 0;       /* of all layers */
    return load_end(l);
}

const struct family family_phi3 = { .types = { "phi3" }, .load = phi3_load, .forward = decoder_pass };
