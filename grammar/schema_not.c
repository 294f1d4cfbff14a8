/* What a value may not be, and what holds only under a condition: `not`, and `if` with `then` and `else`.
 *
 * A text that is left out cannot be written as a rule, but for the simplest schemas: those that name types, or list
 * constants. So `not` is exact for these and refused for others. A condition is two ways to be valid: with the
 * condition and `then`, or against it and with `else`; it can be gone against if it is of the simple kind, or says of
 * an object that properties are there and have such values, as discriminators do. The second way is written as
 * schemas of our own. */
#include <stdlib.h>
#include <string.h>

#include "grammar/scan.h"
#include "grammar/schema.h"

enum { MAX_CONDITIONS = 64 };

/* Members that say nothing of a value. */
static bool is_remark(const char *key)
{
    static const char *const remarks[] = { "title", "description", "$comment", "examples", "default", "deprecated",
                                           "readOnly", "writeOnly" };
    for (size_t i = 0; i < sizeof remarks / sizeof *remarks; i++)
        if (strcmp(key, remarks[i]) == 0)
            return true;
    return false;
}

/* Has the schema no other members than these (NULL at the end) and remarks? */
static bool has_only(const json_t *schema, const char *const *names)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)schema, key, v) {
        bool found = is_remark(key);
        for (const char *const *n = names; *n; n++)
            found |= strcmp(key, *n) == 0;
        if (!found)
            return false;
    }
    return true;
}

static const char *const listing[] = { "const", "enum", NULL }, *const typing[] = { "type", NULL },
    *const discriminating[] = { "type", "properties", "required", NULL };

static bool lists(const json_t *schema)
{
    return has_only(schema, listing) && (json_object_get(schema, "const") || json_object_get(schema, "enum"));
}

static bool names_types(const json_t *schema) { return has_only(schema, typing) && json_object_get(schema, "type"); }

void schema_check_not(struct schema *k, const json_t *not)
{
    bool simple = json_is_boolean(not) || (json_is_object(not) && (json_object_size(not) == 0 || lists(not) ||
                                                                  names_types(not)));
    if (!simple)
        build_fail(k->b, "uses the keyword \"not\" for more than a type, a const or an enum, which is not supported");
}

bool schema_never(const json_t *not)
{
    return json_is_true(not) || (json_is_object(not) && json_object_size(not) == 0);
}

int schema_types_not(struct schema *k, const json_t *not)
{
    const json_t *type = json_object_get(not, "type");
    int types = 0;
    for (size_t j = 0; j < json_array_size(type); j++)
        types |= schema_type_bit(k, json_array_get(type, j));
    if (type && !json_is_array(type))
        types = schema_type_bit(k, type);
    return types;
}

bool schema_excludes(struct schema *k, const struct schemas *s, const json_t *v)
{
    for (int i = 0; i < s->n; i++) {
        const json_t *not = json_object_get(s->m[i].schema, "not");
        if (json_is_object(not) && lists(not) && schema_is_listed(k, not, v))
            return true;
    }
    return false;
}

void schema_excluded(const struct schemas *s, void (*each)(void *arg, const json_t *v), void *arg)
{
    for (int i = 0; i < s->n; i++) {
        const json_t *not = json_object_get(s->m[i].schema, "not"), *one = json_object_get(not, "const"), *v;
        const json_t *list = json_object_get(not, "enum");
        size_t j;
        if (one)
            each(arg, one);
        json_array_foreach((json_t *)list, j, v)
            each(arg, v);
    }
}

/* ---- conditions ---- */

/* Keeps a schema that was made for as long as the rules are; NULL: memory is out. */
static json_t *own(struct schema *k, json_t *v)
{
    if (!k->made)
        k->made = json_array();
    if (json_array_append_new(k->made, v) != 0) {
        build_starve(k->b);
        return NULL;
    }
    return v;
}

/* Ways to go against one property of a discriminator: it has another value, or, where it must be there, it is not. */
static void against_property(json_t *ways, const char *name, const json_t *schema, bool required)
{
    if (schema)
        json_array_append_new(ways, json_pack("{s:s, s:[s], s:{s:{s:O}}, s:b}", "type", "object", "required", name,
                                              "properties", name, "not", (json_t *)schema, "additionalProperties", 1));
    if (required)
        json_array_append_new(ways, json_pack("{s:s, s:{s:b}, s:b}", "type", "object", "properties", name, 0,
                                              "additionalProperties", 1));
}

/* Ways to go against properties that are there and have such values. -1: not of this kind. */
static int against_object(const json_t *condition, json_t *ways)
{
    const json_t *type = json_object_get(condition, "type"), *required = json_object_get(condition, "required");
    json_t *properties = json_object_get(condition, "properties"), *schema, *name;
    const char *key;
    size_t i;
    if (!has_only(condition, discriminating) || (!properties && !required) ||
        (type && (!json_is_string(type) || strcmp(json_string_value(type), "object") != 0)))
        return -1;
    if (type)
        json_array_append_new(ways, json_pack("{s:{s:s}}", "not", "type", "object"));
    json_object_foreach(properties, key, schema) {
        if (!json_is_object(schema) || (!lists(schema) && !names_types(schema)))
            return -1;
        against_property(ways, key, schema, false);
    }
    json_array_foreach((json_t *)required, i, name) {
        if (!json_is_string(name))
            return -1;
        against_property(ways, json_string_value(name), NULL, true);
    }
    return 0;
}

/* All ways to go against a condition, as a list of schemas; NULL: it is not simple enough, or the builder failed. */
static const json_t *against(struct schema *k, const json_t *condition)
{
    json_t *ways = own(k, json_array());
    if (!ways)
        return NULL;
    if (json_is_boolean(condition)) {
        if (json_is_false(condition))
            json_array_append_new(ways, json_true());
        return ways;
    }
    if (json_is_object(condition) && (json_object_size(condition) == 0 || lists(condition) || names_types(condition))) {
        json_array_append_new(ways, json_pack("{s:O}", "not", (json_t *)condition));
        return ways;
    }
    if (json_is_object(condition) && against_object(condition, ways) == 0)
        return ways;
    build_fail(k->b, "uses the keyword \"if\" for more than a type, a const, an enum, or properties of that kind, "
               "which is not supported");
    return NULL;
}

/* The condition itself. It names properties, but closes nothing. */
static const json_t *open_condition(struct schema *k, const json_t *condition)
{
    if (!json_is_object(condition) || !json_object_get(condition, "properties"))
        return condition;
    json_t *copy = json_copy((json_t *)condition);
    if (copy && !json_object_get(copy, "additionalProperties"))
        json_object_set_new(copy, "additionalProperties", json_true());
    return own(k, copy);
}

/* What was made of a condition before; the same set of schemas must have the same rule. */
static struct condition *condition_of(struct schema *k, const json_t *schema)
{
    for (int i = 0; i < k->n_conditions; i++)
        if (k->condition[i].of == schema)
            return &k->condition[i];
    if (!k->condition && !(k->condition = calloc(MAX_CONDITIONS, sizeof *k->condition))) {
        build_starve(k->b);
        return NULL;
    }
    if (k->n_conditions == MAX_CONDITIONS) {
        build_fail(k->b, "has more than %d conditions", MAX_CONDITIONS);
        return NULL;
    }
    const json_t *test = json_object_get(schema, "if");
    struct condition made = { .of = schema, .with = open_condition(k, test), .against = against(k, test) };
    if (k->b->failed)
        return NULL;
    k->condition[k->n_conditions] = made;
    return &k->condition[k->n_conditions++];
}

bool schema_is_condition(const json_t *schema)
{
    return json_object_get(schema, "if") && (json_object_get(schema, "then") || json_object_get(schema, "else"));
}

int32_t schema_condition(struct schema *k, const struct schemas *s, int i)
{
    const json_t *schema = s->m[i].schema, *then = json_object_get(schema, "then"), *way;
    const json_t *otherwise = json_object_get(schema, "else");
    const struct condition *c = condition_of(k, schema);
    struct exprs l = { 0 };
    size_t j;
    if (!c)
        return EXPR_NONE;
    struct schemas chosen = *s;
    chosen.m[i].chose |= CHOSE_IF;
    struct schemas with = chosen;
    schemas_add(k, &with, c->with);
    if (then)
        schemas_add(k, &with, then);
    exprs_add(k->b, &l, schema_value(k, &with));
    json_array_foreach((json_t *)c->against, j, way) {
        struct schemas without = chosen;
        schemas_add(k, &without, way);
        if (otherwise)
            schemas_add(k, &without, otherwise);
        exprs_add(k->b, &l, schema_value(k, &without));
    }
    return exprs_alt(k->b, &l);
}
