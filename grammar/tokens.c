/* The tree: tokens are sorted by their bytes, and the tree follows from what neighbours have in common. */
#include "grammar/tokens.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/known.h"
#include "grammar/trie.h"

enum { MAX_TEXT = 256 << 20, MARK = 0xFF };

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    known_free(t->known);
    free(t->node);
    free(t->same);
    free(t->text);
    free(t->at);
    free(t);
}

/* Bytes that occur in no UTF-8. */
static bool is_text(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)s[i];
        if (c == 0xC0 || c == 0xC1 || c > 0xF4)
            return false;
    }
    return true;
}

/* The bytes of all tokens, end to end; t->at says where each begins. A special token has a mark before its text, which
 * only EXPR_MARKED lets through. Tokens without text, or whose bytes could be no part of one, stay empty. -1: memory,
 * or too much text. */
static int read_all(struct tokens *t, const struct token_source *s)
{
    struct buf all, one;
    buf_init(&all, MAX_TEXT);
    buf_init(&one, MAX_TEXT);
    for (int id = 0; id < s->n; id++) {
        bool special = false;
        buf_clear(&one);
        t->at[id] = (int32_t)all.len;
        if (!s->bytes(s->arg, id, &one, &special) || one.len == 0 || one.len >= TOKENS_LONGEST ||
            !is_text(one.data, one.len))
            continue;
        if (special)
            buf_byte(&all, (char)MARK);
        buf_add(&all, one.data, one.len);
        int len = (int)(all.len - (size_t)t->at[id]);
        t->longest = len > t->longest ? len : t->longest;
    }
    t->at[s->n] = (int32_t)all.len;
    bool ok = buf_ok(&all) && buf_ok(&one);
    buf_byte(&all, 0);
    t->text = (uint8_t *)buf_take(&all);
    buf_free(&one);
    buf_free(&all);
    return ok && t->text ? 0 : -1;
}

/* By bytes, a token before those that it begins, and equal ones by their ids, so that the order is the same every
 * time. */
static int compare(const void *x, const void *y, void *arg)
{
    const struct tokens *t = arg;
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    int na = t->at[a + 1] - t->at[a], nb = t->at[b + 1] - t->at[b];
    int c = memcmp(t->text + t->at[a], t->text + t->at[b], (size_t)(na < nb ? na : nb));
    c = c ? c : na - nb;
    return c ? c : (a > b) - (a < b);
}

/* Every byte of a token that the token before it does not have at the same place is a node. */
static void grow_tree(struct tokens *t, const int32_t *order, int n)
{
    int32_t open[TOKENS_LONGEST + 2];          /* the nodes from the root to the last one */
    int depth = 0;
    open[0] = 0;
    t->node[0] = (struct trie_node){ .token = -1 };
    t->n_nodes = 1;
    const uint8_t *last = NULL;
    for (int i = 0; i < n; i++) {
        const uint8_t *text = t->text + t->at[order[i]];
        int len = t->at[order[i] + 1] - t->at[order[i]], common = 0;
        while (last && common < depth && common < len && text[common] == last[common])
            common++;
        for (; depth > common; depth--)
            t->node[open[depth]].end = t->n_nodes;
        for (; depth < len; depth++) {
            open[depth + 1] = t->n_nodes;
            t->node[t->n_nodes++] = (struct trie_node){ .byte = text[depth], .token = -1 };
        }
        t->same[order[i]] = t->node[open[depth]].token;
        t->node[open[depth]].token = order[i];
        last = text;
    }
    for (; depth >= 0; depth--)
        t->node[open[depth]].end = t->n_nodes;
}

/* Reads the bytes of all tokens, sorts them, and grows the tree from neighbours. A node is needed at most for every
 * byte, so the array is made that large and cut down afterwards. Tokens without bytes are not in the tree: they are
 * never allowed. NULL with `e`: memory is out. */
struct tokens *tokens_new(const struct token_source *source, struct err *e)
{
    struct tokens *t = calloc(1, sizeof *t);
    int32_t *order = malloc(((size_t)source->n + 1) * sizeof *order);
    bool ok = t && order;
    if (ok) {
        t->n = source->n;
        t->known = known_new();
        t->at = malloc(((size_t)t->n + 1) * sizeof *t->at);
        t->same = malloc(((size_t)t->n + 1) * sizeof *t->same);
        ok = t->at && t->same && t->known && read_all(t, source) == 0;
    }
    if (ok) {
        int n = 0;
        for (int id = 0; id < t->n; id++)
            if (t->at[id + 1] > t->at[id])
                order[n++] = id;
        qsort_r(order, (size_t)n, sizeof *order, compare, t);
        t->node = malloc(((size_t)t->at[t->n] + 1) * sizeof *t->node);
        if ((ok = t->node != NULL)) {
            grow_tree(t, order, n);
            struct trie_node *less = realloc(t->node, (size_t)t->n_nodes * sizeof *t->node);
            t->node = less ? less : t->node;
        }
    }
    free(order);
    if (!ok) {
        tokens_free(t);
        err_memory(e);
        return NULL;
    }
    return t;
}
