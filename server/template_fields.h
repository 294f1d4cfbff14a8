/* server/template_fields.h - the fields of a chat that only its template and the image processor see: documents, the
 * template's variables, how the prompt ends, the sizes of images. */
#ifndef SERVER_TEMPLATE_FIELDS_H
#define SERVER_TEMPLATE_FIELDS_H
#include <jansson.h>

#include "base/err.h"
#include "engine/engine.h"

/* Fills the fields of `c` that are about these; they are borrowed from `in`, which gets variables that follow from
 * other fields. */
int template_fields_parse(struct chat *c, json_t *in, struct err *e);

#endif
