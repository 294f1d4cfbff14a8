/* output/names.c - the names of a request's tools and of those of their parameters that are strings.
 *
 * A format whose arguments are plain text needs the types; the request's JSON, which has them, is gone before the
 * answer begins. What is kept is one block of entries: a kind, a name, and a NUL. */
#include <string.h>

#include "output/output.h"

enum { MAX_BYTES = 1 << 20, TOOL = 'T', PARAMETER = 'P' };

/* A name with a NUL in it is left out: the entries are separated by these. */
static void add(struct buf *b, char kind, const char *name, size_t n)
{
    if (memchr(name, 0, n))
        return;                        /* a model cannot mean it */
    buf_byte(b, kind);
    buf_add(b, name, n);
    buf_byte(b, 0);
}

/* Its type is "string", or a list of types that has it and nothing else but null. */
bool tool_parameter_is_string(const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    bool   found = false;
    size_t i;
    json_t *one;
    if (json_is_string(type))
        return strcmp(json_string_value(type), "string") == 0;
    json_array_foreach(type, i, one) {
        const char *s = json_string_value(one);
        if (!s || (strcmp(s, "string") != 0 && strcmp(s, "null") != 0))
            return false;
        found |= strcmp(s, "string") == 0;
    }
    return found;
}

/* Keeps what the parsers of calls will ask for; the request's JSON need not live longer than this call. Tools without a
 * name are passed over. -1 with status 400 if the names take more than 1 MiB, which a client can bring about; 503 if
 * memory is out. */
int tool_names_init(struct tool_names *t, const json_t *tools, struct err *e)
{
    size_t i, n_key;
    json_t *tool, *schema;
    const char *key;
    buf_init(&t->entries, MAX_BYTES);
    json_array_foreach(tools, i, tool) {
        const json_t *function = json_object_get(tool, "function"), *name = json_object_get(function, "name");
        json_t *properties = json_object_get(json_object_get(function, "parameters"), "properties");
        if (!json_is_string(name))
            continue;
        add(&t->entries, TOOL, json_string_value(name), json_string_length(name));
        json_object_keylen_foreach(properties, key, n_key, schema)
            if (tool_parameter_is_string(schema))
                add(&t->entries, PARAMETER, key, n_key);
    }
    if (buf_ok(&t->entries))
        return 0;
    int rc = buf_error(&t->entries, e, "the names of the tools and their parameters are more than 1 MiB");
    if (e && !t->entries.starved)
        e->status = 400;
    tool_names_free(t);
    return rc;
}

void tool_names_free(struct tool_names *t) { buf_free(&t->entries); }

/* The entry behind that of this tool, or NULL. */
static const char *find(const struct tool_names *t, const char *name, size_t n)
{
    const char *end = t->entries.data + t->entries.len;
    for (const char *at = t->entries.data; at && at < end; at += strlen(at) + 1)
        if (*at == TOOL && strlen(at + 1) == n && memcmp(at + 1, name, n) == 0)
            return at + n + 2;
    return NULL;
}

bool tool_names_has(const struct tool_names *t, const char *name, size_t n) { return find(t, name, n) != NULL; }

/* The parameters of a tool follow its name in the list, up to the name of the next one. */
bool tool_names_string(const struct tool_names *t, const char *tool, const char *parameter, size_t n)
{
    const char *end = t->entries.data + t->entries.len;
    for (const char *at = find(t, tool, strlen(tool)); at && at < end && *at == PARAMETER; at += strlen(at) + 1)
        if (strlen(at + 1) == n && memcmp(at + 1, parameter, n) == 0)
            return true;
    return false;
}
