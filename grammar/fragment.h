/* grammar/fragment.h - from expressions to the automata of rules, not yet deterministic.
 *
 * A small rule, or one that is used once, becomes a part of those that use it. What stays a rule is what calls itself,
 * what is used at many places, and what is repeated often. */
#ifndef GRAMMAR_FRAGMENT_H
#define GRAMMAR_FRAGMENT_H
#include "grammar/build.h"
#include "grammar/dfa.h"

struct fragment {              /* the automaton of one rule that stays */
    int32_t start, accept;     /* states                              */
    int32_t tick, late;        /* states of a rule that counts; -1    */
    int32_t min, max;          /* ticks                               */
    int32_t body;              /* expression                          */
    bool    counts;
    bool    nullable;          /* it accepts the empty text           */
};

struct rule_use {              /* of one rule of the builder */
    int32_t uses, size;        /* size: states, with those of rules that are put into it */
    int32_t fragment;          /* -1: it does not stay                */
    uint8_t state;             /* NEW, OPEN, DONE                     */
};

struct assembly {
    struct build *b;           /* borrowed */
    struct nfa    nfa;
    struct rule_use *rule;     /* owned, (b->n_rules)                 */
    int32_t *size;             /* owned, (b->n_exprs) states; 0: not measured         */
    int32_t *own;              /* owned, (b->n_exprs) fragment of an expression; -1   */
    struct fragment *fragment; /* owned; [0] is the root              */
    size_t n_fragments, cap_fragments;
    int depth;                 /* of expressions that are being written out */
};

void assembly_make(struct assembly *m, struct build *b, int32_t root);     /* b->failed tells how it went */
void assembly_free(struct assembly *m);

#endif
