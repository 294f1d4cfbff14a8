/* kernels/dtype.c - see dtype.h. */
#include "kernels/dtype.h"

#include <string.h>

static const char *const names[N_DTYPES] = {
    [F32] = "f32", [F16] = "f16", [BF16] = "bf16", [F8] = "fp8", [I32] = "i32", [U8] = "u8", [Q8] = "int8",
        [Q4] = "int4",
};

const char *dtype_name(enum dtype t) { return names[t]; }

bool dtype_named(const char *name, enum dtype *out)
{
    for (int t = 0; t < N_DTYPES; t++)
        if (strcmp(name, names[t]) == 0) {
            *out = (enum dtype)t;
            return true;
        }
    return false;
}
