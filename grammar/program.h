/* grammar/program.h - a compiled grammar, as matchers run it.
 *
 * It is a pushdown automaton over bytes. Each rule is a deterministic automaton whose states lie together; an edge of
 * it is taken by a byte, a call by what another rule accepts. Where a rule accepts, it returns to who called it. No
 * rule accepts the empty text and none calls itself before it has taken a byte, so that what can be done without a
 * byte is always finite. */
#ifndef GRAMMAR_PROGRAM_H
#define GRAMMAR_PROGRAM_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

struct build;

enum { HEIGHT_MAX = UINT16_MAX };      /* no end can be reached */

struct step { uint8_t lo, hi; int32_t to; };                   /* bytes lo .. hi lead to a state */

struct jump {                  /* a call: rule, min to max times, then state `to` */
    int32_t rule, min, max, to;
    bool    tail;              /* once, and nothing is left to do then: the return address is the caller's own */
};

struct place {                 /* a state */
    int32_t  step, jump;       /* its first step and jump                                            */
    uint16_t n_steps;          /* at most 256, disjoint, in order                                    */
    uint16_t height;           /* the fewest rules within one another that lead from here to the end */
    int32_t  n_jumps;
    int32_t  rule;
    bool     accept;
    bool     tick;             /* in a rule that counts: entering it counts one more ...             */
    bool     late;             /* ... and this may be entered only after enough                      */
};

struct part {                  /* a rule */
    int32_t start, n;          /* its places: start .. start + n - 1                                 */
    int32_t min, max;          /* ticks                                                              */
    bool    counts;
    struct hash print;         /* of its automaton without the calls: rules with equal ones know the same tokens in
                                  advance                                                             */
};

struct grammar {
    _Atomic int refs;
    struct place *place; size_t n_places, cap_places;      /* owned, as all below */
    struct step  *step;  size_t n_steps,  cap_steps;
    struct jump  *jump;  size_t n_jumps,  cap_jumps;
    struct part  *part;  size_t n_parts,  cap_parts;
    int32_t root;              /* the rule of the whole text          */
    bool    empty;             /* the empty text is one of its texts  */
    uint16_t tallest;          /* of all places                       */
};

/* NULL: the builder has failed. */
struct grammar *program_make(struct build *b, int32_t root_expr);

#endif
