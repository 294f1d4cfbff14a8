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

/* Its anyOf, its oneOf, its enum or const, its condition is represented by an alternative of it. */
enum { CHOSE_ANY = 1, CHOSE_ONE = 2, CHOSE_LISTED = 4, CHOSE_IF = 8 };

struct member { const json_t *schema; int chose; };

struct schemas {               /* a value satisfies all of them */
    struct member m[SCHEMA_SET];
    int  n;
    bool never;                /* one of them is false          */
};

enum type { TYPE_NULL = 1, TYPE_BOOL = 2, TYPE_INT = 4, TYPE_NUMBER = 8, TYPE_STRING = 16, TYPE_ARRAY = 32,
            TYPE_OBJECT = 64, TYPE_ALL = 127 };

struct memo { struct schemas set; int32_t rule; };

struct condition {             /* of a schema with `if`     */
    const json_t *of;          /* borrowed: the schema      */
    const json_t *with;        /* the condition             */
    const json_t *against;     /* a list: each is a way not to satisfy it, and there are no others */
};

struct schema {
    struct build *b;           /* borrowed */
    const json_t *root;        /* borrowed: what # refers to */
    bool closed;               /* an object that names properties has no others unless it says so */
    struct memo *memo;         /* owned */
    size_t n_memos, cap_memos;
    int32_t *slot;             /* owned, (n_slots): index of a memo + 1, by hash; 0: empty */
    size_t n_slots;
    json_t *made;              /* owned: schemas that are not the document's */
    struct condition *condition;       /* owned, (n_conditions) */
    int n_conditions;
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

/* ---- schema_not.c ---- */

/* Fails the builder if `not` cannot be done. */
void schema_check_not(struct schema *k, const json_t *not);
bool schema_never(const json_t *not);                                    /* `not` forbids every value */
int  schema_types_not(struct schema *k, const json_t *not);              /* types that it forbids as a whole */
/* Constants that may not be: is v one of them? And each of them. */
bool schema_excludes(struct schema *k, const struct schemas *s, const json_t *v);
void schema_excluded(const struct schemas *s, void (*each)(void *arg, const json_t *v), void *arg);
/* `if` with `then` or `else`; without them it says nothing. */
bool schema_is_condition(const json_t *schema);
int32_t schema_condition(struct schema *k, const struct schemas *s, int i);    /* that of member i */

int  schema_type_bit(struct schema *k, const json_t *v);                 /* by the name of a type; fails the builder */
int  schema_type_of(const json_t *v);
bool schema_equal(const json_t *a, const json_t *b);                     /* 1 and 1.0 are */
bool schema_is_listed(struct schema *k, const json_t *schema, const json_t *v);      /* by its const and enum */
/* Frees what belongs to k; the builder is not its own. */
void schema_free(struct schema *k);

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
