/* model/texts.h - the text models that images are put before in LLaVA and its
 * kin: the configuration names one of them, `model_type` in `text_config`. The
 * families of text alone are the same, with a configuration of their own. */
#ifndef MODEL_TEXTS_H
#define MODEL_TEXTS_H
#include "model/decoder.h"

struct text_names {
    const char *root;                /* below which the decoder's tensors lie, with '.' at its end */
    const char *head;                /* the head's name, as decoder_kind.head                      */
};

/* Where the text of a model with images lies: as published, and as transformers writes it since 4.52. */
extern const struct text_names texts_beside_images[];

/* The first of the places (root NULL at the end) where a decoder lies; the first one if it lies in none. */
struct text_names texts_find(const struct loader *l, const struct text_names *places);

/* Reads the text's configuration and loads it. `type`: where the configuration has no model_type. Sizes that a nested
 * configuration leaves out are the class's, as published ones expect. Errors stay in the loader. */
void texts_load(struct loader *l, struct decoder *d, struct hparams *text, const char *type, struct text_names names);

#endif
