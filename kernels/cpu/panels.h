/* kernels/cpu/panels.h - weights as the matrix kernels read them.
 *
 * A panel is PANEL output channels. For each of them the columns go by words of
 * four bytes: the words of one step, channel after channel, are one 64-byte
 * vector, so that a step of a whole panel is one load, and x comes as what all
 * channels share. GROUP columns of a panel lie together; channels and columns
 * are filled up with zeros.
 *
 *   BF16 a group is w[GROUP / 2][PANEL][2]
 *   Q8   a group is q[GROUP / 4][PANEL][4], q + 128 as an unsigned byte; the
 *        scales of the channels stand apart (struct packed, scale)
 *   Q4   a group is scale[2][PANEL], bfloat16, each for half of the columns,
 *        then q[8][PANEL][4]: vector 4 h + i of half h has step 8 h + i in the
 *        low and step 8 h + 4 + i in the high halves of its bytes, q + 8
 *
 * The numbers are exactly those of the checkpoint, or of kernels/quant.h. */
#ifndef KERNELS_CPU_PANELS_H
#define KERNELS_CPU_PANELS_H
#include "kernels/cpu/linear.h"

enum {
    PANEL = 16,          /* output channels                                            */
    GROUP = 64,          /* columns                                                    */
    Q8_ZERO = 128,       /* what is added to a stored number to make it unsigned       */
    Q4_ZERO = 8,         /* the half byte that stands for 0                            */
    BF16_GROUP_BYTES = PANEL * GROUP * 2,
    Q8_GROUP_BYTES = PANEL * GROUP,
    Q4_SCALE_BYTES = 2 * PANEL * 2,
    Q4_GROUP_BYTES = Q4_SCALE_BYTES + PANEL * GROUP / 2,
};

static inline int panel_groups(int in) { return (in + GROUP - 1) / GROUP; }

/* t is BF16, Q8 or Q4. */
static inline size_t panel_bytes(enum dtype t, int in)
{
    static const int group[] = { [BF16] = BF16_GROUP_BYTES, [Q8] = Q8_GROUP_BYTES, [Q4] = Q4_GROUP_BYTES };
    return (size_t)panel_groups(in) * (size_t)group[t];
}

/* Panel i of a weight. */
static inline const uint8_t *panel_at(const struct weight *w, int i)
{
    return (const uint8_t *)((const struct packed *)w->data)->range[0].data + (size_t)i * panel_bytes(w->dtype, w->in);
}

/* Matrices that are smaller than a panel or a group would mostly be filling. */
static inline bool panels_suit(const struct weight *shape, enum dtype want)
{
    return (want == BF16 || want == Q8 || want == Q4) && shape->in >= GROUP && shape->out >= PANEL;
}

/* Bytes of all panels and scales of a weight of this shape. */
size_t panels_bytes(const struct weight *shape, enum dtype want);

/* Entries of struct linear_kernel. */
int panels_pack(struct device *, const struct linear_kernel *, struct weight *, const struct slab *, int n,
                enum dtype want, struct err *e);
void panels_row(const struct weight *w, int o, float *to);

#endif
