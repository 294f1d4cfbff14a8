/* model/families/internvl.c - InternVL 2.5 to 3.5, in transformers' form and, as `internvl_chat`, in that of the code
 * that was published with the models: other names of tensors and fields, and a resize by Pillow. Chen and others, 2024
 * (arXiv:2412.05271).
 *
 *     the picture is resized to a grid of tiles whose shape is nearest to its own, and, if there are several, once more
 *     to one tile
 *     each tile: class token, patches and positions -> layers with a scale for each branch -> patches, 2x2 side by
 *     side -> LayerNorm -> linear, GELU, linear -> image tokens
 *     the decoder of Qwen2, Qwen3 or Llama */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/texts.h"
#include "model/tower.h"

enum { MAX_TILES = 64 };

struct layer {
    struct block  block;
    struct tensor scale1, scale2;    /* (1, width): of what attention and the MLP add */
    struct norm   q_norm, k_norm;    /* of the whole width; empty: there is none      */
};

struct internvl {
    struct decoder text;
    struct tower   tower;            /* without its layers                            */
    struct layer  *layer;            /* (n_layers), the model's memory                */
    int            n_layers;
    struct norm    post;             /* empty: there is none                          */
    int            scale;            /* patches of a token's side                     */
    int            each;             /* tokens of a tile                              */
    int            least, most;      /* tiles of a picture, without the small one     */
    bool           split;            /* into tiles; else all of it is one             */
    bool           small;            /* several tiles are followed by the small one   */
    enum resizer   resizer;
    struct norm    norm;             /* of the projector                              */
    struct weight  in, out;
    enum act       act;
};

/* How a form spells the tensors. */
struct spelling {
    const char *class_token, *positions, *patches, *layer;
    const char *norm1, *norm2, *qkv, *o, *q_norm, *k_norm, *scale1, *scale2;    /* qkv NULL: they are apart */
    const char *norm, *in, *out;     /* of the projector */
};

static const struct spelling nested = {
    "embeddings.cls_token", "embeddings.position_embeddings", "embeddings.patch_embeddings.projection",
    "encoder.layer.%d.", "layernorm_before", "layernorm_after", NULL, "attention.projection_layer", "attention.q_norm",
    "attention.k_norm", "lambda_1", "lambda_2", "layer_norm", "linear_1", "linear_2",
};
static const struct spelling published = {
    "embeddings.class_embedding", "embeddings.position_embedding", "embeddings.patch_embedding", "encoder.layers.%d.",
    "norm1", "norm2", "attn.qkv", "attn.proj", "attn.q_norm", "attn.k_norm", "ls1", "ls2", "0", "1", "3",
};

static bool is_chat(const struct model *m) { return !strcmp(m->type, "internvl_chat"); }

static const struct spelling *spelling(const struct loader *l) { return is_chat(l->m) ? &published : &nested; }

/* One number, also where the configuration gives it for both sides. */
static int square(struct hparams *h, const char *name, int def, int most)
{
    int both[2] = { def, def }, n = hparams_ints(h, name, both, 2, 1, most);
    if (n == 2 && both[0] != both[1])
        hparams_fail(h, name, "must be the same on both sides, not %d and %d", both[0], both[1]);
    return both[0];
}

struct vision { int layers; enum bias bias; bool qk_norm; enum norm_kind norm; };

/* A layer of the tower: what attention and MLP give is multiplied by a learned vector each before it is added. Queries
 * and keys are normed over all heads at once, where they are. */
static void layer_load(struct loader *l, struct internvl *v, int i, const struct vision *k, const char *root)
{
    struct layer *y = &v->layer[i];
    struct block *b = &y->block;
    const struct tower_sizes *s = &v->tower.size;
    const struct spelling *name = spelling(l);
    int n = s->width, dim = n / s->heads;
    char at[64];
    snprintf(at, sizeof at, name->layer, i);
    load_at(l, "%s%s", root, at);
    load_norm(l, &b->norm1, n, k->norm, s->eps, name->norm1);
    load_norm(l, &b->norm2, n, k->norm, s->eps, name->norm2);
    if (name->qkv)
        load_qkv(l, &b->qkv, n, PARTS({ name->qkv, 3 * n }), k->bias);
    else
        load_qkv(l, &b->qkv, n, PARTS({ "attention.q_proj", n }, { "attention.k_proj", n }, { "attention.v_proj", n }),
                 k->bias);
    load_linear(l, &b->o, n, n, WITH_BIAS, name->o);
    load_linear(l, &b->up, s->inner, n, WITH_BIAS, "mlp.fc1");
    load_linear(l, &b->down, n, s->inner, WITH_BIAS, "mlp.fc2");
    if (k->qk_norm) {
        load_norm(l, &y->q_norm, n, RMS_NORM, 1e-6, name->q_norm);
        load_norm(l, &y->k_norm, n, RMS_NORM, 1e-6, name->k_norm);
    }
    y->scale1 = load_table(l, load_floats(l, SHAPE(n), name->scale1), 1, n);
    y->scale2 = load_table(l, load_floats(l, SHAPE(n), name->scale2), 1, n);
    b->act = s->act;
    b->heads = (struct heads){ .n = s->heads, .n_kv = s->heads, .dim = dim, .scale = 1 / sqrtf((float)dim) };
}

/* The class token and its position are one row, as in struct tower. */
static void embeddings_load(struct loader *l, struct tower *t, const char *root)
{
    const struct spelling *name = spelling(l);
    int n = t->size.width;
    load_at(l, "%s", root);
    tower_patches_load(l, &t->embed, n, t->patch, WITH_BIAS, name->patches);
    const float *class = load_floats(l, SHAPE(1, 1, n), name->class_token),
        *table = load_floats(l, SHAPE(1, t->n_positions + 1, n), name->positions);
    float *row = load_scratch(l, (size_t)n);
    for (int i = 0; i < n && row && table && class; i++)
        row[i] = class[i] + table[i];
    if (!row || !table)
        return;
    t->class_row = load_table(l, row, 1, n);
    t->position = load_table(l, table + n, t->n_positions, n);
    load_skip(l, "embeddings.mask_token");
}

/* Reads the tower's sizes, and of how many patches along a side a token is made. -1: something is wrong or not
 * supported, and noted with its field. */
static int vision_sizes(struct loader *l, struct internvl *v, struct hparams *h, struct vision *k)
{
    static const struct tower_kind kinds[] = {
        { .width = 1024, .inner = 4096, .layers = 24, .heads = 16, .image = 448, .act = "gelu", .eps = 1e-6 },
        { .width = 3200, .inner = 12800, .layers = 48, .heads = 25, .image = 224, .act = "gelu", .eps = 1e-6 },
    };
    bool chat = is_chat(l->m);
    struct tower *t = &v->tower;
    tower_sizes_load(&t->size, h, &kinds[chat]);
    k->layers = (int)hparams_int(h, "num_hidden_layers", kinds[chat].layers, 1, TOWER_MAX_LAYERS);
    k->bias = hparams_bool(h, "attention_bias|qkv_bias", false) ? WITH_BIAS : NO_BIAS;
    k->qk_norm = hparams_bool(h, "use_qk_norm|qk_normalization", chat);
    const char *norm = hparams_string(h, "norm_type", chat ? "rms_norm" : "layer_norm");
    k->norm = strcmp(norm, "rms_norm") ? LAYER_NORM : RMS_NORM;
    if (strcmp(norm, "rms_norm") && strcmp(norm, "layer_norm"))
        hparams_fail(h, "norm_type", "\"%.40s\" is not supported (layer_norm, rms_norm)", norm);
    if (!hparams_bool(h, "use_absolute_position_embeddings", true))
        hparams_fail(h, "use_absolute_position_embeddings", "must be true");
    t->image = square(h, "image_size", kinds[chat].image, 4096);
    t->patch = square(h, "patch_size", 14, 128);
    t->side = t->image / t->patch;
    t->n_positions = t->side * t->side;
    pixel_channels(h, "num_channels");
    v->n_layers = k->layers;
    v->scale = (int)lrint(1 / hparams_number(&l->config, "downsample_ratio", 0.5, 0.05, 1));
    if (t->side < 1 || t->side % v->scale)
        hparams_fail(h, "image_size", "%d patches a side are no whole tokens of %d", t->side, v->scale);
    if (hparams_int(&l->config, "vision_feature_layer|select_layer", -1, -1024, 1024) != -1 ||
        strcmp(hparams_string(&l->config, "vision_feature_select_strategy", "default"), "default"))
        hparams_fail(&l->config, chat ? "select_layer" : "vision_feature_layer",
                     "must be -1, and the strategy \"default\"");
    v->each = v->scale > 0 ? t->side / v->scale * (t->side / v->scale) : 0;
    return load_end(l);
}

/* Tower and projector. With `mean` the tower ends without a norm, as in the configurations of published checkpoints.
 * */
static void image_load(struct loader *l, struct internvl *v, const struct vision *k, bool mean)
{
    static const char *const roots[] = { "vision_tower.", "model.vision_tower.", NULL };
    const struct spelling *name = spelling(l);
    const char *root = is_chat(l->m) ? "vision_model." : load_root(l, name->class_token, roots);
    int hidden = l->m->hidden, wide = v->tower.size.width * v->scale * v->scale;
    embeddings_load(l, &v->tower, root);
    v->layer = load_keep(l, (size_t)v->n_layers * sizeof *v->layer);
    for (int i = 0; i < v->n_layers && !l->failed; i++)
        layer_load(l, v, i, k, root);
    load_at(l, "%s", root);
    if (!mean)
        load_norm(l, &v->post, v->tower.size.width, LAYER_NORM, v->tower.size.eps, "layernorm");
    load_at(l, "%s", is_chat(l->m) ? "mlp1." : load_root(l, "linear_1.weight", load_projector_roots));
    load_norm(l, &v->norm, wide, LAYER_NORM, 1e-5, name->norm);
    load_linear(l, &v->in, hidden, wide, WITH_BIAS, name->in);
    load_linear(l, &v->out, hidden, hidden, WITH_BIAS, name->out);
    v->act = load_act(&l->config, "projector_hidden_act", "gelu");
}

/* A tile is the tower's square. By default a picture is cut into up to `most` of them, or at least into `least`. */
static void processor_load(struct loader *l, struct internvl *v)
{
    struct hparams *h = &l->image, size = hparams_object(h, "size");
    int side = (int)hparams_int(&size, "height", v->tower.image, 1, 1 << 14);
    if (side != v->tower.image || hparams_int(&size, "width", side, 1, 1 << 14) != side)
        hparams_fail(h, "size", "must be that of the tower's tiles, %d", v->tower.image);
    pixel_resized(h);
    v->split = hparams_bool(h, "crop_to_patches", true);
    v->small = true;
    v->least = (int)hparams_int(h, "min_patches", 1, 1, MAX_TILES);
    v->most = (int)hparams_int(h, "max_patches", 12, v->least, MAX_TILES);
    pixel_norm_load(l, &v->tower.pixels, pixel_clip_mean, pixel_clip_std);
    v->resizer = RESIZER_TORCHVISION;
}

/* The other form: the configuration has what the published code hands its dynamic_preprocess(), whose resizes are
 * Pillow's bicubic ones. What preprocessor_config.json says of sizes there is read by nobody. */
static void chat_processor_load(struct loader *l, struct internvl *v)
{
    static const double mean[3] = { 0.485, 0.456, 0.406 }, std[3] = { 0.229, 0.224, 0.225 };
    struct hparams *h = &l->config;
    const char *version = hparams_string(h, "ps_version", "v1");
    if (hparams_int(h, "force_image_size", v->tower.image, 1, 1 << 14) != v->tower.image)
        hparams_fail(h, "force_image_size", "must be that of the tower's tiles, %d", v->tower.image);
    if (strcmp(version, "v2"))
        hparams_fail(h, "ps_version", "\"%.40s\" is not supported (v2)", version);
    if (hparams_bool(h, "pad2square", false))
        hparams_fail(h, "pad2square", "must be false");
    v->split = hparams_bool(h, "dynamic_image_size", false);
    v->small = hparams_bool(h, "use_thumbnail", false);
    v->least = (int)hparams_int(h, "min_dynamic_patch", 1, 1, MAX_TILES);
    v->most = (int)hparams_int(h, "max_dynamic_patch", 6, v->least, MAX_TILES);
    pixel_norm_load(l, &v->tower.pixels, mean, std);
    v->tower.pixels.filter = FILTER_BICUBIC;
    v->resizer = RESIZER_PIL;
}

/* The published code asks the tokenizer for the places of images, and ends an answer at the mark behind every turn,
 * whatever the configuration says. */
static int tokens_load(struct model *m, struct loader *l)
{
    int ids[2];
    if (load_tokens(l, (const char *const[]){ "<IMG_CONTEXT>", "<|im_end|>" }, 2, ids) != 0)
        return -1;
    m->image_token = ids[0];
    m->eos[m->n_eos++] = ids[1];
    return 0;
}

/* The text may be of any class that texts.c knows; published ones have Qwen2 or Qwen3. */
static int internvl_load(struct model *m, struct loader *l)
{
    struct internvl *v = m->impl = xcalloc(1, sizeof *v);
    bool chat = is_chat(m);
    struct hparams text = hparams_object(&l->config, chat ? "llm_config" : "text_config"),
        vision = hparams_object(&l->config, "vision_config");
    struct vision k;
    texts_load(l, &v->text, &text, "qwen2", texts_find(l, texts_beside_images));
    if (load_end(l) != 0 || vision_sizes(l, v, &vision, &k) != 0)
        return -1;
    if (!chat)
        m->image_token = (int)hparams_int(&l->config, "image_token_id", 151667, 0, m->vocab - 1);
    m->image_row_width = m->hidden;
    m->image_align = v->tower.image;
    if (chat)
        chat_processor_load(l, v);
    else
        processor_load(l, v);
    if (load_end(l) != 0 || (chat && tokens_load(m, l) != 0))
        return -1;
    image_load(l, v, &k, hparams_bool(&vision, "use_mean_pooling", true));
    return load_end(l);
}

/* ---- sizes ---- */

struct grid { int w, h; };

/* Of all grids of least .. most tiles, the one whose shape is nearest to the picture's. Grids come by their number of
 * tiles and then by their width; of two that are as near, the later one is taken if the picture has more than half of
 * its pixels. */
static struct grid grid_of(const struct internvl *v, int width, int height, int most)
{
    double ratio = (double)width / height, best = INFINITY, area = (double)width * height;
    struct grid out = { 1, 1 };
    for (int n = v->least < most ? v->least : most; n <= most; n++)
        for (int w = 1; w <= n; w++) {
            if (n % w)
                continue;
            struct grid g = { w, n / w };
            double d = fabs(ratio - (double)g.w / g.h);
            if (d < best || (d == best && area > 0.5 * v->tower.image * v->tower.image * n))
                out = g;
            best = d < best ? d : best;
        }
    return out;
}

/* The picture stretched over a grid of tiles and, where that has more than one, once more as a whole, behind the
 * tiles. Each tile takes as many tokens. */
static struct image_plan plan_of(const struct internvl *v, struct grid g)
{
    int side = v->tower.image, tiles = g.w * g.h;
    bool small = tiles > 1 && v->small;
    struct image_plan p = { .filter = v->tower.pixels.filter, .resizer = v->resizer };
    plan_view(&p, (struct image_view){ .from = IMAGE_SOURCE, .to_w = g.w * side, .to_h = g.h * side,
                                       .width = g.w * side, .height = g.h * side });
    if (small)
        plan_view(&p, (struct image_view){ .from = IMAGE_SOURCE, .to_w = side, .to_h = side, .width = side,
                                           .height = side });
    p.grid_h = tiles + small;
    p.grid_w = v->each;
    p.n_tokens = p.grid_h * p.grid_w;
    return p;
}

/* Limits of tokens and pixels are kept by fewer tiles, of which one stays. */
static int most_tiles(const struct internvl *v, const struct image_options *opt)
{
    int n = v->split ? v->most : 1, area = v->tower.image * v->tower.image;
    while (opt && n > 1 && ((opt->max_tokens > 0 && (n + v->small) * v->each > opt->max_tokens) ||
                            (opt->max_pixels > 0 && (int64_t)n * area > opt->max_pixels)))
        n--;
    return n;
}

static int internvl_plan(const struct model *m, int width, int height, const struct image_options *opt,
                         struct image_plan *out, struct err *e)
{
    const struct internvl *v = m->impl;
    if (width < 1 || height < 1)
        return err_set(e, "an image of %d x %d has no pixels", width, height);
    *out = plan_of(v, grid_of(v, width, height, most_tiles(v, opt)));
    return 0;
}

static void internvl_largest(const struct model *m, const struct image_options *opt, int64_t pixels,
                             struct image_plan *out)
{
    const struct internvl *v = m->impl;
    (void)pixels;
    *out = plan_of(v, (struct grid){ most_tiles(v, opt), 1 });
}

static void internvl_text(const struct model *m, const struct image_plan *p, const char *mark, const char *place,
                          bool joined, struct buf *out)
{
    (void)m, (void)p, (void)mark, (void)joined;
    buf_printf(out, "<img>%s</img>", place);
}

/* ---- pictures ---- */

/* Attention within each tile; rows first[i] to first[i + 1] are those of tile i. */
static void attend(struct run *r, struct stream *s, const struct layer *y, const int *first)
{
    const struct block *b = &y->block;
    int n = b->heads.n * b->heads.dim;
    NN_SCRATCH(r) {
        struct tensor h = nn_linear(r, stream_norm(r, s, &b->norm1), &b->qkv, (struct epilogue){ 0 });
        if (y->q_norm.w.cols) {
            nn_norm(r, nn_cols(h, 0, n), nn_cols(h, 0, n), &y->q_norm);
            nn_norm(r, nn_cols(h, n, n), nn_cols(h, n, n), &y->k_norm);
        }
        h = nn_attend_ragged(r, h, &b->heads, NULL, 1, first);
        nn_linear_to(r, s->x, h, &b->o, (struct epilogue){ .mul = y->scale1, .add = s->x });
        s->normed = NULL;
    }
}

/* The MLP of a layer, scaled as its attention is. */
static void feed(struct run *r, struct stream *s, const struct layer *y)
{
    const struct block *b = &y->block;
    NN_SCRATCH(r) {
        struct tensor h = nn_linear(r, stream_norm(r, s, &b->norm2), &b->up, (struct epilogue){ .act = b->act });
        nn_linear_to(r, s->x, h, &b->down, (struct epilogue){ .mul = y->scale2, .add = s->x });
        s->normed = NULL;
    }
}

/* Patches in blocks of scale x scale side by side, row by row. */
static struct tensor shuffle(struct run *r, struct tensor x, const struct internvl *v)
{
    int side = v->tower.side, n = side * side, across = side / v->scale, area = v->scale * v->scale;
    int *idx = nn_host(r, n);
    for (int i = 0; i < n; i++) {
        int block = i / area, in = i % area;
        idx[i] = (block / across * v->scale + in / v->scale) * side + block % across * v->scale + in % v->scale;
    }
    return nn_reshape(nn_gather(r, x, n, 1, nn_ints(r, idx, n), NULL), v->each, area * x.cols);
}

/* The tokens of one tile, whose class token and patches x holds. */
static void encode_tile(struct run *r, const struct internvl *v, struct tensor x, const struct encode *in, int tile)
{
    NN_SCRATCH(r) {
        const int *all = nn_ints(r, (const int[2]){ 0, x.rows }, 2);
        struct stream s = stream_of(r, x);
        for (int i = 0; i < v->n_layers; i++) {
            attend(r, &s, &v->layer[i], all);
            feed(r, &s, &v->layer[i]);
        }
        if (v->post.w.cols)
            nn_norm(r, x, x, &v->post);
        struct tensor t = shuffle(r, nn_rows(x, 1, x.rows - 1), v);
        nn_norm(r, t, t, &v->norm);
        t = nn_linear(r, t, &v->in, (struct epilogue){ .act = v->act });
        t = nn_linear(r, t, &v->out, (struct epilogue){ 0 });
        nn_scatter(r, in->pool, t, in->rows + tile * v->each, false);
    }
}

/* A row of tiles of the canvas at a time, and at the end the small picture of all. */
static void internvl_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct internvl *v = m->impl;
    int side = v->tower.image, rows = v->tower.n_positions + 1, tile = 0;
    int across = in->plan.width / side, down = in->plan.height / side;
    const uint8_t *rgb = in->rgb;
    for (int y = 0; y < down + (in->plan.n_views > 1); y++) {
        int tiles = y < down ? across : 1;
        NN_SCRATCH(r) {
            struct tensor x = nn_new(r, tiles * rows, v->tower.size.width);
            tower_embed_tiles(r, &v->tower, x, rgb, side, side, tiles, v->tower.position);
            for (int i = 0; i < tiles; i++)
                encode_tile(r, v, nn_rows(x, i * rows, rows), in, tile++);
        }
        rgb += (size_t)tiles * (size_t)side * (size_t)side * 3;
    }
}

static void internvl_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out,
                            int shape[4])
{
    const struct internvl *v = m->impl;
    tower_tile_values(&v->tower, p, rgb, v->tower.image, out, shape);
}

const struct family family_internvl = {
    .types = { "internvl", "internvl_chat" },
    .load = internvl_load,
    .plan_image = internvl_plan,
    .largest_image = internvl_largest,
    .image_text = internvl_text,
    .encode_image = internvl_encode,
    .pixel_values = internvl_values,
    .forward = decoder_pass,
};
