/* model/blocks.h - pieces of a forward pass that several families share to the
 * letter. What differs between families is in the weights (a bias or none, q/k
 * norms, rope tables), never in an argument for one of them.
 *
 *     struct stream s = stream_of(r, block_embed(r, &d->embed, in));
 *     for (int i = 0; i < d->n_layers; i++)
 *         block_layer(r, &s, &d->layer[i], i, in, i + 1 == d->n_layers);
 *     return block_logits(r, s.x, &d->norm, &d->head, in); */
#ifndef MODEL_BLOCKS_H
#define MODEL_BLOCKS_H
#include "model/model.h"
#include "model/nn.h"

struct moe;    /* model/experts.h */

struct block {                       /* one transformer layer; a family fills what it has */
    struct norm   norm1, norm2;      /* before attention, before the MLP                  */
    struct norm   post1, post2;      /* after them, before the residual sum               */
    struct norm   q_norm, k_norm;
    struct weight qkv, o;            /* qkv: rows of q, k, v stacked                      */
    struct weight up, down;          /* up: gate stacked on up where the MLP is gated     */
    const struct moe *moe;           /* routed experts instead (model/experts.h); NULL: the MLP above */
    enum act      act;               /* of the MLP                                        */
    bool          glu;               /* the MLP is gated: down(act(gate) * up)            */
    struct heads  heads;             /* of this layer's attention; norms and rope may point into the family's struct */
    int           cache, layer;      /* of the text: CACHE_TEXT or CACHE_WINDOW, and the number of this layer in it */
    const struct norm *next;         /* norm1 of the following layer, blocks_chain(); NULL: none follows */
};

/* The residual stream: the matrix that the layers read and add to. Most of what
 * a layer reads is a norm of it, and on a GPU the linear that adds to x can take
 * that norm in the same launch. So whoever adds says which norm will probably be
 * wanted next, and it is left in h. Whoever reads asks for the norm by name and
 * gets h, or has it computed if something else has happened to x since then. A
 * wrong guess costs time and never changes a result. */
struct stream {
    struct tensor x;                 /* (rows, hidden)                        */
    struct tensor h;                 /* (rows, hidden) `normed` of x          */
    const struct norm *normed;       /* borrowed; NULL: h is of an older x    */
};

struct stream stream_of(struct run *r, struct tensor x);
/* norm(x), valid until x changes or another norm is asked for. */
struct tensor stream_norm(struct run *r, struct stream *s, const struct norm *norm);
/* x += post(w y), or x += w y where post is empty. next: the norm that is likely to follow, or NULL. */
void stream_add(struct run *r, struct stream *s, struct tensor y, const struct weight *w, const struct norm *post,
                const struct norm *next);
/* x[idx[i]] += rows[i] */
void stream_add_rows(struct run *r, struct stream *s, struct tensor rows, const int *idx);

/* Tells every one of n layers the norm that follows it. */
void blocks_chain(struct block *layer, int n);

/* Embeddings of the step's tokens, the first `w->in` columns of the pool's rows in the places of image tokens. scale:
 * (w->in, 1), by which those of tokens alone are multiplied; NULL or out 0: they are not. */
struct tensor block_embed_scaled(struct run *r, const struct weight *w, const struct weight *scale,
                                 const struct forward *in);
struct tensor block_embed(struct run *r, const struct weight *w, const struct forward *in);
/* The first half of a text layer, the `layer`th of its cache: x += post1(o(attend(qkv(norm1(x))))) */
void block_attend(struct run *r, struct stream *s, const struct block *b, int layer, const struct batch *batch);
/* A whole text layer, both halves. last: nothing follows it but the end of the pass. Then its keys and values are of
 * all rows, and of the rest only what somebody reads is computed: where nobody asks for the states of all rows, the
 * stream holds the rows in->out_rows alone afterwards, or none where no logits are wanted. */
void block_layer(struct run *r, struct stream *s, const struct block *b, int layer, const struct forward *in,
                 bool last);
/* The first half of a vision layer, within segments first[s] .. first[s+1]; pos (3, rows). */
void block_vision_attend(struct run *r, struct stream *s, const struct block *b, const int *pos, int n_seg,
                         const int *first);
/* The second half of either: x += post2(down(act(up(norm2(x))))), and the gated form act(gate) * up, or what the row's
 * experts make of norm2(x) */
void block_mlp(struct run *r, struct stream *s, const struct block *b);
/* Logits that are bent towards a largest value: cap * tanh(logit / cap). The head reads states that are divided by the
 * cap, so that the rest is its epilogue. */
struct cap {
    struct weight share;             /* (hidden, 1): 1 / cap, of all columns; out 0: there is no cap */
    struct tensor whole;             /* (1, vocab): cap                                             */
};

/* The end of a pass. Logits of the rows that are asked for: head(norm(x)); no rows if none is. Where the last hidden
 * states are asked for, x becomes those. x: of all rows of the batch, or what the last block_layer() has left. */
struct tensor block_logits(struct run *r, struct tensor x, const struct norm *norm, const struct weight *head,
                           const struct forward *in);
/* Likewise, with a cap, or with none where cap->share.out is 0. */
struct tensor block_logits_capped(struct run *r, struct tensor x, const struct norm *norm, const struct weight *head,
                                  const struct cap *cap, const struct forward *in);

#endif
