/* engine/pooling.h - one vector for a whole prompt, from the last hidden states of its tokens.
 *
 * The states come in the order of the tokens, in as many pieces as there are
 * steps; each is added when it comes, so that no more than one vector is kept.
 * Sums are made in that order in double precision: the result has the same bits
 * however the prompt was cut. Owned by its request; the engine's thread adds. */
#ifndef ENGINE_POOLING_H
#define ENGINE_POOLING_H
#include "engine/engine.h"
#include "model/model.h"

/* What --pooling means for the checkpoint in that folder: for `auto` what its modules.json says, else the last token's
 * state with the length 1, as decoders are mostly trained for it; where texts share a space with images, the mean,
 * which that space was trained with. */
void pooling_choose(struct pooling_choice *c, const char *option, const char *dir, const struct model *m);

struct pooled {
    enum pooling how;
    int     width;             /* floats of a state                          */
    int     n;                 /* states that have been added                */
    double *sum;               /* owned, (width); NULL: nothing is pooled    */
};

/* -1: memory is out (503). POOLING_NOT takes none. */
int  pooled_init(struct pooled *p, enum pooling how, int width, struct err *e);
void pooled_free(struct pooled *p);

/* The first token of a prompt of n whose state is still wanted; n: none is any more. */
int  pooled_next(const struct pooled *p, int n);

/* The next states (n, width), dense: those of the tokens from pooled_next() on. */
void pooled_add(struct pooled *p, const float *states, int n);

/* The vector (width), after the last state. */
void pooled_result(const struct pooled *p, float *out);

#endif
