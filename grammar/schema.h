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

enum {
    SCHEMA_SET = 64,
    SCHEMA_DEPTH = 100,
    SCHEMA_MADE = 1000,        /* what a schema costs that is made here: it takes memory */
};

/* Its anyOf, its oneOf, its enum or const is represented by an alternative of it. IN_OTHER_WORDS: it was made here, and
 * says again what another schema of the set says. */
enum { CHOSE_ANY = 1, CHOSE_ONE = 2, CHOSE_LISTED = 4, IN_OTHER_WORDS = 8 };

/* Keywords of schemas that are made here: lists of names of which a property has none, a pattern that does not match, a
 * number of which a whole number is no multiple. */
#define KEYWORD_OTHER_NAMES "\1otherNames"
#define KEYWORD_NO_MATCH    "\1noMatch"
#define KEYWORD_NO_MULTIPLE "\1noMultipleOf"

/* Several schemas that must hold, together with nothing else. */
#define KEYWORD_TOGETHER    "\1together"

struct member { const json_t *schema; int chose; };

struct schemas {               /* a value satisfies all of them */
    struct member m[SCHEMA_SET];
    int  n;
    bool never;                /* one of them is false          */
};

enum type { TYPE_NULL = 1, TYPE_BOOL = 2, TYPE_INT = 4, TYPE_NUMBER = 8, TYPE_STRING = 16, TYPE_ARRAY = 32,
            TYPE_OBJECT = 64, TYPE_ALL = 127 };

struct memo {                  /* a set that has become a rule */
    struct member *m;          /* owned, (n), in order         */
    int     n;
    int32_t rule;
};

struct schema {
    struct build *b;           /* borrowed */
    const json_t *root;        /* borrowed: what # refers to */
    bool closed;               /* an object that names properties has no others unless it says so */
    bool unevaluated;          /* some schema of the document speaks of what is unevaluated       */
    struct memo *memo;         /* owned */
    size_t n_memos, cap_memos;
    int32_t *slot;             /* owned, (n_slots): index of a memo + 1, by hash; 0: empty */
    size_t n_slots;
    json_t *address;           /* owned: schemas by their addresses; NULL: nobody has asked yet */
    json_t *made;              /* owned: schemas that are not the document's, by what they were made of */
    int depth;
};

/* Adds a schema, and what it refers to. */
void    schemas_add(struct schema *k, struct schemas *s, const json_t *schema);
int32_t schema_value(struct schema *k, const struct schemas *s);           /* the expression of its values */
int32_t schema_json(struct build *b, const json_t *v, int depth);          /* of one value                 */

int32_t schema_number(struct schema *k, const struct schemas *s, int types);
int32_t schema_string(struct schema *k, const struct schemas *s);
int32_t schema_array(struct schema *k, const struct schemas *s);
int32_t schema_object(struct schema *k, const struct schemas *s);

/* ---- schema_not.c, schema_ways.c ---- */

int  schema_types_not(struct schema *k, const json_t *not);              /* types that it forbids as a whole */
/* Words that may not be: is v one of them? And each of them. */
bool schema_excludes(struct schema *k, const struct schemas *s, const json_t *v);
void schema_excluded(const struct schemas *s, void (*each)(void *arg, const json_t *v), void *arg);
/* `if` with `then` or `else`; without them it says nothing. */
bool schema_is_condition(const json_t *schema);
/* Schemas that say what its not, if and dependent... say, as alternatives; a list that lives as long as k. NULL: there
 * are none of these, or the builder has failed. */
const json_t *schema_in_other_words(struct schema *k, const json_t *schema);
const json_t *schema_not(struct schema *k, const json_t *schema);        /* {"not": schema}, always the same one */
/* All ways not to satisfy a schema, as a list of schemas. NULL: failed, or *unknown is a keyword with ways that are not
 * known. */
const json_t *schema_ways(struct schema *k, const json_t *schema, const char **unknown);
/* The name of such a keyword in the schema, or in one that its ways lead into; NULL: there is none, or not here. */
const char *schema_unknown_ways(struct schema *k, const json_t *schema, int depth);
/* What was made of a schema, kept with k: several things, each with a letter of its own. NULL: nothing, or failed. */
const json_t *schema_kept(struct schema *k, char what, const json_t *schema);
const json_t *schema_keep(struct schema *k, char what, const json_t *schema, json_t *v);

/* ---- schema_ref.c ---- */

/* To what the schema's $ref, or its $dynamicRef, leads. NULL: it has none, or the builder has failed. */
const json_t *schema_referred(struct schema *k, const json_t *schema, bool dynamic);

/* ---- schema_unevaluated.c ---- */

bool schema_has_unevaluated(const json_t *schema);                      /* unevaluatedProperties or unevaluatedItems */
bool schema_mentions_unevaluated(struct schema *k, const json_t *v, int depth);        /* it, or anything in it */
/* Bit j of seen[i]: what member j of the set says of items and properties is not unevaluated for member i, which has
 * one of these keywords. 0 for those that have not. */
void schema_see(struct schema *k, const struct schemas *s, uint64_t seen[SCHEMA_SET]);

int  schema_type_bit(struct schema *k, const json_t *v);                 /* by the name of a type; fails the builder */
int  schema_type_of(const json_t *v);
bool schema_equal(const json_t *a, const json_t *b);                     /* 1 and 1.0 are */
bool schema_is_listed(struct schema *k, const json_t *schema, const json_t *v);      /* by its const and enum */
/* Frees what belongs to k; the builder is not its own. */
void schema_free(struct schema *k);

/* The types that a value may have. */
int  schema_types(struct schema *k, const struct schemas *s);
/* Can it be seen without much work that no value satisfies all of them? depth: 0. */
bool schema_hopeless(struct schema *k, const struct schemas *s, int depth);
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
