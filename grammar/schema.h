/* grammar/schema.h - JSON Schema (draft 2020-12, and what older drafts call otherwise), as far as texts can be made of
 * it: the parts of schema*.c. A value has to satisfy a set of schemas: the one that was asked for, what it refers to,
 * all of its allOf, and one alternative of each anyOf and oneOf. Each set becomes a rule, once.
 *
 * A keyword that is known and cannot be done is refused by name. Words that the specification does not know say
 * nothing, as it wants. */
#ifndef GRAMMAR_SCHEMA_H
#define GRAMMAR_SCHEMA_H
#include <jansson.h>

#include "grammar/build.h"
#include "grammar/dfa.h"

enum { SCHEMA_SET = 24, SCHEMA_DEPTH = 100 };

/* Its anyOf, its oneOf, its enum or const is represented by an alternative of it. */
enum { CHOSE_ANY = 1, CHOSE_ONE = 2, CHOSE_LISTED = 4 };

struct member { const json_t *schema; int chose; };

struct schemas {               /* a value satisfies all of them */
    struct member m[SCHEMA_SET];
    int  n;
    bool never;                /* one of them is false          */
};

enum type { TYPE_NULL = 1, TYPE_BOOL = 2, TYPE_INT = 4, TYPE_NUMBER = 8, TYPE_STRING = 16, TYPE_ARRAY = 32,
            TYPE_OBJECT = 64, TYPE_ALL = 127 };

struct memo { struct schemas set; int32_t rule; };

struct schema {
    struct build *b;           /* borrowed */
    const json_t *root;        /* borrowed: what # refers to */
    bool closed;               /* an object that names properties has no others unless it says so */
    struct memo *memo;         /* owned */
    size_t n_memos, cap_memos;
    int32_t *slot;             /* owned, (n_slots): index of a memo + 1, by hash; 0: empty */
    size_t n_slots;
    int depth;
};

/* Adds a schema, and what it refers to. */
void    schemas_add(struct schema *k, struct schemas *s, const json_t *schema);
int32_t schema_value(struct schema *k, const struct schemas *s);           /* the expression of its values */
int32_t schema_json(struct build *b, const json_t *v, int depth);          /* of one value                 */

int32_t schema_number(struct schema *k, const struct schemas *s, bool integer);
int32_t schema_string(struct schema *k, const struct schemas *s);
int32_t schema_array(struct schema *k, const struct schemas *s);
int32_t schema_object(struct schema *k, const struct schemas *s);

/* The types that a value may have. */
int  schema_types(struct schema *k, const struct schemas *s);
/* Is v a value of all of them? Alternatives count. */
bool schema_holds(struct schema *k, const struct schemas *s, const json_t *v, int depth);
/* Can no value be one of both? false: it may, or it is not known. */
bool schema_apart(struct schema *k, const struct schemas *x, const struct schemas *y, int depth);

/* What patterns and formats say of a string, as a language; NULL: nothing, or the builder has failed. */
struct dfa *schema_string_language(struct schema *k, const struct schemas *s);
/* The strings that a schema of names allows: also constants, types and lengths count. NULL: all, or failed. */
struct dfa *schema_names(struct schema *k, const struct schemas *s);
/* The regular expression of a format; NULL: it is not known. */
const char *schema_format(const char *name);

/* Members that must be numbers of items, characters ...: -1 if nobody sets it; the greatest or least of all. */
int64_t schema_most_of(struct schema *k, const struct schemas *s, const char *name);
int64_t schema_least_of(struct schema *k, const struct schemas *s, const char *name);

#endif
