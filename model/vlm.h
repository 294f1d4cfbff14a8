/* model/vlm.h - what Qwen-VL and GLM-V share to the letter: a decoder, a
 * tower of vision layers over square patches, and the order in which they are
 * loaded. What differs - embeddings, norms, MLPs, mergers, windows - is each
 * family's own.
 *
 *     struct qwen2_vl { struct vlm vlm; ... };           // first: m->impl points to it
 *     const struct family family_qwen2_vl = { .plan_image = vlm_plan_image, .pixel_values = vlm_values, ... }; */
#ifndef MODEL_VLM_H
#define MODEL_VLM_H
#include "model/decoder.h"
#include "model/patches.h"

struct vlm {
    struct decoder text;
    struct patches patches;
    struct rope    rope;             /* of the vision layers             */
    struct block  *vision;           /* (n_vision), the model's memory   */
    int            n_vision;
};

enum { VLM_MAX_VISION = 256 };       /* vision layers */

struct merger { struct norm norm; struct weight in, out; };    /* 2x2 neighbours -> an image token: out(gelu(in(x))) */

struct vision_kind {                 /* what the layers of a tower have in common */
    int            width, heads;
    int            inner;            /* of the MLP                                */
    int            out;              /* of the tower: the text's hidden size      */
    double         eps;              /* of its norms                              */
    enum norm_kind norm;
    enum bias      qkv_bias, o_bias;
    enum act       act;              /* of the MLP                                */
};

struct vlm_kind {                    /* what a family's code fixes       */
    struct decoder_kind    text;
    struct patches_default patches;
    int                    image_token;                   /* where the configuration does not say */
    const char *const *text_roots, *const *vision_roots;  /* of tensor names, NULL-terminated */
    /* Everything below `root`; config: vision_config. */
    void (*load_vision)(struct loader *l, struct vlm *v, struct hparams *config, const char *root);
};

extern const struct patches_default qwen_vl_patches;      /* of all three, but for the patch of Qwen3-VL */
enum { QWEN_VL_IMAGE = 151655 };     /* their image_token_id */
#define QWEN_VL_EPS 1e-6             /* of all norms of their towers; no configuration has it */

/* family.load: m->impl is there and begins with a struct vlm. */
int vlm_load(struct model *m, struct loader *l, const struct vlm_kind *kind);

/* The same for Qwen2-VL and Qwen2.5-VL, which differ in their towers' layers alone; and their load_vision up to these
 * layers: vlm_begin_vision(), the embedding of patches, the merger. -1: an error is noted. */
int vlm_load_qwen2(struct model *m, struct loader *l,
                   void (*load_vision)(struct loader *, struct vlm *, struct hparams *, const char *root));
int vlm_begin_qwen2(struct loader *l, struct vlm *v, struct hparams *config, const struct vision_kind *k,
                    const char *out_name, const char *root, struct merger *merger);

/* Checks the sizes (out_name: the field that `out` came from), reads the number of layers and the rope and makes room
 * for the layers. -1: an error is noted. */
int vlm_begin_vision(struct loader *l, struct vlm *v, struct hparams *config, const struct vision_kind *k,
                     const char *out_name, int layers);
/* Norms and attention of vision layer i; load_at() stands on it afterwards, for its MLP. */
struct block *vlm_load_layer(struct loader *l, struct vlm *v, int i, const struct vision_kind *k, const char *root);

/* The norm is `width` wide; `wide`: merge * merge patches side by side. names: of norm, in and out below `prefix`. */
void vlm_load_merger(struct loader *l, struct merger *g, const struct vision_kind *k, int width, int wide,
                     const char *prefix, const char *const names[3]);
/* out(gelu(in(x))); where the norm belongs differs. */
struct tensor vlm_merge(struct run *r, const struct merger *g, struct tensor x);

int  vlm_plan_image(const struct model *m, int width, int height, const struct image_options *opt,
                    struct image_plan *out, struct err *e);
void vlm_largest(const struct model *m, const struct image_options *opt, int64_t pixels, struct image_plan *out);
void vlm_values(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4]);
/* The decoder alone: family.forward where images are rows of the prompt and nothing else. */
struct tensor vlm_forward(const struct model *m, struct run *r, const struct forward *in);

#endif
