/* server/json_write.h - strings of the JSON that leaves the server. */
#ifndef SERVER_JSON_WRITE_H
#define SERVER_JSON_WRITE_H
#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"

/* s as a JSON string with its quotes; malformed UTF-8 becomes U+FFFD. */
void json_write_string(struct buf *out, const char *s, size_t n);

/* A value of a request, with numbers that were too large to be one as they were written. It goes as deep as the value,
 * which the limits of a request's body bound. */
void json_write_value(struct buf *out, const json_t *v);

/* A list that was collected as JSON text, without its brackets: "name":[...]. If it could not be collected whole, `out`
 * fails, too: half a list would look like an answer. */
void json_write_list(struct buf *out, const char *name, const struct buf *list);

#endif
