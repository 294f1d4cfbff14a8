/* engine/staging.h - the arrays of one step, as the device wants them.
 *
 * A step needs many small arrays: tokens, positions, slots, block tables, what
 * the sampler must know. They are laid out one after the other in one block of
 * the host's memory, filled there, and go to the device in a single copy. How
 * large the block has to be is found by laying out the largest step without
 * filling anything: the same functions do both, so that the plan cannot be
 * smaller than a step. */
#ifndef ENGINE_STAGING_H
#define ENGINE_STAGING_H
#include "engine/scheduler.h"
#include "model/model.h"
#include "model/nn.h"

struct shape {                 /* how long the arrays of a step are */
    int rows, seqs;
    int pages;                 /* columns of the block tables, pages of KV_PAGE tokens             */
    int image_pages;           /* columns of the block tables of images; 0: cross-attention sees no images     */
    int kv_images;             /* pages of the whole image KV; 0 like image_pages                  */
    int image_rows;            /* rows that may be places of images                                */
    int out;                   /* rows whose logits the model gives                                */
    size_t seen, banned, biased;   /* tokens with a penalty, a ban, a bias, of all these rows together */
    int mask_words;            /* of each row's bits, one for each token; 0: every token of every row may come */
    int window[TEXT_CACHES];   /* of the text's caches, 0: the first has none, there is no second     */
    int key;                   /* name of this shape in `struct replay`; -1: compute this step, never replay it */
};

struct staging {               /* the block, and how much of it the step has taken so far */
    char  *host, *dev;         /* borrowed, `size` bytes each; host NULL: lay out only, to count */
    size_t size, used;
};

struct adjustment {            /* of logits: the arguments of ops.penalize, on the device */
    const struct penalty *penalty;     /* (n)     */
    const struct seen    *tokens;      /* of row r from first[r] on */
    const int *first;                  /* (n + 1) */
    bool any;                          /* does any row have a token */
};

struct sampler {               /* of the rows that yield a token, all arrays on the device */
    int n;                     /* these rows: fewer than shape.out where that was rounded up */
    const struct sampling *sampling;   /* (n) */
    const uint32_t *allowed;   /* (n, shape.mask_words) bits of the tokens that may come; NULL: all */
    uint32_t *late;            /* host: the same, where grammars have a part in it: it is filled and copied when the
                                  model is at work; NULL: it is complete */
    struct adjustment seen;    /* what the request's penalties make of tokens that have been seen    */
    struct adjustment biased;  /* what it adds to some tokens                                        */
    struct adjustment banned;  /* tokens that may not come now: the ends while the answer is too short for them, and
                                  those that would complete a bad word                               */
    int  top_n;                        /* the most top logprobs that any row wants; -1: nobody wants logprobs */
};

struct staged {                /* a step, ready for the model and the sampler; they read it until they are done */
    struct view    views[N_CACHES];
    struct forward forward;    /* without the pool */
    struct sampler sampler;
    size_t early;              /* bytes of the block that go to the device at once: all but masks that come late */
};

/* What a step needs, but for `window`, which is the model's. kv_images: pages of the image KV; 0: the family has no
 * cross-attention. */
struct shape staging_shape(const struct step *step, int kv_images, int vocab);

/* Lays out and fills the arrays of a step. The block's contents have to be copied to the device before `out` is
 * used. */
void   staging_fill(struct staging *s, const struct shape *shape, const struct step *step, const struct images *images,
                    struct staged *out);
size_t staging_bytes(const struct shape *largest);     /* of the block, for steps of at most this shape */

#endif
