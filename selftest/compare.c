/* selftest/compare.c - divergence, agreement and perplexity of two models. See compare.h. */
#include "selftest/compare.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

int comparison_likeliest(const float *logits, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* ln of the sum of exp(logits): what must be taken from a logit to make it the logarithm of a probability. The largest
 * is taken out first, so that nothing overflows. Not finite if a logit is not. */
static double log_sum(const float *logits, int n, int likeliest)
{
    double most = logits[likeliest], sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp(logits[i] - most);
    return most + log(sum);
}

/* Rounding may leave a little less than nothing where both agree. */
static double divergence_of(const float *a, const float *b, int n, double sum_a, double sum_b)
{
    double kl = 0;
    for (int i = 0; i < n; i++) {
        double p = a[i] - sum_a;
        kl += exp(p) * (p - (b[i] - sum_b));
    }
    return kl > 0 ? kl : 0;
}

/* Adds `rows` rows of logits (rows, vocab) of both models, a's being what counts as right. next[i]: the token that
 * really came next, or negative where none did. -1: too many tokens, memory, or logits that are no numbers, which no
 * mean could be made of. */
int comparison_rows(struct comparison *c, const float *a, const float *b, int rows, int vocab, const int32_t *next,
                    struct err *e)
{
    if (c->n + (size_t)rows > COMPARISON_MOST)
        return err_set(e, "more than %d tokens to compare", COMPARISON_MOST);
    if (grow(&c->kl, &c->cap, c->n + (size_t)rows, sizeof *c->kl) != 0)
        return err_memory(e);
    for (int i = 0; i < rows; i++, a += vocab, b += vocab) {
        int top_a = comparison_likeliest(a, vocab), top_b = comparison_likeliest(b, vocab);
        double sum_a = log_sum(a, vocab, top_a), sum_b = log_sum(b, vocab, top_b);
        if (!isfinite(sum_a) || !isfinite(sum_b))
            return err_set(e, "a logit of %s model is not a number", isfinite(sum_a) ? "the second" : "the first");
        c->kl[c->n++] = (float)divergence_of(a, b, vocab, sum_a, sum_b);
        c->agree += top_a == top_b;
        if (next[i] < 0)
            continue;
        c->surprise[0] += sum_a - a[next[i]];
        c->surprise[1] += sum_b - b[next[i]];
        c->n_next++;
    }
    return 0;
}

static int ascending(const void *x, const void *y)
{
    float a = *(const float *)x, b = *(const float *)y;
    return (a > b) - (a < b);
}

/* The value below which the share q of n sorted numbers lies, on the line between the two nearest: numpy.quantile(). */
static double quantile(const float *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

/* The figures of all rows so far, in nats. Sorts what was collected, so it is called once, at the end. */
struct divergence comparison_result(struct comparison *c)
{
    struct divergence d = { .positions = c->n, .predicted = c->n_next, .perplexity = { 1, 1 } };
    if (c->n == 0)
        return d;
    qsort(c->kl, c->n, sizeof *c->kl, ascending);
    for (size_t i = 0; i < c->n; i++)
        d.kl_mean += c->kl[i] / (double)c->n;
    d.kl_999 = quantile(c->kl, c->n, 0.999);
    d.kl_most = c->kl[c->n - 1];
    d.agreement = (double)c->agree / (double)c->n;
    for (int i = 0; i < 2 && c->n_next; i++)
        d.perplexity[i] = exp(c->surprise[i] / (double)c->n_next);
    return d;
}

void comparison_free(struct comparison *c) { free(c->kl); }
