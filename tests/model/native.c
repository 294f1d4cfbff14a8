/* tests/model/native.c - the native family against PyTorch: fine features,
 * image tokens, and text.c's checks. Included by tests, after `backends` and
 * `thorough`, without which the shipped model's cases are left out. */
#include <dirent.h>
#include <sys/stat.h>

#include "model/families/open_autoglm.c"
#include "tests/model/text.c"
#include "tests/slow.h"

enum { NATIVE_ROWS = 2048 };

/* The shipped model's goldens lie in a folder without a config.json: the checkpoint is models/open-autoglm-v1. */
static const char *checkpoint(const char *dir)
{
    char path[600];
    struct stat st;
    snprintf(path, sizeof path, "%s/config.json", dir);
    return stat(path, &st) == 0 ? dir : "models/open-autoglm-v1";
}

/* Calls `test` for every folder with a golden.safetensors under tests/model/open_autoglm. The plain backend is the
 * slowest of all under a sanitizer, and its loops see nothing in large models that they do not see in the tiny ones. */
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
        if (*f->d_name == '.' || stat(path, &st) != 0 || (!thorough && checkpoint(dir) != dir))
            continue;
        for (int b = 0; backends[b]; b++)
            if (backend_find(backends[b], NULL) && !(SLOW && !strcmp(backends[b], "ref") && !strstr(dir, "tiny"))) {
                test(dir, backends[b]);
                n++;
            }
    }
    if (d)
        closedir(d);
    return n;
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

static void native_images(struct rig *g, const struct golden *want)
{
    const struct stored *im;
    for (int i = 0; (im = golden_find(want, "image.%d", i)); i++) {
        const struct autoglm *a = g->m->impl;
        int h = (int)im->dims[0], w = (int)im->dims[1];
        rig_image(g, im->data, w, h);
        const struct image_plan *p = &g->t.plan[i];
        size_t n = (size_t)p->n_tokens * (size_t)g->m->image_row_width;
        const float *tokens = golden_first(want, "image_tokens.%d", i, &n);
        golden_compare("image tokens", g->t.pool + (size_t)g->t.pool_first[i] * (size_t)g->m->image_row_width, tokens,
                       n, TRIAL_LIMIT);
        if (!golden_find(want, "fine.%d", i))
            continue;
        size_t n_rgb = (size_t)w * (size_t)h * 3;
        uint8_t *rgb = g->backend->alloc(g->dev, n_rgb);
        g->backend->upload(g->dev, rgb, im->data, n_rgb);
        struct encode in = { .plan = *p, .rgb = rgb };
        struct run r = trial_run(&g->t, model_measure_encode(g->m, p));
        struct tensor fine = fine_features(&r, a, &in, p->grid_h * a->merge, p->grid_w * a->merge);
        n = (size_t)fine.rows * (size_t)fine.cols;
        const float *kept = golden_first(want, "fine.%d", i, &n);
        float *have = malloc(n * sizeof *have);
        g->backend->download(g->dev, have, fine.data, n * sizeof *have);
        ck_assert_ptr_null(g->backend->sync(g->dev));
        golden_compare("fine features", have, kept, n, TRIAL_LIMIT);
        free(have);
        g->backend->free(g->dev, rgb);
        trial_release(&g->t, &r);
    }
}

static void native_case(const char *dir, const char *backend)
{
    struct rig g;
    struct golden want;
    rig_open(&g, backend, checkpoint(dir), NATIVE_ROWS, F32);
    golden_open(&want, dir);
    native_images(&g, &want);
    golden_text(&g, &want);
    weights_close(want.file);
    rig_close(&g);
}

START_TEST(test_native)
{
    if (each_case(native_case) == 0)
        puts("skip: no golden files of the native model");
}
END_TEST
