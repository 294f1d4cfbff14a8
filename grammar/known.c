/* Walking the tree of tokens with a single automaton, and a hash table of what came out. */
#include "grammar/known.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BUCKETS = 4096, FEW = 600 };

struct known {
    struct known_place *bucket[BUCKETS];       /* each owned */
    size_t bytes;
};

/* For all that is kept; beyond, everything is forgotten and made anew. */
static size_t known_most(int vocab) { return (1 << 20) + (size_t)vocab * 256; }

/* The tree has some six nodes of twelve bytes for a token of a large vocabulary. */
size_t tokens_bytes(int vocab) { return known_most(vocab) + sizeof(struct known) + (size_t)vocab * 100; }

struct known *known_new(void) { return calloc(1, sizeof(struct known)); }

static void free_place(struct known_place *p)
{
    free(p->id);
    free(p->bits);
    free(p->exit);
    free(p);
}

/* Everything goes at once when there is too much: what is needed again is made again, and nothing has to be kept in the
 * order of its use. */
static void forget_all(struct known *k)
{
    for (int i = 0; i < BUCKETS; i++)
        while (k->bucket[i]) {
            struct known_place *p = k->bucket[i];
            k->bucket[i] = p->next;
            free_place(p);
        }
    k->bytes = 0;
}

void known_free(struct known *k)
{
    if (!k)
        return;
    forget_all(k);
    free(k);
}

void tokens_allow(const struct tokens *t, int32_t token, uint32_t *mask)
{
    for (; token >= 0; token = t->same[token])
        mask[token / 32] |= 1u << token % 32;
}

struct walk {
    const struct tokens *t;
    const struct grammar *g;
    int32_t first;             /* the rule's first place                    */
    int32_t need, room;        /* ticks that there must be yet, and may be: */
    struct known_place *out;
    size_t cap_ids, cap_exits;
    bool failed;
};

/* What reaching `node` of the tree in `place` means. All tokens that end at this node are allowed. If the rule could
 * return here or call another one, the node becomes an exit, because its children depend on the context; a node without
 * children needs no exit. ticks: of this walk. */
static void note(struct walk *w, int32_t node, int32_t place, int32_t ticks)
{
    struct known_place *o = w->out;
    const struct trie_node *n = &w->t->node[node];
    const struct place *p = &w->g->place[place];
    for (int32_t id = n->token; id >= 0; id = w->t->same[id]) {
        if (grow(&o->id, &w->cap_ids, (size_t)o->n_ids + 1, sizeof *o->id) < 0)
            w->failed = true;
        else
            o->id[o->n_ids++] = id;
    }
    if (n->end == node + 1 || !((p->accept && ticks >= w->need) || p->n_jumps))
        return;
    if (grow(&o->exit, &w->cap_exits, (size_t)o->n_exits + 1, sizeof *o->exit) < 0)
        w->failed = true;
    else
        o->exit[o->n_exits++] = (struct known_exit){ node, place - w->first };
}

/* The children of a node and the steps of a place are both in the order of their bytes. */
static void walk(struct walk *w, int32_t node, int32_t place, int32_t ticks)
{
    const struct trie_node *n = w->t->node;
    const struct place *p = &w->g->place[place];
    const struct step *s = w->g->step + p->step, *end = s + p->n_steps;
    for (int32_t child = node + 1; child < n[node].end && !w->failed; child = n[child].end) {
        w->out->work++;
        while (s < end && s->hi < n[child].byte)
            s++;
        if (s == end)
            return;
        const struct place *to = &w->g->place[s->to];
        if (s->lo > n[child].byte || (to->late && ticks < w->need) || (!to->late && ticks == w->room))
            continue;
        note(w, child, s->to, ticks + to->tick);
        if (n[child].end > child + 1)
            walk(w, child, s->to, ticks + to->tick);
    }
}

/* By place and then by node, so that exits of one place lie together and in the order of the tree. */
static int by_place(const void *x, const void *y)
{
    const struct known_exit *a = x, *b = y;
    if (a->place != b->place)
        return (a->place > b->place) - (a->place < b->place);
    return (a->node > b->node) - (a->node < b->node);
}

/* Brings what was found into its final form: many tokens are kept as a mask, few as a list, and exits are sorted by
 * place, as the walks through them go. -1: memory is out. */
static int pack(struct walk *w)
{
    struct known_place *o = w->out;
    size_t words = tokens_mask_words(w->t->n);
    if (o->n_exits > 1)
        qsort(o->exit, (size_t)o->n_exits, sizeof *o->exit, by_place);
    if (o->n_ids <= FEW)
        return 0;
    o->bits = calloc(words, sizeof *o->bits);
    for (int32_t i = 0; o->bits && i < o->n_ids; i++)
        o->bits[o->id[i] / 32] |= 1u << o->id[i] % 32;
    free(o->id);
    o->id = NULL;
    o->n_ids = 0;
    return o->bits ? 0 : -1;
}

/* Walks the whole tree from one place and keeps what came out under `key`. `need` and `room`: how many ticks of a rule
 * that counts have yet to come, and how many more there may be. NULL: memory is out, and nothing is kept. */
static struct known_place *make(struct tokens *t, const struct grammar *g, int32_t place, int32_t need, int32_t room,
                                struct hash key)
{
    struct walk w = { .t = t, .g = g, .first = g->part[g->place[place].rule].start, .need = need, .room = room };
    w.out = calloc(1, sizeof *w.out);
    if (!w.out)
        return NULL;
    w.out->key = key;
    walk(&w, 0, place, 0);
    if (w.failed || pack(&w) < 0) {
        free_place(w.out);
        return NULL;
    }
    return w.out;
}

/* A token has at most t->longest ticks: bounds beyond that make no difference to what is known. */
const struct known_place *known_of(struct tokens *t, const struct grammar *g, int32_t place, int32_t ticks,
                                   int64_t *work)
{
    struct known *k = t->known;
    const struct part *part = &g->part[g->place[place].rule];
    int32_t need = part->min > ticks ? part->min - ticks : 0, room = part->max - ticks, beyond = t->longest + 1;
    int32_t which[3] = { place - part->start, need < beyond ? need : beyond, room < beyond ? room : beyond };
    struct hash key = hash_chain(part->print, which, sizeof which);
    struct known_place **bucket = &k->bucket[key.lo % BUCKETS];
    for (struct known_place *p = *bucket; p; p = p->next)
        if (hash_equal(p->key, key))
            return p;
    if (k->bytes > known_most(t->n))
        forget_all(k);
    struct known_place *p = make(t, g, place, which[1], which[2], key);
    if (!p)
        return NULL;
    p->next = *bucket;
    *bucket = p;
    k->bytes += sizeof *p + (p->id ? (size_t)p->n_ids * sizeof *p->id : 0) +
                (p->bits ? 4 * tokens_mask_words(t->n) : 0) + (size_t)p->n_exits * sizeof *p->exit;
    *work += p->work;
    return p;
}
