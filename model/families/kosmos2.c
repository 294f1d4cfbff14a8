/* model/families/kosmos2.c - Kosmos-2: text about an image, with the places of what it names.
 * Peng and others, 2023 (arXiv:2306.14824).
 *
 *     CLIP's tower -> norm -> unit length -> linear -> keys and values, together with learned queries
 *     the queries attend to all of these -> image tokens, in the places of the slots behind <image>
 *     embeddings times sqrt(hidden) + sines of the position -> layers with a norm before and one within each half
 *     -> norm -> the embedding again, as head */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/heads.h"
#include "model/square.h"
#include "model/tower.h"

enum { MAX_LAYERS = 1024, MAX_QUERIES = 4096, MAX_CONTEXT = 1 << 14 };

struct layer {
    struct block block;              /* without rope; what attention and the MLP have made is normed ...  */
    struct norm  attended, inner;    /* ... before `o`, before `down`                                     */
};

struct kosmos2 {
    struct tower  tower;
    struct square square;
    struct norm   unit;              /* gives a row the length 1                               */
    struct weight dense;             /* (hidden, the tower's width)                            */
    struct weight qkv, o;            /* of the resampler                                       */
    struct tensor queries;           /* (n_queries, hidden)                                    */
    int           n_queries;
    struct heads  heads;             /* of text layers and resampler                           */
    struct weight embed, head;
    struct weight scale;             /* (hidden, 1): what every column of an embedding is multiplied with */
    struct tensor positions;         /* (context + 1, hidden): the last row, of padding, is zero */
    int32_t       pad;               /* the token that stands nowhere                          */
    struct layer *layer;             /* (n_layers), the model's memory                         */
    int           n_layers, inner;
    enum act      act;
    double        eps;
    struct norm   norm;
};

/* Sines and cosines of position times frequency; the frequencies fall from 1 to 1/10000. Positions are counted from
 * `first` on, and one row of zeros follows. Rounded in float32 as the reference does it: Vaswani and others, 2017
 * (arXiv:1706.03762). */
static struct tensor sines(struct loader *l, int rows, int cols, int first)
{
    int half = cols / 2;
    float *table = load_scratch(l, (size_t)(rows + 1) * (size_t)cols), step = (float)(log(10000) / (half - 1));
    for (int i = 0; i < cols && table; i++)
        table[(size_t)rows * (size_t)cols + (size_t)i] = 0;
    for (int r = 0; r < rows && table; r++)
        for (int i = 0; i < half; i++) {
            float angle = (float)(first + r) * expf((float)i * -step);
            table[(size_t)r * (size_t)cols + (size_t)i] = sinf(angle);
            table[(size_t)r * (size_t)cols + (size_t)(half + i)] = cosf(angle);
        }
    return load_table(l, table, rows + 1, cols);
}

/* A norm of rows of n that makes their length 1: the mean of squares is the squared length divided by n. */
static void unit_load(struct loader *l, struct norm *out, int n)
{
    float *w = load_scratch(l, (size_t)n);
    for (int i = 0; i < n && w; i++)
        w[i] = 1 / sqrtf((float)n);
    *out = (struct norm){ .w = load_table(l, w, 1, n), .eps = 1e-24f / (float)n };
}

/* Sizes of the text. -1: an error is noted. */
static int text_sizes(struct model *m, struct kosmos2 *k, struct hparams *t)
{
    m->vocab = (int)hparams_int(t, "vocab_size", 65037, 1, 1 << 24);
    m->hidden = (int)hparams_int(t, "embed_dim|hidden_size", 2048, 4, 1 << 16);
    m->context = (int)hparams_int(t, "max_position_embeddings", 2048, 1, MAX_CONTEXT);
    k->n_layers = (int)hparams_int(t, "layers|num_hidden_layers", 24, 1, MAX_LAYERS);
    k->inner = (int)hparams_int(t, "ffn_dim", 8192, 1, 1 << 20);
    k->eps = hparams_number(t, "layer_norm_eps", 1e-5, 0, 1);
    k->act = load_act(t, "activation_function", "gelu");
    int n = (int)hparams_int(t, "attention_heads|num_attention_heads", 32, 1, 1024), dim = m->hidden / n;
    heads_check(t, "attention_heads", dim);
    if (m->hidden % n || m->hidden % 2)
        hparams_fail(t, "attention_heads", "%d heads do not divide %d, or that is odd", n, m->hidden);
    if (hparams_bool(t, "add_cross_attention", false))
        hparams_fail(t, "add_cross_attention", "is not supported");
    k->heads = (struct heads){ .n = n, .n_kv = n, .dim = dim, .scale = 1 / sqrtf((float)dim) };
    m->text_kv = (struct kv_shape){ .layers = k->n_layers, .n_kv = n, .dim = dim };
    return hparams_end(t);
}

static void attention_load(struct loader *l, struct weight *qkv, struct weight *o, int n, const char *name)
{
    char q[64], key[64], v[64], out[64];
    snprintf(q, sizeof q, "%s.q_proj", name);
    snprintf(key, sizeof key, "%s.k_proj", name);
    snprintf(v, sizeof v, "%s.v_proj", name);
    snprintf(out, sizeof out, "%s.out_proj", name);
    load_qkv(l, qkv, n, PARTS({ q, n }, { key, n }, { v, n }), WITH_BIAS);
    load_linear(l, o, n, n, WITH_BIAS, out);
}

static void layer_load(struct loader *l, struct kosmos2 *k, int i)
{
    struct layer *y = &k->layer[i];
    struct block *b = &y->block;
    int n = l->m->hidden;
    load_at(l, "text_model.model.layers.%d.", i);
    attention_load(l, &b->qkv, &b->o, n, "self_attn");
    load_norm(l, &b->norm1, n, LAYER_NORM, k->eps, "self_attn_layer_norm");
    load_norm(l, &b->norm2, n, LAYER_NORM, k->eps, "final_layer_norm");
    load_norm(l, &y->attended, n, LAYER_NORM, k->eps, "self_attn.inner_attn_ln");
    load_norm(l, &y->inner, k->inner, LAYER_NORM, k->eps, "ffn.ffn_layernorm");
    load_linear(l, &b->up, k->inner, n, WITH_BIAS, "ffn.fc1");
    load_linear(l, &b->down, n, k->inner, WITH_BIAS, "ffn.fc2");
}

/* Embeddings are multiplied by the square root of their width, which is kept as a weight of its own because the head,
 * often the same matrix, is not. A file may have the head in the place of the embedding. */
static void text_load(struct loader *l, struct kosmos2 *k, struct hparams *t)
{
    struct model *m = l->m;
    float scale = hparams_bool(t, "scale_embedding", true) ? sqrtf((float)m->hidden) : 1;
    float *scales = load_scratch(l, (size_t)m->hidden);
    for (int i = 0; i < m->hidden && scales; i++)
        scales[i] = scale;
    load_packed(l, &k->scale, LAYOUT_DEPTHWISE, m->hidden, 1, scales, NULL);
    load_at(l, "text_model.model.");
    bool head_alone = !load_has(l, "embed_tokens.weight") && load_has(l, "/text_model.lm_head.weight");
    load_embedding(l, &k->embed, m->vocab, m->hidden, head_alone ? "/text_model.lm_head" : "embed_tokens");
    load_norm(l, &k->norm, m->hidden, LAYER_NORM, k->eps, "layer_norm");
    load_skip(l, "embed_positions.");
    if (head_alone || load_is_copy(l, "/text_model.lm_head.weight", "embed_tokens.weight"))
        k->head = k->embed;
    else
        load_embedding(l, &k->head, m->vocab, m->hidden, "/text_model.lm_head");
    k->pad = (int32_t)hparams_int(t, "pad_token_id", 1, 0, m->vocab - 1);
    k->positions = sines(l, m->context, m->hidden, 1 + k->pad);
    k->layer = load_keep(l, (size_t)k->n_layers * sizeof *k->layer);
    for (int i = 0; i < k->n_layers && !l->failed; i++)
        layer_load(l, k, i);
}

/* Tower and resampler. */
static void image_load(struct loader *l, struct kosmos2 *k)
{
    struct hparams vision = hparams_object(&l->config, "vision_config");
    struct tower *t = &k->tower;
    int n = l->m->hidden;
    tower_load(l, t, &vision, "vision_model.model.", &(struct tower_kind){
        .class_token = true, .pre_norm = true, .width = 1024, .inner = 4096, .layers = 24, .heads = 16, .image = 224,
        .patch = 14, .act = "quick_gelu", .eps = 1e-5 });
    if (load_end(l) != 0)
        return;
    k->n_queries = (int)hparams_int(&l->config, "latent_query_num", 64, 1, MAX_QUERIES);
    load_at(l, "image_to_text_projection.");
    load_linear(l, &k->dense, n, t->size.width, WITH_BIAS, "dense");
    attention_load(l, &k->qkv, &k->o, n, "x_attn");
    k->queries = load_table(l, load_floats(l, SHAPE(k->n_queries, n), "latent_query"), k->n_queries, n);
    unit_load(l, &k->unit, t->size.width);
    pixel_norm_load(l, &t->pixels, pixel_clip_mean, pixel_clip_std);
    square_load(l, &k->square, t->image, &(struct square_default){ .shortest = 224, .crop = 224,
                                                                  .filter = FILTER_BICUBIC });
    k->square.grid_w = k->square.n_tokens = k->n_queries;
    k->square.pixels = &t->pixels;
}

/* The published processor says `use_square_size`, and its class then takes its own size of 224 for both sides. */
static void square_size(struct hparams *processor)
{
    if (hparams_bool(processor, "use_square_size", false))
        json_object_set_new(processor->object, "size", json_pack("{s:i, s:i}", "height", 224, "width", 224));
}

/* An image takes as many places as there are queries. In the prompt they are the ids behind <unk>, one after the
 * other, as the processor writes them; so the vocabulary must have that many. */
static int kosmos2_load(struct model *m, struct loader *l)
{
    struct kosmos2 *k = m->impl = xcalloc(1, sizeof *k);
    struct hparams text = hparams_object(&l->config, "text_config");
    if (text_sizes(m, k, &text) != 0)
        return -1;
    square_size(&l->image);
    text_load(l, k, &text);
    if (load_end(l) != 0)
        return -1;
    m->image_row_width = m->hidden;
    image_load(l, k);
    for (int i = 0; i < k->n_layers; i++) {
        struct block *b = &k->layer[i].block;
        b->act = k->act;
        b->heads = k->heads;
        b->next = i + 1 < k->n_layers ? &k->layer[i + 1].block.norm1 : NULL;
    }
    int ids[2];
    if (load_end(l) != 0 || load_tokens(l, (const char *const[]){ "<image>", "<unk>" }, 2, ids) != 0)
        return -1;
    m->image_token = ids[0];
    m->first_slot = ids[1] + 1;
    m->n_slots = k->n_queries;
    if (m->first_slot + m->n_slots > m->vocab)
        return load_fail(l, "%s/config.json: latent_query_num: %d slots do not fit into a vocabulary of %d", l->dir,
                         m->n_slots, m->vocab);
    return 0;
}

/* The image's states and the queries go through the attention together, which is what the keys and values are; of what
 * comes out, the queries' rows alone count. */
static void kosmos2_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct kosmos2 *k = m->impl;
    const struct tower *t = &k->tower;
    int states = tower_rows(t, in->plan.height, in->plan.width), rows = states + k->n_queries;
    const int *all = nn_ints(r, (const int[2]){ 0, rows }, 2);
    struct tensor x = tower_states(r, t, in->rgb, 1, in->plan.height, in->plan.width, t->n_layers);
    nn_norm(r, x, x, &t->post);
    nn_norm(r, x, x, &k->unit);
    struct tensor y = nn_new(r, rows, m->hidden);
    nn_linear_to(r, nn_rows(y, 0, states), x, &k->dense, (struct epilogue){ 0 });
    r->ops->copy(r->dev, nn_rows(y, states, k->n_queries), k->queries);
    y = nn_attend_ragged(r, nn_linear(r, y, &k->qkv, (struct epilogue){ 0 }), &k->heads, NULL, 1, all);
    y = nn_linear(r, nn_rows(y, states, k->n_queries), &k->o, (struct epilogue){ 0 });
    nn_scatter(r, in->pool, y, in->rows, false);
}

/* The first half of a layer: x += o(norm(attend(qkv(norm1(x))))) */
static void attend(struct run *r, struct stream *s, const struct layer *y, int i, const struct batch *batch)
{
    const struct block *b = &y->block;
    NN_SCRATCH(r) {
        struct tensor h = nn_linear(r, stream_norm(r, s, &b->norm1), &b->qkv, (struct epilogue){ 0 });
        h = nn_attend(r, h, i, &b->heads, batch);
        nn_norm(r, h, h, &y->attended);
        stream_add(r, s, h, &b->o, &b->post1, &b->norm2);
    }
}

/* The second half: x += down(norm(act(up(norm2(x))))) */
static void feed(struct run *r, struct stream *s, const struct layer *y)
{
    const struct block *b = &y->block;
    NN_SCRATCH(r) {
        struct tensor h = nn_linear(r, stream_norm(r, s, &b->norm2), &b->up, (struct epilogue){ .act = b->act });
        nn_norm(r, h, h, &y->inner);
        stream_add(r, s, h, &b->down, &b->post2, b->next);
    }
}

/* Padding stands nowhere, and what follows it in the prompt is counted as if it were not there. An answer goes on from
 * the number of all tokens, as the reference counts once it has a cache. */
static int kosmos2_positions(const struct model *m, const int32_t *ids, int n, const struct image_plan *images,
                             int n_images, int32_t *pos)
{
    const struct kosmos2 *k = m->impl;
    (void)images, (void)n_images;
    for (int i = 0, next = 0; i < n; i++)
        pos[i] = pos[n + i] = pos[2 * n + i] = ids[i] == k->pad ? m->context : next++;
    return n;
}

/* Images are scaled like embeddings, so both are in their rows before. */
static struct tensor kosmos2_forward(const struct model *m, struct run *r, const struct forward *in)
{
    const struct kosmos2 *k = m->impl;
    struct tensor x = block_embed(r, &k->embed, in);
    x = nn_dwconv(r, x, &k->scale, (struct conv){ x.rows, 1, 1, 1, 0, ACT_NONE });
    NN_SCRATCH(r)
        nn_add(r, x, x, nn_gather(r, k->positions, x.rows, 1, in->batch.pos, NULL));
    struct stream s = stream_of(r, x);
    for (int i = 0; i < k->n_layers; i++) {
        attend(r, &s, &k->layer[i], i, &in->batch);
        feed(r, &s, &k->layer[i]);
    }
    return block_logits(r, s.x, &k->norm, &k->head, in);
}

const struct family family_kosmos2 = {
    .types = { "kosmos-2" },
    .load = kosmos2_load,
    .plan_image = square_plan_image,
    .largest_image = square_largest_image,
    .positions = kosmos2_positions,
    .encode_image = kosmos2_encode,
    .pixel_values = square_values,
    .forward = kosmos2_forward,
};
