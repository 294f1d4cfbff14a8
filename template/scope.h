/* template/scope.h - the symbols of scopes, while names are resolved. */
#ifndef TEMPLATE_SCOPE_H
#define TEMPLATE_SCOPE_H
#include "template/syntax.h"

struct symbol {
    struct str    *name;
    int            slot;
    enum load_kind load;
    struct place   from;
    bool           stored;
};

struct symbols {
    struct symbols  *parent;
    struct function *fn;
    int              level;
    bool             soft; /* inside an `if`: an unknown filter is an error only when it runs */
    struct symbol   *v;    /* (n) */
    int              n, cap;
};

/* What macros and loops must know of the names in their bodies. */
enum { WANT_CALLER = 1, WANT_KWARGS = 2, WANT_VARARGS = 4, LOOP_STORED = 8 };

struct undeclared {
    int names; /* of the first three: those looked for, until they are stored */
    int found;
};

/* here or around; or NULL */
struct symbol *scope_find(struct symbols *s, const struct str *name, struct symbols **owner);
struct place   scope_place(const struct symbols *from, const struct symbols *owner, const struct symbol *symbol);
int            scope_parameter(struct parser *p, struct symbols *s, struct str *name); /* its slot */

/* Notes what the node loads and stores in this scope, inner scopes excepted. */
void scope_collect(struct parser *p, struct symbols *s, const struct node *n);
void scope_collect_all(struct parser *p, struct symbols *s, const struct nodes *list);
void scope_collect_targets(struct parser *p, struct symbols *s, const struct node *target); /* as parameters */

void scope_undeclared(struct undeclared *u, const struct node *n);
void scope_undeclared_all(struct undeclared *u, const struct nodes *list);

#endif
