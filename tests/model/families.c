/* tests/model/families.c - the Hugging Face families against transformers
 * (python/golden.py): sizes of resized images, positions, image features, and
 * text.c's checks. Included by tests, after `backends` and `thorough`. */
#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>

#include "tests/model/tested.h"
#include "tests/model/text.c"

enum { FAMILY_ROWS = 512 };

/* What the text sees of image i through cross-attention, where the file has it: of the first layer that looks. */
static void family_cells(struct rig *g, const struct golden *want, int i)
{
    struct err e;
    size_t n = (size_t)g->t.plan[i].n_cells * (size_t)g->m->image_kv.n_kv * (size_t)g->m->image_kv.dim;
    float *keys = malloc((n + 1) * sizeof *keys), *values = malloc((n + 1) * sizeof *values);
    ck_assert(keys && values);
    if (g->m->image_kv.layers)
        ck_assert_msg(trial_cells(&g->t, i, 0, keys, values, &e) == 0, "%s", e.text);
    if (golden_find(want, "image_keys.%d", i))
        golden_compare("keys", keys, golden_floats(want, "image_keys.%d", i, n), n, TRIAL_LIMIT);
    if (golden_find(want, "image_values.%d", i))
        golden_compare("values", values, golden_floats(want, "image_values.%d", i, n), n, TRIAL_LIMIT);
    free(keys);
    free(values);
}

static void family_images(struct rig *g, const struct golden *want)
{
    const struct stored *im;
    while (golden_find(want, "image.%d", g->t.all_images))
        g->t.all_images++;
    for (int i = 0; (im = golden_find(want, "image.%d", i)); i++) {
        rig_image(g, im->data, (int)im->dims[1], (int)im->dims[0]);
        family_cells(g, want, i);
        int rows = g->t.plan[i].n_tokens, width = g->m->image_row_width, hidden = g->m->hidden;
        const float *have = g->t.pool + (size_t)g->t.pool_first[i] * (size_t)width;
        for (int part = 0; part < width / hidden; part++) {      /* the features, then those of deepstack */
            char name[64] = "image_tokens.%d";
            if (part)
                snprintf(name, sizeof name, "deepstack.%d.%%d", part - 1);
            const float *w = golden_floats(want, name, i, (size_t)rows * (size_t)hidden);
            for (int r = 0; r < rows; r++)
                golden_compare(name, have + (size_t)r * (size_t)width + (size_t)(part * hidden),
                               w + (size_t)r * (size_t)hidden, (size_t)hidden, TRIAL_LIMIT);
        }
    }
}

/* A prompt without images in a checkpoint that takes some. */
static void family_plain(const char *dir, const char *backend, const struct golden *want)
{
    struct rig g;
    int n;
    if (!golden_find(want, "plain_ids", 0))
        return;
    int32_t *ids = golden_ints(want, "plain_ids", 0, &n);
    rig_open(&g, backend, dir, FAMILY_ROWS, F32);
    size_t all = (size_t)n * (size_t)g.m->vocab, some = golden_find(want, "plain_logits", 0)->bytes / sizeof(float);
    float *logits = malloc(all * sizeof *logits);
    ck_assert(logits != NULL);
    rig_prompt(&g, ids, n, n, logits);
    golden_compare("logits without images", logits + all - some, golden_floats(want, "plain_logits", 0, some), some,
                   TRIAL_LIMIT);
    free(logits);
    free(ids);
    rig_close(&g);
}

static void family_positions(struct rig *g, const struct golden *want)
{
    int n, n_pos, next;
    if (!golden_find(want, "positions", 0))
        return;
    int32_t *ids = golden_ints(want, "ids", 0, &n), *pos = golden_ints(want, "positions", 0, &n_pos),
        *have = trial_positions(&g->t, ids, n, &next);
    ck_assert_int_eq(n_pos, 3 * n);
    for (int i = 0; i < n_pos; i++)
        ck_assert_msg(pos[i] == have[i], "%s: position %d of axis %d is %d, not %d", want->dir, i % n, i / n, have[i],
                      pos[i]);
    free(ids);
    free(pos);
    free(have);
}

/* The tiles of pictures of many shapes, "WIDTHxHEIGHT COLUMNSxROWS" each. */
static void family_canvases(struct rig *g, const char *dir, const json_t *rows)
{
    json_t *row;
    size_t i;
    json_array_foreach((json_t *)rows, i, row) {
        struct image_plan p;
        int w = 0, h = 0, across = 0, down = 0;
        ck_assert_int_eq(sscanf(json_string_value(row), "%dx%d %dx%d", &w, &h, &across, &down), 4);
        ck_assert_int_eq(g->m->family->plan_image(g->m, w, h, NULL, &p, NULL), 0);
        ck_assert_msg(p.width == across * g->m->image_align && p.height == down * g->m->image_align,
                      "%s: %s: the canvas is %d x %d", dir, json_string_value(row), p.width, p.height);
    }
}

static void family_sizes(struct rig *g, const char *dir)
{
    char path[600];
    size_t i;
    snprintf(path, sizeof path, "%.512s/golden.json", dir);
    json_t *root = json_load_file(path, 0, NULL), *v;
    family_canvases(g, dir, json_object_get(root, "canvases"));
    json_array_foreach(json_object_get(root, "preprocessing"), i, v) {
        struct image_plan p;
        struct err e;
        int w = (int)json_integer_value(json_array_get(json_object_get(v, "size"), 0));
        int h = (int)json_integer_value(json_array_get(json_object_get(v, "size"), 1));
        json_t *grid = json_object_get(v, "grid");       /* of patches; NULL: pictures have one size */
        int rc = g->m->family->plan_image(g->m, w, h, NULL, &p, &e);
        ck_assert_msg((rc == 0) == !json_object_get(v, "error"), "%s: %d x %d: %s", dir, w, h,
                      rc ? e.text : "should be refused");
        json_t *tiles = json_object_get(v, "tiles");
        if (rc == 0 && tiles)
            ck_assert_msg(image_runs(&p) == json_integer_value(tiles), "%s: %d x %d becomes %d tiles", dir, w, h,
                          image_runs(&p));
        json_t *squares = json_object_get(v, "squares");
        struct image_recipe r = rc == 0 ? plan_recipe(&p) : (struct image_recipe){ 0 };
        size_t area = r.n ? (size_t)r.view[0].width * (size_t)r.view[0].height * 3 : 1;
        if (rc == 0 && squares)
            ck_assert_uint_eq(image_recipe_bytes(&r) / area, (size_t)json_integer_value(squares));
        if (rc == 0 && grid)
            ck_assert_msg(p.grid_h * 2 == json_integer_value(json_array_get(grid, 1)) &&
                          p.grid_w * 2 == json_integer_value(json_array_get(grid, 2)),
                          "%s: %d x %d becomes %d x %d blocks", dir, w, h, p.grid_w, p.grid_h);
    }
    json_decref(root);
}

static void family_case(const char *dir, const char *backend)
{
    struct rig g;
    struct golden want;
    rig_open(&g, backend, dir, FAMILY_ROWS, F32);
    golden_open(&want, dir);
    ck_assert_msg(g.m->n_unused == 0, "%s: %d tensors are not used", dir, g.m->n_unused);
    if (g.m->family->plan_image)
        family_sizes(&g, dir);
    family_images(&g, &want);
    family_positions(&g, &want);
    golden_text(&g, &want);
    family_plain(dir, backend, &want);
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
            family_case(dir, backends[b]);
        n++;
    }
    closedir(d);
    ck_assert_int_ge(n, 2);
}
END_TEST

static void family_tests(Suite *s)
{
    TCase *t = tcase_create("families");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_family, 0, N_FAMILIES_TESTED);
    suite_add_tcase(s, t);
}
