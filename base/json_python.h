/* base/json_python.h - JSON in the files that Python programs write beside a model.
 *
 *     json_error_t je;
 *     json_t *v = json_python(text, n, &je);     // NULL: je says where it ends to be JSON
 *
 * Python writes and reads more than jansson does: the words NaN, Infinity and -Infinity, whole numbers of any length
 * (model_max_length is often 1000000000000000019884624838656), and U+0000 in texts and names. A file may hold such a
 * value in a field that nobody reads, and must still be read. Where one of these values is asked for as a number it is
 * none: a word is read as a string that begins like it, a long number as base/json.h keeps it. */
#ifndef BASE_JSON_PYTHON_H
#define BASE_JSON_PYTHON_H
#include <jansson.h>
#include <stddef.h>

/* Reads n bytes, in which the words are changed where they stand. The error is that of jansson's reader; its lines and
 * columns are those of the text, whose length stays. */
json_t *json_python(char *s, size_t n, json_error_t *je);

#endif
