/* base/json.h - JSON that strangers send, read into jansson's values.
 *
 *     struct json_limits limits = { .depth = 128, .values = 400000 };
 *     json_t *v = json_read("the body", s, n, &limits, &e);
 *     ... json_whole(v, &i), json_big(v, &n_digits) ...
 *     json_decref(v);
 *
 * All of RFC 8259 is taken, also what jansson's own reader refuses: U+0000 in
 * strings and in keys, and numbers that neither 64 bits nor a double can hold.
 * Such a number is kept as it was written: json_big() tells it from everything
 * else. Whoever uses a value finds that it is no number; whoever only passes it
 * on can still write all of its digits. */
#ifndef BASE_JSON_H
#define BASE_JSON_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct json_limits {
    int depth;                 /* most arrays and objects within one another; each costs stack */
    int values;                /* most values in all texts that are read with these limits     */
    int seen;                  /* values that were read so far; 0 at first                     */
};

/* Reads n bytes of text, which need not end in a NUL. NULL: they are not JSON (e->code "invalid_json"), beyond the
 * limits, or memory is out (status 503). `what` begins the message: "the body". Of several members with one name the
 * last counts, in the place of the first. */
json_t *json_read(const char *what, const char *s, size_t n, struct json_limits *limits, struct err *e);

/* The text of a number that was too large to be one, *n bytes: an integer if it has no '.', 'e' or 'E', else beyond
 * every double. NULL: v is something else. jansson takes such a value for an object, json_is_dict() does not. */
const char *json_big(const json_t *v, size_t *n);
bool json_is_dict(const json_t *v);

/* v as a whole number, which 5.0 and 1e3 are too. */
enum json_whole { JSON_WHOLE, JSON_NOT_WHOLE, JSON_TOO_SMALL, JSON_TOO_LARGE };   /* to fit into 64 bits */
enum json_whole json_whole(const json_t *v, int64_t *out);

#endif
