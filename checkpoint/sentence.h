/* checkpoint/sentence.h - how a checkpoint makes one vector of a text, as the
 * sentence-transformers library writes it down: modules.json lists what follows
 * on what, and the folder of the pooling module has a config.json. */
#ifndef CHECKPOINT_SENTENCE_H
#define CHECKPOINT_SENTENCE_H
#include <stdbool.h>

enum sentence_pooling { SENTENCE_LAST, SENTENCE_MEAN, SENTENCE_CLS };

struct sentence {
    bool there;                /* the checkpoint has a modules.json                              */
    enum sentence_pooling pooling;
    bool normalised;           /* the vector gets the length 1                                   */
    char unsupported[160];     /* what of it cannot be done here, a sentence's end; "": all can  */
};

/* Never fails: what cannot be read is among what cannot be done. */
void sentence_read(struct sentence *s, const char *dir);

#endif
