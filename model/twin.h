/* model/twin.h - two encoders that lead into one space: a tower for pictures and
 * layers for texts. CLIP and SigLIP are such twins; what differs is how a text
 * is read (both ways or not), where a vector is taken from, and the heads.
 *
 *     struct clip { struct twin twin; ... };             // first: m->impl points to it
 *     const struct family family_clip = { .forward = twin_forward, .pixel_values = twin_values, ... };
 *
 * An image is no part of a text here: it has one place, whose features are its
 * vector. Texts have no answers, so there is no head that makes words. */
#ifndef MODEL_TWIN_H
#define MODEL_TWIN_H
#include "model/tower.h"

struct twin {
    struct tower  image;
    struct tower_sizes text;
    struct weight embed;             /* (vocab, width): of tokens                              */
    struct tensor position;          /* (context, width): of texts                             */
    struct block *layer;             /* (n_layers), the model's memory                         */
    int           n_layers;
    struct norm   norm;              /* final_layer_norm                                       */
    struct weight text_head;         /* (shared, width): of the state that a text's vector is  */
};

struct twin_kind {
    struct tower_kind image, text;   /* of text: sizes and activation alone                    */
    int  vocab, context;             /* defaults                                               */
    bool both_ways;                  /* the tokens of a text see each other both ways          */
};

/* Reads text_config and vision_config, loads both encoders but for the heads, and fills in the model's sizes. The
 * family goes on with the heads and twin_end(). -1: an error is noted. */
int twin_load(struct model *m, struct loader *l, const struct twin_kind *kind);

/* The scale and the bias by which cosines become logits: logit_scale holds the scale's logarithm. */
void twin_load_scale(struct loader *l, bool bias);

/* text[i] is the last hidden state of a text's token i, behind the last norm. */
struct tensor twin_forward(const struct model *m, struct run *r, const struct forward *in);

/* The end of family.encode_image: `vector` (1, shared) is the image's. */
void twin_give(struct run *r, const struct encode *in, struct tensor vector);

void twin_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4]);

#endif
