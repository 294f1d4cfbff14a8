/* model/tower.c - see tower.h. */
#include "model/tower.h"
#include "model/heads.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_WIDTH = 1 << 14, MAX_PATCH = 128, MAX_SIDE = 4096 };

/* One number, also where the configuration gives it for both sides. */
static int square(struct hparams *h, const char *name, int def, int most)
{
    int both[2] = { def, def };
    int n = hparams_ints(h, name, both, 2, 1, most);
    if (n == 2 && both[0] != both[1])
        hparams_fail(h, name, "must be the same on both sides, not %d and %d", both[0], both[1]);
    return both[0];
}

void tower_sizes_load(struct tower_sizes *s, struct hparams *config, const struct tower_kind *kind)
{
    s->width = (int)hparams_int(config, "hidden_size|embed_dim", kind->width, 1, MAX_WIDTH);
    s->inner = (int)hparams_int(config, "intermediate_size", kind->inner, 1, 4 * MAX_WIDTH);
    s->heads = (int)hparams_int(config, "num_attention_heads", kind->heads, 1, 1024);
    s->eps = hparams_number(config, "layer_norm_eps", kind->eps, 0, 1);
    s->act = load_act(config, "hidden_act", kind->act);
    if (s->width % s->heads)
        hparams_fail(config, "num_attention_heads", "%d heads do not divide %d", s->heads, s->width);
    heads_check(config, "num_attention_heads", s->width / s->heads);
}

void tower_layers_load(struct loader *l, struct block *layer, int n, const struct tower_sizes *s, const char *root)
{
    int dim = s->width / s->heads;
    for (int i = 0; i < n && !l->failed; i++) {
        struct block *b = &layer[i];
        load_at(l, "%sencoder.layers.%d.", root, i);
        load_norm(l, &b->norm1, s->width, LAYER_NORM, s->eps, "layer_norm1");
        load_norm(l, &b->norm2, s->width, LAYER_NORM, s->eps, "layer_norm2");
        load_qkv(l, &b->qkv, s->width, PARTS({ "self_attn.q_proj", s->width }, { "self_attn.k_proj", s->width },
                                             { "self_attn.v_proj", s->width }), WITH_BIAS);
        load_linear(l, &b->o, s->width, s->width, WITH_BIAS, "self_attn.out_proj");
        load_linear(l, &b->up, s->inner, s->width, WITH_BIAS, "mlp.fc1");
        load_linear(l, &b->down, s->width, s->inner, WITH_BIAS, "mlp.fc2");
        b->act = s->act;
        b->heads = (struct heads){ .n = s->heads, .n_kv = s->heads, .dim = dim, .scale = 1 / sqrtf((float)dim) };
    }
    blocks_chain(layer, n);
}

void tower_patches_load(struct loader *l, struct weight *w, int out, int patch, enum bias bias, const char *name)
{
    char full[96];
    int area = patch * patch;
    snprintf(full, sizeof full, "%s.weight", name);
    const float *from = load_floats(l, SHAPE(out, 3, patch, patch), full), *b = NULL;
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias == WITH_BIAS)
        b = load_floats(l, SHAPE(out), full);
    float *to = load_scratch(l, (size_t)out * (size_t)area * 3);
    if (!to)
        return;
    float *row = to;
    for (int o = 0; o < out; o++, row += area * 3)
        for (int c = 0; c < 3; c++, from += area)
            for (int i = 0; i < area; i++)
                row[i * 3 + c] = from[i];
    load_packed(l, w, LAYOUT_LINEAR, out, area * 3, to, b);
}

/* As the tower reads them already, and never quantised: a convolution reads plain numbers. */
static void flat_patches_load(struct loader *l, struct tower *t)
{
    int in = 3 * t->patch * t->patch, out = t->size.width;
    float *w = load_floats(l, SHAPE(out, in), "embeddings.patch_embedding.weight");
    const float *bias = load_floats(l, SHAPE(out), "embeddings.patch_embedding.bias");
    if (bias)
        load_packed(l, &t->embed, LAYOUT_LINEAR, out, in, w, bias);
}

/* The class token is a row that is the same in every picture, and so is its position: the sum of the two is made here,
 * and the table keeps the positions of patches alone. */
static void positions_load(struct loader *l, struct tower *t, bool class_token)
{
    int width = t->size.width;
    const float *table = load_floats(l, SHAPE(t->n_positions + class_token, width), TOWER_PROBE), *class = NULL;
    if (class_token)
        class = load_floats(l, SHAPE(width), "embeddings.class_embedding");
    float *row = load_scratch(l, (size_t)width);
    if (!row)
        return;
    for (int i = 0; i < width && class; i++)
        row[i] = class[i] + table[i];
    if (class)
        t->class_row = load_table(l, row, 1, width);
    t->position = load_table(l, table + (class ? width : 0), t->n_positions, width);
}

/* Patches and positions of the picture that the tower was trained with. -1: an error is noted. */
static int grid_load(struct tower *t, struct hparams *config, const struct tower_kind *kind)
{
    t->patch = square(config, "patch_size", kind->patch, MAX_PATCH);
    if (kind->flat_patches) {
        int n = (int)hparams_int(config, "num_patches", (kind->image / kind->patch) * (kind->image / kind->patch), 1,
                                 MAX_SIDE * MAX_SIDE);
        t->side = (int)sqrt(n);
        if (t->side * t->side != n)
            hparams_fail(config, "num_patches", "%d is not a square", n);
    } else {
        t->image = square(config, "image_size", kind->image, MAX_SIDE);
        t->side = t->image / t->patch;
        if (t->side < 1)
            hparams_fail(config, "image_size", "%d is less than a patch of %d", t->image, t->patch);
    }
    t->n_positions = t->side * t->side;
    pixel_channels(config, "num_channels");
    return hparams_end(config);
}

void tower_load(struct loader *l, struct tower *t, struct hparams *config, const char *root,
                const struct tower_kind *kind)
{
    struct tower_sizes *s = &t->size;
    tower_sizes_load(s, config, kind);
    int layers = (int)hparams_int(config, "num_hidden_layers", kind->layers, 1, TOWER_MAX_LAYERS);
    if (kind->unused_layers >= layers)
        hparams_fail(config, "num_hidden_layers", "%d are too few: the last %d are not run", layers,
                     kind->unused_layers);
    if (grid_load(t, config, kind) != 0)
        return;
    t->n_layers = layers - kind->unused_layers;
    t->layer = load_keep(l, (size_t)t->n_layers * sizeof *t->layer);
    load_at(l, "%s", root);
    if (kind->flat_patches)
        flat_patches_load(l, t);
    else
        tower_patches_load(l, &t->embed, s->width, t->patch, kind->patch_bias, "embeddings.patch_embedding");
    positions_load(l, t, kind->class_token);
    if (kind->pre_norm)
        load_norm(l, &t->pre, s->width, LAYER_NORM, s->eps, "pre_layrnorm");
    if (kind->no_post)
        load_skip(l, "post_layernorm.");
    else
        load_norm(l, &t->post, s->width, LAYER_NORM, s->eps, "post_layernorm");
    tower_layers_load(l, t->layer, t->n_layers, s, root);
    for (int i = t->n_layers; i < layers; i++) {
        load_at(l, "%sencoder.layers.%d.", root, i);
        load_skip(l, "");
    }
    load_at(l, "%s", root);
}

int tower_rows(const struct tower *t, int height, int width)
{
    return (height / t->patch) * (width / t->patch) + (t->class_row.data != NULL);
}

/* The pixels of one tile, (height * width, 3), of those of a row of tiles. */
static struct tensor pixels_of_tile(struct run *r, struct tensor x, int height, int width, int tiles, int tile)
{
    int *idx = nn_host(r, height);
    if (tiles == 1)
        return x;
    for (int i = 0; i < height; i++)
        idx[i] = i;
    x = nn_cols(nn_reshape(x, height, tiles * width * 3), tile * width * 3, width * 3);
    return nn_reshape(nn_gather(r, x, height, 1, nn_ints(r, idx, height), NULL), height * width, 3);
}

void tower_embed_tiles(struct run *r, const struct tower *t, struct tensor out, const uint8_t *rgb, int height,
                       int width, int tiles, struct tensor position)
{
    int first = t->class_row.data != NULL, rows = out.rows / tiles, n = rows - first;
    struct conv c = { height, width, t->patch, t->patch, 0, ACT_NONE };
    NN_SCRATCH(r) {
        struct tensor pixels = nn_pixels(r, rgb, height * tiles * width, t->pixels.scale, t->pixels.shift);
        size_t used = r->used;
        for (int i = 0; i < tiles; i++, r->used = used) {
            struct tensor to = nn_rows(out, i * rows, rows);
            if (first)
                nn_gather_to(r, nn_rows(to, 0, 1), t->class_row, 1, nn_ints(r, &(int){ 0 }, 1), NULL);
            struct tensor x = nn_conv(r, pixels_of_tile(r, pixels, height, width, tiles, i), &t->embed, c);
            nn_add(r, nn_rows(to, first, n), x, position);
        }
    }
    if (t->pre.w.data)
        nn_norm(r, out, out, &t->pre);
}

void tower_embed_at(struct run *r, const struct tower *t, struct tensor out, const uint8_t *rgb, int height, int width,
                    struct tensor position)
{
    tower_embed_tiles(r, t, out, rgb, height, width, 1, position);
}

void tower_embed(struct run *r, const struct tower *t, struct tensor out, const uint8_t *rgb, int height, int width,
                 const int *places)
{
    int n = out.rows - (t->class_row.data != NULL);
    NN_SCRATCH(r)
        tower_embed_at(r, t, out, rgb, height, width,
                       places ? nn_gather(r, t->position, n, 1, places, NULL) : nn_rows(t->position, 0, n));
}

/* The place of every one of n patches of a side in a table of `table` positions, as the reference finds it: the first
 * of table - 1 boundaries that is larger than i / n, in float. */
static void buckets(int *out, int n, int table)
{
    float step = 1.0f / (float)n;
    for (int i = 0; i < n; i++) {
        float at = fminf((float)i * step, (float)(1.0 - 1e-6));
        int k = 0;
        while (k < table - 1 && (float)(1.0 / table + (double)k * (1.0 / table)) <= at)
            k++;
        out[i] = k;
    }
}

const int *tower_bucket_places(struct run *r, const struct tower *t, int down, int across)
{
    int n = down * across, *rows = nn_host(r, down), *cols = nn_host(r, across), *all = nn_host(r, n);
    buckets(rows, down, t->side);
    buckets(cols, across, t->side);
    for (int i = 0; i < n; i++)
        all[i] = rows[i / across] * t->side + cols[i % across];
    return nn_ints(r, all, n);
}

void tower_run(struct run *r, const struct tower *t, struct tensor x, int layers)
{
    NN_SCRATCH(r) {
        const int *all = nn_ints(r, (const int[2]){ 0, x.rows }, 2);
        struct stream s = stream_of(r, x);
        for (int i = 0; i < layers; i++) {
            block_vision_attend(r, &s, &t->layer[i], NULL, 1, all);
            block_mlp(r, &s, &t->layer[i]);
        }
    }
}

/* One view after the other, so that the scratch is that of a single one. */
struct tensor tower_states(struct run *r, const struct tower *t, const uint8_t *rgb, int n, int height, int width,
                           int layers)
{
    int rows = tower_rows(t, height, width);
    struct tensor out = nn_new(r, n * rows, t->size.width);
    for (int i = 0; i < n; i++) {
        struct tensor x = nn_rows(out, i * rows, rows);
        tower_embed(r, t, x, rgb + (size_t)i * (size_t)height * (size_t)width * 3, height, width, NULL);
        tower_run(r, t, x, layers);
    }
    return out;
}

void tower_values(const struct tower *t, const uint8_t *rgb, int height, int width, float *out, int shape[4])
{
    pixel_planes(&t->pixels, rgb, height, width, out, shape);
}

/* One tile of a canvas of `width` pixels, as three planes. */
static void tile_values(const struct tower *t, const uint8_t *rgb, int width, int tile, float *out)
{
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < tile; y++)
            for (int x = 0; x < tile; x++)
                *out++ = pixel_value(&t->pixels, rgb[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c], c);
}

void tower_tile_values(const struct tower *t, const struct image_plan *p, const uint8_t *rgb, int tile, float *out,
                       int shape[4])
{
    struct image_recipe r = plan_recipe(p);
    size_t area = (size_t)tile * (size_t)tile * 3;
    memcpy(shape, (const int[4]){ 0, 3, tile, tile }, 4 * sizeof *shape);
    for (int i = 0; i < r.n; i++) {
        const struct image_view *v = &r.view[i];
        for (int y = 0; !v->hidden && y < v->height; y += tile)
            for (int x = 0; x < v->width; x += tile, shape[0]++)
                if (out)
                    tile_values(t, rgb + ((size_t)y * (size_t)v->width + (size_t)x) * 3, v->width, tile,
                                out + (size_t)shape[0] * area);
        if (!v->hidden)
            rgb += (size_t)v->width * (size_t)v->height * 3;
    }
}
