/* grammar/known.h - what a state of a rule knows of all tokens in advance, whoever has called the rule.
 *
 * From a state of a rule's own automaton many tokens stay within the rule: those are allowed in any context. Where on
 * the way through the tree of tokens the rule could return, or could call another one, the tokens behind that place
 * may be allowed or not, as the context has it: an exit. Everything else is forbidden. The answer depends on the
 * rule's automaton and the vocabulary alone, so that grammars share it, as the string of JSON, and it is made when it
 * is first asked for. */
#ifndef GRAMMAR_KNOWN_H
#define GRAMMAR_KNOWN_H
#include "grammar/program.h"
#include "grammar/trie.h"


struct known_exit {                 /* a place that is reached by a node of the tree, which has children */
    int32_t node, place;       /* place: counted from the first one of the rule */
};

struct known_place {
    struct hash key;
    struct known_place *next;  /* of the same bucket                                            */
    int32_t *id;               /* owned: the tokens that are allowed, if they are few; or NULL  */
    uint32_t *bits;            /* owned: or the mask of them; or NULL                           */
    int32_t n_ids;
    struct known_exit *exit;        /* owned, by place                                               */
    int32_t n_exits;
    int64_t work;              /* nodes of the tree that were looked at                         */
};

struct known *known_new(void);
void          known_free(struct known *k);

/* What the place knows after so many ticks, if its rule counts. NULL: memory. What was given is valid until the next
 * call. *work: counts the nodes that were looked at. */
const struct known_place *known_of(struct tokens *t, const struct grammar *g, int32_t place, int32_t ticks,
                                   int64_t *work);

/* Marks a token, and those with the same bytes. */
void tokens_allow(const struct tokens *t, int32_t token, uint32_t *mask);

#endif
