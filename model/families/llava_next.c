/* model/families/llava_next.c - LLaVA-NeXT and LLaVA-OneVision.
 *
 *     all of the picture, resized to a square, and the picture once more on a canvas of square tiles: of all canvases
 *     that the processor knows, the one that keeps most of it; the picture keeps its ratio and lies in the middle
 *     each square: tower -> two linear layers
 *     the features of the tiles are put together as the canvas was, without the rows or columns of its edges, shrunk
 *     where there are too many (OneVision), with a learned vector at the end of each row, behind those of all of it
 *     several pictures in a prompt of OneVision: each only as a whole, padded to a square
 *     the decoder of Llama, Mistral or Qwen2 */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/llava.h"

enum { MAX_CANVASES = 64, MAX_TILES = 100, MAX_RATIO = 50 };

struct canvas { int h, w; };

struct llava_next {
    struct llava base;
    struct tensor newline;           /* (1, hidden): the end of a row                                 */
    struct canvas canvas[MAX_CANVASES];
    int n_canvases;
    int size;                        /* pixels of a tile's side                                       */
    int most;                        /* features of so many tiles are kept; 0: all                    */
    bool alone;                      /* tiles only for an image that is the prompt's only one         */
    uint8_t fill[3];                 /* what pads a picture to a square                               */
};

static const struct tower_kind clip = {
    .class_token = true, .pre_norm = true, .width = 1024, .inner = 4096, .layers = 24, .heads = 16, .image = 336,
    .patch = 14, .act = "quick_gelu", .eps = 1e-5 };
static const struct tower_kind siglip = {
    .patch_bias = WITH_BIAS, .width = 1152, .inner = 4304, .layers = 26, .heads = 16, .image = 384, .patch = 14,
    .act = "gelu_pytorch_tanh", .eps = 1e-6 };
static const struct llava_kind next_kind = { "llama", "clip_vision_model", 32000, -2, "default", clip, siglip },
                               onevision_kind = { "qwen2", "siglip_vision_model", 151646, -1, "full", clip, siglip };

/* ---- the processor's settings ---- */

/* image_grid_pinpoints: pairs of height and width, whole tiles. */
static void load_canvases(struct hparams *h, struct llava_next *f, const json_t *list)
{
    size_t i;
    json_t *pair;
    int64_t most = (int64_t)MAX_TILES * f->size;
    json_array_foreach(list, i, pair) {
        int64_t height = json_integer_value(json_array_get(pair, 0));
        int64_t width = json_integer_value(json_array_get(pair, 1));
        if (i == MAX_CANVASES || json_array_size(pair) != 2 || height < 1 || height > most || width < 1 ||
            width > most || height % f->size || width % f->size || height / f->size * (width / f->size) > MAX_TILES) {
            hparams_fail(h, "image_grid_pinpoints", "must be at most %d pairs of multiples of %d, of at most %d tiles",
                         MAX_CANVASES, f->size, MAX_TILES);
            return;
        }
        f->canvas[f->n_canvases++] = (struct canvas){ (int)height, (int)width };
    }
}

/* Those of the classes: five for LLaVA-NeXT, all up to 6 x 6 tiles for OneVision. */
static void usual_canvases(struct llava_next *f)
{
    static const struct canvas next[] = { { 1, 2 }, { 2, 1 }, { 2, 2 }, { 3, 1 }, { 1, 3 } };
    if (!f->alone)
        for (f->n_canvases = 0; f->n_canvases < 5; f->n_canvases++)
            f->canvas[f->n_canvases] = (struct canvas){ next[f->n_canvases].h * f->size,
                                                        next[f->n_canvases].w * f->size };
    for (int i = 0; f->alone && i < 36; i++)
        f->canvas[f->n_canvases++] = (struct canvas){ (i / 6 + 1) * f->size, (i % 6 + 1) * f->size };
}

/* The processor's canvases must be the model's, which takes the features apart by them. */
static void load_processor(struct loader *l, struct llava_next *f)
{
    struct hparams *h = &l->image, size = hparams_object(h, "size"), crop = hparams_object(h, "crop_size");
    int tile = f->base.tower.side * f->base.tower.patch, image = tile + f->base.tower.patch - 1;
    f->size = (int)hparams_int(&size, "shortest_edge|height", tile, 1, 4096);
    if (f->size < tile || f->size > image || hparams_int(&size, "width", f->size, 1, 4096) != f->size)
        hparams_fail(h, "size", "must be the %d pixels of the tower's pictures", tile);
    if (hparams_int(&crop, "height", f->size, 1, 4096) != f->size ||
        hparams_int(&crop, "width", f->size, 1, 4096) != f->size)
        hparams_fail(h, "crop_size", "must be the size");
    pixel_resized(h);
    pixel_norm_load(l, &f->base.tower.pixels, pixel_clip_mean, pixel_clip_std);
    if (f->alone)
        pixel_background(h, f->fill);
    const json_t *ours = hparams_list(&l->config, "image_grid_pinpoints"),
        *theirs = hparams_list(h, "image_grid_pinpoints");
    if (ours && theirs && !json_equal(ours, theirs))
        hparams_fail(h, "image_grid_pinpoints", "differs from config.json's");
    if (hparams_end(h) == 0)
        load_canvases(theirs ? h : &l->config, f, theirs ? theirs : ours);
    if (f->n_canvases == 0)
        usual_canvases(f);
}

/* Both classes differ in `kind`, and LLaVA-OneVision in that it limits an image's tokens ("anyres_max_9") and sees
 * several images of a prompt without tiles. The newline is a vector that ends each row of an image's tokens. */
static int load(struct model *m, struct loader *l, const struct llava_kind *kind)
{
    static const char *const roots[] = { "", "model.", NULL };
    struct llava_next *f = m->impl = xcalloc(1, sizeof *f);
    const char *ratio = hparams_string(&l->config, "vision_aspect_ratio", "anyres_max_9");
    f->alone = kind == &onevision_kind;
    if (f->alone && (sscanf(ratio, "anyres_max_%d", &f->most) != 1 || f->most < 1 || f->most > MAX_TILES))
        hparams_fail(&l->config, "vision_aspect_ratio", "\"%.40s\" is not supported (anyres_max_9)", ratio);
    if (llava_load(m, l, kind) != 0)
        return -1;
    load_processor(l, f);
    if (load_end(l) != 0)
        return -1;
    m->image_align = f->size;
    load_at(l, "%s", load_root(l, "image_newline", roots));
    f->newline = load_table(l, load_floats(l, SHAPE(m->hidden), "image_newline"), 1, m->hidden);
    return load_end(l);
}

static int next_load(struct model *m, struct loader *l) { return load(m, l, &next_kind); }
static int onevision_load(struct model *m, struct loader *l) { return load(m, l, &onevision_kind); }

/* ---- sizes ---- */

struct cells { int h, w; };          /* features */

static struct cells cells_of(const struct llava_next *f, const struct canvas *c)
{
    return (struct cells){ c->h / f->size * f->base.side, c->w / f->size * f->base.side };
}

/* int(round(x, 7)) of Python: what is a whole number but for its last bits is that number. */
static int whole(double x) { return (int)(rint(x * 1e7) / 1e7); }

/* Without the rows, or columns, that hold no pixel of a picture of width x height. */
static struct cells unpadded(struct cells c, int width, int height)
{
    if ((double)width / height > (double)c.w / c.h)
        c.h -= (c.h - whole(height * ((double)c.w / width))) / 2 * 2;
    else
        c.w -= (c.w - whole(width * ((double)c.h / height))) / 2 * 2;
    return c;
}

/* Shrunk, where there are clearly more than those of `most` tiles. */
static struct cells shrunk(const struct llava_next *f, struct cells c)
{
    double ratio = f->most ? sqrt((double)c.h * c.w / ((double)f->most * f->base.side * f->base.side)) : 0;
    return ratio > 1.1 ? (struct cells){ (int)floor(c.h / ratio), (int)floor(c.w / ratio) } : c;
}

/* At least as many tokens as any picture on this canvas takes. Just before they are shrunk there are more than
 * afterwards. */
static int most_tokens(const struct llava_next *f, const struct canvas *c)
{
    struct cells all = cells_of(f, c);
    double n = (double)all.h * all.w, kept = f->most ? 1.21 * f->most * f->base.side * f->base.side : n;
    return f->base.each + (int)fmin(n, ceil(kept)) + all.h;
}

/* May the canvas be used with these options? */
static bool allowed(const struct llava_next *f, const struct canvas *c, const struct image_options *opt)
{
    return !opt || ((opt->max_pixels <= 0 || (int64_t)c->h * c->w <= opt->max_pixels) &&
                    (opt->max_tokens <= 0 || most_tokens(f, c) <= opt->max_tokens));
}

/* The canvas on which most pixels of the picture are kept, and of these the smallest; NULL: none is allowed. */
static const struct canvas *best_canvas(const struct llava_next *f, int width, int height,
                                        const struct image_options *opt)
{
    const struct canvas *best = NULL;
    int64_t most = 0, least_waste = INT64_MAX, area = (int64_t)width * height;
    for (int i = 0; i < f->n_canvases; i++) {
        const struct canvas *c = &f->canvas[i];
        double scale = fmin((double)c->w / width, (double)c->h / height);
        int64_t kept = (int64_t)(int)(width * scale) * (int)(height * scale);
        kept = kept < area ? kept : area;
        int64_t waste = (int64_t)c->h * c->w - kept;
        if (!allowed(f, c, opt) || !(kept > most || (kept == most && waste < least_waste)))
            continue;
        most = kept;
        least_waste = waste;
        best = c;
    }
    return best;
}

/* All of the picture, in its own ratio or not, as one square. */
static void add_square(const struct llava_next *f, struct image_plan *p, int width, int height, bool padded)
{
    struct image_view v = { .from = IMAGE_SOURCE, .to_w = f->size, .to_h = f->size, .width = f->size,
                            .height = f->size };
    int side = width > height ? width : height;
    if (padded && width != height) {
        v.x = -((side - width) / 2);
        v.y = -((side - height) / 2);
        v.w = v.h = side;
        memcpy(v.fill, f->fill, sizeof v.fill);
    }
    plan_view(p, v);
}

/* The picture in the middle of a canvas. The view also keeps its own size. */
static void add_canvas(struct image_plan *p, const struct canvas *c, int width, int height)
{
    double by_w = (double)c->w / width, by_h = (double)c->h / height;
    int w = c->w, h = c->h;
    if (by_w < by_h)
        h = (int)fmin(ceil(height * by_w), c->h);
    else
        w = (int)fmin(ceil(width * by_h), c->w);
    plan_view(p, (struct image_view){ .from = IMAGE_SOURCE, .w = width, .h = height, .to_w = w, .to_h = h,
                                      .left = (c->w - w) / 2, .top = (c->h - h) / 2, .width = c->w, .height = c->h });
}

/* The whole picture as a square, then the tiles of the canvas that fits it best. Of the tiles' tokens those are left
 * out that show the filling around the picture, and each row ends with a newline. */
static int plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                      struct image_plan *out, struct err *e)
{
    const struct llava_next *f = m->impl;
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    bool several = f->alone && opt && opt->n_images > 1;
    if (several && (width / height >= MAX_RATIO || height / width >= MAX_RATIO))     /* it is padded to a square */
        return err_set(e, "an image of %d x %d is too long and thin (ratio over %d)", width, height, MAX_RATIO);
    const struct canvas *c = several ? NULL : best_canvas(f, width, height, opt);
    *out = (struct image_plan){ .grid_h = f->base.side, .grid_w = f->base.side, .n_tokens = f->base.each + 1,
                                .filter = f->base.tower.pixels.filter, .resizer = RESIZER_TORCHVISION };
    add_square(f, out, width, height, several);
    if (!c)
        return 0;
    add_canvas(out, c, width, height);
    struct cells kept = shrunk(f, unpadded(cells_of(f, c), width, height));
    out->grid_h = kept.h;
    out->grid_w = kept.w;
    out->n_tokens = f->base.each + kept.h * (kept.w + 1);
    return 0;
}

/* A canvas with as many tiles as any has and as many side by side, which are encoded at one time; and the tokens of
 * that which may take most. */
static void largest_image(const struct model *m, const struct image_options *opt, int64_t pixels,
                          struct image_plan *out)
{
    const struct llava_next *f = m->impl;
    int tiles = 0, across = 1;
    (void)pixels;
    *out = (struct image_plan){ .grid_h = f->base.side, .grid_w = f->base.side, .n_tokens = f->base.each + 1,
                                .filter = f->base.tower.pixels.filter, .resizer = RESIZER_TORCHVISION };
    add_square(f, out, f->size, f->size, false);
    for (int i = 0; i < f->n_canvases; i++) {
        const struct canvas *c = &f->canvas[i];
        if (!allowed(f, c, opt))
            continue;
        int tokens = most_tokens(f, c);
        out->n_tokens = tokens > out->n_tokens ? tokens : out->n_tokens;
        int w = c->w / f->size, n = c->h / f->size * w;
        across = w > across ? w : across;
        tiles = n > tiles ? n : tiles;
    }
    if (!tiles)
        return;
    struct canvas all = { (tiles + across - 1) / across * f->size, across * f->size };
    add_canvas(out, &all, all.w, all.h);
    out->grid_h = 1;
    out->grid_w = out->n_tokens - f->base.each - 1;
}

/* ---- pictures ---- */

/* Up to four features and their weights make one: a cell of the grid. */
struct mix { int *row; float *weight; int taps; };

/* A cell that is one row as it is: the other taps point nowhere and weigh nothing. */
static void mix_one(struct mix *m, int row)
{
    for (int k = 0; k < m->taps; k++) {
        m->row[k] = k ? -1 : row;
        if (m->weight)
            m->weight[k] = k ? 0 : 1;
    }
    m->row += m->taps;
    m->weight += m->weight ? m->taps : 0;
}

/* Where cell i of `to` lies among `from` cells: two neighbours and the share of the second. */
static float between(int i, int from, int to, int tap[2])
{
    float at = fmaxf(((float)i + 0.5f) * ((float)from / (float)to) - 0.5f, 0);
    tap[0] = (int)at;
    tap[1] = tap[0] + 1 < from ? tap[0] + 1 : from - 1;
    return at - (float)tap[0];
}

/* The row of cell (y, x) of the canvas among the features, which lie tile by tile behind those of all of it. */
static int row_of(const struct llava_next *f, int across, int y, int x)
{
    int side = f->base.side, tile = y / side * across + x / side;
    return (1 + tile) * f->base.each + y % side * side + x % side;
}

/* The features of the canvas in their order in the prompt, each row with its end. `end`: the row of that. */
static void mix_canvas(struct mix *m, const struct llava_next *f, const struct image_plan *p, int end)
{
    const struct image_view *v = &p->view[1];
    struct cells all = cells_of(f, &(struct canvas){ v->height, v->width }), kept = unpadded(all, v->w, v->h);
    int top = (all.h - kept.h) / 2, left = (all.w - kept.w) / 2, across = v->width / f->size;
    for (int i = 0; i < p->grid_h; i++) {
        for (int k = 0; k < p->grid_w; k++) {
            int ty[2], tx[2];
            float fy = between(i, kept.h, p->grid_h, ty), fx = between(k, kept.w, p->grid_w, tx);
            if (m->taps == 1) {
                mix_one(m, row_of(f, across, top + i, left + k));
                continue;
            }
            for (int t = 0; t < 4; t++) {
                *m->row++ = row_of(f, across, top + ty[t / 2], left + tx[t % 2]);
                *m->weight++ = (t / 2 ? fy : 1 - fy) * (t % 2 ? fx : 1 - fx);
            }
        }
        mix_one(m, end);
    }
}

/* All features are there before the rows of the prompt are made of them. */
static void encode_image(const struct model *m, struct run *r, const struct encode *in)
{
    const struct llava_next *f = m->impl;
    const struct image_plan *p = &in->plan;
    bool tiled = p->n_views > 1;
    int across = tiled ? p->view[1].width / f->size : 0, down = tiled ? p->view[1].height / f->size : 0;
    int end = (1 + across * down) * f->base.each, taps = f->most ? 4 : 1;
    size_t square = (size_t)f->size * (size_t)f->size * 3;
    struct tensor x = nn_new(r, end + 1, m->hidden);
    llava_features(r, &f->base, nn_rows(x, 0, f->base.each), in->rgb, f->size, 1);
    for (int i = 0; i < down; i++)
        llava_features(r, &f->base, nn_rows(x, (1 + i * across) * f->base.each, across * f->base.each),
                       in->rgb + (size_t)(1 + i * across) * square, f->size, across);
    nn_gather_to(r, nn_rows(x, end, 1), f->newline, 1, nn_ints(r, &(int){ 0 }, 1), NULL);
    int *row = nn_host(r, p->n_tokens * taps);
    float *weight = taps > 1 ? nn_host_floats(r, p->n_tokens * taps) : NULL;
    struct mix mix = { row, weight, taps };
    for (int i = 0; i < f->base.each; i++)
        mix_one(&mix, i);
    if (tiled)
        mix_canvas(&mix, f, p, end);
    else
        mix_one(&mix, end);
    const float *shares = weight ? nn_floats(r, weight, p->n_tokens * taps) : NULL;
    x = nn_gather(r, x, p->n_tokens, taps, nn_ints(r, row, p->n_tokens * taps), shares);
    nn_scatter(r, in->pool, x, in->rows, false);
}

/* (squares, 3, size, size): all of it, then the tiles row by row. */
static void values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    const struct llava_next *f = m->impl;
    tower_tile_values(&f->base.tower, p, rgb, f->size, out, shape);
}

static struct tensor forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct llava_next *f = m->impl;
    return decoder_forward(r, &f->base.text, in);
}

const struct family family_llava_next = {
    .types = { "llava_next" },
    .load = next_load,
    .plan_image = plan_image,
    .largest_image = largest_image,
    .encode_image = encode_image,
    .pixel_values = values,
    .forward = forward,
};

const struct family family_llava_onevision = {
    .types = { "llava_onevision" },
    .load = onevision_load,
    .plan_image = plan_image,
    .largest_image = largest_image,
    .encode_image = encode_image,
    .pixel_values = values,
    .forward = forward,
};
