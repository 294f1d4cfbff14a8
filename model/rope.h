/* model/rope.h - tables of rotary embeddings: for each rotated pair a frequency
 * with all scaling in it, and the axis (0 t, 1 h, 2 w) whose position it turns
 * with.
 *
 * Schemes: default, linear, dynamic, llama3, yarn, longrope; each of them with
 * mrope in sections (Qwen2-VL, GLM) or interleaved (Qwen3-VL); rows and columns
 * of an image. `dynamic` has the frequencies for the context that is asked for,
 * which may be longer than the trained one. `longrope` has two tables: that for
 * long sequences holds for all tokens of one that is longer than
 * model.stretch_after. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H
#include "model/load.h"

enum mrope { MROPE_NONE, MROPE_SECTIONS, MROPE_INTERLEAVED };
enum { ROPE_MAX_DIM = 1024 };

struct rope_kind {           /* what a family's code fixes                            */
    int    head_dim;
    double theta;            /* the class default, where the configuration has none   */
    double partial;          /* likewise of partial_rotary_factor                     */
    bool   interleaved;      /* pairs (2i, 2i+1)                                      */
    enum mrope mrope;
    int    section[3];       /* the class default                                     */
    int    original;         /* of original_max_position_embeddings; 0: max_position_embeddings */
    bool   old_longrope;     /* "su" and "yarn" are names that longrope once had (Phi-3) */
    const char *layers;      /* which of the rope_parameters, where kinds of layers have their own; NULL: all share */
    const char *local_theta; /* the kind's own rope_theta in older files, where no scaling is meant for it; NULL:
                                rope_theta and rope_scaling are                       */
};

struct rope_table {          /* on the host; see struct rope */
    int     rot_dim;
    float   freq[ROPE_MAX_DIM / 2], stretched[ROPE_MAX_DIM / 2];
    uint8_t axis[ROPE_MAX_DIM / 2];
    double  mscale;
    int     context;         /* tokens, after scaling                                 */
    int     stretch_after;   /* `stretched` holds for longer sequences; 0: for none   */
};

/* Reads rope_scaling or rope_parameters, rope_theta and partial_rotary_factor of a text configuration. max_positions:
 * its max_position_embeddings; wanted: the context that is asked for, or 0. -1: an error is noted in `text`. */
int rope_make(struct rope_table *out, struct hparams *text, const struct rope_kind *kind, int max_positions,
              int wanted);

/* The same, put on the device. *context: in max_position_embeddings, out what the scheme makes of it; may be NULL.
 * Fills in the model's stretch_after. */
void rope_load(struct loader *l, struct rope *out, struct hparams *text, const struct rope_kind *kind, int *context);

/* Vision: the first half of the pairs turns with pos[0] (row), the second with pos[1] (column), whole head. */
void rope_load_2d(struct loader *l, struct rope *out, int head_dim, double theta);

#endif
