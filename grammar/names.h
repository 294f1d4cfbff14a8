/* grammar/names.h - the names of a grammar's rules: a hash table from name to rule. A name may be used before its rule
 * is defined, and has to be in the end. */
#ifndef GRAMMAR_NAMES_H
#define GRAMMAR_NAMES_H
#include "grammar/build.h"

struct name {
    const char *s;             /* borrowed: of the source */
    size_t n;
    int32_t rule;
    bool defined;
};

struct names {
    struct name *name;         /* owned */
    size_t n, cap;
    int32_t *slot;             /* owned, (n_slots): index + 1, by hash; 0: empty */
    size_t n_slots;
};

void    names_free(struct names *t);
/* The rule of a name, new if nobody has used the name before; `defines`: its definition begins, which is an error if
 * there was one. */
int32_t names_rule(struct build *b, struct names *t, const char *s, size_t n, bool defines);
/* -1: nobody has used that name. */
int32_t names_find(const struct names *t, const char *s, size_t n);
/* Fails the builder if a name was used and never defined. */
void    names_check(struct build *b, const struct names *t);

#endif
