/* tokenizer/cut.c - see cut.h. */
#include "tokenizer/cut.h"

struct cut cut_begin(const struct piece *p, enum behavior behavior, bool invert, struct text *out)
{
    return (struct cut){ .out = out, .piece = p, .behavior = behavior, .invert = invert };
}

/* Adds the bytes [from, to) of the piece to the result. A failure is kept for cut_end(), so that the callers need not
 * ask each time. */
static void emit(struct cut *c, uint32_t from, uint32_t to)
{
    if (from < to && text_add_piece(c->out, piece_cut(c->piece, from, to)) < 0)
        c->failed = true;
}

/* Whether a part that comes next (matched or not) joins the one that waits. */
static bool joins(const struct cut *c, bool matched)
{
    switch (c->behavior) {
    case CUT_CONTIGUOUS:    return matched == c->matched;
    case CUT_WITH_PREVIOUS: return matched && !c->matched;
    case CUT_WITH_NEXT:     return c->matched && !matched;
    default:                return false;
    }
}

/* Takes the next part of the piece. Where parts may join, the last one waits in c until the next shows whether it
 * grows; else a part is added at once or, with CUT_REMOVED, dropped where it matched. */
static void part(struct cut *c, uint32_t from, uint32_t to, bool matched)
{
    matched ^= c->invert;
    if (c->behavior == CUT_REMOVED || c->behavior == CUT_ISOLATED) {
        if (!matched || c->behavior == CUT_ISOLATED)
            emit(c, from, to);
        return;
    }
    if (c->waiting && joins(c, matched)) {
        c->to = to;
    } else {
        if (c->waiting)
            emit(c, c->from, c->to);
        c->from = from;
        c->to = to;
        c->waiting = true;
    }
    c->matched = matched;
}

/* Matches come in order: c->done is where the last one ended, and what lies between is a part that does not match. */
void cut_match(struct cut *c, size_t from, size_t to)
{
    if (from > c->done)
        part(c, c->done, (uint32_t)from, false);
    part(c, (uint32_t)from, (uint32_t)to, true);
    c->done = (uint32_t)to;
}

/* What waits cannot grow any more and is added. */
int cut_end(struct cut *c)
{
    if (c->done < c->piece->len)
        part(c, c->done, c->piece->len, false);
    if (c->waiting)
        emit(c, c->from, c->to);
    return c->failed ? -1 : 0;
}
