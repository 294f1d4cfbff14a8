/* model/rope.h - tables of rotary embeddings: for each rotated pair a frequency
 * with all scaling in it, and the axis (0 t, 1 h, 2 w) whose position it turns
 * with.
 *
 * Schemes: default, linear, dynamic, llama3, yarn; mrope in sections (Qwen2-VL,
 * GLM) or interleaved (Qwen3-VL); rows and columns of an image. `dynamic`
 * changes frequencies only beyond max_position_embeddings, which is where our
 * context ends, so here it is the default. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H
#include "model/load.h"

enum mrope { MROPE_NONE, MROPE_SECTIONS, MROPE_INTERLEAVED };

struct rope_kind {           /* what a family's code fixes                            */
    int    head_dim;
    double theta;            /* the class default, where the configuration has none   */
    double partial;          /* likewise of partial_rotary_factor                     */
    bool   interleaved;      /* pairs (2i, 2i+1)                                      */
    enum mrope mrope;
    int    section[3];       /* the class default                                     */
};

/* Reads rope_scaling or rope_parameters, rope_theta and partial_rotary_factor of a text configuration. *context: in
 * max_position_embeddings, out what yarn extends it to; may be NULL. */
void rope_load(struct loader *l, struct rope *out, struct hparams *text, const struct rope_kind *kind, int *context);

/* Vision: the first half of the pairs turns with pos[0] (row), the second with pos[1] (column), whole head. */
void rope_load_2d(struct loader *l, struct rope *out, int head_dim, double theta);

#endif
