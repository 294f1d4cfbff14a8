/* tests/model/vectors.c - vectors of texts and pictures against transformers (python/vectors.py): ids of texts as
 * vectors are made of them, the vectors, logits and probabilities. Included by tests, after `backends`. */
#ifndef TESTS_MODEL_VECTORS_C
#define TESTS_MODEL_VECTORS_C
#include <jansson.h>
#include <math.h>

#include "tests/model/text.c"
#include "tokenizer/tokenizer.h"

enum { VECTOR_ROWS = 64, MOST_VECTORS = 16 };

static const char *const vector_cases[] = { "clip/old", "clip/published", "siglip/uneven", "siglip/published",
                                            "siglip2/naflex", "siglip2/published",
                                            "mobilenet_v2/same", "mobilenet_v2/published" };

struct vectors { float *text[MOST_VECTORS], *image[MOST_VECTORS]; int n_texts, n_images; };

/* The ids of text i as the server makes them; free(). */
static int32_t *ids_of(const struct rig *g, const struct tokenizer *t, const char *text, int *n)
{
    struct ids ids = { 0 };
    struct err e;
    ck_assert_msg(tokenizer_encode(t, text, strlen(text), true, &ids, &e) == 0, "%s", e.text);
    int32_t *out = calloc(ids.n + (size_t)g->m->context, sizeof *out);
    memcpy(out, ids.id, ids.n * sizeof *out);
    const char *pad = json_string_value(json_object_get(tokenizer_names(t), "pad_token"));
    *n = g->m->family->text_ids(g->m, out, (int)ids.n, tokenizer_id(t, pad));
    ids_free(&ids);
    return out;
}

static double cosine(const float *a, const float *b, int n)
{
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

/* The same vector, and not only the same direction: their difference beside their length. */
static void near(const char *what, int i, const float *have, const float *want, int n, double *worst)
{
    double far = 0, length = 0;
    for (int k = 0; k < n; k++) {
        far += ((double)have[k] - want[k]) * ((double)have[k] - want[k]);
        length += (double)want[k] * want[k];
    }
    far = sqrt(far / length);
    ck_assert_msg(far < 1e-4 && 1 - cosine(have, want, n) < 1e-6, "%s %d is another one, by %g of its length", what, i,
                  far);
    *worst = far > *worst ? far : *worst;
}

static void texts_of(struct rig *g, const struct golden *want, struct vectors *v, json_t *texts, double *worst)
{
    struct err e;
    struct tokenizer *t = tokenizer_open(want->dir, &e);
    ck_assert_msg(t != NULL, "%s", e.text);
    for (v->n_texts = 0; v->n_texts < (int)json_array_size(texts); v->n_texts++) {
        int i = v->n_texts, n, n_ids;
        int32_t *ids = ids_of(g, t, json_string_value(json_array_get(texts, (size_t)i)), &n_ids),
            *all = golden_ints(want, "ids.%d", i, &n);
        ck_assert_msg(n_ids <= n && !memcmp(ids, all, (size_t)n_ids * sizeof *ids), "%s: other ids of text %d",
                      want->dir, i);
        v->text[i] = calloc((size_t)g->m->shared, sizeof(float));
        ck_assert_msg(trial_text_vector(&g->t, ids, n_ids, v->text[i], &e) == 0, "%s", e.text);
        near("text", i, v->text[i], golden_floats(want, "text.%d", i, (size_t)g->m->shared), g->m->shared, worst);
        free(ids);
        free(all);
    }
    tokenizer_close(t);
}

static void images_of(struct rig *g, const struct golden *want, struct vectors *v, double *worst)
{
    const struct stored *im;
    struct err e;
    for (v->n_images = 0; (im = golden_find(want, "image.%d", v->n_images)); v->n_images++) {
        int i = v->n_images;
        v->image[i] = calloc((size_t)g->m->shared, sizeof(float));
        ck_assert_msg(trial_image_vector(&g->t, im->data, (int)im->dims[1], (int)im->dims[0], v->image[i], &e) == 0,
                      "%s", e.text);
        near("image", i, v->image[i], golden_floats(want, "vector.%d", i, (size_t)g->m->shared), g->m->shared, worst);
    }
}

/* Every picture's logits of the model's classes. */
static void check_classes(struct rig *g, const struct vectors *v, json_t *root)
{
    float *have = calloc((size_t)g->m->n_classes, sizeof *have);
    struct err e;
    ck_assert_str_eq(g->m->class_name[1], "tench, Tinca");
    for (int i = 0; i < v->n_images; i++) {
        json_t *want = json_array_get(json_object_get(root, "logits"), (size_t)i);
        ck_assert_uint_eq(json_array_size(want), (size_t)g->m->n_classes);
        ck_assert_int_eq(trial_project(&g->t, g->m->classes, v->image[i], have, &e), 0);
        for (int k = 0; k < g->m->n_classes; k++) {
            double w = json_real_value(json_array_get(want, (size_t)k));
            ck_assert_msg(fabs((double)have[k] - w) < 1e-4 * (1 + fabs(w)), "picture %d, class %d: %g, not %g", i, k,
                          (double)have[k], w);
        }
    }
    free(have);
}

/* Every picture's logits with every text, from the model's scale and bias. */
static void check_logits(const struct rig *g, const struct vectors *v, json_t *root)
{
    const struct match *m = &g->m->match;
    ck_assert(m->there);
    for (int i = 0; i < v->n_images; i++)
        for (int k = 0; k < v->n_texts; k++) {
            double have = m->scale * cosine(v->image[i], v->text[k], g->m->shared) + m->bias;
            double want = json_real_value(json_array_get(json_array_get(json_object_get(root, "logits"), (size_t)i),
                                                         (size_t)k));
            ck_assert_msg(fabs(have - want) < 1e-3, "picture %d with text %d: %g, not %g", i, k, have, want);
        }
}

static void vector_case(const char *dir, const char *backend)
{
    struct rig g;
    struct golden want;
    struct vectors v = { 0 };
    double texts = 0, images = 0;
    char path[600];
    rig_open(&g, backend, dir, VECTOR_ROWS, F32);
    golden_open_file(&want, dir, "vectors");
    snprintf(path, sizeof path, "%.512s/vectors.json", dir);
    json_t *root = json_load_file(path, 0, NULL);
    ck_assert_msg(g.m->n_unused == 0, "%s: %d tensors are not used, such as %s", dir, g.m->n_unused,
                  g.m->first_unused);
    if (!g.m->no_texts)
        texts_of(&g, &want, &v, json_object_get(root, "texts"), &texts);
    images_of(&g, &want, &v, &images);
    if (g.m->classes)
        check_classes(&g, &v, root);
    else
        check_logits(&g, &v, root);
    printf("%s on %s: %d texts within %.1e, %d pictures within %.1e\n", dir, backend, v.n_texts, texts, v.n_images,
           images);
    for (int i = 0; i < MOST_VECTORS; i++) {
        free(v.text[i]);
        free(v.image[i]);
    }
    json_decref(root);
    weights_close(want.file);
    rig_close(&g);
}

START_TEST(test_vectors)
{
    char dir[128];
    snprintf(dir, sizeof dir, "tests/model/%s", vector_cases[_i]);
    for (int b = 0; backends[b]; b++)
        vector_case(dir, backends[b]);
}
END_TEST

static void vector_tests(Suite *s)
{
    TCase *t = tcase_create("vectors");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_vectors, 0, sizeof vector_cases / sizeof *vector_cases);
    suite_add_tcase(s, t);
}

#endif
