/* engine/staging.c - see staging.h. Every stage_ function first lays out its arrays, whose lengths follow from the
 * shape alone. Where there is no step, and so no memory behind the arrays, it ends there. */
#include "engine/staging.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { ALIGN = 64 };           /* bytes at which every array begins */

/* Room for n bytes at the end of what is taken so far; NULL while the room is only counted. It cannot run out: the
 * block was sized by these same functions for the largest step. */
static void *lay_out(struct staging *s, size_t n)
{
    size_t at = s->used;
    s->used += (n + ALIGN - 1) / ALIGN * ALIGN;
    if (!s->host)
        return NULL;
    assert(s->used <= s->size);
    return s->host + at;
}

static int *lay_out_ints(struct staging *s, int n) { return lay_out(s, (size_t)n * sizeof(int)); }

static int *lay_out_table(struct staging *s, int rows, int cols)
{
    return lay_out(s, (size_t)rows * (size_t)cols * sizeof(int));
}

/* Where an array of the block will be on the device. */
static void *on_device(const struct staging *s, const void *array) { return s->dev + ((const char *)array - s->host); }

/* Pages of what tokens see of the first n images of r: in the block table they lie end to end, and behind those of all
 * images the pages of padding (model/cells.h). */
static int image_pages(const struct request *r, int n)
{
    int pages = 0;
    for (int k = 0; k < n; k++)
        pages += cells_pages(&r->images[k]->plan, IMAGE_KV_PAGE);
    return pages;
}

/* All pages of r's images. */
static int all_image_pages(const struct request *r)
{
    int pages = 0;
    for (int k = 0; k < r->prompt->n_images; k++)
        pages += r->images[k]->n_kv_pages;
    return pages;
}

/* Every maximum is over the requests of the step, every sum over the rows that yield a token. Of a request's, only the
 * last one's may be drawn, and only that one has adjustments. */
struct shape staging_shape(const struct step *step, int kv_images, int vocab)
{
    struct shape s = { .rows = step->n_rows, .seqs = step->n_seqs, .pages = 1, .image_rows = step->n_rows, .key = -1 };
    for (int i = 0; i < step->n_seqs; i++) {
        const struct request *r = step->seq[i].r;
        int out = step_drawn(&step->seq[i]), pages = kv_images ? all_image_pages(r) : 0;
        s.pages = r->kv[0].n > s.pages ? r->kv[0].n : s.pages;
        s.image_pages = pages > s.image_pages ? pages : s.image_pages;
        s.out += out;
        if (out && step_known_token(&step->seq[i], out - 1) < 0) {
            s.seen += (size_t)r->n_seen;
            s.banned += (size_t)request_most_bans(r);
            s.biased += (size_t)r->steer.n_bias;
        }
        bool masks = out && (r->steer.allowed || r->matcher || step_known_token(&step->seq[i], 0) >= 0);
        s.mask_words = masks ? (vocab + 31) / 32 : s.mask_words;
    }
    s.kv_images = s.image_pages ? kv_images : 0;
    return s;
}

/* Where a token stands on one axis of the rope. Those of the prompt have the positions that the family gave; an answer
 * goes on from there, one step on all axes with each token. The mark of stretched sequences takes the second axis. */
static int position(const struct request *r, int token, int axis)
{
    const struct prompt *p = r->prompt;
    if (axis == 1 && r->stretched)
        return -1;
    if (token >= p->n)
        return p->next_pos + token - p->n;
    return p->pos ? p->pos[axis * p->n + token] : token;
}

/* Where the rows of a step lie in one of the text's caches, and what they see of it: slots, block tables, and where the
 * window begins. Pages behind the window were given back: what stands in the table for them is never looked at. */
static struct view stage_cache(struct staging *st, const struct shape *shape, const struct step *step, int cache)
{
    int n = shape->rows, max_pages = shape->pages, window = shape->window[cache], row = 0;
    int *slot = lay_out_ints(st, n), *pages = lay_out_table(st, shape->seqs, max_pages);
    int *from = window ? lay_out_ints(st, n) : NULL;
    if (!step)
        return (struct view){ 0 };
    memset(pages, 0, (size_t)(shape->seqs * max_pages) * sizeof *pages);
    for (int s = 0; s < step->n_seqs; s++) {
        const struct step_seq *q = &step->seq[s];
        const struct held *held = &q->r->kv[cache];
        memcpy(pages + s * max_pages, held->page, (size_t)held->n * sizeof *pages);
        for (int i = q->start; i < q->start + q->n; i++, row++) {
            slot[row] = held->page[i / KV_PAGE] * KV_PAGE + i % KV_PAGE;
            if (window)
                from[row] = prompt_sees_from(q->r->prompt, i, window);
        }
    }
    for (; row < n; row++) {
        slot[row] = -1;
        if (window)
            from[row] = 0;
    }
    return (struct view){ .slot = on_device(st, slot), .pages = on_device(st, pages), .max_pages = max_pages,
                          .from = window ? on_device(st, from) : NULL };
}

/* Tokens, positions, limits, and the views of all rows. In a shape that was rounded up, the rows beyond the step's
 * write nowhere and see nothing. */
static void stage_batch(struct staging *st, const struct shape *shape, const struct step *step, struct staged *out)
{
    static const int views[TEXT_CACHES] = { CACHE_TEXT, CACHE_WINDOW };
    int n = shape->rows, seqs = shape->seqs, row = 0, max_rows = 0, max_kv = 0;
    int *token = lay_out_ints(st, n), *pos = lay_out_table(st, 3, n), *first = lay_out_ints(st, seqs + 1);
    int *limit = lay_out_ints(st, n);
    for (int c = 0; c < TEXT_CACHES; c++)
        if (c == 0 || shape->window[c])
            out->views[views[c]] = stage_cache(st, shape, step, c);
    if (!step)
        return;
    for (int s = 0; s < step->n_seqs; s++) {
        const struct step_seq *q = &step->seq[s];
        first[s] = row;
        for (int i = q->start; i < q->start + q->n; i++, row++) {
            token[row] = q->r->ids[i];
            for (int axis = 0; axis < 3; axis++)
                pos[axis * n + row] = position(q->r, i, axis);
            limit[row] = prompt_span(q->r->prompt, i).end;
        }
        max_rows = q->n > max_rows ? q->n : max_rows;
        max_kv = q->start + q->n > max_kv ? q->start + q->n : max_kv;
    }
    for (; row < n; row++) {
        first[row] = row;
        token[row] = pos[row] = pos[n + row] = pos[2 * n + row] = limit[row] = 0;
    }
    first[seqs] = row;
    for (int c = 0; c < TEXT_CACHES; c++) {
        struct view *v = &out->views[views[c]];
        v->limit = on_device(st, limit);
        v->max_kv = shape->key < 0 ? max_kv : shape->pages * KV_PAGE;
    }
    out->forward.batch = (struct batch){ .n_rows = n, .n_seqs = seqs, .max_rows = max_rows,
                                         .token = on_device(st, token), .pos = on_device(st, pos),
                                         .first = on_device(st, first), .views = out->views };
}

/* The rows of one image within a sequence of the step, whose first row is `row`. */
static void stage_image(const struct prompt_image *img, const struct image_entry *entry, const struct step_seq *q,
                        int row, int *src, int *dst, int *n)
{
    int each = img->plan.n_tokens / image_runs(&img->plan), end = q->start + q->n;
    for (int k = 0; k < image_runs(&img->plan); k++) {
        int start = img->run ? img->run[k] : img->start, to = start + each;
        for (int i = start > q->start ? start : q->start; i < (to < end ? to : end); i++) {
            src[*n] = image_row(entry, k * each + i - start);
            dst[(*n)++] = row + i - q->start;
        }
    }
}

/* Which rows are places of images, and where in the pool of encoded images their contents are. */
static void stage_image_rows(struct staging *st, const struct shape *shape, const struct step *step, struct forward *f)
{
    int *src = lay_out_ints(st, shape->image_rows), *dst = lay_out_ints(st, shape->image_rows), row = 0;
    if (!step || !shape->image_rows)
        return;
    for (int s = 0; s < step->n_seqs; row += step->seq[s++].n) {
        const struct step_seq *q = &step->seq[s];
        for (int k = 0; k < q->r->prompt->n_images; k++) {
            const struct prompt_image *img = &q->r->prompt->images[k];
            if (img->start < q->start + q->n && img->end > q->start)
                stage_image(img, q->r->images[k], q, row, src, dst, &f->n_image);
        }
    }
    f->image_src = on_device(st, src);
    f->image_dst = on_device(st, dst);
}

/* One row of the sub-batch below: row `row` of the step, or -1, which is no row of it; sees pages from .. end - 1 of
 * its sequence's images. `seeing`: the same row, or -1 for a blind one. */
struct cross_row { int row, seeing, from, end; };

/* What one token of a request sees of its images. Its pages follow from the range of images, because the images of a
 * request lie end to end in the table of pages. */
static struct cross_row cross_row(const struct step_seq *q, int token, int row)
{
    struct image_range sees = prompt_sees(q->r->prompt, token);
    if (sees.first == sees.end)
        return (struct cross_row){ -1, -1, 0, 0 };
    if (sees.blind)
        return (struct cross_row){ row, -1, 0, all_image_pages(q->r) };
    return (struct cross_row){ row, row, image_pages(q->r, sees.first), image_pages(q->r, sees.end) };
}

/* The pages of a request's images, in the order of model/cells.h. */
static void fill_image_table(int *table, const struct request *r)
{
    int *blank = table + image_pages(r, r->prompt->n_images);
    for (int k = 0; k < r->prompt->n_images; k++) {
        const struct image_entry *e = r->images[k];
        int seen = cells_pages(&e->plan, IMAGE_KV_PAGE), rest = e->n_kv_pages - seen;
        memcpy(table, e->kv_page, (size_t)seen * sizeof *table);
        memcpy(blank, e->kv_page + seen, (size_t)rest * sizeof *blank);
        table += seen;
        blank += rest;
    }
}

/* The rows that see an image, as a batch of their own. A shape that was rounded up, for a replay, has all rows in it:
 * those that see no image and those beyond the step's belong to no row of the step, and see nothing. */
static void stage_cross(struct staging *st, const struct shape *shape, const struct step *step,
                        const struct images *images, struct staged *out)
{
    int seqs = shape->seqs, n = 0, max_pages = shape->image_pages, max_rows = 0;
    int *rows = lay_out_ints(st, shape->rows), *seeing = lay_out_ints(st, shape->rows);
    int *from = lay_out_ints(st, shape->rows);
    int *limit = lay_out_ints(st, shape->rows), *first = lay_out_ints(st, seqs + 1);
    int *table = lay_out_table(st, seqs, max_pages), *fill = lay_out_ints(st, shape->kv_images);
    if (!step)
        return;
    memcpy(fill, images->fill, (size_t)shape->kv_images * sizeof *fill);
    memset(table, 0, (size_t)(seqs * max_pages) * sizeof *table);
    for (int s = 0, row = 0; s < seqs; s++) {
        const struct step_seq *q = s < step->n_seqs ? &step->seq[s] : NULL;
        first[s] = n;
        if (q)
            fill_image_table(table + s * max_pages, q->r);
        for (int i = 0; i < (q ? q->n : 1); i++) {
            struct cross_row c = q ? cross_row(q, q->start + i, row + i) : (struct cross_row){ -1, -1, 0, 0 };
            if (c.row < 0 && shape->key < 0)
                continue;
            rows[n] = c.row;
            seeing[n] = c.seeing;
            from[n] = c.from * IMAGE_KV_PAGE;
            limit[n++] = c.end * IMAGE_KV_PAGE;
        }
        row += q ? q->n : 0;
        max_rows = n - first[s] > max_rows ? n - first[s] : max_rows;
    }
    first[seqs] = n;
    out->views[CACHE_IMAGES] = (struct view){ .from = on_device(st, from), .limit = on_device(st, limit),
                                   .pages = on_device(st, table), .fill = on_device(st, fill),
                                   .max_pages = max_pages, .max_kv = max_pages * IMAGE_KV_PAGE };
    out->forward.cross = (struct batch){ .n_rows = n, .n_seqs = seqs, .max_rows = max_rows,
                                         .first = on_device(st, first), .views = out->views };
    out->forward.cross_rows = on_device(st, rows);
    out->forward.cross_seeing = on_device(st, seeing);
}

/* Which rows' logits are wanted: of each request those that yield a token. Where the shape was rounded up the others
 * of the first rows come behind them, and nobody looks at what they give. */
static void stage_out_rows(struct staging *st, const struct shape *shape, const struct step *step, struct forward *f)
{
    int *rows = lay_out_ints(st, shape->out), n = 0, end = 0;
    if (!step)
        return;
    for (int s = 0; s < step->n_seqs; s++) {
        const struct step_seq *q = &step->seq[s];
        end += q->n;
        for (int k = step_drawn(q); k > 0; k--)
            rows[n++] = end - k;
    }
    for (; n < shape->out; n++)
        rows[n] = n;
    f->n_out = n;
    f->out_rows = on_device(st, rows);
}

/* Adds n tokens to a list of `*count` that is laid out already. */
static void add_tokens(struct seen *list, int *count, const struct seen *tokens, int n)
{
    if (n)
        memcpy(list + *count, tokens, (size_t)n * sizeof *list);
    *count += n;
}

static struct adjustment adjustment(const struct staging *st, const struct penalty *penalty, const struct seen *tokens,
                                    const int *first, int n)
{
    return (struct adjustment){ .penalty = on_device(st, penalty), .tokens = on_device(st, tokens),
                                .first = on_device(st, first), .any = n > 0 };
}

/* How every row is to be sampled, and the tokens that its request has a penalty on: all that it has seen. */
static void stage_sampling(struct staging *st, const struct shape *shape, const struct step *step, struct sampler *out)
{
    struct sampling *sampling = lay_out(st, (size_t)shape->out * sizeof *sampling);
    struct penalty *penalty = lay_out(st, (size_t)shape->out * sizeof *penalty);
    struct seen *seen = lay_out(st, shape->seen * sizeof *seen);
    int *first = lay_out_ints(st, shape->out + 1), n = 0, n_seen = 0;
    if (!step)
        return;
    out->top_n = -1;
    for (int s = 0; s < step->n_seqs; s++) {
        const struct request *q = step->seq[s].r;
        const struct params *p = &q->params;
        for (int k = 0; k < step_drawn(&step->seq[s]); k++) {
            sampling[n] = (struct sampling){ .temperature = p->temperature, .top_p = p->top_p, .min_p = p->min_p,
                                             .top_k = p->top_k, .seed = p->seed,
                                             .step = (uint64_t)request_answer_len(q) };
            penalty[n] = (struct penalty){ p->repetition_penalty, p->frequency_penalty, p->presence_penalty };
            first[n++] = n_seen;
            if (step_known_token(&step->seq[s], k) < 0)
                add_tokens(seen, &n_seen, q->seen, q->n_seen);
            bool known = step_known_token(&step->seq[s], k) >= 0;
            int  top = known ? p->top_prompt_logprobs : p->top_logprobs;
            if ((known || p->logprobs) && top > out->top_n)
                out->top_n = top;
        }
    }
    first[n] = n_seen;
    out->n = n;
    out->sampling = on_device(st, sampling);
    out->seen = adjustment(st, penalty, seen, first, n_seen);
}

/* What requests add to the logits of some tokens; no penalty has a part in it. */
static void stage_bias(struct staging *st, const struct shape *shape, const struct step *step, struct sampler *out)
{
    struct penalty *none = lay_out(st, (size_t)shape->out * sizeof *none);
    struct seen *biased = lay_out(st, shape->biased * sizeof *biased);
    int *first = lay_out_ints(st, shape->out + 1), n = 0, row = 0;
    if (!step)
        return;
    for (int s = 0; s < step->n_seqs; s++)
        for (int k = 0; k < step_drawn(&step->seq[s]); k++) {
            const struct steer *steer = &step->seq[s].r->steer;
            none[row] = (struct penalty){ .repetition = 1 };
            first[row++] = n;
            if (step_known_token(&step->seq[s], k) < 0)
                add_tokens(biased, &n, steer->bias, steer->n_bias);
        }
    first[row] = n;
    out->biased = adjustment(st, none, biased, first, n);
}

/* Tokens that may not come now get a penalty that nothing outweighs: the ends of an answer that is still too short,
 * unless a grammar says where it may end, and those that would complete a bad word. */
static void stage_bans(struct staging *st, const struct shape *shape, const struct step *step, struct sampler *out)
{
    struct penalty *ban = lay_out(st, (size_t)shape->out * sizeof *ban);
    struct seen *banned = lay_out(st, shape->banned * sizeof *banned);
    int *first = lay_out_ints(st, shape->out + 1), n = 0, row = 0;
    if (!step)
        return;
    for (int s = 0; s < step->n_seqs; s++) {
        const struct request *q = step->seq[s].r;
        for (int k = 0; k < step_drawn(&step->seq[s]); k++) {
            ban[row] = (struct penalty){ .repetition = 1, .presence = INFINITY };
            first[row++] = n;
            if (step_known_token(&step->seq[s], k) >= 0)
                continue;
            for (int i = 0; i < q->n_ends && request_too_short(q) && !q->matcher; i++)
                banned[n++] = (struct seen){ .token = q->ends[i], .count = 1 };
            n += steer_bans(&q->steer, q->ids + q->prompt->n, request_answer_len(q), banned + n);
        }
    }
    first[row] = n;
    out->banned = adjustment(st, ban, banned, first, n);
}

/* One bit for each token of the vocabulary and each row, where any request leaves only some of them. Behind a row whose
 * token is known, that one alone may come: so it is "drawn", and its logprob is told like any other's. The bits come
 * last: where grammars have a part in them, they are not complete before everything else is on its way. */
static void stage_masks(struct staging *st, const struct shape *shape, const struct step *step, struct staged *staged)
{
    struct sampler *out = &staged->sampler;
    size_t words = (size_t)shape->mask_words, row = 0, early = st->used;
    bool late = false;
    uint32_t *allowed = lay_out(st, (size_t)shape->out * words * sizeof *allowed);
    staged->early = st->used;
    if (!step || !words)
        return;
    for (int s = 0; s < step->n_seqs; s++)
        for (int k = 0; k < step_drawn(&step->seq[s]); k++, row++) {
            const uint32_t *own = step->seq[s].r->steer.allowed;
            int known = step_known_token(&step->seq[s], k);
            late |= step->seq[s].r->matcher != NULL && known < 0;
            if (known >= 0 && (size_t)known / 32 < words) {
                memset(allowed + row * words, 0, words * sizeof *allowed);
                allowed[row * words + (size_t)known / 32] = 1u << (known % 32);
            } else if (own && known < 0)
                memcpy(allowed + row * words, own, words * sizeof *allowed);
            else
                memset(allowed + row * words, 0xff, words * sizeof *allowed);
        }
    out->allowed = on_device(st, allowed);
    out->late = late ? allowed : NULL;
    staged->early = late ? early : st->used;
}

/* Goes through all arrays of a step in their order in the block. With step NULL they are only laid out, which is how
 * the size of the block is counted. */
static void stage(struct staging *st, const struct shape *shape, const struct step *step, const struct images *images,
                  struct staged *out)
{
    st->used = 0;
    *out = (struct staged){ 0 };
    stage_batch(st, shape, step, out);
    stage_image_rows(st, shape, step, &out->forward);
    if (shape->image_pages)
        stage_cross(st, shape, step, images, out);
    stage_out_rows(st, shape, step, &out->forward);
    stage_sampling(st, shape, step, &out->sampler);
    stage_bias(st, shape, step, &out->sampler);
    stage_bans(st, shape, step, &out->sampler);
    stage_masks(st, shape, step, out);
}

/* The layout and its contents: one function does both, so the size that was counted is the size that is used. */
void staging_fill(struct staging *s, const struct shape *shape, const struct step *step, const struct images *images,
                  struct staged *out)
{
    stage(s, shape, step, images, out);
}

size_t staging_bytes(const struct shape *largest)
{
    struct staging none = { 0 };
    struct staged nothing;
    stage(&none, largest, NULL, NULL, &nothing);
    return none.used;
}
