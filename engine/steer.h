/* engine/steer.h - what a request says of single tokens: a bias on some logits,
 * the only tokens that may come, and words that may not.
 *
 * Everything is turned into token ids when the request is submitted, and never
 * changes afterwards. A word of several tokens forbids its last one only where
 * the answer ends with the others, so the forbidden tokens are found anew for
 * every token of the answer, at the cost of the words' lengths. */
#ifndef ENGINE_STEER_H
#define ENGINE_STEER_H
#include "engine/engine.h"
#include "kernels/ops.h"
#include "tokenizer/tokenizer.h"

enum { STEER_MAX_BANS = 2 * ENGINE_MAX_BAD_WORDS };   /* a word may be written with and without a blank before it */

struct steer {
    struct seen *bias;         /* owned, (n_bias): the field `bias` of each token; no token twice  */
    int       n_bias;
    uint32_t *allowed;         /* owned, (ceil(vocab / 32)) bits; NULL: every token may come       */
    int32_t  *word;            /* owned: the tokens of all bad words, end to end                   */
    int       end[STEER_MAX_BANS];   /* of word i in `word`                                        */
    int       n_words;
};

/* Ids outside the vocabulary are our own bug: the caller has refused them. -1: memory is out, or (400, with the field)
 * the bad words have more tokens than may be looked for. */
int  steer_init(struct steer *s, const struct params *p, const struct tokenizer *t, int vocab, struct err *e);
void steer_free(struct steer *s);

/* Writes the tokens that would complete a bad word after this answer, at most s->n_words of them; gives their number.
 * A token may be named twice. */
int  steer_bans(const struct steer *s, const int32_t *answer, int n, struct seen *out);

#endif
