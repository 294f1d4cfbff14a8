/* grammar/finder.h - finds triggers in a text that is read byte by byte: the
 * automaton of Aho and Corasick (Efficient string matching, 1975), whose states
 * know how much of a trigger was just seen. */
#ifndef GRAMMAR_FINDER_H
#define GRAMMAR_FINDER_H
#include "grammar/build.h"

struct finder {
    int32_t (*next)[256];      /* owned, (n): -1 while it is built: none  */
    int32_t *fail, *queue;     /* owned, (n)                              */
    int32_t *ends;             /* owned, (n): which trigger ends here; -1 */
    int32_t  n;
};

/* Of the triggers of x, whose kids are literals. -1: memory is out; finder_free() is due in any case. */
int  finder_make(struct finder *f, const struct build *b, const struct expr *x);
void finder_free(struct finder *f);

#endif
