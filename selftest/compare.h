/* selftest/compare.h - how far the predictions of one model are from another's,
 * token by token.
 *
 *     struct comparison c = { 0 };
 *     comparison_rows(&c, a, b, rows, vocab, next, &e);      // as often as wanted
 *     struct divergence d = comparison_result(&c);
 *     comparison_free(&c);
 *
 * a is what counts as right: KL(a || b) = sum over the vocabulary of
 * p_a (ln p_a - ln p_b), with p = softmax(logits), in nats (Kullback and
 * Leibler, 1951). Everything is computed in double precision. */
#ifndef SELFTEST_COMPARE_H
#define SELFTEST_COMPARE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { COMPARISON_MOST = 1 << 24 };  /* positions; each keeps a float */

struct comparison {
    float *kl;                       /* owned, (n): of every position                    */
    size_t n, cap;
    size_t agree;                    /* positions where both find the same token likeliest */
    size_t n_next;                   /* positions whose next token is known                */
    double surprise[2];              /* sum of -ln p(next token), of a and of b            */
};

struct divergence {
    size_t positions, predicted;     /* n and n_next                                     */
    double kl_mean, kl_most, kl_999; /* kl_999: 99.9 % of the positions have less, interpolated between two of them */
    double agreement;                /* share of positions with the same likeliest token */
    double perplexity[2];            /* exp(mean surprise); 1 if nothing was predicted   */
};

/* Adds positions: a, b (rows, vocab) are the logits of both; next (rows) is the token that really follows, -1: unknown.
 * -1: memory is out, there are more than COMPARISON_MOST, or a logit of either is no number. */
int  comparison_rows(struct comparison *c, const float *a, const float *b, int rows, int vocab, const int32_t *next,
                     struct err *e);
/* Sorts c->kl. */
struct divergence comparison_result(struct comparison *c);
void comparison_free(struct comparison *c);

/* The index of the largest of n numbers, the first of equal ones. */
int  comparison_likeliest(const float *logits, int n);

#endif
