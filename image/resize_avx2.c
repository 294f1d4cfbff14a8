/* image/resize_avx2.c - the loops of resize.h with AVX2, for CPUs that have it
 * (resize.c asks).
 *
 * Bytes are widened to 16 bits in pairs and multiplied by pairs of weights:
 * one madd does 16 products and 8 additions. Pillow's weights have 24 bits; they
 * go in two halves, sum = (sum of high) * 2^12 + sum of low, exact in 32 bits. */
#include "image/resize.h"

#if defined(__AVX2__)
#include <immintrin.h>
#include <string.h>

enum { HIGH_SHIFT = 12 };

static inline int load_pair(const int16_t *w)
{
    int v;
    memcpy(&v, w, sizeof v);
    return v;
}

/* Four weights a b c d -> low half: a b four times, high half: c d. */
static inline __m256i spread(const int16_t *w)
{
    __m256i v = _mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)w));
    return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
}

static inline __m128i fold(__m256i v)
{
    return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

static inline int one_pixel(const uint8_t *p, const struct taps *t, size_t w, int count, bool wide)
{
    /* Pixels 0 1 in the low half and 2 3 in the high one, as r0 r1 g0 g1 b0 b1 0 0 in 16 bits. */
    const __m256i pairs = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                                           -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    __m256i low = _mm256_setzero_si256(), high = low;
    for (int j = 0; j < count; j += TAP_GROUP, p += 3 * TAP_GROUP, w += TAP_GROUP) {
        __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
        v = _mm256_shuffle_epi8(v, pairs);
        low = _mm256_add_epi32(low, _mm256_madd_epi16(v, spread(t->low + w)));
        if (wide) high = _mm256_add_epi32(high, _mm256_madd_epi16(v, spread(t->high + w)));
    }
    __m128i sum = _mm_add_epi32(fold(low), _mm_set1_epi32(1 << (t->bits - 1)));
    if (wide) sum = _mm_add_epi32(sum, _mm_slli_epi32(fold(high), HIGH_SHIFT));
    sum = _mm_sra_epi32(sum, _mm_cvtsi32_si128(t->bits));
    sum = _mm_packs_epi32(sum, sum);
    return _mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
}

static inline void row(uint8_t *out, const uint8_t *in, const struct taps *t, bool wide)
{
    size_t w = 0;
    for (int i = 0; i < t->n; i++, out += 3, w += (size_t)t->stride) {
        int rgb = one_pixel(in + (size_t)t->start[i] * 3, t, w, t->count[i], wide);
        memcpy(out, &rgb, 2);
        out[2] = (uint8_t)(rgb >> 16);
    }
}

static void taps_row_avx2(uint8_t *out, const uint8_t *in, const struct taps *t)
{
    if (t->wide)
        row(out, in, t, true);
    else
        row(out, in, t, false);
}

struct sums { __m256i v[4]; }; /* of 32 bytes, in the order that the unpacking leaves */

static inline void add_products(struct sums *s, const __m256i v[4], int pair)
{
    const __m256i w = _mm256_set1_epi32(pair);
    for (int k = 0; k < 4; k++) s->v[k] = _mm256_add_epi32(s->v[k], _mm256_madd_epi16(v[k], w));
}

static inline __m256i sum_32(const uint8_t *const *rows, size_t at, const struct taps *t, size_t w, int count,
                             bool wide)
{
    const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(1 << (t->bits - 1));
    struct sums low = { { half, half, half, half } }, high = { { zero, zero, zero, zero } };
    for (int j = 0; j < count; j += 2, w += 2) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(rows[j] + at));
        __m256i b = _mm256_loadu_si256((const __m256i *)(rows[j + 1] + at));
        __m256i ab = _mm256_unpacklo_epi8(a, b), cd = _mm256_unpackhi_epi8(a, b);
        __m256i v[4] = { _mm256_unpacklo_epi8(ab, zero), _mm256_unpackhi_epi8(ab, zero),
                         _mm256_unpacklo_epi8(cd, zero), _mm256_unpackhi_epi8(cd, zero) };
        add_products(&low, v, load_pair(t->low + w));
        if (wide) add_products(&high, v, load_pair(t->high + w));
    }
    const __m128i shift = _mm_cvtsi32_si128(t->bits);
    for (int k = 0; k < 4; k++) {
        if (wide) low.v[k] = _mm256_add_epi32(low.v[k], _mm256_slli_epi32(high.v[k], HIGH_SHIFT));
        low.v[k] = _mm256_sra_epi32(low.v[k], shift);
    }
    return _mm256_packus_epi16(_mm256_packs_epi32(low.v[0], low.v[1]), _mm256_packs_epi32(low.v[2], low.v[3]));
}

static void taps_column_avx2(uint8_t *out, const uint8_t *const *rows, const struct taps *t, int i, size_t n)
{
    enum { STEP = 32 };
    if (n < STEP) {
        resize_loops_c.taps_column(out, rows, t, i, n);
        return;
    }
    size_t w = (size_t)i * (size_t)t->stride;
    int count = t->count[i];
    for (size_t at = 0; at < n; at += STEP) {
        if (at > n - STEP) at = n - STEP; /* the last step overlaps the one before */
        __m256i v = t->wide ? sum_32(rows, at, t, w, count, true) : sum_32(rows, at, t, w, count, false);
        _mm256_storeu_si256((__m256i *)(out + at), v);
    }
}

const struct resize_loops resize_loops_avx2 = { taps_row_avx2, taps_column_avx2 };

#else
const struct resize_loops resize_loops_avx2 = { 0 };
#endif
