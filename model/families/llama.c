/* model/families/llama.c - Llama, text only: 1 to 3.3, with every rope scaling. */
#include "base/mem.h"
#include "model/texts.h"

static int llama_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    texts_load(l, d, &l->config, "llama", (struct text_names){ decoder_root(l), NULL });
    return load_end(l);
}

const struct family family_llama = { .types = { "llama" }, .load = llama_load, .forward = decoder_pass };
