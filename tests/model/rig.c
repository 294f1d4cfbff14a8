/* tests/model/rig.c - runs prompts through a family without the engine: builds
 * by hand what the engine would build. Included by the tests that need it.
 *
 *     struct rig g;
 *     rig_open(&g, "ref", dir);
 *     rig_image(&g, rgb, w, h);                       // already resized; in the order of the prompt
 *     rig_prompt(&g, ids, n, chunk, logits);          // chunk rows a step; logits (n, vocab)
 *     int id = rig_next(&g, logits_of_last, out);     // one decode step
 *     rig_close(&g);
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/measure.h"
#include "model/model.h"
#include "model/nn.h"

enum { RIG_PAGE = 16, RIG_MAX_IMAGES = 4 };

struct rig {
    const struct backend *backend;
    struct device *dev;
    struct model  *m;
    struct kv      kv[2];
    int n_images, n_done, next_pos, n_pages_used;        /* pages used of the image KV */
    struct image_plan plan[RIG_MAX_IMAGES];
    int pool_first[RIG_MAX_IMAGES + 1], page_first[RIG_MAX_IMAGES + 1];
    float *pool;                                         /* (pool rows, image_row_width) */
    int   *text_pages, *image_pages, *fill;
    int    max_rows;
};

static void rig_kv(struct kv *kv, const struct kv_shape *s, int n_pages)
{
    *kv = (struct kv){ F32, RIG_PAGE, n_pages, s->layers, s->width, NULL, NULL };
    size_t n = (size_t)s->layers * (size_t)n_pages * RIG_PAGE * (size_t)s->width;
    kv->k = xcalloc(n, sizeof(float));
    kv->v = xcalloc(n, sizeof(float));
}

static int rig_open_as(struct rig *g, const char *backend, const char *dir, struct model_options opt, int max_rows,
                       struct err *e)
{
    memset(g, 0, sizeof *g);
    g->backend = opt.backend = backend_find(backend);
    ck_assert_ptr_nonnull(g->backend);
    ck_assert_int_eq(g->backend->open(&g->dev, 2, e), 0);
    opt.device = g->dev;
    g->m = model_open(dir, &opt, e);
    if (!g->m) {
        g->backend->close(g->dev);
        return -1;
    }
    g->max_rows = max_rows;
    int n = (max_rows + RIG_PAGE - 1) / RIG_PAGE + 1, n_image = 64 * RIG_MAX_IMAGES;
    rig_kv(&g->kv[0], &g->m->text_kv, n + 3);
    rig_kv(&g->kv[1], &g->m->image_kv, n_image);
    g->pool = xcalloc((size_t)max_rows * (size_t)g->m->image_row_width + 1, sizeof *g->pool);
    g->text_pages = xcalloc((size_t)n, sizeof(int));
    g->image_pages = xcalloc((size_t)n_image, sizeof(int));
    g->fill = xcalloc((size_t)n_image, sizeof(int));
    for (int i = 0; i < n; i++)
        g->text_pages[i] = n + 2 - i;                    /* out of order, as in life */
    for (int i = 0; i < n_image; i++)
        g->image_pages[i] = n_image - 1 - i;
    return 0;
}

static void rig_open(struct rig *g, const char *backend, const char *dir, int max_rows)
{
    struct err e;
    ck_assert_msg(rig_open_as(g, backend, dir, (struct model_options){ 0 }, max_rows, &e) == 0, "%s", e.text);
}

static void rig_close(struct rig *g)
{
    model_close(g->m);
    for (int i = 0; i < 2; i++) {
        free(g->kv[i].k);
        free(g->kv[i].v);
    }
    free(g->pool);
    free(g->text_pages);
    free(g->image_pages);
    free(g->fill);
    g->backend->close(g->dev);
}

static struct run rig_run(struct rig *g, size_t scratch)
{
    return (struct run){ .ops = &g->backend->ops, .backend = g->backend, .dev = g->dev, .kv = g->kv,
                         .scratch = g->backend->alloc(g->dev, scratch), .size = scratch };
}

/* Forgets the prompt, keeps the images. */
static void rig_rewind(struct rig *g) { g->n_done = g->next_pos = 0; }

static void rig_encode(struct rig *g, const uint8_t *rgb, const struct image_plan *plan)
{
    int i = g->n_images++, first = g->pool_first[i], page = g->page_first[i];
    ck_assert_int_lt(i, RIG_MAX_IMAGES);
    g->plan[i] = *plan;
    int *rows = xcalloc((size_t)plan->n_tokens, sizeof *rows), *slots = xcalloc((size_t)plan->n_cells + 1, sizeof *slots);
    for (int k = 0; k < plan->n_tokens; k++)
        rows[k] = first + k;
    int used = (plan->n_cells + RIG_PAGE - 1) / RIG_PAGE;
    ck_assert_int_le(page + used, 64 * RIG_MAX_IMAGES);
    for (int k = 0; k < plan->n_cells; k++) {
        int p = g->image_pages[page + k / RIG_PAGE];
        slots[k] = p * RIG_PAGE + k % RIG_PAGE;
        g->fill[p] = k % RIG_PAGE + 1;
    }
    g->pool_first[i + 1] = first + plan->n_tokens;
    g->page_first[i + 1] = page + used;
    struct run r = rig_run(g, model_measure_encode(g->m, plan));
    struct encode in = { .plan = *plan, .rgb = rgb, .rows = rows, .slots = plan->n_cells ? slots : NULL,
                         .pool = { g->pool, F32, g->max_rows, g->m->image_row_width, g->m->image_row_width } };
    g->m->family->encode_image(g->m, &r, &in);
    ck_assert_ptr_null(g->backend->sync(g->dev));
    ck_assert_uint_eq(r.peak, r.size);
    g->backend->free(g->dev, r.scratch);
    free(rows);
    free(slots);
}

/* An image that has its final size already. */
static void rig_image(struct rig *g, const uint8_t *rgb, int w, int h)
{
    struct image_plan plan;
    struct err e;
    ck_assert_msg(g->m->family->plan_image(g->m, w, h, NULL, &plan, &e) == 0, "%s", e.text);
    ck_assert_msg(plan.width == w && plan.height == h, "%d x %d becomes %d x %d", w, h, plan.width, plan.height);
    rig_encode(g, rgb, &plan);
}

struct rig_step { int *token, *pos, *slot, *limit, *src, *dst, *out, *cross, *cross_limit; };

/* Rows g->n_done .. + n of the prompt ids (all of it known); pos (3, n_ids) row stride n_ids; logits NULL: none. */
static void rig_rows(struct rig *g, const int32_t *ids, const int32_t *pos, int n_ids, int n, float *logits)
{
    int start = g->n_done, image = -1, at = 0, n_image = 0, n_cross = 0, width = g->m->image_token;
    int *buf = xcalloc((size_t)n * 11 + 4, sizeof *buf);
    struct rig_step s = { buf, buf + n, buf + 4 * n, buf + 5 * n, buf + 6 * n, buf + 7 * n, buf + 8 * n, buf + 9 * n,
                          buf + 10 * n };
    for (int i = 0; i < start + n; i++) {                /* also earlier rows: which image are we in? */
        bool is_image = ids[i] == width;
        if (is_image && (image < 0 || at == g->plan[image].n_tokens))
            image++, at = 0;
        int k = i - start;
        if (k >= 0) {
            s.token[k] = is_image ? 0 : ids[i];
            for (int a = 0; a < 3; a++)
                s.pos[a * n + k] = pos[a * n_ids + i];
            s.slot[k] = g->text_pages[i / RIG_PAGE] * RIG_PAGE + i % RIG_PAGE;
            s.limit[k] = i + 1;
            s.out[k] = k;
            if (is_image) {
                s.src[n_image] = g->pool_first[image] + at;
                s.dst[n_image++] = k;
            } else if (image >= 0 && g->m->image_kv.layers) {
                s.cross[n_cross] = k;
                s.cross_limit[n_cross++] = g->page_first[image + 1] * RIG_PAGE;
            }
        }
        at += is_image;
    }
    int first[2] = { 0, n }, cross_first[2] = { 0, n_cross };
    struct view text = { .slot = s.slot, .limit = s.limit, .pages = g->text_pages,
                         .max_pages = (g->max_rows + RIG_PAGE - 1) / RIG_PAGE + 1, .max_kv = start + n };
    struct view seen = { .limit = s.cross_limit, .pages = g->image_pages, .fill = g->fill,
                         .max_pages = g->page_first[g->n_images], .max_kv = g->page_first[g->n_images] * RIG_PAGE };
    struct view views[2] = { text, seen };
    struct forward in = {
        .batch = { n, 1, n, s.token, s.pos, first, views }, .image_src = s.src, .image_dst = s.dst, .n_image = n_image,
        .pool = { g->pool, F32, g->max_rows, g->m->image_row_width, g->m->image_row_width },
        .out_rows = s.out, .n_out = logits ? n : 0, .cross = { n_cross, 1, n_cross, NULL, NULL, cross_first, views }, .cross_rows = s.cross,
    };
    struct run r = rig_run(g, model_measure_forward(g->m, n, 1, in.n_out, n_image));
    struct tensor out = g->m->family->forward(g->m, &r, &in);
    ck_assert_ptr_null(g->backend->sync(g->dev));
    ck_assert_int_eq(out.rows, in.n_out);
    ck_assert_int_eq(out.cols, g->m->vocab);
    for (int i = 0; i < in.n_out; i++)
        memcpy(logits + (size_t)i * (size_t)out.cols, (float *)out.data + (size_t)i * (size_t)out.stride,
               (size_t)out.cols * sizeof *logits);
    g->backend->free(g->dev, r.scratch);
    g->n_done += n;
    free(buf);
}

static int32_t *rig_positions(struct rig *g, const int32_t *ids, int n, int *next)
{
    int32_t *pos = xcalloc((size_t)n * 3, sizeof *pos);
    if (g->m->family->positions) {
        *next = g->m->family->positions(g->m, ids, n, g->plan, g->n_images, pos);
    } else {
        for (int i = 0; i < 3 * n; i++)
            pos[i] = i % n;
        *next = n;
    }
    return pos;
}

/* The whole prompt, `chunk` rows a step; logits (n, vocab). */
static void rig_prompt(struct rig *g, const int32_t *ids, int n, int chunk, float *logits)
{
    ck_assert_int_le(n, g->max_rows);
    int32_t *pos = rig_positions(g, ids, n, &g->next_pos);
    for (int i = 0; i < n; i += chunk)
        rig_rows(g, ids, pos, n, i + chunk < n ? chunk : n - i, logits + (size_t)i * (size_t)g->m->vocab);
    free(pos);
}

/* The whole prompt in steps of which only the last gives logits (of all its rows), as the engine reads prompts. */
static void rig_prompt_quietly(struct rig *g, const int32_t *ids, int n, int chunk, float *logits)
{
    int32_t *pos = rig_positions(g, ids, n, &g->next_pos);
    for (int i = 0; i < n; i += chunk)
        rig_rows(g, ids, pos, n, i + chunk < n ? chunk : n - i, i + chunk < n ? NULL : logits);
    free(pos);
}

static int rig_argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* Greedy continuation after rig_prompt(); `last`: the logits of the prompt's last row. */
static void rig_greedy(struct rig *g, const int32_t *ids, int n, const float *last, int32_t *out, int n_out)
{
    int vocab = g->m->vocab, total = n + n_out;
    int32_t *all = xcalloc((size_t)total, sizeof *all), *pos = xcalloc((size_t)total * 3, sizeof *pos);
    float *logits = xcalloc((size_t)vocab, sizeof *logits);
    memcpy(all, ids, (size_t)n * sizeof *ids);
    out[0] = rig_argmax(last, vocab);
    for (int i = 1; i < n_out; i++) {
        all[n + i - 1] = out[i - 1];
        for (int a = 0; a < 3; a++)
            pos[a * total + n + i - 1] = g->next_pos + i - 1;
        rig_rows(g, all, pos, total, 1, logits);
        out[i] = rig_argmax(logits, vocab);
    }
    free(all);
    free(pos);
    free(logits);
}
