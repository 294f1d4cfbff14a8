/* tokenizer/fields.h - typed reads of tokenizer.json: every type and range is
 * checked, and the message says where in the file it went wrong ("where" is the
 * path of the object, such as "pre_tokenizer.pretokenizers[1]"). */
#ifndef TOKENIZER_FIELDS_H
#define TOKENIZER_FIELDS_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { PATH_MAX_LEN = 160 };

/* Joins the places "a" and "b" to "a.b" or, with an index that is not negative, to "a.b[3]". Names that are too long
 * are cut. */
void path_join(char out[PATH_MAX_LEN], const char *where, const char *name, long index);

/* Each reads the field `name` of o, which stands at `where` in the file. Returns 0, or -1 and a message that names the
 * field. What is read is borrowed from o. */
int field_object(const json_t *o, const char *where, const char *name, json_t **out, struct err *e);
int field_array(const json_t *o, const char *where, const char *name, json_t **out, struct err *e);
int field_string(const json_t *o, const char *where, const char *name, const char **s, size_t *n, struct err *e);
int field_int(const json_t *o, const char *where, const char *name, int64_t least, int64_t most, int64_t *out,
              struct err *e);
int field_bool(const json_t *o, const char *where, const char *name, bool *out, struct err *e);

/* As field_bool, but a missing or null field leaves *out as it is. */
int field_bool_or(const json_t *o, const char *where, const char *name, bool *out, struct err *e);

/* As field_string; a missing or null field gives NULL and 0. */
int field_string_or_null(const json_t *o, const char *where, const char *name, const char **s, size_t *n,
                         struct err *e);

/* Reads a string that is exactly one character. */
int field_char(const json_t *o, const char *where, const char *name, uint32_t *cp, struct err *e);

/* Reads a string that is one of the words; *out is the index of the word. */
int field_word(const json_t *o, const char *where, const char *name, const char *const *words, int count, int *out,
               struct err *e);

/* Reads the field "pattern" of Split and Replace, which is {"String": s} or {"Regex": s}. */
int field_pattern(const json_t *o, const char *where, const char **s, size_t *n, bool *is_regex, struct err *e);

#endif
