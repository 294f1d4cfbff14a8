/* kernels/panels.h - how backend `cpu` lays matrices out, and how prepared
 * checkpoints store them, so that a file's pages are the weights.
 *
 * A panel is PANEL output channels. For each of them the columns go by words of
 * four bytes: the words of one step, channel after channel, are one 64-byte
 * vector, so that a step of a whole panel is one load, and x comes as what all
 * channels share. GROUP columns of a panel lie together; channels and columns
 * are filled up with zeros.
 *
 *   BF16 a group is w[GROUP / 2][PANEL][2]
 *   Q8   a group is q[GROUP / 4][PANEL][4], q + 128 as an unsigned byte; the
 *        scales of the channels stand apart
 *   Q4   a group is scale[2][PANEL], bfloat16, each for half of the columns,
 *        then q[8][PANEL][4]: vector 4 h + i of half h has step 8 h + i in the
 *        low and step 8 h + 4 + i in the high halves of its bytes, q + 8
 *
 * The numbers are exactly those of the checkpoint, or of kernels/quant.h. Who
 * changes the layout or what the numbers mean changes PANELS_VERSION: files of
 * another version are refused. */
#ifndef KERNELS_PANELS_H
#define KERNELS_PANELS_H
#include "kernels/ops.h"

enum {
    PANELS_VERSION = 2,
    PANEL = 16,          /* output channels                                            */
    GROUP = 64,          /* columns                                                    */
    MOST_COLUMNS = 1 << 16, /* a block of rows of x must fit into the room for prepared rows */
    Q8_ZERO = 128,       /* what is added to a stored number to make it unsigned       */
    Q4_ZERO = 8,         /* the half byte that stands for 0                            */
    BF16_GROUP_BYTES = PANEL * GROUP * 2,
    Q8_GROUP_BYTES = PANEL * GROUP,
    Q4_SCALE_BYTES = 2 * PANEL * 2,
    Q4_GROUP_BYTES = Q4_SCALE_BYTES + PANEL * GROUP / 2,
};

static inline int panels_of(int out) { return (out + PANEL - 1) / PANEL; }
static inline int panel_groups(int in) { return (in + GROUP - 1) / GROUP; }

/* t is BF16, Q8 or Q4. */
static inline size_t panel_bytes(enum dtype t, int in)
{
    static const int group[] = { [BF16] = BF16_GROUP_BYTES, [Q8] = Q8_GROUP_BYTES, [Q4] = Q4_GROUP_BYTES };
    return (size_t)panel_groups(in) * (size_t)group[t];
}

/* Matrices that are smaller than a panel or a group would mostly be filling. */
static inline bool panels_suit(const struct weight *shape, enum dtype want)
{
    return (want == BF16 || want == Q8 || want == Q4) && shape->layout == LAYOUT_LINEAR && shape->in >= GROUP &&
           shape->in <= MOST_COLUMNS && shape->out >= PANEL;
}

/* Where the word of column k of channel c begins in a group whose words have `each` columns. */
static inline size_t panel_word(int c, int k, int each) { return (size_t)(k / each * PANEL + c) * 4; }

/* Row o of a matrix of `in` columns in panels, as kernels/quant.h has rows: quant_row_bytes(t, in) bytes. scale: of the
 * channels, for Q8. */
void panels_record(enum dtype t, const void *panels, const float *scale, int in, int o, void *record);

#endif
