/* tokenizer/trie.h - strings by their bytes: finds all keys that begin at a
 * place in a text, one step a byte.
 *
 * Nodes lie in one array, the children of a node side by side and sorted by
 * byte. Built once from sorted keys, then read-only. */
#ifndef TOKENIZER_TRIE_H
#define TOKENIZER_TRIE_H
#include <stddef.h>
#include <stdint.h>

struct trie {
    struct trie_node *node;       /* owned, (n); node 0 is the root */
    size_t n, cap;
    int32_t root_child[256];      /* shortcut: child of the root by byte, -1 none */
};

/* A place in the trie, reached by the bytes of all nodes on the way to it. */
struct trie_node {
    int32_t  value;  /* of the key that ends here; -1: none */
    uint32_t child;  /* index of the first child            */
    uint16_t count;  /* children                            */
    uint8_t  byte;   /* that leads here                     */
};

/* A key to be put in; its bytes are borrowed and not needed once the trie is built. */
struct trie_key {
    const char *s;
    size_t      n;
    int32_t     value;
};

/* Sorts `keys`; of equal ones the last stays. Empty keys are left out. -1: memory out. */
int  trie_build(struct trie *t, struct trie_key *keys, size_t count);
void trie_free(struct trie *t);

/* The child of `node` by byte b, or -1. */
int32_t trie_step(const struct trie *t, int32_t node, uint8_t b);

/* The longest key at the start of s: its length (0: none) and value. */
size_t trie_longest(const struct trie *t, const char *s, size_t n, int32_t *value);

#endif
