/* model/decoder.c - see decoder.h. Loading removes what differs between families, so that the forward pass at the end
 * of the file is one for all. */
#include "model/decoder.h"
#include "model/heads.h"
#include "model/labels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sizes { int hidden, n, n_kv, dim, inner; double eps; enum act act; struct moe_plan moe; };

/* Where the head lies: as the family says, else beside a text model that was published within another, or alone. */
static const char *head_name(const struct loader *l, const struct decoder_kind *kind)
{
    if (kind->head)
        return kind->head;
    return load_has(l, "/language_model.lm_head.weight") ? "/language_model.lm_head" : "/lm_head";
}

/* Embedding, last norm and head; load_at() stands on the decoder. Of tensors that are one, safetensors' save_model()
 * writes only the first name of the alphabet: a tied checkpoint may hold the head alone, which then is the embedding as
 * well. As in the reference, a head that differs from the embedding is used, tied or not. */
static void ends_load(struct loader *l, struct decoder *d, struct hparams *t, const struct sizes *s,
                      const struct decoder_kind *kind)
{
    static const char embed[] = "embed_tokens.weight";
    const char *name = head_name(l, kind);
    char head[64];
    snprintf(head, sizeof head, "%s.weight", name);
    int vocab = l->m->vocab;
    bool usual = kind->tied && !hparams_has(&l->config, "tie_word_embeddings");
    bool tied = hparams_bool(&l->config, "tie_word_embeddings", false) ||
                hparams_bool(t, "tie_word_embeddings", usual);
    bool head_alone = tied && !load_has(l, embed) && load_has(l, head);
    const char *first = head_alone ? name : "embed_tokens";
    int more = kind->more_embed.rows;
    l->m->vocab = vocab + more;
    l->m->n_ids = vocab + more + kind->more_ids;
    load_vocabulary(l, &d->embed, s->hidden, (struct load_part){ first, vocab + kind->more_ids }, kind->more_embed);
    load_norm(l, &d->norm, s->hidden, kind->norm, s->eps, "norm");
    l->m->no_head = !tied && !load_has(l, head) && (!*l->prefix || load_has(l, "/score.weight"));
    if (head_alone || l->m->no_head || (tied && load_is_copy(l, head, embed)))
        d->head = d->embed;
    else
        load_vocabulary(l, &d->head, s->hidden, (struct load_part){ name, vocab }, kind->more_head);
    classes_load(l, &d->classes, load_has(l, head) ? head : embed);
}

const char *decoder_root(const struct loader *l)
{
    static const char *const roots[] = { "model.", "", NULL };
    return load_root(l, "norm.weight", roots);
}

/* A size's default; 0: there is none. */
static int64_t given(int size) { return size ? size : HP_REQUIRED; }

/* Sizes, rope, embedding, head and last norm: what all decoders have. -1: an error is noted. */
static int begin(struct loader *l, struct decoder *d, struct hparams *t, const char *root,
                 const struct decoder_kind *kind, struct sizes *s)
{
    struct model *m = l->m;
    m->vocab = (int)hparams_int(t, "vocab_size", given(kind->vocab), 1, 1 << 24);
    m->hidden = s->hidden = (int)hparams_int(t, "hidden_size", given(kind->hidden), 1, 1 << 16);
    m->context = (int)hparams_int(t, "max_position_embeddings", kind->context, 1, 1 << 28);
    d->n_layers = (int)hparams_int(t, "num_hidden_layers", given(kind->layers), 1, 1024);
    s->n = (int)hparams_int(t, "num_attention_heads", given(kind->heads), 1, 1024);
    s->n_kv = (int)hparams_int(t, "num_key_value_heads", kind->n_kv ? kind->n_kv : s->n, 1, 1024);
    s->dim = (int)hparams_int(t, "head_dim", kind->head_dim ? kind->head_dim : s->hidden / s->n, 2, 1024);
    heads_check(t, "num_attention_heads", s->dim);
    s->inner = (int)hparams_int(t, "intermediate_size", given(kind->inner), 1, 1 << 20);
    moe_read(&s->moe, t, &kind->moe, d->n_layers);
    s->eps = hparams_number(t, "rms_norm_eps", kind->eps, 0, 1);
    const char *act = hparams_string(t, "hidden_act", "silu");
    s->act = kind->act ? load_act(t, "hidden_activation", kind->act) : ACT_SILU;
    if (!kind->act && strcmp(act, "silu") && strcmp(act, "swish"))   /* two names of one function */
        hparams_fail(t, "hidden_act", "\"%.40s\" is not supported (silu)", act);
    if (s->n % s->n_kv)
        hparams_fail(t, "num_key_value_heads", "%d does not divide %d heads", s->n_kv, s->n);
    if (hparams_end(t) != 0)
        return -1;
    struct rope_kind rope = kind->rope;
    rope.head_dim = s->dim;
    rope_load(l, &d->rope, t, &rope, &m->context);
    load_at(l, "%s", root);
    ends_load(l, d, t, s, kind);
    m->text_kv = (struct kv_shape){ .layers = d->n_layers - kind->n_apart, .n_kv = s->n_kv, .dim = s->dim };
    d->layer = load_keep(l, (size_t)d->n_layers * sizeof *d->layer);
    return 0;
}

/* Gate, up and down of layer i, or its experts. */
static void mlp_load(struct loader *l, struct block *b, int i, const struct sizes *s, const struct decoder_kind *kind)
{
    if (s->moe.layer[i]) {
        b->moe = moe_load(l, &s->moe, &kind->moe, s->hidden);
        return;
    }
    if (kind->gate_up)
        load_linear(l, &b->up, 2 * s->inner, s->hidden, kind->mlp_bias, "mlp.gate_up_proj");
    else
        load_stack(l, &b->up, s->hidden, PARTS({ "mlp.gate_proj", s->inner }, { "mlp.up_proj", s->inner }),
                   kind->mlp_bias);
    load_linear(l, &b->down, s->hidden, s->inner, kind->mlp_bias, "mlp.down_proj");
}

/* Before and after attention, before and after the MLP. */
static const char *const llama_norms[4] = { "input_layernorm", NULL, "post_attention_layernorm", NULL };
static const char *const glm_norms[4] = { "input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm",
                                          "post_mlp_layernorm" };

/* Loads layer i of d, whose tensors lie below ROOT.layers.i. Projections that read the same input are stacked into one
 * weight here, so that the forward pass has one product for q, k and v and one for gate and up. Errors stay in the
 * loader. */
static void layer_load(struct loader *l, struct decoder *d, int i, const char *root, const struct sizes *s,
                       const struct decoder_kind *kind)
{
    struct block *b = &d->layer[i];
    int q = s->n * s->dim, kv = s->n_kv * s->dim;
    load_at(l, "%slayers.%d.", root, i);
    const char *const *usual = kind->post_norms ? glm_norms : llama_norms;
    const char *const *norms = kind->norms ? kind->norms : usual;
    struct norm *const to[4] = { &b->norm1, &b->post1, &b->norm2, &b->post2 };
    for (int k = 0; k < 4; k++)
        if (norms[k])
            load_norm(l, to[k], s->hidden, kind->norm, s->eps, norms[k]);
    if (kind->fused_qkv)
        load_qkv(l, &b->qkv, s->hidden, PARTS({ "self_attn.qkv_proj", q + 2 * kv }), kind->qkv_bias);
    else
        load_qkv(l, &b->qkv, s->hidden,
                 PARTS({ "self_attn.q_proj", q }, { "self_attn.k_proj", kv }, { "self_attn.v_proj", kv }),
                 kind->qkv_bias);
    load_linear(l, &b->o, s->hidden, q, kind->o_bias, "self_attn.o_proj");
    mlp_load(l, b, i, s, kind);
    b->act = s->act;
    b->glu = true;
    b->layer = i;
    b->heads = (struct heads){ .n = s->n, .n_kv = s->n_kv, .dim = s->dim, .scale = 1 / sqrtf((float)s->dim),
                               .rope = &d->rope };
    if (kind->qk_norm) {
        load_norm(l, &b->q_norm, s->dim, kind->norm, s->eps, "self_attn.q_norm");
        load_norm(l, &b->k_norm, s->dim, kind->norm, s->eps, "self_attn.k_norm");
        b->heads.q_norm = &b->q_norm;
        b->heads.k_norm = &b->k_norm;
    }
}

void decoder_layer_types(struct hparams *text, bool *windowed, int n)
{
    static const char name[] = "layer_types";
    const json_t *list = json_object_get(text->object, name);
    if (!list || json_is_null(list))
        return;
    if (!json_is_array(list) || json_array_size(list) != (size_t)n) {
        hparams_fail(text, name, "must be a list of %d kinds, one for each layer", n);
        return;
    }
    for (int i = 0; i < n; i++) {
        const char *kind = json_string_value(json_array_get(list, (size_t)i));
        windowed[i] = kind && !strcmp(kind, "sliding_attention");
        if (!windowed[i] && (!kind || strcmp(kind, "full_attention")))
            hparams_fail(text, name, "layer %d is \"%.40s\", which is not supported (full_attention, "
                         "sliding_attention)", i, kind ? kind : "");
    }
}

/* Where all layers have the window, theirs is the only cache. */
void decoder_windows(struct model *m, struct decoder *d, const bool *windowed, int window)
{
    int n = 0, at[2] = { 0, 0 };
    for (int i = 0; i < d->n_layers; i++)
        n += windowed[i];
    bool only = n == d->n_layers;
    for (int i = 0; i < d->n_layers && !only; i++) {
        d->layer[i].cache = windowed[i] ? CACHE_WINDOW : CACHE_TEXT;
        d->layer[i].layer = at[windowed[i]]++;
    }
    if (only)
        m->text_kv.window = window;
    if (only || n == 0)
        return;
    m->window_kv = m->text_kv;
    m->window_kv.layers = n;
    m->window_kv.window = window;
    m->text_kv.layers -= n;
}

int decoder_window(struct hparams *text)
{
    if (!hparams_bool(text, "use_sliding_window", false) ||
        json_is_null(json_object_get(text->object, "sliding_window")))
        return 0;
    return (int)hparams_int(text, "sliding_window", 4096, 1, 1 << 28);
}

/* Gives the layers that the rule names their window. */
static void use_window(struct loader *l, struct decoder *d, struct hparams *t, enum window_rule rule)
{
    int window = rule == WINDOW_NONE ? 0 : decoder_window(t);
    if (window == 0)
        return;
    int first = rule == WINDOW_ALL ? 0 : (int)hparams_int(t, "max_window_layers", 28, 0, 1 << 16);
    bool *windowed = load_keep(l, (size_t)d->n_layers * sizeof *windowed);
    for (int i = 0; i < d->n_layers; i++)
        windowed[i] = i >= first;
    if (rule == WINDOW_LATER)
        decoder_layer_types(t, windowed, d->n_layers);
    decoder_windows(l->m, d, windowed, window);
}

static bool is_apart(const struct decoder_kind *kind, int layer)
{
    for (int i = 0; i < kind->n_apart; i++)
        if (kind->apart[i] == layer)
            return true;
    return false;
}

/* Where something is wrong, the rest is left out, and load_end() tells of the first error. Every layer knows the norm
 * of the next one of its kind: where others come between, that is a guess. */
void decoder_load(struct loader *l, struct decoder *d, struct hparams *text, const char *root,
                  const struct decoder_kind *kind)
{
    struct sizes s;
    l->m->decoder = d;
    if (begin(l, d, text, root, kind, &s) != 0)
        return;
    struct block *last = NULL;
    for (int i = 0; i < d->n_layers && !l->failed; i++) {
        if (is_apart(kind, i))
            continue;
        layer_load(l, d, i, root, &s, kind);
        if (last)
            last->next = &d->layer[i].norm1;
        last = &d->layer[i];
    }
    use_window(l, d, text, kind->windows);
}

/* n times the same number; the loader's. */
static float *repeated(struct loader *l, int n, double x)
{
    float *w = load_scratch(l, (size_t)n);
    for (int i = 0; w && i < n; i++)
        w[i] = (float)x;
    return w;
}

void decoder_scale(struct loader *l, struct decoder *d, double scale)
{
    int n = l->m->hidden;
    load_packed(l, &d->scale, LAYOUT_DEPTHWISE, n, 1, repeated(l, n, scale), NULL);
}

void decoder_cap(struct loader *l, struct decoder *d, double cap)
{
    int n = l->m->hidden, vocab = d->head.out;
    load_packed(l, &d->cap.share, LAYOUT_DEPTHWISE, n, 1, repeated(l, n, 1 / cap), NULL);
    d->cap.whole = load_table(l, repeated(l, vocab, cap), 1, vocab);
}

/* Equation for equation what the papers draw: embedding, layers of attention and MLP around a residual stream, norm and
 * head. All that differs between families lies in the weights and the heads' tables. */
struct tensor decoder_forward(struct run *r, const struct decoder *d, const struct forward *in)
{
    struct stream s = stream_of(r, block_embed_scaled(r, &d->embed, &d->scale, in));
    for (int i = 0; i < d->n_layers; i++)
        block_layer(r, &s, &d->layer[i], d->layer[i].layer, in, i + 1 == d->n_layers);
    return block_logits_capped(r, s.x, &d->norm, &d->head, &d->cap, in);
}

struct tensor decoder_pass(const struct model *m, struct run *r, const struct forward *in)
{
    return decoder_forward(r, m->decoder, in);
}
