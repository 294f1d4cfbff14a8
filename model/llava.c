/* model/llava.c - see llava.h. */
#include "model/llava.h"

#include <string.h>

#include "model/texts.h"

/* The tower runs up to the state that the configuration names; the first state is what the layers begin with. */
static void vision_load(struct loader *l, struct llava *v, const struct llava_kind *kind)
{
    struct hparams vision = hparams_object(&l->config, "vision_config");
    const char *type = hparams_string(&vision, "model_type", kind->vision);
    bool clip = !strcmp(type, "clip_vision_model");
    if (!clip && strcmp(type, "siglip_vision_model"))
        hparams_fail(&vision, "model_type", "\"%.40s\" is not supported (clip_vision_model, siglip_vision_model)",
                     type);
    struct tower_kind tower = clip ? kind->clip : kind->siglip;
    int layers = (int)hparams_int(&vision, "num_hidden_layers", tower.layers, 1, TOWER_MAX_LAYERS);
    int layer = (int)hparams_int(&l->config, "vision_feature_layer", kind->layer, -layers - 1, layers);
    const char *select = hparams_string(&l->config, "vision_feature_select_strategy", kind->select);
    if (strcmp(select, clip ? "default" : "full"))
        hparams_fail(&l->config, "vision_feature_select_strategy", "\"%.40s\" does not go with a tower of %s", select,
                     type);
    tower.no_post = true;
    tower.unused_layers = layer < 0 ? -layer - 1 : layers - layer;
    if (tower.unused_layers >= layers)
        hparams_fail(&l->config, "vision_feature_layer", "%d is before the first layer", layer);
    if (hparams_end(&l->config) == 0)
        tower_load(l, &v->tower, &vision, load_root(l, TOWER_PROBE, load_tower_roots), &tower);
}

int llava_load(struct model *m, struct loader *l, const struct llava_kind *kind)
{
    struct llava *v = m->impl;
    struct hparams text = hparams_object(&l->config, "text_config");
    texts_load(l, &v->text, &text, kind->text, texts_find(l, texts_beside_images));
    if (load_end(l) != 0)
        return -1;
    m->image_token = (int)hparams_int(&l->config, "image_token_index|image_token_id", kind->image_token, 0,
                                      m->vocab - 1);
    m->image_row_width = m->hidden;
    v->act = load_act(&l->config, "projector_hidden_act", "gelu");
    enum bias bias = hparams_bool(&l->config, "multimodal_projector_bias", true) ? WITH_BIAS : NO_BIAS;
    vision_load(l, v, kind);
    if (load_end(l) != 0)
        return -1;
    v->side = v->tower.side;
    v->each = v->side * v->side;
    load_at(l, "%s", load_root(l, "linear_1.weight", load_projector_roots));
    load_linear(l, &v->in, m->hidden, v->tower.size.width, bias, "linear_1");
    load_linear(l, &v->out, m->hidden, m->hidden, bias, "linear_2");
    load_at(l, "%s", "");
    return load_end(l);
}

void llava_features(struct run *r, const struct llava *v, struct tensor out, const uint8_t *rgb, int size, int tiles)
{
    int rows = tower_rows(&v->tower, size, size), first = rows - v->each;
    NN_SCRATCH(r) {
        struct tensor x = nn_new(r, tiles * rows, v->tower.size.width);
        tower_embed_tiles(r, &v->tower, x, rgb, size, size, tiles, nn_rows(v->tower.position, 0, v->each));
        for (int i = 0; i < tiles; i++) {
            tower_run(r, &v->tower, nn_rows(x, i * rows, rows), v->tower.n_layers);
            struct tensor h = nn_linear(r, nn_rows(x, i * rows + first, v->each), &v->in,
                                        (struct epilogue){ .act = v->act });
            nn_linear_to(r, nn_rows(out, i * v->each, v->each), h, &v->out, (struct epilogue){ 0 });
        }
    }
}
