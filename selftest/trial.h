/* selftest/trial.h - one prompt through a model without the engine: images,
 * prompt in one piece or in chunks, a continuation. For the tests of families
 * and for `openautoglm selftest`; nothing here is fast.
 *
 *     struct trial t;
 *     trial_open(&t, m, max_rows, F32);                 // m: loaded; F32: of the caches
 *     trial_image(&t, rgb, w, h, &e);                   // in the order of the prompt
 *     trial_prompt(&t, ids, n, chunk, logits, &e);      // logits (n, vocab)
 *     trial_follow(&t, ids, n, next, n_next, more, &e);
 *     trial_close(&t);
 *
 * KV pages are handed out backwards and images do not fill theirs, so that a
 * model that ignores page tables or fills is found out. -1 and e: the device
 * failed. */
#ifndef SELFTEST_TRIAL_H
#define SELFTEST_TRIAL_H
#include "model/measure.h"
#include "model/model.h"
#include "model/nn.h"

enum { TRIAL_PAGE = 16, TRIAL_MAX_IMAGES = 4 };

struct trial {
    const struct model *m;           /* borrowed                                       */
    struct kv kv[N_CACHES];              /* owned, device                                  */
    int   max_rows, n_done, next_pos;
    struct image_range next_sees;    /* from every token after the prompt              */
    int   n_images, all_images;      /* of the prompt: encoded so far; in all, 0 where it does not matter */
    struct image_plan plan[TRIAL_MAX_IMAGES];
    int   pool_first[TRIAL_MAX_IMAGES + 1], page_first[TRIAL_MAX_IMAGES + 1];
    struct tensor rows;              /* owned, device (max_rows, image_row_width)      */
    float *pool;                     /* owned, host: its contents                      */
    int   *text_pages, *image_pages, *fill;    /* owned, host                          */
    float *shared;                   /* borrowed: gets (model.shared) the vector of an image that is encoded, ... */
    float *state;                    /* ... and (hidden) the last hidden state of a step's last row; NULL: unwanted */
};

/* Tokens that a trial reads from the first to the last, a few at a time, with what the family says of each. */
struct reading {
    struct trial *t;                 /* borrowed                                       */
    int32_t *ids, *pos;              /* owned, (room), (3, room)                       */
    struct image_range *sees;        /* owned, (room); NULL: the family has no cross-attention */
    int n, room, prompt;             /* tokens; most of them; those that it began with */
    bool stretched;                  /* they are more than the model's stretch_after */
};

/* How far features and logits may be from the reference's: on every backend, with caches of float32. */
#define TRIAL_LIMIT 2e-3f
/* The type of weights that were rounded when the checkpoint was prepared; NULL: they are as the reference had them. */
const char *trial_rounded(const struct model *m);

void trial_open(struct trial *t, const struct model *m, int max_rows, enum dtype kv);
void trial_close(struct trial *t);
/* An image of any size, (height, width, 3); or one of which the views are there. -1: it does not fit into the trial. */
int  trial_image(struct trial *t, const uint8_t *rgb, int width, int height, struct err *e);
int  trial_views(struct trial *t, const uint8_t *rgb, const struct image_plan *plan, struct err *e);
/* Keys and values (n_cells, n_kv * dim) that layer `layer` of cross-attention sees of an image; caches of F32. */
int  trial_cells(struct trial *t, int image, int layer, float *keys, float *values, struct err *e);
/* A run with scratch of exactly this size; trial_release() after it. */
struct run trial_run(struct trial *t, struct pass_memory memory);
void trial_release(struct trial *t, struct run *r);
/* pos (3, n) of a prompt with the trial's images; free(). */
int32_t *trial_positions(const struct trial *t, const int32_t *ids, int n, int *next);
/* The prompt `ids` with the trial's images, to which up to `more` tokens may be added one by one. What the trial has
 * computed before stays computed. */
void reading_open(struct reading *r, struct trial *t, const int32_t *ids, int n, int more);
void reading_add(struct reading *r, int32_t id);
void reading_close(struct reading *r);
/* Computes the next n of the tokens; logits (n_out, vocab) of the last n_out of these. */
int  reading_next(struct reading *r, int n, int n_out, float *logits, struct err *e);
/* Where a step has to end that would end before token `end` of n: places of an image that see each other are not torn
 * apart. */
int  trial_step_end(const struct trial *t, const int32_t *ids, int n, int end);
/* `chunk` rows a step; quietly: only the last row gives logits (vocab), as where a prompt is answered. */
int  trial_prompt(struct trial *t, const int32_t *ids, int n, int chunk, float *logits, struct err *e);
int  trial_prompt_quietly(struct trial *t, const int32_t *ids, int n, int chunk, float *logits, struct err *e);
/* Vectors in the space that texts and images share: of the text with these ids, as family.text_ids() leaves them, and
 * of an image of any size. out (model.shared). The trial's own prompt is forgotten. */
int  trial_text_vector(struct trial *t, const int32_t *ids, int n, float *out, struct err *e);
int  trial_image_vector(struct trial *t, const uint8_t *rgb, int width, int height, float *out, struct err *e);
/* out (w->out) = w x, for vectors on the host. */
int  trial_project(struct trial *t, const struct weight *w, const float *x, float *out, struct err *e);
/* Forgets the prompt, keeps the images. */
void trial_rewind(struct trial *t);
/* After a prompt: token by token; row i of logits (n_next, vocab) is what comes after next[i]. */
int  trial_follow(struct trial *t, const int32_t *ids, int n, const int32_t *next, int n_next, float *logits,
                  struct err *e);

#endif
