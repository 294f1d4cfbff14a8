/* selftest/trial.c - runs one prompt through a model in the plainest way: memory for each step is taken and given
 * back, and the device is waited for after each. See trial.h for what makes it a test. */
#include "selftest/trial.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/kv.h"
#include "model/cells.h"
#include "model/measure.h"
#include "selftest/values.h"

enum { IMAGE_PAGES = 256 * TRIAL_MAX_IMAGES };

static int text_pages(const struct trial *t) { return (t->max_rows + TRIAL_PAGE - 1) / TRIAL_PAGE + 1; }

/* Copies n bytes to the device, or only makes room where host is NULL. A trial's device memory is small: without it
 * there is no trial. */
static void *on_device(const struct trial *t, const void *host, size_t n)
{
    const struct backend *b = t->m->backend;
    void *p = b->alloc(t->m->device, n ? n : 1);
    assert(p);
    if (host && n)
        b->upload(t->m->device, p, host, n);
    return p;
}

static void forget(const struct trial *t, const void *p) { t->m->backend->free(t->m->device, (void *)(uintptr_t)p); }

/* Waits; -1 and e: what the device said. */
static int finish(const struct trial *t, struct err *e)
{
    const char *failed = t->m->backend->sync(t->m->device);
    return failed ? err_set(e, "%s: %s", t->m->backend->name, failed) : 0;
}

/* Zeros, so that entries which nobody writes are numbers. */
static void cache_init(const struct trial *t, struct kv *kv, enum dtype dtype, const struct kv_shape *s, int n_pages)
{
    *kv = (struct kv){ dtype, TRIAL_PAGE, n_pages, s->layers, s->n_kv, s->dim, NULL, NULL };
    size_t n = (size_t)s->layers * kv_layer_bytes(kv);
    void *zeros = xcalloc(n ? n : 1, 1);
    kv->k = on_device(t, zeros, n);
    kv->v = on_device(t, zeros, n);
    free(zeros);
}

/* Makes caches for max_rows tokens and the pool of image features. Page tables run backwards, and the text's cache has
 * a few pages more than it needs: a model that takes pages in order instead of by the table reads the wrong ones. */
void trial_open(struct trial *t, const struct model *m, int max_rows, enum dtype kv)
{
    *t = (struct trial){ .m = m, .max_rows = max_rows };
    int n = text_pages(t), width = m->image_row_width;
    cache_init(t, &t->kv[CACHE_TEXT], kv, &m->text_kv, n + 3);
    cache_init(t, &t->kv[CACHE_WINDOW], kv, &m->window_kv, m->window_kv.layers ? n + 3 : 1);
    cache_init(t, &t->kv[CACHE_IMAGES], kv, &m->image_kv, m->image_kv.layers ? IMAGE_PAGES : 1);
    t->pool = xcalloc((size_t)max_rows * (size_t)width, sizeof *t->pool);
    t->rows = (struct tensor){ on_device(t, t->pool, (size_t)max_rows * (size_t)width * sizeof(float)), F32, max_rows,
                               width, width };
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
    for (int i = 0; i < N_CACHES; i++) {
        forget(t, t->kv[i].k);
        forget(t, t->kv[i].v);
    }
    forget(t, t->rows.data);
    free(t->pool);
    free(t->text_pages);
    free(t->image_pages);
    free(t->fill);
}

/* Scratch of exactly the size that was measured, so that a measurement that is too small is found. */
struct run trial_run(struct trial *t, struct pass_memory memory)
{
    const struct backend *b = t->m->backend;
    return (struct run){ .ops = &b->ops, .backend = b, .watch = t->m->watch, .dev = t->m->device, .kv = t->kv,
                         .size = memory.scratch, .scratch = on_device(t, NULL, memory.scratch),
                         .host_size = memory.host, .host = xmalloc(memory.host),
                         .both_ways = t->m->image_spans || t->m->prompts_whole };
}

void trial_release(struct trial *t, struct run *r)
{
    assert(r->peak <= r->size);
    forget(t, r->scratch);
    free(r->host);
}

const char *trial_rounded(const struct model *m)
{
    return m->prepared && m->prepared_as != BF16 ? dtype_name(m->prepared_as) : NULL;
}

void trial_rewind(struct trial *t) { t->n_done = t->next_pos = 0; }

/* Encodes one image of the planned size into the pool and, for families with cross-attention, into pages of its own.
 * The last page of an image is not full, and `fill` says how far; the next image begins a new page. */
static int encode(struct trial *t, const uint8_t *rgb, const struct image_plan *plan, struct err *e)
{
    int i = t->n_images++, first = t->pool_first[i], page = t->page_first[i], n = plan->n_tokens;
    int *places = xcalloc((size_t)(n + plan->n_cells) + 1, sizeof *places), *slots = places + n;
    t->plan[i] = *plan;
    t->pool_first[i + 1] = first + n;
    t->page_first[i + 1] = page + cells_pages(plan, TRIAL_PAGE) + cells_blank_pages(plan, TRIAL_PAGE);
    assert(t->pool_first[i + 1] <= t->max_rows && t->page_first[i + 1] <= IMAGE_PAGES);
    for (int k = 0; k < n; k++)
        places[k] = first + k;
    for (int k = 0; k < plan->n_cells; k++) {
        int i_page = cells_page_of(plan, k, TRIAL_PAGE), p = t->image_pages[page + i_page];
        slots[k] = p * TRIAL_PAGE + cells_place_of(plan, k, TRIAL_PAGE);
        t->fill[p] = cells_in_page(plan, i_page, TRIAL_PAGE);
    }
    struct run r = trial_run(t, model_measure_encode(t->m, plan));
    const int *dev = on_device(t, places, (size_t)(n + plan->n_cells) * sizeof *places);
    const uint8_t *pixels = on_device(t, rgb, plan_bytes(plan));
    struct encode in = { .plan = *plan, .rgb = pixels, .pool = t->rows, .rows = dev,
                         .slots = plan->n_cells ? dev + n : NULL };
    size_t row = (size_t)t->rows.cols;
    struct tensor shared;
    in.shared = t->shared ? &shared : NULL;
    t->m->family->encode_image(t->m, &r, &in);
    if (t->shared)
        t->m->backend->download(t->m->device, t->shared, shared.data, (size_t)t->m->shared * sizeof(float));
    t->m->backend->download(t->m->device, t->pool + (size_t)first * row, (float *)t->rows.data + (size_t)first * row,
                            (size_t)n * row * sizeof(float));
    int rc = finish(t, e);
    forget(t, pixels);
    forget(t, dev);
    trial_release(t, &r);
    free(places);
    return rc;
}

/* Checks that the image fits into the trial before encoding it. */
int trial_views(struct trial *t, const uint8_t *rgb, const struct image_plan *plan, struct err *e)
{
    if (t->n_images == TRIAL_MAX_IMAGES)
        return err_set(e, "more than %d images", TRIAL_MAX_IMAGES);
    int i = t->n_images, pages = t->page_first[i] + cells_pages(plan, TRIAL_PAGE) +
        cells_blank_pages(plan, TRIAL_PAGE);
    if (plan->n_tokens > t->max_rows - t->pool_first[i] || pages > IMAGE_PAGES)
        return err_set(e, "the images need more than %d tokens or %d cells", t->max_rows, IMAGE_PAGES * TRIAL_PAGE);
    return encode(t, rgb, plan, e);
}

/* The same steps as in serving: plan, make the views, encode. */
int trial_image(struct trial *t, const uint8_t *rgb, int width, int height, struct err *e)
{
    struct image_plan plan;
    struct pixels picture = { (uint8_t *)(uintptr_t)rgb, width, height }, views;
    struct image_options opt = { .n_images = t->all_images };
    if (t->m->family->plan_image(t->m, width, height, &opt, &plan, e) != 0 || views_of(&views, &picture, &plan, e) != 0)
        return -1;
    int rc = trial_views(t, views.data, &plan, e);
    pixels_free(&views);
    return rc;
}

int trial_cells(struct trial *t, int image, int layer, float *keys, float *values, struct err *e)
{
    const struct kv *kv = &t->kv[CACHE_IMAGES];
    const struct image_plan *p = &t->plan[image];
    size_t width = (size_t)kv->n_kv * (size_t)kv->dim, bytes = width * sizeof(float);
    assert(kv->dtype == F32 && layer < kv->layers);
    for (int k = 0; k < p->n_cells; k++) {
        int page = t->image_pages[t->page_first[image] + cells_page_of(p, k, TRIAL_PAGE)];
        size_t at = kv_slot_start(kv, layer, page * TRIAL_PAGE + cells_place_of(p, k, TRIAL_PAGE));
        t->m->backend->download(t->m->device, keys + (size_t)k * width, (const char *)kv->k + at, bytes);
        t->m->backend->download(t->m->device, values + (size_t)k * width, (const char *)kv->v + at, bytes);
    }
    return finish(t, e);
}

/* A step's arrays: filled on the host, then sent to the device in one block. */
struct step {
    int *token, *pos, *slot, *limit, *since[TEXT_CACHES], *src, *dst, *out, *cross, *seeing, *from, *until,
        *first, *text, *images, *fill;
};

/* Gives every array of a step its place in one block; returns the length of the block in ints. p NULL: only the length
 * is wanted. */
static size_t step_lay_out(struct step *s, int *p, const struct trial *t, int n)
{
    const struct { int **to; size_t n; } parts[] = {
        { &s->token, (size_t)n }, { &s->pos, (size_t)n * 3 }, { &s->slot, (size_t)n }, { &s->limit, (size_t)n },
        { &s->since[0], (size_t)n }, { &s->since[1], (size_t)n },
        { &s->src, (size_t)n }, { &s->dst, (size_t)n }, { &s->out, (size_t)n }, { &s->cross, (size_t)n },
        { &s->seeing, (size_t)n },
        { &s->from, (size_t)n }, { &s->until, (size_t)n }, { &s->first, 4 }, { &s->text, (size_t)text_pages(t) },
        { &s->images, IMAGE_PAGES },
        { &s->fill, IMAGE_PAGES },
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; used += parts[i++].n)
        *parts[i].to = p ? p + used : NULL;
    return used;
}

/* What token i sees both ways: its run of places, where it is the at-th of an image with this plan; the whole prompt,
 * where the model reads those so; else itself alone. plan NULL: it is no place. */
static void span_of(const struct reading *in, const struct image_plan *plan, int i, int at, int *first, int *end)
{
    const struct model *m = in->t->m;
    int each = plan ? plan->n_tokens / image_runs(plan) : 1;
    *first = i;
    if (m->image_spans && plan)
        *first = i - at % each;
    *end = m->image_spans ? *first + each : i + 1;
    if (m->prompts_whole && i < in->prompt) {
        *first = 0;
        *end = in->prompt;
    }
}

struct filled { int n_image, n_cross; };

/* Pages of the first n images that tokens see: they come first in the table of pages (model/cells.h). */
static int pages_seen(const struct trial *t, int n)
{
    int pages = 0;
    for (int i = 0; i < n; i++)
        pages += cells_pages(&t->plan[i], TRIAL_PAGE);
    return pages;
}

/* The table of the images' pages. */
static void fill_images(int *table, const struct trial *t)
{
    int *blank = table + pages_seen(t, t->n_images);
    for (int i = 0; i < t->n_images; i++) {
        const int *page = t->image_pages + t->page_first[i], *end = t->image_pages + t->page_first[i + 1];
        for (int k = cells_pages(&t->plan[i], TRIAL_PAGE); k > 0; k--)
            *table++ = *page++;
        while (page < end)
            *blank++ = *page++;
    }
}

/* Fills the arrays for rows start .. start + n of the tokens, where start is what has been computed before. It walks
 * over the earlier tokens as well, to know within which image the step begins. A row of an image takes its features
 * from the pool; a row of text takes its token; either may see cells of images through cross-attention. */
static struct filled step_fill(const struct step *s, const struct trial *t, const struct reading *in, int n)
{
    const int32_t *ids = in->ids;
    int start = t->n_done, image = -1, at = 0;
    struct filled f = { 0, 0 };
    for (int i = 0; i < start + n; i++) {                /* also earlier rows: which image are we in? */
        bool is_image = model_is_place(t->m, ids, i);
        if (is_image && image + 1 < t->n_images && (image < 0 || at == t->plan[image].n_tokens))
            image++, at = 0;
        int k = i - start;
        if (k >= 0) {
            s->token[k] = ids[i];
            for (int a = 0; a < 3; a++)
                s->pos[a * n + k] = in->pos[a * in->room + i];
            s->slot[k] = t->text_pages[i / TRIAL_PAGE] * TRIAL_PAGE + i % TRIAL_PAGE;
            int first;
            span_of(in, is_image ? &t->plan[image] : NULL, i, at, &first, &s->limit[k]);
            for (int c = 0; c < TEXT_CACHES; c++) {
                int window = model_text_cache(t->m, c)->window, from = window && i >= window ? i - window + 1 : 0;
                s->since[c][k] = first < from ? first : from;
            }
            s->out[k] = k;
            if (is_image) {
                s->src[f.n_image] = t->pool_first[image] + at;
                s->dst[f.n_image++] = k;
            }
            struct image_range sees = in->sees ? in->sees[i] : (struct image_range){ 0 };
            if (sees.end > sees.first) {
                s->cross[f.n_cross] = k;
                s->seeing[f.n_cross] = sees.blind ? -1 : k;
                s->from[f.n_cross] = pages_seen(t, sees.first) * TRIAL_PAGE;
                s->until[f.n_cross++] = (sees.blind ? t->page_first[t->n_images] : pages_seen(t, sees.end)) *
                    TRIAL_PAGE;
            }
        }
        at += is_image;
    }
    memcpy(s->first, (const int[4]){ 0, n, 0, f.n_cross }, 4 * sizeof(int));
    memcpy(s->text, t->text_pages, (size_t)text_pages(t) * sizeof(int));
    fill_images(s->images, t);
    memcpy(s->fill, t->fill, IMAGE_PAGES * sizeof(int));
    return f;
}

/* The arrays are laid out three times over one block: to find its length, on the host to fill it, and on the device to
 * name the places there. */
int reading_next(struct reading *tokens, int n, int n_out, float *logits, struct err *e)
{
    struct trial *t = tokens->t;
    const struct backend *b = t->m->backend;
    struct step s;
    size_t ints = step_lay_out(&s, NULL, t, n);
    int *host = xcalloc(ints, sizeof *host);
    step_lay_out(&s, host, t, n);
    struct filled f = step_fill(&s, t, tokens, n);
    int *dev = on_device(t, host, ints * sizeof *host);
    free(host);
    step_lay_out(&s, dev, t, n);
    int image_pages = t->page_first[t->n_images];
    struct view text = { .slot = s.slot, .limit = s.limit, .pages = s.text, .max_pages = text_pages(t),
                         .max_kv = t->n_done + n }, windowed = text;
    text.from = s.since[0];
    windowed.from = s.since[1];
    struct view views[N_CACHES] = {
        [CACHE_TEXT] = text, [CACHE_WINDOW] = windowed,
        [CACHE_IMAGES] = { .from = s.from, .limit = s.until, .pages = s.images, .fill = s.fill,
                           .max_pages = image_pages, .max_kv = image_pages * TRIAL_PAGE },
    };
    struct forward in = {
        .batch = { n, 1, n, s.token, s.pos, s.first, views }, .image_src = s.src, .image_dst = s.dst,
        .n_image = f.n_image,
        .pool = t->rows, .out_rows = s.out + n - n_out, .n_out = n_out,
        .cross = { f.n_cross, 1, f.n_cross, NULL, NULL, s.first + 2, views },
        .cross_rows = s.cross, .cross_seeing = s.seeing,
    };
    struct run r = trial_run(t, model_measure_forward(t->m, n, 1, in.n_out, f.n_image));
    struct tensor states;
    in.states = t->state ? &states : NULL;
    struct tensor out = t->m->family->forward(t->m, &r, &in);
    if (t->state)
        b->download(t->m->device, t->state, (float *)states.data + (size_t)(n - 1) * (size_t)states.stride,
                    (size_t)states.cols * sizeof *t->state);
    assert(out.rows == in.n_out && out.cols == t->m->vocab);
    for (int i = 0; i < in.n_out; i++)
        b->download(t->m->device, logits + (size_t)i * (size_t)out.cols,
                    (float *)out.data + (size_t)i * (size_t)out.stride, (size_t)out.cols * sizeof *logits);
    int rc = finish(t, e);
    trial_release(t, &r);
    forget(t, dev);
    t->n_done += n;
    return rc;
}

/* A family without a rule of its own counts tokens on all three axes. */
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

/* sees (n) of a prompt, to be freed; NULL: the family has no cross-attention. *next: from what comes after the
 * prompt. */
static struct image_range *image_ranges(const struct trial *t, const int32_t *ids, int n, struct image_range *next)
{
    const struct family *f = t->m->family;
    struct image_range *sees = f->sees ? xcalloc((size_t)n, sizeof *sees) : NULL;
    *next = (struct image_range){ 0 };
    if (sees)
        *next = f->sees(t->m, ids, n, t->plan, t->n_images, sees);
    return sees;
}

/* Has the reading become so long that its tokens are rotated by the other table of the rope (model.stretch_after)? Then
 * all of them are marked so. Returns whether that is new. */
static bool stretch(struct reading *r)
{
    int after = r->t->m->stretch_after;
    bool before = r->stretched;
    r->stretched = after && r->n > after;
    for (int i = 0; i < r->n && r->stretched; i++)
        r->pos[r->room + i] = -1;
    return r->stretched && !before;
}

/* Prepares arrays for a prompt of n tokens and `more` tokens of an answer: ids, positions (3, n + more) and which
 * images each token sees. The latter are there only for families with cross-attention. Memory that is out ends the
 * program: a trial belongs to a command. */
void reading_open(struct reading *r, struct trial *t, const int32_t *ids, int n, int more)
{
    size_t room = (size_t)n + (size_t)more;
    *r = (struct reading){ .t = t, .n = n, .room = n + more };
    r->ids = xcalloc(room, sizeof *r->ids);
    r->pos = xcalloc(room * 3, sizeof *r->pos);
    memcpy(r->ids, ids, (size_t)n * sizeof *ids);
    int32_t *pos = trial_positions(t, ids, n, &t->next_pos);
    for (size_t a = 0; a < 3; a++)
        memcpy(r->pos + a * room, pos + a * (size_t)n, (size_t)n * sizeof *pos);
    free(pos);
    struct image_range *sees = image_ranges(t, ids, n, &t->next_sees);
    if (sees) {
        r->sees = xcalloc(room, sizeof *sees);
        memcpy(r->sees, sees, (size_t)n * sizeof *sees);
    }
    r->prompt = n;
    free(sees);
    stretch(r);
}

/* One token of the answer behind the prompt; text has the same position on all three axes. Where the whole has become
 * too long for what was computed, nothing counts as computed any more. */
void reading_add(struct reading *r, int32_t id)
{
    assert(r->n < r->room);
    r->ids[r->n] = id;
    for (int a = 0; a < 3; a++)
        r->pos[a * r->room + r->n] = r->t->next_pos + r->n - r->prompt;
    if (r->sees)
        r->sees[r->n] = r->t->next_sees;
    r->n++;
    if (stretch(r))
        r->t->n_done = 0;
}

void reading_close(struct reading *r)
{
    free(r->ids);
    free(r->pos);
    free(r->sees);
}

int trial_step_end(const struct trial *t, const int32_t *ids, int n, int end)
{
    int place = t->m->image_token;
    if (t->m->prompts_whole)
        return n;
    while (t->m->image_spans && end < n && ids[end - 1] == place && ids[end] == place)
        end++;
    return end < n ? end : n;
}

/* Computes the whole prompt, `chunk` rows a step. `every`: logits (n, vocab) are those of all rows; otherwise (vocab)
 * of the last one. */
static int prompt_rows(struct trial *t, const int32_t *ids, int n, int chunk, bool every, float *logits, struct err *e)
{
    int rc = 0;
    struct reading in;
    reading_open(&in, t, ids, n, 0);
    for (int i = 0, end; i < n && rc == 0; i = end) {
        end = trial_step_end(t, ids, n, i / chunk * chunk + chunk);
        float *out = every ? logits + (size_t)i * (size_t)t->m->vocab : logits;
        rc = reading_next(&in, end - i, every ? end - i : end == n, out, e);
    }
    reading_close(&in);
    return rc;
}

int trial_prompt(struct trial *t, const int32_t *ids, int n, int chunk, float *logits, struct err *e)
{
    assert(n <= t->max_rows);
    return prompt_rows(t, ids, n, chunk, true, logits, e);
}

int trial_prompt_quietly(struct trial *t, const int32_t *ids, int n, int chunk, float *logits, struct err *e)
{
    return prompt_rows(t, ids, n, chunk, false, logits, e);
}

/* Token by token, as an answer is computed. Earlier tokens are in the cache; the reading still holds all of them,
 * because positions and images are looked up by index. */
int trial_follow(struct trial *t, const int32_t *ids, int n, const int32_t *next, int n_next, float *logits,
                 struct err *e)
{
    int rc = 0;
    struct reading in;
    reading_open(&in, t, ids, n, n_next);
    for (int i = 0; i < n_next && rc == 0; i++) {
        reading_add(&in, next[i]);
        if (t->n_done < in.n - 1)
            rc = reading_next(&in, in.n - 1 - t->n_done, 0, NULL, e);
        if (rc == 0)
            rc = reading_next(&in, 1, 1, logits + (size_t)i * (size_t)t->m->vocab, e);
    }
    reading_close(&in);
    return rc;
}

int trial_project(struct trial *t, const struct weight *w, const float *x, float *out, struct err *e)
{
    enum { SLACK = 4096 };
    struct run r = trial_run(t, (struct pass_memory){ .scratch = (size_t)(w->in + w->out) * sizeof *x + SLACK,
                                                      .host = SLACK });
    struct tensor y = nn_linear(&r, nn_table(&r, x, 1, w->in), w, (struct epilogue){ 0 });
    t->m->backend->download(t->m->device, out, y.data, (size_t)w->out * sizeof *out);
    int rc = finish(t, e);
    trial_release(t, &r);
    return rc;
}

int trial_text_vector(struct trial *t, const int32_t *ids, int n, float *out, struct err *e)
{
    struct reading in;
    trial_rewind(t);
    t->state = xcalloc((size_t)t->m->hidden, sizeof *t->state);
    reading_open(&in, t, ids, n, 0);
    int rc = reading_next(&in, n, 0, NULL, e);
    reading_close(&in);
    rc = rc ? rc : trial_project(t, t->m->share_text, t->state, out, e);
    free(t->state);
    t->state = NULL;
    return rc;
}

int trial_image_vector(struct trial *t, const uint8_t *rgb, int width, int height, float *out, struct err *e)
{
    t->n_images = 0;
    t->shared = out;
    int rc = trial_image(t, rgb, width, height, e);
    t->shared = NULL;
    t->n_images = 0;
    return rc;
}
