/* server/anthropic_request.h - a request of POST /v1/messages as one of /v1/chat/completions. */
#ifndef SERVER_ANTHROPIC_REQUEST_H
#define SERVER_ANTHROPIC_REQUEST_H
#include <jansson.h>

#include "base/err.h"

/* As translate of struct chat_kind. max_tokens has to be there, unless only the prompt is asked for. */
int anthropic_translate(json_t *in, json_t **chat, json_t **names, struct err *e);
int anthropic_translate_prompt(json_t *in, json_t **chat, json_t **names, struct err *e);

#endif
