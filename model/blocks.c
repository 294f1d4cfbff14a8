#include "model/blocks.h"

struct tensor block_embed(struct run *r, const struct weight *w, const struct forward *in)
{
    struct tensor x = nn_embed(r, w, in->batch.token, in->batch.n_rows);
    if (in->n_image > 0)
        NN_SCRATCH(r) {
            struct tensor rows = nn_gather(r, nn_cols(in->pool, 0, w->in), in->n_image, 1, in->image_src, NULL);
            nn_scatter(r, x, rows, in->image_dst, false);
        }
    return x;
}

/* x += post(w y), or without post x += w y; h = next(x), if something follows. */
static void add_back(struct run *r, struct tensor x, struct tensor h, struct tensor y, const struct weight *w, const struct norm *post,
                     const struct norm *next)
{
    struct epilogue residual = { .add = x };
    if (post->w.data)
        nn_linear_norm(r, nn_new(r, x.rows, x.cols), y, w, (struct epilogue){ 0 }, x, post, x, h, next);
    else if (next)
        nn_linear_norm(r, x, y, w, residual, h, next, (struct tensor){ 0 }, (struct tensor){ 0 }, NULL);
    else
        nn_linear_to(r, x, y, w, residual);
}

void block_attend(struct run *r, struct tensor x, struct tensor h, const struct block *b, int layer, const struct batch *batch,
                  const struct norm *next)
{
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, h, &b->qkv, (struct epilogue){ 0 });
        y = nn_attend(r, y, layer, &b->heads, batch);
        add_back(r, x, h, y, &b->o, &b->post1, next);
    }
}

void block_mlp(struct run *r, struct tensor x, struct tensor h, const struct block *b, enum act act, const struct norm *next)
{
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, h, &b->up, (struct epilogue){ .act = act, .glu = true });
        add_back(r, x, h, y, &b->down, &b->post2, next);
    }
}

void block_vision_attend(struct run *r, struct tensor x, const struct block *b, const int *pos, int n_seg, const int *first)
{
    NN_SCRATCH(r) {
        struct tensor h = nn_norm(r, x, &b->norm1);
        h = nn_linear(r, h, &b->qkv, (struct epilogue){ 0 });
        h = nn_attend_ragged(r, h, &b->heads, pos, n_seg, first);
        nn_linear_to(r, x, h, &b->o, (struct epilogue){ .add = x });
    }
}

static void vision_mlp(struct run *r, struct tensor x, const struct block *b, struct epilogue e)
{
    NN_SCRATCH(r) {
        struct tensor h = nn_norm(r, x, &b->norm2);
        h = nn_linear(r, h, &b->up, e);
        nn_linear_to(r, x, h, &b->down, (struct epilogue){ .add = x });
    }
}

void block_vision_mlp(struct run *r, struct tensor x, const struct block *b, enum act act)
{
    vision_mlp(r, x, b, (struct epilogue){ .act = act });
}

void block_vision_mlp_gated(struct run *r, struct tensor x, const struct block *b, enum act act)
{
    vision_mlp(r, x, b, (struct epilogue){ .act = act, .glu = true });
}

struct tensor block_logits(struct run *r, struct tensor x, const struct norm *norm, const struct weight *head,
                           const struct forward *in)
{
    if (in->n_out == 0)  /* the step only reads parts of prompts */
        return (struct tensor){ .cols = head->out };
    struct tensor h = nn_gather(r, x, in->n_out, 1, in->out_rows, NULL);
    nn_norm_to(r, h, h, norm);
    return nn_linear(r, h, head, (struct epilogue){ 0 });
}
