/* grammar/language.c - languages as automata over code points: intersection, complement, lengths, and the questions
 * that schemas ask of them. See language.h. */
#include "grammar/language.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* What is put together here may have dead ends: made once more as an automaton of which every state leads somewhere.
 * Takes raw. */
static struct dfa *trimmed(struct build *b, struct dfa *raw)
{
    struct nfa a = { .b = b };
    struct dfa *out = NULL;
    for (size_t i = 0; raw && i < raw->n; i++)
        nfa_state(&a);
    int32_t accept = nfa_state(&a);
    for (size_t i = 0; raw && i < raw->n && !b->failed; i++) {
        const struct dfa_state *s = &raw->state[i];
        for (int32_t e = s->edge; e < s->edge + s->n_edges; e++)
            nfa_symbol(&a, (int32_t)i, raw->edge[e].to, raw->edge[e].lo, raw->edge[e].hi);
        if (s->accept)
            nfa_free_edge(&a, (int32_t)i, accept);
    }
    if (raw && !b->failed)
        out = dfa_make(&a, 0, accept, -1);
    nfa_free(&a);
    dfa_free(raw);
    return out;
}

static struct dfa *raw_new(struct build *b)
{
    struct dfa *d = b->failed ? NULL : dfa_new();
    if (!d)
        build_starve(b);
    return d;
}

/* Every text: one state that leads to itself by every code point. */
struct dfa *language_all(struct build *b)
{
    struct dfa *d = raw_new(b);
    if (!d || dfa_add_state(b, d) < 0) {
        dfa_free(d);
        return NULL;
    }
    d->state[0].accept = true;
    dfa_add_edge(b, d, 0, 0x10FFFF, 0);
    return d;
}

/* ---- products: states are pairs, numbered as they are met ---- */

struct pairs {
    uint64_t *pair;            /* owned, (n): of state i                         */
    size_t n, cap;
    int32_t *slot;             /* owned, (n_slots): a state + 1, by hash; 0: empty */
    size_t n_slots;
};

static void pairs_free(struct pairs *p)
{
    free(p->pair);
    free(p->slot);
}

/* The slot of a pair of states, or the free one where it would go. */
static size_t place_of(const struct pairs *p, uint64_t pair)
{
    size_t k = (pair * 0x9E3779B97F4A7C15ull >> 20) & (p->n_slots - 1);
    while (p->slot[k] && p->pair[p->slot[k] - 1] != pair)
        k = (k + 1) & (p->n_slots - 1);
    return k;
}

/* The number of a pair of states, which is a new one when the pair is met for the first time. -1: the builder has
 * failed. */
static int32_t pair_state(struct build *b, struct pairs *p, uint32_t x, uint32_t y)
{
    uint64_t pair = (uint64_t)x << 32 | y;
    if (2 * p->n >= p->n_slots) {
        size_t n = p->n_slots ? 2 * p->n_slots : 64;
        int32_t *slot = calloc(n, sizeof *slot);
        if (!slot)
            return build_starve(b) - 1;
        free(p->slot);
        p->slot = slot;
        p->n_slots = n;
        for (size_t i = 0; i < p->n; i++)
            slot[place_of(p, p->pair[i])] = (int32_t)i + 1;
    }
    size_t k = place_of(p, pair);
    if (p->slot[k])
        return p->slot[k] - 1;
    if (!build_spend(b, 1))
        return -1;
    if (grow(&p->pair, &p->cap, p->n + 1, sizeof *p->pair) < 0)
        return build_starve(b) - 1;
    p->pair[p->n] = pair;
    p->slot[k] = (int32_t)++p->n;
    return (int32_t)p->n - 1;
}

/* The texts that both automata accept: a state stands for a pair of states, and pairs are numbered as they are found.
 * The edges of a state are disjoint and in order, so one pass over both lists finds all overlaps. States that lead
 * nowhere are removed at the end. NULL: one of the two is NULL, or the builder has failed. */
struct dfa *language_both(struct build *b, const struct dfa *x, const struct dfa *y)
{
    struct pairs pairs = { 0 };
    struct dfa *d = x && y ? raw_new(b) : NULL;
    if (d)
        pair_state(b, &pairs, 0, 0);
    for (size_t i = 0; d && i < pairs.n && !b->failed; i++) {
        const struct dfa_state *s = &x->state[pairs.pair[i] >> 32], *t = &y->state[pairs.pair[i] & UINT32_MAX];
        if (dfa_add_state(b, d) < 0)
            break;
        d->state[i].accept = s->accept && t->accept;
        for (int32_t e = 0, f = 0; e < s->n_edges && f < t->n_edges && !b->failed;) {
            const struct dfa_edge *u = &x->edge[s->edge + e], *v = &y->edge[t->edge + f];
            uint32_t lo = u->lo > v->lo ? u->lo : v->lo, hi = u->hi < v->hi ? u->hi : v->hi;
            int32_t to = lo <= hi ? pair_state(b, &pairs, (uint32_t)u->to, (uint32_t)v->to) : -1;
            if (to >= 0)
                dfa_add_edge(b, d, lo, hi, to);
            e += u->hi == hi;
            f += v->hi == hi;
        }
        build_spend(b, (size_t)(s->n_edges + t->n_edges));
    }
    pairs_free(&pairs);
    return trimmed(b, d);
}

/* Texts of min to max characters: a state stands for a state of x and the length so far. Without a maximum lengths
 * beyond min count as one, so that the automaton stays finite. */
struct dfa *language_sized(struct build *b, const struct dfa *x, int64_t min, int64_t max)
{
    struct pairs pairs = { 0 };
    struct dfa *d = x ? raw_new(b) : NULL;
    if (d)
        pair_state(b, &pairs, 0, 0);
    for (size_t i = 0; d && i < pairs.n && !b->failed; i++) {
        const struct dfa_state *s = &x->state[pairs.pair[i] >> 32];
        int64_t n = (int64_t)(pairs.pair[i] & UINT32_MAX);
        if (dfa_add_state(b, d) < 0)
            break;
        d->state[i].accept = s->accept && n >= min;
        int64_t next = max < 0 && n == min ? n : n + 1;
        for (int32_t e = 0; (max < 0 || n < max) && e < s->n_edges && !b->failed; e++) {
            const struct dfa_edge *u = &x->edge[s->edge + e];
            int32_t to = pair_state(b, &pairs, (uint32_t)u->to, (uint32_t)next);
            if (to >= 0)
                dfa_add_edge(b, d, u->lo, u->hi, to);
        }
        build_spend(b, (size_t)s->n_edges);
    }
    pairs_free(&pairs);
    return trimmed(b, d);
}

/* One more state takes all that x does not; then ends and others change places. */
struct dfa *language_not(struct build *b, const struct dfa *x)
{
    struct dfa *d = x ? raw_new(b) : NULL;
    for (size_t i = 0; d && i < x->n && !b->failed; i++) {
        const struct dfa_state *s = &x->state[i];
        uint32_t from = 0;
        if (dfa_add_state(b, d) < 0)
            break;
        d->state[i].accept = !s->accept;
        for (int32_t e = s->edge; e < s->edge + s->n_edges; e++) {
            if (x->edge[e].lo > from)
                dfa_add_edge(b, d, from, x->edge[e].lo - 1, (int32_t)x->n);
            dfa_add_edge(b, d, x->edge[e].lo, x->edge[e].hi, x->edge[e].to);
            from = x->edge[e].hi + 1;
        }
        if (from <= 0x10FFFF)
            dfa_add_edge(b, d, from, 0x10FFFF, (int32_t)x->n);
        build_spend(b, (size_t)s->n_edges);
    }
    if (d && !b->failed && dfa_add_state(b, d) >= 0) {
        d->state[x->n].accept = true;
        dfa_add_edge(b, d, 0, 0x10FFFF, (int32_t)x->n);
    }
    return trimmed(b, d);
}

/* The state that a symbol leads to; -1: none. Edges are few, so they are tried one by one. */
static int32_t follow(const struct dfa *x, int32_t state, uint32_t symbol)
{
    const struct dfa_state *s = &x->state[state];
    for (int32_t e = s->edge; e < s->edge + s->n_edges; e++)
        if (x->edge[e].lo <= symbol && symbol <= x->edge[e].hi)
            return x->edge[e].to;
    return -1;
}

/* Of a language with marks for the beginning and the end of the text, what may stand between the two. State 0 of the
 * result is a copy of the state behind the first mark, and state i + 1 a copy of state i, so that edges need only 1
 * added. Edges of marks are cut off at the last code point. */
struct dfa *language_unmark(struct build *b, const struct dfa *x)
{
    struct dfa *d = x ? raw_new(b) : NULL;
    int32_t start = x ? follow(x, 0, MARK_BEGIN) : -1;
    if (!d || dfa_add_state(b, d) < 0) {
        dfa_free(d);
        return NULL;
    }
    for (int32_t i = -1; start >= 0 && i < (int32_t)x->n && !b->failed; i++) {
        int32_t from = i < 0 ? start : i;      /* state 0 is a copy of `start`, i + 1 one of i */
        if (i >= 0 && dfa_add_state(b, d) < 0)
            break;
        const struct dfa_state *s = &x->state[from];
        int32_t end = follow(x, from, MARK_END);
        d->state[d->n - 1].accept = end >= 0 && x->state[end].accept;
        for (int32_t e = s->edge; e < s->edge + s->n_edges; e++) {
            uint32_t hi = x->edge[e].hi < 0x10FFFF ? x->edge[e].hi : 0x10FFFF;
            if (x->edge[e].lo <= hi)
                dfa_add_edge(b, d, x->edge[e].lo, hi, x->edge[e].to + 1);
        }
        build_spend(b, (size_t)s->n_edges);
    }
    return trimmed(b, d);
}

bool language_empty(const struct dfa *x) { return x->n == 1 && !x->state[0].accept && x->state[0].n_edges == 0; }

/* Whether the language holds this text of UTF-8. */
bool language_has(const struct dfa *x, const char *s, size_t n)
{
    int32_t state = 0;
    for (size_t i = 0; i < n && state >= 0;) {
        int len;
        state = follow(x, state, utf8_get(s + i, n - i, &len));
        i += (size_t)len;
    }
    return state >= 0 && x->state[state].accept;
}

/* By rounds: the states that are reached by texts of one more code point. After as many rounds as there are states
 * something is only reached in a circle. */
void language_lengths(struct build *b, const struct dfa *x, int64_t *min, int64_t *max)
{
    bool *now = calloc(x->n, 1), *next = calloc(x->n, 1);
    bool any = now && next;
    *min = *max = -1;
    if (!any)
        build_starve(b);
    else
        now[0] = true;
    for (size_t length = 0; any && !b->failed; length++) {
        any = false;
        memset(next, 0, x->n);
        for (size_t i = 0; i < x->n; i++) {
            if (!now[i])
                continue;
            if (x->state[i].accept) {
                *min = *min < 0 ? (int64_t)length : *min;
                *max = (int64_t)length;
            }
            for (int32_t e = x->state[i].edge; e < x->state[i].edge + x->state[i].n_edges; e++)
                next[x->edge[e].to] = any = true;
        }
        build_spend(b, x->n);
        if (any && length >= x->n) {
            *max = -1;
            break;
        }
        bool *swap = now;
        now = next;
        next = swap;
    }
    free(now);
    free(next);
}
