/* engine/prompt_images.h - the images of a prompt: prompt.c's other half. */
#ifndef ENGINE_PROMPT_IMAGES_H
#define ENGINE_PROMPT_IMAGES_H
#include "engine/prompt.h"

/* Plans each image of the chat from its header: p->images. */
int prompt_plan_images(struct prompt *p, const struct model *m, const struct prompt_limits *limits,
                       const struct chat *chat, struct err *e);
/* Fills in the pixels and keys of p's images, which are those of the chat from p->n_gone on. */
int prompt_decode_images(struct prompt *p, const struct prompt_limits *limits, const struct chat *chat,
                         struct prompt_stats *stats, struct err *e);

#endif
