/* engine/chat_templates.h - the chat templates of a checkpoint, from wherever
 * it has them, in the reference's order of precedence:
 *
 *     a multimodal model    "chat_template" in processor_config.json, chat_template.json
 *     every model           chat_template.jinja with additional_chat_templates/NAME.jinja
 *     every model           "chat_template" in tokenizer_config.json: one, or a list of named ones
 *     a text model          chat_template.json
 *
 *     some types of models  engine/own_templates.c
 *
 * (The last two, and the third for a multimodal model, are this project's: the
 * reference has no template then.) The first source that has any counts alone. */
#ifndef ENGINE_CHAT_TEMPLATES_H
#define ENGINE_CHAT_TEMPLATES_H
#include <stdbool.h>

#include "base/err.h"
#include "template/template.h"

struct chat_templates {
    struct template *plain;    /* owned; the only one, or the one named "default"; NULL: there is none */
    struct template *tools;    /* owned; "tool_use", for requests with tools; NULL: none. Text models only */
    bool plain_developer, tools_developer;   /* that template names the role "developer"               */
    bool named;                /* there are some, under other names                                    */
};

/* file: replaces all of them; NULL. multimodal: the model takes images. A checkpoint without any is no error. */
int  chat_templates_open(struct chat_templates *c, const char *dir, const char *file, bool multimodal, struct err *e);
void chat_templates_close(struct chat_templates *c);

#endif
