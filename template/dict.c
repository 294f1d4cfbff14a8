/* template/dict.c - Python's dictionaries.
 *
 * Entries lie in an array in the order of insertion. Beyond a few, a hash index with
 * linear probing finds them. Nothing is ever removed, so the index needs no marks for
 * what is gone. */
#include <string.h>

#include "base/hash.h"
#include "template/syntax.h"

enum { SMALL_DICT = 8 }; /* up to here a search is faster than an index */

static uint64_t mix(uint64_t a, uint64_t b) { return (a ^ b) * 0x9e3779b97f4a7c15ULL ^ (a >> 29); }

/* The hash of a key. Equal keys must have equal hashes, so numbers are hashed as
 * doubles, whatever their type. Lists and mappings cannot be keys. */
static uint64_t hash_of(struct render *r, struct value v)
{
    uint64_t h = 1469598103934665603ULL;
    double f;
    switch (v.kind) {
    case V_STR:
        return hash_bytes(v.u.s->data, v.u.s->len).lo;
    case V_BOOL: case V_INT: case V_BIG: case V_FLOAT: /* 1, 1.0 and True are one key */
        f = tpl_number(v);
        f = f == 0 ? 0 : f;
        memcpy(&h, &f, sizeof h);
        return mix(h, 0x51ed270b);
    case V_LIST: case V_DICT: case V_VIEW:
        tpl_fail(r, "unhashable type: '%s'", tpl_type(v));
    case V_TUPLE:
        tpl_enter(r);
        for (size_t i = 0; i < v.u.list->n; i++)
            h = mix(h, hash_of(r, v.u.list->v[i]));
        tpl_leave(r);
        return h;
    case V_RANGE:
        return mix(h, v.u.range->n);
    case V_NONE: case V_UNDEFINED: case V_MISSING:
        return v.kind;
    default:
        return mix(h, (uintptr_t)v.u.dict);
    }
}

/* An empty mapping with room for as many entries as are expected; it grows when there
 * are more. */
struct dict *tpl_dict(struct render *r, size_t expected)
{
    struct dict *d = tpl_alloc(r, sizeof *d);
    d->cap = expected ? expected : 4;
    d->e = tpl_alloc(r, d->cap * sizeof *d->e);
    return d;
}

/* Builds the hash index anew for all entries. It has at least twice as many places as
 * there can be entries, so a search always meets a free one. */
static void index_all(struct render *r, struct dict *d)
{
    d->index_size = 32;
    while (d->index_size < 2 * d->cap)
        d->index_size *= 2;
    d->index = tpl_alloc(r, d->index_size * sizeof *d->index);
    for (size_t i = 0; i < d->n; i++) {
        size_t at = d->e[i].hash & (d->index_size - 1);
        while (d->index[at])
            at = (at + 1) & (d->index_size - 1);
        d->index[at] = (uint32_t)i + 1;
    }
}

/* The entry of a key, or NULL. Small mappings are searched in order; larger ones by the
 * index, with linear probing. */
static struct entry *find_entry(struct render *r, const struct dict *d, struct value key, uint64_t hash)
{
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (d->e[i].hash == hash && tpl_equal(r, d->e[i].key, key))
                return &d->e[i];
        return NULL;
    }
    for (size_t at = hash & (d->index_size - 1); d->index[at]; at = (at + 1) & (d->index_size - 1)) {
        struct entry *e = &d->e[d->index[at] - 1];
        if (e->hash == hash && tpl_equal(r, e->key, key))
            return e;
    }
    return NULL;
}

struct value *tpl_dict_get(struct render *r, const struct dict *d, struct value key)
{
    struct entry *e = find_entry(r, d, key, hash_of(r, key));
    return e ? &e->value : NULL;
}

/* Looks a key up that is a string. */
struct value *tpl_dict_get_str(struct render *r, const struct dict *d, const struct str *key)
{
    struct value v = { .kind = V_STR, .u.s = (struct str *)(uintptr_t)key };
    return tpl_dict_get(r, d, v);
}

/* Stores a value under a key. A key that is there keeps its place, as in Python. When
 * the entries grow, the index no longer fits and is built again. */
void tpl_dict_set(struct render *r, struct dict *d, struct value key, struct value v)
{
    uint64_t hash = hash_of(r, key);
    struct entry *e = find_entry(r, d, key, hash);
    tpl_charge(r, 1);
    if (e) {
        e->value = v;
        return;
    }
    if (d->n == d->cap) {
        struct entry *more = tpl_alloc(r, 2 * d->cap * sizeof *more);
        memcpy(more, d->e, d->n * sizeof *more);
        d->e = more;
        d->cap *= 2;
        d->index = NULL;
    }
    d->e[d->n++] = (struct entry){ key, v, hash };
    if (d->n > SMALL_DICT && !d->index) {
        index_all(r, d);
    } else if (d->index) {
        size_t at = hash & (d->index_size - 1);
        while (d->index[at])
            at = (at + 1) & (d->index_size - 1);
        d->index[at] = (uint32_t)d->n;
    }
}
