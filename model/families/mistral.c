/* model/families/mistral.c - Mistral, Mistral-Nemo and Mistral-Small, text only: Llama with heads of any size and, in
 * the first versions, a window. */
#include "base/mem.h"
#include "model/texts.h"

static int mistral_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    texts_load(l, d, &l->config, "mistral", (struct text_names){ decoder_root(l), NULL });
    return load_end(l);
}

const struct family family_mistral = { .types = { "mistral" }, .load = mistral_load, .forward = decoder_pass };
