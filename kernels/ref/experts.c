/* kernels/ref/experts.c - routed experts (Shazeer et al. 2017): the choice, the
 * order of places, and the product in which each row has its expert's weight. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/ref/ref.h"

/* The largest of n numbers, of equal ones the first. */
static int largest(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* The scores of a row by softmax or logistic function; by a NaN among the logits they become NaN, nothing worse. */
static void scores_of(const float *logits, const struct router *r, float *score)
{
    float most = logits[largest(logits, r->n)], sum = 0;
    for (int e = 0; e < r->n; e++) {
        score[e] = r->sigmoid ? 1 / (1 + expf(-logits[e])) : expf(logits[e] - most);
        sum += score[e];
    }
    for (int e = 0; e < r->n && !r->sigmoid; e++)
        score[e] /= sum;
}

/* Takes the experts of all groups but the best ones out of the choice (DeepSeek-V3). */
static void limit_groups(const struct router *r, float *choice)
{
    float sum[MAX_EXPERTS];
    bool kept[MAX_EXPERTS] = { false };
    int each = r->n / r->groups;
    for (int g = 0; g < r->groups; g++) {
        const float *c = choice + g * each;
        int best = largest(c, each);
        float second = -INFINITY;
        for (int i = 0; i < each; i++)
            if (i != best && c[i] > second)
                second = c[i];
        sum[g] = fmaxf(each > 1 ? c[best] + second : c[best], -FLT_MAX);
    }
    for (int i = 0; i < r->best; i++) {
        int g = largest(sum, r->groups);
        kept[g] = true;
        sum[g] = -INFINITY;
    }
    for (int e = 0; e < r->n; e++)
        if (!kept[e / each])
            choice[e] = -INFINITY;
}

/* The choice of rows from .. from + n: out->place becomes the numbers of their experts, and out->weight their weights.
 * What is no number counts as the smallest one, so that every row has k different experts whatever its logits are. */
void ref_choose(const struct routes *out, struct tensor logits, const struct router *r, int from, int n)
{
    float score[MAX_EXPERTS], choice[MAX_EXPERTS];
    for (int row = from; row < from + n; row++) {
        int *chosen = out->place + (size_t)row * (size_t)r->k;
        float *weight = out->weight + (size_t)row * (size_t)r->k, sum = 0;
        scores_of(tensor_row(logits, row), r, score);
        for (int e = 0; e < r->n; e++)
            choice[e] = fmaxf(r->bias ? score[e] + r->bias[e] : score[e], -FLT_MAX);
        if (r->groups > 1)
            limit_groups(r, choice);
        for (int i = 0; i < r->k; i++) {
            chosen[i] = largest(choice, r->n);
            choice[chosen[i]] = -INFINITY;
            weight[i] = score[chosen[i]];
            sum += weight[i];
        }
        for (int i = 0; i < r->k; i++)
            weight[i] = (r->normalise ? weight[i] / (sum + 1e-20f) : weight[i]) * r->scale;
    }
}

/* Turns the numbers of experts in out->place into places: all rows of the first expert, then of the second, and so
 * on. first[e] is where the next one of expert e goes, and at the end where expert e + 1 begins. */
void ref_group(const struct routes *out, int rows, const struct router *r)
{
    memset(out->first, 0, sizeof *out->first * (size_t)(r->n + 1));
    for (int i = 0; i < rows * r->k; i++)
        out->first[out->place[i] + 1]++;
    for (int e = 0; e < r->n; e++)
        out->first[e + 1] += out->first[e];
    for (int i = 0; i < rows * r->k; i++) {
        int place = out->first[out->place[i]]++;
        out->row[place] = i / r->k;
        out->place[i] = place;
    }
    memmove(out->first + 1, out->first, sizeof *out->first * (size_t)r->n);
    out->first[0] = 0;
}

void ref_route(struct device *dev, const struct routes *out, struct tensor logits, const struct router *r)
{
    (void)dev;
    ref_choose(out, logits, r, 0, logits.rows);
    ref_group(out, logits.rows, r);
}

/* A plain product for each expert that has rows. */
void ref_linear_grouped(struct device *dev, struct tensor out, struct tensor x, const struct experts *experts,
                        const int *first, enum act act, bool glu)
{
    for (int e = 0; e < experts->n; e++) {
        struct tensor from = x, to = out;
        from.data = tensor_row(x, first[e]);
        to.data = tensor_row(out, first[e]);
        from.rows = to.rows = first[e + 1] - first[e];
        ref_linear(dev, to, from, &experts->w[e], &(struct epilogue){ .act = act, .glu = glu });
    }
}
