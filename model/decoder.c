/* model/decoder.c - see decoder.h. Loading removes what differs between families, so that the forward pass at the end
 * of the file is one for all. */
#include "model/decoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sizes { int hidden, n, n_kv, dim, inner; double eps; };

/* Embedding, last norm and head; load_at() stands on the decoder. Of tensors that are one, safetensors' save_model()
 * writes only the first name of the alphabet: a tied checkpoint may hold the head alone, which then is the embedding as
 * well. As in the reference, a head that differs from the embedding is used, tied or not. */
static void ends_load(struct loader *l, struct decoder *d, struct hparams *t, const struct sizes *s,
                      const struct decoder_kind *kind)
{
    static const char embed[] = "embed_tokens.weight";
    const char *name = kind->head ? kind->head : "/lm_head";
    char head[64];
    snprintf(head, sizeof head, "%s.weight", name);
    int vocab = l->m->vocab;
    bool tied = hparams_bool(&l->config, "tie_word_embeddings", false) ||
                hparams_bool(t, "tie_word_embeddings", false);
    bool head_alone = tied && !load_has(l, embed) && load_has(l, head);
    load_embedding(l, &d->embed, vocab, s->hidden, head_alone ? name : "embed_tokens");
    load_norm(l, &d->norm, s->hidden, RMS_NORM, s->eps, "norm");
    l->m->no_head = !tied && !load_has(l, head) && !*l->prefix;
    if (head_alone || l->m->no_head || (tied && load_is_copy(l, head, embed)))
        d->head = d->embed;
    else
        load_embedding(l, &d->head, vocab, s->hidden, name);
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
    m->vocab = (int)hparams_int(t, "vocab_size", HP_REQUIRED, 1, 1 << 24);
    m->hidden = s->hidden = (int)hparams_int(t, "hidden_size", given(kind->hidden), 1, 1 << 16);
    m->context = (int)hparams_int(t, "max_position_embeddings", kind->context, 1, 1 << 28);
    d->n_layers = (int)hparams_int(t, "num_hidden_layers", given(kind->layers), 1, 1024);
    s->n = (int)hparams_int(t, "num_attention_heads", given(kind->heads), 1, 1024);
    s->n_kv = (int)hparams_int(t, "num_key_value_heads", kind->n_kv ? kind->n_kv : s->n, 1, 1024);
    s->dim = (int)hparams_int(t, "head_dim", kind->head_dim ? kind->head_dim : s->hidden / s->n, 2, 1024);
    s->inner = (int)hparams_int(t, "intermediate_size", given(kind->inner), 1, 1 << 20);
    s->eps = hparams_number(t, "rms_norm_eps", kind->eps, 0, 1);
    const char *act = hparams_string(t, "hidden_act", "silu");
    if (strcmp(act, "silu"))
        hparams_fail(t, "hidden_act", "\"%.40s\" is not supported (silu)", act);
    if (s->n % s->n_kv)
        hparams_fail(t, "num_key_value_heads", "%d does not divide %d heads", s->n_kv, s->n);
    if (hparams_bool(t, "use_sliding_window", false)) {  /* exact up to the window's length */
        int window = (int)hparams_int(t, "sliding_window", m->context, 1, 1 << 28);
        m->context = window < m->context ? window : m->context;
    }
    if (hparams_end(t) != 0)
        return -1;
    struct rope_kind rope = kind->rope;
    rope.head_dim = s->dim;
    rope_load(l, &d->rope, t, &rope, &m->context);
    load_at(l, "%s", root);
    ends_load(l, d, t, s, kind);
    m->text_kv = (struct kv_shape){ d->n_layers, s->n_kv, s->dim };
    d->layer = load_keep(l, (size_t)d->n_layers * sizeof *d->layer);
    return 0;
}

/* Loads layer i of d, whose tensors lie below ROOT.layers.i. Projections that read the same input are stacked into one
 * weight here, so that the forward pass has one product for q, k and v and one for gate and up. Errors stay in the
 * loader. */
static void layer_load(struct loader *l, struct decoder *d, int i, const char *root, const struct sizes *s,
                       const struct decoder_kind *kind)
{
    struct block *b = &d->layer[i];
    int q = s->n * s->dim, kv = s->n_kv * s->dim;
    load_at(l, "%slayers.%d.", root, i);
    load_norm(l, &b->norm1, s->hidden, RMS_NORM, s->eps, "input_layernorm");
    load_norm(l, &b->norm2, s->hidden, RMS_NORM, s->eps, "post_attention_layernorm");
    if (kind->post_norms) {
        load_norm(l, &b->post1, s->hidden, RMS_NORM, s->eps, "post_self_attn_layernorm");
        load_norm(l, &b->post2, s->hidden, RMS_NORM, s->eps, "post_mlp_layernorm");
    }
    if (kind->fused_qkv)
        load_qkv(l, &b->qkv, s->hidden, PARTS({ "self_attn.qkv_proj", q + 2 * kv }), kind->qkv_bias);
    else
        load_qkv(l, &b->qkv, s->hidden,
                 PARTS({ "self_attn.q_proj", q }, { "self_attn.k_proj", kv }, { "self_attn.v_proj", kv }),
                 kind->qkv_bias);
    load_linear(l, &b->o, s->hidden, q, kind->o_bias, "self_attn.o_proj");
    if (kind->gate_up)
        load_linear(l, &b->up, 2 * s->inner, s->hidden, kind->mlp_bias, "mlp.gate_up_proj");
    else
        load_stack(l, &b->up, s->hidden, PARTS({ "mlp.gate_proj", s->inner }, { "mlp.up_proj", s->inner }),
                   kind->mlp_bias);
    load_linear(l, &b->down, s->hidden, s->inner, kind->mlp_bias, "mlp.down_proj");
    b->act = ACT_SILU;
    b->glu = true;
    b->heads = (struct heads){ .n = s->n, .n_kv = s->n_kv, .dim = s->dim, .scale = 1 / sqrtf((float)s->dim),
                               .rope = &d->rope };
    if (kind->qk_norm) {
        load_norm(l, &b->q_norm, s->dim, RMS_NORM, s->eps, "self_attn.q_norm");
        load_norm(l, &b->k_norm, s->dim, RMS_NORM, s->eps, "self_attn.k_norm");
        b->heads.q_norm = &b->q_norm;
        b->heads.k_norm = &b->k_norm;
    }
}

/* Where something is wrong, the rest is left out, and load_end() tells of the first error. */
void decoder_load(struct loader *l, struct decoder *d, struct hparams *text, const char *root,
                  const struct decoder_kind *kind)
{
    struct sizes s;
    if (begin(l, d, text, root, kind, &s) != 0)
        return;
    for (int i = 0; i < d->n_layers && !l->failed; i++)
        layer_load(l, d, i, root, &s, kind);
    blocks_chain(d->layer, d->n_layers);
}

/* Equation for equation what the papers draw: embedding, layers of attention and MLP around a residual stream, norm and
 * head. All that differs between families lies in the weights and the heads' tables. */
struct tensor decoder_forward(struct run *r, const struct decoder *d, const struct forward *in)
{
    struct stream s = stream_of(r, block_embed(r, &d->embed, in));
    for (int i = 0; i < d->n_layers; i++) {
        block_attend(r, &s, &d->layer[i], i, &in->batch);
        block_mlp(r, &s, &d->layer[i]);
    }
    return block_logits(r, s.x, &d->norm, &d->head, in);
}
