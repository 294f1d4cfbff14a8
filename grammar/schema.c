/* Sets of schemas, and what every type has in common. */
#include "grammar/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "grammar/grammar.h"
#include "grammar/json.h"
#include "grammar/scan.h"
#include "grammar/sources.h"

enum { MAX_TOGETHER = 4 };

/* Keywords of the specification that would narrow what a value may be, and that are not done. */
static const char *const refused[] = {
    "$recursiveRef", "contentSchema",
};

/* ---- sets ---- */

/* Keywords that restrict values in a way that is not done here are refused by name: ignoring one would let wrong values
 * through. */
static void check_keywords(struct schema *k, const json_t *schema)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (json_object_get(schema, refused[i]))
            build_fail(k->b, "uses the keyword \"%s\", which is not supported", refused[i]);
}

/* Adds what a schema of the set says in keywords that others can say. */
static void add_other_words(struct schema *k, struct schemas *s, const json_t *schema)
{
    json_t *v;
    size_t i;
    json_array_foreach((json_t *)schema_in_other_words(k, schema), i, v) {
        int n = s->n;
        schemas_add(k, s, v);
        if (s->n > n)
            s->m[n].chose |= IN_OTHER_WORDS;
    }
}

/* Adds one schema to the set, and with it what its references and allOf name, since all of these must hold for the same
 * value. true and {} say nothing and are left out; false makes the set impossible. One that is already there is not
 * added again, which ends references that go round in a circle. */
void schemas_add(struct schema *k, struct schemas *s, const json_t *schema)
{
    const json_t *together = json_object_get(schema, KEYWORD_TOGETHER);
    for (size_t i = 0; i < json_array_size(together); i++)
        schemas_add(k, s, json_array_get(together, i));
    if (together || !build_spend(k->b, 15 + (size_t)s->n / 2))
        return;
    if (json_is_true(schema) || (json_is_object(schema) && json_object_size(schema) == 0) || k->b->failed)
        return;
    if (json_is_false(schema)) {
        s->never = true;
        return;
    }
    if (!json_is_dict(schema)) {
        build_fail(k->b, "is no JSON Schema: a schema must be an object or a boolean");
        return;
    }
    for (int i = 0; i < s->n; i++)
        if (s->m[i].schema == schema)
            return;
    if (s->n == SCHEMA_SET) {
        build_fail(k->b, "has more than %d schemas that must hold for one value", SCHEMA_SET);
        return;
    }
    check_keywords(k, schema);
    s->m[s->n++] = (struct member){ .schema = schema };
    const json_t *all = json_object_get(schema, "allOf"), *other;
    for (int dynamic = 0; dynamic <= 1; dynamic++)
        if ((other = schema_referred(k, schema, dynamic)))
            schemas_add(k, s, other);
    if (all && !json_is_array(all))
        build_fail(k->b, "is no JSON Schema: allOf must be an array");
    for (size_t i = 0; i < json_array_size(all) && build_spend(k->b, 1); i++)
        schemas_add(k, s, json_array_get(all, i));
    add_other_words(k, s, schema);
}

/* Any fixed order will do: equal sets must only come out equal. */
static int by_schema(const void *x, const void *y)
{
    const struct member *a = x, *b = y;
    if (a->schema != b->schema)
        return (uintptr_t)a->schema < (uintptr_t)b->schema ? -1 : 1;
    return a->chose - b->chose;
}

static bool same_set(const struct memo *a, const struct member *m, int n)
{
    bool same = a->n == n;
    for (int i = 0; same && i < n; i++)
        same = a->m[i].schema == m[i].schema && a->m[i].chose == m[i].chose;
    return same;
}

/* The slot of a set of n schemas in the table of those that have become rules, or the free one where it would go.
 * Schemas are compared by where they lie in memory: the request's JSON does not move while it is compiled. */
static size_t place_of(const struct schema *k, const struct member *m, int n)
{
    struct hash h = { 0, 0 };
    for (int i = 0; i < n; i++) {
        uintptr_t word[2] = { (uintptr_t)m[i].schema, (uintptr_t)m[i].chose };
        h = hash_chain(h, word, sizeof word);
    }
    size_t at = h.lo & (k->n_slots - 1);
    while (k->slot[at] && !same_set(&k->memo[k->slot[at] - 1], m, n))
        at = (at + 1) & (k->n_slots - 1);
    return at;
}

/* Doubles the table of sets; its size stays a power of two. -1: memory is out, and the old table is still there. */
static int widen(struct schema *k)
{
    size_t n = k->n_slots ? 2 * k->n_slots : 64;
    int32_t *slot = calloc(n, sizeof *slot);
    if (!slot)
        return -1;
    free(k->slot);
    k->slot = slot;
    k->n_slots = n;
    for (size_t i = 0; i < k->n_memos; i++)
        slot[place_of(k, k->memo[i].m, k->memo[i].n)] = (int32_t)i + 1;
    return 0;
}

/* Remembers the rule of a set. -1: memory is out. */
static int remember(struct schema *k, size_t at, const struct schemas *s, int32_t rule)
{
    struct member *m = malloc((size_t)s->n * sizeof *m);
    if (!m || grow(&k->memo, &k->cap_memos, k->n_memos + 1, sizeof *k->memo) < 0) {
        free(m);
        return -1;
    }
    memcpy(m, s->m, (size_t)s->n * sizeof *m);
    k->memo[k->n_memos] = (struct memo){ m, s->n, rule };
    k->slot[at] = (int32_t)++k->n_memos;
    return 0;
}

/* ---- types ---- */

/* The types that a name of the specification stands for. Every integer is a number, so "number" allows both. */
int schema_type_bit(struct schema *k, const json_t *v)
{
    static const struct { const char *name; int types; } known[] = {
        { "null", TYPE_NULL }, { "boolean", TYPE_BOOL }, { "integer", TYPE_INT }, { "number", TYPE_INT | TYPE_NUMBER },
        { "string", TYPE_STRING }, { "array", TYPE_ARRAY }, { "object", TYPE_OBJECT } };
    for (size_t i = 0; json_is_string(v) && i < sizeof known / sizeof *known; i++)
        if (strcmp(json_string_value(v), known[i].name) == 0)
            return known[i].types;
    build_fail(k->b, "is no JSON Schema: the type %.40s is unknown",
               json_is_string(v) ? json_string_value(v) : "given");
    return 0;
}

/* The types that all schemas of a set allow. A schema without "type" allows every type. */
int schema_types(struct schema *k, const struct schemas *s)
{
    int types = TYPE_ALL;
    build_spend(k->b, 2 + 2 * (size_t)s->n);
    for (int i = 0; i < s->n; i++) {
        const json_t *v = json_object_get(s->m[i].schema, "type");
        int mine = v && !json_is_array(v) ? schema_type_bit(k, v) : 0;
        for (size_t j = 0; j < json_array_size(v); j++)
            mine |= schema_type_bit(k, json_array_get(v, j));
        types &= v ? mine : TYPE_ALL;
        if (json_is_true(json_object_get(s->m[i].schema, "nullable")) && v)
            types |= TYPE_NULL;                     /* OpenAPI 3.0 */
    }
    for (int i = 0; i < s->n; i++) {
        const json_t *not = json_object_get(s->m[i].schema, "not");
        types &= ~schema_types_not(k, not);
    }
    return types;
}

/* A limit that must be a whole number of at least 0; -1: it is not set. One too large for 64 bits is as good as no
 * limit. */
static int64_t bound(struct schema *k, const json_t *schema, const char *name)
{
    const json_t *v = json_object_get(schema, name);
    int64_t n = -1;
    if (!v)
        return -1;
    enum json_whole is = json_whole(v, &n);
    if (is == JSON_TOO_LARGE)
        return INT64_MAX;
    if (is != JSON_WHOLE || n < 0)
        build_fail(k->b, "is no JSON Schema: %s must be a number of at least 0", name);
    return n;
}

/* The strictest of the lower limits with this name. */
int64_t schema_most_of(struct schema *k, const struct schemas *s, const char *name)
{
    int64_t most = -1;
    for (int i = 0; i < s->n; i++) {
        int64_t v = bound(k, s->m[i].schema, name);
        most = v > most ? v : most;
    }
    return most;
}

/* The strictest of the upper limits with this name; -1: none is set. */
int64_t schema_least_of(struct schema *k, const struct schemas *s, const char *name)
{
    int64_t least = -1;
    for (int i = 0; i < s->n; i++) {
        int64_t v = bound(k, s->m[i].schema, name);
        least = v >= 0 && (least < 0 || v < least) ? v : least;
    }
    return least;
}

/* ---- values ---- */

/* One value as JSON writes it, with the white space that may stand in it; for constants. Where several texts are the
 * same number, as 2 and 2.0, both are allowed. */
int32_t schema_json(struct build *b, const json_t *v, int depth)
{
    struct exprs l = { 0 };
    const char *key;
    json_t *member;
    char *text;
    if (depth > GRAMMAR_MAX_NESTING)
        return build_fail(b, "has a constant that is nested more than %d deep", GRAMMAR_MAX_NESTING);
    if (json_is_string(v))
        return json_text(b, json_string_value(v), json_string_length(v));
    if (json_is_dict(v) || json_is_array(v)) {
        bool object = json_is_object(v);
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (l.n)
                exprs_add(b, &l, json_comma(b));
            exprs_add(b, &l, schema_json(b, json_array_get(v, i), depth + 1));
        }
        json_object_foreach((json_t *)v, key, member) {
            if (l.n)
                exprs_add(b, &l, json_comma(b));
            exprs_add(b, &l, json_text(b, key, strlen(key)));
            exprs_add(b, &l, json_colon(b));
            exprs_add(b, &l, schema_json(b, member, depth + 1));
        }
        if (l.n == 0)
            return expr_str(b, object ? "{}" : "[]");
        return json_brackets(b, object ? "{" : "[", exprs_seq(b, &l), object ? "}" : "]");
    }
    size_t n;
    const char *big = json_big(v, &n);
    if (big)
        return expr_bytes(b, big, n);
    if (!(text = json_dumps(v, JSON_ENCODE_ANY)))
        return build_starve(b);
    int32_t x = expr_str(b, text);
    free(text);
    int64_t whole;
    if (json_is_real(v) && json_whole(v, &whole) == JSON_WHOLE) {       /* 2.0 is 2 */
        char digits[32];
        snprintf(digits, sizeof digits, "%lld", (long long)whole);
        x = expr_or(b, x, expr_str(b, digits));
    }
    return x;
}

/* The constants that schema i of the set lists, as far as the others hold for them. */
static int32_t constants(struct schema *k, const struct schemas *s, int i, const json_t *one, const json_t *list)
{
    struct exprs l = { 0 };
    struct schemas others = *s;
    others.m[i].chose |= CHOSE_LISTED;
    size_t n = one ? 1 : json_array_size(list);
    if (!one && (!json_is_array(list) || n == 0))
        return build_fail(k->b, "is no JSON Schema: enum must be an array that is not empty");
    for (size_t j = 0; j < n && build_spend(k->b, 1); j++) {
        const json_t *v = one ? one : json_array_get(list, j);
        if (schema_holds(k, &others, v, 0))
            exprs_add(k->b, &l, schema_json(k->b, v, 0));
    }
    return exprs_alt(k->b, &l);
}

/* Notes that a value may satisfy alternatives x and y of a oneOf together: neither may hold beside the other. */
static void note_overlap(struct schema *k, const json_t *list, json_t *overlaps, size_t x, size_t y)
{
    const char *unknown = build_spend(k->b, 20) ? schema_unknown_ways(k, json_array_get(list, x), 0) : NULL;
    unknown = unknown ? unknown : schema_unknown_ways(k, json_array_get(list, y), 0);
    if (unknown)
        build_fail(k->b, "uses \"oneOf\" with alternatives that one value may satisfy together (numbers %zu and "
                   "%zu), and would have to leave out what \"%.40s\" describes, which is not supported; with "
                   "\"anyOf\" it is", x, y, unknown);
    if (json_array_append_new(json_array_get(overlaps, x), json_integer((json_int_t)y)) < 0 ||
        json_array_append_new(json_array_get(overlaps, y), json_integer((json_int_t)x)) < 0)
        build_starve(k->b);
}

/* For each alternative of a oneOf the numbers of those that may hold for the same value. Found out once for each
 * schema: every two are compared. NULL: the builder has failed. */
static const json_t *overlaps_of(struct schema *k, const json_t *schema)
{
    const json_t *list = json_object_get(schema, "oneOf"), *known = schema_kept(k, 'o', schema);
    size_t n = json_array_size(list);
    if (known || !build_spend(k->b, n * n))
        return known;
    struct schemas *set = calloc(n, sizeof *set);
    json_t *overlaps = json_array();
    for (size_t x = 0; x < n && set; x++) {
        schemas_add(k, &set[x], json_array_get(list, x));
        json_array_append_new(overlaps, json_array());
    }
    for (size_t x = 0; x < n && set; x++)
        for (size_t y = x + 1; y < n && !k->b->failed; y++)
            if (!schema_apart(k, &set[x], &set[y], 0) && !k->b->failed)
                note_overlap(k, list, overlaps, x, y);
    if (!set)
        build_starve(k->b);
    free(set);
    return schema_keep(k, 'o', schema, overlaps);
}

/* Of a oneOf exactly one alternative may hold. So beside alternative x none of those must hold that overlap with it. */
static void add_exclusions(struct schema *k, struct schemas *s, const json_t *schema, size_t x)
{
    const json_t *list = json_object_get(schema, "oneOf");
    json_t *y;
    size_t i;
    json_array_foreach(json_array_get(overlaps_of(k, schema), x), i, y)
        schemas_add(k, s, schema_not(k, json_array_get(list, (size_t)json_integer_value(y))));
}

/* The set in which alternatives of schema i are chosen. What only says other schemas' words has been said then. */
static struct schemas chosen(const struct schemas *s, int i, int flag)
{
    struct schemas set = *s;
    set.m[i].chose |= flag;
    if (!(set.m[i].chose & IN_OTHER_WORDS) || json_object_size(set.m[i].schema) > 1)
        return set;
    set.n--;
    memmove(set.m + i, set.m + i + 1, (size_t)(set.n - i) * sizeof *set.m);
    return set;
}

/* Do several alternatives of an anyOf together say more than each alone? Only where it counts whether something is said
 * of a property or an item. */
static bool says_more_together(const struct schema *k, const struct schemas *s, int i, size_t n)
{
    bool asked = false;
    for (int j = 0; j < s->n && k->unevaluated; j++)
        asked |= schema_has_unevaluated(s->m[j].schema);
    return asked && n > 1 && n <= MAX_TOGETHER && !(s->m[i].chose & IN_OTHER_WORDS);
}

static void add_set(struct schema *k, struct exprs *l, const struct schemas *s)
{
    if (!schema_hopeless(k, s, 0))
        exprs_add(k->b, l, schema_value(k, s));
}

/* Every alternative of one anyOf or oneOf, together with the rest of the set, as a choice. */
static int32_t alternatives(struct schema *k, const struct schemas *s, int i, const char *name, int flag)
{
    const json_t *list = json_object_get(s->m[i].schema, name);
    struct exprs l = { 0 };
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n == 0)
        return build_fail(k->b, "is no JSON Schema: %s must be an array that is not empty", name);
    bool together = flag == CHOSE_ANY && says_more_together(k, s, i, n);
    for (unsigned some = 1; together && some < 1u << n; some++) {
        struct schemas several = chosen(s, i, flag);
        for (size_t x = 0; x < n; x++)
            if (some >> x & 1)
                schemas_add(k, &several, json_array_get(list, x));
        add_set(k, &l, &several);
    }
    for (size_t x = 0; x < n && !together && build_spend(k->b, 1); x++) {
        struct schemas one = chosen(s, i, flag);
        schemas_add(k, &one, json_array_get(list, x));
        if (flag == CHOSE_ONE)
            add_exclusions(k, &one, s->m[i].schema, x);
        add_set(k, &l, &one);
    }
    return exprs_alt(k->b, &l);
}

/* true and false, as far as they may be. */
static int32_t booleans(struct schema *k, const struct schemas *s)
{
    int32_t yes = schema_excludes(k, s, json_true()) ? EXPR_NONE : expr_str(k->b, "true");
    return expr_or(k->b, yes, schema_excludes(k, s, json_false()) ? EXPR_NONE : expr_str(k->b, "false"));
}

/* The values that the set allows, type by type. Used when nothing lists values or alternatives: the types are then
 * disjoint, and each has its own file. */
static int32_t by_type(struct schema *k, const struct schemas *s)
{
    struct exprs l = { 0 };
    int types = schema_types(k, s);
    if (types & TYPE_OBJECT)
        exprs_add(k->b, &l, schema_object(k, s));
    if (types & TYPE_ARRAY)
        exprs_add(k->b, &l, schema_array(k, s));
    if (types & TYPE_STRING)
        exprs_add(k->b, &l, schema_string(k, s));
    if (types & (TYPE_INT | TYPE_NUMBER))
        exprs_add(k->b, &l, schema_number(k, s, types));
    if (types & TYPE_BOOL)
        exprs_add(k->b, &l, booleans(k, s));
    if (types & TYPE_NULL && !schema_excludes(k, s, json_null()))
        exprs_add(k->b, &l, expr_str(k->b, "null"));
    return exprs_alt(k->b, &l);
}

/* Where a schema lists constants, they are tried one by one, whatever else there is. Else alternatives are resolved,
 * each into a set with one of them chosen; what is left is described by types. `chose` marks what has been resolved, so
 * that the recursion makes progress. */
static int32_t value_of(struct schema *k, const struct schemas *s)
{
    for (int i = 0; i < s->n; i++) {
        const json_t *one = json_object_get(s->m[i].schema, "const"), *list = json_object_get(s->m[i].schema, "enum");
        if (one || list)
            return constants(k, s, i, one, list);
    }
    for (int i = 0; i < s->n; i++) {
        const json_t *schema = s->m[i].schema;
        if (json_object_get(schema, "anyOf") && !(s->m[i].chose & CHOSE_ANY))
            return alternatives(k, s, i, "anyOf", CHOSE_ANY);
        if (json_object_get(schema, "oneOf") && !(s->m[i].chose & CHOSE_ONE))
            return alternatives(k, s, i, "oneOf", CHOSE_ONE);
    }
    return by_type(k, s);
}

/* The rule of a set; it is there before its body, which may refer to it. */
int32_t schema_value(struct schema *k, const struct schemas *s)
{
    struct schemas sorted = *s;
    if (k->b->failed || s->never)
        return EXPR_NONE;
    if (s->n == 0)
        return json_expr(k->b, JSON_ANY_VALUE);
    if (k->depth > SCHEMA_DEPTH)
        return build_fail(k->b, "has schemas that are nested more than %d deep", SCHEMA_DEPTH);
    qsort(sorted.m, (size_t)sorted.n, sizeof *sorted.m, by_schema);
    if (2 * k->n_memos >= k->n_slots && widen(k) < 0)
        return build_starve(k->b);
    size_t at = place_of(k, sorted.m, sorted.n);
    if (k->slot[at])
        return expr_rule(k->b, k->memo[k->slot[at] - 1].rule);
    int32_t rule = build_spend(k->b, 100 + 20 * (size_t)s->n) ? rule_new(k->b) : 0;
    if (k->b->failed || remember(k, at, &sorted, rule) < 0)
        return build_starve(k->b);
    k->depth++;
    rule_set(k->b, rule, value_of(k, s));
    k->depth--;
    return expr_rule(k->b, rule);
}

void schema_free(struct schema *k)
{
    for (size_t i = 0; i < k->n_memos; i++)
        free(k->memo[i].m);
    free(k->memo);
    free(k->slot);
    json_decref(k->address);
    json_decref(k->made);
}

/* The expression of all values that a schema allows, for grammar_compile(). Sets that were met before are found in
 * k.memo, which is how a schema may refer to itself. */
int32_t schema_expr(struct build *b, const json_t *schema, const json_t *root, bool closed)
{
    struct schema k = { .b = b, .root = root, .closed = closed };
    struct schemas s = { .n = 0 };
    k.unevaluated = schema_mentions_unevaluated(&k, root, 0);
    schemas_add(&k, &s, schema);
    int32_t x = schema_value(&k, &s);
    schema_free(&k);
    return x;
}
