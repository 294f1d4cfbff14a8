/* model/twin.c - see twin.h. */
#include "model/twin.h"

#include <math.h>

enum { MAX_LOGIT = 80 };             /* of logit_scale, which is a logarithm, and logit_bias */

/* Everything below text_model. Errors stay in the loader. */
static void text_load(struct loader *l, struct twin *t, struct hparams *config, const struct twin_kind *kind)
{
    static const char root[] = "text_model.";
    struct model *m = l->m;
    tower_sizes_load(&t->text, config, &kind->text);
    int width = t->text.width, dim = width / t->text.heads;
    m->vocab = (int)hparams_int(config, "vocab_size", kind->vocab, 1, 1 << 24);
    m->context = (int)hparams_int(config, "max_position_embeddings", kind->context, 2, 1 << 16);
    t->n_layers = (int)hparams_int(config, "num_hidden_layers", kind->text.layers, 1, TOWER_MAX_LAYERS);
    if (hparams_end(config) != 0)
        return;
    m->hidden = width;
    m->text_kv = (struct kv_shape){ .layers = t->n_layers, .n_kv = t->text.heads, .dim = dim };
    if (kind->both_ways)               /* nothing is kept; but texts are counted by their pages */
        m->text_kv = (struct kv_shape){ .layers = 1, .n_kv = 1, .dim = 1 };
    m->texts_whole = kind->both_ways;
    t->layer = load_keep(l, (size_t)t->n_layers * sizeof *t->layer);
    load_at(l, "%s", root);
    load_embedding(l, &t->embed, m->vocab, width, "embeddings.token_embedding");
    const float *table = load_floats(l, SHAPE(m->context, width), "embeddings.position_embedding.weight");
    if (!table)
        return;
    t->position = load_table(l, table, m->context, width);
    load_norm(l, &t->norm, width, LAYER_NORM, t->text.eps, "final_layer_norm");
    tower_layers_load(l, t->layer, t->n_layers, &t->text, root);
}

int twin_load(struct model *m, struct loader *l, const struct twin_kind *kind)
{
    struct twin *t = m->impl;
    struct hparams text = hparams_object(&l->config, "text_config"),
        vision = hparams_object(&l->config, "vision_config");
    text_load(l, t, &text, kind);
    if (load_end(l) != 0)
        return -1;
    tower_load(l, &t->image, &vision, "vision_model.", &kind->image);
    m->no_head = m->image_alone = m->share_last = m->shared_normalised = true;
    m->image_align = t->image.patch;
    load_at(l, "%s", "");
    return load_end(l);
}

/* Trained ones are a few units large; within these bounds all that follows from two vectors is a number. */
static float usual(struct loader *l, const float *x, const char *name)
{
    if (x && !(fabsf(*x) <= MAX_LOGIT))
        load_fail(l, "%s: tensor %s: %g is not in -%d..%d", l->dir, name, (double)*x, MAX_LOGIT, MAX_LOGIT);
    return x && !l->failed ? *x : 0;
}

/* SigLIP stores both as lists of one number, CLIP its scale as a number. */
void twin_load_scale(struct loader *l, bool bias)
{
    float scale = usual(l, load_floats(l, (const int[]){ 1 }, bias, "logit_scale"), "logit_scale"), shift = 0;
    if (bias)
        shift = usual(l, load_floats(l, SHAPE(1), "logit_bias"), "logit_bias");
    if (!l->failed)
        l->m->match = (struct match){ .there = true, .sigmoid = bias, .scale = expf(scale), .bias = shift };
}

/* A layer in which the rows of a text all see each other. Nothing is kept for later steps. */
static void layer_both_ways(struct run *r, struct stream *s, const struct block *b, const struct batch *batch)
{
    block_vision_attend(r, s, b, NULL, batch->n_seqs, batch->first);
    block_mlp(r, s, b);
}

struct tensor twin_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct twin *t = m->impl;
    struct stream s = stream_of(r, nn_embed(r, &t->embed, in->batch.token, in->batch.n_rows));
    NN_SCRATCH(r)
        nn_add(r, s.x, s.x, nn_gather(r, t->position, in->batch.n_rows, 1, in->batch.pos, NULL));
    for (int i = 0; i < t->n_layers; i++) {
        if (m->texts_whole) {
            layer_both_ways(r, &s, &t->layer[i], &in->batch);
            continue;
        }
        block_attend(r, &s, &t->layer[i], i, &in->batch);
        block_mlp(r, &s, &t->layer[i]);
    }
    if (in->states) {
        nn_norm(r, s.x, s.x, &t->norm);
        *in->states = s.x;
    }
    return (struct tensor){ .cols = m->vocab };
}

void twin_give(struct run *r, const struct encode *in, struct tensor vector)
{
    nn_scatter(r, in->pool, vector, in->rows, false);
    if (in->shared)
        *in->shared = vector;
}

void twin_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    const struct twin *t = m->impl;
    tower_values(&t->image, rgb, p->height, p->width, out, shape);
}
