/* fetch/local.h - images in a folder of this machine, by file: URLs. */
#ifndef FETCH_LOCAL_H
#define FETCH_LOCAL_H
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

bool local_is_url(const char *url);    /* does it begin with file: ? */

/* Reads the regular file that the URL names, of at most `most` bytes. It must lie in `folder`, an absolute path: no
 * part of the way from there may be "..", and none a symbolic link. *out is the caller's (free()). */
int local_read(const char *url, const char *folder, size_t most, unsigned char **out, size_t *n, struct err *e);

#endif
