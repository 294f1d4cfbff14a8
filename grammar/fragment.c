/* grammar/fragment.c - Thompson's construction (1968): every expression becomes edges and states between two states
 * that are there. Nothing leads into the first of the two from within, and nothing out of the second, so that several
 * can share them. */
#include "grammar/fragment.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "grammar/encode.h"
#include "grammar/finder.h"
#include "grammar/grammar.h"
#include "grammar/language.h"

enum {
    SMALL = 60,                /* states of a rule that is put wherever it is used                          */
    COPIES = 6000,             /* states of all copies of one that is used more than once                   */
    EXPANDED = 1500,           /* states of a repetition that is written out                                */
    COUNTED = 24,              /* repetitions of a class that are written out                               */
    DEEP = 400,                /* levels of expressions within one another, beyond which a rule stays one   */
    HUGE_SIZE = 1 << 28,
};

enum { NEW, OPEN, DONE };

void assembly_free(struct assembly *m)
{
    nfa_free(&m->nfa);
    free(m->rule);
    free(m->size);
    free(m->own);
    free(m->fragment);
}

/* 0 after a failure, which is the root's number: the builder says that it has failed, and nobody looks at the number
 * then. */
static int32_t new_fragment(struct assembly *m, struct fragment f)
{
    if (m->b->failed || grow(&m->fragment, &m->cap_fragments, m->n_fragments + 1, sizeof f) < 0) {
        build_starve(m->b);
        return 0;
    }
    m->fragment[m->n_fragments] = f;
    return (int32_t)m->n_fragments++;
}

/* ---- which rules stay ---- */

static int32_t measure(struct assembly *m, int32_t x, int depth);

static int32_t plus(int64_t a, int64_t b) { return a + b < HUGE_SIZE ? (int32_t)(a + b) : HUGE_SIZE; }
static int32_t times(int64_t a, int64_t b) { return a * b < HUGE_SIZE ? (int32_t)(a * b) : HUGE_SIZE; }

/* From now on the rule is a fragment, which is called and not written in place. */
static void keep_rule(struct assembly *m, int32_t r)
{
    if (m->rule[r].fragment < 0)
        m->rule[r].fragment =
            new_fragment(m, (struct fragment){ .tick = -1, .late = -1, .body = m->b->rule[r].body, .max = NO_MAX });
}

/* States that a use of rule r takes. A rule that is met again within itself calls itself, and stays. */
static int32_t measure_rule(struct assembly *m, int32_t r, int depth)
{
    struct rule_use *u = &m->rule[r];
    if (u->state == OPEN || (u->state == NEW && depth > DEEP)) {
        keep_rule(m, r);
        return 1;
    }
    if (u->state == NEW) {
        u->state = OPEN;
        u->size = measure(m, m->b->rule[r].body, depth + 1);
        u->state = DONE;
        if (m->b->rule[r].shared || (u->uses > 1 && u->size > SMALL && times(u->size, u->uses) > COPIES))
            keep_rule(m, r);
    }
    return u->fragment >= 0 ? 1 : u->size;
}

/* The sum over all kids, and one state more to begin in. */
static int32_t measure_kids(struct assembly *m, const struct expr *x, int depth)
{
    int32_t sum = 1;
    int32_t at = x->at, n = x->n;
    for (int32_t i = 0; i < n; i++)
        sum = plus(sum, measure(m, m->b->kid[at + i], depth));
    return sum;
}

/* States of a chain: every item once for each number of items that may be there before it. */
static int32_t chain_counts(const struct expr *x) { return x->max != NO_MAX ? x->max : x->min; }

/* Every item is written once for each count that may stand before it, hence the product. */
static int32_t measure_chain(struct assembly *m, const struct expr *x, int depth)
{
    int32_t sum = plus(measure(m, m->b->kid[x->at], depth), measure(m, m->b->kid[x->at + 1], depth));
    for (int32_t i = 2; i < x->n; i += 2)
        sum = plus(sum, plus(2, measure(m, m->b->kid[x->at + i], depth)));
    return times(sum, chain_counts(x));
}

/* How many states the automaton of expression `e` takes, at least roughly. The figure decides which rules and
 * repetitions are written out and which become rules of their own. Each expression is measured once and remembered; 0
 * in m->size means not yet. Sizes saturate at HUGE_SIZE instead of overflowing. */
static int32_t measure(struct assembly *m, int32_t e, int depth)
{
    const struct expr x = m->b->expr[e];
    int32_t size = 1;
    if (m->size[e])
        return m->size[e];
    if (!build_spend(m->b, 1))
        return 1;
    switch (x.kind) {
    case EXPR_FAIL: case EXPR_EMPTY:            break;
    case EXPR_BYTES: case EXPR_MARKED:          size = x.n; break;
    case EXPR_CLASS:                            size = plus(x.n, x.writing == WRITE_JSON ? 12 : 2); break;
    case EXPR_SEQ: case EXPR_ALT:               size = measure_kids(m, &x, depth + 1); break;
    case EXPR_UNTIL: case EXPR_FREE:            size = measure_kids(m, &x, depth + 1); break;
    case EXPR_CHAIN:                            size = measure_chain(m, &x, depth + 1); break;
    case EXPR_LANG:                             size = times((int64_t)m->b->lang[x.at]->n_edges, 6) + 1; break;
    case EXPR_COUNTED:                          size = 2; break;
    case EXPR_RULE:                             size = measure_rule(m, x.at, depth + 1); break;
    case EXPR_REPEAT: {
        int32_t kid = measure(m, m->b->kid[x.at], depth + 1);
        int32_t n = x.max == NO_MAX ? x.min + 1 : x.max;
        size = times(kid, n) <= EXPANDED ? times(kid, n) + 2 : 2;
    }
    }
    return m->size[e] = size;
}

/* ---- edges ---- */

static void edges(struct assembly *m, int32_t e, int32_t from, int32_t to);

/* Bytes in a row. Of EXPR_MARKED each may have the mark (FF) of a special token before it, so that a token such as
 * <tool_call> counts as the text that it stands for. */
static void edges_bytes(struct assembly *m, const struct expr *x, int32_t from, int32_t to)
{
    for (int32_t i = 0; i < x->n && !m->b->failed; i++) {
        uint8_t byte = (uint8_t)m->b->text[x->at + i];
        int32_t next = i + 1 < x->n ? nfa_state(&m->nfa) : to;
        nfa_symbol(&m->nfa, from, next, byte, byte);
        if (x->kind == EXPR_MARKED) {           /* the mark of a special token may stand anywhere before its text */
            int32_t marked = nfa_state(&m->nfa);
            nfa_symbol(&m->nfa, from, marked, 0xFF, 0xFF);
            nfa_symbol(&m->nfa, marked, next, byte, byte);
        }
        from = next;
    }
}

/* One state between each two kids; the first begins in `from` and the last ends in `to`. */
static void edges_seq(struct assembly *m, const struct expr *x, int32_t from, int32_t to)
{
    for (int32_t i = 0; i < x->n && !m->b->failed; i++) {
        int32_t next = i + 1 < x->n ? nfa_state(&m->nfa) : to;
        edges(m, m->b->kid[x->at + i], from, next);
        from = next;
    }
}

/* A class that is repeated often becomes a rule that counts: its automaton is the same for every number. */
static int32_t counting(struct assembly *m, int32_t e, int32_t class_, int32_t min, int32_t max, int32_t tail)
{
    if (m->own[e] >= 0)
        return m->own[e];
    struct nfa *a = &m->nfa;
    struct build *b = m->b;
    struct expr c = b->expr[class_];
    struct fragment f = { .body = EXPR_NONE, .counts = true, .min = min, .max = max, .start = nfa_state(a),
                          .tick = nfa_state(a), .late = -1 };
    encode_class(a, f.start, f.tick, b->range + c.at, (size_t)c.n, c.writing);
    encode_class(a, f.tick, f.tick, b->range + c.at, (size_t)c.n, c.writing);
    f.accept = nfa_state(a);
    if (tail == EXPR_NONE) {
        nfa_free_edge(a, f.tick, f.accept);
        f.nullable = min == 0;
    } else {
        uint8_t byte = (uint8_t)b->text[b->expr[tail].at];
        f.late = f.accept;
        nfa_symbol(a, f.tick, f.accept, byte, byte);
        if (min == 0)
            nfa_free_edge(a, f.start, f.tick);
    }
    return m->own[e] = new_fragment(m, f);
}

/* The rule to call for a kid that is repeated often: the kid's own, which stays one from now on, or a new one that is
 * made once for each repetition. */
static int32_t repeated(struct assembly *m, int32_t e, int32_t kid)
{
    if (m->b->expr[kid].kind == EXPR_RULE) {
        keep_rule(m, m->b->expr[kid].at);
        return m->rule[m->b->expr[kid].at].fragment;
    }
    if (m->own[e] < 0)
        m->own[e] = new_fragment(m, (struct fragment){ .tick = -1, .late = -1, .body = kid, .max = NO_MAX });
    return m->own[e];
}

/* Any number of times. A state of its own in the middle keeps what the loop does away from both ends, which others
 * share. */
static void edges_loop(struct assembly *m, int32_t kid, int32_t from, int32_t to)
{
    int32_t again = nfa_state(&m->nfa);
    nfa_free_edge(&m->nfa, from, again);
    edges(m, kid, again, again);
    nfa_free_edge(&m->nfa, again, to);
}

/* A repetition in one of three ways. A class that is repeated often becomes a rule that counts, whose automaton does
 * not grow with the number. Anything else that would be large is called so many times. What is small is written out:
 * `min` copies in a row, then copies that may each be skipped to the end, or a loop if there is no maximum. */
static void edges_repeat(struct assembly *m, int32_t e, int32_t from, int32_t to)
{
    const struct expr x = m->b->expr[e];
    int32_t kid = m->b->kid[x.at], size = measure(m, kid, 0), n = x.max == NO_MAX ? x.min + 1 : x.max;
    bool loop = x.max == NO_MAX && x.min <= 1;
    if (!loop && m->b->expr[kid].kind == EXPR_CLASS && n > COUNTED) {
        nfa_call(&m->nfa, from, to, (struct call){ counting(m, e, kid, x.min, x.max, EXPR_NONE), 1, 1 });
        if (x.min == 0)
            nfa_free_edge(&m->nfa, from, to);
        return;
    }
    if (!loop && times(size, n) > EXPANDED) {
        nfa_call(&m->nfa, from, to, (struct call){ repeated(m, e, kid), x.min, x.max });
        return;
    }
    for (int32_t i = 0; i < x.min && !m->b->failed; i++) {
        int32_t next = nfa_state(&m->nfa);
        edges(m, kid, from, next);
        from = next;
    }
    for (int32_t i = x.min; x.max != NO_MAX && i < x.max && !m->b->failed; i++) {
        int32_t next = nfa_state(&m->nfa);
        nfa_free_edge(&m->nfa, from, to);
        edges(m, kid, from, next);
        from = next;
    }
    if (x.max == NO_MAX)
        edges_loop(m, kid, from, to);
    else
        nfa_free_edge(&m->nfa, from, to);
}

/* Of a chain that was followed up to some item: the state in which none of its items was there, and those in which
 * 1, 2, ... were; in[c]: the next item is about to be the c-th. */
struct links { int32_t none, *some, *in; };

/* Writes one more item of a chain: for each number c of items there is one way into it (in[c]) and one state behind it
 * (some[c] of `next`). An item that is the first comes without a comma, any other behind one. */
static void edges_item(struct assembly *m, const struct expr *x, int32_t item, const struct links *now,
                       const struct links *next)
{
    int32_t n = chain_counts(x);
    for (int32_t c = 1; c <= n && !m->b->failed; c++) {
        now->in[c] = nfa_state(&m->nfa);
        edges(m, item, now->in[c], next->some[c]);
    }
    nfa_free_edge(&m->nfa, now->none, now->in[1]);
    for (int32_t c = 1; c <= n && !m->b->failed; c++)
        if (c < n || x->max == NO_MAX)
            edges(m, m->b->kid[x->at], now->some[c], now->in[c < n ? c + 1 : n]);
}

/* The states between two items of a chain: one for each number of items that may have been there. */
static void new_links(struct assembly *m, const struct expr *x, struct links *l)
{
    l->none = nfa_state(&m->nfa);
    for (int32_t c = 1; c <= chain_counts(x); c++)
        l->some[c] = nfa_state(&m->nfa);
}

/* A chain as a grid: one row of states per number of items that were there, one column per item of the list. `now` is
 * the column that has been reached and `next` the one being made. An item that may be missing gets free edges that pass
 * it by, keeping the count. At the end the text may stop in every row that has enough items. Both columns and their
 * links lie in one block, which is why `room` has four parts. */
static void edges_chain(struct assembly *m, const struct expr *x, int32_t from, int32_t to)
{
    int32_t n = chain_counts(x);
    int32_t *room = calloc(4 * ((size_t)n + 1), sizeof *room);
    if (!room) {
        build_starve(m->b);
        return;
    }
    struct links now = { .some = room, .in = room + n + 1 };
    struct links next = { .some = room + 2 * (n + 1), .in = room + 3 * (n + 1) };
    new_links(m, x, &now);
    nfa_free_edge(&m->nfa, from, now.none);
    for (int32_t i = 2; i < x->n && !m->b->failed; i += 2) {
        new_links(m, x, &next);
        edges_item(m, x, m->b->kid[x->at + i], &now, &next);
        for (int32_t c = 0; c <= n && !m->b->kid[x->at + i + 1] && !m->b->failed; c++)
            nfa_free_edge(&m->nfa, c ? now.some[c] : now.none, c ? next.some[c] : next.none);
        struct links swap = now;
        now = next;
        next = swap;
    }
    if (m->b->kid[x->at + 1] != EXPR_NONE)
        edges_item(m, x, m->b->kid[x->at + 1], &now, &now);
    for (int32_t c = x->min; c <= n && !m->b->failed; c++)
        nfa_free_edge(&m->nfa, now.some[c], to);
    free(room);
}

/* The code points that lead from a state of a language to the same next one are a class. */
static void edges_lang(struct assembly *m, const struct expr *x, int32_t from, int32_t to)
{
    const struct dfa *d = m->b->lang[x->at];
    int32_t first = nfa_state(&m->nfa);
    for (size_t i = 1; i < d->n; i++)
        nfa_state(&m->nfa);
    nfa_free_edge(&m->nfa, from, first);
    for (size_t i = 0; i < d->n && !m->b->failed; i++) {
        const struct dfa_state *s = &d->state[i];
        struct range r[64];
        for (int32_t k = 0; k < s->n_edges;) {
            size_t n = 0;
            int32_t target = d->edge[s->edge + k].to;
            for (; k < s->n_edges && n < 64 && d->edge[s->edge + k].to == target; k++)
                r[n++] = (struct range){ d->edge[s->edge + k].lo, d->edge[s->edge + k].hi };
            encode_class(&m->nfa, first + (int32_t)i, first + target, r, n, x->writing);
        }
        if (s->accept)
            nfa_free_edge(&m->nfa, first + (int32_t)i, to);
    }
}

/* ---- free text ---- */

/* Free text up to a trigger (EXPR_UNTIL) or without any trigger (EXPR_FREE): the states of the finder become states of
 * the automaton, one to one. Neighbouring bytes that lead to the same state become one edge, which keeps 256 edges per
 * state from being the rule. */
static void edges_free_text(struct assembly *m, const struct expr *x, int32_t from, int32_t to)
{
    struct finder f;
    int32_t first = nfa_state(&m->nfa);
    if (finder_make(&f, m->b, x) < 0)
        build_starve(m->b);
    for (int32_t s = 1; !m->b->failed && s < f.n; s++)
        nfa_state(&m->nfa);
    nfa_free_edge(&m->nfa, from, first);
    for (int32_t s = 0; !m->b->failed && s < f.n; s++) {
        if (f.ends[s] >= 0)                     /* the text is over here, and only for who waits for this trigger */
            continue;
        if (x->kind == EXPR_FREE)
            nfa_free_edge(&m->nfa, first + s, to);
        for (int c = 0, last; c < 256; c = last + 1) {
            int32_t next = f.next[s][c];
            for (last = c; last < 255 && f.next[s][last + 1] == next; last++)
                ;
            if (f.ends[next] < 0)
                nfa_symbol(&m->nfa, first + s, first + next, (uint32_t)c, (uint32_t)last);
            else if (x->kind == EXPR_UNTIL && f.ends[next] == x->min)
                nfa_symbol(&m->nfa, first + s, to, (uint32_t)c, (uint32_t)last);
        }
    }
    finder_free(&f);
}

/* ---- all kinds ---- */

/* Writes the automaton of expression `e` between two states that exist. Each step costs fuel, so that a source cannot
 * make this endless. A rule is written in place unless it has become a fragment, which is called. Where expressions lie
 * more than DEEP within one another, the rule is made a fragment here, so that the recursion ends. */
static void edges(struct assembly *m, int32_t e, int32_t from, int32_t to)
{
    const struct expr x = m->b->expr[e];
    if (!build_spend(m->b, 1))
        return;
    m->depth++;
    switch (x.kind) {
    case EXPR_FAIL:   break;
    case EXPR_EMPTY:  nfa_free_edge(&m->nfa, from, to); break;
    case EXPR_BYTES: case EXPR_MARKED:   edges_bytes(m, &x, from, to); break;
    case EXPR_CLASS:
        encode_class(&m->nfa, from, to, m->b->range + x.at, (size_t)x.n, x.writing);
        break;
    case EXPR_SEQ:    edges_seq(m, &x, from, to); break;
    case EXPR_ALT:
        for (int32_t i = 0; i < x.n && !m->b->failed; i++)
            edges(m, m->b->kid[x.at + i], from, to);
        break;
    case EXPR_CHAIN:  edges_chain(m, &x, from, to); break;
    case EXPR_REPEAT: edges_repeat(m, e, from, to); break;
    case EXPR_COUNTED: {
        int32_t rule = counting(m, e, m->b->kid[x.at], x.min, x.max, m->b->kid[x.at + 1]);
        nfa_call(&m->nfa, from, to, (struct call){ rule, 1, 1 });
        break;
    }
    case EXPR_LANG:   edges_lang(m, &x, from, to); break;
    case EXPR_UNTIL: case EXPR_FREE:     edges_free_text(m, &x, from, to); break;
    case EXPR_RULE:
        if (m->depth > DEEP)
            keep_rule(m, x.at);
        if (m->rule[x.at].fragment >= 0)
            nfa_call(&m->nfa, from, to, (struct call){ m->rule[x.at].fragment, 1, 1 });
        else
            edges(m, m->b->rule[x.at].body, from, to);
    }
    m->depth--;
}

/* How often each rule is referred to, which decides whether it is written in place. No rule is a fragment yet. */
static void count_uses(struct assembly *m)
{
    for (size_t i = 0; i < m->b->n_exprs; i++)
        if (m->b->expr[i].kind == EXPR_RULE)
            m->rule[m->b->expr[i].at].uses++;
    for (size_t i = 0; i < m->b->n_rules; i++)
        m->rule[i].fragment = -1;
}

/* More fragments may come up while one is made: those of what is repeated often. */
void assembly_make(struct assembly *m, struct build *b, int32_t root)
{
    *m = (struct assembly){ .b = b, .nfa = { .b = b } };
    if (b->failed)
        return;
    m->rule = calloc(b->n_rules + 1, sizeof *m->rule);
    m->size = calloc(b->n_exprs, sizeof *m->size);
    m->own = malloc(b->n_exprs * sizeof *m->own);
    if (!m->rule || !m->size || !m->own) {
        build_starve(b);
        return;
    }
    memset(m->own, 0xFF, b->n_exprs * sizeof *m->own);
    count_uses(m);
    new_fragment(m, (struct fragment){ .tick = -1, .late = -1, .body = root, .max = NO_MAX });
    for (size_t i = 0; i < m->n_fragments && !b->failed; i++) {
        if (m->fragment[i].counts)
            continue;
        measure(m, m->fragment[i].body, 0);
        int32_t start = nfa_state(&m->nfa), accept = nfa_state(&m->nfa);
        m->fragment[i].start = start;
        m->fragment[i].accept = accept;
        edges(m, m->fragment[i].body, start, accept);
    }
}

/* ---- languages ---- */

/* The same construction with code points as symbols. Only what regular expressions consist of may occur. */
static void symbols(struct nfa *a, struct build *b, int32_t e, int32_t from, int32_t to)
{
    const struct expr x = b->expr[e];
    if (!build_spend(b, 1))
        return;
    if (x.kind == EXPR_EMPTY)
        nfa_free_edge(a, from, to);
    for (int32_t i = 0; x.kind == EXPR_CLASS && i < x.n; i++)
        nfa_symbol(a, from, to, b->range[x.at + i].lo, b->range[x.at + i].hi);
    for (int32_t i = 0; x.kind == EXPR_ALT && i < x.n && !b->failed; i++)
        symbols(a, b, b->kid[x.at + i], from, to);
    for (int32_t i = 0; x.kind == EXPR_SEQ && i < x.n && !b->failed; i++) {
        int32_t next = i + 1 < x.n ? nfa_state(a) : to;
        symbols(a, b, b->kid[x.at + i], from, next);
        from = next;
    }
    if (x.kind != EXPR_REPEAT)
        return;
    int32_t kid = b->kid[x.at];
    for (int32_t i = 0; i < x.min && !b->failed; i++) {
        int32_t next = nfa_state(a);
        symbols(a, b, kid, from, next);
        from = next;
    }
    for (int32_t i = x.min; x.max != NO_MAX && i < x.max && !b->failed; i++) {
        int32_t next = nfa_state(a);
        nfa_free_edge(a, from, to);
        symbols(a, b, kid, from, next);
        from = next;
    }
    if (x.max == NO_MAX) {
        int32_t again = nfa_state(a);
        nfa_free_edge(a, from, again);
        symbols(a, b, kid, again, again);
        from = again;
    }
    nfa_free_edge(a, from, to);
}

/* The deterministic automaton over code points of what a regular expression has become. */
struct dfa *language_make(struct build *b, int32_t expr)
{
    struct nfa a = { .b = b };
    int32_t start = nfa_state(&a), accept = nfa_state(&a);
    symbols(&a, b, expr, start, accept);
    struct dfa *d = b->failed ? NULL : dfa_make(&a, start, accept, -1);
    nfa_free(&a);
    return d;
}
