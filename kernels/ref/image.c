/* kernels/ref/image.c - feature maps: convolutions, gather and scatter. */
#include <string.h>

#include "kernels/half.h"
#include "kernels/ref/ref.h"

/* Rescaling and normalising are one product and one sum, as in the references' fast image processors. */
void ref_pixels(struct device *dev, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift)
{
    (void)dev;
    for (int r = 0; r < out.rows; r++)
        for (int c = 0; c < 3; c++)
            tensor_row(out, r)[c] = (float)rgb[3 * (size_t)r + (size_t)c] * scale[c] + shift[c];
}

/* Where tap (ky, kx) of output pixel (oy, ox) lies in the input; NULL: outside, counts as zero. */
static const float *tap(struct tensor x, const struct conv *v, int oy, int ox, int ky, int kx)
{
    int iy = oy * v->stride - v->pad + ky, ix = ox * v->stride - v->pad + kx;
    return iy < 0 || iy >= v->h || ix < 0 || ix >= v->w ? NULL : tensor_row(x, iy * v->w + ix);
}

/* Padding counts as zeros, which are left out of the sum. A weight's row is (ky, kx, channel). */
void ref_conv2d(struct device *dev, struct tensor out, struct tensor x, const struct weight *w, const struct conv *v)
{
    (void)dev;
    int ow = (v->w + 2 * v->pad - v->kernel) / v->stride + 1;
    for (int r = 0; r < out.rows; r++)
        for (int o = 0; o < w->out; o++) {
            float sum = 0;
            for (int t = 0; t < v->kernel * v->kernel; t++) {
                const float *in = tap(x, v, r / ow, r % ow, t / v->kernel, t % v->kernel);
                for (int c = 0; in && c < x.cols; c++)
                    sum += in[c] * half_load(w->dtype, w->data, (size_t)o * (size_t)w->in + (size_t)(t * x.cols + c));
            }
            tensor_row(out, r)[o] = ref_act1(v->act, w->bias ? sum + w->bias[o] : sum);
        }
}

/* A convolution with a filter of its own for each channel. Taps outside of the picture count as zeros. */
void ref_dwconv2d(struct device *dev, struct tensor out, struct tensor x, const struct weight *w, const struct conv *v)
{
    (void)dev;
    int ow = (v->w + 2 * v->pad - v->kernel) / v->stride + 1;
    for (int r = 0; r < out.rows; r++)
        for (int c = 0; c < w->out; c++) {
            float sum = 0;
            for (int t = 0; t < v->kernel * v->kernel; t++) {
                const float *in = tap(x, v, r / ow, r % ow, t / v->kernel, t % v->kernel);
                if (in)
                    sum += in[c] * half_load(w->dtype, w->data, (size_t)c * (size_t)w->in + (size_t)t);
            }
            tensor_row(out, r)[c] = ref_act1(v->act, w->bias ? sum + w->bias[c] : sum);
        }
}

/* A sum over `taps` rows, weighted: an interpolation. Without weights it is a copy, and a row of zeros where idx says
 * so. */
void ref_gather(struct device *dev, struct tensor out, struct tensor x, int taps, const int *idx, const float *w)
{
    (void)dev;
    for (int r = 0; r < out.rows; r++) {
        float *o = tensor_row(out, r);
        memset(o, 0, sizeof *o * (size_t)out.cols);
        for (int t = 0; t < taps; t++) {
            size_t i = (size_t)r * (size_t)taps + (size_t)t;
            for (int c = 0; idx[i] >= 0 && c < out.cols; c++)
                o[c] += w ? w[i] * tensor_row(x, idx[i])[c] : tensor_row(x, idx[i])[c];
        }
    }
}

/* The order of the rows does not matter, because no two go to the same place. */
void ref_scatter(struct device *dev, struct tensor out, struct tensor x, const int *idx, bool add)
{
    (void)dev;
    for (int r = 0; r < x.rows; r++)
        for (int c = 0; idx[r] >= 0 && c < x.cols; c++)
            tensor_row(out, idx[r])[c] = tensor_row(x, r)[c] + (add ? tensor_row(out, idx[r])[c] : 0);
}
