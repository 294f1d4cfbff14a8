/* engine/device.h - the device that an engine computes on, with the plan for it.
 *
 * `--device auto` takes a GPU if one can be used and the model fits there, else
 * the CPU; a line in the log says why a GPU was passed over. */
#ifndef ENGINE_DEVICE_H
#define ENGINE_DEVICE_H
#include <stdio.h>

#include "engine/plan.h"

struct chosen {
    struct model_options model;    /* model.device: the caller closes it; NULL where only a plan was asked for
                                      (--gpu-memory)                                                        */
    struct setup setup;            /* also one that does not fit: the caller refuses it, with setup_refusal()   */
    bool no_texts;             /* the model reads none, and has no tokenizer */
    int image_token, image_mark;   /* of the model; -1: it takes no images                                  */
};

/* --weights of o into out->convert and out->weights; -1: no such precision. */
int weights_option(const struct engine_config *o, struct model_options *out, struct err *e);

/* --activations of o, for weights of the type of this name. -1: int8 needs a quantised matrix on the other side of the
 * product: int8, or on the CPU int4 too. */
int activations_option(enum activations *out, const struct engine_config *o, const struct backend *b,
                       const char *weights, struct err *e);

/* trace: where every operation is to be logged, or NULL. -1: out->model.device is NULL. */
int device_choose(struct chosen *out, const struct engine_options *opt, FILE *trace, struct err *e);

#endif
