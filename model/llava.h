/* model/llava.h - what LLaVA and its successors share to the letter: a decoder
 * of one of several kinds, a tower of CLIP or SigLIP whose states before the
 * end are looked at, and two linear layers between them.
 *
 *     struct llava_next { struct llava base; ... };       // first: m->impl points to it
 *     if (llava_load(m, l, &kind) != 0) return -1;
 *     llava_features(r, v, out, rgb, height, tiles);      // rows of one strip of tiles */
#ifndef MODEL_LLAVA_H
#define MODEL_LLAVA_H
#include "model/decoder.h"
#include "model/tower.h"

struct llava {
    struct decoder text;
    struct tower   tower;
    struct weight  in, out;          /* out(act(in(x)))                                 */
    enum act       act;
    int side, each;                  /* patches of a square view's side, tokens of it   */
};

struct llava_kind {                  /* the class' defaults */
    const char *text, *vision;       /* model_type of the text and of the tower         */
    int image_token, layer;          /* vision_feature_layer                            */
    const char *select;              /* vision_feature_select_strategy                  */
    struct tower_kind clip, siglip;
};

/* Everything but the processor's settings. m->impl is there and begins with a struct llava. -1: an error is noted. */
int llava_load(struct model *m, struct loader *l, const struct llava_kind *kind);

/* The features (tiles * each, hidden) of `tiles` square views of `size` pixels a side that lie side by side. */
void llava_features(struct run *r, const struct llava *v, struct tensor out, const uint8_t *rgb, int size, int tiles);

#endif
