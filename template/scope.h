/* template/scope.h - the symbols of scopes, while names are resolved. */
#ifndef TEMPLATE_SCOPE_H
#define TEMPLATE_SCOPE_H
#include "template/syntax.h"

/* A name of a scope. */
struct symbol {
    struct str    *name;
    int            slot;   /* in the function of the scope    */
    enum load_kind load;   /* how it starts                   */
    struct place   from;   /* LOAD_ALIAS: what it starts as   */
    bool           stored; /* the scope assigns it            */
};

/* The names of a scope while they are collected; on the stack of the resolution. */
struct symbols {
    struct symbols  *parent; /* the scope around; NULL: none          */
    struct function *fn;     /* whose slots the scope uses            */
    int              level;  /* number of scopes around               */
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

/* Looks for the names in u->names, inner scopes included. */
void scope_undeclared(struct undeclared *u, const struct node *n);
void scope_undeclared_all(struct undeclared *u, const struct nodes *list);

#endif
