/* model/measure.c - see measure.h: the table of operations that do nothing, and the passes that run on it. */
#include "model/measure.h"

#include <stdint.h>

#include "base/arena.h"
#include "model/nn.h"

static void none_embed(struct device *d, struct tensor out, const struct weight *w, const int *ids)
{
    (void)d, (void)out, (void)w, (void)ids;
}

static void none_linear(struct device *d, struct tensor out, struct tensor x, const struct weight *w,
                        const struct epilogue *e)
{
    (void)d, (void)out, (void)x, (void)w, (void)e;
}

static void none_norm(struct device *d, struct tensor x, const struct norms *n) { (void)d, (void)x, (void)n; }

static void none_act(struct device *d, struct tensor out, struct tensor x, enum act act, bool glu)
{
    (void)d, (void)out, (void)x, (void)act, (void)glu;
}

static void none_add(struct device *d, struct tensor out, struct tensor a, struct tensor b)
{
    (void)d, (void)out, (void)a, (void)b;
}

static void none_copy(struct device *d, struct tensor out, struct tensor x) { (void)d, (void)out, (void)x; }

static void none_fuse(struct device *d, struct tensor out, struct tensor a, struct tensor b, struct tensor logits)
{
    (void)d, (void)out, (void)a, (void)b, (void)logits;
}

static void none_route(struct device *d, const struct routes *out, struct tensor logits, const struct router *r)
{
    (void)d, (void)out, (void)logits, (void)r;
}

static void none_grouped(struct device *d, struct tensor out, struct tensor x, const struct experts *e,
                         const int *first, enum act act, bool glu)
{
    (void)d, (void)out, (void)x, (void)e, (void)first, (void)act, (void)glu;
}

static void none_prep(struct device *d, struct tensor q, struct tensor k, struct tensor v, const struct heads *h,
                      const int *pos, const struct kv *kv, int layer, const int *slot)
{
    (void)d, (void)q, (void)k, (void)v, (void)h, (void)pos, (void)kv, (void)layer, (void)slot;
}

static void none_attend(struct device *d, struct tensor out, struct tensor q, const struct kv *kv, int layer,
                        const struct heads *h, const struct batch *b, const struct view *v)
{
    (void)d, (void)out, (void)q, (void)kv, (void)layer, (void)h, (void)b, (void)v;
}

static void none_ragged(struct device *d, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                        const struct heads *h, int n, const int *q_first, const int *kv_first)
{
    (void)d, (void)out, (void)q, (void)k, (void)v, (void)h, (void)n, (void)q_first, (void)kv_first;
}

static void none_pixels(struct device *d, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift)
{
    (void)d, (void)out, (void)rgb, (void)scale, (void)shift;
}

static void none_conv(struct device *d, struct tensor out, struct tensor x, const struct weight *w,
                      const struct conv *c)
{
    (void)d, (void)out, (void)x, (void)w, (void)c;
}

static void none_gather(struct device *d, struct tensor out, struct tensor x, int taps, const int *idx, const float *w)
{
    (void)d, (void)out, (void)x, (void)taps, (void)idx, (void)w;
}

static void none_scatter(struct device *d, struct tensor out, struct tensor x, const int *idx, bool add)
{
    (void)d, (void)out, (void)x, (void)idx, (void)add;
}

/* What models call; tokens' operations are the engine's. */
static const struct ops none = {
    .embed = none_embed, .linear = none_linear, .norm = none_norm, .act = none_act, .add = none_add,
    .copy = none_copy, .fuse = none_fuse, .route = none_route, .linear_grouped = none_grouped,
    .prep = none_prep, .attend = none_attend, .attend_ragged = none_ragged,
    .pixels = none_pixels, .conv2d = none_conv, .dwconv2d = none_conv, .gather = none_gather, .scatter = none_scatter,
};

/* A pass without device and data. The caches have one page, because nobody looks at how many there are. */
static void start(struct run *r, struct kv kv[N_CACHES], struct arena *host, const struct model *m)
{
    arena_init(host, SIZE_MAX);
    host->at_start = true;
    const struct kv_shape *shape[N_CACHES] = { [CACHE_TEXT] = &m->text_kv, [CACHE_IMAGES] = &m->image_kv,
                                           [CACHE_WINDOW] = &m->window_kv };
    for (int i = 0; i < N_CACHES; i++)
        kv[i] = (struct kv){ .page = 1, .n_pages = 1, .layers = shape[i]->layers, .n_kv = shape[i]->n_kv,
                             .dim = shape[i]->dim };
    *r = (struct run){ .ops = &none, .backend = m->backend, .kv = kv, .measuring = true, .measured = host };
}

/* What the pass has taken at the most; its tables on the host are freed. */
static struct pass_memory finish(const struct run *r, struct arena *host)
{
    arena_free(host);
    return (struct pass_memory){ .scratch = r->peak, .host = r->host_used };
}

/* The measured step has no data, so a family may not look at what its arrays hold; it decides by counts alone. A
 * family with cross-attention is measured with every row seeing an image, which is the most it can need. */
struct pass_memory model_measure_forward(const struct model *m, int rows, int seqs, int n_out, int image_rows)
{
    if (!m->family->forward)
        return (struct pass_memory){ 0 };
    image_rows = m->family->encode_image ? image_rows : 0;
    struct run r;
    struct arena host;
    struct kv kv[N_CACHES];
    struct view views[N_CACHES] = { { 0 } };
    struct batch b = { .n_rows = rows, .n_seqs = seqs, .max_rows = rows, .views = views };
    struct forward in = { .batch = b, .n_image = image_rows, .n_out = n_out,
                          .pool = { NULL, F32, image_rows, m->image_row_width, m->image_row_width } };
    start(&r, kv, &host, m);
    if (m->image_kv.layers > 0)
        in.cross = b;
    m->family->forward(m, &r, &in);
    return finish(&r, &host);
}

size_t model_measure_project(const struct model *m)
{
    const struct weight *const to[] = { m->classes, m->share_text };
    size_t most = 0;
    for (int i = 0; i < 2; i++) {
        struct run r;
        struct arena host;
        struct kv kv[N_CACHES];
        if (!to[i])
            continue;
        start(&r, kv, &host, m);
        nn_linear(&r, nn_new(&r, 1, to[i]->in), to[i], (struct epilogue){ 0 });
        size_t scratch = finish(&r, &host).scratch;
        most = scratch > most ? scratch : most;
    }
    return most;
}

/* The memory that one image of this size takes while it is encoded: the family's own code is run on operations that
 * compute nothing and count. */
struct pass_memory model_measure_encode(const struct model *m, const struct image_plan *plan)
{
    struct run r;
    struct arena host;
    struct kv kv[N_CACHES];
    struct encode in = { .plan = *plan, .pool = { NULL, F32, plan->n_tokens, m->image_row_width, m->image_row_width } };
    struct tensor shared;
    start(&r, kv, &host, m);
    in.shared = m->shared ? &shared : NULL;
    m->family->encode_image(m, &r, &in);
    return finish(&r, &host);
}
