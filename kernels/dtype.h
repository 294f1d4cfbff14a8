/* kernels/dtype.h - the types that numbers are stored in, and the names by which
 * options, plans and messages call them. */
#ifndef KERNELS_DTYPE_H
#define KERNELS_DTYPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* F8 and Q*: of weights for linear and embed, F8 and Q8 also of caches; kernels/quant.h has their layout. */
enum dtype { F32, F16, BF16, F8, I32, U8, Q8, Q4 };
enum { N_DTYPES = Q4 + 1 };

static inline size_t dtype_size(enum dtype t)            /* bytes per element of the plain types */
{
    static const uint8_t size[] = { [F32] = 4, [F16] = 2, [BF16] = 2, [F8] = 1, [I32] = 4, [U8] = 1, [Q8] = 1,
                                    [Q4] = 0 };
    return size[t];
}

const char *dtype_name(enum dtype t);                    /* "bf16", "int8" ... */
bool dtype_named(const char *name, enum dtype *out);     /* false: no type is called so */

#endif
