/* engine/runner.h - a planned step -> device arrays -> model -> token ids.
 *
 * Owns everything on the device but the weights: KV pages, the pool of encoded
 * images, scratch, and one staging block that carries all of a step's arrays up
 * in a single copy. All of it is allocated in runner_open; a step allocates
 * nothing. On a GPU all of it is there from then on. In the host it is address
 * space until it is used, and runner_take_pages() says when pages are. Owned by
 * the engine thread.
 *
 * Decode steps - one token of every request - come again and again in few
 * shapes. Where the backend can, they are recorded and replayed: the number of
 * requests and of pages is rounded up to a power of two, with rows that write
 * nowhere and see nothing, so that every launch of a shape has the same
 * arguments. No row's result depends on the others, so the bits are the same. */
#ifndef ENGINE_RUNNER_H
#define ENGINE_RUNNER_H
#include "engine/scheduler.h"
#include "model/model.h"
#include "model/nn.h"

struct runner_sizes {
    int max_seqs, max_rows, max_len;      /* of a step; of a request            */
    int kv_pages, image_row_pages, image_kv_pages;
    int max_images;                       /* of a request                       */
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

enum { MAX_RECORDED = 512 };   /* powers of two up to 4096 requests times those up to 2^24 tokens */

struct recorded {              /* decode steps of one shape, see runner_start() */
    int  key;
    bool replays;              /* false: seen once, computed as any other step */
    struct tensor logits;      /* where they come out ...                      */
    size_t used;               /* ... and the scratch that a replay writes     */
};

struct runner {
    const struct model *m;     /* borrowed */
    struct runner_sizes size;
    struct run    run;
    struct kv     kv[2];       /* text, images */
    struct tensor pool;        /* rows of encoded images */
    char  *stage_host, *stage_dev;         /* owned */
    size_t stage_used;
    struct view views[2];
    struct recorded recorded[MAX_RECORDED];
    int    n_recorded;
    int   *result_ids;         /* owned, host: (max_seqs) ...                   */
    int   *result_top;         /* (max_seqs, ENGINE_MAX_TOP_LOGPROBS)           */
    float *result_lp;          /* (max_seqs, 1 + ENGINE_MAX_TOP_LOGPROBS)       */
    int    top_n;              /* of the step that runs: most that any row wants; -1: no logprobs at all */
};

size_t runner_staging_bytes(const struct runner_sizes *s);
/* Of one page of the text KV; of the image KV; of the pool: bytes. */
size_t runner_kv_page_bytes(const struct model *m, enum dtype kv);
size_t runner_image_kv_page_bytes(const struct model *m, enum dtype kv);
size_t runner_row_page_bytes(const struct model *m);

int  runner_open(struct runner *r, const struct model *m, const struct ops *ops, const struct runner_sizes *size,
                 struct err *e);
void runner_close(struct runner *r);

/* Where memory is taken as it is used: how many pages of the text KV should be taken at a time, so that whole huge pages are
 * filled; and takes n of them, from page `from` on. */
int  runner_chunk(const struct runner *r);
void runner_take_pages(struct runner *r, int from, int n);

/* Encodes one image of a request into its entry. NULL, or what the device said. Every few milliseconds it calls `between`
 * (NULL: nobody waits), which may run a step with runner_nest() before and runner_unnest() after it: the step's scratch then
 * lies behind what the image holds, and the plan has room for both as long as the step's rows are single tokens. */
const char *runner_encode(struct runner *r, const struct prompt_image *image, const struct image_entry *entry,
                          void (*between)(void *arg), void *arg);
struct run  runner_nest(struct runner *r);
void        runner_unnest(struct runner *r, const struct run *outer);

/* Runs a step. Where the device is asynchronous it computes from runner_start() on, while the caller does something else.
 * runner_finish() waits; out[i] is filled for every seq i that samples. NULL, or what the device said. */
void runner_start(struct runner *r, const struct step *step, const struct images *images);
const char *runner_finish(struct runner *r, const struct step *step, struct sampled *out);

#endif
