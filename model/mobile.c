/* model/mobile.c - see mobile.h. */
#include "model/mobile.h"

void mobile_pack_conv(struct loader *l, struct weight *w, int out, int in, int k, const float *from, const float *bias)
{
    float *to = load_scratch(l, (size_t)out * (size_t)in * (size_t)(k * k));
    if (!to)
        return;
    for (int o = 0; o < out; o++)
        for (int c = 0; c < in; c++)
            for (int p = 0; p < k * k; p++)
                to[((size_t)o * (size_t)(k * k) + (size_t)p) * (size_t)in + (size_t)c] =
                    from[((size_t)o * (size_t)in + (size_t)c) * (size_t)(k * k) + (size_t)p];
    load_packed(l, w, LAYOUT_LINEAR, out, in * k * k, to, bias);
}

void mobile_pack_depthwise(struct loader *l, struct weight *w, int channels, int k, float *from, const float *bias)
{
    load_packed(l, w, LAYOUT_DEPTHWISE, channels, k * k, from, bias);
}

/* Zeros around one side of n pixels, as TensorFlow's "SAME" has them: what is missing so that every step of the kernel
 * has its pixels, half of it before and the larger half behind. */
static int same_padding(int n, int k, int stride, int *before)
{
    int last = n % stride == 0 ? stride : n % stride, all = k > last ? k - last : 0;
    *before = all / 2;
    return all;
}

/* The map with a border of zeros. */
static struct map padded(struct run *r, struct map in, int k, int stride)
{
    int top, left, h = in.h + same_padding(in.h, k, stride, &top), w = in.w + same_padding(in.w, k, stride, &left);
    int *idx = nn_host(r, h * w);
    for (int i = 0; i < h * w; i++) {
        int y = i / w - top, x = i % w - left;
        idx[i] = y >= 0 && y < in.h && x >= 0 && x < in.w ? y * in.w + x : -1;
    }
    return (struct map){ nn_gather(r, in.x, h * w, 1, nn_ints(r, idx, h * w), NULL), h, w };
}

struct map mobile_conv(struct run *r, struct map in, const struct weight *w, int k, int stride, enum act act, bool same,
                       bool depthwise)
{
    if (same)
        in = padded(r, in, k, stride);
    struct conv c = { in.h, in.w, k, stride, same ? 0 : k / 2, act };
    struct tensor y = depthwise ? nn_dwconv(r, in.x, w, c) : nn_conv(r, in.x, w, c);
    return (struct map){ y, conv_out(in.h, &c), conv_out(in.w, &c) };
}

struct map mobile_block(struct run *r, struct map in, const struct residual *b)
{
    struct map y = in;
    if (b->expand.out)
        y.x = nn_linear(r, in.x, &b->expand, (struct epilogue){ .act = b->act });
    y = mobile_conv(r, y, &b->depthwise, 3, b->stride, b->act, b->same, true);
    y.x = nn_linear(r, y.x, &b->project, (struct epilogue){ .add = b->add ? in.x : (struct tensor){ 0 } });
    return y;
}

struct tensor mobile_pool(struct run *r, struct tensor x)
{
    int   *row = nn_host(r, x.rows);
    float *share = nn_host_floats(r, x.rows);
    for (int i = 0; i < x.rows; i++) {
        row[i] = i;
        share[i] = 1.0f / (float)x.rows;
    }
    return nn_gather(r, x, 1, x.rows, nn_ints(r, row, x.rows), nn_floats(r, share, x.rows));
}
