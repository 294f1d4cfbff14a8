/* engine/detok.h - token ids -> text that can be sent: whole UTF-8 sequences,
 * and nothing that might be the beginning of a stop string.
 *
 * Cost per token: the new bytes times the stop strings' lengths. */
#ifndef ENGINE_DETOK_H
#define ENGINE_DETOK_H
#include <stdbool.h>

#include "base/buf.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

struct detok {
    const struct tokenizer *t;     /* borrowed */
    const char *const *stop;       /* borrowed, (n_stop), none empty */
    int  n_stop;
    bool keep_special, include_stop;
    int32_t shown[ENGINE_MAX_SHOWN];   /* special tokens that are in the text all the same */
    int  n_shown_ids;
    int  least;                    /* so many tokens are added without looking for stop strings     */
    struct buf held;               /* bytes that cannot be sent yet  */
    int32_t *tail;                 /* owned; the last ids, where text depends on its neighbours */
    int  n_tail, n_shown;          /* ids in tail, and how many of them are already in the text  */
};

int  detok_init(struct detok *d, const struct tokenizer *t, const struct params *p);
void detok_free(struct detok *d);

/* Takes one token; appends what can be sent to out. Returns the stop string that is now complete, or NULL: the text
 * ends before it, or with it if include_stop; nothing may be added after. */
const char *detok_add(struct detok *d, int32_t id, struct buf *out);

/* The answer ends here: appends what was held back, an unfinished sequence as U+FFFD. */
void detok_end(struct detok *d, struct buf *out);

#endif
