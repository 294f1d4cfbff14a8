/* server/embedding.h - what all endpoints that ask for vectors have in common. */
#ifndef SERVER_EMBEDDING_H
#define SERVER_EMBEDDING_H
#include <jansson.h>
#include <stdbool.h>

#include "engine/engine.h"

/* The parameters of every prompt of such a request, from its fields `priority` and `cache_salt`. *salt is the caller's
 * to free, also after -1: the model gives no vectors (400, with the reason), or a field is wrong. */
int embedding_params(struct params *p, const struct engine_info *info, const json_t *in, char **salt, struct err *e);

#endif
