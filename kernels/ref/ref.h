/* kernels/ref/ref.h - the reference: what every operation means, in the
 * plainest C. Slow on purpose, one thread, float sums in the order of the
 * indices. Nothing here looks at the device, so that backend `cpu` can run
 * these functions on slices of rows. */
#ifndef KERNELS_REF_REF_H
#define KERNELS_REF_REF_H
#include "kernels/ops.h"

/* dense.c */
void  ref_embed(struct device *, struct tensor out, const struct weight *, const int *ids);
void  ref_linear(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct epilogue *);
void  ref_norm(struct device *, struct tensor x, const struct norms *);
void  ref_act(struct device *, struct tensor out, struct tensor x, enum act, bool glu);
void  ref_add(struct device *, struct tensor out, struct tensor a, struct tensor b);
void  ref_copy(struct device *, struct tensor out, struct tensor x);
void  ref_fuse(struct device *, struct tensor out, struct tensor a, struct tensor b, struct tensor logits);
float ref_act1(enum act, float x);
void  ref_norm1(float *out, const float *x, int n, const struct norm *, const float *add);   /* add: NULL: nothing */

/* experts.c; route() is the choice of every row, then the order of all */
void ref_route(struct device *, const struct routes *out, struct tensor logits, const struct router *);
void ref_choose(const struct routes *out, struct tensor logits, const struct router *, int from, int n);
void ref_group(const struct routes *out, int rows, const struct router *);
void ref_linear_grouped(struct device *, struct tensor out, struct tensor x, const struct experts *, const int *first,
                        enum act, bool glu);

/* attention.c */
void ref_prep(struct device *, struct tensor q, struct tensor k, struct tensor v, const struct heads *, const int *pos,
              const struct kv *, int layer, const int *slot);
void ref_attend(struct device *, struct tensor out, struct tensor q, const struct kv *, int layer, const struct heads *,
                const struct batch *, const struct view *);
void ref_attend_ragged(struct device *, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                       const struct heads *, int n_seg, const int *q_first, const int *kv_first);

/* image.c */
void ref_pixels(struct device *, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift);
void ref_conv2d(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct conv *);
void ref_dwconv2d(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct conv *);
void ref_gather(struct device *, struct tensor out, struct tensor x, int taps, const int *idx, const float *w);
void ref_scatter(struct device *, struct tensor out, struct tensor x, const int *idx, bool add);

/* tokens.c */
void ref_mask(struct device *, struct tensor logits, const uint32_t *allowed);
void ref_penalize(struct device *, struct tensor logits, const struct seen *, const int *first, const struct penalty *);
void ref_sample(struct device *, int *ids, struct tensor logits, const struct sampling *);
void ref_logprobs(struct device *, int *top, float *lp, struct tensor logits, const int *chosen, int top_n);

static inline float *tensor_row(struct tensor t, int r) { return (float *)t.data + (size_t)r * (size_t)t.stride; }

#endif
