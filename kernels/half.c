/* kernels/half.c - see half.h. Rounding is to nearest, ties to even. */
#include "kernels/half.h"

#include <assert.h>
#include <string.h>

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

float bf16_get(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t bf16_put(float x)
{
    uint32_t u = bits_of(x);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);             /* NaN: a carry could make it infinite */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Shifting the 15 bits into a float's place leaves the exponent 112 too small; a product puts it right, for
 * denormals too. */
float f16_get(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
    if (rest >= 0x0f800000)
        return float_of(sign | rest | 0x7f800000);     /* infinity, NaN */
    return float_of(sign | bits_of(float_of(rest) * 0x1p112f));
}

/* Rounds to the nearest, ties to even, as the hardware does. NaNs stay NaNs, and what is too large becomes infinite. */
uint16_t f16_put(float x)
{
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (u >= 0x477ff000)                               /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00);
    if (u < 0x38800000)                                /* denormal: let the addition round */
        return (uint16_t)(sign | (bits_of(float_of(u) + 0.5f) - bits_of(0.5f)));
    return (uint16_t)(sign | ((u - 0x38000000 + 0xfff + (u >> 13 & 1)) >> 13));
}

float half_load(enum dtype t, const void *data, size_t i)
{
    assert(t == F32 || t == F16 || t == BF16);
    const char *p = (const char *)data + i * dtype_size(t);
    float x;
    uint16_t h;
    if (t == F32)
        return memcpy(&x, p, sizeof x), x;             /* files do not promise alignment */
    memcpy(&h, p, sizeof h);
    return t == BF16 ? bf16_get(h) : f16_get(h);
}

void half_load_n(enum dtype t, const void *data, size_t i, int n, float *out)
{
    const char *p = (const char *)data + i * dtype_size(t);
    uint16_t h;
    assert(t == F32 || t == F16 || t == BF16);
    if (t == F32)
        memcpy(out, p, (size_t)n * sizeof *out);
    else if (t == F16)
        for (int k = 0; k < n; k++)
            out[k] = f16_get((memcpy(&h, p + 2 * k, sizeof h), h));
    else
        for (int k = 0; k < n; k++)
            out[k] = float_of((uint32_t)(memcpy(&h, p + 2 * k, sizeof h), h) << 16);
}

void half_store(enum dtype t, void *data, size_t i, float x)
{
    assert(t == F32 || t == F16 || t == BF16);
    if (t == F32)
        ((float *)data)[i] = x;
    else
        ((uint16_t *)data)[i] = t == BF16 ? bf16_put(x) : f16_put(x);
}
