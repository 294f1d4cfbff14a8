/* From the automata of rules to a program. The order of the work:
 *   1. Which rules accept the empty text: whoever calls one may pass it by, and it need not accept that any more.
 *   2. A rule whose last step is to call itself begins anew instead.
 *   3. Rules that call themselves before anything else (left recursion, also through others) are rewritten: what
 *      followed the call may follow the whole rule, as often as one likes (Paull's algorithm, on automata).
 *   4. Calls of rules that accept nothing are dropped, and every rule is made deterministic.
 *   5. Heights: how many rules within one another it takes at least to get to an end. */
#include "grammar/program.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "grammar/fragment.h"
#include "grammar/grammar.h"

struct maker {
    struct assembly m;
    struct build *b;           /* borrowed */
    struct grammar *g;         /* owned until it is finished */
    int32_t *mark;             /* owned, (n_marks): of states */
    size_t n_marks;
    int32_t turn;
    int32_t *work;             /* owned, likewise */
    bool *alive;               /* owned, (m.n_fragments): the rule accepts something */
};

/* Prepares for a search through the states, of which new ones may have come up since the last. Marks hold the number of
 * the search that set them, so that they need not be cleared. -1: memory is out. */
static int begin_search(struct maker *k)
{
    if (k->n_marks < k->m.nfa.n) {
        size_t n = 2 * k->m.nfa.n;
        int32_t *mark = calloc(n, sizeof *mark), *work = malloc(n * sizeof *work);
        free(k->mark);
        free(k->work);
        k->mark = mark;
        k->work = work;
        k->n_marks = n;
        k->turn = 0;
        if (!mark || !work) {
            k->n_marks = 0;
            build_starve(k->b);
            return -1;
        }
    }
    k->turn++;
    return 0;
}

/* How far a search goes: over free edges, over calls that may be passed by, over everything that can be done. */
enum reach { REACH_FREE, REACH_EMPTY, REACH_ALL };

/* Whether an edge counts as a way under `reach`: without a byte and without a call (REACH_FREE), also through rules
 * that may be empty, or through everything that leads to some text (REACH_ALL). */
static bool passes(const struct maker *k, const struct nfa_edge *e, enum reach reach)
{
    if (e->kind == EDGE_FREE)
        return true;
    if (reach == REACH_FREE)
        return false;
    if (e->kind == EDGE_SYMBOL)
        return reach == REACH_ALL;
    const struct call *c = &k->m.nfa.call[e->lo];
    return reach == REACH_ALL ? k->alive[c->rule] || c->min == 0 : k->m.fragment[c->rule].nullable || c->min == 0;
}

/* Marks what is reached from `start`, and lists it in k->work; returns how many, or 0 if there is no fuel. */
static size_t search(struct maker *k, int32_t start, enum reach reach)
{
    const struct nfa *a = &k->m.nfa;
    size_t n = 0;
    if (begin_search(k) < 0)
        return 0;
    k->mark[start] = k->turn;
    k->work[n++] = start;
    for (size_t i = 0; i < n; i++)
        for (int32_t e = a->first[k->work[i]]; e >= 0; e = a->edge[e].next) {
            k->b->fuel--;
            if (!passes(k, &a->edge[e], reach) || k->mark[a->edge[e].to] == k->turn)
                continue;
            k->mark[a->edge[e].to] = k->turn;
            k->work[n++] = a->edge[e].to;
        }
    return build_spend(k->b, n) ? n : 0;
}

static bool reaches(struct maker *k, const struct fragment *f, enum reach reach)
{
    return search(k, f->start, reach) && k->mark[f->accept] == k->turn;
}

/* What holds of a rule may follow from what holds of others: asked until nothing changes. */
static void find_nullable(struct maker *k)
{
    for (bool changed = true; changed && !k->b->failed;) {
        changed = false;
        for (size_t i = 0; i < k->m.n_fragments; i++) {
            struct fragment *f = &k->m.fragment[i];
            if (!f->nullable && !f->counts && reaches(k, f, REACH_EMPTY))
                f->nullable = changed = true;
        }
    }
}

/* A rule is alive if some text leads through it. Rules are tried until nothing changes any more, since each may depend
 * on others. */
static void find_alive(struct maker *k)
{
    for (bool changed = true; changed && !k->b->failed;) {
        changed = false;
        for (size_t i = 0; i < k->m.n_fragments; i++)
            if (!k->alive[i] && reaches(k, &k->m.fragment[i], REACH_ALL))
                k->alive[i] = changed = true;
    }
}

/* Every call of what may be empty gets a way around it; the call itself then need not be empty any more. That makes
 * step 1 of this file's list true for all rules at once. */
static void bypass_empty(struct maker *k)
{
    struct nfa *a = &k->m.nfa;
    size_t n_states = a->n;
    for (size_t s = 0; s < n_states && !k->b->failed; s++)
        for (int32_t e = a->first[s]; e >= 0; e = a->edge[e].next) {
            if (a->edge[e].kind != EDGE_CALL)
                continue;
            struct call *c = &a->call[a->edge[e].lo];
            bool empty = k->m.fragment[c->rule].nullable;
            if (empty || c->min == 0)
                nfa_free_edge(a, (int32_t)s, a->edge[e].to);
            c->min = empty || c->min == 0 ? 1 : c->min;
        }
}

static bool is_once(const struct call *c) { return c->min == 1 && c->max == 1; }

/* Where the last step of rule i is to call itself, an edge back to its start does the same without a call: lists such
 * as `x ::= y x | y` then need no depth. */
static void loop_tails(struct maker *k, size_t i)
{
    struct nfa *a = &k->m.nfa;
    struct fragment *f = &k->m.fragment[i];
    size_t n = f->counts ? 0 : search(k, f->start, REACH_ALL);
    for (size_t j = 0; j < n; j++)
        for (int32_t e = a->first[k->work[j]]; e >= 0; e = a->edge[e].next) {
            struct nfa_edge *edge = &a->edge[e];
            if (edge->kind == EDGE_CALL && edge->to == f->accept && is_once(&a->call[edge->lo]) &&
                a->call[edge->lo].rule == (int32_t)i) {
                edge->kind = EDGE_FREE;
                edge->to = f->start;
            }
        }
}

/* A start into which nothing leads, and which does not accept: the edges of all that the old one reached by nothing. */
static void fresh_start(struct maker *k, size_t i)
{
    struct nfa *a = &k->m.nfa;
    if (k->m.fragment[i].counts)
        return;
    int32_t start = nfa_state(a);
    size_t n = search(k, k->m.fragment[i].start, REACH_FREE);
    for (size_t j = 0; j < n && !k->b->failed; j++)
        for (int32_t e = a->first[k->work[j]]; e >= 0; e = a->edge[e].next) {
            struct nfa_edge edge = a->edge[e];
            if (edge.kind == EDGE_SYMBOL)
                nfa_symbol(a, start, edge.to, edge.lo, edge.hi);
            else if (edge.kind == EDGE_CALL)
                nfa_call(a, start, edge.to, a->call[edge.lo]);
        }
    k->m.fragment[i].start = start;
}

/* ---- left recursion ---- */

/* Takes the first call of `rule` off the start of rule i; -1: there is none, else where it led. */
static int32_t take_left_call(struct maker *k, size_t i, int32_t rule)
{
    struct nfa *a = &k->m.nfa;
    for (int32_t *e = &a->first[k->m.fragment[i].start]; *e >= 0; e = &a->edge[*e].next) {
        const struct nfa_edge *edge = &a->edge[*e];
        if (edge->kind != EDGE_CALL || a->call[edge->lo].rule != rule)
            continue;
        if (!is_once(&a->call[edge->lo]))
            build_fail(k->b, "has a rule that begins with a counted repetition of itself");
        *e = edge->next;
        return edge->to;
    }
    return -1;
}

/* Puts a copy of rule j between the start of rule i and `to`, in the place of a call that stood there. Only states from
 * which the rule can end are copied. Costs fuel with each state, since copies of copies can grow without bound. */
static void copy_between(struct maker *k, size_t i, size_t j, int32_t to)
{
    struct nfa *a = &k->m.nfa;
    struct fragment from = k->m.fragment[j];
    size_t n = search(k, from.start, REACH_ALL);
    int32_t *state = malloc((n + 1) * sizeof *state), *copy = calloc(a->n, sizeof *copy);
    if (!state || !copy || !n) {
        build_starve(k->b);
        free(state);
        free(copy);
        return;
    }
    memcpy(state, k->work, n * sizeof *state);
    for (size_t s = 0; s < n; s++)
        copy[state[s]] = state[s] == from.start ? k->m.fragment[i].start : nfa_state(a);
    for (size_t s = 0; s < n && !k->b->failed; s++)
        for (int32_t e = a->first[state[s]]; e >= 0; e = a->edge[e].next) {
            struct nfa_edge edge = a->edge[e];
            int32_t end = copy[edge.to];
            if (!end)
                continue;                       /* behind a call of what accepts nothing */
            if (edge.kind == EDGE_FREE)
                nfa_free_edge(a, copy[state[s]], end);
            else if (edge.kind == EDGE_SYMBOL)
                nfa_symbol(a, copy[state[s]], end, edge.lo, edge.hi);
            else
                nfa_call(a, copy[state[s]], end, a->call[edge.lo]);
        }
    if (copy[from.accept])
        nfa_free_edge(a, copy[from.accept], to);
    free(state);
    free(copy);
}

/* Rules whose starts call only rules that are not of this kind are taken away until nothing changes: what stays calls
 * itself, or what does. */
static void find_left(struct maker *k, bool *left)
{
    const struct nfa *a = &k->m.nfa;
    for (size_t i = 0; i < k->m.n_fragments; i++)
        left[i] = true;
    for (bool changed = true; changed && !k->b->failed;) {
        changed = false;
        for (size_t i = 0; i < k->m.n_fragments; i++) {
            bool calls = false;
            for (int32_t e = a->first[k->m.fragment[i].start]; left[i] && e >= 0; e = a->edge[e].next) {
                k->b->fuel--;
                calls |= a->edge[e].kind == EDGE_CALL && left[a->call[a->edge[e].lo].rule];
            }
            changed |= left[i] && !calls;
            left[i] &= calls;
        }
        build_spend(k->b, k->m.n_fragments);
    }
}

/* Paull's algorithm over the rules that can call themselves before they take a byte. First the calls of earlier rules
 * of the list are replaced by copies of those rules; what then remains at the beginning of rule i are calls of itself,
 * and these become free edges from its end to what followed the call. Costs fuel, because copies can multiply. */
static void remove_left_recursion(struct maker *k)
{
    size_t n = k->m.n_fragments;
    int32_t to;
    bool *left = calloc(n, sizeof *left);
    if (!left) {
        build_starve(k->b);
        return;
    }
    find_left(k, left);
    for (size_t i = 0; i < n && !k->b->failed; i++) {
        if (!left[i])
            continue;
        for (size_t j = 0; j < i; j++)
            while (left[j] && !k->b->failed && (to = take_left_call(k, i, (int32_t)j)) >= 0)
                copy_between(k, i, j, to);
        while (!k->b->failed && (to = take_left_call(k, i, (int32_t)i)) >= 0)
            nfa_free_edge(&k->m.nfa, k->m.fragment[i].accept, to);
    }
    free(left);
}

/* ---- the program ---- */

/* Calls of rules that accept nothing lead nowhere; afterwards no state of a DFA is a dead end. */
static void drop_dead_calls(struct maker *k)
{
    struct nfa *a = &k->m.nfa;
    for (size_t s = 0; s < a->n; s++)
        for (int32_t e = a->first[s]; e >= 0; e = a->edge[e].next)
            if (a->edge[e].kind == EDGE_CALL && !k->alive[a->call[a->edge[e].lo].rule])
                a->edge[e] = (struct nfa_edge){ .kind = EDGE_FREE, .to = (int32_t)s, .next = a->edge[e].next };
}

/* What rules that are equal but for their calls have in common. */
static struct hash print_of(const struct dfa *d, const struct dfa *late, const struct fragment *f)
{
    struct hash h = hash_bytes(&f->counts, sizeof f->counts);
    for (size_t i = 0; i < d->n; i++) {
        const struct dfa_state *s = &d->state[i];
        int32_t head[4] = { s->n_edges, s->accept, s->tick | (late && late->state[i].tick ? 2 : 0), s->n_calls > 0 };
        h = hash_chain(h, head, sizeof head);
        if (s->n_edges)
            h = hash_chain(h, d->edge + s->edge, (size_t)s->n_edges * sizeof *d->edge);
    }
    return h;
}

/* Room for all parts of an automaton at once, so that append() cannot fail half-way. */
static int reserve(struct grammar *g, const struct dfa *d)
{
    return grow(&g->place, &g->cap_places, g->n_places + d->n, sizeof *g->place) < 0 ||
                   grow(&g->step, &g->cap_steps, g->n_steps + d->n_edges + 1, sizeof *g->step) < 0 ||
                   grow(&g->jump, &g->cap_jumps, g->n_jumps + d->n_calls + 1, sizeof *g->jump) < 0
               ? -1
               : 0;
}

/* Appends the automaton of rule i. `late` is the same automaton with the late states marked. */
static void append(struct maker *k, size_t i, const struct dfa *d, const struct dfa *late)
{
    struct grammar *g = k->g;
    const struct fragment *f = &k->m.fragment[i];
    int32_t base = (int32_t)g->n_places;
    if (g->n_places + d->n > GRAMMAR_MAX_STATES) {
        build_fail(k->b, "is too large: its automata have more than %d states", GRAMMAR_MAX_STATES);
        return;
    }
    if (reserve(g, d) < 0 || !build_spend(k->b, d->n + d->n_edges)) {
        build_starve(k->b);
        return;
    }
    g->part[i] = (struct part){ .start = base, .n = (int32_t)d->n, .min = f->counts ? f->min : 0,
                                .max = f->counts ? f->max : NO_MAX, .counts = f->counts,
                                .print = print_of(d, late, f) };
    for (size_t s = 0; s < d->n; s++) {
        const struct dfa_state *from = &d->state[s];
        g->place[g->n_places++] = (struct place){
            .step = (int32_t)g->n_steps, .n_steps = (uint16_t)from->n_edges, .jump = (int32_t)g->n_jumps,
            .n_jumps = from->n_calls, .rule = (int32_t)i, .accept = from->accept, .tick = from->tick,
            .late = late && late->state[s].tick, .height = HEIGHT_MAX };
        for (int32_t e = 0; e < from->n_edges; e++) {
            const struct dfa_edge *edge = &d->edge[from->edge + e];
            g->step[g->n_steps++] = (struct step){ (uint8_t)edge->lo, (uint8_t)edge->hi, base + edge->to };
        }
        for (int32_t c = 0; c < from->n_calls; c++) {
            const struct dfa_call *call = &d->call[from->call + c];
            const struct dfa_state *to = &d->state[call->to];
            bool last = to->accept && !to->n_edges && !to->n_calls;
            g->jump[g->n_jumps++] = (struct jump){ call->call.rule, call->call.min, call->call.max, base + call->to,
                                                   last && is_once(&call->call) };
        }
    }
}

/* Makes the automaton of every fragment deterministic and appends it to the grammar. That of a rule that counts and has
 * a tail is made twice, because dfa_make() marks the states of one kind: first those that tick, then those that may
 * only be entered after enough ticks. */
static void make_rules(struct maker *k)
{
    struct grammar *g = k->g;
    if (grow(&g->part, &g->cap_parts, k->m.n_fragments, sizeof *g->part) < 0)
        build_starve(k->b);
    for (size_t i = 0; i < k->m.n_fragments && !k->b->failed; i++) {
        const struct fragment *f = &k->m.fragment[i];
        struct dfa *d = dfa_make(&k->m.nfa, f->start, f->accept, f->tick), *late = NULL;
        if (f->late >= 0)
            late = dfa_make(&k->m.nfa, f->start, f->accept, f->late);
        if (!k->b->failed)
            append(k, i, d, late);
        dfa_free(d);
        dfa_free(late);
    }
    g->n_parts = k->m.n_fragments;
}

/* The least height that the steps and calls of a place allow, as far as those of others are known. */
static uint32_t height_of(const struct grammar *g, const struct place *p)
{
    uint32_t least = p->accept ? 0 : HEIGHT_MAX;
    for (int i = 0; i < p->n_steps; i++) {
        uint32_t h = g->place[g->step[p->step + i].to].height;
        least = h < least ? h : least;
    }
    for (int i = 0; i < p->n_jumps; i++) {
        const struct jump *j = &g->jump[p->jump + i];
        uint32_t in = g->place[g->part[j->rule].start].height + !j->tail, after = g->place[j->to].height;
        uint32_t h = in > after ? in : after;
        least = h < least ? h : least;
    }
    return least;
}

/* Places are gone through backwards, since most steps lead forwards: a few rounds suffice but in hostile grammars. */
static void find_heights(struct maker *k)
{
    struct grammar *g = k->g;
    for (bool changed = true; changed && !k->b->failed;) {
        changed = false;
        for (size_t i = g->n_places; i-- > 0;) {
            uint32_t h = height_of(g, &g->place[i]);
            changed |= h < g->place[i].height;
            g->place[i].height = (uint16_t)h;
        }
        build_spend(k->b, g->n_places + g->n_steps + g->n_jumps);
    }
    for (size_t i = 0; i < g->n_places; i++)
        g->tallest = g->place[i].height > g->tallest ? g->place[i].height : g->tallest;
    bool only_empty = g->empty && g->place[g->part[0].start].n_steps + g->place[g->part[0].start].n_jumps == 0;
    if (!k->b->failed && !only_empty && g->place[g->part[0].start].height > GRAMMAR_MAX_DEPTH / 2)
        build_fail(k->b, "cannot be ended with less than %d rules within one another", GRAMMAR_MAX_DEPTH / 2);
}

/* The five steps that the top of this file lists, in that order, which matters: the removal of left recursion needs
 * rules that do not accept the empty text. The caller looks at the builder for failures; a grammar that has no text at
 * all is one of them. */
static void make(struct maker *k)
{
    find_nullable(k);
    k->g->empty = !k->b->failed && k->m.fragment[0].nullable;
    bypass_empty(k);
    k->alive = calloc(k->m.n_fragments, sizeof *k->alive);
    if (!k->alive)
        build_starve(k->b);
    if (!k->b->failed)
        find_alive(k);
    for (size_t i = 0; i < k->m.n_fragments && !k->b->failed; i++)
        loop_tails(k, i);
    for (size_t i = 0; i < k->m.n_fragments && !k->b->failed; i++)
        fresh_start(k, i);
    if (!k->b->failed && !k->alive[0] && !k->g->empty)
        build_fail(k->b, "describes no text at all");
    if (k->b->failed)
        return;
    drop_dead_calls(k);
    remove_left_recursion(k);
    make_rules(k);
    if (k->g->n_places == 0 || k->b->failed)
        return;
    find_heights(k);
}

/* From the expression of the whole text to a grammar with one owner. Whatever happens, what was needed in between is
 * freed; after a failure so is the grammar, and the builder says why. */
struct grammar *program_make(struct build *b, int32_t root_expr)
{
    struct maker k = { .b = b, .g = calloc(1, sizeof *k.g) };
    assembly_make(&k.m, b, root_expr);
    if (!k.g)
        build_starve(b);
    if (!b->failed)
        make(&k);
    if (k.g)
        k.g->refs = 1;
    if (b->failed && k.g) {
        grammar_unref(k.g);
        k.g = NULL;
    }
    assembly_free(&k.m);
    free(k.mark);
    free(k.work);
    free(k.alive);
    return k.g;
}

struct grammar *grammar_ref(struct grammar *g)
{
    atomic_fetch_add(&g->refs, 1);
    return g;
}

void grammar_unref(struct grammar *g)
{
    if (!g || atomic_fetch_sub(&g->refs, 1) > 1)
        return;
    free(g->place);
    free(g->step);
    free(g->jump);
    free(g->part);
    free(g);
}

size_t grammar_bytes(const struct grammar *g)
{
    return sizeof *g + g->cap_places * sizeof *g->place + g->cap_steps * sizeof *g->step +
           g->cap_jumps * sizeof *g->jump + g->cap_parts * sizeof *g->part;
}
