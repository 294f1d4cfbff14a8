/* model/families/idefics3.c - Idefics3 and SmolVLM.
 *
 *     the picture is resized to the longest edge, then up to whole tiles; the tiles row by row, and all of it
 *     resized once more to one tile (an image of one tile is that alone)
 *     each tile: SigLIP with positions by place in the tile, not by number -> pixel shuffle: scale x scale patches
 *     side by side -> linear -> image tokens
 *     in the prompt every tile stands behind a token that names its row and column
 *     the decoder of Llama */
#include <math.h>

#include "base/mem.h"
#include "model/decoder.h"
#include "model/tower.h"

enum { MAX_EDGE = 4096,              /* of the resized picture, the reference's own limit */
       IMAGE_TOKEN = 128257 };       /* where the configuration does not say              */

struct idefics3 {
    struct decoder text;
    struct tower   tower;
    struct weight  proj;             /* (hidden, scale * scale * width)      */
    int  longest;                    /* pixels of the picture's longer side  */
    int  tile;                       /* pixels of a tile's side              */
    int  scale;                      /* patches of a token's side            */
    int  side;                       /* patches of a tile's side             */
    int  each;                       /* tokens of a tile                     */
    bool split;                      /* into tiles; else all of it is one    */
};

/* The processor's settings, checked against the tower and the prompt's places. */
static void load_processor(struct loader *l, struct idefics3 *f)
{
    struct hparams *h = &l->image, size = pixel_edges(h), most = hparams_object(h, "max_image_size");
    f->longest = (int)hparams_int(&size, "longest_edge", 4 * 364, 1, MAX_EDGE);
    f->tile = (int)hparams_int(&most, "longest_edge", 364, 1, MAX_EDGE);
    f->split = hparams_bool(h, "do_image_splitting", true);
    pixel_norm_load(l, &f->tower.pixels, pixel_half, pixel_half);
    if (!hparams_has(h, "resample"))
        f->tower.pixels.filter = FILTER_LANCZOS;
    if (hparams_end(h) != 0)
        return;
    f->side = f->tile / f->tower.patch;            /* pixels that are left over at the end are not looked at */
    if (f->side < 1 || f->side % f->scale)
        hparams_fail(h, "max_image_size", "tiles of %d pixels are no whole blocks of %d x %d patches of %d", f->tile,
                     f->scale, f->scale, f->tower.patch);
    f->each = f->side / f->scale * (f->side / f->scale);
}

/* Text and tower, and the projection that makes one token of a block of scale x scale patches. */
static int idefics3_load(struct model *m, struct loader *l)
{
    static const char *const text_roots[] = { "model.text_model.", NULL };
    static const char *const roots[] = { "model.vision_model.", NULL };
    struct idefics3 *f = m->impl = xcalloc(1, sizeof *f);
    struct hparams text = hparams_section(&l->config, "text_config"),
        vision = hparams_object(&l->config, "vision_config");
    enum bias bias = hparams_bool(&text, "attention_bias", false) ? WITH_BIAS : NO_BIAS;
    decoder_load(l, &f->text, &text, load_root(l, "norm.weight", text_roots), &(struct decoder_kind){
        .eps = 1e-5, .context = 2048, .hidden = 4096, .layers = 32, .heads = 32, .inner = 11008, .qkv_bias = bias,
        .o_bias = bias,
        .mlp_bias = hparams_bool(&text, "mlp_bias", false) ? WITH_BIAS : NO_BIAS,
        .rope = { .theta = 10000, .partial = 1 } });
    if (load_end(l) != 0)
        return -1;
    f->scale = (int)hparams_int(&l->config, "scale_factor", 2, 1, 64);
    m->image_token = (int)hparams_int(&l->config, "image_token_id", IMAGE_TOKEN, 0, m->vocab - 1);
    m->image_row_width = m->hidden;
    tower_load(l, &f->tower, &vision, load_root(l, TOWER_PROBE, roots), &(struct tower_kind){
        .patch_bias = WITH_BIAS, .width = 1152, .inner = 3072, .layers = 12, .heads = 16, .image = 224, .patch = 32,
        .act = "gelu_pytorch_tanh", .eps = 1e-6 });
    if (load_end(l) != 0)
        return -1;
    load_processor(l, f);
    if (load_end(l) != 0)
        return -1;
    m->image_align = f->tile;
    load_at(l, "%s", "model.connector.");
    load_linear(l, &f->proj, m->hidden, f->tower.size.width * f->scale * f->scale, NO_BIAS, "modality_projection.proj");
    return load_end(l);
}

/* ---- sizes ---- */

struct size { int w, h; };

static int at_least(double n, int least) { return n < least ? least : (int)n; }

/* The longer side becomes `longest` and the shorter one keeps the ratio, rounded down and then up to an even number. */
static struct size to_longest(struct size s, int longest)
{
    double ratio = (double)s.w / s.h;
    struct size out = { longest, longest };
    int *other = s.w >= s.h ? &out.h : &out.w;
    *other = at_least(s.w >= s.h ? longest / ratio : longest * ratio, 0);
    *other += *other % 2;
    *other = at_least(*other, 1);
    ratio = (double)out.w / out.h;
    if (out.w >= out.h && out.w > MAX_EDGE)
        out = (struct size){ MAX_EDGE, at_least(MAX_EDGE / ratio, 1) };
    else if (out.h > out.w && out.h > MAX_EDGE)
        out = (struct size){ at_least(MAX_EDGE * ratio, 1), MAX_EDGE };
    return out;
}

static int whole_tiles(int n, int tile) { return (n + tile - 1) / tile * tile; }

/* Up to whole tiles: the longer side first, the shorter one in the ratio of what came in. */
static struct size to_tiles(struct size s, int tile)
{
    double ratio = (double)s.w / s.h;
    if (s.w >= s.h) {
        int w = whole_tiles(s.w, tile);
        return (struct size){ w, whole_tiles((int)(w / ratio), tile) };
    }
    int h = whole_tiles(s.h, tile);
    return (struct size){ whole_tiles((int)(h * ratio), tile), h };
}

static struct image_view resized(int from, struct size s, bool hidden)
{
    return (struct image_view){ .from = from, .to_w = s.w, .to_h = s.h, .width = s.w, .height = s.h,
                                .hidden = hidden };
}

/* The plan of a picture whose longer side has become `first`, and that is then resized to a canvas of whole tiles. */
static struct image_plan plan_of(const struct idefics3 *f, struct size first, struct size canvas)
{
    struct image_plan p = { .filter = f->tower.pixels.filter, .resizer = RESIZER_TORCHVISION };
    struct size tile = { f->tile, f->tile };
    int tiles = canvas.w / f->tile * (canvas.h / f->tile);
    plan_view(&p, resized(IMAGE_SOURCE, first, true));
    plan_view(&p, resized(0, canvas, false));
    if (tiles > 1)
        plan_view(&p, resized(1, tile, false));
    p.n_together = canvas.w / f->tile * f->side * f->side;
    p.runs = p.grid_h = tiles > 1 ? tiles + 1 : 1;
    p.grid_w = f->each;
    p.n_tokens = p.grid_h * p.grid_w;
    return p;
}

struct rule { int longest; bool split; };     /* how a picture is resized at first, and whether into tiles then */

/* What the options make of the processor's settings. `size` has the reference's meaning; limits of pixels and tokens
 * are kept by smaller canvases, of which the smallest is one tile. */
static struct rule rule_of(const struct idefics3 *f, const struct image_options *opt)
{
    struct rule rule = { f->longest, f->split };
    int64_t tile = f->tile;
    if (!opt)
        return rule;
    if (opt->size_longest > 0)
        rule.longest = opt->size_longest < MAX_EDGE ? (int)opt->size_longest : MAX_EDGE;
    int64_t most = (rule.longest + tile - 1) / tile, side = most;
    while (side > 1 && ((opt->max_pixels > 0 && side * side * tile * tile > opt->max_pixels) ||
                        (opt->max_tokens > 0 && (side * side + 1) * f->each > opt->max_tokens)))
        side--;
    if (side < most && side > 1)
        rule.longest = (int)(side * tile);
    rule.split = rule.split && (side > 1 || side == most);
    return rule;
}

static int idefics3_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                               struct image_plan *out, struct err *e)
{
    const struct idefics3 *f = m->impl;
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    struct rule rule = rule_of(f, opt);
    struct size tile = { f->tile, f->tile }, first = to_longest((struct size){ width, height }, rule.longest);
    *out = plan_of(f, first, rule.split ? to_tiles(first, f->tile) : tile);
    return 0;
}

/* Every picture is resized to the same longer side, and a square takes the most tiles. */
static void idefics3_largest(const struct model *m, const struct image_options *opt, int64_t pixels,
                             struct image_plan *out)
{
    const struct idefics3 *f = m->impl;
    (void)pixels;
    struct rule rule = rule_of(f, opt);
    struct size first = to_longest((struct size){ 1, 1 }, rule.longest);
    int edge = rule.split ? whole_tiles(first.w > first.h ? first.w : first.h, f->tile) : f->tile;
    *out = plan_of(f, first, (struct size){ edge, edge });
}

/* What stands for an image: every tile of the canvas behind its row and column, a row of them a line, and all of it at
 * the end, behind a token of its own. */
static void idefics3_text(const struct model *m, const struct image_plan *p, const char *mark, const char *place,
                          bool joined, struct buf *out)
{
    static const char around[] = "<fake_token_around_image>";
    const struct idefics3 *f = m->impl;
    (void)mark, (void)joined;
    if (p->runs > 1) {
        for (int y = 0; y < p->height / f->tile; y++) {
            for (int x = 0; x < p->width / f->tile; x++)
                buf_printf(out, "%s<row_%d_col_%d>%s", around, y + 1, x + 1, place);
            buf_byte(out, '\n');
        }
        buf_byte(out, '\n');
    }
    buf_printf(out, "%s<global-img>%s%s", around, place, around);
}

/* ---- pictures ---- */

/* Patches in blocks of scale x scale side by side: (side * side, c) -> (each, scale * scale * c). */
static struct tensor shuffle(struct run *r, struct tensor x, const struct idefics3 *f)
{
    int n = f->side * f->side, across = f->side / f->scale, area = f->scale * f->scale, *idx = nn_host(r, n);
    for (int i = 0; i < n; i++) {
        int block = i / area, in = i % area;
        idx[i] = (block / across * f->scale + in / f->scale) * f->side + block % across * f->scale + in % f->scale;
    }
    struct tensor t = nn_gather(r, x, n, 1, nn_ints(r, idx, n), NULL);
    return nn_reshape(t, f->each, area * x.cols);
}

/* The tokens of one tile, whose patches' embeddings x holds. */
static void encode_tile(struct run *r, const struct idefics3 *f, struct tensor x, const struct encode *in, int tile)
{
    tower_run(r, &f->tower, x, f->tower.n_layers);
    NN_SCRATCH(r) {
        nn_norm(r, x, x, &f->tower.post);
        struct tensor t = nn_linear(r, shuffle(r, x, f), &f->proj, (struct epilogue){ 0 });
        nn_scatter(r, in->pool, t, in->rows + tile * f->each, false);
    }
}

/* A row of tiles of the canvas at a time, and at the end the small picture of all. */
static void idefics3_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct idefics3 *f = m->impl;
    int n = f->side * f->side, across = in->plan.width / f->tile, down = in->plan.height / f->tile, tile = 0;
    const uint8_t *rgb = in->rgb;
    struct tensor position = nn_gather(r, f->tower.position, n, 1, tower_bucket_places(r, &f->tower, f->side, f->side),
                                       NULL);
    for (int y = 0; y < down + (in->plan.n_views > 2); y++) {
        int tiles = y < down ? across : 1;
        NN_SCRATCH(r) {
            struct tensor x = nn_new(r, tiles * n, f->tower.size.width);
            tower_embed_tiles(r, &f->tower, x, rgb, f->tile, f->tile, tiles, position);
            for (int i = 0; i < tiles; i++)
                encode_tile(r, f, nn_rows(x, i * n, n), in, tile++);
        }
        rgb += (size_t)tiles * (size_t)f->tile * (size_t)f->tile * 3;
    }
}

/* (tiles, 3, tile, tile): the tiles of the canvas row by row, then all of it. */
static void idefics3_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out,
                            int shape[4])
{
    const struct idefics3 *f = m->impl;
    tower_tile_values(&f->tower, p, rgb, f->tile, out, shape);
}

const struct family family_idefics3 = {
    .types = { "idefics3", "smolvlm" },
    .load = idefics3_load,
    .plan_image = idefics3_plan_image,
    .largest_image = idefics3_largest,
    .image_text = idefics3_text,
    .encode_image = idefics3_encode,
    .pixel_values = idefics3_values,
    .forward = decoder_pass,
};
