/* grammar/finder.c - see finder.h. */
#include "grammar/finder.h"

#include <stdlib.h>
#include <string.h>

void finder_free(struct finder *f)
{
    free(f->next);
    free(f->fail);
    free(f->queue);
    free(f->ends);
}

/* A node of the trie from which nothing leads yet. There is room, since finder_make() has counted the bytes of all
 * triggers. */
static int32_t finder_node(struct finder *f)
{
    memset(f->next[f->n], 0xFF, sizeof *f->next);
    f->ends[f->n] = -1;
    return f->n++;
}

/* Builds the trie of the triggers and then, in breadth-first order, the links of failure: where a byte does not go on
 * with a trigger, `next` leads to the longest ending of what was read that begins another one. Afterwards `next` is
 * complete, so that whoever follows it never has to go back. Where two triggers end at the same node, the first one of
 * the list counts. -1: memory is out; finder_free() is due in any case. */
int finder_make(struct finder *f, const struct build *b, const struct expr *x)
{
    size_t most = 1;
    for (int32_t i = 0; i < x->n; i++)
        most += (size_t)b->expr[b->kid[x->at + i]].n;
    *f = (struct finder){ .next = malloc(most * sizeof *f->next), .fail = calloc(most, sizeof *f->fail),
                          .queue = malloc(most * sizeof *f->queue), .ends = malloc(most * sizeof *f->ends) };
    if (!f->next || !f->fail || !f->queue || !f->ends)
        return -1;
    finder_node(f);
    for (int32_t i = 0; i < x->n; i++) {
        struct expr t = b->expr[b->kid[x->at + i]];
        int32_t s = 0;
        for (int32_t k = 0; k < t.n; k++) {
            int32_t *to = &f->next[s][(uint8_t)b->text[t.at + k]];
            s = *to = *to < 0 ? finder_node(f) : *to;
        }
        f->ends[s] = f->ends[s] < 0 ? i : f->ends[s];
    }
    int32_t head = 0, tail = 0;
    f->queue[tail++] = 0;
    while (head < tail) {
        int32_t s = f->queue[head++];
        if (f->ends[s] < 0)
            f->ends[s] = f->ends[f->fail[s]];
        for (int c = 0; c < 256; c++) {
            int32_t to = f->next[s][c], other = s ? f->next[f->fail[s]][c] : 0;
            if (to < 0) {
                f->next[s][c] = other;
                continue;
            }
            f->fail[to] = other;
            f->queue[tail++] = to;
        }
    }
    return 0;
}
