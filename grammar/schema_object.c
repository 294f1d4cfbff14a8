/* Objects: the properties that are named come in the order in which they are named, then others, if there may be any.
 * The order is a choice: it keeps the automaton as long as the list, and a model that is asked to explain itself in the
 * first property does so before it answers in the second. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "grammar/json.h"
#include "grammar/language.h"
#include "grammar/regex.h"
#include "grammar/scan.h"
#include "grammar/schema.h"

enum { MAX_PATTERNS = 6, MAX_COUNTED = 3000 };

struct pattern { const char *s; struct dfa *names; };

struct object {
    struct schema *k;          /* borrowed */
    const struct schemas *s;   /* borrowed */
    uint64_t seen[SCHEMA_SET]; /* schema_see() */
    json_t *named;             /* owned: the named properties in order; true: it is required            */
    struct pattern pattern[MAX_PATTERNS];      /* languages owned: of all patternProperties             */
    int n_patterns;
    struct dfa *names;         /* owned: what propertyNames allows; NULL: everything                    */
    bool no_others;            /* the only name that may be there is a named one                        */
    bool other_needed;         /* one that is not named must be there                                   */
    int64_t min, max;          /* properties; max < 0: no limit                                         */
};

/* Remembers a property once, in the order in which it was first named. Being required is never taken back. */
static void add_named(struct object *o, const char *name, bool required)
{
    if (!build_spend(o->k->b, 1))
        return;
    if (!json_object_get(o->named, name) || required)
        if (json_object_set_new(o->named, name, json_boolean(required)) < 0)
            build_starve(o->k->b);
}

/* Remembers a pattern of patternProperties, each once, with the language of the names that it matches. */
static void add_pattern(struct object *o, const char *s)
{
    for (int i = 0; i < o->n_patterns; i++)
        if (strcmp(o->pattern[i].s, s) == 0)
            return;
    if (o->n_patterns == MAX_PATTERNS) {
        build_fail(o->k->b, "uses \"patternProperties\" with more than %d patterns", MAX_PATTERNS);
        return;
    }
    struct dfa *names = regex_language(o->k->b, s, strlen(s), false);
    if (names)
        o->pattern[o->n_patterns++] = (struct pattern){ s, names };
}

/* A member that must be an object, or NULL where it is not given. */
static const json_t *dict_of(struct schema *k, const json_t *schema, const char *name)
{
    const json_t *v = json_object_get(schema, name);
    if (v && !json_is_dict(v))
        build_fail(k->b, "is no JSON Schema: %s must be an object", name);
    return v;
}

/* What a schema says of properties that it neither names nor has a pattern for; NULL: nothing. */
static const json_t *others_of(const struct schema *k, const json_t *schema)
{
    const json_t *v = json_object_get(schema, "additionalProperties");
    bool closed = k->closed && json_object_size(json_object_get(schema, "properties")) > 0 &&
                  !json_object_get(schema, "unevaluatedProperties");
    return !v && closed ? json_false() : v;
}

/* Reads from all schemas of the set which properties are named, which patterns there are, what is required, which names
 * are allowed at all, and how many members there may be. Several propertyNames are intersected. A schema that is false
 * as propertyNames forbids all others. */
static void collect(struct object *o)
{
    struct schema *k = o->k;
    const char *name;
    json_t *v;
    size_t j;
    for (int i = 0; i < o->s->n && !k->b->failed; i++) {
        const json_t *schema = o->s->m[i].schema, *required = json_object_get(schema, "required");
        json_object_foreach((json_t *)dict_of(k, schema, "properties"), name, v)
            add_named(o, name, false);
        json_object_foreach((json_t *)dict_of(k, schema, "patternProperties"), name, v)
            add_pattern(o, name);
        json_array_foreach(json_object_get(schema, KEYWORD_OTHER_NAMES), j, v)
            add_named(o, json_string_value(v), false);
        if (required && !json_is_array(required) && !json_is_boolean(required))
            build_fail(k->b, "is no JSON Schema: required must be an array of strings");
    }
    for (int i = 0; i < o->s->n && !k->b->failed; i++) {
        const json_t *required = json_object_get(o->s->m[i].schema, "required");
        const json_t *names = json_object_get(o->s->m[i].schema, "propertyNames");
        for (j = 0; j < json_array_size(required); j++) {
            const json_t *one = json_array_get(required, j);
            if (json_is_string(one))
                add_named(o, json_string_value(one), true);
            else
                build_fail(k->b, "is no JSON Schema: required must be an array of strings");
        }
        if (!names || json_is_true(names))
            continue;
        struct schemas of = { .n = 0 };
        schemas_add(k, &of, names);
        for (j = 0; j < (size_t)of.n; j++)
            if (json_object_get(of.m[j].schema, "anyOf") || json_object_get(of.m[j].schema, "oneOf"))
                build_fail(k->b, "uses \"propertyNames\" with alternatives, which is not supported");
        o->no_others |= of.never;
        struct dfa *language = of.never ? NULL : schema_names(k, &of);
        if (language && o->names) {
            struct dfa *both = language_both(k->b, o->names, language);
            dfa_free(language);
            language = both;
        }
        if (language) {
            dfa_free(o->names);
            o->names = language;
        }
    }
    int64_t min = schema_most_of(k, o->s, "minProperties");
    o->min = min < 0 ? 0 : min;
    o->max = schema_least_of(k, o->s, "maxProperties");
}

/* ---- the value of a property ---- */

/* Adds what one schema says of a property by its name or by patterns, and else of all others. `name` NULL: one that is
 * not named, whose patterns are those of `which`. value NULL: only whether it says anything is asked. */
static bool add_said(struct object *o, struct schemas *value, const json_t *schema, const char *name, unsigned which)
{
    const json_t *patterns = json_object_get(schema, "patternProperties");
    const json_t *own = name ? json_object_get(json_object_get(schema, "properties"), name) : NULL;
    bool said = own != NULL;
    if (own && value)
        schemas_add(o->k, value, own);
    for (int i = 0; i < o->n_patterns; i++) {
        const json_t *v = json_object_get(patterns, o->pattern[i].s);
        bool fits = name ? language_has(o->pattern[i].names, name, strlen(name)) : which >> i & 1;
        if (!v || !fits)
            continue;
        if (value)
            schemas_add(o->k, value, v);
        said = true;
    }
    const json_t *others = said ? NULL : others_of(o->k, schema);
    if (others && value)
        schemas_add(o->k, value, others);
    return said || others;
}

/* Adds what schema i of the set says of a property, also where nobody has said anything. */
static void add_value(struct object *o, struct schemas *value, int i, const char *name, unsigned which)
{
    const json_t *unevaluated = json_object_get(o->s->m[i].schema, "unevaluatedProperties");
    bool said = add_said(o, value, o->s->m[i].schema, name, which);
    for (int j = 0; j < o->s->n && unevaluated && !said; j++) {
        const json_t *within = o->s->m[j].schema;
        if (j != i && o->seen[i] >> j & 1)
            said = json_object_get(within, "unevaluatedProperties") || add_said(o, NULL, within, name, which);
    }
    if (unevaluated && !said)
        schemas_add(o->k, value, unevaluated);
}

static int32_t pair(struct object *o, int32_t key, const struct schemas *value)
{
    struct build *b = o->k->b;
    return expr_seq(b, (int32_t[]){ key, json_colon(b), schema_value(o->k, value) }, 3);
}

/* The expression of one named property: its name and a value that satisfies what all schemas of the set say of it.
 * EXPR_NONE: it may not be there at all. */
static int32_t named(struct object *o, const char *name)
{
    struct schemas value = { .n = 0 };
    if (o->no_others || (o->names && !language_has(o->names, name, strlen(name))))
        return EXPR_NONE;
    for (int i = 0; i < o->s->n; i++)
        add_value(o, &value, i, name, 0);
    return value.never ? EXPR_NONE : pair(o, json_text(o->k->b, name, strlen(name)), &value);
}

/* The names that are not named, match the patterns of `which` and no other pattern; NULL: all names. */
static struct dfa *free_names(struct object *o, unsigned which)
{
    struct build *b = o->k->b;
    struct dfa *x = o->names ? language_both(b, o->names, o->names) : NULL;
    const char *name;
    json_t *v;
    struct exprs l = { 0 };
    json_object_foreach(o->named, name, v) {
        struct exprs word = { 0 };
        for (size_t i = 0, n = strlen(name); i < n;) {
            int len = 1;
            uint32_t c = utf8_get(name + i, n - i, &len);
            exprs_add(b, &word, expr_class(b, &(struct range){ c, c }, 1, WRITE_UTF8));
            i += (size_t)len;
        }
        exprs_add(b, &l, exprs_seq(b, &word));
    }
    bool any = l.n > 0;
    int32_t words = exprs_alt(b, &l);
    for (int i = -1; i < o->n_patterns && !b->failed; i++) {
        if (i < 0 && !any)
            continue;
        struct dfa *one = i < 0 ? language_make(b, words) : NULL;
        const struct dfa *names = i < 0 ? one : o->pattern[i].names;
        bool in = i >= 0 && which >> i & 1;
        struct dfa *by = in ? language_both(b, names, names) : language_not(b, names);
        dfa_free(one);
        struct dfa *both = x && by ? language_both(b, x, by) : by;
        if (both != by)
            dfa_free(by);
        if (x)
            dfa_free(x);
        x = both;
    }
    return x;
}

/* The expression of any property that is not named. Which schemas hold for its value depends on the patterns that its
 * name matches, so there is an alternative for each combination of them that some name has. EXPR_NONE: there may be no
 * others. */
static int32_t others(struct object *o)
{
    struct build *b = o->k->b;
    struct exprs l = { 0 };
    for (unsigned which = 0; !o->no_others && which < 1u << o->n_patterns && !b->failed; which++) {
        struct schemas value = { .n = 0 };
        for (int i = 0; i < o->s->n; i++)
            add_value(o, &value, i, NULL, which);
        if (value.never)
            continue;
        struct dfa *names = free_names(o, which);
        if (names && language_empty(names)) {
            dfa_free(names);
            continue;
        }
        int32_t key = names ? json_quoted(b, expr_lang(b, names, WRITE_JSON)) : json_expr(b, JSON_ANY_STRING);
        exprs_add(b, &l, pair(o, key, &value));
    }
    return exprs_alt(b, &l);
}

/* ---- the whole ---- */

/* The least number of properties, as far as it is not there anyway. Names that are not named may come twice, and then
 * count once: more than one of them cannot be asked for. */
static int64_t least(struct object *o, size_t n_required, bool free_names_too)
{
    int64_t min = o->min <= (int64_t)n_required ? 0 : o->min;
    if (free_names_too && min > 1)
        build_fail(o->k->b, "uses \"minProperties\" of more than 1 where the names are free, which is not supported");
    return min;
}

/* The whole object: the named properties in their order, those that are not required may be missing, then others. The
 * chain cannot be empty, so {} is an alternative of its own where nothing is required. A maximum that cannot be reached
 * is dropped, because counting multiplies the states. */
static int32_t list(struct object *o, int32_t other)
{
    struct build *b = o->k->b;
    struct exprs items = { 0 };
    const char *name;
    json_t *required;
    size_t n_required = o->other_needed;
    json_object_foreach(o->named, name, required) {
        int32_t x = named(o, name);
        n_required += json_is_true(required);
        exprs_add(b, &items, x);
        exprs_add(b, &items, json_is_true(required));
    }
    if (o->other_needed) {
        exprs_add(b, &items, other);
        exprs_add(b, &items, true);
    }
    int64_t min = least(o, n_required, other != EXPR_NONE), max = o->max;
    size_t n = items.n / 2;
    if (other == EXPR_NONE && max >= (int64_t)n)
        max = -1;
    if (n > 0 && max >= 0 && (max > MAX_COUNTED || max * ((int64_t)n + 1) > MAX_COUNTED))
        build_fail(b, "uses \"maxProperties\" with too many named properties");
    int32_t x = EXPR_NONE;
    if (max != 0 && max < NO_MAX)
        x = expr_chain(b, json_comma(b), other, items.x, n, (int32_t)(min < 1 ? 1 : min),
                       max < 0 ? NO_MAX : (int32_t)max);
    free(items.x);
    int32_t full = x == EXPR_NONE ? x : json_brackets(b, "{", x, "}");
    int32_t empty = expr_pair(b, expr_str(b, "{"), expr_pair(b, json_expr(b, JSON_SPACE), expr_str(b, "}")));
    return n_required == 0 && min == 0 ? expr_or(b, full, empty) : full;
}

static bool has_name(const json_t *names, const char *name)
{
    json_t *v;
    size_t i;
    json_array_foreach((json_t *)names, i, v)
        if (strcmp(json_string_value(v), name) == 0)
            return true;
    return false;
}

/* The same, with a property outside each of the lists of names that schemas of the set from `i` on have: one of the
 * named properties that are not in the list, or one that is not named. */
static int32_t lists(struct object *o, int i, int32_t other)
{
    struct build *b = o->k->b;
    const json_t *inside = NULL;
    const char *name;
    json_t *required;
    struct exprs l = { 0 };
    for (; i < o->s->n && !inside; i++)
        inside = json_object_get(o->s->m[i].schema, KEYWORD_OTHER_NAMES);
    if (!inside)
        return list(o, other);
    json_object_foreach(o->named, name, required) {
        if (has_name(inside, name) || !build_spend(b, 1))
            continue;
        json_t *was = json_incref(required);
        json_object_set_new(o->named, name, json_true());
        exprs_add(b, &l, lists(o, i, other));
        json_object_set_new(o->named, name, was);
    }
    bool was = o->other_needed;
    o->other_needed = true;
    if (other != EXPR_NONE)
        exprs_add(b, &l, lists(o, i, other));
    o->other_needed = was;
    return exprs_alt(b, &l);
}

/* An object is collected first and then written, because what one schema of the set says of a property (required,
 * another pattern) changes what the others mean. */
int32_t schema_object(struct schema *k, const struct schemas *s)
{
    struct object o = { .k = k, .s = s, .named = json_object() };
    if (!o.named)
        return build_starve(k->b);
    schema_see(k, s, o.seen);
    collect(&o);
    int32_t x = k->b->failed ? EXPR_NONE : lists(&o, 0, others(&o));
    json_decref(o.named);
    dfa_free(o.names);
    for (int i = 0; i < o.n_patterns; i++)
        dfa_free(o.pattern[i].names);
    return x;
}
