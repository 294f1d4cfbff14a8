/* server/fields.c - typed reads of the members of a JSON object, and how much memory a body's JSON may take. What each
 * function promises stands in fields.h. */
#include "server/fields.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Puts the path of the field together and makes the error that names it. Returns -1, so that callers can return it. */
int fields_wrong(struct err *e, const char *code, const char *at, const char *name, const char *fmt, ...)
{
    char    path[128], text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(path, sizeof path, "%s%s%s", at, *at && *name ? "." : "", name);
    err_field(e, path, "%s %s", path, text);
    snprintf(e->code, sizeof e->code, "%s", code);
    return -1;
}

/* "must be an integer, not a string": says both what was expected and what came. */
static int wrong_type(struct err *e, const char *at, const char *name, const char *wanted, const json_t *v)
{
    static const char *const type[] = { "an object", "an array",  "a string",  "an integer",
                                        "a number",  "a boolean", "a boolean", "null" };
    const char *is = json_big(v, NULL) ? "a number" : type[json_typeof(v)];
    return fields_wrong(e, "invalid_type", at, name, "must be %s, not %s", wanted, is);
}

size_t fields_room(size_t n) { return 2 * n + (size_t)FIELDS_VALUES * FIELDS_VALUE_BYTES; }

/* The position behind the string whose first character is s[i]; n if it has no end. A quote with an odd number of
 * backslashes before it is a part of the string. */
static size_t skip_string(const char *s, size_t i, size_t n)
{
    for (size_t begin = i; i < n; i++) {
        const char *quote = memchr(s + i, '"', n - i);
        if (!quote)
            return n;
        i = (size_t)(quote - s);
        size_t escapes = 0;
        while (i - escapes > begin && s[i - escapes - 1] == '\\')
            escapes++;
        if (escapes % 2 == 0)
            return i + 1;
    }
    return n;
}

/* Counts the places where a value can begin, outside strings, without parsing: a comma, a bracket, a brace. Each is
 * charged FIELDS_VALUE_BYTES, more than jansson takes for any kind of value; bodies with more than FIELDS_VALUES of
 * them are refused by the parser anyway. This must be an upper bound: app_parsing_enter() lets as many bodies be
 * parsed at once as fit by it. */
size_t fields_bytes(const char *body, size_t n)
{
    size_t values = 1;             /* each other one comes after one of these; so may do others */
    for (size_t i = 0; i < n;) {
        char c = body[i++];
        values += c == ',' || c == '[' || c == '{';
        i = c == '"' ? skip_string(body, i, n) : i;
    }
    return 2 * n + (values < FIELDS_VALUES ? values : FIELDS_VALUES) * FIELDS_VALUE_BYTES;
}

/* A byte order mark before the JSON is passed over, as some clients write one. Nesting and the number of values are
 * bounded here, before anybody walks the tree. */
json_t *fields_parse(const char *body, size_t n, struct err *e)
{
    struct json_limits limits = FIELDS_LIMITS;
    size_t mark = utf8_mark(body, n);
    if (n == mark) {
        err_set(e, "the request has no body; a JSON object is expected");
        return NULL;
    }
    json_t *root = json_read("the body", body + mark, n - mark, &limits, e);
    if (root && !json_is_dict(root)) {
        json_decref(root);
        root = NULL;
        err_set(e, "the body must be a JSON object");
        snprintf(e->code, sizeof e->code, "invalid_type");
    }
    return root;
}

/* Clients send null for what they do not set; it counts as absent. */
static const json_t *present(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_null(v) ? NULL : v;
}

/* JSON's true or false and nothing else: 0, 1 and strings are errors. */
int member_bool(const json_t *o, const char *at, const char *name, bool *out, struct err *e)
{
    const json_t *v = present(o, name);
    if (v && !json_is_boolean(v))
        return wrong_type(e, at, name, "a boolean", v);
    if (v)
        *out = json_is_true(v);
    return 0;
}

/* A number such as 1e3 or 5.0 is whole and taken. One that is too large for 64 bits is "too large" and not "no
 * integer", which is what a person who typed it wants to hear. */
int member_int(const json_t *o, const char *at, const char *name, int64_t least, int64_t most, int64_t *out,
               struct err *e)
{
    const json_t *v = present(o, name);
    if (!v)
        return 0;
    int64_t n = 0;
    enum json_whole is = json_whole(v, &n);
    if (is == JSON_NOT_WHOLE)
        return wrong_type(e, at, name, "an integer", v);
    if (is == JSON_TOO_SMALL || (is == JSON_WHOLE && n < least))
        return fields_wrong(e, "invalid_value", at, name, "must be at least %lld", (long long)least);
    if (is == JSON_TOO_LARGE || n > most)
        return fields_wrong(e, "invalid_value", at, name, "must be at most %lld", (long long)most);
    *out = n;
    return 0;
}

/* The comparison is written so that NaN, which no range holds, is refused as well. */
int member_real(const json_t *o, const char *at, const char *name, double least, double most, double *out,
                struct err *e)
{
    const json_t *v = present(o, name);
    if (!v)
        return 0;
    bool big = json_big(v, NULL) != NULL;      /* then it is far from any range that a field has */
    if (!big && !json_is_number(v))
        return wrong_type(e, at, name, "a number", v);
    double n = big ? INFINITY : json_number_value(v);
    if (!(n >= least && n <= most))
        return fields_wrong(e, "invalid_value", at, name, "must be from %g to %g", least, most);
    *out = n;
    return 0;
}

/* A string with its length, which may hold NUL. *out stays as it was where the field is missing or null. */
int member_text(const json_t *o, const char *at, const char *name, const json_t **out, struct err *e)
{
    const json_t *v = present(o, name);
    if (v && !json_is_string(v))
        return wrong_type(e, at, name, "a string", v);
    if (v)
        *out = v;
    return 0;
}

/* *out is borrowed from o. A string that holds U+0000 would be cut short by everybody who uses it as a C string, so it
 * is refused here. */
int member_string(const json_t *o, const char *at, const char *name, const char **out, struct err *e)
{
    const json_t *v = NULL;
    if (member_text(o, at, name, &v, e) != 0)
        return -1;
    if (v && strlen(json_string_value(v)) != json_string_length(v))
        return fields_wrong(e, "invalid_value", at, name, "must not hold U+0000");
    if (v)
        *out = json_string_value(v);
    return 0;
}

/* *out is borrowed from o. */
int member_object(const json_t *o, const char *at, const char *name, json_t **out, struct err *e)
{
    const json_t *v = present(o, name);
    if (v && !json_is_dict(v))
        return wrong_type(e, at, name, "an object", v);
    if (v)
        *out = (json_t *)v;
    return 0;
}

/* *out is borrowed from o. */
int member_array(const json_t *o, const char *at, const char *name, json_t **out, struct err *e)
{
    const json_t *v = present(o, name);
    if (v && !json_is_array(v))
        return wrong_type(e, at, name, "an array", v);
    if (v)
        *out = (json_t *)v;
    return 0;
}
