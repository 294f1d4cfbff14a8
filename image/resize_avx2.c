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

/* Two neighbouring weights in every 32 bits. */
static inline __m256i load_pair(const int16_t *w)
{
    int v;
    memcpy(&v, w, sizeof v);
    return _mm256_set1_epi32(v);
}

/* Sixteen bytes of each of two rows, one in each half of a register. */
static inline __m256i two_rows(const uint8_t *a, const uint8_t *b)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)a)),
                                   _mm_loadu_si128((const __m128i *)b), 1);
}

/* Three bytes, without touching the fourth. */
static inline void put_rgb(uint8_t *to, int rgb)
{
    memcpy(to, &rgb, 2);
    to[2] = (uint8_t)(rgb >> 16);
}

/* One row in each half of a register: its coming and going is shared. */
static inline void rows(uint8_t *const out[2], const uint8_t *const in[2], const struct taps *t, bool wide)
{
    /* Of pixels 0 1 and 2 3: r0 r1 g0 g1 b0 b1 0 0 in 16 bits. */
    const __m256i p01 = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m256i p23 = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    const __m256i half = _mm256_set1_epi32(1 << (t->bits - 1));
    const __m128i shift = _mm_cvtsi32_si128(t->bits);
    for (int i = 0; i < t->n; i++) {
        const int16_t *wl = t->low + (size_t)i * (size_t)t->stride, *wh = t->high + (size_t)i * (size_t)t->stride;
        size_t at = (size_t)t->start[i] * 3;
        __m256i low = half, high = _mm256_setzero_si256();
        for (int j = 0; j < t->count[i]; j += TAP_GROUP, at += 3 * TAP_GROUP) {
            __m256i v = two_rows(in[0] + at, in[1] + at);
            __m256i x = _mm256_shuffle_epi8(v, p01), y = _mm256_shuffle_epi8(v, p23);
            low = _mm256_add_epi32(low, _mm256_madd_epi16(x, load_pair(wl + j)));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(y, load_pair(wl + j + 2)));
            if (!wide) continue;
            high = _mm256_add_epi32(high, _mm256_madd_epi16(x, load_pair(wh + j)));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(y, load_pair(wh + j + 2)));
        }
        if (wide) low = _mm256_add_epi32(low, _mm256_slli_epi32(high, HIGH_SHIFT));
        low = _mm256_sra_epi32(low, shift);
        low = _mm256_packs_epi32(low, low);
        low = _mm256_packus_epi16(low, low);
        put_rgb(out[0] + (size_t)i * 3, _mm_cvtsi128_si32(_mm256_castsi256_si128(low)));
        put_rgb(out[1] + (size_t)i * 3, _mm_cvtsi128_si32(_mm256_extracti128_si256(low, 1)));
    }
}

/* Two copies of the loop, so that the question for wide weights is not asked inside of it. */
static void taps_rows_avx2(uint8_t *const out[2], const uint8_t *const in[2], const struct taps *t)
{
    if (t->wide)
        rows(out, in, t, true);
    else
        rows(out, in, t, false);
}

struct sums { __m256i v[4]; }; /* of 32 bytes, in the order that the unpacking leaves */

/* Adds 32 products to the four registers of sums. */
static inline void add_products(struct sums *s, const __m256i v[4], __m256i w)
{
    for (int k = 0; k < 4; k++) s->v[k] = _mm256_add_epi32(s->v[k], _mm256_madd_epi16(v[k], w));
}

/* 32 columns of one output row: pairs of input rows are interleaved, so that one madd multiplies both by their weights
 * and adds the products. An odd count reads one row more, whose weight is 0. */
static inline __m256i sum_32(const uint8_t *const *in, size_t at, const struct taps *t, size_t w, int count,
                             bool wide)
{
    const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(1 << (t->bits - 1));
    struct sums low = { { half, half, half, half } }, high = { { zero, zero, zero, zero } };
    for (int j = 0; j < count; j += 2, w += 2) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(in[j] + at));
        __m256i b = _mm256_loadu_si256((const __m256i *)(in[j + 1] + at));
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

/* Steps of 32 columns; rows shorter than that go through plain C. The last step overlaps the one before, which
 * computes some columns twice and needs no special end. */
static void taps_column_avx2(uint8_t *out, const uint8_t *const *in, const struct taps *t, int i, size_t n)
{
    enum { STEP = 32 };
    if (n < STEP) {
        resize_loops_c.taps_column(out, in, t, i, n);
        return;
    }
    size_t w = (size_t)i * (size_t)t->stride;
    int count = t->count[i];
    for (size_t at = 0; at < n; at += STEP) {
        if (at > n - STEP) at = n - STEP; /* the last step overlaps the one before */
        __m256i v = t->wide ? sum_32(in, at, t, w, count, true) : sum_32(in, at, t, w, count, false);
        _mm256_storeu_si256((__m256i *)(out + at), v);
    }
}

const struct resize_loops resize_loops_avx2 = { taps_rows_avx2, taps_column_avx2 };

#else
const struct resize_loops resize_loops_avx2 = { 0 };
#endif
