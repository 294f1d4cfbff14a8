/* Arrays: the schemas of the first items, that of the others, and how many there may be; how many must satisfy a
 * further schema (`contains`), and that no two are equal, where the items are a few constants. The last two are counted
 * by rules, one for each state of the counting. */
#include <string.h>

#include "grammar/json.h"
#include "grammar/scan.h"
#include "grammar/schema.h"

enum { MAX_FIRST = 300, MAX_COUNTED = 32 /* items that `contains` counts */, MAX_UNIQUE = 7 };

/* prefixItems, or the list that `items` was in older drafts. */
static const json_t *first_of(const json_t *schema)
{
    const json_t *first = json_object_get(schema, "prefixItems"), *items = json_object_get(schema, "items");
    return first || !json_is_array(items) ? first : items;
}

/* What holds for the items behind those. */
static const json_t *rest_of(const json_t *schema)
{
    const json_t *items = json_object_get(schema, "items");
    return json_is_array(items) ? json_object_get(schema, "additionalItems") : items;
}

/* The expression of item i: what all schemas of the set say of that place, by prefixItems or else by what holds for the
 * rest. */
static int32_t item(struct schema *k, const struct schemas *s, size_t i)
{
    struct schemas one = { .n = 0 };
    for (int j = 0; j < s->n; j++) {
        const json_t *first = first_of(s->m[j].schema), *rest = rest_of(s->m[j].schema);
        const json_t *mine = i < json_array_size(first) ? json_array_get(first, i) : rest;
        if (mine)
            schemas_add(k, &one, mine);
    }
    return schema_value(k, &one);
}

/* ---- contains ---- */

struct counting {              /* of items, and of those among them that are wanted; up to what makes a difference */
    struct schema *k;
    int32_t item, wanted;      /* rules */
    int  min, max, need;       /* max: -1: no limit */
    int  states;               /* of the items: 0 .. states - 1 */
    int32_t rule[MAX_COUNTED + 1][MAX_COUNTED + 1];
};

/* What may follow behind i items, of which j were wanted. With no limit, the last state of the items is all further
 * ones. */
static int32_t counted_rest(struct counting *c, int i, int j)
{
    struct build *b = c->k->b;
    int32_t comma = i ? json_comma(b) : expr_empty(b);
    bool last = i == c->states - 1;
    if (last && c->max >= 0)
        return j == c->need ? expr_empty(b) : EXPR_NONE;
    if (last) {
        int32_t others = expr_repeat(b, expr_pair(b, comma, c->item), 0, NO_MAX);
        if (j == c->need)
            return others;
        return expr_seq(b, (int32_t[]){ others, comma, c->wanted, expr_rule(b, c->rule[i][j + 1]) }, 4);
    }
    int32_t more = expr_pair(b, c->item, expr_rule(b, c->rule[i + 1][j]));
    if (j < c->need)
        more = expr_or(b, more, expr_pair(b, c->wanted, expr_rule(b, c->rule[i + 1][j + 1])));
    more = expr_pair(b, comma, more);
    return i >= c->min && j == c->need ? expr_optional(b, more) : more;
}

/* The list between the brackets, which is not empty because something is wanted. */
static int32_t counted(struct counting *c)
{
    struct build *b = c->k->b;
    for (int i = 0; i < c->states; i++)
        for (int j = 0; j <= c->need; j++)
            c->rule[i][j] = rule_new(b);
    for (int i = c->states - 1; i >= 0 && !b->failed; i--)
        for (int j = c->need; j >= 0; j--)
            rule_set(b, c->rule[i][j], counted_rest(c, i, j));
    return expr_rule(b, c->rule[0][0]);
}

/* How many items have to satisfy `contains`; 0: nobody asks for it. *at: which schema says so. */
static int64_t wanted_items(struct schema *k, const struct schemas *s, int *at)
{
    int64_t need = 0;
    for (int i = 0; i < s->n; i++) {
        const json_t *schema = s->m[i].schema;
        struct schemas alone = { .m = { s->m[i] }, .n = 1 };
        if (!json_object_get(schema, "contains"))
            continue;
        int64_t mine = schema_most_of(k, &alone, "minContains");
        mine = mine < 0 ? 1 : mine;
        if (json_object_get(schema, "maxContains"))
            build_fail(k->b, "uses the keyword \"maxContains\", which is not supported");
        if (need && mine)
            build_fail(k->b, "uses \"contains\" in two schemas for one array, which is not supported");
        if (mine) {
            need = mine;
            *at = i;
        }
    }
    return need;
}

static int32_t containing(struct schema *k, const struct schemas *s, int at, int64_t need, int64_t min, int64_t max)
{
    struct counting c = { .k = k, .min = (int)min, .max = max == NO_MAX ? -1 : (int)max, .need = (int)need };
    int64_t most = max == NO_MAX ? min : max;
    if (most > MAX_COUNTED || need > MAX_COUNTED)
        return build_fail(k->b, "uses \"contains\" beside more than %d items, which is not supported", MAX_COUNTED);
    struct schemas wanted = { .n = 0 };
    for (int i = 0; i < s->n; i++)
        if (rest_of(s->m[i].schema))
            schemas_add(k, &wanted, rest_of(s->m[i].schema));
    c.item = schema_value(k, &wanted);
    schemas_add(k, &wanted, json_object_get(s->m[at].schema, "contains"));
    c.wanted = schema_value(k, &wanted);
    c.states = (int)most + 1;
    if (c.states < 2)
        c.states = 2;                  /* the first item has no comma */
    if (max != NO_MAX && max < need)
        return EXPR_NONE;
    return json_brackets(k->b, "[", counted(&c), "]");
}

/* ---- uniqueItems ---- */

static bool all_unique(const struct schemas *s)
{
    bool any = false;
    for (int i = 0; i < s->n; i++)
        any |= json_is_true(json_object_get(s->m[i].schema, "uniqueItems"));
    return any;
}

/* Adds a value that an item may be, unless it is there already or is none. -1: there are too many. */
static int add_value(struct schema *k, const struct schemas *items, const json_t **value, int n, const json_t *v)
{
    for (int i = 0; i < n; i++)
        if (schema_equal(value[i], v))
            return n;
    if (!schema_holds(k, items, v, 0))
        return n;
    if (n == MAX_UNIQUE)
        return -1;
    value[n] = v;
    return n + 1;
}

/* All values of the items, if they are listed, or are true, false and null; -1: they are not a few. */
static int values_of(struct schema *k, const struct schemas *items, const json_t *value[MAX_UNIQUE])
{
    int n = 0;
    for (int i = 0; i < items->n; i++) {
        const json_t *one = json_object_get(items->m[i].schema, "const"), *v;
        const json_t *list = json_object_get(items->m[i].schema, "enum");
        size_t j;
        if (one)
            return add_value(k, items, value, n, one);
        json_array_foreach((json_t *)list, j, v)
            if ((n = add_value(k, items, value, n, v)) < 0)
                return -1;
        if (list)
            return n;
    }
    if (items->never || !items->n || schema_types(k, items) & ~(TYPE_BOOL | TYPE_NULL))
        return items->never ? 0 : -1;
    n = add_value(k, items, value, n, json_true());
    n = add_value(k, items, value, n, json_false());
    return add_value(k, items, value, n, json_null());
}

/* Rules for the sets of values that were there: what may follow each. */
static int32_t all_different(struct schema *k, const struct schemas *s, int64_t min, int64_t max)
{
    struct build  *b = k->b;
    struct schemas items = { .n = 0 };
    const json_t  *value[MAX_UNIQUE];
    int32_t rule[1 << MAX_UNIQUE];
    for (int i = 0; i < s->n; i++)
        if (rest_of(s->m[i].schema))
            schemas_add(k, &items, rest_of(s->m[i].schema));
    int n = b->failed ? -1 : values_of(k, &items, value);
    if (n < 0)
        return build_fail(b, "uses the keyword \"uniqueItems\" for other items than up to %d that are listed, which is "
                          "not supported", MAX_UNIQUE);
    for (int set = 0; set < 1 << n; set++)
        rule[set] = rule_new(b);
    for (int set = 0; set < 1 << n && !b->failed; set++) {
        struct exprs l = { 0 };
        int there = __builtin_popcount((unsigned)set);
        for (int i = 0; i < n && there < max; i++)
            if (!(set >> i & 1))
                exprs_add(b, &l, expr_pair(b, schema_json(b, value[i], 0), expr_rule(b, rule[set | 1 << i])));
        int32_t more = exprs_alt(b, &l);
        more = set ? expr_pair(b, json_comma(b), more) : more;
        rule_set(b, rule[set], there >= min && set ? expr_optional(b, more) : more);
    }
    int32_t empty = expr_pair(b, expr_str(b, "["), expr_pair(b, json_expr(b, JSON_SPACE), expr_str(b, "]")));
    int32_t full = json_brackets(b, "[", expr_rule(b, rule[0]), "]");
    if (max == 0 || n == 0)
        full = EXPR_NONE;
    return min == 0 ? expr_or(b, full, empty) : full;
}

/* ---- all arrays ---- */

/* The items from the end backwards: from each one on the list may stop where there are enough. */
int32_t schema_array(struct schema *k, const struct schemas *s)
{
    struct build *b = k->b;
    int64_t min = schema_most_of(k, s, "minItems"), max = schema_least_of(k, s, "maxItems");
    size_t n = 0;
    for (int j = 0; j < s->n; j++) {
        size_t mine = json_array_size(first_of(s->m[j].schema));
        n = mine > n ? mine : n;
    }
    min = min < 0 ? 0 : min;
    max = max < 0 || max >= NO_MAX ? NO_MAX : max;
    if (n > MAX_FIRST)
        return build_fail(b, "uses \"prefixItems\" with more than %d items", MAX_FIRST);
    if (min > max || min >= NO_MAX)
        return EXPR_NONE;
    int at = 0;
    int64_t need = wanted_items(k, s, &at);
    bool unique = all_unique(s) && max > 1;
    if (unique && need)
        return build_fail(b, "uses \"uniqueItems\" beside \"contains\", which is not supported");
    if (n && (unique || need))
        return build_fail(b, "uses \"%s\" beside the schemas of the first items, which is not supported",
                          unique ? "uniqueItems" : "contains");
    if (unique)
        return all_different(k, s, min, max);
    if (need)
        return containing(k, s, at, need, min, max);
    int32_t others = item(k, s, n), list = expr_empty(b);
    int64_t left = max - (int64_t)n, least = min > (int64_t)n ? min - (int64_t)n : 0;
    if (n == 0 && max > 0) {
        int32_t more = expr_repeat(b, expr_pair(b, json_comma(b), others), (int32_t)(least ? least - 1 : 0),
                                   max == NO_MAX ? NO_MAX : (int32_t)max - 1);
        list = expr_pair(b, others, more);
    } else if (left > 0)
        list = expr_repeat(b, expr_pair(b, json_comma(b), others), (int32_t)least,
                           max == NO_MAX ? NO_MAX : (int32_t)left);
    for (size_t i = n; i-- > 0 && !b->failed;) {
        if ((int64_t)i >= max) {
            list = expr_empty(b);
            continue;
        }
        list = expr_pair(b, item(k, s, i), list);
        if (i > 0)
            list = expr_pair(b, json_comma(b), list);
        if (i > 0 && (int64_t)i >= min)
            list = expr_optional(b, list);
    }
    int32_t empty = expr_pair(b, expr_str(b, "["), expr_pair(b, json_expr(b, JSON_SPACE), expr_str(b, "]")));
    int32_t full = max > 0 ? json_brackets(b, "[", list, "]") : EXPR_NONE;
    return min == 0 ? expr_or(b, full, empty) : full;
}
