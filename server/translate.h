/* server/translate.h - what the requests of other APIs have in common on their way to being a chat
 * (anthropic_request.c, responses_request.c).
 *
 * The chat starts as a copy of the request without the fields that are only that API's. What is made of these stands in
 * the chat under other names; `names` (field_names.h) says what the client called it. */
#ifndef SERVER_TRANSLATE_H
#define SERVER_TRANSLATE_H
#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

/* Makes *chat of the request, without the n_own fields of `own` and with an empty list of messages, which is returned
 * (borrowed). *chat is the caller's also after NULL, which means that memory is out. */
json_t *translate_begin(const json_t *in, const char *const *own, size_t n_own, json_t **chat, struct err *e);

/* The tools of `in`, which stands at `where` ("": it is the request), come to those of the chat. function() makes the
 * "function" of one of them, an object that stands at `at`, and may add names; NULL: it is wrong, and `e` says why;
 * JSON's null: the chat does without that tool. */
int translate_tools(json_t *chat, json_t *names, const json_t *in, const char *where,
                    json_t *(*function)(json_t *tool, json_t *names, const char *at, struct err *e), struct err *e);

#endif
