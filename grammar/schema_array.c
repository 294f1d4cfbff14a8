/* Arrays: the schemas of the first items, that of the others, and how many there may be. */
#include "grammar/json.h"
#include "grammar/schema.h"

enum { MAX_FIRST = 300 };

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

/* Item i. */
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
