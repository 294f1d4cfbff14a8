/* engine/runner.c - see runner.h. First the memory on the device, then how one image is encoded, then how a step is
 * run. What the arrays of a step hold is in staging.c, which steps are recorded in replay.c. */
#include "engine/runner.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/masks.h"
#include "kernels/kv.h"

enum { TOP = ENGINE_MAX_TOP_LOGPROBS };

/* The largest step that may come. Rows beyond one of each request have a token that is known, which nothing is wished
 * of. */
static struct shape largest_shape(const struct runner_sizes *s, const struct model *m)
{
    size_t seqs = (size_t)s->max_seqs;
    return (struct shape){ .rows = s->max_rows, .seqs = s->max_seqs, .pages = (s->max_len + KV_PAGE - 1) / KV_PAGE,
                           .image_pages = s->image_kv_pages, .kv_images = s->image_kv_pages, .image_rows = s->max_rows,
                           .out = s->max_out, .seen = seqs * (size_t)s->max_len, .biased = seqs * ENGINE_MAX_BIAS,
                           .banned = seqs * (ENDS_MAX + ENGINE_MAX_STOP_IDS + STEER_MAX_BANS),
                           .mask_words = (m->vocab + 31) / 32,
                           .window = { m->text_kv.window, m->window_kv.window } };
}

size_t runner_staging_bytes(const struct runner_sizes *s, const struct model *m)
{
    struct shape largest = largest_shape(s, m);
    return staging_bytes(&largest);
}

/* The shape of a cache, without memory. */
static struct kv kv_of(const struct kv_shape *s, int page, int n_pages, enum dtype dtype)
{
    return (struct kv){ .dtype = dtype, .page = page, .n_pages = n_pages, .layers = s->layers, .n_kv = s->n_kv,
                        .dim = s->dim };
}

/* Bytes of one page in all layers, keys and values together. */
static size_t kv_page_bytes(const struct kv_shape *s, int page, enum dtype dtype)
{
    struct kv one = kv_of(s, page, 1, dtype);
    return 2 * (size_t)s->layers * kv_layer_bytes(&one);
}

size_t runner_kv_page_bytes(const struct model *m, int cache, enum dtype kv)
{
    return kv_page_bytes(model_text_cache(m, cache), KV_PAGE, kv);
}

size_t runner_image_kv_page_bytes(const struct model *m, enum dtype kv)
{
    return kv_page_bytes(&m->image_kv, IMAGE_KV_PAGE, kv);
}

size_t runner_row_page_bytes(const struct model *m)
{
    return (size_t)IMAGE_ROW_PAGE * (size_t)m->image_row_width * sizeof(float);
}

/* Device memory; NULL and e: there is not enough. A device with memory of its own has it from now on: it is written
 * once, so that later nothing can fail for want of it. Where the host computes, it is taken when it is first used. */
static void *alloc(struct runner *r, size_t n, struct err *e)
{
    enum { PART = 1 << 20, LEAST = 64 };
    const struct backend *be = r->run.backend;
    char *p = be->alloc(r->run.dev, n ? n : LEAST);
    if (p && be->take)
        return p;
    char *zero = p ? calloc(1, PART) : NULL;
    if (!p || !zero) {
        err_set(e, "the device has no %zu bytes left", n);
        return NULL;
    }
    for (size_t at = 0; at < n; at += PART)
        be->upload(r->run.dev, p + at, zero, n - at < PART ? n - at : PART);
    free(zero);
    return p;
}

/* Memory for a cache: a block for keys and one for values. A family without cross attention has an image KV of no
 * layers, which still has an address. */
static int open_kv(struct runner *r, struct kv *kv, const struct kv_shape *shape, int page, int n_pages, struct err *e)
{
    *kv = kv_of(shape, page, n_pages, r->size.kv);
    size_t half = (size_t)kv->layers * kv_layer_bytes(kv);
    kv->k = alloc(r, half, e);
    kv->v = kv->k ? alloc(r, half, e) : NULL;
    return kv->v ? 0 : -1;
}

/* Where the model finds the text's caches. */
static const int text_kv[TEXT_CACHES] = { CACHE_TEXT, CACHE_WINDOW };

/* Keys, or values, of one page of a cache, in all layers. */
static size_t page_half(const struct kv *kv) { return (size_t)kv_page_step(kv) * kv_entry_bytes(kv); }

/* A page may be smaller than a huge page of the machine. Taking one page of the cache at a time would then touch, and
 * so take, more than was asked for. */
int runner_chunk(const struct runner *r, int cache)
{
    enum { HUGE = 2 << 20 };
    size_t half = page_half(&r->kv[text_kv[cache]]);
    return half < HUGE ? (int)(HUGE / half) : 1;
}

int runner_fill_pages(struct runner *r, int cache, int n)
{
    const struct backend *be = r->run.backend;
    const struct kv *kv = &r->kv[text_kv[cache]];
    int more = n - r->filled[cache];
    if (more <= 0)
        return 0;
    size_t half = page_half(kv), at = (size_t)r->filled[cache] * half;
    be->take(r->run.dev, (char *)kv->k + at, (size_t)more * half);
    be->take(r->run.dev, (char *)kv->v + at, (size_t)more * half);
    r->filled[cache] = n;
    return more;
}

/* Takes all memory that steps and images will need, in the host and on the device, in the sizes of the plan. -1: the
 * device does not have that much; nothing stays allocated. */
int runner_open(struct runner *r, const struct model *m, const struct ops *ops, const struct runner_sizes *size,
                struct err *e)
{
    *r = (struct runner){ .m = m, .size = *size, .largest = largest_shape(size, m) };
    r->run = (struct run){ .ops = ops, .backend = m->backend, .dev = m->device, .kv = r->kv, .size = size->scratch,
                            .host = xmalloc(size->host), .host_size = size->host };
    size_t out = (size_t)size->max_out;
    r->staging = (struct staging){ .host = xcalloc(1, size->staging), .size = size->staging };
    r->result_ids = xcalloc(out, sizeof *r->result_ids);
    r->result_top = xcalloc(out * TOP, sizeof *r->result_top);
    r->result_lp = xcalloc(out * (TOP + 1), sizeof *r->result_lp);
    r->state = xmalloc(RUNNER_STATES * (size_t)m->hidden * sizeof *r->state);
    int rows = size->image_row_pages * IMAGE_ROW_PAGE, width = m->image_row_width;
    r->pool = (struct tensor){ .dtype = F32, .rows = rows, .cols = width, .stride = width };
    if (!(r->run.scratch = alloc(r, size->scratch, e)) || !(r->staging.dev = alloc(r, size->staging, e)) ||
        !(r->pool.data = alloc(r, (size_t)rows * (size_t)width * sizeof(float), e)) ||
        open_kv(r, &r->kv[CACHE_IMAGES], &m->image_kv, IMAGE_KV_PAGE, size->image_kv_pages, e) < 0)
        goto fail;
    for (int c = 0; c < TEXT_CACHES; c++)
        if (open_kv(r, &r->kv[text_kv[c]], model_text_cache(m, c), KV_PAGE, size->kv_pages[c], e) < 0)
            goto fail;
    return 0;
fail:
    runner_close(r);
    return -1;
}

/* Frees what runner_open() has taken, also where it stopped half-way. */
void runner_close(struct runner *r)
{
    const struct backend *be = r->run.backend;
    void *owned[3 + 2 * N_CACHES] = { r->run.scratch, r->staging.dev, r->pool.data };
    for (int i = 0; i < N_CACHES; i++) {
        owned[3 + 2 * i] = r->kv[i].k;
        owned[4 + 2 * i] = r->kv[i].v;
    }
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        if (owned[i])
            be->free(r->run.dev, owned[i]);
    free(r->run.host);
    free(r->staging.host);
    free(r->result_ids);
    free(r->result_top);
    free(r->result_lp);
    free(r->state);
    *r = (struct runner){ 0 };
}

void runner_rest(struct runner *r)
{
    enum { KEPT = 8 << 20 };
    const struct backend *be = r->run.backend;
    if (be->give_back && r->run.size > KEPT)
        be->give_back(r->run.dev, (char *)r->run.scratch + KEPT, r->run.size - KEPT);
}

/* ---- one image ---------------------------------------------------------- */

/* One pass of a resize on the device: the taps go up first. Its result is scratch of this image, in whole words,
 * because that is how it is written. */
static uint8_t *resample(struct run *run, const uint8_t *in, const struct pass *p)
{
    const struct taps *t = p->taps;
    struct resampling s = { .n = t->n, .stride = t->stride, .bits = t->bits, .start = nn_ints(run, t->start, t->n),
                            .count = nn_ints(run, t->count, t->n),
                            .weight = nn_ints(run, t->weight, t->n * t->stride) };
    uint8_t *out = nn_new(run, p->outer, (t->n * p->inner + 3) / 4).data;
    run->ops->resample(run->dev, out, in, p->outer, p->from, p->inner, &s);
    return out;
}

/* All passes of the image's resize, or none if the host has done it. rgb and the result are device addresses. */
static const uint8_t *resize(struct run *run, const struct prompt_image *image, const uint8_t *rgb)
{
    int w = image->px.width, h = image->px.height;
    struct pass pass;
    for (int i = 0; image->passes && passes_nth(image->passes, i, &w, &h, &pass); i++)
        rgb = resample(run, rgb, &pass);
    return rgb;
}

/* What the image that is being encoded holds of the scratch stays below the new base. A step inside has nobody to call
 * between its own operations. */
struct run runner_nest(struct runner *r)
{
    struct run outer = r->run;
    r->run.base = outer.used;
    r->run.between = NULL;
    return outer;
}

void runner_unnest(struct runner *r, const struct run *outer) { r->run = *outer; }

/* The picture goes up as it was sent, is resized there if that was left to the device, and the family writes its rows
 * into the pool, and its keys and values into the image KV. */
const char *runner_encode(struct runner *r, const struct prompt_image *image, const struct image_entry *entry,
                          float *shared, void (*between)(void *arg), void *arg)
{
    struct run *run = &r->run;
    run->between = between;
    run->between_arg = arg;
    size_t n = prompt_image_bytes(image);
    run->used = run->host_used = 0;
    struct tensor rgb = nn_new(run, 1, (int)((n + 3) / 4));
    run->backend->upload(run->dev, rgb.data, image->px.data, n);
    int n_tokens = entry->plan.n_tokens, n_cells = r->kv[CACHE_IMAGES].layers ? entry->plan.n_cells : 0;
    int *rows = nn_host(run, n_tokens + n_cells);
    for (int i = 0; i < n_tokens; i++)
        rows[i] = image_row(entry, i);
    for (int i = 0; i < n_cells; i++)
        rows[n_tokens + i] = image_slot(entry, i);
    const int *dev = nn_ints(run, rows, n_tokens + n_cells);
    struct encode in = { .plan = entry->plan, .rgb = resize(run, image, rgb.data), .pool = r->pool, .rows = dev,
                         .slots = n_cells ? dev + n_tokens : NULL };
    struct tensor vector;
    in.shared = shared ? &vector : NULL;
    r->m->family->encode_image(r->m, run, &in);
    if (shared)
        run->backend->download(run->dev, shared, vector.data, (size_t)vector.cols * sizeof *shared);
    run->between = NULL;
    return run->backend->sync(run->dev);
}

/* ---- one step ----------------------------------------------------------- */

static void adjust(struct run *run, struct tensor logits, const struct adjustment *a)
{
    if (a->any)
        run->ops->penalize(run->dev, logits, a->tokens, a->first, a->penalty);
}

/* Draws a token from every row of logits, with its logprobs where anybody wants them; the host has both after the
 * device was waited for. Logprobs are the model's own, so they come from a copy that no wish has touched. */
static void sample(struct runner *r, struct tensor logits, const struct sampler *s)
{
    struct run *run = &r->run;
    const struct ops *op = run->ops;
    int n = logits.rows;
    int *ids = nn_new(run, 1, n).data, *top = nn_new(run, n, TOP).data;
    float *lp = nn_new(run, n, TOP + 1).data;
    struct tensor raw = logits;
    if (s->top_n >= 0) {
        raw = nn_new(run, n, logits.cols);
        op->copy(run->dev, raw, logits);
    }
    r->logits = raw;
    adjust(run, logits, &s->seen);
    adjust(run, logits, &s->biased);
    adjust(run, logits, &s->banned);
    if (s->allowed)
        op->mask(run->dev, logits, s->allowed);
    op->sample(run->dev, ids, logits, s->sampling);
    run->backend->download(run->dev, r->result_ids, ids, (size_t)n * sizeof *ids);
    if (s->top_n >= 0) {
        op->logprobs(run->dev, top, lp, raw, ids, s->top_n);
        run->backend->download(run->dev, r->result_top, top, (size_t)(n * s->top_n) * sizeof *top);
        run->backend->download(run->dev, r->result_lp, lp, (size_t)(n * (s->top_n + 1)) * sizeof *lp);
    }
}

/* Sorts what came back from the device into one struct a row. */
static void collect(const struct runner *r, struct sampled *out)
{
    int top_n = r->staged.sampler.top_n;
    for (int row = 0; row < r->staged.sampler.n; row++) {
        out[row].id = r->result_ids[row];
        if (top_n < 0)
            continue;
        out[row].logprob = r->result_lp[row * (top_n + 1)];
        memcpy(out[row].top_id, r->result_top + row * top_n, (size_t)top_n * sizeof(int));
        memcpy(out[row].top, r->result_lp + row * (top_n + 1) + 1, (size_t)top_n * sizeof(float));
    }
}

/* The arrays, one upload, the model, the masks of grammars, the sampler. An asynchronous device only has them queued
 * when this is done; it computes while the masks are made. */
void runner_start(struct runner *r, const struct step *step, const struct images *images)
{
    const struct backend *be = r->run.backend;
    struct staged *staged = &r->staged;
    struct shape shape = staging_shape(step, r->largest.kv_images, r->m->vocab);
    memcpy(shape.window, r->largest.window, sizeof shape.window);
    if (be->replay && !r->size.no_graphs && replay_suits(step))
        replay_round(&shape, &r->largest);
    staging_fill(&r->staging, &shape, step, images, staged);
    staged->forward.pool = r->pool;
    r->states = (struct tensor){ 0 };
    staged->forward.states = step->n_states ? &r->states : NULL;
    be->upload(r->run.dev, r->staging.dev, r->staging.host, staged->early);
    r->run.both_ways = (r->m->image_spans && staged->forward.n_image > 0) ||
                       (r->m->prompts_whole && step->n_rows > step->n_single);
    struct tensor logits = replay_forward(&r->replay, r->m, &r->run, &staged->forward, shape.key);
    logits.rows = staged->sampler.n;
    if (staged->sampler.late) {
        masks_fill(step, staged->sampler.late, r->m->vocab);
        be->upload(r->run.dev, r->staging.dev + staged->early, r->staging.host + staged->early,
                   r->staging.used - staged->early);
    }
    if (logits.rows)
        sample(r, logits, &staged->sampler);
}

const char *runner_finish(struct runner *r, struct sampled *out)
{
    const char *failed = r->run.backend->sync(r->run.dev);
    if (!failed)
        collect(r, out);
    return failed;
}

/* Copies whole rows; NULL, or what the device said. */
static const char *download_rows(struct runner *r, const struct tensor *t, int row, int n, int width, float *out)
{
    const struct backend *be = r->run.backend;
    const float *from = (const float *)t->data + (size_t)row * (size_t)t->stride;
    for (int i = 0; i < n; i++, from += t->stride, out += width)
        be->download(r->run.dev, out, from, (size_t)width * sizeof *out);
    return be->sync(r->run.dev);
}

const char *runner_logits(struct runner *r, int first, int n, float *out)
{
    return download_rows(r, &r->logits, first, n, r->logits.cols, out);
}

const char *runner_features(struct runner *r, const struct image_entry *entry, float *out)
{
    const char *failed = NULL;
    size_t width = (size_t)model_features(r->m);
    for (int i = 0; i < entry->plan.n_tokens && !failed; i++)
        failed = download_rows(r, &r->pool, image_row(entry, i), 1, (int)width, out + (size_t)i * width);
    return failed;
}

/* They lie where the pass has left them, until the next one begins. */
const char *runner_states(struct runner *r, int row, int n, const float **out)
{
    *out = r->state;
    return download_rows(r, &r->states, row, n, r->states.cols, r->state);
}

const char *runner_project(struct runner *r, const struct weight *w, const float *x, float *out)
{
    struct run *run = &r->run;
    run->used = run->base;
    struct tensor y = nn_linear(run, nn_table(run, x, 1, w->in), w, (struct epilogue){ 0 });
    run->backend->download(run->dev, out, y.data, (size_t)w->out * sizeof *out);
    return run->backend->sync(run->dev);
}
