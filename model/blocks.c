/* model/blocks.c - see blocks.h. */
#include "model/blocks.h"

#include "model/experts.h"

struct stream stream_of(struct run *r, struct tensor x)
{
    return (struct stream){ .x = x, .h = nn_new(r, x.rows, x.cols) };
}

/* The common case is that whoever added to x last has guessed this norm and left it in h. If not, it is computed
 * now. */
struct tensor stream_norm(struct run *r, struct stream *s, const struct norm *norm)
{
    if (s->normed != norm)
        nn_norm(r, s->h, s->x, norm);
    s->normed = norm;
    return s->h;
}

/* A layer without post norm adds in the epilogue of the product, and `next` is the norm that follows it. With a post
 * norm the product lies apart, that norm follows it and does the adding, and `next` comes after that. */
void stream_add(struct run *r, struct stream *s, struct tensor y, const struct weight *w, const struct norm *post,
                const struct norm *next)
{
    if (post->w.data)
        NN_SCRATCH(r) {
            struct norms after = { .norm = post, .add = s->x, .out = s->x, .then = next, .then_out = s->h };
            nn_linear(r, y, w, (struct epilogue){ .after = &after });
        }
    else {
        struct norms after = { .norm = next, .out = s->h };
        nn_linear_to(r, s->x, y, w, (struct epilogue){ .add = s->x, .after = next ? &after : NULL });
    }
    s->normed = next;
}

/* The norm in h is of an older x now. */
void stream_add_rows(struct run *r, struct stream *s, struct tensor rows, const int *idx)
{
    nn_scatter(r, s->x, rows, idx, true);
    s->normed = NULL;
}

void blocks_chain(struct block *layer, int n)
{
    for (int i = 0; i + 1 < n; i++)
        layer[i].next = &layer[i + 1].norm1;
}

/* Each column times its number of scale (x.cols, 1): a convolution over one row at a time. */
static struct tensor scale_columns(struct run *r, struct tensor x, const struct weight *scale)
{
    return nn_dwconv(r, x, scale, (struct conv){ .h = x.rows, .w = 1, .kernel = 1, .stride = 1 });
}

/* Image tokens have an embedding like all others, which is computed and then written over: leaving them out would cost
 * more than it saves. */
struct tensor block_embed_scaled(struct run *r, const struct weight *w, const struct weight *scale,
                                 const struct forward *in)
{
    struct tensor x = nn_embed(r, w, in->batch.token, in->batch.n_rows);
    if (scale && scale->out)
        x = scale_columns(r, x, scale);
    if (in->n_image > 0)
        NN_SCRATCH(r) {
            struct tensor rows = nn_gather(r, nn_cols(in->pool, 0, w->in), in->n_image, 1, in->image_src, NULL);
            nn_scatter(r, x, rows, in->image_dst, false);
        }
    return x;
}

struct tensor block_embed(struct run *r, const struct weight *w, const struct forward *in)
{
    return block_embed_scaled(r, w, NULL, in);
}

/* The stream tells the product that follows (o) which norm comes next, so that both can be one launch. */
void block_attend(struct run *r, struct stream *s, const struct block *b, int layer, const struct batch *batch)
{
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, stream_norm(r, s, &b->norm1), &b->qkv, (struct epilogue){ 0 });
        y = nn_attend_in(r, y, b->cache, layer, &b->heads, batch);
        stream_add(r, s, y, &b->o, &b->post1, &b->norm2);
    }
}

/* What the last layer computes behind its attention where only some rows are read: these are taken out of the stream
 * and of the attention's result, and go on alone. A row's numbers are the same, whoever else is there. */
static void last_layer(struct run *r, struct stream *s, const struct block *b, int layer, const struct forward *in)
{
    int n = in->n_out;
    struct stream few = { .x = { .cols = s->x.cols } };
    if (n > 0)
        few = stream_of(r, nn_gather(r, s->x, n, 1, in->out_rows, NULL));
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, stream_norm(r, s, &b->norm1), &b->qkv, (struct epilogue){ 0 });
        if (n > 0) {
            y = nn_gather(r, nn_attend_in(r, y, b->cache, layer, &b->heads, &in->batch), n, 1, in->out_rows, NULL);
            stream_add(r, &few, y, &b->o, &b->post1, &b->norm2);
        } else {
            nn_store_in(r, y, b->cache, layer, &b->heads, &in->batch);
        }
    }
    if (n > 0)
        block_mlp(r, &few, b);
    *s = few;
}

/* Whoever watches a pass looks at what enters the weights, and wants all rows of it. A pass that measures goes both
 * ways: the one that is taken depends on the step. */
void block_layer(struct run *r, struct stream *s, const struct block *b, int layer, const struct forward *in, bool last)
{
    bool few = last && !in->states && !r->watch && in->n_out < in->batch.n_rows;
    if (!few || r->measuring) {
        block_attend(r, s, b, layer, &in->batch);
        block_mlp(r, s, b);
    }
    if (few || (last && r->measuring))
        last_layer(r, s, b, layer, in);
}

/* Half a layer of a vision tower: attention within each of n_seg segments of rows, which begin at `first`. On return
 * the result has been added to the stream. */
void block_vision_attend(struct run *r, struct stream *s, const struct block *b, const int *pos, int n_seg,
                         const int *first)
{
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, stream_norm(r, s, &b->norm1), &b->qkv, (struct epilogue){ 0 });
        y = nn_attend_ragged(r, y, &b->heads, pos, n_seg, first);
        stream_add(r, s, y, &b->o, &b->post1, &b->norm2);
    }
}

/* Likewise, with the norm of the layer that follows. */
void block_mlp(struct run *r, struct stream *s, const struct block *b)
{
    if (b->moe) {
        moe_forward(r, s, b->moe, stream_norm(r, s, &b->norm2));
        return;
    }
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, stream_norm(r, s, &b->norm2), &b->up,
                                    (struct epilogue){ .act = b->act, .glu = b->glu });
        stream_add(r, s, y, &b->down, &b->post2, b->next);
    }
}

/* Only the rows that are asked for go through the head, which is the largest matrix of a small model; x may hold them
 * already, in their order. States of all rows take no memory: nobody reads x any more, so they take its place. */
struct tensor block_logits_capped(struct run *r, struct tensor x, const struct norm *norm, const struct weight *head,
                                  const struct cap *cap, const struct forward *in)
{
    struct tensor logits = { .cols = head->out };
    if (in->n_out > 0) {         /* else the step only reads parts of prompts */
        bool taken = x.rows < in->batch.n_rows;
        struct tensor h = taken ? x : nn_gather(r, x, in->n_out, 1, in->out_rows, NULL);
        struct epilogue end = { 0 };
        nn_norm(r, h, h, norm);
        if (cap && cap->share.out) {
            h = scale_columns(r, h, &cap->share);
            end = (struct epilogue){ .act = ACT_TANH, .mul = cap->whole };
        }
        logits = nn_linear(r, h, head, end);
    }
    if (in->states) {
        nn_norm(r, x, x, norm);
        *in->states = x;
    }
    return logits;
}

struct tensor block_logits(struct run *r, struct tensor x, const struct norm *norm, const struct weight *head,
                           const struct forward *in)
{
    return block_logits_capped(r, x, norm, head, NULL, in);
}
