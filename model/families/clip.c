/* model/families/clip.c - CLIP: a picture's vector is its class token's, a text's that of its end; both are projected
 * into one space, and their cosine says how well they fit together. Radford and others, 2021 (arXiv:2103.00020). */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/square.h"
#include "model/twin.h"

struct clip {
    struct twin   twin;
    struct square square;            /* what becomes of a picture                    */
    struct weight image_head;        /* visual_projection                            */
    int           end;               /* the token at which a text's vector is taken;
                                        -1: the largest one, as old configurations mean it */
};

/* The end of a text in configurations from before transformers 4.31, which name another token. */
enum { OLD_END = 2 };

/* Both encoders with their projections into the shared space, whose vectors are compared by their cosine times a
 * scale. */
static int clip_load(struct model *m, struct loader *l)
{
    struct clip *c = m->impl = xcalloc(1, sizeof *c);
    static const struct twin_kind kind = {
        .image = { .class_token = true, .pre_norm = true, .width = 768, .inner = 3072, .layers = 12, .heads = 12,
                   .image = 224, .patch = 32, .act = "quick_gelu", .eps = 1e-5 },
        .text = { .width = 512, .inner = 2048, .layers = 12, .heads = 8, .act = "quick_gelu", .eps = 1e-5 },
        .vocab = 49408, .context = 77 };
    struct twin *t = &c->twin;
    if (twin_load(m, l, &kind) != 0)
        return -1;
    struct hparams text = hparams_object(&l->config, "text_config");
    m->shared = (int)hparams_int(&l->config, "projection_dim", 512, 1, 1 << 16);
    c->end = (int)hparams_int(&text, "eos_token_id", 49407, 0, INT32_MAX);
    c->end = c->end == OLD_END ? -1 : c->end;
    load_linear(l, &t->text_head, m->shared, t->text.width, NO_BIAS, "text_projection");
    load_linear(l, &c->image_head, m->shared, t->image.size.width, NO_BIAS, "visual_projection");
    twin_load_scale(l, false);
    m->share_text = &t->text_head;
    m->image_row_width = m->shared;
    pixel_norm_load(l, &t->image.pixels, pixel_clip_mean, pixel_clip_std);
    square_load(l, &c->square, t->image.image, &(struct square_default){ .shortest = 224, .crop = 224,
                                                                        .filter = FILTER_BICUBIC });
    return load_end(l);
}

/* Cuts a text to the context, its end kept. Since no token sees a later one, what stands behind the place where the
 * vector is taken can be left out as well: then the place is the last one. A text without an end is taken at its first
 * token, as the reference has it. */
static int clip_text_ids(const struct model *m, int32_t *ids, int n, int pad)
{
    const struct clip *c = m->impl;
    int at = 0;
    (void)pad;
    if (n > m->context) {
        ids[m->context - 1] = ids[n - 1];
        n = m->context;
    }
    for (int i = 0; i < n && c->end < 0; i++)
        at = ids[i] > ids[at] ? i : at;
    for (int i = 0; i < n && c->end >= 0; i++)
        if (ids[i] == c->end)
            return i + 1;
    return at + 1;
}

/* The vector of a picture is the state of the class token, normed and projected. */
static void clip_encode(const struct model *m, struct run *r, const struct encode *in)
{
    const struct clip *c = m->impl;
    const struct tower *t = &c->twin.image;
    struct tensor x = tower_states(r, t, in->rgb, 1, in->plan.height, in->plan.width, t->n_layers);
    x = nn_rows(x, 0, 1);
    nn_norm(r, x, x, &t->post);
    twin_give(r, in, nn_linear(r, x, &c->image_head, (struct epilogue){ 0 }));
}

const struct family family_clip = {
    .types = { "clip" },
    .load = clip_load,
    .plan_image = square_plan_image,
    .largest_image = square_largest_image,
    .text_ids = clip_text_ids,
    .encode_image = clip_encode,
    .pixel_values = twin_values,
    .forward = twin_forward,
};
