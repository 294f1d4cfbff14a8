/* To what $ref and $dynamicRef lead: places in the same document, which may have others in it. Each schema with an $id
 * begins one, and references below it are relative to that address. Nothing is ever fetched. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/schema.h"

enum { MAX_ADDRESS = 500 /* bytes of an address, with its fragment */ };

/* ---- places ---- */

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

/* ---- addresses ---- */

/* The length of "scheme:" at the beginning of an address; 0: it has none. */
static size_t scheme_length(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    return n > 0 && s[n] == ':' ? n + 1 : 0;
}

/* How much of `base` stays when `ref` is relative to it (RFC 3986, section 5.2, without steps back). */
static size_t kept_length(const char *base, const char *ref)
{
    size_t scheme = scheme_length(base), path = scheme;
    if (scheme_length(ref))
        return 0;
    if (*ref == '#' || !*ref)
        return strlen(base);
    if (strncmp(ref, "//", 2) == 0)
        return scheme;
    if (strncmp(base + scheme, "//", 2) == 0)
        path = scheme + 2 + strcspn(base + scheme + 2, "/");
    const char *last = strrchr(base + path, '/');
    return *ref == '/' || !last ? path : (size_t)(last + 1 - base);
}

/* The address to which `ref` leads from `base`, which has no fragment. false: it is too long. */
static bool join(const char *base, const char *ref, char out[MAX_ADDRESS])
{
    size_t kept = kept_length(base, ref);
    while (strncmp(ref, "./", 2) == 0)
        ref += 2;
    return snprintf(out, MAX_ADDRESS, "%.*s%s", (int)kept, base, ref) < MAX_ADDRESS;
}

/* Remembers that the schema is what an address with this fragment leads to; the first one counts. */
static void add_address(struct schema *k, const char *base, const json_t *fragment, const json_t *schema)
{
    char address[MAX_ADDRESS];
    const char *name = json_string_value(fragment);
    if (snprintf(address, sizeof address, "%s#%s", base, name ? name : "") < MAX_ADDRESS &&
        !json_object_get(k->address, address) && json_object_set(k->address, address, (json_t *)schema) < 0)
        build_starve(k->b);
}

static bool holds_values(const char *keyword)
{
    return strcmp(keyword, "enum") == 0 || strcmp(keyword, "const") == 0 || strcmp(keyword, "default") == 0 ||
           strcmp(keyword, "examples") == 0;
}

/* Collects the addresses of all schemas in v that have one, and for those with references the address to which these
 * are relative. */
static void collect_addresses(struct schema *k, const json_t *v, const char *base, int depth)
{
    char own[MAX_ADDRESS] = "";
    const char *key, *id = json_string_value(json_object_get(v, "$id"));
    json_t *member;
    if (depth > 2 * SCHEMA_DEPTH || !build_spend(k->b, 20))
        return;
    if ((id && *id != '#') || depth == 0) {
        if (!join(base, id ? id : "", own))
            build_fail(k->b, "has an $id of more than %d bytes", MAX_ADDRESS);
        own[strcspn(own, "#")] = 0;
        base = own;
        add_address(k, base, NULL, v);
    }
    if (json_is_string(json_object_get(v, "$anchor")))
        add_address(k, base, json_object_get(v, "$anchor"), v);
    if (json_is_string(json_object_get(v, "$dynamicAnchor")))
        add_address(k, base, json_object_get(v, "$dynamicAnchor"), v);
    if (json_object_get(v, "$ref") || json_object_get(v, "$dynamicRef") || depth == 0)
        schema_keep(k, '@', v, build_spend(k->b, strlen(base)) ? json_string(base) : NULL);
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++)
        collect_addresses(k, json_array_get(v, i), base, depth + 1);
    json_object_foreach((json_t *)v, key, member)
        if (!holds_values(key))
            collect_addresses(k, member, base, depth + 1);
}

/* ---- references ---- */

/* The schema that a reference relative to `base` names: a document (its address), a place in one (#/...), or a schema
 * with an anchor there (#name). NULL: there is none. */
static const json_t *find(struct schema *k, const char *base, const char *ref)
{
    char address[MAX_ADDRESS];
    if (!base || !join(base, ref, address) || strlen(address) + 1 == MAX_ADDRESS)
        return NULL;
    char *fragment = strchr(address, '#');
    if (!fragment)
        strcat(address, "#");
    if (!fragment || fragment[1] != '/')
        return json_object_get(k->address, address);
    char *pointer = strdup(fragment + 1);
    if (!pointer) {
        build_starve(k->b);
        return NULL;
    }
    fragment[1] = 0;
    const json_t *v = follow_pointer(json_object_get(k->address, address), pointer);
    free(pointer);
    return v;
}

/* A schema that was made of another is in no place of the document; then the document itself is meant. */
static const json_t *refer(struct schema *k, const json_t *schema, const char *ref)
{
    const json_t *base = schema_kept(k, '@', schema);
    if (!ref) {
        build_fail(k->b, "is no JSON Schema: a reference must be a string");
        return NULL;
    }
    const json_t *v = find(k, json_string_value(base ? base : schema_kept(k, '@', k->root)), ref);
    if (!v && *ref == '#')
        build_fail(k->b, "has a $ref to what is not there: %.100s", ref);
    else if (!v)
        build_fail(k->b, "has a $ref to another document, which is not supported: %.100s", ref);
    return v;
}

/* Whether a schema below the document's begins a document of its own. */
static bool has_documents(const struct schema *k)
{
    const char *address;
    json_t *v;
    json_object_foreach(k->address, address, v)
        if (v != k->root && address[strlen(address) - 1] == '#')
            return true;
    return false;
}

/* In one document a dynamic reference is one like others: there is nothing else to which it could lead. */
const json_t *schema_referred(struct schema *k, const json_t *schema, bool dynamic)
{
    const json_t *ref = json_object_get(schema, dynamic ? "$dynamicRef" : "$ref");
    if (!ref)
        return NULL;
    if (!k->address) {
        k->address = json_object();
        collect_addresses(k, k->root, "", 0);
    }
    if (dynamic && has_documents(k)) {
        build_fail(k->b, "uses the keyword \"$dynamicRef\" in a document that has others in it, which is not "
                   "supported");
        return NULL;
    }
    return k->b->failed ? NULL : refer(k, schema, json_string_value(ref));
}
