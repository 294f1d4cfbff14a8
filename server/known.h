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

struct known_field {
    const char *name;
    const char *neutral;   /* values, a blank between: true, false, numbers, <0 (any below), words, "" (the empty string), {},
                              [], [word] (of this word alone). null is always one */
};

/* The tables end in a name NULL. `at` is the path of the object `in`, as in fields.h. */
int known_check(const struct known_field *table, const json_t *in, const char *at, struct err *e);

extern const struct known_field known_of_request[], known_of_image[], known_of_processor[],
    known_of_size[];

#endif
