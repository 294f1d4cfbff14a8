/* image/taps.c - weights of the resize filters, as the references compute
 * them: in double, normalised over the taps inside the picture, then rounded to
 * integers. Pillow keeps 22 bits of fraction; torchvision the most bits with
 * which the largest weight fits in int16. The order of every operation here
 * decides the last bit of a weight, so keep it. */
#include "image/taps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIL_BITS = 32 - 8 - 2, TORCH_MOST_BITS = 22, HIGH_SHIFT = 12 };

static double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* A sinc in a Hamming window of width 1, as Pillow writes it. */
static double hamming(double x)
{
    x = fabs(x);
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    x = x * M_PI;
    return sin(x) / x * (0.54f + 0.46f * cos(x)); /* the constants are floats in Pillow */
}

/* Keys' cubic convolution with a = -0.5. */
static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static double sinc(double x)
{
    if (x == 0.0) return 1.0;
    x = x * M_PI;
    return sin(x) / x;
}

static double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

static const struct shape {
    double (*at)(double x);
    double support;
} shapes[] = {
    [FILTER_LANCZOS] = { lanczos, 3.0 }, [FILTER_BILINEAR] = { bilinear, 1.0 }, [FILTER_BICUBIC] = { bicubic, 2.0 },
    [FILTER_BOX] = { box, 0.5 },         [FILTER_HAMMING] = { hamming, 1.0 },
};

void taps_free(struct taps *t)
{
    if (!t) return;
    free(t->start);
    free(t->count);
    free(t->weight);
    free(t->low);
    free(t->high);
    *t = (struct taps){ 0 };
}

/* Memory for n outputs of `stride` weights, which are zero. -1: the caller frees what was made. */
static int allocate(struct taps *t, size_t n, size_t stride)
{
    t->start = malloc(n * sizeof *t->start);
    t->count = malloc(n * sizeof *t->count);
    t->weight = calloc(n * stride, sizeof *t->weight);
    t->low = calloc(n * stride, sizeof *t->low);
    t->high = calloc(n * stride, sizeof *t->high);
    return t->start && t->count && t->weight && t->low && t->high ? 0 : -1;
}

struct window { int start, count; };       /* of input pixels */

/* The weights of output i of a side in double, divided by their sum, and the inputs that they belong to. A filter
 * widens where the picture shrinks and keeps its width where it grows. Taps outside of the picture are left out before
 * the weights are normalised. */
static struct window one_output(double *w, int i, const struct extent *side, const struct shape *f)
{
    double scale = (double)side->from / side->to, stretch = scale < 1.0 ? 1.0 : scale;
    double support = f->support * stretch, inverse = 1.0 / stretch;
    double center = (i + 0.5) * scale, total = 0.0;
    int start = (int)(center - support + 0.5), end = (int)(center + support + 0.5);
    if (start < 0) start = 0;
    if (end > side->from) end = side->from;
    int count = end - start;
    for (int j = 0; j < count; j++) {
        w[j] = f->at((j + start - center + 0.5) * inverse);
        total += w[j];
    }
    if (total != 0.0)
        for (int j = 0; j < count; j++) w[j] /= total;
    return (struct window){ start, count };
}

static double largest_of(const double *w, int n, double largest)
{
    for (int j = 0; j < n; j++) largest = w[j] > largest ? w[j] : largest;
    return largest;
}

/* The most bits of fraction with which the largest weight still fits into int16. */
static int torch_bits(double largest)
{
    int bits = 0;
    while (bits < TORCH_MOST_BITS && (int)(0.5 + largest * (1 << (bits + 1))) < 1 << 15) bits++;
    return bits;
}

/* Rounds half away from zero, as both references do. Pillow's weights have more bits than int16 holds, so they also go
 * into two halves for the loops in AVX2. */
static void to_integers(struct taps *t, const double *w)
{
    for (size_t i = 0; i < (size_t)t->n * (size_t)t->stride; i++) {
        double v = w[i] * (1 << t->bits);
        int k = (int)(v < 0 ? -0.5 + v : 0.5 + v);
        t->weight[i] = k;
        t->high[i] = (int16_t)(t->wide ? k >> HIGH_SHIFT : 0);
        t->low[i] = (int16_t)(t->wide ? k & ((1 << HIGH_SHIFT) - 1) : k);
    }
}

static int whole_groups(int taps) { return (taps + TAP_GROUP - 1) / TAP_GROUP * TAP_GROUP; }

int taps_most(int from, int to, enum filter filter)
{
    if (filter == FILTER_NEAREST) return 1;
    double scale = (double)from / to, stretch = scale < 1.0 ? 1.0 : scale;
    int most = (int)ceil(shapes[filter].support * stretch) * 2 + 1;
    return most < from ? most : from;
}

size_t taps_bytes(const struct extent *side, enum filter filter)
{
    size_t stride = (size_t)whole_groups(taps_most(side->from, side->to, filter)), n = (size_t)side->n;
    size_t weights = n * stride;
    return n * 2 * sizeof(int) + weights * (sizeof(double) + sizeof(int32_t) + 2 * sizeof(int16_t)) +
           stride * sizeof(double);
}

/* Computes all weights in double first, because torchvision's number of bits depends on the largest of them, also of
 * those of outputs that are not wanted. */
int taps_init(struct taps *t, const struct extent *side, enum filter filter, enum resizer how)
{
    const struct shape *f = &shapes[filter];
    size_t n = (size_t)side->n, stride = (size_t)whole_groups(taps_most(side->from, side->to, filter));
    *t = (struct taps){ .n = side->n, .stride = (int)stride };
    double *w = calloc((n + 1) * stride, sizeof *w);      /* one more, for the outputs that are not wanted */
    if (!w || allocate(t, n, stride)) {
        free(w);
        taps_free(t);
        return -1;
    }
    double largest = 0.0;
    for (int i = 0; i < side->to; i++) {
        bool wanted = i >= side->first && i - side->first < side->n;
        size_t k = wanted ? (size_t)(i - side->first) : n;
        struct window in = one_output(w + k * stride, i, side, f);
        largest = largest_of(w + k * stride, in.count, largest);
        if (!wanted) continue;
        t->start[k] = in.start;
        t->count[k] = in.count;
        if (in.count > t->most) t->most = in.count;
    }
    t->wide = how == RESIZER_PIL;
    t->bits = how == RESIZER_PIL ? PIL_BITS : torch_bits(largest);
    to_integers(t, w);
    free(w);
    return 0;
}

/* --- nearest ------------------------------------------------------------- */

/* torchvision's nearest-exact is torch's, which computes in float and has two
 * kernels that round differently; the size of the result chooses (measured). */
enum { TORCH_SMALL = 128 /* width + height */ };

static int torch_index(int i, float scale, bool small)
{
    float at = (float)i + 0.5f;
    return (int)(small ? floorf(at * scale) : floorf(fmaf(at, scale, -0.5f) + 0.5f));
}

/* Each output has one input pixel with the weight 1, so the same loops do this filter, too. The index is computed as
 * each reference does it, rounding errors included. */
int taps_nearest(struct taps *t, const struct extent *side, int64_t all, enum resizer how)
{
    enum { BITS = 8 };
    *t = (struct taps){ .n = side->n, .stride = TAP_GROUP, .bits = BITS, .most = 1 };
    if (allocate(t, (size_t)side->n, TAP_GROUP)) {
        taps_free(t);
        return -1;
    }
    bool small = all <= TORCH_SMALL;
    double step = (double)side->from / side->to, at = step * 0.5;
    float scale = (float)side->from / (float)side->to;
    for (int i = 0; i < side->first + side->n; i++, at += step) { /* Pillow adds up too, and collects the errors */
        int k = how == RESIZER_PIL ? (int)at : torch_index(i, scale, small), to = i - side->first;
        if (to < 0) continue;
        t->start[to] = k < side->from ? k : side->from - 1;
        t->count[to] = 1;
        t->weight[to * TAP_GROUP] = t->low[to * TAP_GROUP] = 1 << BITS;
    }
    return 0;
}

/* --- the other way round --------------------------------------------------- */

/* n things of `size` bytes in the opposite order. */
static void reverse(void *p, size_t n, size_t size)
{
    char *first = p, *last = first + (n - 1) * size, keep[sizeof(int32_t)];
    for (; n && first < last; first += size, last -= size) {
        memcpy(keep, first, size);
        memcpy(first, last, size);
        memcpy(last, keep, size);
    }
}

/* All weights backwards turn the order of the outputs and of the taps in each; then the zeros that fill up an output's
 * groups stand in front, and go behind again. */
static void reverse_weights(const struct taps *t, void *weights, size_t size)
{
    reverse(weights, (size_t)t->n * (size_t)t->stride, size);
    for (int i = 0; i < t->n; i++) {
        char *w = (char *)weights + (size_t)i * (size_t)t->stride * size;
        size_t used = (size_t)t->count[i] * size, zeros = (size_t)t->stride * size - used;
        memmove(w, w + zeros, used);
        memset(w + used, 0, zeros);
    }
}

/* What was the i-th output from the left becomes the i-th from the right, and its inputs likewise. */
void taps_mirror(struct taps *t, int from)
{
    if (t->n == 0) return;
    reverse(t->start, (size_t)t->n, sizeof *t->start);
    reverse(t->count, (size_t)t->n, sizeof *t->count);
    for (int i = 0; i < t->n; i++) t->start[i] = from - t->start[i] - t->count[i];
    reverse_weights(t, t->weight, sizeof *t->weight);
    reverse_weights(t, t->low, sizeof *t->low);
    reverse_weights(t, t->high, sizeof *t->high);
}
