/* grammar/names.c - a hash table with open addressing, in which names stay where they are in the source. See
 * names.h. */
#include "grammar/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

void names_free(struct names *t)
{
    free(t->name);
    free(t->slot);
    *t = (struct names){ 0 };
}

/* The slot in which a name is, or the free one where it would go. There is always a free one: widen() sees to it. */
static size_t place_of(const struct names *t, const char *s, size_t n)
{
    size_t k = hash_bytes(s, n).lo & (t->n_slots - 1);
    for (; t->slot[k]; k = (k + 1) & (t->n_slots - 1)) {
        const struct name *x = &t->name[t->slot[k] - 1];
        if (x->n == n && memcmp(x->s, s, n) == 0)
            break;
    }
    return k;
}

/* Doubles the table; its size stays a power of two. -1: memory is out, and the old table is still there. */
static int widen(struct names *t)
{
    size_t n = t->n_slots ? 2 * t->n_slots : 64;
    int32_t *slot = calloc(n, sizeof *slot);
    if (!slot)
        return -1;
    free(t->slot);
    t->slot = slot;
    t->n_slots = n;
    for (size_t i = 0; i < t->n; i++)
        slot[place_of(t, t->name[i].s, t->name[i].n)] = (int32_t)i + 1;
    return 0;
}

/* The rule of a name, which is made when the name is first met, so that rules may be used before they are defined.
 * `defines`: this is the definition, of which there may be one. The name is borrowed from the source's text. */
int32_t names_rule(struct build *b, struct names *t, const char *s, size_t n, bool defines)
{
    if (b->failed)
        return 0;
    if (2 * t->n >= t->n_slots && widen(t) < 0)
        return build_starve(b);
    size_t k = place_of(t, s, n);
    if (!t->slot[k]) {
        int32_t rule = rule_new(b);
        if (b->failed || grow(&t->name, &t->cap, t->n + 1, sizeof *t->name) < 0)
            return build_starve(b);
        t->name[t->n] = (struct name){ .s = s, .n = n, .rule = rule };
        t->slot[k] = (int32_t)++t->n;
    }
    struct name *x = &t->name[t->slot[k] - 1];
    if (defines && x->defined)
        build_fail(b, "defines the rule \"%.*s\" twice", n < 80 ? (int)n : 80, s);
    x->defined |= defines;
    return x->rule;
}

int32_t names_find(const struct names *t, const char *s, size_t n)
{
    size_t k = t->n_slots ? place_of(t, s, n) : 0;
    return t->n_slots && t->slot[k] ? t->name[t->slot[k] - 1].rule : -1;
}

/* Fails the builder at the first name that was used and never defined. */
void names_check(struct build *b, const struct names *t)
{
    for (size_t i = 0; i < t->n && !b->failed; i++)
        if (!t->name[i].defined)
            build_fail(b, "uses the rule \"%.*s\", which it does not define",
                       t->name[i].n < 80 ? (int)t->name[i].n : 80, t->name[i].s);
}
