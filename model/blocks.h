/* model/blocks.h - pieces of a forward pass that several families share to the
 * letter. What differs between families is in the weights (a bias or none, q/k
 * norms, rope tables), never in an argument for one of them. */
#ifndef MODEL_BLOCKS_H
#define MODEL_BLOCKS_H
#include "model/model.h"
#include "model/nn.h"

struct block {                       /* one transformer layer; a family fills what it has */
    struct norm   norm1, norm2;      /* before attention, before the MLP                  */
    struct norm   post1, post2;      /* after them, before the residual sum               */
    struct norm   q_norm, k_norm;
    struct weight qkv, o;            /* qkv: rows of q, k, v stacked                      */
    struct weight up, down;          /* up: gate stacked on up where the MLP is gated     */
    struct heads  heads;             /* of this layer's attention; norms and rope may point into the family's struct */
};

/* Embeddings of the step's tokens, the first `w->in` columns of the pool's rows in the places of image tokens. */
struct tensor block_embed(struct run *r, const struct weight *w, const struct forward *in);
/* Text. h: norm1(x) before the first, norm2(x) before the second; afterwards next(x), or anything if next is NULL.
 *   x += o(attend(qkv(h))) over the text cache
 *   x += down(act(gate(h)) * up(h))
 * What is added goes through post1 and post2 where the weights have them (GLM). */
void block_attend(struct run *r, struct tensor x, struct tensor h, const struct block *b, int layer, const struct batch *batch,
                  const struct norm *next);
void block_mlp(struct run *r, struct tensor x, struct tensor h, const struct block *b, enum act act, const struct norm *next);
/* Vision: x += o(attend(qkv(norm1(x)))) within segments first[s] .. first[s+1]; pos (3, rows). */
void block_vision_attend(struct run *r, struct tensor x, const struct block *b, const int *pos, int n_seg, const int *first);
/* x += down(act(up(norm2(x)))), and the gated form act(gate) * up */
void block_vision_mlp(struct run *r, struct tensor x, const struct block *b, enum act act);
void block_vision_mlp_gated(struct run *r, struct tensor x, const struct block *b, enum act act);
/* Logits of the rows that are asked for: head(norm(x)); no rows if none is. */
struct tensor block_logits(struct run *r, struct tensor x, const struct norm *norm, const struct weight *head,
                           const struct forward *in);

#endif
