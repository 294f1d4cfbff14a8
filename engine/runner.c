#include "engine/runner.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/kv.h"

enum { ALIGN = 64, TOP = ENGINE_MAX_TOP_LOGPROBS };

static size_t aligned(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

static int pages_per_request(const struct runner_sizes *s) { return (s->max_len + KV_PAGE - 1) / KV_PAGE; }

size_t runner_staging_bytes(const struct runner_sizes *s)
{
    size_t rows = (size_t)s->max_rows, seqs = (size_t)s->max_seqs, len = (size_t)s->max_len;
    size_t ints = rows * 12 + seqs * 7 + 9                                     /* row and sequence arrays */
                + seqs * (size_t)pages_per_request(s)                          /* block tables            */
                + (seqs + 1) * (size_t)s->image_kv_pages;                      /* likewise of images; fill */
    size_t bytes = ints * sizeof(int) + seqs * (sizeof(struct sampling) + 2 * sizeof(struct penalty))
                 + seqs * (len + ENDS_MAX + ENGINE_MAX_STOP_IDS) * sizeof(struct seen);
    return bytes + 32 * ALIGN;                                                 /* alignment of each array */
}

static struct kv kv_of(const struct kv_shape *s, int page, int n_pages, enum dtype dtype)
{
    return (struct kv){ .dtype = dtype, .page = page, .n_pages = n_pages, .layers = s->layers, .n_kv = s->n_kv, .dim = s->dim };
}

static size_t kv_page_bytes(const struct kv_shape *s, int page, enum dtype dtype)
{
    struct kv one = kv_of(s, page, 1, dtype);
    return 2 * (size_t)s->layers * kv_layer_bytes(&one);
}

size_t runner_kv_page_bytes(const struct model *m, enum dtype kv) { return kv_page_bytes(&m->text_kv, KV_PAGE, kv); }

size_t runner_image_kv_page_bytes(const struct model *m, enum dtype kv)
{
    return kv_page_bytes(&m->image_kv, IMAGE_KV_PAGE, kv);
}

size_t runner_row_page_bytes(const struct model *m)
{
    return (size_t)IMAGE_ROW_PAGE * (size_t)m->image_row_width * sizeof(float);
}

/* Device memory. A device of its own has it from now on: it is written once, so that later nothing can fail for want of it.
 * The host has it when it is used. */
static void *alloc(struct runner *r, size_t n, struct err *e)
{
    enum { PART = 1 << 20 };
    const struct backend *be = r->run.backend;
    char *p = be->alloc(r->run.dev, n ? n : ALIGN);
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

static int open_kv(struct runner *r, struct kv *kv, const struct kv_shape *shape, int page, int n_pages, struct err *e)
{
    *kv = kv_of(shape, page, n_pages, r->size.kv);
    size_t half = (size_t)kv->layers * kv_layer_bytes(kv);
    kv->k = alloc(r, half, e);
    kv->v = kv->k ? alloc(r, half, e) : NULL;
    return kv->v ? 0 : -1;
}

int runner_chunk(const struct runner *r)
{
    enum { HUGE = 2 << 20 };
    size_t page = kv_layer_bytes(&r->kv[0]) / (size_t)r->kv[0].n_pages;
    return page < HUGE ? (int)(HUGE / page) : 1;
}

void runner_take_pages(struct runner *r, int from, int n)
{
    const struct backend *be = r->run.backend;
    size_t layer = kv_layer_bytes(&r->kv[0]), page = layer / (size_t)r->kv[0].n_pages;
    for (int i = 0; i < r->kv[0].layers; i++) {
        size_t at = (size_t)i * layer + (size_t)from * page;
        be->take(r->run.dev, (char *)r->kv[0].k + at, (size_t)n * page);
        be->take(r->run.dev, (char *)r->kv[0].v + at, (size_t)n * page);
    }
}

int runner_open(struct runner *r, const struct model *m, const struct ops *ops, const struct runner_sizes *size,
                struct err *e)
{
    *r = (struct runner){ .m = m, .size = *size };
    r->run = (struct run){ .ops = ops, .backend = m->backend, .dev = m->device, .kv = r->kv, .size = size->scratch,
                            .host = xmalloc(size->host), .host_size = size->host };
    size_t seqs = (size_t)size->max_seqs;
    r->stage_host = xcalloc(1, size->staging);
    r->result_ids = xcalloc(seqs, sizeof *r->result_ids);
    r->result_top = xcalloc(seqs * TOP, sizeof *r->result_top);
    r->result_lp = xcalloc(seqs * (TOP + 1), sizeof *r->result_lp);
    int rows = size->image_row_pages * IMAGE_ROW_PAGE, width = m->image_row_width;
    r->pool = (struct tensor){ .dtype = F32, .rows = rows, .cols = width, .stride = width };
    if (!(r->run.scratch = alloc(r, size->scratch, e)) || !(r->stage_dev = alloc(r, size->staging, e)) ||
        !(r->pool.data = alloc(r, (size_t)rows * (size_t)width * sizeof(float), e)) ||
        open_kv(r, &r->kv[0], &m->text_kv, KV_PAGE, size->kv_pages, e) < 0 ||
        open_kv(r, &r->kv[1], &m->image_kv, IMAGE_KV_PAGE, size->image_kv_pages, e) < 0) {
        runner_close(r);
        return -1;
    }
    return 0;
}

void runner_close(struct runner *r)
{
    const struct backend *be = r->run.backend;
    void *owned[] = { r->run.scratch, r->stage_dev, r->pool.data, r->kv[0].k, r->kv[0].v, r->kv[1].k, r->kv[1].v };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        if (owned[i])
            be->free(r->run.dev, owned[i]);
    free(r->run.host);
    free(r->stage_host);
    free(r->result_ids);
    free(r->result_top);
    free(r->result_lp);
    *r = (struct runner){ 0 };
}

/* Room for n bytes of the step in staging; on_device() is where they will be. */
static void *stage(struct runner *r, size_t n)
{
    void *p = r->stage_host + r->stage_used;
    r->stage_used += aligned(n);
    assert(r->stage_used <= r->size.staging);
    return p;
}

static int *stage_ints(struct runner *r, int n) { return stage(r, (size_t)n * sizeof(int)); }

static void *on_device(const struct runner *r, const void *staged)
{
    return r->stage_dev + ((const char *)staged - r->stage_host);
}

/* ---- one image ---------------------------------------------------------- */

static uint8_t *resample(struct run *run, const uint8_t *in, const struct pass *p)
{
    const struct taps *t = p->taps;
    struct resampling s = { .n = t->n, .stride = t->stride, .bits = t->bits, .start = nn_ints(run, t->start, t->n),
                            .count = nn_ints(run, t->count, t->n), .weight = nn_ints(run, t->weight, t->n * t->stride) };
    uint8_t *out = nn_new(run, p->outer, (t->n * p->inner + 3) / 4).data;
    run->ops->resample(run->dev, out, in, p->outer, p->from, p->inner, &s);
    return out;
}

static const uint8_t *resize(struct run *run, const struct prompt_image *image, const uint8_t *rgb)
{
    int w = image->px.width, h = image->px.height;
    struct pass pass;
    for (int i = 0; image->passes && passes_nth(image->passes, i, &w, &h, &pass); i++)
        rgb = resample(run, rgb, &pass);
    return rgb;
}

struct run runner_nest(struct runner *r)
{
    struct run outer = r->run;
    r->run.base = outer.used;
    r->run.between = NULL;
    return outer;
}

void runner_unnest(struct runner *r, const struct run *outer) { r->run = *outer; }

const char *runner_encode(struct runner *r, const struct prompt_image *image, const struct image_entry *entry,
                          void (*between)(void *arg), void *arg)
{
    struct run *run = &r->run;
    run->between = between;
    run->between_arg = arg;
    size_t n = (size_t)image->px.width * (size_t)image->px.height * 3;
    run->used = run->host_used = 0;
    struct tensor rgb = nn_new(run, 1, (int)((n + 3) / 4));
    run->backend->upload(run->dev, rgb.data, image->px.data, n);
    int n_tokens = entry->plan.n_tokens, n_cells = r->kv[1].layers ? entry->plan.n_cells : 0;
    int *rows = nn_host(run, n_tokens + n_cells);
    for (int i = 0; i < n_tokens; i++)
        rows[i] = image_row(entry, i);
    for (int i = 0; i < n_cells; i++)
        rows[n_tokens + i] = image_slot(entry, i);
    const int *dev = nn_ints(run, rows, n_tokens + n_cells);
    struct encode in = { .plan = entry->plan, .rgb = resize(run, image, rgb.data), .pool = r->pool, .rows = dev,
                         .slots = n_cells ? dev + n_tokens : NULL };
    r->m->family->encode_image(r->m, run, &in);
    run->between = NULL;
    return run->backend->sync(run->dev);
}

/* ---- one step ----------------------------------------------------------- */

/* The sizes of a step's arrays. */
struct shape {
    int rows, seqs, pages;     /* pages: columns of the block tables  */
    int image_pages;           /* likewise of cross attention; 0: no row sees an image */
    int key;                   /* of a step that may be replayed; -1  */
};

static int log2_up(int n)
{
    int k = 0;
    while (1 << k < n)
        k++;
    return k;
}

static int rounded(int k, int most) { return 1 << k < most ? 1 << k : most; }

/* Pages of the image KV that the first n images of q take: its images lie end to end in the block table. */
static int image_pages(const struct request *q, int n)
{
    int pages = 0;
    for (int k = 0; k < n; k++)
        pages += q->images[k]->n_kv_pages;
    return pages;
}

static struct shape shape_of(const struct runner *r, const struct step *step)
{
    struct shape s = { .rows = step->n_rows, .seqs = step->n_seqs, .pages = 1, .key = -1 };
    bool decode = r->run.backend->replay && !r->size.no_graphs;
    for (int i = 0; i < step->n_seqs; i++) {
        const struct step_seq *q = &step->seq[i];
        int cross = r->kv[1].layers ? image_pages(q->r, q->r->prompt->n_images) : 0;
        s.pages = q->r->n_pages > s.pages ? q->r->n_pages : s.pages;
        s.image_pages = cross > s.image_pages ? cross : s.image_pages;
        decode = decode && q->n == 1 && q->samples && q->start >= q->r->prompt->n;
    }
    if (!decode)
        return s;
    int rows = log2_up(s.rows), pages = log2_up(s.pages), cross = log2_up(s.image_pages);
    s.rows = s.seqs = rounded(rows, r->size.max_seqs);
    s.pages = rounded(pages, pages_per_request(&r->size));
    s.key = (rows * 32 + pages) * 32;
    if (s.image_pages) {
        s.image_pages = rounded(cross, r->size.image_kv_pages);
        s.key += 1 + cross;
    }
    return s;
}

/* Tokens, positions, slots, limits and block tables of all rows. Rows beyond the step's write nowhere and see nothing. */
static void stage_batch(struct runner *r, const struct step *step, const struct shape *shape, struct batch *b)
{
    int n = shape->rows, seqs = shape->seqs, max_pages = shape->pages;
    int *token = stage_ints(r, n), *pos = stage_ints(r, 3 * n), *first = stage_ints(r, seqs + 1);
    int *slot = stage_ints(r, n), *limit = stage_ints(r, n), *pages = stage_ints(r, seqs * max_pages);
    int row = 0, max_rows = 0, max_kv = 0;
    memset(pages, 0, (size_t)(seqs * max_pages) * sizeof *pages);
    for (int s = 0; s < step->n_seqs; s++) {
        const struct step_seq *q = &step->seq[s];
        const struct prompt *p = q->r->prompt;
        first[s] = row;
        memcpy(pages + s * max_pages, q->r->pages, (size_t)q->r->n_pages * sizeof *pages);
        for (int i = q->start; i < q->start + q->n; i++, row++) {
            token[row] = q->r->ids[i];
            for (int axis = 0; axis < 3; axis++)
                pos[axis * n + row] = i >= p->n ? p->next_pos + i - p->n : p->pos ? p->pos[axis * p->n + i] : i;
            slot[row] = q->r->pages[i / KV_PAGE] * KV_PAGE + i % KV_PAGE;
            limit[row] = i + 1;
        }
        max_rows = q->n > max_rows ? q->n : max_rows;
        max_kv = q->start + q->n > max_kv ? q->start + q->n : max_kv;
    }
    for (; row < n; row++) {
        first[row] = row;
        token[row] = pos[row] = pos[n + row] = pos[2 * n + row] = limit[row] = 0;
        slot[row] = -1;
    }
    first[seqs] = row;
    r->views[0] = (struct view){ .slot = on_device(r, slot), .limit = on_device(r, limit), .pages = on_device(r, pages),
                                 .max_pages = max_pages, .max_kv = shape->key < 0 ? max_kv : max_pages * KV_PAGE };
    *b = (struct batch){ .n_rows = n, .n_seqs = seqs, .max_rows = max_rows, .token = on_device(r, token),
                         .pos = on_device(r, pos), .first = on_device(r, first), .views = r->views };
}

/* Which rows are image tokens, and where in the pool their contents are. */
static void stage_image_rows(struct runner *r, const struct step *step, struct forward *f)
{
    int *src = stage_ints(r, step->n_rows), *dst = stage_ints(r, step->n_rows), row = 0;
    for (int s = 0; s < step->n_seqs; row += step->seq[s++].n) {
        const struct step_seq *q = &step->seq[s];
        for (int k = 0; k < q->r->prompt->n_images; k++) {
            const struct prompt_image *img = &q->r->prompt->images[k];
            int from = img->start > q->start ? img->start : q->start;
            int to = img->start + img->plan.n_tokens, end = q->start + q->n;
            for (int i = from; i < (to < end ? to : end); i++) {
                src[f->n_image] = image_row(q->r->images[k], i - img->start);
                dst[f->n_image++] = row + i - q->start;
            }
        }
    }
    f->image_src = on_device(r, src);
    f->image_dst = on_device(r, dst);
}

/* The sub-batch of the rows that see an image, as the family says. In a step that may be replayed all rows take part: those
 * that see none and those beyond the step's as rows that are nowhere. */
static void stage_cross(struct runner *r, const struct step *step, const struct shape *shape, const struct images *images,
                        struct forward *f)
{
    int seqs = shape->seqs, n = 0, max_pages = shape->image_pages, max_rows = 0;
    int *rows = stage_ints(r, shape->rows), *first = stage_ints(r, seqs + 1), *from = stage_ints(r, shape->rows);
    int *limit = stage_ints(r, shape->rows), *table = stage_ints(r, seqs * max_pages), *fill = stage_ints(r, images->kv.size);
    memcpy(fill, images->fill, (size_t)images->kv.size * sizeof *fill);
    memset(table, 0, (size_t)(seqs * max_pages) * sizeof *table);
    for (int s = 0, row = 0; s < step->n_seqs; row += step->seq[s++].n) {
        const struct step_seq *q = &step->seq[s];
        first[s] = n;
        for (int k = 0, at = 0; k < q->r->prompt->n_images; at += q->r->images[k++]->n_kv_pages)
            memcpy(table + s * max_pages + at, q->r->images[k]->kv_page, (size_t)q->r->images[k]->n_kv_pages * sizeof *table);
        for (int i = q->start; i < q->start + q->n; i++) {
            struct image_range sees = prompt_sees(q->r->prompt, i);
            bool any = sees.end > sees.first;
            if (!any && shape->key < 0)
                continue;
            rows[n] = any ? row + i - q->start : -1;
            from[n] = any ? image_pages(q->r, sees.first) * IMAGE_KV_PAGE : 0;
            limit[n++] = any ? image_pages(q->r, sees.end) * IMAGE_KV_PAGE : 0;
        }
        max_rows = n - first[s] > max_rows ? n - first[s] : max_rows;
    }
    for (int s = step->n_seqs; s < seqs; s++, n++) {
        first[s] = n;
        rows[n] = -1;
        from[n] = limit[n] = 0;
    }
    first[seqs] = n;
    r->views[1] = (struct view){ .from = on_device(r, from), .limit = on_device(r, limit), .pages = on_device(r, table),
                                 .fill = on_device(r, fill), .max_pages = max_pages, .max_kv = max_pages * IMAGE_KV_PAGE };
    f->cross = (struct batch){ .n_rows = n, .n_seqs = seqs, .max_rows = max_rows, .first = on_device(r, first),
                               .views = r->views };
    f->cross_rows = on_device(r, rows);
}

/* What the sampler has to know of the rows that sample. */
struct sampler {
    const struct sampling *sampling;   /* device */
    const struct penalty  *penalty;
    const struct seen     *seen;
    const int *seen_first;
    bool penalties;                    /* any row has them */
    const struct penalty *ban;         /* likewise of the tokens that may not come yet */
    const struct seen    *banned;
    const int *banned_first;
    bool bans;
    int  top_n;                        /* most that any row wants; -1: no logprobs at all */
};

/* An answer that is too short to end: its ends get a penalty that nothing outweighs. */
static void stage_bans(struct runner *r, const struct step *step, int n_out, struct sampler *out)
{
    struct penalty *ban = stage(r, (size_t)n_out * sizeof *ban);
    int *first = stage_ints(r, n_out + 1), n = 0, row = 0;
    for (int s = 0; s < step->n_seqs; s++)
        n += step->seq[s].samples && request_too_short(step->seq[s].r) ? step->seq[s].r->n_ends : 0;
    struct seen *banned = stage(r, (size_t)n * sizeof *banned);
    n = 0;
    for (int s = 0; s < step->n_seqs; s++) {
        const struct request *q = step->seq[s].r;
        if (!step->seq[s].samples)
            continue;
        ban[row] = (struct penalty){ .repetition = 1, .presence = INFINITY };
        first[row++] = n;
        for (int i = 0; i < q->n_ends && request_too_short(q); i++)
            banned[n++] = (struct seen){ .token = q->ends[i], .count = 1 };
    }
    first[row] = n;
    out->bans = n > 0;
    out->ban = on_device(r, ban);
    out->banned = on_device(r, banned);
    out->banned_first = on_device(r, first);
}

static void stage_sampler(struct runner *r, const struct step *step, int n_out, struct sampler *out)
{
    struct sampling *sampling = stage(r, (size_t)n_out * sizeof *sampling);
    struct penalty *penalty = stage(r, (size_t)n_out * sizeof *penalty);
    int *first = stage_ints(r, n_out + 1), n_seen = 0, row = 0;
    *out = (struct sampler){ .top_n = -1 };
    for (int s = 0; s < step->n_seqs; s++)
        n_seen += step->seq[s].samples ? step->seq[s].r->n_seen : 0;
    struct seen *seen = stage(r, (size_t)n_seen * sizeof *seen);
    n_seen = 0;
    for (int s = 0; s < step->n_seqs; s++) {
        const struct request *q = step->seq[s].r;
        const struct params *p = &q->params;
        if (!step->seq[s].samples)
            continue;
        sampling[row] = (struct sampling){ .temperature = p->temperature, .top_p = p->top_p, .min_p = p->min_p,
                                           .top_k = p->top_k, .seed = p->seed, .step = (uint64_t)request_answer_len(q) };
        penalty[row] = (struct penalty){ p->repetition_penalty, p->frequency_penalty, p->presence_penalty };
        first[row++] = n_seen;
        if (q->n_seen)
            memcpy(seen + n_seen, q->seen, (size_t)q->n_seen * sizeof *seen);
        n_seen += q->n_seen;
        if (p->logprobs && p->top_logprobs > out->top_n)
            out->top_n = p->top_logprobs;
    }
    first[row] = n_seen;
    out->penalties = n_seen > 0;
    out->sampling = on_device(r, sampling);
    out->penalty = on_device(r, penalty);
    out->seen = on_device(r, seen);
    out->seen_first = on_device(r, first);
    stage_bans(r, step, n_out, out);
}

/* Logits -> ids and logprobs on the host (valid after sync). Logprobs are the model's own: before the penalties. */
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
    if (s->penalties)
        op->penalize(run->dev, logits, s->seen, s->seen_first, s->penalty);
    if (s->bans)
        op->penalize(run->dev, logits, s->banned, s->banned_first, s->ban);
    op->sample(run->dev, ids, logits, s->sampling);
    run->backend->download(run->dev, r->result_ids, ids, (size_t)n * sizeof *ids);
    if (s->top_n >= 0) {
        op->logprobs(run->dev, top, lp, raw, ids, s->top_n);
        run->backend->download(run->dev, r->result_top, top, (size_t)(n * s->top_n) * sizeof *top);
        run->backend->download(run->dev, r->result_lp, lp, (size_t)(n * (s->top_n + 1)) * sizeof *lp);
    }
}

static void collect(const struct runner *r, const struct step *step, int top_n, struct sampled *out)
{
    for (int s = 0, row = 0; s < step->n_seqs; s++) {
        if (!step->seq[s].samples)
            continue;
        out[s].id = r->result_ids[row];
        if (top_n >= 0) {
            out[s].logprob = r->result_lp[row * (top_n + 1)];
            memcpy(out[s].top_id, r->result_top + row * top_n, (size_t)top_n * sizeof(int));
            memcpy(out[s].top, r->result_lp + row * (top_n + 1) + 1, (size_t)top_n * sizeof(float));
        }
        row++;
    }
}

/* The model on this step: computed, or replayed. A shape is recorded when it comes for the second time. */
static struct tensor forward(struct runner *r, const struct forward *f, int key)
{
    struct run *run = &r->run;
    struct recorded *k = r->recorded;
    while (k < r->recorded + r->n_recorded && k->key != key)
        k++;
    run->used = run->base;
    bool known = k < r->recorded + r->n_recorded;
    if (known && k->replays) {
        run->backend->replay(run->dev, key);
        run->used = k->used;
        return k->logits;
    }
    if (known)
        run->backend->record(run->dev, key);
    struct tensor logits = r->m->family->forward(r->m, run, f);
    if (known)
        run->backend->replay(run->dev, key);
    if (key >= 0 && (known || r->n_recorded < MAX_RECORDED)) {
        *k = (struct recorded){ .key = key, .replays = known, .logits = logits, .used = run->used };
        r->n_recorded += !known;
    }
    return logits;
}

void runner_start(struct runner *r, const struct step *step, const struct images *images)
{
    struct run *run = &r->run;
    struct forward f = { .pool = r->pool };
    struct shape shape = shape_of(r, step);
    struct sampler sampler;
    r->stage_used = 0;
    stage_batch(r, step, &shape, &f.batch);
    if (shape.key < 0)
        stage_image_rows(r, step, &f);
    if (shape.image_pages)
        stage_cross(r, step, &shape, images, &f);
    int *out_rows = stage_ints(r, shape.seqs), row = 0, n_out = 0;
    for (int s = 0; s < step->n_seqs; s++) {
        row += step->seq[s].n;
        if (step->seq[s].samples)
            out_rows[n_out++] = row - 1;
    }
    f.n_out = shape.key < 0 ? n_out : shape.rows;
    for (int i = n_out; i < f.n_out; i++)
        out_rows[i] = i;
    f.out_rows = on_device(r, out_rows);
    stage_sampler(r, step, n_out, &sampler);
    run->backend->upload(run->dev, r->stage_dev, r->stage_host, r->stage_used);
    struct tensor logits = forward(r, &f, shape.key);
    logits.rows = n_out;
    if (n_out)
        sample(r, logits, &sampler);
    r->top_n = sampler.top_n;
}

const char *runner_finish(struct runner *r, const struct step *step, struct sampled *out)
{
    const char *failed = r->run.backend->sync(r->run.dev);
    if (!failed)
        collect(r, step, r->top_n, out);
    return failed;
}
