/* Putting automata together, and making them deterministic: each state of a DFA is a set of states of the NFA, found
 * from the start on (the subset construction of Rabin and Scott, 1959). States from which nothing leads to acceptance
 * are left out before. Work is paid for in fuel, so that a source whose automaton would grow exponentially ends with an
 * error. */
#include "grammar/dfa.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "grammar/build.h"
#include "grammar/grammar.h"

/* ---- putting together ---- */

void nfa_free(struct nfa *a)
{
    free(a->first);
    free(a->edge);
    free(a->call);
    *a = (struct nfa){ 0 };
}

/* What a source may make of automata before they are deterministic; a state or an edge takes up to 24 bytes. */
enum { MAX_PARTS = 700000 };

/* Asked before every new state or edge: the automaton may not grow beyond MAX_PARTS, and each part costs fuel. */
static bool has_room(struct nfa *a)
{
    if (a->n + a->n_edges >= MAX_PARTS)
        build_fail(a->b, "is too large: its automata have more than %d states and edges", MAX_PARTS);
    return build_spend(a->b, 1);
}

/* States only count up: an automaton that is given up is freed as a whole. */
int32_t nfa_state(struct nfa *a)
{
    if (!has_room(a))
        return 0;
    if (grow(&a->first, &a->cap, a->n + 1, sizeof *a->first) < 0)
        return build_starve(a->b);
    a->first[a->n] = -1;
    return (int32_t)a->n++;
}

/* The edges of a state are a list with the newest first; their order means nothing until the automaton is made
 * deterministic. */
static void add_edge(struct nfa *a, int32_t from, struct nfa_edge edge)
{
    if (!has_room(a))
        return;
    if (grow(&a->edge, &a->cap_edges, a->n_edges + 1, sizeof *a->edge) < 0) {
        build_starve(a->b);
        return;
    }
    edge.next = a->first[from];
    a->edge[a->n_edges] = edge;
    a->first[from] = (int32_t)a->n_edges++;
}

void nfa_free_edge(struct nfa *a, int32_t from, int32_t to)
{
    add_edge(a, from, (struct nfa_edge){ .kind = EDGE_FREE, .to = to });
}

void nfa_symbol(struct nfa *a, int32_t from, int32_t to, uint32_t lo, uint32_t hi)
{
    add_edge(a, from, (struct nfa_edge){ .kind = EDGE_SYMBOL, .to = to, .lo = lo, .hi = hi });
}

/* The edge has no room for a call's three numbers, so it points into a list of calls. */
void nfa_call(struct nfa *a, int32_t from, int32_t to, struct call call)
{
    if (grow(&a->call, &a->cap_calls, a->n_calls + 1, sizeof call) < 0) {
        build_starve(a->b);
        return;
    }
    a->call[a->n_calls++] = call;
    add_edge(a, from, (struct nfa_edge){ .kind = EDGE_CALL, .to = to, .lo = (uint32_t)a->n_calls - 1 });
}

struct dfa *dfa_new(void) { return calloc(1, sizeof(struct dfa)); }

void dfa_free(struct dfa *d)
{
    if (!d)
        return;
    free(d->state);
    free(d->edge);
    free(d->call);
    free(d);
}

/* Edges and calls of a state lie behind one another in the automaton's arrays. So the edges of the newest state have to
 * be added before the next state is made: the new state notes where its own begin. */
int32_t dfa_add_state(struct build *b, struct dfa *d)
{
    if (!build_spend(b, 1))
        return -1;
    if (d->n == GRAMMAR_MAX_STATES) {
        build_fail(b, "is too large: its automaton has more than %d states", GRAMMAR_MAX_STATES);
        return -1;
    }
    if (grow(&d->state, &d->cap, d->n + 1, sizeof *d->state) < 0) {
        build_starve(b);
        return -1;
    }
    d->state[d->n] = (struct dfa_state){ .edge = (int32_t)d->n_edges, .call = (int32_t)d->n_calls };
    return (int32_t)d->n++;
}

/* To the newest state. An edge that goes on where the last one ended, to the same state, makes that one longer. */
void dfa_add_edge(struct build *b, struct dfa *d, uint32_t lo, uint32_t hi, int32_t to)
{
    struct dfa_state *s = &d->state[d->n - 1];
    struct dfa_edge *last = s->n_edges ? &d->edge[d->n_edges - 1] : NULL;
    if (last && last->to == to && last->hi + 1 == lo) {
        last->hi = hi;
        return;
    }
    if (grow(&d->edge, &d->cap_edges, d->n_edges + 1, sizeof *d->edge) < 0) {
        build_starve(b);
        return;
    }
    d->edge[d->n_edges++] = (struct dfa_edge){ lo, hi, to };
    s->n_edges++;
}

/* ---- the subset construction ---- */

struct subset { size_t at, n; uint64_t hash; };    /* of `members` */

struct powerset {
    struct nfa *a;             /* borrowed */
    struct build *b;           /* borrowed */
    struct dfa *d;
    int32_t accept, tick;
    uint8_t *useful;           /* owned, (a->n): something leads from here to acceptance           */
    uint32_t *mark;            /* owned, (a->n): the last closure that has seen this state         */
    uint32_t turn;
    struct subset *subset;     /* owned: state i of the DFA is subset i                            */
    size_t n_subsets, cap_subsets;
    int32_t *members;          /* owned: all subsets, each in order                                */
    size_t n_members, cap_members;
    int32_t *slot;             /* owned, (n_slots) index of a subset + 1, by hash; 0: empty        */
    size_t n_slots;
    int32_t *set;              /* owned, (a->n): the closure that is being made                    */
    size_t n_set;
    int32_t *work;             /* owned, (a->n) */
    struct nfa_edge *leave;    /* owned: edges with a symbol that leave the current subset, by lo  */
    size_t n_leave, cap_leave;
    struct nfa_edge *calls;    /* owned: likewise calls                                            */
    size_t n_calls, cap_calls;
    uint32_t *cut;             /* owned: where ranges begin                                        */
    size_t n_cuts, cap_cuts;
    int32_t *active;           /* owned: indices into `leave`                                      */
    size_t cap_active;
};

/* Marks what leads to acceptance, backwards: a list of the edges by their ends, then a search. */
static int find_useful(struct powerset *m)
{
    struct nfa *a = m->a;
    int32_t *begin = calloc(a->n + 2, sizeof *begin), *from = malloc((a->n_edges + 1) * sizeof *from);
    if (!begin || !from || !build_spend(m->b, a->n + a->n_edges)) {
        free(begin);
        free(from);
        return -1;
    }
    for (size_t s = 0; s < a->n; s++)
        for (int32_t e = a->first[s]; e >= 0; e = a->edge[e].next)
            begin[a->edge[e].to + 1]++;
    for (size_t s = 0; s < a->n; s++)
        begin[s + 1] += begin[s];
    for (size_t s = 0; s < a->n; s++)
        for (int32_t e = a->first[s]; e >= 0; e = a->edge[e].next)
            from[begin[a->edge[e].to]++] = (int32_t)s;      /* now begin[s] is where the list of s ends */
    size_t n = 0;
    m->useful[m->accept] = 1;
    m->work[n++] = m->accept;
    while (n) {
        int32_t s = m->work[--n];
        for (int32_t i = s ? begin[s - 1] : 0; i < begin[s]; i++)
            if (!m->useful[from[i]]) {
                m->useful[from[i]] = 1;
                m->work[n++] = from[i];
            }
    }
    free(begin);
    free(from);
    return 0;
}

static void closure_begin(struct powerset *m)
{
    m->turn++;
    m->n_set = 0;
}

/* Adds s, and what is reached from it by nothing. Only states that matter are kept: those with edges of other kinds,
 * the accepting one and the ticking one. */
static void closure_add(struct powerset *m, int32_t s)
{
    const struct nfa *a = m->a;
    size_t n = 0;
    if (m->mark[s] == m->turn || !m->useful[s])
        return;
    m->mark[s] = m->turn;
    m->work[n++] = s;
    while (n) {
        s = m->work[--n];
        bool matters = s == m->accept || s == m->tick;
        for (int32_t e = a->first[s]; e >= 0; e = a->edge[e].next) {
            int32_t to = a->edge[e].to;
            m->b->fuel--;
            if (a->edge[e].kind != EDGE_FREE) {
                matters = true;
            } else if (m->mark[to] != m->turn && m->useful[to]) {
                m->mark[to] = m->turn;
                m->work[n++] = to;
            }
        }
        if (matters)
            m->set[m->n_set++] = s;
    }
}

static int by_number(const void *x, const void *y)
{
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    return (a > b) - (a < b);
}

/* Doubles the hash table of subsets, whose slots hold the index of a subset plus one and 0 where they are empty. The
 * size stays a power of two, which the masks rely on. -1: memory is out, and the old table is still there. */
static int rehash(struct powerset *m)
{
    size_t n = m->n_slots ? 2 * m->n_slots : 256;
    int32_t *slot = calloc(n, sizeof *slot);
    if (!slot)
        return -1;
    for (size_t i = 0; i < m->n_subsets; i++) {
        size_t k = m->subset[i].hash & (n - 1);
        while (slot[k])
            k = (k + 1) & (n - 1);
        slot[k] = (int32_t)i + 1;
    }
    free(m->slot);
    m->slot = slot;
    m->n_slots = n;
    return 0;
}

/* The number of the subset that was collected; a new one has no state of the DFA yet. -1: failed. */
static int32_t closure_end(struct powerset *m)
{
    size_t bytes = m->n_set * sizeof *m->set;
    if (!build_spend(m->b, 4 * m->n_set + 8))
        return -1;
    if (m->n_set > 1)
        qsort(m->set, m->n_set, sizeof *m->set, by_number);
    uint64_t hash = hash_bytes(m->set, bytes).lo;
    if (2 * m->n_subsets >= m->n_slots && rehash(m) < 0)
        return build_starve(m->b) - 1;
    size_t k = hash & (m->n_slots - 1);
    for (; m->slot[k]; k = (k + 1) & (m->n_slots - 1)) {
        const struct subset *s = &m->subset[m->slot[k] - 1];
        if (s->hash == hash && s->n == m->n_set && memcmp(m->members + s->at, m->set, bytes) == 0)
            return m->slot[k] - 1;
    }
    if (grow(&m->members, &m->cap_members, m->n_members + m->n_set, sizeof *m->members) < 0 ||
        grow(&m->subset, &m->cap_subsets, m->n_subsets + 1, sizeof *m->subset) < 0)
        return build_starve(m->b) - 1;
    if (bytes)
        memcpy(m->members + m->n_members, m->set, bytes);
    m->subset[m->n_subsets] = (struct subset){ m->n_members, m->n_set, hash };
    m->n_members += m->n_set;
    m->slot[k] = (int32_t)++m->n_subsets;
    return m->slot[k] - 1;
}

static int by_range(const void *x, const void *y)
{
    const struct nfa_edge *a = x, *b = y;
    return (a->lo > b->lo) - (a->lo < b->lo);
}

static int by_symbol(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return (a > b) - (a < b);
}

/* The edges that leave subset i, symbols and calls apart; a call's lo and hi are not used any more. */
static int collect(struct powerset *m, struct subset s)
{
    const struct nfa *a = m->a;
    m->n_leave = m->n_calls = m->n_cuts = 0;
    for (size_t k = 0; k < s.n; k++)
        for (int32_t e = a->first[m->members[s.at + k]]; e >= 0; e = a->edge[e].next) {
            const struct nfa_edge *edge = &a->edge[e];
            if (edge->kind == EDGE_FREE || !m->useful[edge->to])
                continue;
            bool symbol = edge->kind == EDGE_SYMBOL;
            if ((symbol && (grow(&m->leave, &m->cap_leave, m->n_leave + 1, sizeof *edge) < 0 ||
                            grow(&m->cut, &m->cap_cuts, m->n_cuts + 2, sizeof *m->cut) < 0)) ||
                (!symbol && grow(&m->calls, &m->cap_calls, m->n_calls + 1, sizeof *edge) < 0))
                return -1;
            if (symbol) {
                m->leave[m->n_leave++] = *edge;
                m->cut[m->n_cuts++] = edge->lo;
                m->cut[m->n_cuts++] = edge->hi + 1;
            } else
                m->calls[m->n_calls++] = *edge;
        }
    if (grow(&m->active, &m->cap_active, m->n_leave + 1, sizeof *m->active) < 0)
        return -1;
    if (m->n_leave > 1)
        qsort(m->leave, m->n_leave, sizeof *m->leave, by_range);
    if (m->n_cuts)
        qsort(m->cut, m->n_cuts, sizeof *m->cut, by_symbol);
    return build_spend(m->b, 4 * (m->n_leave + m->n_calls)) ? 0 : -1;
}

/* The edges of the newest state: between two cuts the same edges of the NFA are there for every symbol. */
static void make_edges(struct powerset *m)
{
    size_t next = 0, n_active = 0;
    for (size_t i = 0; i + 1 < m->n_cuts && !m->b->failed; i++) {
        uint32_t lo = m->cut[i], hi = m->cut[i + 1] - 1;
        if (lo == m->cut[i + 1])
            continue;
        size_t kept = 0;
        for (size_t k = 0; k < n_active; k++)
            if (m->leave[m->active[k]].hi >= lo)
                m->active[kept++] = m->active[k];
        n_active = kept;
        for (; next < m->n_leave && m->leave[next].lo == lo; next++)
            m->active[n_active++] = (int32_t)next;
        if (n_active == 0 || !build_spend(m->b, n_active))
            continue;
        closure_begin(m);
        for (size_t k = 0; k < n_active; k++)
            closure_add(m, m->leave[m->active[k]].to);
        int32_t to = closure_end(m);
        if (to >= 0)
            dfa_add_edge(m->b, m->d, lo, hi, to);
    }
}

static bool same_call(struct call a, struct call b) { return a.rule == b.rule && a.min == b.min && a.max == b.max; }

/* Equal calls that leave the subset become one, to the set of all their ends. */
static void make_calls(struct powerset *m)
{
    for (size_t i = 0; i < m->n_calls && !m->b->failed; i++) {
        if (m->calls[i].to < 0)
            continue;
        struct call call = m->a->call[m->calls[i].lo];
        closure_begin(m);
        for (size_t k = i; k < m->n_calls; k++)
            if (m->calls[k].to >= 0 && same_call(call, m->a->call[m->calls[k].lo])) {
                closure_add(m, m->calls[k].to);
                m->calls[k].to = -1;
            }
        int32_t to = build_spend(m->b, m->n_calls) ? closure_end(m) : -1;
        struct dfa *d = m->d;
        if (to < 0 || grow(&d->call, &d->cap_calls, d->n_calls + 1, sizeof *d->call) < 0) {
            build_starve(m->b);
            return;
        }
        d->call[d->n_calls++] = (struct dfa_call){ call, to };
        d->state[d->n - 1].n_calls++;
    }
}

/* One state of the deterministic automaton from a set of states of the other. It accepts if one of them does. Its edges
 * are what leaves any of them, cut at every place where one begins or ends. */
static void make_state(struct powerset *m, struct subset s)
{
    if (dfa_add_state(m->b, m->d) < 0)
        return;
    struct dfa_state *state = &m->d->state[m->d->n - 1];
    for (size_t k = 0; k < s.n; k++) {
        state->accept |= m->members[s.at + k] == m->accept;
        state->tick |= m->members[s.at + k] == m->tick;
    }
    if (collect(m, s) < 0)
        build_starve(m->b);
    make_edges(m);
    make_calls(m);
}

/* The sets of states are numbered as they are found, and the loop runs over the list while it grows: when it ends,
 * every set that can be reached has become a state. What the maker used for this is freed in any case. */
struct dfa *dfa_make(struct nfa *a, int32_t start, int32_t accept, int32_t tick)
{
    struct powerset m = { .a = a, .b = a->b, .accept = accept, .tick = tick };
    if (a->b->failed)
        return NULL;
    m.d = dfa_new();
    m.useful = calloc(a->n, 1);
    m.mark = calloc(a->n, sizeof *m.mark);
    m.set = malloc(a->n * sizeof *m.set);
    m.work = malloc(a->n * sizeof *m.work);
    if (!m.d || !m.useful || !m.mark || !m.set || !m.work || find_useful(&m) < 0)
        build_starve(m.b);
    if (!m.b->failed) {
        closure_begin(&m);
        closure_add(&m, start);
        closure_end(&m);
    }
    for (size_t i = 0; i < m.n_subsets && !m.b->failed; i++)
        make_state(&m, m.subset[i]);
    if (m.b->failed) {
        dfa_free(m.d);
        m.d = NULL;
    }
    void *owned[] = { m.useful, m.mark, m.subset, m.members, m.slot, m.set, m.work, m.leave, m.calls, m.cut, m.active };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    return m.d;
}
