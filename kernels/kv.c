/* kernels/kv.c - see kv.h. */
#include "kernels/kv.h"

#include <math.h>
#include <string.h>

#include "kernels/half.h"

float kv_fit(enum dtype t, float x) { return t == F16 && isfinite(x) ? fminf(fmaxf(x, -KV_F16_MAX), KV_F16_MAX) : x; }

/* A head of the cache as type t. A quantised head with a number that is not finite becomes NaN as a whole: the answer
 * shows that something is wrong instead of hiding it. */
void kv_put(enum dtype t, void *head, const float *x, int n)
{
    float nan = NAN;
    if (!quantised(t))
        for (int i = 0; i < n; i++)
            half_store(t, head, (size_t)i, kv_fit(t, x[i]));
    else if (quant_pack_plain(t, head, F32, x, n) >= 0)
        memcpy(memset(head, 0, quant_row_bytes(t, n)), &nan, sizeof nan);
}

float kv_get(enum dtype t, const void *head, int i)
{
    return quantised(t) ? quant_get(t, head, i) : half_load(t, head, (size_t)i);
}
