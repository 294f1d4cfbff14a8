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

/* "a" + "b" -> "a.b"; with index >= 0: "a.b[3]". Cut when too long. */
void path_join(char out[PATH_MAX_LEN], const char *where, const char *name, long index);

/* Each returns 0, or -1 after naming the field. */
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

/* A string that is exactly one character. */
int field_char(const json_t *o, const char *where, const char *name, uint32_t *cp, struct err *e);

/* A string field that is one of the words; *out is the index of the word. */
int field_word(const json_t *o, const char *where, const char *name, const char *const *words, int count, int *out,
               struct err *e);

/* {"String": s} or {"Regex": s}, as Split and Replace have it in "pattern". */
int field_pattern(const json_t *o, const char *where, const char **s, size_t *n, bool *is_regex, struct err *e);

#endif
