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

void block_attend(struct run *r, struct tensor x, const struct block *b, int layer, const struct batch *batch)
{
    NN_SCRATCH(r) {
        struct tensor h = nn_norm(r, x, &b->norm1);
        h = nn_linear(r, h, &b->qkv, (struct epilogue){ 0 });
        h = nn_attend(r, h, layer, &b->heads, batch);
        nn_linear_to(r, x, h, &b->o, (struct epilogue){ .add = x });
    }
}

void block_attend_normed(struct run *r, struct tensor x, struct tensor h, const struct block *b, int layer, const struct batch *batch)
{
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, h, &b->qkv, (struct epilogue){ 0 });
        y = nn_attend(r, y, layer, &b->heads, batch);
        y = nn_linear(r, y, &b->o, (struct epilogue){ 0 });
        nn_norm_then(r, x, y, &b->post1, x, h, &b->norm2);
    }
}

void block_mlp_normed(struct run *r, struct tensor x, struct tensor h, const struct block *b, enum act act, const struct norm *next)
{
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, h, &b->up, (struct epilogue){ .act = act, .glu = true });
        y = nn_linear(r, y, &b->down, (struct epilogue){ 0 });
        nn_norm_then(r, x, y, &b->post2, x, h, next);
    }
}

void block_attend_ragged(struct run *r, struct tensor x, const struct block *b, const int *pos, int n_seg, const int *first)
{
    NN_SCRATCH(r) {
        struct tensor h = nn_norm(r, x, &b->norm1);
        h = nn_linear(r, h, &b->qkv, (struct epilogue){ 0 });
        h = nn_attend_ragged(r, h, &b->heads, pos, n_seg, first);
        nn_linear_to(r, x, h, &b->o, (struct epilogue){ .add = x });
    }
}

static void mlp(struct run *r, struct tensor x, const struct block *b, struct epilogue e)
{
    NN_SCRATCH(r) {
        struct tensor h = nn_norm(r, x, &b->norm2);
        h = nn_linear(r, h, &b->up, e);
        nn_linear_to(r, x, h, &b->down, (struct epilogue){ .add = x });
    }
}

void block_mlp(struct run *r, struct tensor x, const struct block *b, enum act act)
{
    mlp(r, x, b, (struct epilogue){ .act = act });
}

void block_mlp_gated(struct run *r, struct tensor x, const struct block *b, enum act act)
{
    mlp(r, x, b, (struct epilogue){ .act = act, .glu = true });
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
