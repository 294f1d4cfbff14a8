/* engine/scheduler.h - which tokens of which requests the next step computes.
 *
 * Pure logic over requests, pages and the image cache: no device, clock or lock.
 * A step is "n tokens of request r": a chunk of a prompt and a single decode
 * token are the same thing. Rules, in this order:
 *   1. Every running request that only needs its next token gets it.
 *   2. What is left of the row budget goes to the chunks of prompts, older
 *      requests first; a chunk stops before an image that is not encoded yet.
 *      Where rule 1 gave anybody a token, the budget is smaller (beside_rows), so
 *      that these do not wait long for their next.
 *   3. Waiting requests are admitted in order while there is room: by their
 *      priority, then by age. Of the answers to one prompt the first computes it,
 *      and the others are passed until its pages are there to be shared.
 *   4. One image is encoded per step, for the oldest request that needs one.
 * When pages run out the youngest running request is put back: its pages are
 * given up and it starts again later from its ids (prompt and answer so far),
 * with the same result, because no row's arithmetic depends on the others. So
 * does one that grows beyond stretch_after, whose keys are all rotated otherwise
 * from then on; it keeps its place. One that is alone and still finds no memory
 * for its pages is named: waiting would not help it.
 *
 * In a cache with a window a request gives back the pages that lie behind it, so
 * it holds no more than the window and one step's rows; scheduler_held() is the
 * bound that the plan counts with. The beginning of a prompt is then known as
 * soon as the pages of its last window are there, whatever became of those
 * before them. */
#ifndef ENGINE_SCHEDULER_H
#define ENGINE_SCHEDULER_H
#include "engine/images.h"
#include "engine/pages.h"
#include "engine/request.h"

enum { KV_PAGE = 32 };             /* tokens in a page of the KV cache */

struct request_list { struct request *first, *last; int n; };

struct scheduler {
    struct request_list waiting, running;    /* both by priority, then by age, oldest first */
    struct cache {
        struct pages *pages;       /* borrowed; NULL: there is no such cache */
        int window;                /* tokens that a token sees, itself the last; 0: all before it */
    } cache[TEXT_CACHES];
    struct images *images;         /* borrowed */
    int  max_seqs, max_rows;
    int  max_out;                  /* rows of a step that may yield a token: at least max_seqs     */
    int  beside_rows;              /* of prompts in a step that has others' next tokens in it; see pace.h */
    bool image_kv;                 /* tokens after an image need its KV: it is encoded even if the prefix is cached */
    bool prefix_cache;
    int  stretch_after;            /* of the model: longer sequences are rotated by another table; 0: none are */
    bool whole;                    /* the tokens of a prompt see each other both ways: they go into one step, and their
                                      pages are nobody else's */
    uint64_t preemptions, prefix_queries, prefix_hits;    /* prefix: tokens */
};

/* What a step gives a request, beside the keys and values of its tokens: of each of so many rows what comes behind it,
 * or the row's last hidden state, to be pooled. Behind most rows of a prompt stands a token that is known; where its
 * logprob is asked for, they yield it. */
enum yield_kind { YIELD_NOTHING, YIELD_TOKENS, YIELD_STATES };

struct yield {
    enum yield_kind kind;
    int rows;                      /* each of the request's last so many rows of the step gives one */
};

struct step_seq {
    struct request *r;
    int start, n;                  /* tokens ids[start] .. ids[start + n - 1]       */
    struct yield yield;
};

struct step {
    struct step_seq *seq;          /* owned by the engine, (max_seqs) */
    int n_seqs, n_rows;
    int n_out;                     /* rows that yield a token         */
    int n_states;                  /* rows that yield a state         */
    int most_rows;                 /* that this step may have         */
    int n_single;                  /* rows that are somebody's next token, not a prompt's */
    struct request *encode;        /* borrowed; NULL: no image to encode */
    int encode_image;              /* which of its images                */
    struct request *starved;       /* borrowed; waits for memory that nobody is there to give back, or that its images'
                                      entries need; the engine refuses it. NULL: none */
};

/* How many of the request's last rows yield a token, each from its logits. */
static inline int step_drawn(const struct step_seq *q) { return q->yield.kind == YIELD_TOKENS ? q->yield.rows : 0; }

/* The token that stands behind a row that yields one (the k-th of its request's), if it is the prompt's; -1: it
 * is to be drawn. */
int step_known_token(const struct step_seq *q, int k);

void list_push(struct request_list *l, struct request *r);      /* in order of age */
void list_remove(struct request_list *l, struct request *r);

/* The most pages of a cache that a request of `len` tokens holds at one time, with steps of at most so many rows. */
int  scheduler_held(int window, int len, int max_rows);

void scheduler_plan(struct scheduler *s, struct step *out);
void scheduler_plan_single(struct scheduler *s, struct step *out);   /* rule 1 alone: while an image is encoded */
void scheduler_prepare(struct scheduler *s);    /* what can be computed early of those that wait: their pages' hashes */
void scheduler_done(struct scheduler *s, struct request *r, int n);    /* n more tokens are there: shares full pages */
void scheduler_release(struct scheduler *s, struct request *r);        /* gives back its pages and images */

#endif
