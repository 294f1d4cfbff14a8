/* model/families/qwen2.c - Qwen2 and Qwen2.5, text only: q, k and v have biases. */
#include "base/mem.h"
#include "model/texts.h"

static int qwen2_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    texts_load(l, d, &l->config, "qwen2", (struct text_names){ decoder_root(l), NULL });
    return load_end(l);
}

const struct family family_qwen2 = { .types = { "qwen2" }, .load = qwen2_load, .forward = decoder_pass };
