/* tokenizer/json_file.h - reads a file that holds one JSON object. */
#ifndef TOKENIZER_JSON_FILE_H
#define TOKENIZER_JSON_FILE_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* NULL and a message that names the file; NULL without one when the file is
 * optional and not there. */
json_t *json_file_read(const char *path, bool optional, struct err *e);

/* The true key: jansson cannot hold one with a NUL, so json_file_read() puts
 * U+FDD0, which is no character, in its place, and this takes it back. Returns
 * `key` itself where nothing is to be done, else `out` (room for n bytes). */
const char *json_key(const char *key, size_t *n, char *out);

#endif
