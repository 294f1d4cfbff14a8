/* engine/request.h - the life of one request, shared by two threads.
 *
 * The client's side (request_next, request_cancel, ...) touches only what is
 * under `lock` and the flag `cancelled`; everything else belongs to the engine
 * thread from submission on. Events are kept as one growing text and one
 * growing list: a slow client makes them longer, never the engine slower. They
 * count in the tally `answers`; where that is full, a request that holds more
 * than a little ends with an error. Two references: the client's and the
 * engine's; what only the engine needs is freed when it is done. */
#ifndef ENGINE_REQUEST_H
#define ENGINE_REQUEST_H
#include <pthread.h>
#include <stdatomic.h>

#include "base/budget.h"
#include "engine/detok.h"
#include "engine/ends.h"
#include "engine/engine.h"
#include "engine/images.h"
#include "engine/pooling.h"
#include "engine/prompt.h"
#include "engine/steer.h"
#include "grammar/matcher.h"
#include "kernels/ops.h"

/* Answers to one prompt. The first of them computes it; the others wait until its pages are there to be shared. */
struct group {
    atomic_int refs;
    const struct request *leader;  /* for comparison only                              */
    bool computed;                 /* by the engine's thread: nobody has to wait any more */
    int  n_going, longest;         /* likewise: answers that have not ended, tokens of the longest that has */
};

struct held {                   /* pages of one cache */
    int *page;                  /* owned, (pages of max_len): of the request's tokens, page after page        */
    int  n, gone;               /* as far as it has got them; the first that were given back, which no token sees any
                                   more: their numbers mean nothing */
};

struct probed {                 /* what params.probe asks for; see probe.h */
    float *data;                /* owned, (n); NULL: nothing was asked for, or it was handed out */
    int    n;
};

struct request {
    /* both threads */
    pthread_mutex_t lock;
    int  fd;                       /* eventfd: readable while something waits     */
    atomic_int  refs;
    atomic_bool cancelled;
    struct buf  text;              /* not taken yet                               */
    struct token_logprob *logprobs;    /* likewise                                */
    size_t n_logprobs, cap_logprobs;
    struct token_logprob *prompt_logprobs;     /* likewise: of the prompt's tokens 1 .. n_prompt_logprobs */
    size_t n_prompt_logprobs, cap_prompt_logprobs;
    int32_t *new_ids;              /* likewise, when asked for                    */
    size_t n_new_ids, cap_new_ids;
    struct timings time;           /* so far                                      */
    int    n_tokens;               /* likewise                                    */
    struct tally *answers;         /* borrowed: where text and logprobs that wait are counted; NULL: nowhere */
    size_t n_counted;              /* bytes of them                               */
    bool   crowded;                /* there was no room for them                  */
    struct event end;              /* kind EVENT_END or EVENT_ERROR once ended    */
    bool   ended, end_taken;
    struct engine_wake *wake;      /* borrowed: tells the engine of a cancel      */

    /* constant after submission */
    struct prompt *prompt;         /* shared, refcounted */
    struct group  *group;          /* shared, refcounted: of the answers to one prompt; NULL: it is the only one */
    struct hash    salt;           /* what the hashes of its pages begin with */
    struct params  params;         /* stop strings owned */
    int32_t ends[ENDS_MAX + ENGINE_MAX_STOP_IDS];   /* tokens that end it: the model's ends, then its own stop_ids */
    int     n_ends, n_model_ends;
    struct steer steer;            /* owned */
    struct probed probed;          /* owned; filled by the engine's thread */
    int    max_len;                /* prompt and answer never exceed this         */

    /* the engine thread's */
    struct request *prev, *next;   /* waiting or running list                     */
    uint64_t number;               /* order of arrival: older ones go first       */
    double submitted, started, first_token, last_token;    /* clock_seconds(); 0: not yet */
    double encode_seconds;         /* that its images took on the device          */
    double encode_queued;          /* of these, before it was started: no part of the time that it waited */
    int32_t *ids;                  /* owned, (max_len): prompt, then the answer   */
    int  n_ids, n_computed;        /* computed: their keys and values are in pages */
    bool stretched;                /* so long that its tokens are rotated by the other table: model.stretch_after */
    int  n_told;                   /* rows of the prompt whose logprobs, of the token after, are known */
    struct pooled pooled;          /* owned: the prompt's vector as far as it is computed, if that is asked for */
    int  n_cached;                 /* of the prompt, found in the prefix cache at first admission; -1 before */
    struct held kv[TEXT_CACHES];   /* its pages of each of the model's text caches */
    struct hash *hash;             /* owned, likewise: of all tokens up to the end of each full page */
    int  n_hashed;
    struct image_entry **images;   /* owned, (prompt->n_images); NULL while waiting */
    struct seen *seen;             /* owned: for the penalties; NULL: none asked for */
    int  n_seen;
    int *seen_at;                  /* owned, (vocab): index into seen + 1         */
    int  vocab;                    /* logits, with seen_at                        */
    struct detok detok;
    struct matcher *matcher;       /* owned; NULL: the answer is free                  */
    bool stuck, stuck_at_end;      /* nothing may follow: because the text is over, or ... */
    struct err stuck_error;        /* ... because of this                              */
    bool no_numbers;               /* the logits of its last row hold none: damaged weights */
};

struct engine_wake {               /* how other threads reach the engine thread */
    pthread_mutex_t lock;
    pthread_cond_t  cond;
    bool pending;
    int  live;                     /* requests that were submitted and have not ended */
};
void wake_up(struct engine_wake *w);

/* The prompt becomes the request's. NULL: memory is out (503), or what the parameters say of words cannot be done
 * (400). */
struct request *request_new(struct prompt *p, const struct params *params, int max_len, int page_tokens,
                            const struct model *m, const struct tokenizer *t, struct engine_wake *wake, struct err *e);
void request_unref(struct request *r);
void request_retire(struct request *r);    /* the same by the engine, which will not touch it any more */

/* Before the submission: r is an answer to the same prompt as others. */
void request_join(struct request *r, struct group *g);
/* Engine's side: the others of its group need not wait for it any more. */
void request_lead(struct request *r);

/* Before the submission: which tokens end it, of a vocabulary of so many. */
void request_set_ends(struct request *r, const struct ends *model, int vocab);

/* Engine's side: counts a token for the penalties. */
void request_count(struct request *r, int token, bool in_prompt);

/* How many rows of its prompt have to give logprobs of the token that follows: the first so many. */
static inline int request_telling_rows(const struct request *r)
{
    return r->params.prompt_logprobs || r->params.probe == PROBE_LOGITS ? r->prompt->n - 1 : 0;
}

/* Engine's side: the logprob of the prompt's next token. -1: as request_push(). */
int  request_tell_prompt(struct request *r, const struct token_logprob *lp);

/* Engine's side: one more token of the answer; `text` may be empty. -1: there is no room for it, and the request must
 * be finished now. A finish after that tells the client of the failure, whatever `why` says. */
int  request_push(struct request *r, int32_t id, const struct buf *text, const struct token_logprob *lp);
void request_finish(struct request *r, enum finish why, const char *stop, const struct buf *text);
/* The same for an answer that one of its `ends` ended. */
void request_finish_at(struct request *r, int32_t id, const struct buf *text);
/* The end of a request whose prompt was to be pooled: the vector (n) becomes its own. */
void request_finish_pooled(struct request *r, float *vector, int n);
void request_finish_probed(struct request *r);     /* likewise, with r->probed */
void request_fail(struct request *r, const struct err *e);

/* Must the answer go on yet? Then none of `ends` may be sampled. */
static inline bool request_too_short(const struct request *r)
{
    return r->n_ids - r->prompt->n < r->params.min_tokens;
}

/* The most tokens that may be forbidden for its next one. */
static inline int request_most_bans(const struct request *r)
{
    return (request_too_short(r) ? r->n_ends : 0) + r->steer.n_words;
}

static inline int request_answer_len(const struct request *r) { return r->n_ids - r->prompt->n; }

#endif
