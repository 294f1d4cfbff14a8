/* server/responses_request.h - a request of POST /v1/responses as one of /v1/chat/completions. */
#ifndef SERVER_RESPONSES_REQUEST_H
#define SERVER_RESPONSES_REQUEST_H
#include <jansson.h>

#include "base/err.h"

/* As translate of struct chat_kind. */
int responses_translate(json_t *in, json_t **chat, json_t **names, struct err *e);

#endif
