/* kernels/ref/dense.c - embedding, linear layers, norms and what is done
 * element by element. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/quant.h"
#include "kernels/ref/ref.h"

/* Columns i .. i + 31 of row o of the weight, and how many of them there are. i is a multiple of QUANT_GROUP. */
static int weight_part(const struct weight *w, int o, int i, float x[QUANT_GROUP])
{
    int n = w->in - i < QUANT_GROUP ? w->in - i : QUANT_GROUP;
    if (quantised(w->dtype))
        quant_unpack_group(w->dtype, (const char *)w->data + (size_t)o * quant_row_bytes(w->dtype, w->in), i, x);
    else
        half_load_n(w->dtype, w->data, (size_t)o * (size_t)w->in + (size_t)i, n, x);
    return n;
}

/* Row ids[r] of the table, as floats. */
void ref_embed(struct device *dev, struct tensor out, const struct weight *w, const int *ids)
{
    (void)dev;
    for (int r = 0; r < out.rows; r++)
        for (int c = 0; c < out.cols; c += QUANT_GROUP) {
            float part[QUANT_GROUP];
            int n = weight_part(w, ids[r], c, part);
            memcpy(tensor_row(out, r) + c, part, sizeof *part * (size_t)n);
        }
}

/* GELU: Hendrycks & Gimpel 2016, whole, with their approximation by tanh, and their sigmoid with 1.702 ("quick"). SiLU:
 * the same paper, and as "swish" Ramachandran et al. 2017. ReLU6: Howard et al. 2017. */
float ref_act1(enum act act, float x)
{
    switch (act) {
    case ACT_RELU:       return fmaxf(x, 0);
    case ACT_RELU6:      return fminf(fmaxf(x, 0), 6);
    case ACT_SILU:       return x / (1 + expf(-x));
    case ACT_GELU:       return 0.5f * x * (1 + erff(x * 0.70710678f));
    case ACT_GELU_TANH:  return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case ACT_QUICK_GELU: return x / (1 + expf(-1.702f * x));
    case ACT_TANH:       return tanhf(x);
    case ACT_NONE:       break;
    }
    return x;
}

/* Row o of x W' + b. */
static float dot(const float *x, const struct weight *w, int o)
{
    float sum = 0;
    for (int i = 0; i < w->in; i += QUANT_GROUP) {
        float part[QUANT_GROUP];
        int n = weight_part(w, o, i, part);
        for (int k = 0; k < n; k++)
            sum += x[i + k] * part[k];
    }
    return w->bias ? sum + w->bias[o] : sum;
}

/* The epilogue's steps follow each element's sum in the order of struct epilogue; norms need the whole row and come
 * last. */
void ref_linear(struct device *dev, struct tensor out, struct tensor x, const struct weight *w,
                const struct epilogue *ep)
{
    for (int r = 0; r < out.rows; r++)
        for (int c = 0; c < out.cols; c++) {
            float y = ref_act1(ep->act, dot(tensor_row(x, r), w, c));
            if (ep->glu)
                y *= dot(tensor_row(x, r), w, c + w->out / 2);
            if (ep->mul.data)
                y *= tensor_row(ep->mul, 0)[c];
            if (ep->add.data)
                y += tensor_row(ep->add, r)[c];
            tensor_row(out, r)[c] = y;
        }
    if (ep->after)
        ref_norm(dev, out, ep->after);
}

/* LayerNorm (Ba et al. 2016) with `center`, else RMSNorm (Zhang & Sennrich 2019). The variance is taken around the
 * mean that was found, not from sums of squares, which would lose digits. out may be x or add. */
void ref_norm1(float *out, const float *x, int n, const struct norm *norm, const float *add)
{
    float mean = 0, square = 0;
    if (norm->center) {
        for (int i = 0; i < n; i++)
            mean += x[i];
        mean /= (float)n;
    }
    for (int i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    float scale = 1 / sqrtf(square / (float)n + norm->eps);
    for (int i = 0; i < n; i++) {
        float y = (x[i] - mean) * scale;
        if (norm->w.data)
            y *= tensor_row(norm->w, 0)[i];
        if (norm->b.data)
            y += tensor_row(norm->b, 0)[i];
        out[i] = add ? y + add[i] : y;
    }
}

/* The second norm reads what the first one has stored, residual included. */
void ref_norm(struct device *dev, struct tensor x, const struct norms *n)
{
    (void)dev;
    for (int r = 0; r < x.rows; r++) {
        ref_norm1(tensor_row(n->out, r), tensor_row(x, r), x.cols, n->norm, n->add.data ? tensor_row(n->add, r) : NULL);
        if (n->then)
            ref_norm1(tensor_row(n->then_out, r), tensor_row(n->out, r), x.cols, n->then, NULL);
    }
}

/* Gated (Shazeer 2020): the first half of the columns goes through the activation and multiplies the second. */
void ref_act(struct device *dev, struct tensor out, struct tensor x, enum act act, bool glu)
{
    (void)dev;
    for (int r = 0; r < out.rows; r++)
        for (int c = 0; c < out.cols; c++) {
            float y = ref_act1(act, tensor_row(x, r)[c]);
            tensor_row(out, r)[c] = glu ? y * tensor_row(x, r)[c + out.cols] : y;
        }
}

/* A b of one row is added to every row of a. */
void ref_add(struct device *dev, struct tensor out, struct tensor a, struct tensor b)
{
    (void)dev;
    for (int r = 0; r < out.rows; r++)
        for (int c = 0; c < out.cols; c++)
            tensor_row(out, r)[c] = tensor_row(a, r)[c] + tensor_row(b, b.rows == 1 ? 0 : r)[c];
}

/* Between types of floats; to a shorter one numbers are rounded to nearest, ties to even. */
void ref_copy(struct device *dev, struct tensor out, struct tensor x)
{
    (void)dev;
    for (int r = 0; r < out.rows; r++)
        for (int c = 0; c < out.cols; c++)
            half_store(out.dtype, out.data, (size_t)r * (size_t)out.stride + (size_t)c,
                       half_load(x.dtype, x.data, (size_t)r * (size_t)x.stride + (size_t)c));
}

/* A softmax over two logits, with the larger taken off so that neither exponential overflows. */
void ref_fuse(struct device *dev, struct tensor out, struct tensor a, struct tensor b, struct tensor logits)
{
    (void)dev;
    for (int r = 0; r < out.rows; r++) {
        const float *l = tensor_row(logits, r);
        float max = fmaxf(l[0], l[1]), e0 = expf(l[0] - max), e1 = expf(l[1] - max);
        float g0 = e0 / (e0 + e1), g1 = e1 / (e0 + e1);
        for (int c = 0; c < out.cols; c++)
            tensor_row(out, r)[c] = g0 * tensor_row(a, r)[c] + g1 * tensor_row(b, r)[c];
    }
}
