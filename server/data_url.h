/* server/data_url.h - images that arrive inside the request, as the URL and
 * Fetch standards read a data: URL:
 *
 *     data:image/png;base64,iVBORw0...        data:image/png,%89PNG%0D%0A...
 *
 * Spaces and control characters around the URL, tabs and line breaks within it
 * and a #fragment are dropped, the body is percent-decoded, and base64 is
 * forgiving (base/base64.h). The media type is not looked at: the bytes say
 * what they are. */
#ifndef SERVER_DATA_URL_H
#define SERVER_DATA_URL_H
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct data_url {
    const char *body;    /* borrowed from the URL: what stands between the comma and the fragment */
    size_t      n;
    bool        base64;
};

/* Is this a data: URL, and will its bytes be no more than max? Decodes nothing. `field` names it in errors. */
int data_url_parse(struct data_url *out, const char *url, size_t n, size_t max, const char *field, struct err *e);

/* *out is the caller's (free()). Malformed base64 and a body of nothing are errors; so is memory that is out (503). */
int data_url_decode(const struct data_url *u, const char *field, unsigned char **out, size_t *n, struct err *e);

#endif
