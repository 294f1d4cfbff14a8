/* server/data_url.h - images that arrive inside the request:
 * data:image/png;base64,iVBORw0... */
#ifndef SERVER_DATA_URL_H
#define SERVER_DATA_URL_H
#include <stddef.h>

#include "base/err.h"

/* Is this a base64 data: URL whose bytes will be no more than max? Looks at
 * its head and length only. `field` names it in errors. *data, *n: the base64. */
int data_url_check(const char *url, size_t n_url, size_t max, const char *field, const char **data, size_t *n, struct err *e);

/* Decodes strictly: the alphabet of RFC 4648, full padding, nothing after it;
 * white space is skipped, since tools wrap lines. *out is the caller's (free()). */
int base64_decode(const char *s, size_t n, unsigned char **out, size_t *n_out);

#endif
