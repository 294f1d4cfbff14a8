/* unevaluatedProperties and unevaluatedItems: what they say holds for the properties and items of which nothing is said
 * by the schema that they stand in, nor by the schemas that it applies to the same value and that hold: those of $ref,
 * allOf, anyOf, oneOf, if, then, else and dependentSchemas. In a set all alternatives have been chosen, so the schemas
 * that count are those that lead from one member of the set to another. */
#include <string.h>

#include "base/json.h"
#include "grammar/schema.h"

static const char *const properties = "unevaluatedProperties", *const items = "unevaluatedItems";

bool schema_has_unevaluated(const json_t *schema)
{
    return json_object_get(schema, properties) || json_object_get(schema, items);
}

bool schema_mentions_unevaluated(struct schema *k, const json_t *v, int depth)
{
    const char *name;
    json_t *member;
    bool found = schema_has_unevaluated(v);
    if (depth > SCHEMA_DEPTH || !build_spend(k->b, 1))
        return false;
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v) && !found; i++)
        found = schema_mentions_unevaluated(k, json_array_get(v, i), depth + 1);
    json_object_foreach((json_t *)v, name, member)
        found = found || schema_mentions_unevaluated(k, member, depth + 1);
    return found;
}

/* Marks the member that is this schema, and those to which it leads. */
static void visit(struct schema *k, const struct schemas *s, const json_t *schema, uint64_t *seen)
{
    static const char *const lists[] = { "allOf", "anyOf", "oneOf" }, *const schemas[] = { "if", "then", "else" };
    const char *name;
    json_t *v;
    size_t j;
    int i = 0;
    while (i < s->n && s->m[i].schema != schema)
        i++;
    if (i == s->n || *seen >> i & 1 || !build_spend(k->b, 40 + (size_t)s->n))
        return;
    *seen |= UINT64_C(1) << i;
    for (int dynamic = 0; dynamic <= 1; dynamic++)
        visit(k, s, schema_referred(k, schema, dynamic), seen);
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
        json_array_foreach(json_object_get(schema, lists[l]), j, v)
            visit(k, s, v, seen);
    for (size_t l = 0; l < sizeof schemas / sizeof *schemas; l++)
        visit(k, s, json_object_get(schema, schemas[l]), seen);
    json_object_foreach(json_object_get(schema, "dependentSchemas"), name, v)
        visit(k, s, v, seen);
}

void schema_see(struct schema *k, const struct schemas *s, uint64_t seen[SCHEMA_SET])
{
    _Static_assert(SCHEMA_SET <= 64, "a bit for each schema of a set");
    for (int i = 0; i < s->n; i++) {
        seen[i] = 0;
        if (schema_has_unevaluated(s->m[i].schema))
            visit(k, s, s->m[i].schema, &seen[i]);
    }
}
