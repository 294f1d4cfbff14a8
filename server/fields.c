#include "server/fields.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

static int wrong_type(struct err *e, const char *at, const char *name, const char *wanted, const json_t *v)
{
    static const char *const type[] = { "an object", "an array",  "a string",  "an integer",
                                        "a number",  "a boolean", "a boolean", "null" };
    return fields_wrong(e, "invalid_type", at, name, "must be %s, not %s", wanted, type[json_typeof(v)]);
}

/* Looks at the brackets and commas outside of strings before memory is spent on them. */
int fields_check_size(const char *what, const char *s, size_t n, int *values, struct err *e)
{
    int  depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            /* Strings hold the images: skip to what can end them. */
            while (i < n && s[i] != '"' && s[i] != '\\')
                i++;
            if (i < n && s[i] == '\\')
                i++;
            else
                in_string = false;
            continue;
        }
        in_string = s[i] == '"';
        bool opens = s[i] == '{' || s[i] == '[';
        depth += opens ? 1 : s[i] == '}' || s[i] == ']' ? -1 : 0;
        *values -= opens || s[i] == ',';
        if (depth > FIELDS_MAX_DEPTH)
            return err_set(e, "%s's JSON is nested more than %d levels deep", what, FIELDS_MAX_DEPTH);
        if (*values < 0)
            return err_set(e, "%s's JSON holds more than %d values", what, FIELDS_MAX_VALUES);
    }
    return 0;
}

json_t *fields_parse(const char *body, size_t n, struct err *e)
{
    json_error_t je;
    int          values = FIELDS_MAX_VALUES;
    if (n == 0) {
        err_set(e, "the request has no body; a JSON object is expected");
        return NULL;
    }
    if (fields_check_size("the body", body, n, &values, e) != 0)
        return NULL;
    json_t *root = json_loadb(body, n, 0, &je);
    if (!root) {
        err_set(e, "the body is not valid JSON: %s (line %d, column %d)", je.text, je.line, je.column);
        snprintf(e->code, sizeof e->code, "invalid_json");
    } else if (!json_is_object(root)) {
        json_decref(root);
        root = NULL;
        err_set(e, "the body must be a JSON object");
        snprintf(e->code, sizeof e->code, "invalid_type");
    }
    return root;
}

static const json_t *present(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_null(v) ? NULL : v;
}

int member_bool(const json_t *o, const char *at, const char *name, bool *out, struct err *e)
{
    const json_t *v = present(o, name);
    if (v && !json_is_boolean(v))
        return wrong_type(e, at, name, "a boolean", v);
    if (v)
        *out = json_is_true(v);
    return 0;
}

int member_int(const json_t *o, const char *at, const char *name, int64_t least, int64_t most, int64_t *out,
               struct err *e)
{
    const json_t *v = present(o, name);
    if (!v)
        return 0;
    int64_t n;
    if (json_is_integer(v)) {
        n = json_integer_value(v);
    } else if (json_is_real(v) && json_real_value(v) == floor(json_real_value(v)) && fabs(json_real_value(v)) < 9e15) {
        n = (int64_t)json_real_value(v);       /* 1e3 and 5.0 are integers to JSON Schema */
    } else {
        return wrong_type(e, at, name, "an integer", v);
    }
    if (n < least || n > most) {
        if (n < least)
            return fields_wrong(e, "invalid_value", at, name, "must be at least %lld", (long long)least);
        return fields_wrong(e, "invalid_value", at, name, "must be at most %lld", (long long)most);
    }
    *out = n;
    return 0;
}

int member_real(const json_t *o, const char *at, const char *name, double least, double most, double *out,
                struct err *e)
{
    const json_t *v = present(o, name);
    if (!v)
        return 0;
    if (!json_is_number(v))
        return wrong_type(e, at, name, "a number", v);
    double n = json_number_value(v);
    if (!(n >= least && n <= most))
        return fields_wrong(e, "invalid_value", at, name, "must be from %g to %g", least, most);
    *out = n;
    return 0;
}

int member_string(const json_t *o, const char *at, const char *name, const char **out, struct err *e)
{
    const json_t *v = present(o, name);
    if (v && !json_is_string(v))
        return wrong_type(e, at, name, "a string", v);
    if (v)
        *out = json_string_value(v);
    return 0;
}

int member_object(const json_t *o, const char *at, const char *name, json_t **out, struct err *e)
{
    const json_t *v = present(o, name);
    if (v && !json_is_object(v))
        return wrong_type(e, at, name, "an object", v);
    if (v)
        *out = (json_t *)v;
    return 0;
}

int member_array(const json_t *o, const char *at, const char *name, json_t **out, struct err *e)
{
    const json_t *v = present(o, name);
    if (v && !json_is_array(v))
        return wrong_type(e, at, name, "an array", v);
    if (v)
        *out = (json_t *)v;
    return 0;
}
