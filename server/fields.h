/* server/fields.h - typed reads of the members of a JSON object.
 *
 * A member that is absent or null leaves *out as it was. A wrong type or value
 * is -1, with the field's path in e->field ("stream_options.include_usage"):
 * `at` is the path of the object, "" for the request itself. */
#ifndef SERVER_FIELDS_H
#define SERVER_FIELDS_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    FIELDS_MAX_DEPTH  = 128,       /* of arrays and objects; jansson recurses for each      */
    FIELDS_MAX_VALUES = 400000,    /* "[],[],": three bytes that become a hundred in memory */
};

/* The request's body as a JSON object, or NULL: not JSON, too deep, not an object. */
json_t *fields_parse(const char *body, size_t n, struct err *e);

/* Is this JSON small enough to be parsed? Takes its values off *values (at
 * first FIELDS_MAX_VALUES). `what` begins the message: "the body". */
int fields_check_size(const char *what, const char *s, size_t n, int *values, struct err *e);

int fields_wrong(struct err *e, const char *code, const char *at, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

int member_bool(const json_t *o, const char *at, const char *name, bool *out, struct err *e);
int member_int(const json_t *o, const char *at, const char *name, int64_t least, int64_t most, int64_t *out,
               struct err *e);
int member_real(const json_t *o, const char *at, const char *name, double least, double most, double *out,
                struct err *e);
int member_string(const json_t *o, const char *at, const char *name, const char **out, struct err *e);
int member_object(const json_t *o, const char *at, const char *name, json_t **out, struct err *e);
int member_array(const json_t *o, const char *at, const char *name, json_t **out, struct err *e);

#endif
