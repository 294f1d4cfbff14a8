/* model/families/smollm3.c - SmolLM3, text only: Llama, but every fourth layer does not rotate its queries and keys. */
#include "base/mem.h"
#include "model/decoder.h"

/* The window, where it is in use, is that of the layers without rotary embedding, unless layer_types says otherwise. */
static void choose_windows(struct loader *l, struct decoder *d)
{
    int window = decoder_window(&l->config);
    if (window == 0 || !d->layer)
        return;
    bool *windowed = load_keep(l, (size_t)d->n_layers * sizeof *windowed);
    for (int i = 0; i < d->n_layers; i++)
        windowed[i] = !d->layer[i].heads.rope;
    decoder_layer_types(&l->config, windowed, d->n_layers);
    decoder_windows(l->m, d, windowed, window);
}

/* no_rope_layers has a 1 for each layer with rotary embedding; where it is missing, every n-th one has none. */
static void choose_rope(struct loader *l, struct decoder *d)
{
    int rope[1024], n = hparams_ints(&l->config, "no_rope_layers", rope, 1024, 0, 1);
    int each = (int)hparams_int(&l->config, "no_rope_layer_interval", 4, 1, 1024);
    if (n && n < d->n_layers)
        hparams_fail(&l->config, "no_rope_layers", "has %d entries for %d layers", n, d->n_layers);
    for (int i = 0; d->layer && i < d->n_layers && hparams_end(&l->config) == 0; i++)
        if (n ? !rope[i] : (i + 1) % each == 0)
            d->layer[i].heads.rope = NULL;
}

static int smollm3_load(struct model *m, struct loader *l)
{
    struct decoder *d = m->impl = xcalloc(1, sizeof *d);
    enum bias bias = hparams_bool(&l->config, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    struct decoder_kind kind = {
        .eps = 1e-6, .context = 32768, .qkv_bias = bias, .o_bias = bias, .tied = true,
        .mlp_bias = hparams_bool(&l->config, "mlp_bias", false) ? WITH_BIAS : NO_BIAS,
        .rope = { .theta = 2e6, .partial = 1 },
    };
    decoder_load(l, d, &l->config, decoder_root(l), &kind);
    choose_rope(l, d);
    choose_windows(l, d);
    return load_end(l);
}

const struct family family_smollm3 = { .types = { "smollm3" }, .load = smollm3_load, .forward = decoder_pass };
