/* tests/kernels/test_ref.c - the reference against numbers worked out by hand
 * or by a second, plainer implementation here. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/ops.h"
#include "kernels/random.h"
#include "tests/suite.h"

#define OPS (backend_ref.ops)

static struct tensor mat(float *x, int rows, int cols) { return (struct tensor){ x, F32, rows, cols, cols }; }

static void expect(const float *got, const float *want, int n, float tol)
{
    for (int i = 0; i < n; i++)
        ck_assert_msg(fabsf(got[i] - want[i]) <= tol, "element %d is %g, not %g", i, (double)got[i], (double)want[i]);
}

START_TEST(test_half)
{
    for (uint32_t h = 0; h < 65536; h++) {
        if (!isnan(f16_get((uint16_t)h)))
            ck_assert_uint_eq(f16_put(f16_get((uint16_t)h)), h);
        if (!isnan(bf16_get((uint16_t)h)))
            ck_assert_uint_eq(bf16_put(bf16_get((uint16_t)h)), h);
    }
    ck_assert_float_eq(f16_get(0x3c00), 1);
    ck_assert_float_eq(f16_get(0x7bff), 65504);
    ck_assert_float_eq(f16_get(0x0001), 0x1p-24f);
    ck_assert(isinf(f16_get(0xfc00)) && isnan(f16_get(0x7e00)) && isnan(f16_get(f16_put(NAN))) &&
              isnan(bf16_get(bf16_put(NAN))));
    ck_assert_uint_eq(f16_put(65519.9f), 0x7bff);
    ck_assert_uint_eq(f16_put(65520), 0x7c00);
    ck_assert_uint_eq(f16_put(1 + 0x1p-11f), 0x3c00);          /* ties to even */
    ck_assert_uint_eq(f16_put(1 + 3 * 0x1p-11f), 0x3c02);
    ck_assert_uint_eq(f16_put(0x1.8p-24f), 2);                 /* denormals too */
    ck_assert_uint_eq(f16_put(0x1p-25f), 0);
    ck_assert_uint_eq(bf16_put(1 + 0x1p-8f), 0x3f80);
    ck_assert_uint_eq(bf16_put(1 + 3 * 0x1p-8f), 0x3f82);
}
END_TEST

START_TEST(test_act)
{
    float x[] = { -1, 0, 1, 7 }, y[4];
    static const float want[7][4] = {
        { -1, 0, 1, 7 }, { 0, 0, 1, 7 }, { 0, 0, 1, 6 }, { -0.26894142f, 0, 0.73105858f, 6.9936226f },
        { -0.15865525f, 0, 0.84134475f, 7 }, { -0.15880801f, 0, 0.84119199f, 7 },
        { -0.15420423f, 0, 0.84579577f, 6.9999531f },
    };
    for (int a = 0; a < 7; a++) {
        OPS.act(NULL, mat(y, 1, 4), mat(x, 1, 4), (enum act)a, false);
        expect(y, want[a], 4, 2e-6f);
    }
    OPS.act(NULL, mat(y, 1, 2), mat(x, 1, 4), ACT_RELU, true);
    expect(y, (float[]){ 0, 0 }, 2, 0);
    OPS.act(NULL, mat(y, 1, 2), mat((float[]){ 2, 3, 5, 7 }, 1, 4), ACT_RELU, true);
    expect(y, (float[]){ 10, 21 }, 2, 0);
}
END_TEST

START_TEST(test_linear)
{
    static const float w1[] = { 1, 2, 3, 4 }, w2[] = { 0, 1, 1, 0 }, bias[] = { 1, 0, 0, 1 };
    struct slab slabs[] = { { .data = w1, .dtype = F32, .rows = 2 }, { .data = w2, .dtype = F32, .rows = 2 } };
    struct weight w = { .out = 4, .in = 2 };
    float x[] = { 1, 10 }, y[4], mul[] = { 2, 3 }, add[] = { 1, 1 };
    ck_assert_int_eq(backend_ref.pack(NULL, &w, slabs, 2, bias, F32, NULL), 0);
    OPS.linear(NULL, mat(y, 1, 4), mat(x, 1, 2), &w, &(struct epilogue){ 0 });
    expect(y, (float[]){ 22, 43, 10, 2 }, 4, 0);
    OPS.linear(NULL, mat(y, 1, 2), mat(x, 1, 2), &w, &(struct epilogue){ .act = ACT_RELU6, .glu = true,
        .mul = mat(mul, 1, 2), .add = mat(add, 1, 2) });
    expect(y, (float[]){ 6 * 10 * 2 + 1, 6 * 2 * 3 + 1 }, 2, 0);
    /* y, then the two norms of it */
    float out[4], then_out[4], ones[] = { 1, 1, 1, 1 }, mean = 77 / 4.0f;
    struct norm centred = { mat(ones, 1, 4), { 0 }, 0, true }, rms = { mat(ones, 1, 4), { 0 }, 0, false };
    struct norms after = { .norm = &centred, .add = mat(ones, 1, 4), .out = mat(out, 1, 4), .then = &rms,
                           .then_out = mat(then_out, 1, 4) };
    OPS.linear(NULL, mat(y, 1, 4), mat(x, 1, 2), &w, &(struct epilogue){ .after = &after });
    expect(y, (float[]){ 22, 43, 10, 2 }, 4, 0);
    float spread = sqrtf((22 - mean) * (22 - mean) + (43 - mean) * (43 - mean) + (10 - mean) * (10 - mean) +
                         (2 - mean) * (2 - mean)) / 2;
    for (int i = 0; i < 4; i++)
        ck_assert_float_eq_tol(out[i], (y[i] - mean) / spread + 1, 1e-5f);
    for (int i = 0; i < 4; i++)                          /* out has mean 1 and variance 1, so its mean square is 2 */
        ck_assert_float_eq_tol(then_out[i], out[i] / sqrtf(2), 1e-5f);
    int id = 3;
    OPS.embed(NULL, mat(y, 1, 2), &w, &id);
    expect(y, (float[]){ 1, 0 }, 2, 0);
    backend_ref.release(NULL, &w);
}
END_TEST

START_TEST(test_norm)
{
    float x[] = { 3, 4 }, w[] = { 1, 2 }, b[] = { 0, 1 }, y[2], r = sqrtf(12.5f);
    struct norm rms = { mat(w, 1, 2), { 0 }, 0, false }, layer = { mat(w, 1, 2), mat(b, 1, 2), 0.75f, true };
    OPS.norm(NULL, mat(x, 1, 2), &(struct norms){ .norm = &rms, .out = mat(y, 1, 2) });
    expect(y, (float[]){ 3 / r, 8 / r }, 2, 1e-6f);
    OPS.norm(NULL, mat(x, 1, 2), &(struct norms){ .norm = &layer, .add = mat(x, 1, 2), .out = mat(y, 1, 2) });
    expect(y, (float[]){ 2.5f, 6 }, 2, 1e-6f);
}
END_TEST

START_TEST(test_fuse)
{
    float a[] = { 1, 2 }, b[] = { 5, 6 }, l[] = { logf(3), 0 }, y[2];
    OPS.fuse(NULL, mat(y, 1, 2), mat(a, 1, 2), mat(b, 1, 2), mat(l, 1, 2));
    expect(y, (float[]){ 2, 3 }, 2, 1e-6f);
    OPS.add(NULL, mat(y, 1, 2), mat(a, 1, 2), mat(b, 1, 2));
    expect(y, (float[]){ 6, 8 }, 2, 0);
}
END_TEST

/* A quarter turn takes (1, 0) to (0, 1); the rest of the head stays. */
START_TEST(test_rope)
{
    static const float freq[] = { 1.57079633f, 0 };
    static const uint8_t axis[] = { 1, 0 };
    static const int pos[] = { 9, 1, 9 };
    float split[] = { 1, 2, 0, 3, 7 }, pairs[] = { 1, 0, 2, 3, 7 };
    struct rope rope = { 4, false, freq, NULL, axis, 1 };
    struct heads h = { .n = 1, .n_kv = 1, .dim = 5, .rope = &rope };
    OPS.prep(NULL, mat(split, 1, 5), (struct tensor){ 0 }, (struct tensor){ 0 }, &h, pos, NULL, 0, NULL);
    expect(split, (float[]){ 0, 2, 1, 3, 7 }, 5, 1e-6f);
    rope.interleaved = true;
    OPS.prep(NULL, mat(pairs, 1, 5), (struct tensor){ 0 }, (struct tensor){ 0 }, &h, pos, NULL, 0, NULL);
    expect(pairs, (float[]){ 0, 1, 2, 3, 7 }, 5, 1e-6f);
}
END_TEST

/* Six entries in pages of two: entry e lies in page pages[e / 2], holds key 0 or a large one, and value e. */
START_TEST(test_attend)
{
    float k[8] = { 0 }, v[8], q[] = { 1, 1, 1, 1 }, out[4];
    static const int pages[] = { 2, 0, 3 }, first[] = { 0, 4 }, limit[] = { 1, 4, 0, 6 }, from[] = { 0, 2, 0, 1 };
    static const int fill[] = { 1, 2, 2, 2 };
    for (int e = 0; e < 6; e++)
        v[pages[e / 2] * 2 + e % 2] = (float)e;
    struct kv kv = { F32, 2, 4, 1, 1, 1, k, v };
    struct heads h = { .n = 1, .n_kv = 1, .dim = 1, .scale = 1 };
    struct view view = { .limit = limit, .from = from, .pages = pages, .max_pages = 3, .max_kv = 6 };
    struct batch b = { .n_rows = 4, .n_seqs = 1, .max_rows = 4, .first = first, .views = &view };
    OPS.attend(NULL, mat(out, 4, 1), mat(q, 4, 1), &kv, 0, &h, &b, &view);
    expect(out, (float[]){ 0, 2.5f, 0, 3 }, 4, 1e-6f);
    view.fill = fill;                                           /* entry 3 is not in use */
    OPS.attend(NULL, mat(out, 4, 1), mat(q, 4, 1), &kv, 0, &h, &b, &view);
    expect(out, (float[]){ 0, 2, 0, 3 }, 4, 1e-6f);
    k[pages[2] * 2] = 100;                                      /* entry 4 outweighs all */
    OPS.attend(NULL, mat(out, 4, 1), mat(q, 4, 1), &kv, 0, &h, &b, &view);
    expect(out, (float[]){ 0, 2, 0, 4 }, 4, 1e-6f);
    h.scale = 0;                                                /* all scores are equal */
    OPS.attend(NULL, mat(out, 4, 1), mat(q, 4, 1), &kv, 0, &h, &b, &view);
    expect(out, (float[]){ 0, 2, 0, 3 }, 4, 1e-5f);
}
END_TEST

START_TEST(test_store)
{
    uint16_t k[8] = { 0 }, v[8] = { 0 };
    float kx[] = { 1, 2, 3, 4 }, vx[] = { 5, 6, 7, 8 };
    static const int slot[] = { 3, -1 };
    struct kv kv = { BF16, 2, 2, 1, 1, 2, k, v };
    struct heads h = { .n = 1, .n_kv = 1, .dim = 2 };
    OPS.prep(NULL, (struct tensor){ 0 }, mat(kx, 2, 2), mat(vx, 2, 2), &h, NULL, &kv, 0, slot);
    for (int i = 0; i < 6; i++)
        ck_assert(k[i] == 0 && v[i] == 0);
    ck_assert(k[6] == bf16_put(1) && k[7] == bf16_put(2) && v[6] == bf16_put(5) && v[7] == bf16_put(6));
}
END_TEST

/* A finite number beyond the range of float16 becomes its largest; infinity and NaN stay. */
START_TEST(test_store_far)
{
    uint16_t v[5] = { 0 };
    float vx[] = { 70000, -1e9f, 65503, INFINITY, NAN };
    static const int slot[] = { 0 };
    struct kv kv = { F16, 1, 1, 1, 1, 5, NULL, v };
    struct heads h = { .n = 1, .n_kv = 1, .dim = 5 };
    OPS.prep(NULL, (struct tensor){ 0 }, (struct tensor){ 0 }, mat(vx, 1, 5), &h, NULL, &kv, 0, slot);
    ck_assert(v[0] == 0x7bff && v[1] == 0xfbff && v[2] == f16_put(65503) && v[3] == 0x7c00 && (v[4] & 0x7fff) > 0x7c00);
}
END_TEST

/* Two segments; query head 1 reads kv head 0 as well. */
START_TEST(test_ragged)
{
    float q[] = { 0, 0, 0, 0 }, k[] = { 0, 0, 0 }, v[] = { 1, 3, 8 }, out[4];
    static const int q_first[] = { 0, 1, 2 }, kv_first[] = { 0, 2, 3 };
    struct heads h = { .n = 2, .n_kv = 1, .dim = 1, .scale = 1 };
    OPS.attend_ragged(NULL, mat(out, 2, 2), mat(q, 2, 2), mat(k, 3, 1), mat(v, 3, 1), &h, 2, q_first, kv_first);
    expect(out, (float[]){ 2, 2, 8, 8 }, 4, 1e-6f);
}
END_TEST

START_TEST(test_conv)
{
    /* sums: 1, 10 times channels */
    static const float w[18] = { 1, 10, 1, 10, 1, 10, 1, 10, 1, 10, 1, 10, 1, 10, 1, 10, 1, 10 };
    /* the pixel above; the sum */
    static const float dw[18] = { 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    float x[8] = { 1, 1, 2, 1, 3, 1, 4, 1 }, y[8];
    struct weight full = { .out = 1, .in = 18 }, depth = { .out = 2, .in = 9, .layout = LAYOUT_DEPTHWISE };
    const struct slab one = { .data = w, .dtype = F32, .rows = 1 };
    backend_ref.pack(NULL, &full, &one, 1, (float[]){ 0.5f }, F32, NULL);
    backend_ref.pack(NULL, &depth, &(struct slab){ .data = dw, .dtype = F32, .rows = 2 }, 1, NULL, F32, NULL);
    OPS.conv2d(NULL, mat(y, 4, 1), mat(x, 4, 2), &full, &(struct conv){ 2, 2, 3, 1, 1, ACT_NONE });
    expect(y, (float[]){ 50.5f, 50.5f, 50.5f, 50.5f }, 4, 0);
    OPS.conv2d(NULL, mat(y, 1, 1), mat(x, 4, 2), &full, &(struct conv){ 2, 2, 3, 2, 1, ACT_RELU6 });
    expect(y, (float[]){ 6 }, 1, 0);
    OPS.dwconv2d(NULL, mat(y, 4, 2), mat(x, 4, 2), &depth, &(struct conv){ 2, 2, 3, 1, 1, ACT_NONE });
    expect(y, (float[]){ 0, 4, 0, 4, 1, 4, 2, 4 }, 8, 0);       /* the pixel above; all four */
    backend_ref.release(NULL, &full);
    backend_ref.release(NULL, &depth);
}
END_TEST

START_TEST(test_gather)
{
    float x[] = { 1, 2, 3 }, y[2] = { 9, 9 }, w[] = { 0.5f, 0.5f, 2, 3 };
    OPS.gather(NULL, mat(y, 2, 1), mat(x, 3, 1), 1, (int[]){ 2, -1 }, NULL);
    expect(y, (float[]){ 3, 0 }, 2, 0);
    OPS.gather(NULL, mat(y, 2, 1), mat(x, 3, 1), 2, (int[]){ 0, 1, 2, -1 }, w);
    expect(y, (float[]){ 1.5f, 6 }, 2, 0);
    OPS.scatter(NULL, mat(x, 3, 1), mat(y, 2, 1), (int[]){ 1, -1 }, true);
    expect(x, (float[]){ 1, 3.5f, 3 }, 3, 0);
    OPS.pixels(NULL, mat(x, 1, 3), (uint8_t[]){ 10, 20, 30 }, (float[]){ 1, 2, 3 }, (float[]){ 0, 1, 2 });
    expect(x, (float[]){ 10, 41, 92 }, 3, 0);
}
END_TEST

START_TEST(test_penalize)
{
    float x[] = { 2, -2, 1, 4 };
    static const struct seen seen[] = { { 0, 0, true, 0 }, { 1, 2, false, 0 }, { 3, 1, true, 0 } };
    static const struct penalty p = { 2, 0.25f, 0.5f };
    OPS.penalize(NULL, mat(x, 1, 4), seen, (int[]){ 0, 3 }, &p);
    expect(x, (float[]){ 1, -5, 1, 1.25f }, 4, 0);
    OPS.mask(NULL, mat(x, 1, 4), (uint32_t[]){ 5 });
    ck_assert(x[0] == 1 && isinf(x[1]) && x[2] == 1 && isinf(x[3]));
}
END_TEST

START_TEST(test_logprobs)
{
    float x[] = { logf(1), logf(3), logf(3), logf(2), -INFINITY }, lp[4];
    int top[3], chosen = 4;
    OPS.logprobs(NULL, top, lp, mat(x, 1, 5), &chosen, 3);
    ck_assert(isinf(lp[0]) && top[0] == 1 && top[1] == 2 && top[2] == 3);       /* ties to the lower id */
    expect(lp + 1, (float[]){ logf(3.0f / 9), logf(3.0f / 9), logf(2.0f / 9) }, 3, 1e-6f);
    OPS.logprobs(NULL, top, lp, mat(x, 1, 5), &(int){ 0 }, 0);
    expect(lp, (float[]){ logf(1.0f / 9) }, 1, 1e-6f);
}
END_TEST

/* ---- sampling ---- */

static const float *sort_by; /* of order() */

static int order(const void *a, const void *b)
{
    int i = *(const int *)a, j = *(const int *)b;
    return sort_by[i] > sort_by[j] ? -1 : sort_by[i] < sort_by[j] ? 1 : i - j;
}

/* The definition with a sort: which tokens are kept, and what each is worth. */
static void keep_sorted(const float *x, int n, const struct sampling *s, double *p)
{
    int *ids = malloc(sizeof *ids * (size_t)n), kept = s->top_k > 0 && s->top_k < n ? s->top_k : n;
    double sum = 0, seen = 0;
    for (int i = 0; i < n; i++)
        ids[i] = i, p[i] = 0;
    sort_by = x;
    qsort(ids, (size_t)n, sizeof *ids, order);
    for (int i = 0; i < kept; i++)
        sum += p[ids[i]] = (double)expf((x[ids[i]] - x[ids[0]]) / s->temperature);
    for (int i = 0; i < kept; i++) {
        bool more = i == 0 || s->top_p >= 1 || seen < (double)s->top_p * sum;
        seen += p[ids[i]];
        if (!more || p[ids[i]] < (double)s->min_p)
            p[ids[i]] = 0;
    }
    free(ids);
}

static int draw_sorted(const double *p, int n, double u)
{
    double sum = 0, at = 0;
    for (int i = 0; i < n; i++)
        sum += p[i];
    for (int i = 0; i < n; i++)
        if ((at += p[i]) > sum * u)
            return i;
    return n - 1;
}

START_TEST(test_sample_definition)
{
    enum { N = 5000 };
    static float x[N];
    static double p[N];
    static const float temperature[] = { 1, 0.5f, 2, 0.1f }, top_p[] = { 1, 0.9f, 0.5f, 0.01f, 0 },
        min_p[] = { 0, 0.05f, 1 };
    static const int top_k[] = { 0, 1, 2, 40, 4999, 9999 };
    uint32_t seed = 1;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525 + 1013904223;
        x[i] = i % 10 ? (float)(seed >> 8) * 0x1p-21f - 4 : (float)((seed >> 20) % 8);       /* some with many ties */
    }
    for (int i = 0; i < 360; i++) {
        struct sampling s = { temperature[i % 4], top_p[i / 4 % 5], min_p[i / 20 % 3], top_k[i / 60], 77, (uint64_t)i };
        int got;
        keep_sorted(x, N, &s, p);
        OPS.sample(NULL, &got, mat(x, 1, N), &s);
        ck_assert_int_eq(got, draw_sorted(p, N, random_unit(77, (uint64_t)i)));
    }
}
END_TEST

START_TEST(test_sample_frequencies)
{
    enum { DRAWS = 40000 };
    static const double p[] = { 0.05, 0.4, 0.15, 0.1, 0.3 };
    float x[5];
    int count[5] = { 0 }, id;
    double chi = 0;
    for (int i = 0; i < 5; i++)
        x[i] = (float)log(p[i]);
    for (int i = 0; i < DRAWS; i++) {
        OPS.sample(NULL, &id, mat(x, 1, 5), &(struct sampling){ .temperature = 1, .top_p = 1, .seed = 42,
                                                                .step = (uint64_t)i });
        count[id]++;
    }
    for (int i = 0; i < 5; i++)
        chi += (count[i] - DRAWS * p[i]) * (count[i] - DRAWS * p[i]) / (DRAWS * p[i]);
    ck_assert_msg(chi < 18.5, "chi square of four degrees is %g", chi);        /* one in a thousand */
    memset(count, 0, sizeof count);
    for (int i = 0; i < DRAWS; i++) {                                          /* seeds are as good as steps */
        OPS.sample(NULL, &id, mat(x, 1, 5), &(struct sampling){ .temperature = 1, .top_p = 0.65f,
                                                                .seed = (uint64_t)i });
        count[id]++;
    }
    ck_assert(count[0] == 0 && count[2] == 0 && count[3] == 0);
    ck_assert_double_le(fabs(count[1] / (double)DRAWS - 4.0 / 7), 0.01);
}
END_TEST

static int draw_one(float *x, int n, struct sampling s)
{
    int id;
    OPS.sample(NULL, &id, mat(x, 1, n), &s);
    return id;
}

START_TEST(test_sample_edges)
{
    float nan[] = { NAN, NAN }, none[] = { -INFINITY, -INFINITY }, one[] = { NAN, -INFINITY, 3, -INFINITY },
        inf[] = { 1, INFINITY, INFINITY };
    float tie[] = { 1, 5, 5, -0.0f }, cold[] = { 1, 2 };
    struct sampling s = { .temperature = 1, .top_p = 0.9f, .top_k = 2 };
    ck_assert_int_eq(draw_one(nan, 2, s), 0);
    ck_assert_int_eq(draw_one(none, 2, s), 0);
    ck_assert_int_eq(draw_one(one, 4, s), 2);
    ck_assert_int_ge(draw_one(inf, 3, s), 1);
    ck_assert_int_eq(draw_one(tie, 4, (struct sampling){ .top_p = 1 }), 1);
    ck_assert_int_eq(draw_one(cold, 2, (struct sampling){ .temperature = 1e-38f, .top_p = 1 }), 1);
    ck_assert_int_eq(draw_one(cold, 2, (struct sampling){ .temperature = NAN, .top_p = NAN, .min_p = NAN }), 1);
    ck_assert_int_eq(draw_one(cold, 2, (struct sampling){ .temperature = 1, .top_p = NAN, .min_p = 9 }), 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ref");
    TCase *t = tcase_create("ref");
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_half);
    tcase_add_test(t, test_act);
    tcase_add_test(t, test_linear);
    tcase_add_test(t, test_norm);
    tcase_add_test(t, test_fuse);
    tcase_add_test(t, test_rope);
    tcase_add_test(t, test_attend);
    tcase_add_test(t, test_store);
    tcase_add_test(t, test_store_far);
    tcase_add_test(t, test_ragged);
    tcase_add_test(t, test_conv);
    tcase_add_test(t, test_gather);
    tcase_add_test(t, test_penalize);
    tcase_add_test(t, test_logprobs);
    tcase_add_test(t, test_sample_definition);
    tcase_add_test(t, test_sample_frequencies);
    tcase_add_test(t, test_sample_edges);
    return suite_run(s);
}
