/* Does a value satisfy schemas, and can one satisfy two of them? The first is asked for constants, which are listed
 * only as far as the other schemas allow them; the second for the alternatives of a oneOf, of which exactly one may
 * hold. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "grammar/language.h"
#include "grammar/regex.h"
#include "grammar/schema.h"

enum { APART_DEPTH = 6, FEW_VALUES = 64 };

/* The type of a value as JSON Schema sees it: 1.0 is an integer, and an integer too large for 64 bits is a number whose
 * digits json_big() keeps. */
int schema_type_of(const json_t *v)
{
    int64_t n;
    if (json_big(v, NULL))
        return TYPE_NUMBER;
    switch (json_typeof(v)) {
    case JSON_NULL:    return TYPE_NULL;
    case JSON_TRUE: case JSON_FALSE: return TYPE_BOOL;
    case JSON_STRING:  return TYPE_STRING;
    case JSON_ARRAY:   return TYPE_ARRAY;
    case JSON_OBJECT:  return TYPE_OBJECT;
    case JSON_INTEGER: return TYPE_INT;
    case JSON_REAL:    return json_whole(v, &n) == JSON_NOT_WHOLE ? TYPE_NUMBER : TYPE_INT;
    }
    return 0;
}

/* As JSON Schema has it: 1 and 1.0 are equal. */
bool schema_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

/* Whether the value satisfies one schema, with all that it refers to. */
static bool holds_one(struct schema *k, const json_t *schema, const json_t *v, int depth)
{
    struct schemas s = { .n = 0 };
    schemas_add(k, &s, schema);
    return !s.never && schema_holds(k, &s, v, depth + 1);
}

/* How many of the listed schemas the value satisfies: at least one for anyOf, exactly one for oneOf. */
static int count_holding(struct schema *k, const json_t *list, const json_t *v, int depth)
{
    int n = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        n += holds_one(k, json_array_get(list, i), v, depth);
    return n;
}

/* Whether const and enum, where they are given, hold the value. */
bool schema_is_listed(struct schema *k, const json_t *schema, const json_t *v)
{
    const json_t *one = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
    bool found = !list;
    for (size_t i = 0; i < json_array_size(list) && !found && build_spend(k->b, 4); i++)
        found = schema_equal(json_array_get(list, i), v);
    return found && (!one || schema_equal(one, v));
}

static double bound(const json_t *schema, const char *name, double otherwise)
{
    const json_t *v = json_object_get(schema, name);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

/* Bounds and multipleOf. Draft 4 has exclusiveMinimum as a boolean beside minimum, later drafts as a number of its own.
 * A quotient counts as whole within 1e-9, because 0.3 / 0.1 is not 3 in floating point. */
static bool number_holds(const json_t *schema, double v)
{
    double step = bound(schema, "multipleOf", 0), quotient = step > 0 ? v / step : 0;
    bool above = json_is_true(json_object_get(schema, "exclusiveMinimum"));
    bool below = json_is_true(json_object_get(schema, "exclusiveMaximum"));
    double min = bound(schema, "minimum", -INFINITY), max = bound(schema, "maximum", INFINITY);
    return v >= min && v <= max && !(above && v == min) && !(below && v == max) &&
           v > bound(schema, "exclusiveMinimum", -INFINITY) && v < bound(schema, "exclusiveMaximum", INFINITY) &&
           fabs(quotient - round(quotient)) < 1e-9;
}

/* The length of a string in characters, which is what minLength and maxLength count. */
static double length(const char *s, size_t n)
{
    double chars = 0;
    for (size_t i = 0; i < n; chars++) {
        int len = 1;
        utf8_get(s + i, n - i, &len);
        i += (size_t)len;
    }
    return chars;
}

/* As many items satisfy `contains` as they must. */
static bool contained(struct schema *k, const json_t *schema, const json_t *v, int depth)
{
    const json_t *wanted = json_object_get(schema, "contains");
    double n = 0;
    for (size_t i = 0; wanted && i < json_array_size(v); i++)
        n += holds_one(k, wanted, json_array_get(v, i), depth);
    return !wanted || (n >= bound(schema, "minContains", 1) && n <= bound(schema, "maxContains", INFINITY));
}

static bool unique(struct schema *k, const json_t *schema, const json_t *v)
{
    bool ok = true;
    for (size_t i = 0; json_is_true(json_object_get(schema, "uniqueItems")) && i < json_array_size(v); i++)
        for (size_t j = 0; j < i && ok && build_spend(k->b, 4); j++)
            ok = !schema_equal(json_array_get(v, i), json_array_get(v, j));
    return ok;
}

/* Whether the items of an array satisfy items, prefixItems, contains and uniqueItems, and the limits of their number.
 * Older drafts write prefixItems as an array in `items`, and additionalItems for what comes after. */
static bool array_holds(struct schema *k, const json_t *schema, const json_t *v, int depth)
{
    const json_t *first = json_object_get(schema, "prefixItems"), *rest = json_object_get(schema, "items");
    size_t n = json_array_size(v);
    if (!first && json_is_array(rest)) {
        first = rest;
        rest = json_object_get(schema, "additionalItems");
    }
    rest = rest ? rest : json_object_get(schema, "unevaluatedItems");
    bool ok = (double)n >= bound(schema, "minItems", 0) && (double)n <= bound(schema, "maxItems", INFINITY);
    for (size_t i = 0; i < n && ok; i++) {
        const json_t *mine = i < json_array_size(first) ? json_array_get(first, i) : rest;
        ok = !mine || holds_one(k, mine, json_array_get(v, i), depth);
    }
    return ok && contained(k, schema, v, depth) && unique(k, schema, v);
}

/* Does a regular expression match a string? */
static bool text_fits(struct schema *k, const char *regex, size_t n, bool whole, const char *s, size_t n_s)
{
    struct dfa *d = regex_language(k->b, regex, n, whole);
    bool ok = d && language_has(d, s, n_s);
    dfa_free(d);
    return ok;
}

/* Whether an object satisfies what the schema says of its members. additionalProperties is asked only for members that
 * neither properties nor a pattern describes, and propertyNames for every name. */
static bool object_holds(struct schema *k, const json_t *schema, const json_t *v, int depth)
{
    const char *name, *regex;
    json_t *member, *pattern;
    const json_t *required = json_object_get(schema, "required");
    double n = (double)json_object_size(v);
    bool ok = n >= bound(schema, "minProperties", 0) && n <= bound(schema, "maxProperties", INFINITY);
    for (size_t i = 0; i < json_array_size(required) && ok; i++)
        ok = json_object_get(v, json_string_value(json_array_get(required, i))) != NULL;
    json_object_foreach((json_t *)v, name, member) {
        const json_t *own = json_object_get(json_object_get(schema, "properties"), name);
        const json_t *others = json_object_get(schema, "additionalProperties");
        others = others ? others : json_object_get(schema, "unevaluatedProperties");
        const json_t *names = json_object_get(schema, "propertyNames");
        bool said = own != NULL;
        ok = ok && (!own || holds_one(k, own, member, depth));
        json_object_foreach(json_object_get(schema, "patternProperties"), regex, pattern) {
            if (!ok || !text_fits(k, regex, strlen(regex), false, name, strlen(name)))
                continue;
            said = true;
            ok = holds_one(k, pattern, member, depth);
        }
        ok = ok && (said || !others || holds_one(k, others, member, depth));
        if (ok && names) {
            json_t *text = json_string(name);
            ok = text && holds_one(k, names, text, depth);
            json_decref(text);
        }
    }
    return ok;
}

/* Lengths, the pattern, and a format, if it is one that is known; others say nothing, as the specification allows. */
static bool string_holds(struct schema *k, const json_t *schema, const json_t *v)
{
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    const json_t *pattern = json_object_get(schema, "pattern"), *format = json_object_get(schema, "format");
    const char *regex = json_is_string(format) ? schema_format(json_string_value(format)) : NULL;
    double chars = length(s, n);
    return chars >= bound(schema, "minLength", 0) && chars <= bound(schema, "maxLength", INFINITY) &&
           (!json_is_string(pattern) ||
            text_fits(k, json_string_value(pattern), json_string_length(pattern), false, s, n)) &&
           (!regex || text_fits(k, regex, strlen(regex), true, s, n));
}

/* Whether what must come with a property of the object comes with it: names, or what a schema says. */
static bool dependencies_hold(struct schema *k, const json_t *schema, const json_t *v, int depth)
{
    static const char *const keywords[] = { "dependentRequired", "dependentSchemas", "dependencies" };
    const char *name;
    json_t *with, *other;
    bool ok = true;
    size_t j;
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        json_object_foreach(json_object_get(schema, keywords[i]), name, with) {
            if (!ok || !json_object_get(v, name))
                continue;
            ok = json_is_array(with) || holds_one(k, with, v, depth);
            json_array_foreach(with, j, other)
                ok = ok && json_object_get(v, json_string_value(other)) != NULL;
        }
    return ok;
}

/* What unevaluatedProperties and unevaluatedItems mean for a value is not known here where other schemas apply to
 * it. */
static void check_unevaluated(struct schema *k, const json_t *schema)
{
    static const char *const applied[] = { "$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas",
                                           "contains" };
    for (size_t i = 0; i < sizeof applied / sizeof *applied && schema_has_unevaluated(schema); i++)
        if (json_object_get(schema, applied[i]))
            build_fail(k->b, "uses unevaluatedProperties or unevaluatedItems for a const or an enum beside %s, which "
                       "is not supported", applied[i]);
}

static bool condition_holds(struct schema *k, const json_t *schema, const json_t *v, int depth)
{
    if (!schema_is_condition(schema))
        return true;
    bool with = holds_one(k, json_object_get(schema, "if"), v, depth);
    const json_t *then = json_object_get(schema, with ? "then" : "else");
    return !then || holds_one(k, then, v, depth);
}

/* Whether `v` satisfies every schema of the set, with anyOf and oneOf counted over all their alternatives, unless one
 * of them has been chosen: then it is in the set, with the opposites of those that must not hold beside it. Limits of
 * depth and fuel make the answer no; b->failed then tells the two apart. */
bool schema_holds(struct schema *k, const struct schemas *s, const json_t *v, int depth)
{
    int type = schema_type_of(v);
    if (depth > SCHEMA_DEPTH / 2 || !build_spend(k->b, 1))
        return false;
    bool ok = !s->never && (schema_types(k, s) & type);
    for (int i = 0; i < s->n && ok && !k->b->failed; i++) {
        if (s->m[i].chose & IN_OTHER_WORDS)
            continue;
        const json_t *schema = s->m[i].schema, *any = json_object_get(schema, "anyOf");
        const json_t *one = json_object_get(schema, "oneOf"), *not = json_object_get(schema, "not");
        ok = (s->m[i].chose & CHOSE_LISTED || schema_is_listed(k, schema, v)) &&
             (!any || s->m[i].chose & CHOSE_ANY || count_holding(k, any, v, depth) > 0) &&
             (!one || s->m[i].chose & CHOSE_ONE || count_holding(k, one, v, depth) == 1) &&
             (!not || !holds_one(k, not, v, depth)) && condition_holds(k, schema, v, depth);
        if (type & (TYPE_ARRAY | TYPE_OBJECT))
            check_unevaluated(k, schema);
        if (ok && (type & (TYPE_INT | TYPE_NUMBER)) && json_is_number(v))
            ok = number_holds(schema, json_number_value(v));
        else if (ok && type == TYPE_STRING)
            ok = string_holds(k, schema, v);
        else if (ok && type == TYPE_ARRAY)
            ok = array_holds(k, schema, v, depth);
        else if (ok && type == TYPE_OBJECT)
            ok = object_holds(k, schema, v, depth) && dependencies_hold(k, schema, v, depth);
    }
    return ok && !k->b->failed;
}

/* ---- apart ---- */

/* Whether one schema of x lists its values, and none of these satisfies y. Then the sets are apart, whatever else they
 * say. */
static bool listed_apart(struct schema *k, const struct schemas *x, const struct schemas *y)
{
    for (int i = 0; i < x->n; i++) {
        const json_t *one = json_object_get(x->m[i].schema, "const"), *list = json_object_get(x->m[i].schema, "enum");
        bool apart = one || list;
        if (one)
            apart = !schema_holds(k, y, one, 0);
        for (size_t j = 0; !one && j < json_array_size(list) && apart; j++)
            apart = !schema_holds(k, y, json_array_get(list, j), 0);
        if (apart)
            return true;
    }
    return false;
}

/* Whether one of the schemas demands this member. */
static bool requires(const struct schemas *s, const char *name)
{
    for (int i = 0; i < s->n; i++) {
        const json_t *list = json_object_get(s->m[i].schema, "required");
        for (size_t j = 0; j < json_array_size(list); j++)
            if (json_is_string(json_array_get(list, j)) &&
                strcmp(json_string_value(json_array_get(list, j)), name) == 0)
                return true;
    }
    return false;
}

/* What the schemas say of a property by its name, or by saying that there are no others. */
static void property_of(struct schema *k, const struct schemas *s, const char *name, struct schemas *out)
{
    *out = (struct schemas){ .n = 0 };
    build_spend(k->b, 5 + 5 * (size_t)s->n);
    for (int i = 0; i < s->n; i++) {
        const json_t *schema = s->m[i].schema, *v = json_object_get(json_object_get(schema, "properties"), name);
        bool closed = k->closed && json_object_size(json_object_get(schema, "properties")) > 0 &&
                      !json_object_get(schema, "additionalProperties");
        if (!v && !json_object_get(schema, "patternProperties"))
            v = closed ? json_false() : json_object_get(schema, "additionalProperties");
        if (v)
            schemas_add(k, out, v);
    }
}

/* A property that one requires, and that the other requires too or does not allow, tells them apart. */
static bool objects_apart(struct schema *k, const struct schemas *x, const struct schemas *y, int depth)
{
    for (int i = 0; i < x->n; i++) {
        const json_t *list = json_object_get(x->m[i].schema, "required");
        for (size_t j = 0; j < json_array_size(list) && build_spend(k->b, 1); j++) {
            const char *name = json_string_value(json_array_get(list, j));
            struct schemas in_x, in_y;
            if (!name)
                continue;
            property_of(k, x, name, &in_x);
            property_of(k, y, name, &in_y);
            if (in_y.never || (requires(y, name) && schema_apart(k, &in_x, &in_y, depth + 1)))
                return true;
        }
    }
    return false;
}

/* Takes the bounds of all schemas of a set. What is equal to a strict bound is beyond it. */
static void narrow(const struct schemas *s, double *lo, double *hi)
{
    for (int i = 0; i < s->n; i++) {
        const json_t *schema = s->m[i].schema;
        *lo = fmax(*lo, fmax(bound(schema, "minimum", -INFINITY),
                             nextafter(bound(schema, "exclusiveMinimum", -INFINITY), INFINITY)));
        *hi = fmin(*hi, fmin(bound(schema, "maximum", INFINITY),
                             nextafter(bound(schema, "exclusiveMaximum", INFINITY), -INFINITY)));
    }
}

/* Whether the bounds of all schemas together leave no number. multipleOf is not looked at: then the answer is "not
 * known". */
static bool numbers_apart(const struct schemas *x, const struct schemas *y)
{
    double lo = -INFINITY, hi = INFINITY;
    narrow(x, &lo, &hi);
    narrow(y, &lo, &hi);
    return lo > hi;
}

/* Whether a schema of the set lists a few values of which none satisfies the set. */
static bool none_listed(struct schema *k, const struct schemas *s)
{
    for (int i = 0; i < s->n; i++) {
        const json_t *one = json_object_get(s->m[i].schema, "const"), *list = json_object_get(s->m[i].schema, "enum");
        size_t n = one ? 1 : json_array_size(list), held = 0;
        for (size_t j = 0; n <= FEW_VALUES && j < n && !held; j++)
            held = schema_holds(k, s, one ? one : json_array_get(list, j), 0);
        if (n > 0 && n <= FEW_VALUES)
            return !held;
    }
    return false;
}

/* Whether there is a property that must be there and has no value. */
static bool property_hopeless(struct schema *k, const struct schemas *s, int depth)
{
    for (int i = 0; i < s->n; i++) {
        const json_t *list = json_object_get(s->m[i].schema, "required");
        for (size_t j = 0; j < json_array_size(list) && build_spend(k->b, 1); j++) {
            const char *name = json_string_value(json_array_get(list, j));
            struct schemas value = { .n = 0 };
            if (name)
                property_of(k, s, name, &value);
            if (name && schema_hopeless(k, &value, depth + 1))
                return true;
        }
    }
    return false;
}

bool schema_hopeless(struct schema *k, const struct schemas *s, int depth)
{
    static const struct schemas all = { .n = 0 };
    int types = s->never ? 0 : schema_types(k, s);
    if (!types || !(types & ~(TYPE_INT | TYPE_NUMBER)))
        return !types || numbers_apart(s, &all);
    if (depth > APART_DEPTH)
        return false;
    return none_listed(k, s) || (types == TYPE_OBJECT && property_hopeless(k, s, depth));
}

/* Whether the limits of one kind (lengths, numbers of items) leave no number that both sets allow. */
static bool counts_apart(struct schema *k, const struct schemas *x, const struct schemas *y, const char *min,
                         const char *max)
{
    int64_t x_max = schema_least_of(k, x, max), y_max = schema_least_of(k, y, max);
    return (x_max >= 0 && schema_most_of(k, y, min) > x_max) || (y_max >= 0 && schema_most_of(k, x, min) > y_max);
}

/* Whether patterns and formats have no string in common, or the lengths exclude one another. */
static bool strings_apart(struct schema *k, const struct schemas *x, const struct schemas *y)
{
    struct dfa *a = schema_string_language(k, x), *b = a ? schema_string_language(k, y) : NULL;
    struct dfa *both = b ? language_both(k->b, a, b) : NULL;
    bool apart = both && language_empty(both);
    dfa_free(a);
    dfa_free(b);
    dfa_free(both);
    return apart || counts_apart(k, x, y, "minLength", "maxLength");
}

/* Whether x has a list of alternatives each of which is apart from y: then no value of x can be one of y. */
static bool alternatives_apart(struct schema *k, const struct schemas *x, const struct schemas *y, int depth)
{
    for (int i = 0; i < x->n; i++) {
        const json_t *list = json_object_get(x->m[i].schema, "anyOf");
        list = list ? list : json_object_get(x->m[i].schema, "oneOf");
        bool apart = json_array_size(list) > 0;
        for (size_t j = 0; j < json_array_size(list) && apart; j++) {
            struct schemas one = { .n = 0 };
            schemas_add(k, &one, json_array_get(list, j));
            apart = schema_apart(k, &one, y, depth + 1);
        }
        if (apart)
            return true;
    }
    return false;
}

/* Looks for one reason why no value can satisfy both sets: no common type, listed values that the other refuses, limits
 * that exclude one another, or alternatives that are all apart. null, true and false are the same in every schema, so
 * sets that share these types are apart only by lists or alternatives. Too much work counts as "not known", which is
 * false. */
bool schema_apart(struct schema *k, const struct schemas *x, const struct schemas *y, int depth)
{
    if (x->never || y->never)
        return true;
    if (depth > APART_DEPTH || !build_spend(k->b, 8))
        return false;
    int types = schema_types(k, x) & schema_types(k, y);
    if (!types || listed_apart(k, x, y) || listed_apart(k, y, x))
        return true;
    bool apart = !(types & (TYPE_NULL | TYPE_BOOL));
    if (types & TYPE_OBJECT)
        apart = apart && (objects_apart(k, x, y, depth) || objects_apart(k, y, x, depth));
    if (types & TYPE_ARRAY)
        apart = apart && counts_apart(k, x, y, "minItems", "maxItems");
    if (types & TYPE_STRING)
        apart = apart && strings_apart(k, x, y);
    if (types & (TYPE_INT | TYPE_NUMBER))
        apart = apart && numbers_apart(x, y);
    return apart || alternatives_apart(k, x, y, depth) || alternatives_apart(k, y, x, depth);
}
