/* server/field_names.h - how errors name the fields of a request that was translated into a chat.
 *
 * The names are a JSON object: from the path of a field of the chat ("messages[2].content[0].image_url.url") to the
 * path in the request that it came from ("messages[1].content[3].source.data"). What stands for a path stands for
 * everything within, unless that has a name of its own.
 */
#ifndef SERVER_FIELD_NAMES_H
#define SERVER_FIELD_NAMES_H
#include <jansson.h>

#include "base/err.h"

/* -1: out of memory. */
int  field_names_add(json_t *names, const char *chat, const char *own, struct err *e);
/* Puts the request's own path in the place of the chat's, in the field and in the text. names NULL: there are none. */
void field_names_apply(const json_t *names, struct err *e);

#endif
