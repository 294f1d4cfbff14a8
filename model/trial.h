/* model/trial.h - one prompt through a model without the engine: images,
 * prompt in one piece or in chunks, greedy continuation. For the tests of
 * families and for `openautoglm selftest`; nothing here is fast.
 *
 *     struct trial t;
 *     trial_open(&t, m, max_rows);                      // m: loaded, on a device in host memory
 *     trial_image(&t, rgb, w, h, &e);                   // of the final size, in the order of the prompt
 *     trial_prompt(&t, ids, n, chunk, logits);          // logits (n, vocab)
 *     trial_greedy(&t, ids, n, last_row, out, n_out);
 *     trial_close(&t);
 *
 * KV pages are handed out backwards and images do not fill theirs, so that a
 * model that ignores page tables or fills is found out. */
#ifndef MODEL_TRIAL_H
#define MODEL_TRIAL_H
#include "model/model.h"
#include "model/nn.h"

enum { TRIAL_PAGE = 16, TRIAL_MAX_IMAGES = 4 };

struct trial {
    const struct model *m;           /* borrowed                                       */
    struct kv kv[2];                 /* owned: text, images                            */
    int   max_rows, n_done, next_pos;
    int   n_images;
    struct image_plan plan[TRIAL_MAX_IMAGES];
    int   pool_first[TRIAL_MAX_IMAGES + 1], page_first[TRIAL_MAX_IMAGES + 1];
    float *pool;                     /* owned (max_rows, image_row_width)              */
    int   *text_pages, *image_pages, *fill;    /* owned                                */
};

void trial_open(struct trial *t, const struct model *m, int max_rows);
void trial_close(struct trial *t);
/* An image whose size plan_image() leaves as it is; -1: it does not. */
int  trial_image(struct trial *t, const uint8_t *rgb, int width, int height, struct err *e);
/* A run with scratch of exactly this size; trial_release() after it. */
struct run trial_run(struct trial *t, size_t scratch);
void trial_release(struct trial *t, struct run *r);
/* pos (3, n) of a prompt with the trial's images; free(). */
int32_t *trial_positions(const struct trial *t, const int32_t *ids, int n, int *next);
/* `chunk` rows a step; quietly: only the last step gives logits, those of its rows. */
void trial_prompt(struct trial *t, const int32_t *ids, int n, int chunk, float *logits);
void trial_prompt_quietly(struct trial *t, const int32_t *ids, int n, int chunk, float *logits);
/* Forgets the prompt, keeps the images. */
void trial_rewind(struct trial *t);
/* After a prompt; `last`: the logits of its last row. */
void trial_greedy(struct trial *t, const int32_t *ids, int n, const float *last, int32_t *out, int n_out);

#endif
