/* `not`, conditions, and properties that depend on one another, in other words: as anyOf and allOf, which everything
 * else here understands. What must not hold becomes the list of ways not to satisfy it (schema_ways.c). Two kinds of
 * `not` stay as they are, because the files of the types can do them without alternatives: types, and lists of texts,
 * true, false and null. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "grammar/schema.h"

/* ---- what stays as it is ---- */

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

/* Has the schema one of these two members, and else only remarks? */
static bool has_only(const json_t *schema, const char *one, const char *other)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)schema, key, v)
        if (strcmp(key, one) != 0 && strcmp(key, other) != 0 && !is_remark(key))
            return false;
    return json_object_get(schema, one) || json_object_get(schema, other);
}

/* Numbers can be written in many ways, and lists and objects too: they cannot be left out as words are. */
static bool is_word(const json_t *v) { return !json_is_number(v) && !json_is_array(v) && !json_is_object(v); }

static bool lists_words(const json_t *schema)
{
    const json_t *one = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
    bool words = has_only(schema, "const", "enum") && (!one || is_word(one)) && (!list || json_is_array(list));
    for (size_t i = 0; i < json_array_size(list) && words; i++)
        words = is_word(json_array_get(list, i));
    return words;
}

static bool is_simple(const json_t *not)
{
    return json_is_dict(not) && (lists_words(not) || has_only(not, "type", "type"));
}

int schema_types_not(struct schema *k, const json_t *not)
{
    const json_t *type = json_is_dict(not) && has_only(not, "type", "type") ? json_object_get(not, "type") : NULL;
    int types = 0;
    for (size_t j = 0; j < json_array_size(type); j++)
        types |= schema_type_bit(k, json_array_get(type, j));
    return type && !json_is_array(type) ? schema_type_bit(k, type) : types;
}

bool schema_excludes(struct schema *k, const struct schemas *s, const json_t *v)
{
    for (int i = 0; i < s->n; i++) {
        const json_t *not = json_object_get(s->m[i].schema, "not");
        if (json_is_dict(not) && lists_words(not) && schema_is_listed(k, not, v))
            return true;
    }
    return false;
}

void schema_excluded(const struct schemas *s, void (*each)(void *arg, const json_t *v), void *arg)
{
    for (int i = 0; i < s->n; i++) {
        const json_t *not = json_object_get(s->m[i].schema, "not"), *one = json_object_get(not, "const");
        json_t *v;
        size_t j;
        if (!json_is_dict(not) || !lists_words(not))
            continue;
        if (one)
            each(arg, one);
        json_array_foreach(json_object_get(not, "enum"), j, v)
            each(arg, v);
    }
}

/* ---- in other words ---- */

bool schema_is_condition(const json_t *schema)
{
    return json_object_get(schema, "if") && (json_object_get(schema, "then") || json_object_get(schema, "else"));
}

/* Where something that was made of a schema is kept. */
static void key_of(char what, const json_t *schema, char key[24])
{
    snprintf(key, 24, "%c%p", what, (const void *)schema);
}

const json_t *schema_kept(struct schema *k, char what, const json_t *schema)
{
    char key[24];
    key_of(what, schema, key);
    return json_object_get(k->made, key);
}

const json_t *schema_keep(struct schema *k, char what, const json_t *schema, json_t *v)
{
    char key[24];
    key_of(what, schema, key);
    build_spend(k->b, 100);
    if (!k->made)
        k->made = json_object();
    if (json_object_set_new(k->made, key, v) < 0)
        build_starve(k->b);
    return k->b->failed ? NULL : v;
}

const json_t *schema_not(struct schema *k, const json_t *schema)
{
    const json_t *made = schema_kept(k, '!', schema);
    return made ? made : schema_keep(k, '!', schema, json_pack("{s:O}", "not", (json_t *)schema));
}

/* The ways not to satisfy a schema, as one schema; NULL: the builder has failed. */
static json_t *unlike(struct schema *k, const json_t *schema)
{
    const char *unknown;
    const json_t *ways = schema_ways(k, schema, &unknown);
    if (unknown)
        build_fail(k->b, "would have to leave out what \"%.40s\" describes, because of not, if, oneOf or maxContains, "
                   "which is not supported", unknown);
    if (!ways || json_array_size(ways) == 0)
        return ways ? json_false() : NULL;
    if (json_array_size(ways) == 1)
        return json_incref(json_array_get(ways, 0));
    return json_pack("{s:O}", "anyOf", (json_t *)ways);
}

/* A condition. It names properties, but closes nothing. */
static json_t *open_condition(struct schema *k, const json_t *condition)
{
    if (!k->closed || !json_is_dict(condition) || json_object_get(condition, "additionalProperties"))
        return json_incref((json_t *)condition);
    json_t *copy = json_copy((json_t *)condition);
    json_object_set_new(copy, "additionalProperties", json_true());
    return copy;
}

/* With the condition, and what must hold then; or against it, and what must hold else. */
static json_t *condition(struct schema *k, const json_t *schema)
{
    const json_t *with = json_object_get(schema, "if"), *then = json_object_get(schema, "then");
    const json_t *otherwise = json_object_get(schema, "else");
    json_t *one = json_pack("[o]", open_condition(k, with)), *other = json_pack("[O]", schema_not(k, with));
    if (then)
        json_array_append(one, (json_t *)then);
    if (otherwise)
        json_array_append(other, (json_t *)otherwise);
    return json_pack("{s:[{s:o}, {s:o}]}", "anyOf", KEYWORD_TOGETHER, one, KEYWORD_TOGETHER, other);
}

/* Without the property, or with it and what must hold then: other properties (a list of names) or a schema. */
static json_t *dependency(const char *name, const json_t *v)
{
    json_t *with = json_pack("{s:s, s:[s]}", "type", "object", "required", name);
    if (json_is_array(v))
        json_array_extend(json_object_get(with, "required"), (json_t *)v);
    else
        json_object_set_new(with, "allOf", json_pack("[O]", (json_t *)v));
    return json_pack("{s:[{s:{s:b}, s:b}, o]}", "anyOf", "properties", name, 0, "additionalProperties", 1, with);
}

/* Appends to `out` for each property what must hold where it is there: other properties, or a schema. */
static void dependencies(struct schema *k, const json_t *schema, const char *keyword, json_t *out)
{
    const json_t *all = json_object_get(schema, keyword);
    const char *name;
    json_t *v;
    if (all && !json_is_dict(all))
        build_fail(k->b, "is no JSON Schema: %s must be an object", keyword);
    if (all && json_is_dict(all))
        json_object_foreach((json_t *)all, name, v)
            if (build_spend(k->b, SCHEMA_MADE) && json_array_append_new(out, dependency(name, v)) < 0)
                build_starve(k->b);
}

const json_t *schema_in_other_words(struct schema *k, const json_t *schema)
{
    static const char *const depend[] = { "dependentRequired", "dependentSchemas", "dependencies" };
    const json_t *not = json_object_get(schema, "not"), *made;
    bool conditional = schema_is_condition(schema) || (k->unevaluated && json_object_get(schema, "if"));
    bool negative = not && !is_simple(not), any = conditional || negative;
    for (size_t i = 0; i < sizeof depend / sizeof *depend; i++)
        any |= json_object_get(schema, depend[i]) != NULL;
    if (!any || (made = schema_kept(k, '=', schema)))
        return any ? made : NULL;
    json_t *list = json_array();
    if (negative && json_array_append_new(list, unlike(k, not)) < 0)
        build_starve(k->b);
    if (conditional && json_array_append_new(list, condition(k, schema)) < 0)
        build_starve(k->b);
    for (size_t i = 0; i < sizeof depend / sizeof *depend; i++)
        dependencies(k, schema, depend[i], list);
    return schema_keep(k, '=', schema, list);
}
