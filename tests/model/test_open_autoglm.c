/* The native family against PyTorch: fine features, image tokens, logits and
 * greedy continuation, in one piece and in chunks. */
#include <dirent.h>
#include <sys/stat.h>

#include "model/open_autoglm.c"
#include "tests/model/golden.c"
#include "tests/model/rig.c"

enum { MAX_ROWS = 2048 };
static const float TOLERANCE = 1e-3f;

static const char *const backends[] = { "ref", "cpu", NULL };

/* Calls `test` for every folder with a golden.safetensors under tests/model/open_autoglm. */
static int each_case(void (*test)(const char *dir, const char *backend))
{
    int n = 0;
    const char *root = "tests/model/open_autoglm";
    DIR *d = opendir(root);
    struct dirent *f;
    while (d && (f = readdir(d))) {
        char dir[512], path[600];
        struct stat st;
        snprintf(dir, sizeof dir, "%s/%s", root, f->d_name);
        snprintf(path, sizeof path, "%s/golden.safetensors", dir);
        if (*f->d_name == '.' || stat(path, &st) != 0)
            continue;
        for (int b = 0; backends[b]; b++)
            if (backend_find(backends[b])) {
                test(dir, backends[b]);
                n++;
            }
    }
    if (d)
        closedir(d);
    return n;
}

/* The shipped model's goldens lie in a folder without a config.json: the checkpoint is models/open-autoglm-v1. */
static const char *checkpoint(const char *dir)
{
    char path[600];
    struct stat st;
    snprintf(path, sizeof path, "%s/config.json", dir);
    return stat(path, &st) == 0 ? dir : "models/open-autoglm-v1";
}

/* Of large arrays only the first values were kept; *n becomes how many. */
static const float *golden_first(const struct golden *g, const char *name, int i, size_t *n)
{
    const struct stored *t = golden_find(g, name, i);
    ck_assert_msg(t != NULL, "%s: no %s", g->dir, name);
    size_t have = t->bytes / sizeof(float);
    *n = have < *n ? have : *n;
    return golden_floats(g, name, i, have);
}

static void check_images(struct rig *g, const struct golden *want)
{
    const struct stored *im;
    for (int i = 0; (im = golden_find(want, "image.%d", i)); i++) {
        const struct autoglm *a = g->m->impl;
        int h = (int)im->dims[0], w = (int)im->dims[1];
        rig_image(g, im->data, w, h);
        const struct image_plan *p = &g->t.plan[i];
        size_t n = (size_t)p->n_tokens * (size_t)g->m->image_row_width;
        const float *tokens = golden_first(want, "image_tokens.%d", i, &n);
        golden_compare("image tokens", g->t.pool + (size_t)g->t.pool_first[i] * (size_t)g->m->image_row_width, tokens, n,
                       TOLERANCE);
        if (!golden_find(want, "fine.%d", i))
            continue;
        struct encode in = { .plan = *p, .rgb = im->data };
        struct run r = trial_run(&g->t, model_measure_encode(g->m, p));
        struct tensor fine = fine_features(&r, a, &in, p->grid_h * a->merge, p->grid_w * a->merge);
        n = (size_t)fine.rows * (size_t)fine.cols;
        const float *kept = golden_first(want, "fine.%d", i, &n);
        golden_compare("fine features", fine.data, kept, n, TOLERANCE);
        trial_release(&g->t, &r);
    }
}

static void golden_case(const char *dir, const char *backend)
{
    struct rig g;
    struct golden want;
    int n, n_greedy;
    rig_open(&g, backend, checkpoint(dir), MAX_ROWS);
    golden_open(&want, dir);
    check_images(&g, &want);
    int32_t *ids = golden_ints(&want, "ids", 0, &n), *greedy = golden_ints(&want, "greedy", 0, &n_greedy);
    size_t n_logits = (size_t)n * (size_t)g.m->vocab, row = (size_t)g.m->vocab;
    float *logits = malloc(n_logits * sizeof *logits), *again = malloc(n_logits * sizeof *logits);
    trial_prompt(&g.t, ids, n, n, logits);
    const struct stored *t = golden_find(&want, "logits", 0);
    size_t some = t->bytes / sizeof(float);              /* all rows, or only the last ones */
    ck_assert_uint_eq(some % row, 0);
    float d = golden_compare("logits", logits + n_logits - some, golden_floats(&want, "logits", 0, some), some, TOLERANCE);
    printf("%s on %s: logits within %.1e\n", dir, backend, (double)d);
    static const int chunks[] = { 1, 7, 16 };
    for (int c = 0; c < 3; c++) {
        if (chunks[c] < 16 && n > 100)
            continue;
        trial_rewind(&g.t);
        trial_prompt(&g.t, ids, n, chunks[c], again);
        ck_assert_msg(!memcmp(logits, again, n_logits * sizeof *logits), "%s on %s: chunks of %d differ from the whole", dir,
                      backend, chunks[c]);
    }
    int last = (n - 1) % 16 + 1;
    trial_rewind(&g.t);
    trial_prompt_quietly(&g.t, ids, n, 16, again);
    ck_assert(!memcmp(logits + n_logits - (size_t)last * row, again, (size_t)last * row * sizeof *again));
    int32_t *out = malloc((size_t)n_greedy * sizeof *out);
    trial_greedy(&g.t, ids, n, logits + n_logits - row, out, n_greedy);
    for (int i = 0; i < n_greedy; i++)
        ck_assert_msg(out[i] == greedy[i], "%s on %s: token %d is %d, not %d", dir, backend, i, out[i], greedy[i]);
    free(out);
    free(logits);
    free(again);
    free(ids);
    free(greedy);
    weights_close(want.file);
    rig_close(&g);
}

START_TEST(test_golden)
{
    if (each_case(golden_case) == 0)
        puts("skip: no golden files of the native model");
}
END_TEST

/* Sizes from python/openautoglm/preprocess.py. */
START_TEST(test_plan)
{
    static const int cases[][4] = { { 1080, 2400, 288, 672 }, { 288, 640, 288, 640 }, { 37, 211, 32, 192 }, { 20, 20, 32, 32 },
                                    { 4096, 4096, 448, 448 }, { 40, 4000, 32, 4000 }, { 31, 900, 32, 896 }, { 5, 999, 32, 992 } };
    struct autoglm g = { .factor = 32, .max_tokens = 200, .merge = 2 };
    struct model m = { .impl = &g };
    struct image_plan p;
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_int_eq(autoglm_plan_image(&m, cases[i][0], cases[i][1], NULL, &p, &e), 0);
        ck_assert_msg(p.width == cases[i][2] && p.height == cases[i][3], "%d x %d becomes %d x %d", cases[i][0], cases[i][1],
                      p.width, p.height);
        ck_assert_int_eq(p.n_tokens, p.width / 32 * (p.height / 32));
    }
    ck_assert_int_eq(autoglm_plan_image(&m, 0, 10, NULL, &p, &e), -1);
    ck_assert_int_eq(autoglm_plan_image(&m, 1, 4000, NULL, &p, &e), -1);
    ck_assert_int_eq(autoglm_plan_image(&m, 1080, 2400, &(struct image_options){ .max_tokens = 20 }, &p, &e), 0);
    ck_assert_int_le(p.n_tokens, 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("open_autoglm");
    TCase *t = tcase_create("golden");
    tcase_set_timeout(t, 240);
    tcase_add_test(t, test_golden);
    tcase_add_test(t, test_plan);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
