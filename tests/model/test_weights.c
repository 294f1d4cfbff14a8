/* tests/model/test_weights.c - checkpoints whose weights are quantised while
 * loading: how far their logits are from those of the checkpoint as it is, the
 * same on every backend, and bit by bit the same in every chunking. What was
 * measured is printed; docs/quantisation.md quotes it. */
#include <math.h>

#include "tests/model/golden.c"
#include "tests/model/rig.c"
#include "tests/suite.h"

enum { MAX_ROWS = 320 };
static const float TOLERANCE = 2e-3f;            /* as in test_families.c: between backends */

/* What a matrix of Gaussian numbers loses, root mean square over root mean square: int8 3.5 / 127 / sqrt(12) (the
 * largest of some hundred numbers is 3.5 sigma), fp8 a step of 1/8 of the power of two below, over sqrt(12), int4 as
 * measured. `same`: share of the positions whose most likely token must stay, in a trained model. */
static const struct { enum dtype type; double loss, same; } formats[] = {
    { Q8, 0.008, 0.95 }, { F8, 0.026, 0.95 }, { Q4, 0.075, 0.9 },
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

/* The trained model may lose what a chain of 16 matrices loses. Tiny random checkpoints amplify any disturbance, each
 * by a factor of its own, which int8 shows: there the other formats may lose what their loss and that factor make, or
 * be as wrong as unrelated logits, and twice that for what is not Gaussian. */
static const struct { const char *golden, *checkpoint; bool trained; } cases[] = {
    { "tests/model/open_autoglm/screen", "models/open-autoglm-v1", true },
    { "tests/model/open_autoglm/tiny-plain", "tests/model/open_autoglm/tiny-plain", false },
    { "tests/model/glm4v/grouped", "tests/model/glm4v/grouped", false },   /* a head of its own, an encoder of images */
    { "tests/model/llama/llama3", "tests/model/llama/llama3", false },
    { "tests/model/qwen3/bias", "tests/model/qwen3/bias", false },         /* the head is the embedding               */
};
enum { N_CASES = sizeof cases / sizeof *cases };

struct prompt { int32_t *ids; int n, n_answer; };    /* the answer's tokens are the last */

static struct prompt prompt_of(const struct golden *want)
{
    int n, n_greedy;
    int32_t *ids = golden_ints(want, "ids", 0, &n), *greedy = golden_ints(want, "greedy", 0, &n_greedy);
    struct prompt p = { realloc(ids, (size_t)(n + n_greedy) * sizeof *ids), n + n_greedy, n_greedy };
    memcpy(p.ids + n, greedy, (size_t)n_greedy * sizeof *greedy);
    free(greedy);
    return p;
}

/* (n, vocab) on a rig of its own; chunk 0: in one piece; free(). */
static float *logits_of(int which, const char *backend, struct model_options opt, enum activations activations,
                        const struct prompt *p, int chunk, size_t *weight_bytes, int *vocab)
{
    struct rig g;
    struct golden want;
    const struct stored *im;
    rig_open_as(&g, backend, cases[which].checkpoint, MAX_ROWS, F32, opt, activations);
    golden_open(&want, cases[which].golden);
    for (int i = 0; (im = golden_find(&want, "image.%d", i)); i++)
        rig_image(&g, im->data, (int)im->dims[1], (int)im->dims[0]);
    *vocab = g.m->vocab;
    *weight_bytes = g.m->weight_bytes;
    float *out = malloc((size_t)p->n * (size_t)g.m->vocab * sizeof *out);
    rig_prompt(&g, p->ids, p->n, chunk ? chunk : p->n, out);
    weights_close(want.file);
    rig_close(&g);
    return out;
}

static int argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* The relative error; prints it. */
static double compare(int which, const char *name, const float *have, const float *exact, const struct prompt *p,
                      int vocab, double *share)
{
    double square = 0, power = 0, worst = 0;
    int same = 0, same_answer = 0;
    for (int i = 0; i < p->n; i++) {
        const float *a = have + (size_t)i * (size_t)vocab, *b = exact + (size_t)i * (size_t)vocab;
        bool equal = argmax(a, vocab) == argmax(b, vocab);
        same += equal;
        same_answer += equal && i >= p->n - p->n_answer - 1;
        for (int k = 0; k < vocab; k++) {
            double d = (double)a[k] - (double)b[k];
            square += d * d;
            power += (double)b[k] * (double)b[k];
            worst = fmax(worst, fabs(d));
        }
    }
    *share = (double)same / p->n;
    printf("%s %s: error %.2f %%, largest %.3g, %d of %d tokens equal, %d of %d of the answer\n", cases[which].golden,
           name, 100 * sqrt(square / power), worst, same, p->n, same_answer, p->n_answer + 1);
    return sqrt(square / power);
}

static void check_ref(int which, struct model_options opt, const struct prompt *p, const float *have, int vocab)
{
    size_t bytes;
    float *again = logits_of(which, "ref", opt, ACTIVATIONS_FLOAT, p, 0, &bytes, &vocab);
    golden_compare("logits of cpu and ref", have, again, (size_t)p->n * (size_t)vocab, TOLERANCE);
    free(again);
}

static void check_chunks(int which, struct model_options opt, enum activations activations, const struct prompt *p,
                         const float *have, int vocab)
{
    static const int chunks[] = { 1, 7, 16 };
    size_t n = (size_t)p->n * (size_t)vocab, bytes;
    for (int c = 0; c < 3; c++) {
        float *again = logits_of(which, "cpu", opt, activations, p, chunks[c], &bytes, &vocab);
        ck_assert_msg(!memcmp(have, again, n * sizeof *have), "chunks of %d differ from the whole", chunks[c]);
        free(again);
    }
}

/* Activations rounded to int8 as well, by 64. Where rows are rotated that loses less than int8 weights do, which have
 * one scale for a row: together 1.3 times what the weights lose alone, and 2.4 times when they were not (measured). */
static void check_rounded(int which, int format, struct model_options opt, const struct prompt *p, const float *exact,
                          double error, int vocab)
{
    char name[48];
    size_t bytes;
    double share;
    float *have = logits_of(which, "cpu", opt, ACTIVATIONS_INT8, p, 0, &bytes, &vocab);
    snprintf(name, sizeof name, "%s, activations int8", dtype_name(formats[format].type));
    double rounded = compare(which, name, have, exact, p, vocab, &share);
    ck_assert_double_le(rounded, 1.6 * error);
    ck_assert(!cases[which].trained || share >= formats[format].same);
    if (!cases[which].trained)
        check_chunks(which, opt, ACTIVATIONS_INT8, p, have, vocab);
    free(have);
}

START_TEST(test_quantised)
{
    int vocab;
    size_t exact_bytes, bytes;
    double factor = 4, share;                            /* sqrt(16) */
    struct golden want;
    golden_open(&want, cases[_i].golden);
    struct prompt p = prompt_of(&want);
    weights_close(want.file);
    float *exact = logits_of(_i, "cpu", (struct model_options){ 0 }, ACTIVATIONS_AUTO, &p, 0, &exact_bytes, &vocab);
    for (int f = 0; f < N_FORMATS; f++) {
        struct model_options opt = { .convert = true, .weights = formats[f].type };
        float *have = logits_of(_i, "cpu", opt, ACTIVATIONS_FLOAT, &p, 0, &bytes, &vocab);
        double error = compare(_i, dtype_name(formats[f].type), have, exact, &p, vocab, &share);
        if (f == 0 && !cases[_i].trained)
            factor = error / formats[f].loss;
        ck_assert_double_le(error, 2 * fmin(factor * formats[f].loss, sqrt(2)));
        ck_assert_double_gt(error, formats[f].loss / 4);                 /* it was quantised */
        ck_assert(!cases[_i].trained || share >= formats[f].same);
        printf("%.2f of %.2f MB\n", (double)bytes * 1e-6, (double)exact_bytes * 1e-6);
        ck_assert_uint_lt(bytes, exact_bytes);
        if (!cases[_i].trained) {
            check_ref(_i, opt, &p, have, vocab);
            check_chunks(_i, opt, ACTIVATIONS_FLOAT, &p, have, vocab);
        }
        free(have);
        if (formats[f].type != F8)
            check_rounded(_i, f, opt, &p, exact, error, vocab);
    }
    free(exact);
    free(p.ids);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("weights");
    TCase *t = tcase_create("quantised");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_quantised, 0, N_CASES);
    suite_add_tcase(s, t);
    return suite_run(s);
}
