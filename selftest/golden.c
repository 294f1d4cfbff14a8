/* selftest/golden.c - one golden case: a file of what the reference computed for a prompt, compared stage by stage
 * with what the model computes. */
#include "selftest/golden.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "selftest/record.h"
#include "selftest/trial.h"
#include "selftest/values.h"

enum { MAX_SIDE = 16384 };
static const float pixel_tolerance = 1e-6f;

struct golden {                      /* a golden.safetensors */
    struct weights_file *file;       /* owned */
    int32_t *ids, *greedy;           /* owned (n), (n_greedy) */
    int      n, n_greedy;
};

/* A line for people, in columns that programs can cut as well. */
void report_say(struct report *r, bool ok, const char *stage, const char *fmt, ...)
{
    va_list ap;
    printf("%-4s  %-12s  ", ok ? "ok" : "FAIL", stage);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    r->failed += !ok;
}

/* Image i, borrowed. 1: here it is, 0: there is none, -1: it is none. */
static int golden_image(const struct golden *g, int i, struct pixels *out, struct err *e)
{
    const struct stored *t = record_find(g->file, "image.%d", i);
    if (!t)
        return 0;
    if (strcmp(t->dtype, "U8") != 0 || t->n_dims != 3 || t->dims[2] != 3 || t->dims[0] < 1 || t->dims[1] < 1 ||
        t->dims[0] > MAX_SIDE || t->dims[1] > MAX_SIDE)
        return err_set(e, "image.%d is not an image", i);
    *out = (struct pixels){ (uint8_t *)(uintptr_t)t->data, (int)t->dims[1], (int)t->dims[0] };
    return 1;
}

/* *worst becomes the larger of itself and the largest difference of n floats. */
static void widen(float *worst, const float *have, const float *want, size_t n)
{
    size_t at;
    float  d = record_worst(have, want, n, &at);
    *worst = d > *worst ? d : *worst;
}

/* Compares the pixel values of image i with those that the file holds: the first two rows and the last. */
static int golden_pixels(const struct trial *t, const struct golden *g, int i, const struct pixels *image, float *worst,
                         struct err *e)
{
    struct values v;
    if (values_of(&v, t->m, image, &(struct image_options){ .n_images = t->all_images }, e) != 0)
        return -1;
    size_t       row = v.n / (size_t)v.shape[0];
    const size_t rows[] = { 0, 1, (size_t)v.shape[0] - 1 };
    const float *want = v.shape[0] > 1 ? record_floats(g->file, "pixels.%d", i, 3 * row, e) : NULL;
    for (size_t k = 0; want && k < 3; k++)
        widen(worst, v.data + rows[k] * row, want + k * row, row);
    values_free(&v);
    return want ? 0 : -1;
}

/* Compares the features of image i, then those of deepstack (features that join later layers), which are parts of
 * `hidden` floats in the same row. The file may hold the first rows alone, because features of a screenshot are
 * large. */
static int golden_features(const struct trial *t, const struct golden *g, int i, float *worst, struct err *e)
{
    size_t width = (size_t)t->m->image_row_width, hidden = (size_t)t->m->hidden;
    const float *have = t->pool + (size_t)t->pool_first[i] * width;
    for (size_t part = 0; part < width / hidden; part++) {
        char name[64] = "image_tokens.%d";
        if (part > 0)
            snprintf(name, sizeof name, "deepstack.%zu.%%d", part - 1);
        const struct stored *kept = record_find(g->file, name, i);
        size_t rows = kept ? kept->bytes / sizeof(float) / hidden : 0;
        const float *want = record_floats(g->file, name, i, rows * hidden, e);
        if (!want || rows > (size_t)t->plan[i].n_tokens)
            return want ? err_set(e, "%s has more rows than image %d has tokens", name, i) : -1;
        for (size_t k = 0; k < rows; k++)
            widen(worst, have + k * width + part * hidden, want + k * hidden, hidden);
    }
    return 0;
}

/* Likewise what the text's first cross-attention layer sees of image i, where the cache holds whole floats. */
static int golden_cells(struct trial *t, const struct golden *g, int i, float *worst, struct err *e)
{
    const struct kv_shape *kv = &t->m->image_kv;
    size_t n = (size_t)t->plan[i].n_cells * (size_t)kv->n_kv * (size_t)kv->dim;
    bool keys = record_find(g->file, "image_keys.%d", i), values = record_find(g->file, "image_values.%d", i);
    if (!kv->layers || t->kv[CACHE_IMAGES].dtype != F32 || !(keys || values))
        return 0;
    float *have = xcalloc(2 * n + 1, sizeof *have);
    int rc = trial_cells(t, i, 0, have, have + n, e);
    const float *k = rc == 0 && keys ? record_floats(g->file, "image_keys.%d", i, n, e) : NULL,
        *v = rc == 0 && values ? record_floats(g->file, "image_values.%d", i, n, e) : NULL;
    if (k)
        widen(worst, have, k, n);
    if (v)
        widen(worst, have + n, v, n);
    free(have);
    return (keys && !k) || (values && !v) ? -1 : 0;
}

/* How far numbers may be from the file's. Those of rounded weights cannot be the same, and how far they are is said and
 * not judged, as long as they are numbers: `worst` itself is the limit. */
static float limit_of(const struct model *m, float worst)
{
    return trial_rounded(m) && isfinite(worst) ? worst : TRIAL_LIMIT;
}

/* Behind such a number: what it is due to. */
static const char *weights_of(const struct model *m)
{
    return trial_rounded(m) ? " with rounded weights" : "";
}

/* Encodes the images, and compares pixel values and features where the file has them. -1 also if the images do not
 * take exactly the prompt's places: nothing can be computed from such a prompt. */
static int golden_vision(struct report *r, struct trial *t, const struct golden *g, struct err *e)
{
    struct pixels image;
    float worst = 0, worst_pixel = 0;
    int   rc, i, tokens = 0, places = 0, n_pixels = 0;
    while (record_find(g->file, "image.%d", t->all_images))
        t->all_images++;
    for (i = 0; (rc = golden_image(g, i, &image, e)) > 0; i++) {
        if (!t->m->family->plan_image)
            return err_set(e, "%s takes no images", t->m->type);
        bool kept = record_find(g->file, "pixels.%d", i) != NULL;
        n_pixels += kept;
        if (kept && golden_pixels(t, g, i, &image, &worst_pixel, e) != 0)
            return -1;
        if (trial_image(t, image.data, image.width, image.height, e) != 0 ||
            golden_features(t, g, i, &worst, e) != 0 || golden_cells(t, g, i, &worst, e) != 0)
            return -1;
        tokens += t->plan[i].n_tokens;
    }
    if (rc < 0)
        return -1;
    for (int k = 0; k < g->n; k++)
        places += model_is_place(t->m, g->ids, k);
    if (tokens != places)
        return err_set(e, "%d image tokens for %d places in the prompt", tokens, places);
    if (n_pixels)
        report_say(r, worst_pixel <= pixel_tolerance, "  preprocess", "pixel values of %d images within %.1e", n_pixels,
                   (double)worst_pixel);
    if (i)
        report_say(r, worst <= limit_of(t->m, worst), "  vision", "%d images, within %.1e%s", i, (double)worst,
                   weights_of(t->m));
    return 0;
}

/* Compares the positions of all tokens on three axes, if the file has them; they must be equal. */
static int golden_positions(struct report *r, const struct trial *t, const struct golden *g, struct err *e)
{
    int n, next, differ = 0;
    if (!record_find(g->file, "positions", 0))
        return 0;
    int32_t *want = record_ints(g->file, "positions", 0, &n, e);
    if (!want || n != 3 * g->n) {
        free(want);
        return want ? err_set(e, "%d positions for %d tokens on 3 axes", n, g->n) : -1;
    }
    int32_t *have = trial_positions(t, g->ids, g->n, &next);
    for (int i = 0; i < n; i++)
        differ += have[i] != want[i];
    report_say(r, differ == 0, "  positions", "%d tokens on 3 axes, %d differ", g->n, differ);
    free(have);
    free(want);
    return 0;
}

/* How many rows are nearer to their own of the file than to any other: weights of another model would not make such. */
static int rows_at_home(const float *have, const float *want, size_t rows, size_t cols)
{
    int n = 0;
    for (size_t i = 0; i < rows; i++) {
        double own = record_cosine(have + i * cols, want + i * cols, cols);
        bool   mine = isfinite(own);
        for (size_t k = 0; k < rows; k++)
            mine = mine && record_cosine(have + i * cols, want + k * cols, cols) <= own + 1e-9;
        n += mine;
    }
    return n;
}

/* Compares the logits of the prompt's last rows, and then whether the model would continue as the reference did. The
 * continuation is computed after the reference's own tokens, so that one different choice does not make all later ones
 * incomparable. */
static int golden_decoder(struct report *r, struct trial *t, const struct golden *g, struct err *e)
{
    const struct stored *kept = record_find(g->file, "logits", 0);
    size_t vocab = (size_t)t->m->vocab, all = (size_t)g->n * vocab, some = kept ? kept->bytes / sizeof(float) : 0;
    const float *want = record_floats(g->file, "logits", 0, some, e), *margins = NULL;
    if (!want || some > all || some % vocab != 0)
        return want ? err_set(e, "%zu logits for a vocabulary of %zu", some, vocab) : -1;
    if (record_find(g->file, "margins", 0) && !(margins = record_floats(g->file, "margins", 0, (size_t)g->n_greedy, e)))
        return -1;
    float *logits = xcalloc(all + (size_t)g->n_greedy * vocab, sizeof *logits), worst = 0, limit;
    int    rc = trial_prompt(t, g->ids, g->n, g->n, logits, e);
    rc = rc ? rc : trial_follow(t, g->ids, g->n, g->greedy, g->n_greedy - 1, logits + all, e);
    if (rc == 0) {
        widen(&worst, logits + all - some, want, some);
        limit = limit_of(t->m, worst);
        int rows = (int)(some / vocab), own = rows;
        if (trial_rounded(t->m))
            own = rows_at_home(logits + all - some, want, some / vocab, vocab);
        struct continuation c = record_continuation(logits + all - vocab, (int)vocab, g->greedy, g->n_greedy, margins,
                                                    limit);
        char other[64] = "";
        if (own < rows)
            snprintf(other, sizeof other, ", %d of %d rows are nearest to their own", own, rows);
        else if (c.wrong)
            snprintf(other, sizeof other, ", token %d is the first other one", c.first);
        report_say(r, worst <= limit && c.wrong == 0 && own == rows, "  decoder",
                   "logits within %.1e%s, %d of %d greedy tokens equal, %d too close to tell%s", (double)worst,
                   weights_of(t->m), c.same, g->n_greedy, c.close, other);
    }
    free(logits);
    return rc;
}

/* Opens the file and checks what it holds against the model: a file of another checkpoint must give an error and not a
 * crash. */
static int golden_open(struct golden *g, const char *dir, const struct model *m, struct err *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%.4100s/golden.safetensors", dir);
    g->file = weights_open_file(path, e);
    if (!g->file || !(g->ids = record_ints(g->file, "ids", 0, &g->n, e)) ||
        !(g->greedy = record_ints(g->file, "greedy", 0, &g->n_greedy, e)))
        return -1;
    if (g->n < 1 || g->n_greedy < 1 || g->n_greedy > m->context - g->n)
        return err_set(e, "%d tokens and %d more for a context of %d", g->n, g->n_greedy, m->context);
    for (int i = 0; i < g->n; i++)
        if (g->ids[i] < 0 || g->ids[i] >= m->n_ids)
            return err_set(e, "token %d of the prompt is %d", i, g->ids[i]);
    for (int i = 0; i < g->n_greedy; i++)
        if (g->greedy[i] < 0 || g->greedy[i] >= m->vocab)
            return err_set(e, "token %d of the answer is %d", i, g->greedy[i]);
    return 0;
}

/* Only ids and logits were kept: the prompt cannot be computed from that. */
static bool lacks_pictures(const struct golden *g, const struct model *m)
{
    for (int i = 0; i < g->n; i++)
        if (g->ids[i] == m->image_token)
            return !record_find(g->file, "image.%d", 0);
    return false;
}

/* Goes through the stages until one cannot be computed. A stage whose numbers differ is a failure but does not end the
 * case. */
void golden_run(struct report *r, const struct model *m, const char *dir)
{
    struct err    e = { 0 };
    struct golden g = { 0 };
    struct trial  t;
    printf("golden case %s\n", dir);
    int rc = golden_open(&g, dir, m, &e);
    if (rc == 0 && lacks_pictures(&g, m)) {
        printf("skip    case        the file holds no pictures for the prompt's places\n");
    } else if (rc == 0) {
        trial_open(&t, m, g.n + g.n_greedy, m->backend->kv);
        rc = golden_vision(r, &t, &g, &e);
        rc = rc == 0 ? golden_positions(r, &t, &g, &e) : rc;
        rc = rc == 0 ? golden_decoder(r, &t, &g, &e) : rc;
        trial_close(&t);
    }
    if (rc != 0)
        report_say(r, false, "  case", "%s", e.text);
    free(g.ids);
    free(g.greedy);
    weights_close(g.file);
}
