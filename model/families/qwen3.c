/* model/families/qwen3.c - Qwen3, text only: q and k are normed per head. */
#include "base/mem.h"
#include "model/texts.h"

static int qwen3_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    texts_load(l, d, &l->config, "qwen3", (struct text_names){ decoder_root(l), NULL });
    return load_end(l);
}

const struct family family_qwen3 = { .types = { "qwen3" }, .load = qwen3_load, .forward = decoder_pass };
