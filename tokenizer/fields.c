/* tokenizer/fields.c - see fields.h. Each function reads one field and says in one message where in the file it is,
 * what was expected and what was found, so that whoever has edited a tokenizer.json finds the place. */
#include "tokenizer/fields.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Both names are cut here, so that the index at the end is always seen. */
void path_join(char out[PATH_MAX_LEN], const char *where, const char *name, long index)
{
    char tail[24] = "";
    if (index >= 0)
        snprintf(tail, sizeof tail, "[%ld]", index);
    snprintf(out, PATH_MAX_LEN, "%.90s%s%.40s%s", where, *where ? "." : "", name, tail);
}

/* What kind of value a message says was found. */
static const char *type_name(const json_t *v)
{
    static const char *const name[] = { "an object", "an array", "a string", "a number", "a number", "true", "false",
                                        "null" };
    return v ? name[json_typeof(v)] : "missing";
}

/* Says that a field is not of the wanted type, and returns -1. */
static int wrong(const char *where, const char *name, const char *wanted, const json_t *got, struct err *e)
{
    return err_set(e, "%s%s%s: expected %s, found %s", where, *where ? "." : "", name, wanted,
                   got ? type_name(got) : "nothing");
}

int field_object(const json_t *o, const char *where, const char *name, json_t **out, struct err *e)
{
    *out = json_object_get(o, name);
    return json_is_object(*out) ? 0 : wrong(where, name, "an object", *out, e);
}

int field_array(const json_t *o, const char *where, const char *name, json_t **out, struct err *e)
{
    *out = json_object_get(o, name);
    return json_is_array(*out) ? 0 : wrong(where, name, "an array", *out, e);
}

int field_string(const json_t *o, const char *where, const char *name, const char **s, size_t *n, struct err *e)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_string(v))
        return wrong(where, name, "a string", v, e);
    *s = json_string_value(v);
    *n = json_string_length(v);
    return 0;
}

/* A field that is missing or null gives NULL, which is not the empty string. */
int field_string_or_null(const json_t *o, const char *where, const char *name, const char **s, size_t *n,
                         struct err *e)
{
    const json_t *v = json_object_get(o, name);
    *s = NULL;
    *n = 0;
    return !v || json_is_null(v) ? 0 : field_string(o, where, name, s, n, e);
}

/* A whole number that must be there and within its range. -1: the error names the field, and the range if that was the
 * fault. */
int field_int(const json_t *o, const char *where, const char *name, int64_t least, int64_t most, int64_t *out,
              struct err *e)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_integer(v))
        return wrong(where, name, "a whole number", v, e);
    *out = json_integer_value(v);
    if (*out < least || *out > most)
        return err_set(e, "%s%s%s: %lld is not between %lld and %lld", where, *where ? "." : "", name,
                       (long long)*out, (long long)least, (long long)most);
    return 0;
}

int field_bool(const json_t *o, const char *where, const char *name, bool *out, struct err *e)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_boolean(v))
        return wrong(where, name, "true or false", v, e);
    *out = json_is_true(v);
    return 0;
}

/* Where the field is missing or null *out keeps the default that the caller has put there. */
int field_bool_or(const json_t *o, const char *where, const char *name, bool *out, struct err *e)
{
    const json_t *v = json_object_get(o, name);
    return !v || json_is_null(v) ? 0 : field_bool(o, where, name, out, e);
}

/* A string of one code point; what looks like one character may be several, and is refused. */
int field_char(const json_t *o, const char *where, const char *name, uint32_t *cp, struct err *e)
{
    const char *s;
    size_t n;
    int len = 0;
    if (field_string(o, where, name, &s, &n, e) < 0)
        return -1;
    if (n)
        *cp = utf8_get(s, n, &len);
    if (!n || (size_t)len != n)
        return wrong(where, name, "one character", json_object_get(o, name), e);
    return 0;
}

/* Words are few and read once per file: they are compared one after the other. */
int field_word(const json_t *o, const char *where, const char *name, const char *const *words, int count, int *out,
               struct err *e)
{
    const char *s;
    size_t n;
    if (field_string(o, where, name, &s, &n, e) < 0)
        return -1;
    for (*out = 0; *out < count; ++*out)
        if (!strcmp(words[*out], s))
            return 0;
    return err_set(e, "%s%s%s: \"%.60s\" is not supported", where, *where ? "." : "", name, s);
}

/* Where the object has both fields the regular expression counts. */
int field_pattern(const json_t *o, const char *where, const char **s, size_t *n, bool *is_regex, struct err *e)
{
    json_t *p;
    char at[PATH_MAX_LEN];
    if (field_object(o, where, "pattern", &p, e) < 0)
        return -1;
    path_join(at, where, "pattern", -1);
    *is_regex = json_object_get(p, "Regex") != NULL;
    return field_string(p, at, *is_regex ? "Regex" : "String", s, n, e);
}
