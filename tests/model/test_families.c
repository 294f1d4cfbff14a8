/* The Hugging Face families against transformers (python/golden.py): sizes of
 * resized images, positions, image features, logits, greedy continuation; in
 * one piece and in chunks; on every backend. */
#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>

#include "tests/model/golden.c"
#include "tests/model/rig.c"

enum { MAX_ROWS = 256 };
static const float TOLERANCE = 2e-3f;

static const char *const families_tested[] = { "glm4v", "glm4", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llama", "qwen2",
                                               "qwen3", NULL };
static const char *const backends[] = { "ref", "cpu", NULL };

static void check_images(struct rig *g, const struct golden *want)
{
    const struct stored *im;
    for (int i = 0; (im = golden_find(want, "image.%d", i)); i++) {
        rig_image(g, im->data, (int)im->dims[1], (int)im->dims[0]);
        int rows = g->t.plan[i].n_tokens, width = g->m->image_row_width, hidden = g->m->hidden;
        const float *have = g->t.pool + (size_t)g->t.pool_first[i] * (size_t)width;
        for (int part = 0; part < width / hidden; part++) {      /* the features, then those of deepstack */
            char name[64] = "image_tokens.%d";
            if (part)
                snprintf(name, sizeof name, "deepstack.%d.%%d", part - 1);
            const float *w = golden_floats(want, name, i, (size_t)rows * (size_t)hidden);
            for (int r = 0; r < rows; r++)
                golden_compare(name, have + (size_t)r * (size_t)width + (size_t)(part * hidden), w + (size_t)r * (size_t)hidden,
                               (size_t)hidden, TOLERANCE);
        }
    }
}

static void check_positions(struct rig *g, const struct golden *want, const int32_t *ids, int n)
{
    int n_pos, next;
    if (!golden_find(want, "positions", 0))
        return;
    int32_t *pos = golden_ints(want, "positions", 0, &n_pos), *have = trial_positions(&g->t, ids, n, &next);
    ck_assert_int_eq(n_pos, 3 * n);
    for (int i = 0; i < n_pos; i++)
        ck_assert_msg(pos[i] == have[i], "%s: position %d of axis %d is %d, not %d", want->dir, i % n, i / n, have[i], pos[i]);
    free(pos);
    free(have);
}

static void check_text(struct rig *g, const struct golden *want, const char *backend)
{
    int n, n_greedy;
    int32_t *ids = golden_ints(want, "ids", 0, &n), *greedy = golden_ints(want, "greedy", 0, &n_greedy);
    check_positions(g, want, ids, n);
    size_t row = (size_t)g->m->vocab, all = (size_t)n * row, some = golden_find(want, "logits", 0)->bytes / sizeof(float);
    float *logits = malloc(all * sizeof *logits), *again = malloc(all * sizeof *logits);
    trial_prompt(&g->t, ids, n, n, logits);
    float d = golden_compare("logits", logits + all - some, golden_floats(want, "logits", 0, some), some, TOLERANCE);
    printf("%s on %s: logits within %.1e\n", want->dir, backend, (double)d);
    static const int chunks[] = { 1, 7, 16 };
    for (int c = 0; c < 3; c++) {
        trial_rewind(&g->t);
        trial_prompt(&g->t, ids, n, chunks[c], again);
        ck_assert_msg(!memcmp(logits, again, all * sizeof *logits), "%s on %s: chunks of %d differ from the whole", want->dir,
                      backend, chunks[c]);
    }
    int last = (n - 1) % 16 + 1;
    trial_rewind(&g->t);
    trial_prompt_quietly(&g->t, ids, n, 16, again);
    ck_assert(!memcmp(logits + all - (size_t)last * row, again, (size_t)last * row * sizeof *again));
    int32_t *out = malloc((size_t)n_greedy * sizeof *out);
    trial_greedy(&g->t, ids, n, logits + all - row, out, n_greedy);
    for (int i = 0; i < n_greedy; i++)
        ck_assert_msg(out[i] == greedy[i], "%s on %s: token %d is %d, not %d", want->dir, backend, i, out[i], greedy[i]);
    free(out);
    free(logits);
    free(again);
    free(ids);
    free(greedy);
}

static void check_sizes(struct rig *g, const char *dir)
{
    char path[600];
    size_t i;
    snprintf(path, sizeof path, "%.512s/golden.json", dir);
    json_t *root = json_load_file(path, 0, NULL), *v;
    json_array_foreach(json_object_get(root, "preprocessing"), i, v) {
        struct image_plan p;
        struct err e;
        int w = (int)json_integer_value(json_array_get(json_object_get(v, "size"), 0));
        int h = (int)json_integer_value(json_array_get(json_object_get(v, "size"), 1));
        json_t *grid = json_object_get(v, "grid");
        int rc = g->m->family->plan_image(g->m, w, h, NULL, &p, &e);
        ck_assert_msg((rc == 0) == (grid != NULL), "%s: %d x %d: %s", dir, w, h, rc ? e.text : "should be refused");
        if (rc == 0)
            ck_assert_msg(p.grid_h * 2 == json_integer_value(json_array_get(grid, 1)) &&
                          p.grid_w * 2 == json_integer_value(json_array_get(grid, 2)), "%s: %d x %d becomes %d x %d blocks",
                          dir, w, h, p.grid_w, p.grid_h);
    }
    json_decref(root);
}

static void check_case(const char *dir, const char *backend)
{
    struct rig g;
    struct golden want;
    rig_open(&g, backend, dir, MAX_ROWS);
    golden_open(&want, dir);
    ck_assert_msg(g.m->n_unused == 0, "%s: %d tensors are not used", dir, g.m->n_unused);
    if (g.m->family->plan_image)
        check_sizes(&g, dir);
    check_images(&g, &want);
    check_text(&g, &want, backend);
    weights_close(want.file);
    rig_close(&g);
}

START_TEST(test_family)
{
    char root[128], dir[512], path[600];
    snprintf(root, sizeof root, "tests/model/%s", families_tested[_i]);
    DIR *d = opendir(root);
    ck_assert_msg(d != NULL, "%s is missing", root);
    int n = 0;
    struct dirent *f;
    while ((f = readdir(d))) {
        struct stat st;
        snprintf(dir, sizeof dir, "%s/%s", root, f->d_name);
        snprintf(path, sizeof path, "%s/golden.safetensors", dir);
        if (*f->d_name == '.' || stat(path, &st) != 0)
            continue;
        for (int b = 0; backends[b]; b++)
            check_case(dir, backends[b]);
        n++;
    }
    closedir(d);
    ck_assert_int_ge(n, 2);
}
END_TEST

int main(void)
{
    int n = 0;
    while (families_tested[n])
        n++;
    Suite *s = suite_create("families");
    TCase *t = tcase_create("golden");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_family, 0, n);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
