/* model/mobile.h - the blocks of MobileNetV2: widen, filter each channel by
 * itself, narrow again. Sandler and others, 2018 (arXiv:1801.04381). */
#ifndef MODEL_MOBILE_H
#define MODEL_MOBILE_H
#include "model/load.h"
#include "model/nn.h"

struct residual {                    /* inverted residual block                          */
    struct weight expand, depthwise, project;      /* expand may be empty: nothing is widened */
    enum act act;                    /* behind the first two                             */
    int  stride;
    bool add;                        /* stride 1 and as many channels out as in          */
    bool same;                       /* padded as in TensorFlow: an odd row or column of zeros goes to the end */
};

struct map { struct tensor x; int h, w; };         /* x (h * w, channels) */

/* (out, in, k, k) in PyTorch's order -> rows of (ky, kx, channel). `bias` may be NULL. */
void mobile_pack_conv(struct loader *l, struct weight *w, int out, int in, int k, const float *from, const float *bias);
/* (channels, 1, k, k), which lies as it is wanted already. */
void mobile_pack_depthwise(struct loader *l, struct weight *w, int channels, int k, float *from, const float *bias);

/* A convolution of k x k; `depthwise`: of each channel. Padded by k / 2 on all sides, or `same`. */
struct map mobile_conv(struct run *r, struct map in, const struct weight *w, int k, int stride, enum act act, bool same,
                       bool depthwise);
struct map mobile_block(struct run *r, struct map in, const struct residual *b);
/* The mean of all rows: (1, cols). */
struct tensor mobile_pool(struct run *r, struct tensor x);

#endif
