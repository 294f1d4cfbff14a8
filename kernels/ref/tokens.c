/* kernels/ref/tokens.c - from logits to tokens.
 *
 * A vocabulary is up to 300,000 tokens. Sorting it, or a copy of its row,
 * would need memory that an operation may not allocate; instead `cut` finds
 * the exact border of "the most likely tokens that together weigh so much" in
 * three passes over the row, each a histogram of 11 bits of the logits' order.
 *
 * Nothing here trusts the numbers: NaN counts as -infinity, +infinity as the
 * largest float, and a row without any finite number gives token 0. Sums over
 * a vocabulary are doubles: 300,000 float additions would lose five digits. */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "kernels/random.h"
#include "kernels/ref/ref.h"

/* Bit i of a row belongs to token i, from the lowest bit of the first word on. */
void ref_mask(struct device *dev, struct tensor logits, const uint32_t *allowed)
{
    (void)dev;
    for (int r = 0; r < logits.rows; r++, allowed += (logits.cols + 31) / 32)
        for (int i = 0; i < logits.cols; i++)
            if (!(allowed[i / 32] >> (i % 32) & 1))
                tensor_row(logits, r)[i] = -INFINITY;
}

/* The repetition penalty (Keskar et al. 2019) moves a logit towards minus infinity whatever its sign, and counts the
 * prompt. Those for frequency and presence are of the OpenAI API, and count what was generated alone. */
void ref_penalize(struct device *dev, struct tensor logits, const struct seen *seen, const int *first,
                  const struct penalty *penalty)
{
    (void)dev;
    for (int r = 0; r < logits.rows; r++)
        for (int i = first[r]; i < first[r + 1]; i++) {
            float *x = &tensor_row(logits, r)[seen[i].token];
            if (seen[i].in_prompt || seen[i].count > 0)
                *x = *x > 0 ? *x / penalty[r].repetition : *x * penalty[r].repetition;
            if (seen[i].count > 0)
                *x -= penalty[r].frequency * (float)seen[i].count + penalty[r].presence;
            *x += seen[i].bias;
        }
}

/* A logit that can be compared and subtracted. -0 becomes 0. */
static float clean(float x)
{
    if (isnan(x))
        return -INFINITY;
    return (x > FLT_MAX ? FLT_MAX : x) + 0.0f;
}

/* The same order as an unsigned number. */
static uint32_t order_of(float logit)
{
    uint32_t u;
    float x = clean(logit);
    memcpy(&u, &x, sizeof u);
    return u >> 31 ? ~u : u | 0x80000000;
}

/* The kept tokens: those above `order`, and of those equal to it the first `ties` by id. */
struct cut { uint32_t order; int ties; };

/* To be asked of every token in the order of ids: `ties_left` counts those on the border down. */
static bool kept(const struct cut *c, uint32_t order, int *ties_left)
{
    return order > c->order || (order == c->order && (*ties_left)-- > 0);
}

struct row {              /* one row to sample from */
    const float *logits;
    int          n;
    float        max, temperature;
};

/* Of token i, relative to the most likely one. */
static double weight(const struct row *s, int i)
{
    return (double)expf((clean(s->logits[i]) - s->max) / s->temperature);
}

/* The total weight of the kept tokens, each as 1 if `count`. */
static double total(const struct row *s, const struct cut *c, bool count)
{
    int left = c->ties;
    double sum = 0;
    for (int i = 0; i < s->n; i++)
        if (kept(c, order_of(s->logits[i]), &left))
            sum += count ? 1 : weight(s, i);
    return sum;
}

/* Narrows c to the smallest set of the largest logits whose weights (1 each if `count`) sum to at least `target`. */
static void narrow(const struct row *s, struct cut *c, bool count, double target)
{
    static const int shift[] = { 21, 10, 0 }, bins[] = { 2048, 2048, 1024 };
    double sum[2048], above = 0;
    int found = 0;
    uint32_t prefix = 0;
    for (int level = 0; level < 3; level++) {
        int left = c->ties, lowest = -1;
        memset(sum, 0, sizeof sum);
        for (int i = 0; i < s->n; i++) {
            uint32_t order = order_of(s->logits[i]);
            int bin = (int)(order >> shift[level]) & (bins[level] - 1);
            if (!kept(c, order, &left) || (level && order >> shift[level - 1] != prefix))
                continue;
            sum[bin] += count ? 1 : weight(s, i);
            lowest = lowest < 0 || bin < lowest ? bin : lowest;
        }
        found = bins[level] - 1;
        while (found > lowest && (sum[found] == 0 || above + sum[found] < target))
            above += sum[found--];
        prefix = level ? prefix << (shift[level - 1] - shift[level]) | (uint32_t)found : (uint32_t)found;
    }
    double each = count ? 1 : (double)expf(0);
    int left = c->ties, equal = 0;
    for (int i = 0; i < s->n; i++)
        if (order_of(s->logits[i]) == prefix && kept(c, prefix, &left)) {
            each = count ? 1 : weight(s, i);
            equal++;
        }
    double need = each > 0 ? ceil((target - above) / each) : 1;
    c->order = prefix;
    c->ties = equal;
    if (need < equal)
        c->ties = need < 1 ? 1 : (int)need;
}

/* How far adding up weights has come: before token `next`. */
struct walk { int next, ties_left, last; double sum; };

/* Goes on to token `end`, or to the first token with which the sum passes `goal`: that one, or -1. */
static int walk_on(const struct row *s, const struct cut *c, double min_p, struct walk *w, int end, double goal)
{
    for (; w->next < end; w->next++) {
        int i = w->next;
        double here;
        if (!kept(c, order_of(s->logits[i]), &w->ties_left) || (here = weight(s, i)) < min_p || !(here > 0))
            continue;
        w->sum += here;
        w->last = i;
        if (w->sum > goal)
            return i;
    }
    return -1;
}

/* Draws from the kept tokens: the first, by id, whose cumulated weight passes the random share of the whole. The sum
 * is noted at STOPS places on the way, so that only one part of the row is walked again. */
static int draw(const struct row *s, const struct cut *c, double min_p, double u)
{
    enum { STOPS = 256 };
    struct walk stop[STOPS + 1] = { { 0, c->ties, 0, 0 } };
    int part = s->n / STOPS + 1, n = 0;
    for (; n < STOPS && stop[n].next < s->n; n++) {
        stop[n + 1] = stop[n];
        walk_on(s, c, min_p, &stop[n + 1], stop[n].next + part < s->n ? stop[n].next + part : s->n, INFINITY);
    }
    double goal = stop[n].sum * u;
    int at = 0;
    while (at < n && !(stop[at + 1].sum > goal))
        at++;
    int found = at < n ? walk_on(s, c, min_p, &stop[at], stop[at + 1].next, goal) : -1;
    return found >= 0 ? found : stop[n].last;
}

/* The lowest id of the largest logit. NaN is larger than nothing, and nothing than the largest float. */
static int largest(const float *logits, int n)
{
    int best = 0;
    float most = clean(logits[0]);
    for (int i = 1; i < n; i++)
        if (logits[i] > most && most < FLT_MAX) {
            best = i;
            most = clean(logits[i]);
        }
    return best;
}

/* top_k, then top_p (Holtzman et al. 2020) among what that left, then min_p (Nguyen et al. 2024) while drawing. The
 * order is part of what a request means, so it is the same in every backend. */
static int sample_row(const float *logits, int n, const struct sampling *p)
{
    int best = largest(logits, n);
    struct row s = { logits, n, clean(logits[best]), p->temperature };
    struct cut c = { 0, INT_MAX };
    if (!(p->temperature > 0) || s.max == -INFINITY)
        return best;
    if (p->top_k > 0 && p->top_k < n)
        narrow(&s, &c, true, p->top_k);
    if (p->top_p < 1)
        narrow(&s, &c, false, (double)p->top_p * total(&s, &c, false));
    return draw(&s, &c, fminf(p->min_p, 1), random_unit(p->seed, p->step));
}

void ref_sample(struct device *dev, int *ids, struct tensor logits, const struct sampling *sampling)
{
    (void)dev;
    for (int r = 0; r < logits.rows; r++)
        ids[r] = sample_row(tensor_row(logits, r), logits.cols, &sampling[r]);
}

/* lp[0] is chosen's; the top_n largest follow, found by insertion: top_n is small. */
static void logprobs_row(int *top, float *lp, const float *logits, int n, int chosen, int top_n)
{
    double sum = 0;
    float max = clean(logits[largest(logits, n)]);
    int have = 0;
    for (int i = 0; i < n; i++) {
        float x = clean(logits[i]);
        sum += max > -INFINITY ? (double)expf(x - max) : 1;
        if (have == top_n && (top_n == 0 || x <= lp[top_n]))
            continue;
        int at = have < top_n ? have++ : top_n - 1;
        for (; at > 0 && x > lp[at]; at--) {
            lp[at + 1] = lp[at];
            top[at] = top[at - 1];
        }
        lp[at + 1] = x;
        top[at] = i;
    }
    float log_sum = (float)log(sum);
    lp[0] = clean(logits[chosen]);
    for (int i = 0; i <= have; i++)
        lp[i] = max > -INFINITY ? lp[i] - max - log_sum : -log_sum;
}

void ref_logprobs(struct device *dev, int *top, float *lp, struct tensor logits, const int *chosen, int top_n)
{
    (void)dev;
    for (int r = 0; r < logits.rows; r++)
        logprobs_row(top + r * top_n, lp + r * (top_n + 1), tensor_row(logits, r), logits.cols, chosen[r], top_n);
}
