/* tokenizer/trie.c - see trie.h.
 *
 * The keys that begin with the same bytes lie side by side once they are sorted. So a node stands for a span of the
 * keys, and its children for the parts of that span that go on with the same byte. */
#include "tokenizer/trie.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* A node that is still to be given its children: keys lo..hi share their first `depth` bytes, which lead to `node`. */
struct span {
    size_t   lo, hi, depth;
    uint32_t node;
};

/* A key with its place in the list, by which equal keys are sorted so that the later one is found. */
struct sorted {
    struct trie_key key;
    size_t order;
};

/* The order of keys, for qsort: by bytes, a key before those that go on from it, equal ones by their place in the
 * list. */
static int compare(const void *pa, const void *pb)
{
    const struct sorted *a = pa, *b = pb;
    size_t n = a->key.n < b->key.n ? a->key.n : b->key.n;
    int c = memcmp(a->key.s, b->key.s, n);
    if (c)
        return c;
    if (a->key.n != b->key.n)
        return a->key.n < b->key.n ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

/* Sorts the keys by their bytes, equal ones as they came, so that the first of them counts. -1: the memory ran out. */
static int sort_keys(struct trie_key *keys, size_t count)
{
    struct sorted *s = malloc((count + 1) * sizeof *s);
    if (!s)
        return -1;
    for (size_t i = 0; i < count; i++)
        s[i] = (struct sorted){ keys[i], i };
    qsort(s, count, sizeof *s, compare);
    for (size_t i = 0; i < count; i++)
        keys[i] = s[i].key;
    free(s);
    return 0;
}

/* Appends a node without value and children. Returns -1 when the memory runs out. */
static int add_node(struct trie *t, uint8_t byte)
{
    if (grow(&t->node, &t->cap, t->n + 1, sizeof *t->node) < 0)
        return -1;
    t->node[t->n++] = (struct trie_node){ -1, 0, 0, byte };
    return 0;
}

/* Gives the node of a span its value and children, and queues the children's spans. As one node is expanded at a
 * time, its children lie side by side. Returns -1 when the memory runs out. */
static int expand(struct trie *t, const struct trie_key *keys, struct span s, struct span **queue, size_t *n,
                  size_t *cap)
{
    while (s.lo < s.hi && keys[s.lo].n == s.depth)
        t->node[s.node].value = keys[s.lo++].value;
    t->node[s.node].child = (uint32_t)t->n;
    while (s.lo < s.hi) {
        uint8_t b = (uint8_t)keys[s.lo].s[s.depth];
        size_t end = s.lo + 1;
        while (end < s.hi && (uint8_t)keys[end].s[s.depth] == b)
            end++;
        if (grow(queue, cap, *n + 1, sizeof **queue) < 0 || add_node(t, b) < 0)
            return -1;
        (*queue)[(*n)++] = (struct span){ s.lo, end, s.depth + 1, (uint32_t)t->n - 1 };
        t->node[s.node].count++;
        s.lo = end;
    }
    return 0;
}

/* Expands the root and then, level by level, every node whose span is in the queue. Empty keys come first among the
 * sorted ones and are passed over. After a failure the trie holds nothing. */
int trie_build(struct trie *t, struct trie_key *keys, size_t count)
{
    struct span *queue = NULL;
    size_t n = 0, cap = 0;
    int rc = -1;
    memset(t, 0, sizeof *t);
    memset(t->root_child, 0xff, sizeof t->root_child);
    if (sort_keys(keys, count) < 0 || add_node(t, 0) < 0)
        goto out;
    size_t first = 0;                   /* the first key that is not empty */
    while (first < count && keys[first].n == 0)
        first++;
    struct span next = { first, count, 0, 0 };
    for (size_t done = 0;;) {
        if (expand(t, keys, next, &queue, &n, &cap) < 0)
            goto out;
        if (done == n)
            break;
        next = queue[done++];
    }
    for (uint32_t i = 0; i < t->node[0].count; i++)
        t->root_child[t->node[t->node[0].child + i].byte] = (int32_t)(t->node[0].child + i);
    rc = 0;
out:
    free(queue);
    if (rc < 0)
        trie_free(t);
    return rc;
}

void trie_free(struct trie *t)
{
    free(t->node);
    memset(t, 0, sizeof *t);
}

/* The root has a table. In other nodes the search is binary down to eight children, which are then looked at one by
 * one. */
int32_t trie_step(const struct trie *t, int32_t node, uint8_t b)
{
    if (!node)
        return t->root_child[b];
    uint32_t lo = t->node[node].child, hi = lo + t->node[node].count;
    while (hi - lo > 8) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t->node[mid].byte <= b)
            lo = mid;
        else
            hi = mid;
    }
    for (; lo < hi; lo++)
        if (t->node[lo].byte == b)
            return (int32_t)lo;
    return -1;
}

/* Follows the bytes as far as there are nodes, and keeps the last one with a value. */
size_t trie_longest(const struct trie *t, const char *s, size_t n, int32_t *value)
{
    size_t best = 0;
    int32_t at = 0;
    for (size_t i = 0; i < n && (at = trie_step(t, at, (uint8_t)s[i])) >= 0; i++)
        if (t->node[at].value >= 0) {
            best = i + 1;
            *value = t->node[at].value;
        }
    return best;
}
