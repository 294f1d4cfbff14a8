/* server/token_fields.h - the fields of a request that are about single tokens: logit_bias, allowed_token_ids and
 * bad_words. */
#ifndef SERVER_TOKEN_FIELDS_H
#define SERVER_TOKEN_FIELDS_H
#include "server/sampling.h"

/* Fills s->bias and s->allowed and points s->params to them. Every id is checked against s->vocab. */
int token_fields_parse(struct sampling *s, const json_t *in, struct err *e);

/* The elements of the field `name`, an array, as ids of a vocabulary of that size. */
int token_ids_read(const json_t *list, const char *name, int vocab, int32_t *out, struct err *e);

#endif
