/* Arrays: the schemas of the first items, that of the others, and how many there may be; how many must or may satisfy a
 * further schema (`contains`), and that no two are equal, where the items are a few constants. The last two are counted
 * by rules, one for each state of the counting. */
#include <stdlib.h>

#include "grammar/json.h"
#include "grammar/scan.h"
#include "grammar/schema.h"

enum { MAX_FIRST = 300, MAX_COUNTED = 32 /* items that `contains` counts */, MAX_UNIQUE = 7,
       MAX_ORDERED = 500 };

struct array {
    struct schema *k;          /* borrowed */
    const struct schemas *s;   /* borrowed */
    uint64_t seen[SCHEMA_SET]; /* schema_see() */
    size_t n_first;            /* items with schemas of their own; those behind them have one together */
    int64_t min, max;          /* items; NO_MAX: no limit */
};

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

/* What a schema says of item i, by prefixItems or else by what holds for the rest; NULL: nothing. */
static const json_t *item_of(const json_t *schema, size_t i)
{
    const json_t *first = first_of(schema);
    return i < json_array_size(first) ? json_array_get(first, i) : rest_of(schema);
}

/* What unevaluatedItems of schema j says of item i; NULL: it has been evaluated. Which items `contains` evaluates is
 * known only once they are there. */
static const json_t *unevaluated_item(const struct array *a, int j, size_t i)
{
    const json_t *v = json_object_get(a->s->m[j].schema, "unevaluatedItems");
    for (int l = 0; l < a->s->n && v && !json_is_true(v); l++) {
        const json_t *within = a->s->m[l].schema;
        if (!(a->seen[j] >> l & 1))
            continue;
        if (json_object_get(within, "contains"))
            build_fail(a->k->b, "uses \"unevaluatedItems\" beside \"contains\", which is not supported");
        if (item_of(within, i) || (l != j && json_object_get(within, "unevaluatedItems")))
            v = NULL;
    }
    return v;
}

/* What all schemas of the set say of item i. */
static struct schemas item_set(const struct array *a, size_t i)
{
    struct schemas one = { .n = 0 };
    for (int j = 0; j < a->s->n; j++) {
        const json_t *mine = item_of(a->s->m[j].schema, i), *unevaluated = unevaluated_item(a, j, i);
        if (mine)
            schemas_add(a->k, &one, mine);
        if (unevaluated)
            schemas_add(a->k, &one, unevaluated);
    }
    return one;
}

static int32_t item(const struct array *a, size_t i)
{
    struct schemas one = item_set(a, i);
    return schema_value(a->k, &one);
}

/* "[]", also with space in it. */
static int32_t empty_list(struct build *b)
{
    return expr_pair(b, expr_str(b, "["), expr_pair(b, json_expr(b, JSON_SPACE), expr_str(b, "]")));
}

/* ---- contains ---- */

struct counting {              /* of items, and of those among them that are wanted; up to what makes a difference */
    const struct array *a;     /* borrowed */
    const json_t *wanted;      /* borrowed: the schema of those */
    int  need, most;           /* of them; most < 0: no limit   */
    int  states;               /* of the items: 0 .. states - 1 */
    int32_t rule[MAX_COUNTED + 2][MAX_COUNTED + 1];
};

/* Item i as one that is wanted, or as one that is not counted. Where there may be only so many, the latter must not be
 * what is wanted; else it may. */
static int32_t counted_item(struct counting *c, size_t i, bool wanted)
{
    struct schemas one = item_set(c->a, i);
    if (wanted)
        schemas_add(c->a->k, &one, c->wanted);
    else if (c->most >= 0)
        schemas_add(c->a->k, &one, schema_not(c->a->k, c->wanted));
    return schema_value(c->a->k, &one);
}

/* The state of the wanted ones behind which more make no difference, or may not come. */
static int last_count(const struct counting *c) { return c->most < 0 ? c->need : c->most; }

/* What may follow behind i items, of which j were wanted. With no limit, the last state of the items is all further
 * ones. */
static int32_t counted_rest(struct counting *c, int i, int j)
{
    struct build *b = c->a->k->b;
    int32_t comma = i ? json_comma(b) : expr_empty(b), more = EXPR_NONE;
    bool last = i == c->states - 1, enough = j >= c->need, further = j < last_count(c);
    if (last && c->a->max != NO_MAX)
        return enough ? expr_empty(b) : EXPR_NONE;
    if (further)
        more = expr_seq(b, (int32_t[]){ comma, counted_item(c, (size_t)i, true),
                                        expr_rule(b, c->rule[last ? i : i + 1][j + 1]) }, 3);
    int32_t other = expr_pair(b, comma, counted_item(c, (size_t)i, false));
    if (last)
        return expr_pair(b, expr_repeat(b, other, 0, NO_MAX), enough ? expr_optional(b, more) : more);
    more = expr_or(b, more, expr_pair(b, other, expr_rule(b, c->rule[i + 1][j])));
    return i > 0 && i >= c->a->min && enough ? expr_optional(b, more) : more;
}

/* The list between the brackets, of one item at least. */
static int32_t counted(struct counting *c)
{
    struct build *b = c->a->k->b;
    for (int i = 0; i < c->states; i++)
        for (int j = 0; j <= last_count(c); j++)
            c->rule[i][j] = rule_new(b);
    for (int i = c->states - 1; i >= 0 && !b->failed; i--)
        for (int j = last_count(c); j >= 0; j--)
            rule_set(b, c->rule[i][j], counted_rest(c, i, j));
    return expr_rule(b, c->rule[0][0]);
}

/* Whether the number of items that satisfy `contains` matters, and how: in c. */
static bool is_counted(const struct array *a, struct counting *c)
{
    bool any = false;
    *c = (struct counting){ .a = a };
    for (int i = 0; i < a->s->n; i++) {
        struct schemas alone = { .m = { a->s->m[i] }, .n = 1 };
        const json_t *wanted = json_object_get(a->s->m[i].schema, "contains");
        int64_t need = schema_most_of(a->k, &alone, "minContains"), most = schema_least_of(a->k, &alone, "maxContains");
        need = need < 0 ? 1 : need;
        if (!wanted || (need == 0 && most < 0))
            continue;
        if (any)
            build_fail(a->k->b, "uses \"contains\" in two schemas for one array, which is not supported");
        if (need > MAX_COUNTED || most > MAX_COUNTED)
            build_fail(a->k->b, "uses \"contains\" for more than %d items, which is not supported", MAX_COUNTED);
        any = true;
        c->wanted = wanted;
        c->need = (int)need;
        c->most = (int)most;
    }
    return any;
}

/* Arrays in which some items must match: a state for each length up to the bound, so lengths are limited. */
static int32_t containing(struct counting *c)
{
    struct build *b = c->a->k->b;
    int64_t max = c->a->max, states = max == NO_MAX ? c->a->min : max;
    if (max == NO_MAX && states < (int64_t)c->a->n_first)
        states = (int64_t)c->a->n_first;
    if (states > MAX_COUNTED)
        return build_fail(b, "uses \"contains\" beside more than %d items, which is not supported", MAX_COUNTED);
    c->states = states < 1 ? 2 : (int)states + 1;      /* the first item has no comma */
    int32_t full = max > 0 ? json_brackets(b, "[", counted(c), "]") : EXPR_NONE;
    return c->a->min == 0 && c->need == 0 ? expr_or(b, full, empty_list(b)) : full;
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
static int values_of(struct schema *k, const struct schemas *items, const json_t *value[MAX_UNIQUE], int n)
{
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
        return items->never ? n : -1;
    const json_t *all[] = { json_true(), json_false(), json_null() };
    for (int i = 0; i < 3 && n >= 0; i++)
        n = add_value(k, items, value, n, all[i]);
    return n;
}

/* The values of all items that there may be, and by place which of them may stand there, as bits. There are as many
 * places as values: no two are equal. -1: they are not a few. */
static int unique_values(const struct array *a, const json_t *value[MAX_UNIQUE], unsigned fits[MAX_UNIQUE])
{
    int n = 0;
    for (size_t i = 0; i <= a->n_first && (int64_t)i < a->max && n >= 0; i++) {
        struct schemas items = item_set(a, i);
        n = values_of(a->k, &items, value, n);
    }
    for (size_t i = 0; i < MAX_UNIQUE; i++) {
        struct schemas items = item_set(a, i);
        fits[i] = 0;
        for (int v = 0; v < n; v++)
            fits[i] |= schema_holds(a->k, &items, value[v], 0) ? 1u << v : 0;
    }
    return n;
}

/* The values of the items in the order in which a schema lists them, each once at most: more than a few would have too
 * many orders. EXPR_NONE: there is no such list. */
static int32_t in_order(const struct array *a)
{
    struct build  *b = a->k->b;
    struct schemas items = item_set(a, 0);
    const json_t  *list = NULL;
    struct exprs   l = { 0 };
    for (int i = 0; i < items.n && !list; i++)
        list = json_object_get(items.m[i].schema, "enum");
    size_t n = json_array_size(list);
    if (a->n_first || n == 0 || n > MAX_ORDERED)
        return EXPR_NONE;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        bool again = !schema_holds(a->k, &items, v, 0);
        for (size_t j = 0; j < i && !again && build_spend(b, 1); j++)
            again = schema_equal(json_array_get(list, j), v);
        if (again)
            continue;
        exprs_add(b, &l, schema_json(b, v, 0));
        exprs_add(b, &l, false);
    }
    int64_t min = a->min < 1 ? 1 : a->min, max = a->max < (int64_t)l.n / 2 ? a->max : NO_MAX;
    int32_t full = json_brackets(b, "[", expr_chain(b, json_comma(b), EXPR_NONE, l.x, l.n / 2, (int32_t)min,
                                                    (int32_t)max), "]");
    free(l.x);
    return a->min == 0 ? expr_or(b, full, empty_list(b)) : full;
}

/* Rules for the sets of values that were there: what may follow each. */
static int32_t all_different(const struct array *a)
{
    struct build *b = a->k->b;
    const json_t *value[MAX_UNIQUE];
    unsigned fits[MAX_UNIQUE];
    int32_t  rule[1 << MAX_UNIQUE], ordered;
    int n = b->failed ? -1 : unique_values(a, value, fits);
    if (n < 0 && (ordered = in_order(a)) != EXPR_NONE)
        return ordered;
    if (n < 0)
        return build_fail(b, "uses the keyword \"uniqueItems\" for other items than up to %d that are listed, which is "
                          "not supported", MAX_ORDERED);
    for (int set = 0; set < 1 << n; set++)
        rule[set] = rule_new(b);
    for (int set = 0; set < 1 << n && !b->failed; set++) {
        struct exprs l = { 0 };
        int there = __builtin_popcount((unsigned)set);
        for (int i = 0; i < n && there < a->max; i++)
            if (!(set >> i & 1) && fits[there] >> i & 1)
                exprs_add(b, &l, expr_pair(b, schema_json(b, value[i], 0), expr_rule(b, rule[set | 1 << i])));
        int32_t more = exprs_alt(b, &l);
        more = set ? expr_pair(b, json_comma(b), more) : more;
        rule_set(b, rule[set], there >= a->min && set ? expr_optional(b, more) : more);
    }
    int32_t full = a->max == 0 || n == 0 ? EXPR_NONE : json_brackets(b, "[", expr_rule(b, rule[0]), "]");
    return a->min == 0 ? expr_or(b, full, empty_list(b)) : full;
}

/* ---- all arrays ---- */

/* The items from the end backwards: from each one on the list may stop where there are enough. */
static int32_t listed(const struct array *a)
{
    struct build *b = a->k->b;
    int64_t n = (int64_t)a->n_first, left = a->max - n, least = a->min > n ? a->min - n : 0;
    int32_t others = item(a, a->n_first), list = expr_empty(b);
    if (n == 0 && a->max > 0) {
        int32_t more = expr_repeat(b, expr_pair(b, json_comma(b), others), (int32_t)(least ? least - 1 : 0),
                                   a->max == NO_MAX ? NO_MAX : (int32_t)a->max - 1);
        list = expr_pair(b, others, more);
    } else if (left > 0)
        list = expr_repeat(b, expr_pair(b, json_comma(b), others), (int32_t)least,
                           a->max == NO_MAX ? NO_MAX : (int32_t)left);
    for (int64_t i = n; i-- > 0 && !b->failed;) {
        if (i >= a->max) {
            list = expr_empty(b);
            continue;
        }
        list = expr_pair(b, item(a, (size_t)i), list);
        if (i > 0)
            list = expr_pair(b, json_comma(b), list);
        if (i > 0 && i >= a->min)
            list = expr_optional(b, list);
    }
    int32_t full = a->max > 0 ? json_brackets(b, "[", list, "]") : EXPR_NONE;
    return a->min == 0 ? expr_or(b, full, empty_list(b)) : full;
}

/* The expression of all arrays that every one of these schemas allows: bounds are the narrowest, and the first items
 * those of the longest list. EXPR_NONE: no array can satisfy them all. */
int32_t schema_array(struct schema *k, const struct schemas *s)
{
    struct array a = { .k = k, .s = s };
    struct counting c;
    int64_t max = schema_least_of(k, s, "maxItems");
    a.min = schema_most_of(k, s, "minItems");
    a.min = a.min < 0 ? 0 : a.min;
    a.max = max < 0 || max >= NO_MAX ? NO_MAX : max;
    for (int j = 0; j < s->n; j++) {
        size_t mine = json_array_size(first_of(s->m[j].schema));
        a.n_first = mine > a.n_first ? mine : a.n_first;
    }
    schema_see(k, s, a.seen);
    if (a.n_first > MAX_FIRST)
        return build_fail(k->b, "uses \"prefixItems\" with more than %d items", MAX_FIRST);
    if (a.min > a.max || a.min >= NO_MAX)
        return EXPR_NONE;
    bool counts = is_counted(&a, &c), unique = all_unique(s) && a.max > 1;
    if (k->b->failed)                  /* maybe because there are too many to count */
        return EXPR_NONE;
    if (unique && counts)
        return build_fail(k->b, "uses \"uniqueItems\" beside \"contains\", which is not supported");
    if (unique)
        return all_different(&a);
    return counts ? containing(&c) : listed(&a);
}
