/* grammar/trie.h - the inside of struct tokens: for tokens.c, known.c and matcher.c. */
#ifndef GRAMMAR_TRIE_H
#define GRAMMAR_TRIE_H
#include "base/hash.h"
#include "grammar/tokens.h"

struct trie_node {             /* nodes lie in the order in which a walk meets them: the first child comes next */
    int32_t end;               /* the node behind its last descendant   */
    int32_t token;             /* first of those that end here; -1      */
    uint8_t byte;
};

struct known;

struct tokens {
    int n;
    struct trie_node *node;    /* owned, (n_nodes); [0] is the root                             */
    int32_t n_nodes;
    int32_t *same;             /* owned, (n): another token with the same bytes; -1             */
    uint8_t *text;             /* owned: the bytes of all tokens                                */
    int32_t *at;               /* owned, (n + 1): where those of a token begin                  */
    int longest;               /* bytes of a token                                              */
    struct known *known;       /* owned; see known.h                                            */
};

#endif
