/* To what $ref and $dynamicRef lead: places in the same document. Other documents are never fetched. */
#include <stdlib.h>
#include <string.h>

#include "grammar/schema.h"

/* Reads one part of a JSON pointer, with its escapes, and goes past it. */
static bool pointer_part(const char **p, char *out, size_t size)
{
    size_t n = 0;
    const char *s = *p;
    for (; *s && *s != '/'; s++) {
        char c = *s;
        if (c == '~' && (s[1] == '0' || s[1] == '1')) {
            c = *++s == '0' ? '~' : '/';
        } else if (c == '%' && s[1] && s[2]) {
            char hex[3] = { s[1], s[2], 0 };
            c = (char)strtol(hex, NULL, 16);
            s += 2;
        }
        if (n + 1 == size)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    *p = s;
    return true;
}

/* What a JSON pointer leads to, or NULL. A part of a path that does not fit into `part` names nothing that could be
 * there. */
static const json_t *follow_pointer(const json_t *v, const char *p)
{
    char part[256];
    while (v && *p == '/') {
        p++;
        if (!pointer_part(&p, part, sizeof part))
            return NULL;
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(part)) : json_object_get(v, part);
    }
    return *p ? NULL : v;
}

/* Whether v is the schema that a member gives this name. */
static bool is_named(const json_t *v, const char *member, const char *name)
{
    const json_t *anchor = json_object_get(v, member);
    return json_is_string(anchor) && strcmp(json_string_value(anchor), name) == 0;
}

/* The schema with "$anchor": `name` anywhere below `v`, or NULL. The document is hostile, so the search is bounded in
 * depth and paid for with fuel. */
static const json_t *find_anchor(struct schema *k, const json_t *v, const char *name, int depth)
{
    const char *key;
    json_t *member;
    const json_t *found = NULL;
    if (depth > SCHEMA_DEPTH || !build_spend(k->b, 1))
        return NULL;
    if (is_named(v, "$anchor", name) || is_named(v, "$dynamicAnchor", name))
        return v;
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v) && !found; i++)
        found = find_anchor(k, json_array_get(v, i), name, depth + 1);
    json_object_foreach((json_t *)v, key, member)
        if (!found)
            found = find_anchor(k, member, name, depth + 1);
    return found;
}

/* The schema that a reference names: the whole document (#), a place in it (#/...), or one with an anchor (#name). */
static const json_t *refer(struct schema *k, const json_t *ref)
{
    const char *s = json_string_value(ref);
    if (!s || *s != '#') {
        build_fail(k->b, "has a $ref to another document, which is not supported: %.100s", s ? s : "no string");
        return NULL;
    }
    const json_t *v = s[1] && s[1] != '/' ? find_anchor(k, k->root, s + 1, 0) : follow_pointer(k->root, s + 1);
    if (!v)
        build_fail(k->b, "has a $ref to what is not there: %.100s", s);
    return v;
}

/* Whether a schema below the document's begins a document of its own. */
static bool has_documents(struct schema *k, const json_t *v, int depth)
{
    const char *key;
    json_t *member;
    bool found = depth > 0 && json_is_string(json_object_get(v, "$id"));
    if (depth > SCHEMA_DEPTH || !build_spend(k->b, 1))
        return true;
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v) && !found; i++)
        found = has_documents(k, json_array_get(v, i), depth + 1);
    json_object_foreach((json_t *)v, key, member)
        found = found || has_documents(k, member, depth + 1);
    return found;
}

/* In one document a dynamic reference is one like others: there is nothing else to which it could lead. */
const json_t *schema_referred(struct schema *k, const json_t *schema, bool dynamic)
{
    const json_t *ref = json_object_get(schema, dynamic ? "$dynamicRef" : "$ref");
    if (ref && dynamic && has_documents(k, k->root, 0)) {
        build_fail(k->b, "uses the keyword \"$dynamicRef\" in a document that has others in it, which is not "
                   "supported");
        return NULL;
    }
    return ref ? refer(k, ref) : NULL;
}
