/* tokenizer/cut.h - what becomes of a piece whose parts match a pattern or not. */
#ifndef TOKENIZER_CUT_H
#define TOKENIZER_CUT_H
#include "tokenizer/text.h"

enum behavior { CUT_REMOVED, CUT_ISOLATED, CUT_WITH_PREVIOUS, CUT_WITH_NEXT, CUT_CONTIGUOUS };

/* Takes the parts of one piece in order and adds the resulting pieces. */
struct cut {
    struct text        *out;     /* gets pieces only       */
    const struct piece *piece;   /* borrowed: what is cut  */
    enum behavior       behavior;
    bool     invert;             /* swap "matches" and "does not" */
    bool     failed;             /* memory out             */
    bool     waiting, matched;   /* there is a part that may still grow; it matched */
    uint32_t from, to;           /* of that part           */
    uint32_t done;               /* end of the last part   */
};

struct cut cut_begin(const struct piece *p, enum behavior behavior, bool invert, struct text *out);

/* Takes the match from..to, and what is between the last one and it. Matches are given in order. */
void cut_match(struct cut *c, size_t from, size_t to);

/* Takes the rest of the piece. Returns -1 when the memory ran out here or before. */
int cut_end(struct cut *c);

#endif
