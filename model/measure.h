/* model/measure.h - how much scratch a pass will need, found by running it with
 * operations that do nothing. */
#ifndef MODEL_MEASURE_H
#define MODEL_MEASURE_H
#include <stddef.h>

#include "model/model.h"

/* Bytes of scratch for one step of `rows` rows in `seqs` sequences, of which
 * n_out want logits and image_rows are replaced by image tokens. Works on a
 * dry model. */
size_t model_measure_forward(const struct model *m, int rows, int seqs, int n_out, int image_rows);
size_t model_measure_encode(const struct model *m, const struct image_plan *plan);

#endif
