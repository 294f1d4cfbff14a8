/* grammar/build.h - expressions: what every kind of source is turned into before it becomes automata.
 *
 * A builder holds a tree of expressions and named rules that expressions may refer to, also from within themselves.
 * Expressions are indices and stay valid until the builder is freed. A failure sticks: later calls do nothing and give
 * EXPR_NONE, so that a parser may go on to its end and is asked once. `fuel` counts down all work that a source
 * causes, from the parser to the automata; where it ends, the source is refused. */
#ifndef GRAMMAR_BUILD_H
#define GRAMMAR_BUILD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "grammar/dfa.h"

enum expr_kind {
    EXPR_FAIL,                 /* no text at all                                                        */
    EXPR_EMPTY,                /* the empty text                                                        */
    EXPR_BYTES,                /* these bytes                                                           */
    EXPR_MARKED,               /* these bytes, with special tokens counting as their text; see tokens.h */
    EXPR_CLASS,                /* one code point of a set                                               */
    EXPR_SEQ, EXPR_ALT,        /* of all kids                                                           */
    EXPR_REPEAT,               /* its kid, min to max times                                             */
    EXPR_COUNTED,              /* likewise a class, then a byte with which it cannot begin             */
    EXPR_CHAIN,                /* some of its items in their order, see expr_chain()                    */
    EXPR_RULE,                 /* what a rule's body is                                                 */
    EXPR_LANG,                 /* what an automaton over code points accepts                            */
    EXPR_UNTIL,                /* any bytes up to and with the first place where one of its kids stands, all of them
                                  EXPR_BYTES, if it is kid `min`                                        */
    EXPR_FREE,                 /* any bytes in which none of its kids stands                            */
};

/* How the code points of a class or language are written. */
enum writing { WRITE_UTF8, WRITE_JSON /* inside a JSON string, where some are escaped */ };

enum { EXPR_NONE = 0, NO_MAX = INT32_MAX };

struct expr {
    enum expr_kind kind;
    enum writing   writing;    /* EXPR_CLASS, EXPR_LANG                                     */
    int32_t at, n;             /* BYTES, MARKED: of text; CLASS: of range; SEQ, ALT, UNTIL, FREE, REPEAT: of kid;
                                  RULE: the rule; LANG: the language                        */
    int32_t min, max;          /* REPEAT; NO_MAX: no limit. UNTIL: see there                */
};

struct range { uint32_t lo, hi; };     /* code points, both included */

struct rule {
    int32_t body;              /* EXPR_NONE: not defined yet                               */
    bool    shared;            /* kept as a rule of its own, however small it is           */
};

struct build {
    struct expr  *expr;  size_t n_exprs,  cap_exprs;     /* owned, as all below; [0] is EXPR_FAIL */
    int32_t      *kid;   size_t n_kids,   cap_kids;
    struct range *range; size_t n_ranges, cap_ranges;
    char         *text;  size_t n_text,   cap_text;
    struct rule  *rule;  size_t n_rules,  cap_rules;
    struct dfa  **lang;  size_t n_langs,  cap_langs;     /* each owned */
    int32_t json[6];           /* rules of JSON that were asked for, + 1; see json.h       */
    int64_t fuel;              /* steps of work that are left                              */
    bool    failed;
    struct err e;              /* why                                                      */
};

void build_init(struct build *b);
void build_free(struct build *b);

/* Fails the builder, unless it has failed before; returns EXPR_NONE. */
int32_t build_fail(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int32_t build_starve(struct build *b);                   /* memory is out */
bool    build_spend(struct build *b, size_t steps);      /* false: the builder has failed, maybe now */

int32_t expr_empty(struct build *b);
int32_t expr_bytes(struct build *b, const char *s, size_t n);
int32_t expr_str(struct build *b, const char *s);
int32_t expr_marked(struct build *b, const char *s, size_t n);
/* Ranges may overlap and come in any order; no range: EXPR_FAIL. */
int32_t expr_class(struct build *b, const struct range *r, size_t n, enum writing w);
int32_t expr_any_char(struct build *b, enum writing w);
int32_t expr_seq(struct build *b, const int32_t *kid, size_t n);
int32_t expr_alt(struct build *b, const int32_t *kid, size_t n);
int32_t expr_pair(struct build *b, int32_t first, int32_t then);     /* a sequence of two     */
int32_t expr_or(struct build *b, int32_t one, int32_t other);
int32_t expr_repeat(struct build *b, int32_t kid, int32_t min, int32_t max);
/* A class, min to max times, then the byte `tail`, with which no code point of the class begins. Its automaton does not
 * grow with max. */
int32_t expr_counted(struct build *b, int32_t class_, int32_t min, int32_t max, char tail);
int32_t expr_optional(struct build *b, int32_t kid);
/* min to max (at least 1) of n items in their order, then of others as often as one likes, with a comma between two.
 * item holds pairs: an expression, and whether it may not be missing. other: EXPR_NONE: there are none. */
int32_t expr_chain(struct build *b, int32_t comma, int32_t other, const int32_t *item, size_t n, int32_t min,
                   int32_t max);
int32_t expr_lang(struct build *b, struct dfa *lang, enum writing w);    /* lang becomes the builder's */
int32_t expr_until(struct build *b, const int32_t *kid, size_t n, size_t which);
int32_t expr_free(struct build *b, const int32_t *kid, size_t n);

int32_t rule_new(struct build *b);                       /* its body comes later              */
void    rule_set(struct build *b, int32_t rule, int32_t body);
int32_t expr_rule(struct build *b, int32_t rule);

/* Code points as a list without overlaps, in order: sorts and joins in place, and returns how many are left. */
size_t  ranges_join(struct range *r, size_t n);
/* The code points that are not in a joined list; `out` has room for n + 1. */
size_t  ranges_invert(const struct range *r, size_t n, struct range *out);

#endif
