/* selftest/together.c - see together.h. */
#include "selftest/together.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/kv.h"
#include "model/measure.h"
#include "model/nn.h"

enum { PAGE = 16 };

/* Lengths, and what is on the device: all owned. */
struct pass {
    const struct model *m;
    int n_rows, n_seqs, longest, n_image, max_pages, n_pages;
    int *step;                 /* the arrays of struct places          */
    void *scratch;
    float *features;           /* (n_image, image_row_width)           */
    struct kv kv[N_CACHES];
};

/* Arrays of the pass in one block, on the host to be filled, on the device to be read. */
struct places { int *token, *pos, *slot, *limit, *since[TEXT_CACHES], *first, *pages, *src, *dst; };

/* Points each array at its part of the block, or at nothing without a block. Returns how many ints they take. */
static size_t lay_out(const struct pass *p, struct places *to, int *block)
{
    const size_t rows = (size_t)p->n_rows, seqs = (size_t)p->n_seqs, image = (size_t)p->n_image;
    const struct { int **to; size_t n; } parts[] = {
        { &to->token, rows }, { &to->pos, 3 * rows }, { &to->slot, rows }, { &to->limit, rows },
        { &to->since[0], rows }, { &to->since[1], rows },
        { &to->first, seqs + 1 }, { &to->pages, seqs * (size_t)p->max_pages }, { &to->src, image }, { &to->dst, image },
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; used += parts[i++].n)
        *parts[i].to = block ? block + used : NULL;
    return used;
}

static int count_images(const struct model *m, const struct together *t)
{
    int n = 0;
    for (int i = 0; i < t->n && t->features; i++)
        n += model_is_place(m, t->ids, i);
    return n;
}

/* The sizes of the pass from those of its n prompts. */
static void measure(struct pass *p, const struct together *t, int n)
{
    for (int s = 0; s < n; s++) {
        p->n_rows += t[s].n;
        p->longest = t[s].n > p->longest ? t[s].n : p->longest;
        p->n_image += count_images(p->m, &t[s]);
        p->n_pages += (t[s].n + PAGE - 1) / PAGE;
    }
    p->n_seqs = n;
    p->max_pages = (p->longest + PAGE - 1) / PAGE;
}

/* The positions of a prompt, from row `first` of the pass on. */
static void fill_positions(const struct pass *p, const struct places *to, const struct together *t, int first)
{
    const struct family *f = p->m->family;
    size_t stride = t->pos ? t->pos_stride : (size_t)t->n;
    int32_t *own = t->pos ? NULL : xcalloc(3 * (size_t)t->n, sizeof *own);
    const int32_t *pos = t->pos ? t->pos : own;
    if (own && f->positions)
        f->positions(p->m, t->ids, t->n, NULL, 0, own);
    for (int i = 0; i < 3 * t->n && own && !f->positions; i++)
        own[i] = i % t->n;
    for (size_t a = 0; a < 3; a++)
        memcpy(to->pos + a * (size_t)p->n_rows + (size_t)first, pos + a * stride, (size_t)t->n * sizeof *pos);
    free(own);
}

/* Behind the run of places that token i is in. */
static int run_end(const struct model *m, const struct together *t, int i)
{
    while (i < t->n && model_is_place(m, t->ids, i))
        i++;
    return i;
}

/* Each prompt has pages of its own, one after the other. */
static void fill(const struct pass *p, const struct places *to, const struct together *t)
{
    int row = 0, page = 0, image = 0;
    for (int s = 0; s < p->n_seqs; page += (t[s++].n + PAGE - 1) / PAGE) {
        to->first[s] = row;
        fill_positions(p, to, &t[s], row);
        for (int i = 0; i * PAGE < t[s].n; i++)
            to->pages[s * p->max_pages + i] = page + i;
        for (int i = 0; i < t[s].n; i++, row++) {
            bool is_image = t[s].features && model_is_place(p->m, t[s].ids, i);
            to->token[row] = t[s].ids[i];
            to->slot[row] = page * PAGE + i;
            to->limit[row] = is_image && p->m->image_spans ? run_end(p->m, &t[s], i) : i + 1;
            if (p->m->prompts_whole)
                to->limit[row] = t[s].n;
            for (int c = 0; c < TEXT_CACHES; c++) {
                int window = p->m->prompts_whole ? 0 : model_text_cache(p->m, c)->window;
                to->since[c][row] = window && i >= window ? i - window + 1 : 0;
            }
            if (is_image) {
                to->src[image] = image;
                to->dst[image++] = row;
            }
        }
    }
    to->first[p->n_seqs] = row;
}

static void *on_device(const struct pass *p, const void *host, size_t n)
{
    void *to = p->m->backend->alloc(p->m->device, n ? n : 1);
    if (to && host && n)
        p->m->backend->upload(p->m->device, to, host, n);
    return to;
}

/* Lays out, fills and uploads the arrays of the pass. -1: memory is out. */
static int upload_step(struct pass *p, const struct together *t)
{
    struct places host;
    size_t ints = lay_out(p, &host, NULL);
    int *block = calloc(ints, sizeof *block);
    if (!block)
        return -1;
    lay_out(p, &host, block);
    fill(p, &host, t);
    p->step = on_device(p, block, ints * sizeof *block);
    free(block);
    return p->step ? 0 : -1;
}

/* The features of all prompts' images, one behind the other, as the pool from which places take them. -1: memory is
 * out. */
static int upload_features(struct pass *p, const struct together *t)
{
    size_t width = (size_t)p->m->image_row_width, at = 0;
    p->features = on_device(p, NULL, (size_t)p->n_image * width * sizeof *p->features);
    for (int s = 0; s < p->n_seqs && p->features; s++) {
        size_t n = (size_t)count_images(p->m, &t[s]) * width;
        if (n)
            p->m->backend->upload(p->m->device, p->features + at, t[s].features, n * sizeof *p->features);
        at += n;
    }
    return p->features ? 0 : -1;
}

/* Zeros, so that entries which nobody writes are numbers. bfloat16 is enough for what is not compared. */
static int make_cache(struct pass *p, struct kv *kv, const struct kv_shape *s)
{
    *kv = (struct kv){ BF16, PAGE, p->n_pages, s->layers, s->n_kv, s->dim, NULL, NULL };
    size_t layer = kv_layer_bytes(kv);
    void *zeros = calloc(layer ? layer : 1, 1);
    kv->k = on_device(p, NULL, (size_t)s->layers * layer);
    kv->v = on_device(p, NULL, (size_t)s->layers * layer);
    bool ok = zeros && kv->k && kv->v;
    for (int i = 0; i < s->layers && ok; i++) {
        p->m->backend->upload(p->m->device, (char *)kv->k + (size_t)i * layer, zeros, layer);
        p->m->backend->upload(p->m->device, (char *)kv->v + (size_t)i * layer, zeros, layer);
    }
    free(zeros);
    return ok ? 0 : -1;
}

/* One pass over all prompts as one batch, with every token in its slot of one cache, and memory that is measured first,
 * as the engine does it. Whoever watches the model sees the pass; its result is not used. */
static int forward(struct pass *p, struct err *e)
{
    const struct model *m = p->m;
    const struct backend *b = m->backend;
    struct places at;
    lay_out(p, &at, p->step);
    struct pass_memory memory = model_measure_forward(m, p->n_rows, p->n_seqs, 0, p->n_image);
    struct run r = { .ops = &b->ops, .backend = b, .watch = m->watch, .dev = m->device, .kv = p->kv,
                     .size = memory.scratch, .scratch = p->scratch = on_device(p, NULL, memory.scratch),
                     .host_size = memory.host, .host = malloc(memory.host ? memory.host : 1),
                     .both_ways = m->image_spans || m->prompts_whole };
    struct view views[N_CACHES] = { { 0 } }, text = { .slot = at.slot, .limit = at.limit, .pages = at.pages,
                                                      .max_pages = p->max_pages, .max_kv = p->longest };
    views[CACHE_TEXT] = views[CACHE_WINDOW] = text;
    views[CACHE_TEXT].from = at.since[0];
    views[CACHE_WINDOW].from = at.since[1];
    struct forward in = {
        .batch = { p->n_rows, p->n_seqs, p->longest, at.token, at.pos, at.first, views },
        .pool = { p->features, F32, p->n_image, m->image_row_width, m->image_row_width },
        .image_src = at.src, .image_dst = at.dst, .n_image = p->n_image,
    };
    int rc = r.scratch && r.host ? 0 : -1;
    if (rc == 0)
        m->family->forward(m, &r, &in);
    const char *failed = b->sync(m->device);
    free(r.host);
    if (rc != 0)
        return err_memory(e);
    return failed ? err_set(e, "%s: %s", b->name, failed) : 0;
}

int together_run(const struct model *m, const struct together *prompts, int n, struct err *e)
{
    struct pass p = { .m = m };
    measure(&p, prompts, n);
    bool ready = upload_step(&p, prompts) == 0 && upload_features(&p, prompts) == 0 &&
                 make_cache(&p, &p.kv[CACHE_TEXT], &m->text_kv) == 0 &&
                 make_cache(&p, &p.kv[CACHE_WINDOW], &m->window_kv) == 0;
    int rc = ready ? forward(&p, e) : err_memory(e);
    void *const all[] = { p.step, p.features, p.scratch, p.kv[CACHE_TEXT].k, p.kv[CACHE_TEXT].v,
                          p.kv[CACHE_WINDOW].k, p.kv[CACHE_WINDOW].v };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            m->backend->free(m->device, all[i]);
    return rc;
}
