/* model/families/deepseek_vl.c - DeepSeek-VL with one tower (1.3B): a picture on a square of one colour, seen by
 * SigLIP, in the text of Llama. Lu and others, 2024 (arXiv:2403.05525).
 *
 *     all of the tower and its last norm, each patch a token
 *     -> linear, GELU, linear -> image tokens
 *     the decoder of the text model */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/square.h"
#include "model/texts.h"
#include "model/tower.h"

struct deepseek_vl {
    struct decoder text;
    struct tower   tower;
    struct square  square;
    int            least;            /* pixels that the shorter side has at least          */
    uint8_t        fill[3];          /* the colour around the picture                      */
    struct weight  in, out;          /* of the aligner; `in` has the activation behind it  */
};

/* How a picture becomes the tower's square: resized by its longer side, on a background of the mean colour. `min_size`
 * is the least that the shorter side becomes. */
static void processor_load(struct loader *l, struct deepseek_vl *v)
{
    struct hparams *h = &l->image;
    struct square *s = &v->square;
    pixel_norm_load(l, &v->tower.pixels, pixel_clip_mean, pixel_clip_std);
    pixel_background(h, v->fill);
    square_load(l, s, v->tower.image, &(struct square_default){ .size = 384, .filter = FILTER_BICUBIC });
    if (!hparams_bool(h, "do_pad", true))
        hparams_fail(h, "do_pad", "must be true: this model takes pictures of one size");
    v->least = (int)hparams_int(h, "min_size", 14, 1, v->tower.image);
    s->grid_h = s->grid_w = v->tower.side;
    s->n_tokens = v->tower.n_positions;
    s->pixels = &v->tower.pixels;
}

/* Tower and aligner, wherever the writer has put them, and the processor's settings. The tower's own head pools its
 * states, which nobody asks for here, so it is left alone. */
static void image_load(struct loader *l, struct deepseek_vl *v)
{
    static const char *const roots[] = { "model.vision_model.", "model.vision_model.vision_model.", "vision_model.",
                                         "vision_model.vision_model.", NULL };
    static const char *const aligners[] = { "model.aligner.", "aligner.", NULL };
    static const struct tower_kind siglip = {
        .patch_bias = WITH_BIAS, .width = 768, .inner = 3072, .layers = 12, .heads = 12, .image = 224, .patch = 16,
        .act = "gelu_pytorch_tanh", .eps = 1e-6 };
    struct hparams vision = hparams_object(&l->config, "vision_config");
    int hidden = l->m->hidden;
    const char *type = hparams_string(&vision, "model_type", "siglip_vision_model");
    if (strcmp(type, "siglip_vision_model"))
        hparams_fail(&vision, "model_type", "\"%.40s\" is not supported (siglip_vision_model)", type);
    tower_load(l, &v->tower, &vision, load_root(l, TOWER_PROBE, roots), &siglip);
    load_skip(l, "head.");                               /* pools, which nobody asks for here */
    if (load_end(l) != 0)
        return;
    load_at(l, "%s", load_root(l, "linear1.weight", aligners));
    load_linear(l, &v->in, hidden, v->tower.size.width, WITH_BIAS, "linear1");
    load_linear(l, &v->out, hidden, hidden, WITH_BIAS, "linear2");
    processor_load(l, v);
}

/* The text is Llama's; an image has one token for each patch of the tower. */
static int deepseek_vl_load(struct model *m, struct loader *l)
{
    struct deepseek_vl *v = m->impl = xcalloc(1, sizeof *v);
    struct hparams text = hparams_object(&l->config, "text_config");
    texts_load(l, &v->text, &text, "llama", texts_find(l, texts_beside_images));
    if (load_end(l) != 0)
        return -1;
    m->image_token = (int)hparams_int(&l->config, "image_token_id", 100015, 0, m->vocab - 1);
    m->image_row_width = m->hidden;
    image_load(l, v);
    return load_end(l);
}

/* The longer side fills the square; the other one keeps the ratio, rounded as Python does it, and has the rest of the
 * square on both sides, an odd row or column behind it. */
static int deepseek_vl_plan(const struct model *m, int width, int height, const struct image_options *opt,
                            struct image_plan *out, struct err *e)
{
    const struct deepseek_vl *v = m->impl;
    int side = v->tower.image;
    double scale = (double)side / fmax(width, height);
    if (square_plan_image(m, width, height, opt, out, e) != 0)
        return -1;
    int w = (int)fmax(rint(width * scale), v->least), h = (int)fmax(rint(height * scale), v->least);
    struct image_view view = { .from = IMAGE_SOURCE, .to_w = w, .to_h = h, .left = (side - w) / 2,
                               .top = (side - h) / 2, .width = side, .height = side };
    memcpy(view.fill, v->fill, sizeof view.fill);
    plan_view(out, view);
    return 0;
}

/* Each patch's normed state becomes a token through two layers. */
static void deepseek_vl_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct deepseek_vl *v = m->impl;
    const struct tower *t = &v->tower;
    struct tensor x = tower_states(r, t, in->rgb, 1, in->plan.height, in->plan.width, t->n_layers);
    nn_norm(r, x, x, &t->post);
    x = nn_linear(r, x, &v->in, (struct epilogue){ .act = ACT_GELU });
    nn_scatter(r, in->pool, nn_linear(r, x, &v->out, (struct epilogue){ 0 }), in->rows, false);
}

const struct family family_deepseek_vl = {
    .types = { "deepseek_vl" },
    .load = deepseek_vl_load,
    .plan_image = deepseek_vl_plan,
    .largest_image = square_largest_image,
    .encode_image = deepseek_vl_encode,
    .pixel_values = square_values,
    .forward = decoder_pass,
};
