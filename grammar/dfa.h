/* grammar/dfa.h - finite automata: nondeterministic ones as they are put together, and deterministic ones.
 *
 * Symbols are numbers: bytes in the automata of rules, code points in those of languages. The automaton of a rule may
 * also call other rules: a call is an edge that is gone through by whatever the other rule accepts, so many times. */
#ifndef GRAMMAR_DFA_H
#define GRAMMAR_DFA_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct build;

struct call { int32_t rule, min, max; };

enum nfa_edge_kind { EDGE_FREE, EDGE_SYMBOL, EDGE_CALL };

struct nfa_edge {
    enum nfa_edge_kind kind;
    int32_t  to, next;         /* next edge of the same state; -1: none                  */
    uint32_t lo, hi;           /* EDGE_SYMBOL: the range; EDGE_CALL: lo is an index into `call` */
};

struct nfa {
    struct build *b;           /* borrowed: pays for the work, and has its failures      */
    int32_t *first;            /* owned, (n): first edge of a state; -1: none            */
    size_t n, cap;
    struct nfa_edge *edge;     /* owned */
    size_t n_edges, cap_edges;
    struct call *call;         /* owned */
    size_t n_calls, cap_calls;
};

void    nfa_free(struct nfa *a);
int32_t nfa_state(struct nfa *a);                                   /* a new one; 0 if the builder failed */
void    nfa_free_edge(struct nfa *a, int32_t from, int32_t to);     /* gone through by nothing            */
void    nfa_symbol(struct nfa *a, int32_t from, int32_t to, uint32_t lo, uint32_t hi);
void    nfa_call(struct nfa *a, int32_t from, int32_t to, struct call call);

struct dfa_edge { uint32_t lo, hi; int32_t to; };
struct dfa_call { struct call call; int32_t to; };

struct dfa_state {
    int32_t edge, n_edges;     /* of dfa.edge: disjoint, in order */
    int32_t call, n_calls;     /* of dfa.call                     */
    bool    accept;
    bool    tick;              /* see dfa_make()                  */
};

struct dfa {                   /* state 0 is the start */
    struct dfa_state *state;   /* owned, as the others */
    size_t n, cap;
    struct dfa_edge *edge;
    size_t n_edges, cap_edges;
    struct dfa_call *call;
    size_t n_calls, cap_calls;
};

/* The deterministic automaton of what leads from `start` to `accept`. No state of it is a dead end. tick: its states
 * that hold this one are marked; -1: none is. NULL: the builder has failed. If nothing leads there, it is one state
 * that does not accept. */
struct dfa *dfa_make(struct nfa *a, int32_t start, int32_t accept, int32_t tick);
void        dfa_free(struct dfa *d);
struct dfa *dfa_new(void);                               /* without states; NULL: memory */
int32_t     dfa_add_state(struct build *b, struct dfa *d);       /* its edges are added next; -1: failed */
void        dfa_add_edge(struct build *b, struct dfa *d, uint32_t lo, uint32_t hi, int32_t to);

#endif
