/* All ways not to satisfy a schema, as a list of schemas: a text that is left out cannot be written as a rule, so `not`
 * is made of these. Each keyword of the schema gives some. Alternatives of which exactly one may hold, conditions, and
 * items of which there may be only so many need the same list (schema_not.c says where).
 *
 * Ways that are a little too wide would let wrong values through. So there is none for what is not known exactly:
 * formats, whose expressions leave out rare forms, and numbers that a double cannot tell apart. Three keywords that the
 * specification does not have stand for what only the files of the types can leave out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "grammar/schema.h"

enum { MAX_PLACES = 300 /* items of a list that differ one by one */, MAX_ONE = 8 };

struct ways {
    struct schema *k;          /* borrowed */
    const json_t *of;          /* borrowed: the schema that must not hold */
    json_t *list;              /* borrowed: what was found                */
};

/* How a keyword that narrows values is gone against. */
struct keyword {
    const char *name;
    /* Adds the ways; false: they are not known. NULL: they never are. */
    bool (*go)(struct ways *w, const json_t *v, const struct keyword *by);
    const char *opposite;      /* of a bound: the keyword that leaves what it forbids  */
    const char *type;          /* of counts: whose they are                            */
    const char *loose, *flag;  /* of bounds: where `flag` is true, `loose` is opposite */
    int step;                  /* of counts: from the last one that is allowed to the first that is not; 1
                                  of those that come in two kinds: it is enum, a list, or $dynamicRef */
};

/* ---- ways ---- */

/* Adds a way, which becomes the list's. NULL: memory was out when it was made. false: the builder has failed. */
static bool way(struct ways *w, json_t *schema)
{
    if (!build_spend(w->k->b, SCHEMA_MADE))
        json_decref(schema);
    else if (!schema || json_array_append_new(w->list, schema) < 0)
        build_starve(w->k->b);
    return !w->k->b->failed;
}

static bool says_nothing(const json_t *schema)
{
    return json_is_true(schema) || (json_is_dict(schema) && json_object_size(schema) == 0);
}

/* Always the same object, so that schemas that refer to themselves come to an end. */
static json_t *not_this(struct ways *w, const json_t *schema)
{
    return json_incref((json_t *)schema_not(w->k, schema));
}

static json_t *not_value(const json_t *v) { return json_pack("{s:{s:O}}", "not", "const", (json_t *)v); }

/* An object without this property. */
static bool without_property(struct ways *w, const char *name)
{
    return way(w, json_pack("{s:s, s:{s:b}, s:b}", "type", "object", "properties", name, 0, "additionalProperties", 1));
}

/* An object with this property, and a value of the schema, which becomes the way's. */
static bool with_property(struct ways *w, const char *name, json_t *value)
{
    return way(w, json_pack("{s:s, s:[s], s:{s:o}, s:b}", "type", "object", "required", name, "properties", name, value,
                            "additionalProperties", 1));
}

/* A list whose item `at` is of the schema, which becomes the way's. */
static void with_item(struct ways *w, size_t at, json_t *value)
{
    json_t *first = json_array();
    for (size_t i = 0; i < at; i++)
        json_array_append_new(first, json_true());
    json_array_append_new(first, value);
    build_spend(w->k->b, at);
    way(w, json_pack("{s:s, s:I, s:o}", "type", "array", "minItems", (json_int_t)at + 1, "prefixItems", first));
}

/* An object with a property of none of the names that are the keys of `named`. */
static void with_other_names(struct ways *w, const json_t *named)
{
    const char *name;
    json_t *v, *names = json_array();
    json_object_foreach((json_t *)named, name, v)
        json_array_append_new(names, json_string(name));
    way(w, json_pack("{s:s, s:o}", "type", "object", KEYWORD_OTHER_NAMES, names));
}

/* ---- types and constants ---- */

static bool against_type(struct ways *w, const json_t *v, const struct keyword *by)
{
    way(w, json_pack("{s:{s:O}}", "not", by->name, (json_t *)v));
    return true;
}

static int by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* All numbers but these: a way leads between each two. false: one of them is not exactly a double. */
static bool other_numbers(struct ways *w, const json_t *values)
{
    size_t n = 0;
    double *number = calloc(json_array_size(values) + 1, sizeof *number);
    bool exact = true;
    if (!number)
        build_starve(w->k->b);
    for (size_t i = 0; number && i < json_array_size(values); i++) {
        const json_t *v = json_array_get(values, i);
        exact &= !json_big(v, NULL) && (!json_is_number(v) || fabs(json_number_value(v)) < 0x1p53);
        if (json_is_number(v))
            number[n++] = json_number_value(v);
    }
    if (number && n)
        qsort(number, n, sizeof *number, by_size);
    for (size_t i = 0; i <= n && exact && !w->k->b->failed; i++) {
        json_t *between = json_pack("{s:s}", "type", "number");
        if (i > 0)
            json_object_set_new(between, "exclusiveMinimum", json_real(number[i - 1]));
        if (i < n)
            json_object_set_new(between, "exclusiveMaximum", json_real(number[i]));
        way(w, between);
    }
    free(number);
    return exact;
}

/* The lists that differ from one: in their lengths or in an item. */
static bool other_lists(struct ways *w, const json_t *one)
{
    size_t n = json_array_size(one);
    if (n > MAX_PLACES)
        return false;
    if (n > 0)
        way(w, json_pack("{s:s, s:I}", "type", "array", "maxItems", (json_int_t)n - 1));
    way(w, json_pack("{s:s, s:I}", "type", "array", "minItems", (json_int_t)n + 1));
    for (size_t i = 0; i < n; i++)
        with_item(w, i, not_value(json_array_get(one, i)));
    return true;
}

/* The objects that differ from one: a property is missing, is another, or is there as well. */
static bool other_objects(struct ways *w, const json_t *one)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)one, name, v)
        if (!without_property(w, name) || !with_property(w, name, not_value(v)))
            return false;
    with_other_names(w, one);
    return true;
}

/* The lists, or the objects, that are none of these `nots`, each of which is {"not": {"const": ...}}. */
static bool other_than(struct ways *w, json_t *nots, const char *type,
                       bool (*others)(struct ways *w, const json_t *one))
{
    if (json_array_size(nots) == 1)
        return others(w, json_object_get(json_object_get(json_array_get(nots, 0), "not"), "const"));
    way(w, json_pack("{s:s, s:O}", "type", type, "allOf", nots));
    return true;
}

/* Everything but these values: words, numbers, lists and objects, each kind in its own ways. */
static bool against_values(struct ways *w, const json_t *values)
{
    json_t *words = json_array(), *lists = json_array(), *objects = json_array(), *v;
    bool known = other_numbers(w, values);
    size_t i;
    json_array_foreach((json_t *)values, i, v) {
        if (!build_spend(w->k->b, json_is_array(v) || json_is_dict(v) ? SCHEMA_MADE : 1))
            break;
        if (json_is_array(v))
            json_array_append_new(lists, not_value(v));
        else if (json_is_dict(v))
            json_array_append_new(objects, not_value(v));
        else if (!json_is_number(v))
            json_array_append(words, v);
    }
    way(w, json_pack("{s:[s,s,s], s:{s:O}}", "type", "string", "boolean", "null", "not", "enum", words));
    known = known && other_than(w, lists, "array", other_lists) && other_than(w, objects, "object", other_objects);
    json_decref(words);
    json_decref(lists);
    json_decref(objects);
    return known;
}

/* Any value but the one, or but those of an enum. */
static bool against_const(struct ways *w, const json_t *v, const struct keyword *by)
{
    json_t *values = by->step ? json_incref((json_t *)v) : json_pack("[O]", (json_t *)v);
    if (!json_is_array(values))
        build_fail(w->k->b, "is no JSON Schema: enum must be an array that is not empty");
    bool known = against_values(w, values);
    json_decref(values);
    return known;
}

/* ---- numbers, strings, counts ---- */

/* Below a minimum, above a maximum. In draft 4 exclusiveMinimum is a boolean beside it. */
static bool against_bound(struct ways *w, const json_t *v, const struct keyword *by)
{
    bool loose = by->flag && json_is_true(json_object_get(w->of, by->flag));
    if (json_is_number(v))
        way(w, json_pack("{s:s, s:O}", "type", "number", loose ? by->loose : by->opposite, (json_t *)v));
    return json_is_number(v) || (!by->flag && json_is_boolean(v));
}

/* One fewer than the least number of characters, items, properties, or one more than the greatest. */
static bool against_count(struct ways *w, const json_t *v, const struct keyword *by)
{
    int64_t n = 0;
    if (json_whole(v, &n) != JSON_WHOLE || n > NO_MAX || n < 0)
        return false;
    if (n + by->step >= 0)
        way(w, json_pack("{s:s, s:I}", "type", by->type, by->opposite, (json_int_t)(n + by->step)));
    return true;
}

/* Of whole numbers only: whether 0.3 is a multiple of 0.1 depends on who divides. */
static bool against_multiple(struct ways *w, const json_t *v, const struct keyword *by)
{
    int64_t step;
    if (json_whole(v, &step) != JSON_WHOLE)
        return false;
    way(w, json_pack("{s:s, s:O}", "type", "integer", by->opposite, (json_t *)v));
    way(w, json_pack("{s:s, s:{s:s}}", "type", "number", "not", "type", "integer"));
    return true;
}

static bool against_pattern(struct ways *w, const json_t *v, const struct keyword *by)
{
    way(w, json_pack("{s:s, s:O}", "type", "string", by->opposite, (json_t *)v));
    return true;
}

/* ---- arrays ---- */

/* Each of the first items may be against its schema. */
static bool against_first(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    if (json_array_size(v) > MAX_PLACES)
        return false;
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!says_nothing(json_array_get(v, i)))
            with_item(w, i, not_this(w, json_array_get(v, i)));
    return true;
}

/* One of the items behind the first is against what holds for them. */
static bool against_rest(struct ways *w, const json_t *v, size_t n_first)
{
    if (says_nothing(v))
        return true;
    if (json_is_false(v))
        way(w, json_pack("{s:s, s:I}", "type", "array", "minItems", (json_int_t)n_first + 1));
    else if (n_first == 0)
        way(w, json_pack("{s:s, s:o}", "type", "array", "contains", not_this(w, v)));
    return json_is_false(v) || n_first == 0;
}

/* Older drafts have the first items in `items`. */
static bool against_items(struct ways *w, const json_t *v, const struct keyword *by)
{
    const json_t *first = json_object_get(w->of, "prefixItems");
    if (json_is_array(v))
        return first || against_first(w, v, by);
    return against_rest(w, v, json_array_size(first));
}

static bool against_more_items(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    const json_t *items = json_object_get(w->of, "items");
    return !json_is_array(items) || against_rest(w, v, json_array_size(items));
}

/* Too few or too many of the items are such. */
static bool against_contains(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    const json_t *least = json_object_get(w->of, "minContains"), *most = json_object_get(w->of, "maxContains");
    int64_t min = 1, max = 0;
    if ((least && json_whole(least, &min) != JSON_WHOLE) || (most && json_whole(most, &max) != JSON_WHOLE))
        return false;
    if (min > 0)
        way(w, json_pack("{s:s, s:O, s:i, s:I}", "type", "array", "contains", (json_t *)v, "minContains", 0,
                         "maxContains", (json_int_t)min - 1));
    if (most)
        way(w, json_pack("{s:s, s:O, s:I}", "type", "array", "contains", (json_t *)v, "minContains",
                         (json_int_t)max + 1));
    return true;
}

/* ---- objects ---- */

/* Some required property is not there. */
static bool against_required(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    json_t *name;
    size_t i;
    json_array_foreach((json_t *)v, i, name) {
        if (!json_is_string(name) || !without_property(w, json_string_value(name)))
            return false;
    }
    return true;
}

/* Some property is there and breaks its schema. */
static bool against_properties(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    const char *name;
    json_t *schema;
    json_object_foreach((json_t *)v, name, schema)
        if (!says_nothing(schema) && !with_property(w, name, not_this(w, schema)))
            return false;
    return true;
}

/* There is one of those that may not be. */
static bool against_others(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    if (says_nothing(v))
        return true;
    if (!json_is_false(v) || json_object_get(w->of, "patternProperties"))
        return false;
    with_other_names(w, json_object_get(w->of, "properties"));
    return true;
}

/* A property is there without one that must come with it. */
static bool against_dependent_names(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    const char *name;
    json_t *with, *other;
    size_t i;
    json_object_foreach((json_t *)v, name, with)
        json_array_foreach(with, i, other)
            if (json_is_string(other) && strcmp(name, json_string_value(other)) != 0 &&
                !way(w, json_pack("{s:s, s:[s], s:{s:b}, s:b}", "type", "object", "required", name, "properties",
                                  json_string_value(other), 0, "additionalProperties", 1)))
                return false;
    return true;
}

/* A property is there, and the whole breaks the schema that comes with it. */
static bool against_dependent_schemas(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    const char *name;
    json_t *schema;
    json_object_foreach((json_t *)v, name, schema)
        if (!way(w, json_pack("{s:s, s:[s], s:O}", "type", "object", "required", name, "not", schema)))
            return false;
    return true;
}

/* ---- schemas of schemas ---- */

/* One of the schemas is broken. */
static bool against_all(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    json_t *schema;
    size_t i;
    json_array_foreach((json_t *)v, i, schema)
        if (!says_nothing(schema) && !way(w, not_this(w, schema)))
            return false;
    return true;
}

/* Each alternative is gone against. */
static bool against_any(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    json_t *schema, *none = json_array();
    size_t i;
    json_array_foreach((json_t *)v, i, schema)
        if (build_spend(w->k->b, 1))
            json_array_append_new(none, not_this(w, schema));
    way(w, json_pack("{s:o}", KEYWORD_TOGETHER, none));
    return true;
}

/* None of them holds, or two do. */
static bool against_one(struct ways *w, const json_t *v, const struct keyword *by)
{
    if (json_array_size(v) > MAX_ONE)
        return false;
    for (size_t i = 0; i < json_array_size(v); i++)
        for (size_t j = 0; j < i; j++)
            way(w, json_pack("{s:[O,O]}", KEYWORD_TOGETHER, json_array_get(v, i), json_array_get(v, j)));
    return against_any(w, v, by);
}

static bool against_not(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    way(w, json_incref((json_t *)v));
    return true;
}

/* The condition holds and `then` is broken, or it does not hold and `else` is. */
static bool against_if(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)by;
    const json_t *then = json_object_get(w->of, "then"), *otherwise = json_object_get(w->of, "else");
    if (then)
        way(w, json_pack("{s:[O,o]}", KEYWORD_TOGETHER, (json_t *)v, not_this(w, then)));
    if (otherwise)
        way(w, json_pack("{s:[o,o]}", KEYWORD_TOGETHER, not_this(w, v), not_this(w, otherwise)));
    return true;
}

static bool against_ref(struct ways *w, const json_t *v, const struct keyword *by)
{
    (void)v;
    const json_t *schema = schema_referred(w->k, w->of, by->step);
    if (schema)
        way(w, not_this(w, schema));
    return true;
}

/* ---- all keywords ---- */

#define KEYWORD(its_name, ...) { .name = its_name, .go = __VA_ARGS__ }

static const struct keyword keywords[] = {
    KEYWORD("type", against_type), KEYWORD("const", against_const), KEYWORD("enum", against_const, .step = 1),
    KEYWORD("minimum", against_bound, .opposite = "exclusiveMaximum", .loose = "maximum", .flag = "exclusiveMinimum"),
    KEYWORD("maximum", against_bound, .opposite = "exclusiveMinimum", .loose = "minimum", .flag = "exclusiveMaximum"),
    KEYWORD("exclusiveMinimum", against_bound, .opposite = "maximum"),
    KEYWORD("exclusiveMaximum", against_bound, .opposite = "minimum"),
    KEYWORD("multipleOf", against_multiple, .opposite = KEYWORD_NO_MULTIPLE),
    KEYWORD("pattern", against_pattern, .opposite = KEYWORD_NO_MATCH),
    KEYWORD("minLength", against_count, .opposite = "maxLength", .type = "string", .step = -1),
    KEYWORD("maxLength", against_count, .opposite = "minLength", .type = "string", .step = 1),
    KEYWORD("minItems", against_count, .opposite = "maxItems", .type = "array", .step = -1),
    KEYWORD("maxItems", against_count, .opposite = "minItems", .type = "array", .step = 1),
    KEYWORD("minProperties", against_count, .opposite = "maxProperties", .type = "object", .step = -1),
    KEYWORD("maxProperties", against_count, .opposite = "minProperties", .type = "object", .step = 1),
    KEYWORD("prefixItems", against_first), KEYWORD("items", against_items),
    KEYWORD("additionalItems", against_more_items), KEYWORD("contains", against_contains),
    KEYWORD("required", against_required), KEYWORD("properties", against_properties),
    KEYWORD("additionalProperties", against_others), KEYWORD("dependentRequired", against_dependent_names),
    KEYWORD("dependentSchemas", against_dependent_schemas), KEYWORD("allOf", against_all),
    KEYWORD("anyOf", against_any), KEYWORD("oneOf", against_one), KEYWORD("not", against_not),
    KEYWORD("if", against_if), KEYWORD("$ref", against_ref), KEYWORD("$dynamicRef", against_ref, .step = 1),
    KEYWORD("format", NULL), KEYWORD("uniqueItems", NULL), KEYWORD("patternProperties", NULL),
    KEYWORD("propertyNames", NULL), KEYWORD("unevaluatedItems", NULL), KEYWORD("unevaluatedProperties", NULL),
    KEYWORD("dependencies", NULL), KEYWORD("nullable", NULL), KEYWORD("contentSchema", NULL),
    KEYWORD("$recursiveRef", NULL), KEYWORD(KEYWORD_OTHER_NAMES, NULL), KEYWORD(KEYWORD_NO_MATCH, NULL),
    KEYWORD(KEYWORD_NO_MULTIPLE, NULL), KEYWORD(KEYWORD_TOGETHER, NULL),
};

/* Adds the ways that one member of the schema gives; false: they are not known. Members that are no keywords give
 * none. */
static bool against_member(struct ways *w, const char *name, const json_t *v)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keywords[i].name, name) == 0)
            return keywords[i].go && keywords[i].go(w, v, &keywords[i]);
    return true;
}

const json_t *schema_ways(struct schema *k, const json_t *schema, const char **unknown)
{
    struct ways w = { .k = k, .of = schema };
    const json_t *known = schema_kept(k, '~', schema);
    const char *name;
    json_t *v;
    *unknown = NULL;
    if (known)
        return known;
    w.list = json_array();
    if (json_is_false(schema))
        way(&w, json_true());
    else if (!json_is_dict(schema) && !json_is_true(schema))
        build_fail(k->b, "is no JSON Schema: a schema must be an object or a boolean");
    if (json_is_dict(schema))
        json_object_foreach((json_t *)schema, name, v)
            if (!*unknown && !k->b->failed && !against_member(&w, name, v))
                *unknown = name;
    if (!*unknown)
        return schema_keep(k, '~', schema, w.list);
    json_decref(w.list);
    return NULL;
}

/* The same for each schema of a list, or of the members of an object. */
static const char *unknown_in(struct schema *k, const json_t *v, int depth)
{
    const char *name, *unknown = NULL;
    json_t *schema;
    size_t i;
    json_array_foreach((json_t *)v, i, schema)
        unknown = unknown ? unknown : schema_unknown_ways(k, schema, depth);
    if (json_is_dict(v))
        json_object_foreach((json_t *)v, name, schema)
            unknown = unknown ? unknown : schema_unknown_ways(k, schema, depth);
    return unknown;
}

const char *schema_unknown_ways(struct schema *k, const json_t *schema, int depth)
{
    static const char *const lists[] = { "properties", "prefixItems", "allOf", "anyOf", "oneOf", "dependentSchemas" };
    static const char *const schemas[] = { "items", "if", "then", "else" };
    const char *unknown;
    if (!json_is_dict(schema) || depth > SCHEMA_DEPTH || schema_kept(k, '?', schema) || !build_spend(k->b, 5))
        return NULL;
    schema_keep(k, '?', schema, json_true());
    schema_ways(k, schema, &unknown);
    for (size_t i = 0; i < sizeof lists / sizeof *lists && !unknown; i++)
        unknown = unknown_in(k, json_object_get(schema, lists[i]), depth + 1);
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas && !unknown; i++)
        unknown = schema_unknown_ways(k, json_object_get(schema, schemas[i]), depth + 1);
    for (int dynamic = 0; dynamic <= 1 && !unknown; dynamic++)
        unknown = schema_unknown_ways(k, schema_referred(k, schema, dynamic), depth + 1);
    return unknown;
}
