/* server/known.h - fields that other servers know and this one does not do.
 *
 * What would change the answer is done or refused, never ignored. A field of
 * these tables may have a value with which it changes nothing, as routers and
 * clients send it with every request; any other is an error that names the
 * field. Fields that nobody knows are not looked at: clients send many. */
#ifndef SERVER_KNOWN_H
#define SERVER_KNOWN_H
#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

/* How a neutral value is written: true, false, a number, <0 (any number below 0), a word (that string), "" (the empty
 * string), {}, [], or [word] (a list of nothing but this string). null is always neutral. */
struct known_field {
    const char *name;
    const char *neutral;   /* the values with which it changes nothing, a blank between two of them; see below */
};

/* Refuses the first field of the table that `in` has with another value than a neutral one. Tables end in a name NULL.
 * `at` is the path of the object `in`, as in fields.h. */
int known_check(const struct known_field *table, const json_t *in, const char *at, struct err *e);

/* Fields that have no influence on an answer here, such as `user` or `store`: they need only have their type. */
int ignored_check(const json_t *in, struct err *e);

extern const struct known_field known_of_request[], known_of_image[], known_of_processor[],
    known_of_size[], known_of_structured[];

#endif
