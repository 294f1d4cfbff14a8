/* model/measure.h - how much memory a pass will need, found by running it with
 * operations that do nothing. */
#ifndef MODEL_MEASURE_H
#define MODEL_MEASURE_H
#include <stddef.h>

#include "model/model.h"

struct pass_memory {           /* bytes */
    size_t scratch;            /* of the device                          */
    size_t host;               /* of the arena of tables, model/nn.h     */
};

/* For one step of `rows` rows in `seqs` sequences, of which n_out want logits
 * and image_rows are replaced by image tokens; for encoding one image. Works on
 * a dry model. */
struct pass_memory model_measure_forward(const struct model *m, int rows, int seqs, int n_out, int image_rows);
struct pass_memory model_measure_encode(const struct model *m, const struct image_plan *plan);
/* Scratch for bringing one vector to the model's classes or to the space of texts and images; 0: it has neither. */
size_t model_measure_project(const struct model *m);

#endif
