/* server/fields.h - typed reads of the members of a JSON object.
 *
 * A member that is absent or null leaves *out as it was. A wrong type or value
 * is -1, with the field's path in e->field ("stream_options.include_usage"):
 * `at` is the path of the object, "" for the request itself. Values are those of
 * base/json.h: a number too large for its type is out of every range. */
#ifndef SERVER_FIELDS_H
#define SERVER_FIELDS_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

/* Limits of a request's body. The number of values is limited because small ones are expensive: each "[]," in a list is
 * three bytes that become more than a hundred in memory. */
enum { FIELDS_VALUES = 400000, FIELDS_VALUE_BYTES = 384 };
#define FIELDS_LIMITS { .depth = 128, .values = FIELDS_VALUES }

/* Bytes that the JSON of this body may take at most when it is parsed: its values, and every string twice (a second
 * time for one with escapes while they are resolved, or for an image's file). fields_room() is the same for the worst
 * body of n bytes. */
size_t fields_bytes(const char *body, size_t n);
size_t fields_room(size_t n);

/* The request's body as a JSON object, or NULL: not JSON, too deep, not an object, no memory. */
json_t *fields_parse(const char *body, size_t n, struct err *e);

/* Fills e with a status of 400, this code, and the path of the field in front of the text ("messages[0].role must be
 * ..."). `at` is the path of the object and `name` the member; either may be "". Returns -1. */
int fields_wrong(struct err *e, const char *code, const char *at, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Each reads the member `name` of the object o. Numbers must be from `least` to `most`. */
int member_bool(const json_t *o, const char *at, const char *name, bool *out, struct err *e);
int member_int(const json_t *o, const char *at, const char *name, int64_t least, int64_t most, int64_t *out,
               struct err *e);
int member_real(const json_t *o, const char *at, const char *name, double least, double most, double *out,
                struct err *e);
/* A string that is used as one: U+0000 in it is an error. */
int member_string(const json_t *o, const char *at, const char *name, const char **out, struct err *e);
/* A string that is only handed on together with its length, so it may hold any character. */
int member_text(const json_t *o, const char *at, const char *name, const json_t **out, struct err *e);
int member_object(const json_t *o, const char *at, const char *name, json_t **out, struct err *e);
int member_array(const json_t *o, const char *at, const char *name, json_t **out, struct err *e);

#endif
