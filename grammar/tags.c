/* Free text in which tags may stand. A tag begins where one of the triggers has been written; which tags those are is
 * told by how they begin. While the text is free the automaton only knows how much of a trigger was just seen. */
#include <string.h>

#include "grammar/sources.h"

enum { MAX_TAGS = 512, MAX_TRIGGERS = 64 };

/* The tag behind its first `skip` bytes, which are there already. */
static int32_t tag_expr(struct build *b, const struct grammar_tag *t, size_t skip, int depth)
{
    int32_t part[3] = { expr_marked(b, t->begin + skip, strlen(t->begin) - skip),
                        source_expr(b, &t->content, depth + 1), expr_marked(b, t->end, strlen(t->end)) };
    return expr_seq(b, part, 3);
}

/* One tag after the other, without anything else but the separator. */
static int32_t only_tags(struct build *b, const struct grammar_source *s, int depth)
{
    int32_t tag[MAX_TAGS];
    for (int i = 0; i < s->n_tags; i++)
        tag[i] = tag_expr(b, &s->tag[i], 0, depth);
    int32_t rule = rule_new(b);
    rule_set(b, rule, expr_alt(b, tag, (size_t)s->n_tags));
    int32_t any = expr_rule(b, rule), list = any;
    if (!s->at_most_one) {
        int32_t between = s->separator ? expr_marked(b, s->separator, strlen(s->separator)) : expr_empty(b);
        list = expr_pair(b, any, expr_repeat(b, expr_pair(b, between, any), 0, NO_MAX));
    }
    return s->at_least_one ? list : expr_optional(b, list);
}

static bool starts_with(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

/* The tags that trigger i begins. */
static int32_t tags_of(struct build *b, const struct grammar_source *s, int i, int depth)
{
    int32_t tag[MAX_TAGS];
    size_t n = 0;
    for (int k = 0; k < s->n_tags; k++)
        if (starts_with(s->tag[k].begin, s->trigger[i]))
            tag[n++] = tag_expr(b, &s->tag[k], strlen(s->trigger[i]), depth);
    return expr_alt(b, tag, n);
}

/* The limits of GRAMMAR_TAGS: how many tags and triggers there may be, no empty trigger, and that every tag begins with
 * a trigger, without which it could never start. -1: the builder has failed. */
static int check(struct build *b, const struct grammar_source *s)
{
    if (s->n_tags < 1 || s->n_tags > MAX_TAGS || s->n_triggers > MAX_TRIGGERS) {
        build_fail(b, "must have 1 to %d tags and at most %d triggers", MAX_TAGS, MAX_TRIGGERS);
        return -1;
    }
    for (int i = 0; i < s->n_triggers; i++)
        if (!s->trigger[i][0]) {
            build_fail(b, "has an empty trigger");
            return -1;
        }
    for (int k = 0; k < s->n_tags; k++) {
        bool found = s->n_triggers == 0;
        for (int i = 0; i < s->n_triggers; i++)
            found |= starts_with(s->tag[k].begin, s->trigger[i]);
        if (!found) {
            build_fail(b, "has a tag that begins with none of the triggers: %.80s", s->tag[k].begin);
            return -1;
        }
    }
    return 0;
}

/* Free text that ends where a trigger was written, then a tag that begins with it, and so on; at the end free text
 * without a trigger. Which tag it is follows from the text behind the trigger. Without triggers there is no free text
 * and only_tags() writes the tags one after the other. */
int32_t tags_expr(struct build *b, const struct grammar_source *s, int depth)
{
    int32_t trigger[MAX_TRIGGERS], found[MAX_TRIGGERS];
    size_t n = (size_t)s->n_triggers;
    if (check(b, s) < 0)
        return EXPR_NONE;
    if (n == 0)
        return only_tags(b, s, depth);
    for (size_t i = 0; i < n; i++)
        trigger[i] = expr_str(b, s->trigger[i]);
    for (size_t i = 0; i < n; i++)
        found[i] = expr_pair(b, expr_until(b, trigger, n, i), tags_of(b, s, (int)i, depth));
    int32_t rule = rule_new(b), rest = expr_free(b, trigger, n);
    rule_set(b, rule, expr_alt(b, found, n));
    int32_t one = expr_rule(b, rule);
    if (s->at_most_one)
        return s->at_least_one ? one : expr_or(b, one, rest);
    return expr_pair(b, expr_repeat(b, one, s->at_least_one, NO_MAX), rest);
}
