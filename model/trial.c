#include "model/trial.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/measure.h"

enum { IMAGE_PAGES = 256 * TRIAL_MAX_IMAGES };

static int text_pages(const struct trial *t) { return (t->max_rows + TRIAL_PAGE - 1) / TRIAL_PAGE + 1; }

static void cache_init(struct kv *kv, const struct kv_shape *s, int n_pages)
{
    *kv = (struct kv){ F32, TRIAL_PAGE, n_pages, s->layers, s->width, NULL, NULL };
    size_t n = (size_t)s->layers * (size_t)n_pages * TRIAL_PAGE * (size_t)s->width;
    kv->k = xcalloc(n, sizeof(float));
    kv->v = xcalloc(n, sizeof(float));
}

void trial_open(struct trial *t, const struct model *m, int max_rows)
{
    *t = (struct trial){ .m = m, .max_rows = max_rows };
    int n = text_pages(t);
    cache_init(&t->kv[0], &m->text_kv, n + 3);
    cache_init(&t->kv[1], &m->image_kv, IMAGE_PAGES);
    t->pool = xcalloc((size_t)max_rows * (size_t)m->image_row_width, sizeof *t->pool);
    t->text_pages = xcalloc((size_t)n, sizeof(int));
    t->image_pages = xcalloc(IMAGE_PAGES, sizeof(int));
    t->fill = xcalloc(IMAGE_PAGES, sizeof(int));
    for (int i = 0; i < n; i++)
        t->text_pages[i] = n + 2 - i;
    for (int i = 0; i < IMAGE_PAGES; i++)
        t->image_pages[i] = IMAGE_PAGES - 1 - i;
}

void trial_close(struct trial *t)
{
    for (int i = 0; i < 2; i++) {
        free(t->kv[i].k);
        free(t->kv[i].v);
    }
    free(t->pool);
    free(t->text_pages);
    free(t->image_pages);
    free(t->fill);
}

struct run trial_run(struct trial *t, size_t scratch)
{
    const struct backend *b = t->m->backend;
    void *p = b->alloc(t->m->device, scratch);
    assert(p);
    return (struct run){ .ops = &b->ops, .backend = b, .dev = t->m->device, .kv = t->kv, .scratch = p, .size = scratch };
}

void trial_release(struct trial *t, struct run *r)
{
    assert(r->peak <= r->size);
    t->m->backend->free(t->m->device, r->scratch);
}

void trial_rewind(struct trial *t) { t->n_done = t->next_pos = 0; }

static void encode(struct trial *t, const uint8_t *rgb, const struct image_plan *plan)
{
    int i = t->n_images++, first = t->pool_first[i], page = t->page_first[i];
    int *rows = xcalloc((size_t)plan->n_tokens, sizeof *rows), *slots = xcalloc((size_t)plan->n_cells, sizeof *slots);
    t->plan[i] = *plan;
    t->pool_first[i + 1] = first + plan->n_tokens;
    t->page_first[i + 1] = page + (plan->n_cells + TRIAL_PAGE - 1) / TRIAL_PAGE;
    assert(t->pool_first[i + 1] <= t->max_rows && t->page_first[i + 1] <= IMAGE_PAGES);
    for (int k = 0; k < plan->n_tokens; k++)
        rows[k] = first + k;
    for (int k = 0; k < plan->n_cells; k++) {
        int p = t->image_pages[page + k / TRIAL_PAGE];
        slots[k] = p * TRIAL_PAGE + k % TRIAL_PAGE;
        t->fill[p] = k % TRIAL_PAGE + 1;
    }
    struct run r = trial_run(t, model_measure_encode(t->m, plan));
    struct encode in = { .plan = *plan, .rgb = rgb, .rows = rows, .slots = plan->n_cells ? slots : NULL,
                         .pool = { t->pool, F32, t->max_rows, t->m->image_row_width, t->m->image_row_width } };
    t->m->family->encode_image(t->m, &r, &in);
    t->m->backend->sync(t->m->device);
    trial_release(t, &r);
    free(rows);
    free(slots);
}

int trial_image(struct trial *t, const uint8_t *rgb, int width, int height, struct err *e)
{
    struct image_plan plan;
    if (t->n_images == TRIAL_MAX_IMAGES)
        return err_set(e, "more than %d images", TRIAL_MAX_IMAGES);
    if (t->m->family->plan_image(t->m, width, height, NULL, &plan, e) != 0)
        return -1;
    if (plan.width != width || plan.height != height)
        return err_set(e, "an image of %d x %d becomes %d x %d", width, height, plan.width, plan.height);
    int i = t->n_images, pages = t->page_first[i] + (plan.n_cells + TRIAL_PAGE - 1) / TRIAL_PAGE;
    if (plan.n_tokens > t->max_rows - t->pool_first[i] || pages > IMAGE_PAGES)
        return err_set(e, "the images need more than %d tokens or %d cells", t->max_rows, IMAGE_PAGES * TRIAL_PAGE);
    encode(t, rgb, &plan);
    return 0;
}

struct step { int *token, *pos, *slot, *limit, *src, *dst, *out, *cross, *cross_limit; };

/* Rows t->n_done .. + n of the prompt ids (all of it known); pos (3, n_ids) row stride n_ids; logits NULL: none. */
static void trial_rows(struct trial *t, const int32_t *ids, const int32_t *pos, int n_ids, int n, float *logits)
{
    int start = t->n_done, image = -1, at = 0, n_image = 0, n_cross = 0, image_token = t->m->image_token;
    int *buf = xcalloc((size_t)n * 11 + 4, sizeof *buf);
    struct step s = { buf, buf + n, buf + 4 * n, buf + 5 * n, buf + 6 * n, buf + 7 * n, buf + 8 * n, buf + 9 * n,
                          buf + 10 * n };
    for (int i = 0; i < start + n; i++) {                /* also earlier rows: which image are we in? */
        bool is_image = ids[i] == image_token;
        if (is_image && image + 1 < t->n_images && (image < 0 || at == t->plan[image].n_tokens))
            image++, at = 0;
        int k = i - start;
        if (k >= 0) {
            s.token[k] = is_image ? 0 : ids[i];
            for (int a = 0; a < 3; a++)
                s.pos[a * n + k] = pos[a * n_ids + i];
            s.slot[k] = t->text_pages[i / TRIAL_PAGE] * TRIAL_PAGE + i % TRIAL_PAGE;
            s.limit[k] = i + 1;
            s.out[k] = k;
            if (is_image) {
                s.src[n_image] = t->pool_first[image] + at;
                s.dst[n_image++] = k;
            } else if (image >= 0 && t->m->image_kv.layers) {
                s.cross[n_cross] = k;
                s.cross_limit[n_cross++] = t->page_first[image + 1] * TRIAL_PAGE;
            }
        }
        at += is_image;
    }
    int first[2] = { 0, n }, cross_first[2] = { 0, n_cross };
    struct view text = { .slot = s.slot, .limit = s.limit, .pages = t->text_pages,
                         .max_pages = (t->max_rows + TRIAL_PAGE - 1) / TRIAL_PAGE + 1, .max_kv = start + n };
    struct view seen = { .limit = s.cross_limit, .pages = t->image_pages, .fill = t->fill,
                         .max_pages = t->page_first[t->n_images], .max_kv = t->page_first[t->n_images] * TRIAL_PAGE };
    struct view views[2] = { text, seen };
    struct forward in = {
        .batch = { n, 1, n, s.token, s.pos, first, views }, .image_src = s.src, .image_dst = s.dst, .n_image = n_image,
        .pool = { t->pool, F32, t->max_rows, t->m->image_row_width, t->m->image_row_width },
        .out_rows = s.out, .n_out = logits ? n : 0, .cross = { n_cross, 1, n_cross, NULL, NULL, cross_first, views },
        .cross_rows = s.cross,
    };
    struct run r = trial_run(t, model_measure_forward(t->m, n, 1, in.n_out, n_image));
    struct tensor out = t->m->family->forward(t->m, &r, &in);
    t->m->backend->sync(t->m->device);
    assert(out.rows == in.n_out && out.cols == t->m->vocab);
    for (int i = 0; i < in.n_out; i++)
        memcpy(logits + (size_t)i * (size_t)out.cols, (float *)out.data + (size_t)i * (size_t)out.stride,
               (size_t)out.cols * sizeof *logits);
    trial_release(t, &r);
    t->n_done += n;
    free(buf);
}

int32_t *trial_positions(const struct trial *t, const int32_t *ids, int n, int *next)
{
    int32_t *pos = xcalloc((size_t)n * 3, sizeof *pos);
    if (t->m->family->positions) {
        *next = t->m->family->positions(t->m, ids, n, t->plan, t->n_images, pos);
    } else {
        for (int i = 0; i < 3 * n; i++)
            pos[i] = i % n;
        *next = n;
    }
    return pos;
}

void trial_prompt(struct trial *t, const int32_t *ids, int n, int chunk, float *logits)
{
    assert(n <= t->max_rows);
    int32_t *pos = trial_positions(t, ids, n, &t->next_pos);
    for (int i = 0; i < n; i += chunk)
        trial_rows(t, ids, pos, n, i + chunk < n ? chunk : n - i, logits + (size_t)i * (size_t)t->m->vocab);
    free(pos);
}

void trial_prompt_quietly(struct trial *t, const int32_t *ids, int n, int chunk, float *logits)
{
    int32_t *pos = trial_positions(t, ids, n, &t->next_pos);
    for (int i = 0; i < n; i += chunk)
        trial_rows(t, ids, pos, n, i + chunk < n ? chunk : n - i, i + chunk < n ? NULL : logits);
    free(pos);
}

static int argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

void trial_greedy(struct trial *t, const int32_t *ids, int n, const float *last, int32_t *out, int n_out)
{
    int vocab = t->m->vocab, total = n + n_out;
    int32_t *all = xcalloc((size_t)total, sizeof *all), *pos = xcalloc((size_t)total * 3, sizeof *pos);
    float *logits = xcalloc((size_t)vocab, sizeof *logits);
    memcpy(all, ids, (size_t)n * sizeof *ids);
    out[0] = argmax(last, vocab);
    for (int i = 1; i < n_out; i++) {
        all[n + i - 1] = out[i - 1];
        for (int a = 0; a < 3; a++)
            pos[a * total + n + i - 1] = t->next_pos + i - 1;
        trial_rows(t, all, pos, total, 1, logits);
        out[i] = argmax(logits, vocab);
    }
    free(all);
    free(pos);
    free(logits);
}
