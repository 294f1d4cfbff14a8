/* engine/own_templates.h - chat templates for models whose published checkpoints
 * have none. A checkpoint's own, and --chat-template, go first. */
#ifndef ENGINE_OWN_TEMPLATES_H
#define ENGINE_OWN_TEMPLATES_H

/* The template for the `model_type` of a config.json; NULL: there is none. */
const char *own_template(const char *model_type);

#endif
