/* engine/runner.h - a planned step -> device arrays -> model -> token ids.
 *
 * Owns everything on the device but the weights: KV pages, the pool of encoded
 * images, scratch, and the block in which a step's arrays go there (staging.h).
 * All of it is allocated in runner_open; a step allocates nothing. On a GPU all
 * of it is there from then on. In the host it is address space until it is used,
 * and runner_fill_pages() puts it behind pages of the texts' KV. Owned by the engine
 * thread. */
#ifndef ENGINE_RUNNER_H
#define ENGINE_RUNNER_H
#include "engine/replay.h"
#include "engine/scheduler.h"
#include "engine/staging.h"
#include "model/model.h"
#include "model/nn.h"

struct runner_sizes {
    int max_seqs, max_rows, max_out;      /* of a step; out: rows that yield a token */
    int max_len;                          /* tokens of a request                */
    int kv_pages[TEXT_CACHES];            /* of model_text_cache()              */
    int image_row_pages, image_kv_pages;
    size_t scratch, staging;              /* bytes; from the plan               */
    size_t host;                          /* likewise: the arena of model/nn.h  */
    bool no_graphs;                       /* every step is launched anew        */
    enum dtype kv;                        /* of both caches                     */
};

struct sampled {               /* one new token */
    int   id;
    float logprob;
    int   top_id[ENGINE_MAX_TOP_LOGPROBS];
    float top[ENGINE_MAX_TOP_LOGPROBS];
};

struct runner {
    const struct model *m;     /* borrowed */
    struct runner_sizes size;
    struct run    run;
    struct kv     kv[N_CACHES];
    int           filled[TEXT_CACHES];     /* pages of the text's, from the first on, behind which memory was put */
    struct tensor pool;        /* rows of encoded images */
    struct shape   largest;
    struct staging staging;    /* owned */
    struct staged  staged;     /* the step that runs */
    struct replay  replay;
    struct tensor  logits;     /* of the step that ran, of the rows that yield a token; no wish has touched them */
    struct tensor  states;     /* of the step that ran, (rows, hidden); its data is NULL where nobody wants them */
    float *state;              /* owned, host: (RUNNER_STATES, hidden)          */
    int   *result_ids;         /* owned, host: (max_out) ...                    */
    int   *result_top;         /* ... (max_out, ENGINE_MAX_TOP_LOGPROBS)        */
    float *result_lp;          /* ... (max_out, 1 + ENGINE_MAX_TOP_LOGPROBS)    */
};

/* Bytes that the staging block needs, in the host and on the device. */
size_t runner_staging_bytes(const struct runner_sizes *s, const struct model *m);

/* Bytes of one page of model_text_cache(), of the image KV, and of the pool. */
size_t runner_kv_page_bytes(const struct model *m, int cache, enum dtype kv);
size_t runner_image_kv_page_bytes(const struct model *m, enum dtype kv);
size_t runner_row_page_bytes(const struct model *m);

int  runner_open(struct runner *r, const struct model *m, const struct ops *ops, const struct runner_sizes *size,
                 struct err *e);
void runner_close(struct runner *r);

/* Where memory is taken as it is used: for how many pages of a text cache it should be asked at a time, so that whole
 * huge pages are filled; and puts it behind the first n of them, as far as it is not there: behind how many it was
 * not. Memory that the machine has not used before may take milliseconds for each megabyte. */
int  runner_chunk(const struct runner *r, int cache);
int  runner_fill_pages(struct runner *r, int cache, int n);

/* Encodes one image of a request into its entry. NULL, or what the device said. Every few milliseconds it calls
 * `between` (NULL: nobody waits), which may run a step with runner_nest() before and runner_unnest() after it: the
 * step's scratch then lies behind what the image holds, and the plan has room for both as long as the step's rows are
 * single tokens. shared (model.shared): gets the image's vector in the space that texts share; NULL: it is not
 * wanted. */
const char *runner_encode(struct runner *r, const struct prompt_image *image, const struct image_entry *entry,
                          float *shared, void (*between)(void *arg), void *arg);
struct run  runner_nest(struct runner *r);
void        runner_unnest(struct runner *r, const struct run *outer);

/* Nothing runs: what steps and images have used of the scratch goes back to the machine, but for a part that is soon
 * used again. */
void        runner_rest(struct runner *r);

/* Runs a step. Where the device is asynchronous it computes from runner_start() on, while the caller does something
 * else. runner_finish() waits, and fills out with what the step's rows yield, request by request in the step's order:
 * max_out places suffice. NULL, or what the device said. */
void runner_start(struct runner *r, const struct step *step, const struct images *images);
const char *runner_finish(struct runner *r, struct sampled *out);

/* The logits of n rows from the first one on, among the rows of that step that yield tokens, as the model gives them
 * (n, vocab). */
const char *runner_logits(struct runner *r, int first, int n, float *out);
/* The features of an encoded image as they take the places of tokens (n_tokens, hidden). */
const char *runner_features(struct runner *r, const struct image_entry *entry, float *out);

enum { RUNNER_STATES = 16 };
/* The last hidden states of rows `row` and on, at most RUNNER_STATES of them, of the step that was finished last, where
 * some of its rows yield states: *out (n, hidden) is good until the next call. NULL, or what the device said. */
const char *runner_states(struct runner *r, int row, int n, const float **out);

/* Between two steps: out (w->out) = w x, for a vector on the host. NULL, or what the device said. */
const char *runner_project(struct runner *r, const struct weight *w, const float *x, float *out);

#endif
