/* engine/replay.h - decode steps that are recorded once and replayed.
 *
 * Decode steps - one token of every request - come again and again in few
 * shapes. Where the backend can, they are recorded and replayed: the number of
 * requests and of pages is rounded up to a power of two, with rows that write
 * nowhere and see nothing, so that every launch of a shape has the same
 * arguments. No row's result depends on the others, so the bits are the same. */
#ifndef ENGINE_REPLAY_H
#define ENGINE_REPLAY_H
#include "engine/staging.h"
#include "model/nn.h"

enum { MAX_RECORDED = 512 };   /* powers of two up to 4096 requests times those up to 2^24 tokens */

struct recorded {              /* all decode steps of one shape */
    int  key;
    bool replays;              /* false: seen once, computed as any other step      */
    struct tensor logits;      /* where they come out ...                           */
    size_t used;               /* ... and the end of the scratch that a replay writes */
};

struct replay {
    struct recorded recorded[MAX_RECORDED];
    int n;
};

/* Is it the next token of an answer for every request, and nothing else? */
bool replay_suits(const struct step *step);

/* Rounds the shape of such a step up, to at most the largest, and gives it its key. */
void replay_round(struct shape *shape, const struct shape *largest);

/* The model on a step: computed (also if it is not to be replayed, with the key -1), recorded when its shape comes for
 * the second time, and replayed from then on. Gives the logits of forward->out_rows. */
struct tensor replay_forward(struct replay *p, const struct model *m, struct run *run, const struct forward *f,
                             int key);

#endif
