/* server/thoughts.h - how many tokens of an answer were thoughts.
 *
 * The text that comes from the engine does not say where one token ends; so the
 * pieces of the tokens are looked at by themselves. Tokens of the marks do not
 * count, as far as a mark ends with them. */
#ifndef SERVER_THOUGHTS_H
#define SERVER_THOUGHTS_H
#include "engine/engine.h"
#include "output/output.h"

enum { THOUGHTS_SEEN = 128 };  /* bytes that are looked at: a mark is far shorter */

struct thought_tokens {
    const struct reasoning_format *format;     /* borrowed; NULL: nothing is counted          */
    enum { THOUGHTS_AWAITED, THOUGHTS_INSIDE, THOUGHTS_BEHIND } state;
    char seen[THOUGHTS_SEEN];  /* the last bytes, without the blanks before a mark that may open  */
    int  n_seen;
    int  n;                    /* tokens of thoughts so far                                   */
};

/* begun: the prompt has opened them. */
void thought_tokens_init(struct thought_tokens *t, const struct reasoning_format *format, bool begun);
/* The answer's next tokens. */
void thought_tokens_add(struct thought_tokens *t, const struct engine *g, const int32_t *ids, int n);

#endif
