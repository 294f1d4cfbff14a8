/* selftest/together.h - many prompts through a model in one pass, each by
 * itself, for whoever wants to see all of them at once: what a weight is
 * multiplied with is one matrix, a row for every token of all prompts.
 *
 * Nothing is predicted. Images come as features; a model that sees images by
 * cross-attention gets none. */
#ifndef SELFTEST_TOGETHER_H
#define SELFTEST_TOGETHER_H
#include "model/model.h"

struct together {
    const int32_t *ids;        /* borrowed, (n)                                           */
    const int32_t *pos;        /* borrowed: three axes, pos_stride apart; NULL: a text's   */
    size_t pos_stride;
    int    n;                  /* at least 1                                              */
    const float *features;     /* borrowed, (image tokens of ids, model's image_row_width); NULL: ids has none */
};

/* -1: there is no memory for so many tokens, or the device failed. */
int together_run(const struct model *m, const struct together *prompts, int n, struct err *e);

#endif
