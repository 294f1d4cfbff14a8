/* model/families/idefics2.c - Idefics2.
 *
 *     the picture keeps its ratio, its sides limited from above and below; or its four quarters, each so, and all of it
 *     each: SigLIP over whole patches, positions by their place in the picture and not by number -> gated MLP -> a
 *     perceiver: learned latents that attend to the patches and to themselves -> as many image tokens
 *     in the prompt: the pictures, a token around and between them
 *     the decoder of Mistral */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/decoder.h"
#include "model/heads.h"
#include "model/tower.h"

enum { MAX_DEPTH = 64, MAX_LATENTS = 4096, MAX_EDGE = 4096, QUARTERS = 4,
       IMAGE_TOKEN = 32001 };        /* where the configuration does not say */

struct perceiver {                   /* one layer */
    struct norm   latents, context;  /* of what goes into attention, both      */
    struct weight q, kv, o;          /* kv: rows of k and v stacked            */
    struct norm   norm;              /* before the MLP                         */
    struct weight up, down;          /* up: gate stacked on up                 */
};

struct idefics2 {
    struct decoder text;
    struct tower   tower;
    struct weight  up, down;         /* (hidden, width): patches as the text's */
    enum act       act;              /* of that MLP                            */
    struct perceiver layer[MAX_DEPTH];
    int  depth;
    struct heads  heads;
    enum act      perceiver_act;
    struct norm   norm;
    struct tensor latents;           /* (each, hidden)                         */
    int  each;                       /* tokens of a picture                    */
    int  shortest, longest;          /* limits of a picture's sides in pixels  */
    bool split;
};

/* ---- loading ---- */

/* The perceiver makes `each` rows of whatever number of patches a picture has. Its layers have one norm for the
 * latents and one for what they look at, and grouped keys and values. */
static void load_perceiver(struct loader *l, struct idefics2 *f, int hidden, double eps)
{
    struct hparams h = hparams_object(&l->config, "perceiver_config");
    f->each = (int)hparams_int(&h, "resampler_n_latents", 64, 1, MAX_LATENTS);
    f->depth = (int)hparams_int(&h, "resampler_depth", 3, 1, MAX_DEPTH);
    int n = (int)hparams_int(&h, "resampler_n_heads", 16, 1, 1024);
    int kv = (int)hparams_int(&h, "num_key_value_heads", 4, 1, n);
    int dim = (int)hparams_int(&h, "resampler_head_dim", 96, 1, HEAD_MAX_DIM);
    eps = hparams_number(&h, "rms_norm_eps", eps, 0, 1);
    f->perceiver_act = load_act(&h, "hidden_act", "silu");
    f->heads = (struct heads){ .n = n, .n_kv = kv, .dim = dim, .scale = 1 / sqrtf((float)dim) };
    if (n % kv)
        hparams_fail(&h, "num_key_value_heads", "%d does not divide %d heads", kv, n);
    if (hparams_end(&h) != 0)
        return;
    load_at(l, "%s", "model.connector.perceiver_resampler.");
    f->latents = load_table(l, load_floats(l, SHAPE(f->each, hidden), "latents"), f->each, hidden);
    load_norm(l, &f->norm, hidden, RMS_NORM, eps, "norm");
    for (int i = 0; i < f->depth && !l->failed; i++) {
        struct perceiver *p = &f->layer[i];
        load_at(l, "model.connector.perceiver_resampler.layers.%d.", i);
        load_norm(l, &p->latents, hidden, RMS_NORM, eps, "input_latents_norm");
        load_norm(l, &p->context, hidden, RMS_NORM, eps, "input_context_norm");
        load_norm(l, &p->norm, hidden, RMS_NORM, eps, "post_attention_layernorm");
        load_linear(l, &p->q, n * dim, hidden, NO_BIAS, "self_attn.q_proj");
        load_stack(l, &p->kv, hidden, PARTS({ "self_attn.k_proj", kv * dim }, { "self_attn.v_proj", kv * dim }),
                   NO_BIAS);
        load_linear(l, &p->o, hidden, n * dim, NO_BIAS, "self_attn.o_proj");
        load_stack(l, &p->up, hidden, PARTS({ "mlp.gate_proj", 4 * hidden }, { "mlp.up_proj", 4 * hidden }), NO_BIAS);
        load_linear(l, &p->down, hidden, 4 * hidden, NO_BIAS, "mlp.down_proj");
    }
}

static void load_processor(struct loader *l, struct idefics2 *f)
{
    struct hparams *h = &l->image, size = pixel_edges(h);
    f->shortest = (int)hparams_int(&size, "shortest_edge", 378, f->tower.patch, MAX_EDGE);
    f->longest = (int)hparams_int(&size, "longest_edge", 980, f->shortest, MAX_EDGE);
    f->split = hparams_bool(h, "do_image_splitting", false);
    pixel_norm_load(l, &f->tower.pixels, pixel_half, pixel_half);
    if (!hparams_has(h, "resample"))
        f->tower.pixels.filter = FILTER_BILINEAR;
}

/* Text, tower, the projection to the text's width, and the perceiver, in the order in which one needs the sizes of the
 * other. */
static int idefics2_load(struct model *m, struct loader *l)
{
    static const char *const text_roots[] = { "model.text_model.", NULL };
    static const char *const roots[] = { "model.vision_model.", NULL };
    struct idefics2 *f = m->impl = xcalloc(1, sizeof *f);
    struct hparams text = hparams_object(&l->config, "text_config");
    struct hparams vision = hparams_object(&l->config, "vision_config");
    decoder_load(l, &f->text, &text, load_root(l, "norm.weight", text_roots), &(struct decoder_kind){
        .eps = 1e-5, .context = 32768, .hidden = 4096, .layers = 32, .heads = 32, .n_kv = 8, .inner = 14336,
        .rope = { .theta = 10000, .partial = 1 } });
    int window = (int)hparams_int(&text, "sliding_window", m->context, 1, 1 << 28);
    m->context = window < m->context ? window : m->context;      /* exact up to the window's length */
    int inner = (int)hparams_int(&text, "intermediate_size", 14336, 1, 1 << 20);
    f->act = load_act(&text, "hidden_act", "silu");
    if (load_end(l) != 0)
        return -1;
    m->image_token = (int)hparams_int(&l->config, "image_token_id", IMAGE_TOKEN, 0, m->vocab - 1);
    m->image_row_width = m->hidden;
    tower_load(l, &f->tower, &vision, load_root(l, TOWER_PROBE, roots), &(struct tower_kind){
        .patch_bias = WITH_BIAS, .width = 768, .inner = 3072, .layers = 12, .heads = 12, .image = 224, .patch = 32,
        .act = "gelu_pytorch_tanh", .eps = 1e-6 });
    if (load_end(l) != 0)
        return -1;
    load_processor(l, f);
    m->image_align = f->tower.patch;
    load_at(l, "%s", "model.connector.modality_projection.");
    load_stack(l, &f->up, f->tower.size.width, PARTS({ "gate_proj", inner }, { "up_proj", inner }), NO_BIAS);
    load_linear(l, &f->down, m->hidden, inner, NO_BIAS, "down_proj");
    load_perceiver(l, f, m->hidden, hparams_number(&text, "rms_norm_eps", 1e-5, 0, 1));
    return load_end(l);
}

/* ---- sizes ---- */

struct limits { int shortest, longest; bool split; };

/* What the options make of the processor's settings. `size` has the reference's meaning; a limit of pixels, which is
 * one of each picture, lowers both edges. */
static struct limits limits_of(const struct idefics2 *f, const struct image_options *opt)
{
    struct limits s = { f->shortest, f->longest, f->split };
    if (!opt)
        return s;
    if (opt->size_shortest > 0)
        s.shortest = (int)fmin((double)opt->size_shortest, MAX_EDGE);
    if (opt->size_longest > 0)
        s.longest = (int)fmin((double)opt->size_longest, MAX_EDGE);
    if (opt->max_pixels > 0)
        s.longest = (int)fmin(s.longest, floor(sqrt((double)opt->max_pixels)));
    s.longest = s.longest > f->tower.patch ? s.longest : f->tower.patch;
    s.shortest = s.shortest < s.longest ? s.shortest : s.longest;
    s.shortest = s.shortest > f->tower.patch ? s.shortest : f->tower.patch;
    s.split = s.split && (opt->max_tokens <= 0 || (QUARTERS + 1) * f->each <= opt->max_tokens);
    return s;
}

/* A rectangle of the picture: its longer side becomes at most `longest`, in its ratio, and neither less than
 * `shortest`, whatever its ratio. */
static void add_part(struct image_plan *p, const struct limits *s, int patch, int x, int y, int w, int h)
{
    double ratio = (double)w / h;
    int to_w = w, to_h = h;
    if (w >= h && w > s->longest)
        to_w = s->longest, to_h = (int)(to_w / ratio);
    else if (h > w && h > s->longest)
        to_h = s->longest, to_w = (int)(to_h * ratio);
    to_w = to_w > s->shortest ? to_w : s->shortest;
    to_h = to_h > s->shortest ? to_h : s->shortest;
    plan_view(p, (struct image_view){ .from = IMAGE_SOURCE, .x = x, .y = y, .w = w, .h = h, .to_w = to_w, .to_h = to_h,
                                      .width = to_w, .height = to_h });
    int patches = to_w / patch * (to_h / patch);
    p->n_together = patches > p->n_together ? patches : p->n_together;
}

/* The four quarters, of which the last ones have what a division by two leaves over, and all of it. */
static struct image_plan plan_of(const struct idefics2 *f, const struct limits *s, int w, int h)
{
    struct image_plan p = { .filter = f->tower.pixels.filter, .resizer = RESIZER_TORCHVISION };
    int x = w / 2, y = h / 2, patch = f->tower.patch;
    if (s->split) {
        add_part(&p, s, patch, 0, 0, x, y);
        add_part(&p, s, patch, x, 0, w - x, y);
        add_part(&p, s, patch, 0, y, x, h - y);
        add_part(&p, s, patch, x, y, w - x, h - y);
    }
    add_part(&p, s, patch, 0, 0, w, h);
    p.runs = p.grid_h = p.n_views;
    p.grid_w = f->each;
    p.n_tokens = p.n_views * f->each;
    return p;
}

static int idefics2_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                               struct image_plan *out, struct err *e)
{
    const struct idefics2 *f = m->impl;
    struct limits s = limits_of(f, opt);
    int least = s.split ? 2 : 1;
    if (width < least || height < least)
        return err_set(e, "an image of %d x %d is too small: its sides must have %d pixels", width, height, least);
    *out = plan_of(f, &s, width, height);
    return 0;
}

/* A square whose quarters are as large as may be. */
static void idefics2_largest(const struct model *m, const struct image_options *opt, int64_t pixels,
                             struct image_plan *out)
{
    const struct idefics2 *f = m->impl;
    struct limits s = limits_of(f, opt);
    (void)pixels;
    *out = plan_of(f, &s, 2 * s.longest, 2 * s.longest);
}

/* What stands for an image: its pictures, with one token between two of them, also between those of neighbours. */
static void idefics2_text(const struct model *m, const struct image_plan *p, const char *mark, const char *place,
                          bool joined, struct buf *out)
{
    static const char around[] = "<fake_token_around_image>";
    (void)m, (void)mark;
    if (!joined)
        buf_str(out, around);
    for (int i = 0; i < p->n_views; i++)
        buf_printf(out, "%s%s", place, around);
}

/* ---- pictures ---- */

/* latents += o(attend(q(latents), kv(context and latents))), latents += the MLP of them */
static void perceive(struct run *r, const struct idefics2 *f, const struct perceiver *p, struct tensor latents,
                     struct tensor context, const int *q_first, const int *kv_first)
{
    int n = context.rows, kv = f->heads.n_kv * f->heads.dim;
    NN_SCRATCH(r) {
        struct tensor all = nn_new(r, n + f->each, latents.cols), own = nn_rows(all, n, f->each);
        nn_norm(r, nn_rows(all, 0, n), context, &p->context);
        nn_norm(r, own, latents, &p->latents);
        struct tensor q = nn_linear(r, own, &p->q, (struct epilogue){ 0 });
        struct tensor k = nn_linear(r, all, &p->kv, (struct epilogue){ 0 });
        struct tensor h = nn_attend_across(r, q, nn_cols(k, 0, kv), nn_cols(k, kv, kv), &f->heads, 1, q_first,
                                           kv_first);
        nn_linear_to(r, latents, h, &p->o, (struct epilogue){ .add = latents });
        nn_norm(r, own, latents, &p->norm);
        h = nn_linear(r, own, &p->up, (struct epilogue){ .act = f->perceiver_act, .glu = true });
        nn_linear_to(r, latents, h, &p->down, (struct epilogue){ .add = latents });
    }
}

/* The tokens of one picture. Patches at its edges that are not whole are not looked at. */
static void encode_view(struct run *r, const struct idefics2 *f, const struct image_view *v, const uint8_t *rgb,
                        struct tensor pool, const int *rows)
{
    int down = v->height / f->tower.patch, across = v->width / f->tower.patch, n = down * across;
    int first[4] = { 0, f->each, 0, n + f->each };
    const int *dev = nn_ints(r, first, 4);
    struct tensor x = nn_new(r, n, f->tower.size.width);
    tower_embed(r, &f->tower, x, rgb, v->height, v->width, tower_bucket_places(r, &f->tower, down, across));
    tower_run(r, &f->tower, x, f->tower.n_layers);
    nn_norm(r, x, x, &f->tower.post);
    x = nn_linear(r, x, &f->up, (struct epilogue){ .act = f->act, .glu = true });
    x = nn_linear(r, x, &f->down, (struct epilogue){ 0 });
    int *same = nn_host(r, f->each);
    for (int i = 0; i < f->each; i++)
        same[i] = i;
    struct tensor latents = nn_gather(r, f->latents, f->each, 1, nn_ints(r, same, f->each), NULL);
    for (int i = 0; i < f->depth; i++)
        perceive(r, f, &f->layer[i], latents, x, dev, dev + 2);
    nn_norm(r, latents, latents, &f->norm);
    nn_scatter(r, pool, latents, rows, false);
}

static void idefics2_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct idefics2 *f = m->impl;
    const uint8_t *rgb = in->rgb;
    for (int i = 0; i < in->plan.n_views; i++) {
        const struct image_view *v = &in->plan.view[i];
        NN_SCRATCH(r)
            encode_view(r, f, v, rgb, in->pool, in->rows + i * f->each);
        rgb += (size_t)v->width * (size_t)v->height * 3;
    }
}

/* (pictures, 3, height, width) of the largest height and width, with zeros where a picture ends before. */
static void idefics2_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out,
                            int shape[4])
{
    const struct idefics2 *f = m->impl;
    memcpy(shape, (const int[4]){ p->n_views, 3, 0, 0 }, 4 * sizeof *shape);
    for (int i = 0; i < p->n_views; i++) {
        shape[2] = p->view[i].height > shape[2] ? p->view[i].height : shape[2];
        shape[3] = p->view[i].width > shape[3] ? p->view[i].width : shape[3];
    }
    for (int i = 0; out && i < p->n_views; i++) {
        const struct image_view *v = &p->view[i];
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < shape[2]; y++)
                for (int x = 0; x < shape[3]; x++)
                    *out++ = y < v->height && x < v->width
                                 ? pixel_value(&f->tower.pixels, rgb[((size_t)y * (size_t)v->width + (size_t)x) * 3 +
                                                                     (size_t)c], c) : 0;
        rgb += (size_t)v->width * (size_t)v->height * 3;
    }
}

const struct family family_idefics2 = {
    .types = { "idefics2" },
    .load = idefics2_load,
    .plan_image = idefics2_plan_image,
    .largest_image = idefics2_largest,
    .image_text = idefics2_text,
    .word_spaced = true,
    .encode_image = idefics2_encode,
    .pixel_values = idefics2_values,
    .forward = decoder_pass,
};
