/* image/taps.c - weights of the resize filters, as the references compute
 * them: in double, normalised over the taps inside the picture, then rounded to
 * integers. Pillow keeps 22 bits of fraction; torchvision the most bits with
 * which the largest weight fits in int16. The order of every operation here
 * decides the last bit of a weight, so keep it. */
#include "image/taps.h"

#include <math.h>
#include <stdlib.h>

enum { PIL_BITS = 32 - 8 - 2, TORCH_MOST_BITS = 22, HIGH_SHIFT = 12 };

static double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double hamming(double x)
{
    x = fabs(x);
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    x = x * M_PI;
    return sin(x) / x * (0.54f + 0.46f * cos(x)); /* the constants are floats in Pillow */
}

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

static int allocate(struct taps *t, size_t n, size_t stride)
{
    t->start = malloc(n * sizeof *t->start);
    t->count = malloc(n * sizeof *t->count);
    t->weight = calloc(n * stride, sizeof *t->weight);
    t->low = calloc(n * stride, sizeof *t->low);
    t->high = calloc(n * stride, sizeof *t->high);
    return t->start && t->count && t->weight && t->low && t->high ? 0 : -1;
}

/* The weights of output i in double; sets start and count. */
static void one_output(struct taps *t, double *w, int i, int from, const struct shape *f, double scale, double stretch)
{
    double support = f->support * stretch, inverse = 1.0 / stretch;
    double center = (i + 0.5) * scale, total = 0.0;
    int start = (int)(center - support + 0.5), end = (int)(center + support + 0.5);
    if (start < 0) start = 0;
    if (end > from) end = from;
    int count = end - start;
    for (int j = 0; j < count; j++) {
        w[j] = f->at((j + start - center + 0.5) * inverse);
        total += w[j];
    }
    if (total != 0.0)
        for (int j = 0; j < count; j++) w[j] /= total;
    t->start[i] = start;
    t->count[i] = count;
    if (count > t->most) t->most = count;
}

static int torch_bits(double largest)
{
    int bits = 0;
    while (bits < TORCH_MOST_BITS && (int)(0.5 + largest * (1 << (bits + 1))) < 1 << 15) bits++;
    return bits;
}

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

int taps_init(struct taps *t, int from, int to, enum filter filter, enum resizer how)
{
    const struct shape *f = &shapes[filter];
    double scale = (double)from / to, stretch = scale < 1.0 ? 1.0 : scale;
    int most = (int)ceil(f->support * stretch) * 2 + 1;
    if (most > from) most = from;
    *t = (struct taps){ .n = to, .stride = (most + TAP_GROUP - 1) / TAP_GROUP * TAP_GROUP };
    double *w = calloc((size_t)to * (size_t)t->stride, sizeof *w);
    if (!w || allocate(t, (size_t)to, (size_t)t->stride)) {
        free(w);
        taps_free(t);
        return -1;
    }
    double largest = 0.0;
    for (int i = 0; i < to; i++) one_output(t, w + (size_t)i * (size_t)t->stride, i, from, f, scale, stretch);
    for (size_t i = 0; i < (size_t)to * (size_t)t->stride; i++) largest = w[i] > largest ? w[i] : largest;
    t->wide = how == RESIZER_PIL;
    t->bits = how == RESIZER_PIL ? PIL_BITS : torch_bits(largest);
    to_integers(t, w);
    free(w);
    return 0;
}
