/* model/texts.c - see texts.h. One row for each class: its defaults, and what its layers have. */
#include "model/texts.h"

#include <string.h>

struct text {
    const char *type;
    struct { int hidden, inner, layers, heads, n_kv; } size;    /* n_kv 0: as many as heads */
    int    context;
    double eps, theta;
    int    head_dim;                 /* 0: hidden / heads                                 */
    int    window;                   /* of sliding_window, where that is not there; 0: the class has none */
    bool   qkv_bias, bias;           /* always; of q, k, v and o where attention_bias says so */
    bool   mlp_bias;                 /* where mlp_bias says so                            */
    bool   qk_norm;
    enum window_rule windows;
};

static const struct text texts[] = {
    { "llama", { 4096, 11008, 32, 32, 0 }, 2048, 1e-6, 10000, 0, 0, .bias = true, .mlp_bias = true },
    { "mistral", { 4096, 14336, 32, 32, 8 }, 131072, 1e-6, 10000, 0, 4096, .bias = false },
    { "qwen2", { 4096, 22016, 32, 32, 32 }, 32768, 1e-6, 10000, 0, 0, .qkv_bias = true,
      .windows = WINDOW_LATER },
    { "qwen3", { 4096, 22016, 32, 32, 32 }, 32768, 1e-6, 10000, 128, 0, .bias = true, .qk_norm = true,
      .windows = WINDOW_LATER },
};

const struct text_names texts_beside_images[] = { { "language_model.model.", "/language_model.lm_head" },
                                                  { "model.language_model.", NULL }, { NULL, NULL } };

static const struct text *find(const char *type)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(texts[i].type, type) == 0)
            return &texts[i];
    return NULL;
}

struct text_names texts_find(const struct loader *l, const struct text_names *places)
{
    char name[256];
    for (const struct text_names *p = places; p->root; p++) {
        snprintf(name, sizeof name, "/%snorm.weight", p->root);
        if (load_has(l, name))
            return *p;
    }
    return places[0];
}

/* What a nested configuration may leave out. */
static void give_sizes(struct decoder_kind *k, const struct text *t)
{
    k->hidden = t->size.hidden;
    k->inner = t->size.inner;
    k->layers = t->size.layers;
    k->heads = t->size.heads;
    k->n_kv = t->size.n_kv;
}

/* The window of all layers; 0: there is none, which a configuration says with null. */
static int window_of(struct hparams *h, const struct text *t)
{
    if (!t->window || json_is_null(json_object_get(h->object, "sliding_window")))
        return 0;
    return (int)hparams_int(h, "sliding_window", t->window, 1, 1 << 28);
}

static enum bias bias_of(bool yes) { return yes ? WITH_BIAS : NO_BIAS; }

void texts_load(struct loader *l, struct decoder *d, struct hparams *text, const char *type, struct text_names names)
{
    const char *have = hparams_string(text, "model_type", type);
    const struct text *t = find(have);
    if (!t) {
        hparams_fail(text, "model_type", "\"%.40s\" is not supported (llama, mistral, qwen2, qwen3)", have);
        return;
    }
    bool bias = t->bias && hparams_bool(text, "attention_bias", false);
    struct decoder_kind kind = {
        .eps = t->eps, .context = t->context, .head_dim = t->head_dim, .head = names.head,
        .qkv_bias = bias_of(t->qkv_bias || bias), .o_bias = bias_of(bias),
        .mlp_bias = bias_of(t->mlp_bias && hparams_bool(text, "mlp_bias", false)), .qk_norm = t->qk_norm,
        .windows = t->windows,
        .rope = { .theta = t->theta, .partial = 1 } };
    if (text->root)
        give_sizes(&kind, t);
    decoder_load(l, d, text, names.root, &kind);
    int window = window_of(text, t);
    if (window && window < l->m->context)
        l->m->text_kv.window = window;
}
