/* model/calibrate.h - makes a matrix int4 or int8 for what it will be multiplied
 * with.
 *
 * Rounding a column of a weight to what can be stored leaves an error. Where
 * the columns of the inputs are related, as those of every trained model are,
 * columns that are rounded later can make up for most of it. How they are
 * related is learned from a sample of inputs X: H = X' X, made a little larger
 * on its diagonal, so that what the sample does not show stays as it is. Then
 * kernels/quant.h's feedback is H = U D U', and each row of the weight is
 * rounded group by group. (Frantar et al., GPTQ, 2022.) Int8 is rotated, and
 * so are W and X then, before all that.
 *
 * With `in` columns it takes the memory of in^2 floats and a few hundred rows,
 * and computes about rows(X) in^2 / 2 + in^3 / 3 + out in^2 / 2 products, nearly all
 * of them in the backend's linear(). */
#ifndef MODEL_CALIBRATE_H
#define MODEL_CALIBRATE_H
#include <signal.h>

#include "kernels/ops.h"

/* The rows of n slabs of plain floats as records of shape->dtype, which is Q4 or Q8: shape->out times
 * quant_row_bytes(shape->dtype, shape->in) bytes, for inputs like x (rows, shape->in), which lies in the memory of a
 * device of backend_cpu. -1: memory is out, a number is not finite, or *stop was set meanwhile (NULL: nobody does). */
int calibrate_rows(struct device *dev, const struct weight *shape, const struct slab *slabs, int n, struct tensor x,
                   void *records, const volatile sig_atomic_t *stop, struct err *e);

#endif
