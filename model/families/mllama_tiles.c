/* model/families/mllama_tiles.c - the tower of Llama 3.2 Vision.
 *
 *     picture on a canvas of tiles -> patches, a class token in front of every tile's, positions by tile and
 *     aspect ratio -> layers over all tiles at once -> gated global layers
 *
 * A tower always sees as many tiles as the model has at most: those without a part of the picture are zeros, and their
 * rows and a few rows of filling take part in the attention. Rows lie in this order: patches of the picture's tiles,
 * patches of the others, filling. A row's number is its cell in the image's KV. */
#include "model/families/mllama_tiles.h"

#include <math.h>
#include <string.h>

#include "model/heads.h"
#include "model/tower.h"

enum { MAX_LAYERS = 256, MAX_TILES = 16, ROWS_TO = 8 /* a tile's rows are filled up to multiples */ };

struct tiled {                       /* a vision layer */
    struct block  block;
    struct tensor attn_gate, mlp_gate;     /* (1, width); empty: the layer has none */
};

/* ---- tiles ---- */

struct ratio { int h, w; };          /* of a canvas, in tiles */

/* All canvases of at most `tiles` tiles, in the order of their numbers, which begin at 1. Returns how many. */
static int list_ratios(int tiles, struct ratio out[MAX_TILES * MAX_TILES])
{
    int n = 0;
    for (int h = 1; h <= tiles; h++)
        for (int w = 1; w <= tiles && h * w <= tiles; w++)
            out[n++] = (struct ratio){ h, w };
    return n;
}

static int ratio_number(const struct tiles *g, const struct image_plan *p)
{
    struct ratio all[MAX_TILES * MAX_TILES];
    for (int i = list_ratios(g->tiles, all) - 1; i > 0; i--)
        if (all[i].h == p->grid_h && all[i].w == p->grid_w)
            return i + 1;
    return 1;
}

static int tile_patches(const struct tiles *g) { return (g->side / g->patch) * (g->side / g->patch); }
static int tile_rows(const struct tiles *g) { return tile_patches(g) + 1; }

/* ---- loading ---- */

/* A gate is one number, of which the hyperbolic tangent is taken: 0 where the loader has failed. */
static float gate(struct loader *l, const char *name)
{
    const float *x = load_floats(l, SHAPE(1), name);
    return x ? tanhf(*x) : 0;
}

/* A gate as a factor of every column, for the epilogue of the product before it. */
struct tensor tiles_gate(struct loader *l, int n, const char *name)
{
    float x = gate(l, name), *row = load_scratch(l, (size_t)n);
    for (int i = 0; row && i < n; i++)
        row[i] = x;
    return load_table(l, row, 1, n);
}

/* Global layers are `gated`: what attention and MLP give is multiplied by a number each. */
static void vision_layer(struct loader *l, struct tiled *t, const struct tower_sizes *s, bool gated)
{
    struct block *b = &t->block;
    int dim = s->width / s->heads;
    load_norm(l, &b->norm1, s->width, LAYER_NORM, s->eps, "input_layernorm");
    load_norm(l, &b->norm2, s->width, LAYER_NORM, s->eps, "post_attention_layernorm");
    load_qkv(l, &b->qkv, s->width, PARTS({ "self_attn.q_proj", s->width }, { "self_attn.k_proj", s->width },
                                         { "self_attn.v_proj", s->width }), NO_BIAS);
    load_linear(l, &b->o, s->width, s->width, NO_BIAS, "self_attn.o_proj");
    load_linear(l, &b->up, s->inner, s->width, WITH_BIAS, "mlp.fc1");
    load_linear(l, &b->down, s->width, s->inner, WITH_BIAS, "mlp.fc2");
    b->act = s->act;
    b->heads = (struct heads){ .n = s->heads, .n_kv = s->heads, .dim = dim, .scale = 1 / sqrtf((float)dim) };
    if (gated) {
        t->attn_gate = tiles_gate(l, s->width, "gate_attn");
        t->mlp_gate = tiles_gate(l, s->width, "gate_ffn");
    }
}

/* out[i] = x[i] * by, n of them. */
static void scaled(float *out, const float *x, size_t n, float by)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * by;
}

/* Everything that patches begin with but the picture and the large table: gates are multiplied in. The row of a tile by
 * its ratio 0, which stands for no image, is left out. */
static void load_places(struct loader *l, struct tiles *g)
{
    size_t w = (size_t)g->width, by_tile = (size_t)(g->n_ratios * g->tiles) * w, rows = (size_t)tile_rows(g) * w;
    int all = g->n_ratios + 1, across = g->tiles * g->width;
    const float *pre = load_floats(l, SHAPE(all, across), "pre_tile_positional_embedding.embedding.weight");
    const float *later = load_floats(l, SHAPE(all, across), "post_tile_positional_embedding.embedding.weight");
    const float *class = load_floats(l, SHAPE(g->width), "class_embedding");
    const float *row = load_floats(l, SHAPE(tile_rows(g), g->width), "gated_positional_embedding.embedding");
    float pre_gate = gate(l, "pre_tile_positional_embedding.gate"),
          later_gate = gate(l, "post_tile_positional_embedding.gate");
    g->tile_gate = gate(l, "gated_positional_embedding.gate");
    float *place = load_scratch(l, by_tile + w + rows), *after = load_scratch(l, by_tile);
    if (!place || !after)
        return;
    scaled(place, pre + across, by_tile, pre_gate);
    scaled(place + by_tile, class, w, 1);
    scaled(place + by_tile + w, row, rows, 1 - g->tile_gate);
    scaled(after, later + across, by_tile, later_gate);
    g->place = load_table(l, place, g->n_ratios * g->tiles + 1 + tile_rows(g), g->width);
    g->later_place = load_table(l, after, g->n_ratios * g->tiles, g->width);
    g->tile_place = load_stored_table(l, SHAPE(all, across * tile_rows(g)), all * g->tiles * tile_rows(g), g->width,
                                      "gated_positional_embedding.tile_embedding.weight");
}

/* Sizes of the tower and of the canvas. -1: something is wrong, and noted. */
static int read_vision(struct loader *l, struct tiles *g, struct hparams *v, struct tower_sizes *s)
{
    static const int usual[] = { 3, 7, 15, 23, 30 };
    struct ratio all[MAX_TILES * MAX_TILES];
    s->width = g->width = (int)hparams_int(v, "hidden_size", 1280, 1, 1 << 14);
    s->heads = (int)hparams_int(v, "attention_heads|num_attention_heads", 16, 1, 256);
    s->inner = (int)hparams_int(v, "intermediate_size", 5120, 1, 1 << 16);
    s->eps = hparams_number(v, "norm_eps", 1e-5, 0, 1);
    s->act = load_act(v, "hidden_act", "gelu");
    g->n_local = (int)hparams_int(v, "num_hidden_layers", 32, 1, MAX_LAYERS);
    g->n_global = (int)hparams_int(v, "num_global_layers", 8, 0, MAX_LAYERS);
    g->side = (int)hparams_int(v, "image_size", 448, 1, 4096);
    g->patch = (int)hparams_int(v, "patch_size", 14, 1, 128);
    g->tiles = (int)hparams_int(v, "max_num_tiles", 4, 1, MAX_TILES);
    g->n_ratios = list_ratios(g->tiles, all);
    pixel_channels(v, "num_channels");
    if (s->width % s->heads)
        hparams_fail(v, "attention_heads", "%d heads do not divide %d", s->heads, s->width);
    heads_check(v, "attention_heads", s->width / s->heads);
    if (g->side % g->patch)
        hparams_fail(v, "image_size", "%d is not a multiple of a patch of %d", g->side, g->patch);
    const json_t *ratios = hparams_list(v, "supported_aspect_ratios");
    if (ratios && json_array_size(ratios) != (size_t)g->n_ratios)
        hparams_fail(v, "supported_aspect_ratios", "has %zu entries, but %d tiles have %d", json_array_size(ratios),
                     g->tiles, g->n_ratios);
    g->n_taken = hparams_ints(v, "intermediate_layers_indices", g->taken, MAX_TAKEN, 0, g->n_local - 1);
    if (!hparams_has(v, "intermediate_layers_indices"))
        for (g->n_taken = 0; g->n_taken < 5; g->n_taken++)
            g->taken[g->n_taken] = usual[g->n_taken];
    for (int i = 0; i < g->n_taken; i++)
        if (g->taken[i] >= g->n_local || (i && g->taken[i] <= g->taken[i - 1]))
            hparams_fail(v, "intermediate_layers_indices", "must be layers in rising order");
    int out = g->width * (1 + g->n_taken);
    if ((int)hparams_int(v, "vision_output_dim", 7680, 1, 1 << 20) != out)
        hparams_fail(v, "vision_output_dim", "is not %d, as %d states of %d are", out, 1 + g->n_taken, g->width);
    struct hparams size = hparams_object(&l->image, "size");
    if (hparams_int(&size, "height", g->side, 1, 4096) != g->side ||
        hparams_int(&size, "width", g->side, 1, 4096) != g->side)
        hparams_fail(&l->image, "size", "a tile of the image processor is not the tower's of %d x %d", g->side,
                     g->side);
    pixel_resized(&l->image);
    if (!hparams_bool(&l->image, "do_pad", true))
        hparams_fail(&l->image, "do_pad", "must be true");
    if (hparams_int(&l->image, "max_image_tiles", g->tiles, 1, MAX_TILES) != g->tiles)
        hparams_fail(&l->image, "max_image_tiles", "is not the tower's max_num_tiles of %d", g->tiles);
    return load_end(l);
}

void tiles_load(struct loader *l, struct tiles *g, struct hparams *v, const char *root)
{
    struct tower_sizes s;
    if (read_vision(l, g, v, &s) != 0)
        return;
    load_at(l, "%s", root);
    tower_patches_load(l, &g->embed, g->width, g->patch, NO_BIAS, "patch_embedding");
    load_places(l, g);
    load_norm(l, &g->pre, g->width, LAYER_NORM, 1e-5, "layernorm_pre");
    load_norm(l, &g->post, g->width, LAYER_NORM, 1e-5, "layernorm_post");
    g->layer = load_keep(l, (size_t)(g->n_local + g->n_global) * sizeof *g->layer);
    for (int i = 0; i < g->n_local + g->n_global && !l->failed; i++) {
        bool global = i >= g->n_local;
        load_at(l, "%s%stransformer.layers.%d.", root, global ? "global_" : "", global ? i - g->n_local : i);
        vision_layer(l, &g->layer[i], &s, global);
    }
    pixel_norm_load(l, &g->pixels, pixel_half, pixel_half);
    if (!hparams_has(&l->image, "resample"))
        g->pixels.filter = FILTER_BILINEAR;
}

/* ---- images ---- */

/* A picture's canvas is the one that enlarges it least, or if all are too small the one that shrinks it least; of equal
 * ones, the smallest. At most `most` tiles, which is fewer than the model has where a request wants fewer pixels. */
static struct ratio choose_canvas(const struct tiles *g, int width, int height, int most)
{
    struct ratio all[MAX_TILES * MAX_TILES], best = { 1, 1 };
    double scale = 0;
    for (int i = 0, n = list_ratios(most, all); i < n; i++) {
        double h = (double)(all[i].h * g->side) / height, w = (double)(all[i].w * g->side) / width, s = w > h ? h : w;
        bool better = scale >= 1 ? s >= 1 && s < scale : s > scale;
        if (better || (s == scale && all[i].h * all[i].w < best.h * best.w)) {
            scale = s;
            best = all[i];
        }
    }
    return best;
}

static int clip(int x, int low, int high)
{
    x = x < low ? low : x;
    return x < high ? x : high;
}

/* One side after the other has been scaled by `scale`: at least a pixel, at most its room. */
static int scaled_side(int length, double scale, int room)
{
    int n = (int)floor(length * scale);
    return clip(n, 1, room);
}

static struct image_plan plan_of(const struct tiles *g, struct ratio c)
{
    int rows = tile_rows(g);
    return (struct image_plan){ .grid_h = c.h, .grid_w = c.w, .n_tokens = 1, .n_cells = g->tiles * rows,
                                .n_blank = (g->tiles - c.h * c.w) * rows, .filter = g->pixels.filter,
                                .resizer = RESIZER_TORCHVISION };
}

/* The picture keeps its shape and lies in the upper left corner of the canvas, which is black elsewhere. It is never
 * made larger than it is, but to the side of a tile. */
int tiles_plan(const struct tiles *g, int width, int height, const struct image_options *opt, struct image_plan *out,
               struct err *e)
{
    int64_t most = g->tiles;
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    if (opt && opt->max_pixels > 0 && opt->max_pixels / ((int64_t)g->side * g->side) < most)
        most = opt->max_pixels / ((int64_t)g->side * g->side);
    if (opt && opt->max_tokens > 0)          /* detail: low */
        most = 1;
    struct ratio c = choose_canvas(g, width, height, most > 1 ? (int)most : 1);
    int canvas_w = c.w * g->side, canvas_h = c.h * g->side;
    int w = clip(width, g->side, canvas_w), h = clip(height, g->side, canvas_h);
    double scale_w = (double)w / width, scale_h = (double)h / height;
    if (scale_w < scale_h)
        h = scaled_side(height, scale_w, h);
    else
        w = scaled_side(width, scale_h, w);
    *out = plan_of(g, c);
    plan_view(out, (struct image_view){ .from = IMAGE_SOURCE, .to_w = w, .to_h = h, .width = canvas_w,
                                        .height = canvas_h });
    return 0;
}

/* All images take as many cells, and one that fills all tiles most of everything else. */
void tiles_largest(const struct tiles *g, struct image_plan *out)
{
    *out = plan_of(g, (struct ratio){ 1, g->tiles });
    out->n_blank = g->tiles > 1 ? tile_rows(g) : 0;
    plan_view(out, (struct image_view){ .from = IMAGE_SOURCE, .to_w = g->tiles * g->side, .to_h = g->side,
                                        .width = g->tiles * g->side, .height = g->side });
}

struct rows { int tiles, per_tile, seen, all, in_all; };
/* per_tile: patches and the class token; seen: of the picture's tiles; all: of all tiles; in_all: with filling */

static struct rows rows_of(const struct tiles *g, const struct image_plan *p)
{
    int n = tile_rows(g), filled = (n + ROWS_TO - 1) / ROWS_TO * ROWS_TO;
    return (struct rows){ p->grid_h * p->grid_w, n, p->grid_h * p->grid_w * n, g->tiles * n, g->tiles * filled };
}

/* Which of the picture's patches row r of all tiles is; -1: none. The picture's lie row by row over its whole canvas,
 * the tower's tile by tile. */
static int patch_of(const struct tiles *g, const struct image_plan *p, int r)
{
    int across = g->side / g->patch, tile = r / tile_rows(g), i = r % tile_rows(g) - 1;
    if (i < 0 || tile >= p->grid_h * p->grid_w)
        return -1;
    int y = tile / p->grid_w * across + i / across, x = tile % p->grid_w * across + i % across;
    return y * p->grid_w * across + x;
}

/* Adds what a row begins with for its place: patches have one for their tile, the class token is what stands there
 * itself, both have one for their place in the tile. */
static void add_places(struct run *r, const struct tiles *g, struct tensor x, const struct rows *n, int ratio)
{
    int by_tile = (ratio - 1) * g->tiles, class = g->n_ratios * g->tiles, *idx = nn_host(r, 3 * n->all);
    float *w = nn_host_floats(r, 3 * n->all);
    for (int i = 0; i < n->all; i++) {
        int tile = i / n->per_tile, in_tile = i % n->per_tile;
        idx[2 * i] = in_tile ? by_tile + tile : class;
        idx[2 * i + 1] = class + 1 + in_tile;
        idx[2 * n->all + i] = i;
        w[2 * i] = w[2 * i + 1] = 1;
        w[2 * n->all + i] = g->tile_gate;
    }
    NN_SCRATCH(r) {
        const int *at = nn_ints(r, idx, 2 * n->all);
        nn_add(r, x, x, nn_gather(r, g->place, n->all, 2, at, nn_floats(r, w, 2 * n->all)));
    }
    NN_SCRATCH(r) {
        struct tensor table = nn_new(r, n->all, g->width);
        nn_copy(r, table, nn_rows(g->tile_place, ratio * n->all, n->all));
        const int *at = nn_ints(r, idx + 2 * n->all, n->all);
        nn_add(r, x, x, nn_gather(r, table, n->all, 1, at, nn_floats(r, w + 2 * n->all, n->all)));
    }
}

/* Rows of patches and filling, before the layers; filling is zero. */
static struct tensor embed(struct run *r, const struct tiles *g, const struct encode *in, const struct rows *n)
{
    const struct image_plan *p = &in->plan;
    struct tensor x = nn_new(r, n->in_all, g->width), real = nn_rows(x, 0, n->all);
    struct conv c = { p->height, p->width, g->patch, g->patch, 0, ACT_NONE };
    int *idx = nn_host(r, n->in_all);
    for (int i = 0; i < n->in_all; i++)
        idx[i] = i < n->all ? patch_of(g, p, i) : -1;
    NN_SCRATCH(r) {
        struct tensor picture = nn_pixels(r, in->rgb, p->height * p->width, g->pixels.scale, g->pixels.shift);
        nn_gather_to(r, x, nn_conv(r, picture, &g->embed, c), 1, nn_ints(r, idx, n->in_all), NULL);
    }
    add_places(r, g, real, n, ratio_number(g, p));
    nn_norm(r, real, real, &g->pre);
    return x;
}

/* Rows of the picture see all rows; those of filling and of tiles without a part of the picture see the picture's
 * alone. */
static void attend(struct run *r, struct stream *s, const struct tiled *t, const struct rows *n)
{
    const struct block *b = &t->block;
    int rest = n->in_all - n->seen, w = b->heads.n * b->heads.dim;
    NN_SCRATCH(r) {
        const int *ends = nn_ints(r, (const int[]){ 0, n->seen, 0, n->in_all, 0, rest }, 6);
        struct tensor qkv = nn_linear(r, stream_norm(r, s, &b->norm1), &b->qkv, (struct epilogue){ 0 });
        struct tensor k = nn_cols(qkv, w, w), v = nn_cols(qkv, 2 * w, w), q = nn_cols(qkv, 0, w);
        struct tensor to = nn_rows(s->x, 0, n->seen), others = nn_rows(s->x, n->seen, rest);
        struct tensor y = nn_attend_across(r, nn_rows(q, 0, n->seen), k, v, &b->heads, 1, ends, ends + 2);
        nn_linear_to(r, to, y, &b->o, (struct epilogue){ .mul = t->attn_gate, .add = to });
        y = nn_attend_across(r, nn_rows(q, n->seen, rest), nn_rows(k, 0, n->seen), nn_rows(v, 0, n->seen), &b->heads, 1,
                             ends + 4, ends);
        nn_linear_to(r, others, y, &b->o, (struct epilogue){ .mul = t->attn_gate, .add = others });
    }
    s->normed = NULL;
}

/* Attention, then the MLP, each multiplied by its gate where the layer has some. */
static void run_layer(struct run *r, struct stream *s, const struct tiled *t, const struct rows *n)
{
    const struct block *b = &t->block;
    attend(r, s, t, n);
    NN_SCRATCH(r) {
        struct tensor y = nn_linear(r, stream_norm(r, s, &b->norm2), &b->up, (struct epilogue){ .act = b->act });
        nn_linear_to(r, s->x, y, &b->down, (struct epilogue){ .mul = t->mlp_gate, .add = s->x });
    }
    s->normed = NULL;
}

/* Between the local and the global layers every row gets what its tile begins with there, filling as well. */
static void add_later_places(struct run *r, const struct tiles *g, struct tensor x, const struct rows *n, int ratio)
{
    int *idx = nn_host(r, n->in_all), filling = (n->in_all - n->all) / g->tiles;
    for (int i = 0; i < n->in_all; i++)
        idx[i] = (ratio - 1) * g->tiles + (i < n->all ? i / n->per_tile : (i - n->all) / filling);
    NN_SCRATCH(r)
        nn_add(r, x, x, nn_gather(r, g->later_place, n->in_all, 1, nn_ints(r, idx, n->in_all), NULL));
}

/* Runs the tower over a picture: the states after its last layer, and those of the layers that are taken, of all rows
 * of tiles. */
void tiles_states(struct run *r, const struct tiles *g, const struct encode *in, struct tile_states *out)
{
    struct rows n = rows_of(g, &in->plan);
    struct stream s = stream_of(r, embed(r, g, in, &n));
    for (int i = 0, taken = 0; i < g->n_local; i++) {
        run_layer(r, &s, &g->layer[i], &n);
        if (taken < g->n_taken && g->taken[taken] == i) {
            out->kept[taken] = nn_new(r, n.all, g->width);
            nn_copy(r, out->kept[taken++], nn_rows(s.x, 0, n.all));
        }
    }
    nn_norm(r, s.x, s.x, &g->post);
    add_later_places(r, g, s.x, &n, ratio_number(g, &in->plan));
    s.normed = NULL;
    for (int i = 0; i < g->n_global; i++)
        run_layer(r, &s, &g->layer[g->n_local + i], &n);
    out->final = s.x;
    out->per_tile = n.per_tile;
}

/* (tiles, 3, side, side): the canvas cut row by row; tiles beyond it are zeros. */
void tiles_values(const struct tiles *g, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4])
{
    int side = g->side;
    memcpy(shape, (const int[4]){ g->tiles, 3, side, side }, 4 * sizeof *shape);
    for (int t = 0; out && t < g->tiles; t++)
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < side; y++)
                for (int x = 0; x < side; x++) {
                    size_t at = (size_t)(t / p->grid_w * side + y) * (size_t)p->width +
                        (size_t)(t % p->grid_w * side + x);
                    *out++ = t < p->grid_h * p->grid_w ? pixel_value(&g->pixels, rgb[3 * at + (size_t)c], c) : 0;
                }
}
