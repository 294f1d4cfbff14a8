/* model/families/llava.c - LLaVA 1.5 and its kin: a picture of one size, seen by CLIP or SigLIP, in the text of another
 * model. Liu and others, 2023 (arXiv:2310.03744).
 *
 *     the tower up to the layer that the configuration names, without its class token
 *     -> linear, GELU, linear -> image tokens
 *     the decoder of the text model */
#include <string.h>

#include "base/mem.h"
#include "model/square.h"
#include "model/texts.h"
#include "model/tower.h"

struct llava {
    struct decoder text;
    struct tower   tower;
    struct square  square;
    struct weight  in, out;          /* of the projector; `in` has the activation behind it */
    enum act       act;
    bool           class_token;      /* the tower has one, ...                              */
    bool           full;             /* ... and it is an image token, too                   */
};

/* The tower's class by its model_type: CLIP's or SigLIP's. */
static struct tower_kind tower_kind(struct hparams *vision)
{
    static const struct tower_kind clip = {
        .class_token = true, .pre_norm = true, .width = 1024, .inner = 4096, .layers = 24, .heads = 16, .image = 336,
        .patch = 14, .act = "quick_gelu", .eps = 1e-5 };
    static const struct tower_kind siglip = {
        .patch_bias = WITH_BIAS, .width = 768, .inner = 3072, .layers = 12, .heads = 12, .image = 224, .patch = 16,
        .act = "gelu_pytorch_tanh", .eps = 1e-6 };
    const char *type = hparams_string(vision, "model_type", "clip_vision_model");
    if (strcmp(type, "clip_vision_model") && strcmp(type, "siglip_vision_model"))
        hparams_fail(vision, "model_type", "\"%.40s\" is not supported (clip_vision_model, siglip_vision_model)", type);
    return strcmp(type, "siglip_vision_model") ? clip : siglip;
}

/* vision_feature_layer counts states: 0 is what the first layer reads, -1 what the last one gives. The layers behind it
 * are not run, nor is the norm at the end. */
static void tower_part(struct loader *l, struct hparams *vision, struct tower_kind *kind)
{
    int layers = (int)hparams_int(vision, "num_hidden_layers", kind->layers, 1, TOWER_MAX_LAYERS), at[2] = { -2, 0 };
    int n = hparams_ints(&l->config, "vision_feature_layer", at, 2, -layers, layers);
    if (n != 1 && hparams_has(&l->config, "vision_feature_layer"))
        hparams_fail(&l->config, "vision_feature_layer", "must be one layer");
    kind->unused_layers = at[0] < 0 ? -1 - at[0] : layers - at[0];
    kind->no_post = true;
    if (kind->unused_layers >= layers)
        hparams_fail(&l->config, "vision_feature_layer", "names what no layer has changed");
}

/* Tower and projector, and how a picture becomes tokens: one for each patch, and with the strategy "full" one for the
 * class token, too, which then are no grid any more. */
static void image_load(struct loader *l, struct llava *v)
{
    struct hparams vision = hparams_object(&l->config, "vision_config");
    struct tower_kind kind = tower_kind(&vision);
    int hidden = l->m->hidden;
    v->class_token = kind.class_token;
    tower_part(l, &vision, &kind);
    const char *select = hparams_string(&l->config, "vision_feature_select_strategy", "default");
    v->full = !strcmp(select, "full");
    if (!v->full && (strcmp(select, "default") || !kind.class_token))
        hparams_fail(&l->config, "vision_feature_select_strategy", "\"%.40s\" is not supported for this tower", select);
    v->act = load_act(&l->config, "projector_hidden_act", "gelu");
    enum bias bias = hparams_bool(&l->config, "multimodal_projector_bias", true) ? WITH_BIAS : NO_BIAS;
    tower_load(l, &v->tower, &vision, load_root(l, TOWER_PROBE, load_tower_roots), &kind);
    if (load_end(l) != 0)
        return;
    load_at(l, "%s", load_root(l, "linear_1.weight", load_projector_roots));
    load_linear(l, &v->in, hidden, v->tower.size.width, bias, "linear_1");
    load_linear(l, &v->out, hidden, hidden, bias, "linear_2");
    pixel_norm_load(l, &v->tower.pixels, kind.class_token ? pixel_clip_mean : pixel_half,
                    kind.class_token ? pixel_clip_std : pixel_half);
    struct square_default size = { .shortest = 224, .crop = 224, .filter = FILTER_BICUBIC };
    if (!kind.class_token)
        size = (struct square_default){ .size = v->tower.image, .filter = FILTER_BICUBIC };
    square_load(l, &v->square, v->tower.image, &size);
    struct square *s = &v->square;
    int side = v->tower.side;
    s->n_tokens = side * side + (v->full && v->class_token);
    s->grid_h = s->n_tokens > side * side ? 1 : side;
    s->grid_w = s->n_tokens / s->grid_h;
    s->pixels = &v->tower.pixels;
}

/* Pixtral's checkpoints have the same model_type, and another tower. */
extern const struct family family_pixtral;

static int llava_load(struct model *m, struct loader *l)
{
    struct hparams vision = hparams_object(&l->config, "vision_config");
    if (!strcmp(hparams_string(&vision, "model_type", ""), "pixtral")) {
        m->family = &family_pixtral;
        return m->family->load(m, l);
    }
    struct llava *v = m->impl = xcalloc(1, sizeof *v);
    struct hparams text = hparams_object(&l->config, "text_config");
    texts_load(l, &v->text, &text, "llama", texts_find(l, texts_beside_images));
    if (load_end(l) != 0)
        return -1;
    m->image_token = (int)hparams_int(&l->config, "image_token_index|image_token_id", 32000, 0, m->vocab - 1);
    m->image_row_width = m->hidden;
    image_load(l, v);
    return load_end(l);
}

/* The states of the patches become tokens through two layers; the class token's stays behind unless it was asked for.
 * */
static void llava_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct llava *v = m->impl;
    const struct tower *t = &v->tower;
    struct tensor x = tower_states(r, t, in->rgb, 1, in->plan.height, in->plan.width, t->n_layers);
    x = nn_rows(x, v->class_token && !v->full, in->plan.n_tokens);
    x = nn_linear(r, x, &v->in, (struct epilogue){ .act = v->act });
    nn_scatter(r, in->pool, nn_linear(r, x, &v->out, (struct epilogue){ 0 }), in->rows, false);
}

const struct family family_llava = {
    .types = { "llava" },
    .load = llava_load,
    .plan_image = square_plan_image,
    .largest_image = square_largest_image,
    .encode_image = llava_encode,
    .pixel_values = square_values,
    .forward = decoder_pass,
};
