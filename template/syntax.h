/* template/syntax.h - a parsed template: tokens, nodes, scopes.
 *
 *   source -> lex.c -> tokens -> parse.c -> nodes
 *          -> scope.c (every name gets its slot)  -> struct template
 *
 * Everything lies in the arena of the template and is read-only afterwards. */
#ifndef TEMPLATE_SYNTAX_H
#define TEMPLATE_SYNTAX_H
#include "template/value.h"

enum token_kind {
    T_EOF, T_DATA, T_VARIABLE_BEGIN, T_VARIABLE_END, T_BLOCK_BEGIN, T_BLOCK_END,
    T_NAME, T_STRING, T_INTEGER, T_FLOAT,
    T_ADD, T_SUB, T_MUL, T_DIV, T_FLOORDIV, T_MOD, T_POW, T_TILDE,
    T_LBRACKET, T_RBRACKET, T_LPAREN, T_RPAREN, T_LBRACE, T_RBRACE,
    T_EQ, T_NE, T_GT, T_GE, T_LT, T_LE, T_ASSIGN, T_DOT, T_COLON, T_PIPE, T_COMMA, T_SEMICOLON,
    T_IN, T_NOT_IN, /* made by the parser, for comparisons */
};

/* One word of the source, or a stretch of text between tags. */
struct token {
    enum token_kind kind;
    int             line;  /* from 1 */
    struct value    value; /* T_DATA, T_NAME, T_STRING: the text; T_INTEGER, T_FLOAT */
};

enum node_kind {
    /* expressions */
    N_CONST, N_NAME, N_ATTRIBUTE_TARGET, N_TUPLE, N_LIST, N_DICT, N_ATTRIBUTE, N_ITEM, N_SLICE, N_CALL, N_FILTER,
    N_TEST, N_NOT, N_NEGATE, N_POSITIVE, N_BINARY, N_AND, N_OR, N_CONCAT, N_COMPARE, N_CONDITION,
    /* statements */
    N_DATA, N_PRINT, N_FOR, N_IF, N_MACRO, N_CALL_BLOCK, N_FILTER_BLOCK, N_WITH, N_SET, N_SET_BLOCK, N_BREAK,
    N_CONTINUE,
};

/* A list of nodes that grows in the arena. */
struct nodes {
    struct node **v; /* (n) */
    int           n, cap;
};

/* A variable: `hops` functions outwards, then the slot there. */
struct place {
    int hops, slot;
};

enum load_kind {
    LOAD_PARAMETER, /* set by whoever enters the scope             */
    LOAD_CONTEXT,   /* looked up in the context                    */
    LOAD_ALIAS,     /* starts as a copy of an outer scope's        */
    LOAD_UNSET,     /* starts without a value                      */
};

/* What happens to one variable of a scope when it is entered. */
struct load {
    enum load_kind kind;
    struct str    *name; /* LOAD_CONTEXT looks it up     */
    int            slot; /* in the function of the scope */
    struct place   from; /* LOAD_ALIAS                   */
};

/* All variables of a scope, once names are resolved. */
struct scope {
    struct load *load; /* (n) */
    int          n;
};

/* Jinja compiles a template to Python functions: the template itself, macros,
 * call blocks, recursive loops and loop conditions. Each has its own slots. */
struct function {
    int          depth; /* number of enclosing functions                                 */
    int          n_slots, cap; /* how many variables an activation holds */
    struct slot_name { struct str *name; int level; } *slot; /* (n_slots), while resolving */
};

/* A call, filter or test with its arguments. */
struct call_node {
    struct node  *callee;      /* N_CALL; for filters and tests what they are applied to, or NULL: the block's text */
    struct str   *name;        /* of the filter or test */
    const struct builtin *builtin; /* of the name; NULL: there is none */
    struct nodes  args;        /* positional */
    struct str  **kw_name;     /* (kw.n) */
    struct nodes  kw;          /* the values of the keywords */
    struct node  *star, *star_star; /* *args, **kwargs or NULL */
};

/* The body of a macro or call block. */
struct macro_node {
    struct str     *name;       /* NULL: a call block                              */
    struct nodes    params;     /* N_NAME                                          */
    struct nodes    defaults;   /* of the last ones                                */
    struct nodes    body;
    bool            uses_caller, uses_kwargs, uses_varargs; /* the body reads them */
    int             caller_slot, kwargs_slot, varargs_slot; /* only if it does     */
    bool            caller_is_param; /* `caller` stands in the parameter list      */
    struct function function;   /* every macro is one                              */
    struct scope    scope;      /* entered once the parameters are set             */
};

/* A loop. Its body, its condition and its else part are scopes of their own. */
struct for_node {
    struct node    *target, *iter, *test; /* test may be NULL                      */
    struct node    *test_target;          /* the target as the test's function has it */
    struct nodes    body, other;          /* other: after else                     */
    bool            recursive;            /* `loop` may be called                  */
    int             loop_slot;            /* of the variable `loop`                */
    struct function function;             /* of a recursive loop                   */
    struct function test_function;        /* of the condition                      */
    struct scope    scope, test_scope, other_scope;
};

/* One part of an `if`. */
struct if_branch {
    struct node *test; /* NULL: else */
    struct nodes body;
};

/* An expression or statement. The kind says which member of the union is meant. */
struct node {
    enum node_kind kind;
    enum token_kind op; /* N_BINARY; N_COMPARE: see compare */
    int            line;
    int            height; /* levels of nodes below, bounded by the parser */
    union {
        struct value constant;                                 /* N_CONST, N_DATA                        */
        struct { struct str *name, *attr; struct place place; bool store; } name; /* N_NAME, N_ATTRIBUTE_TARGET */
        /* N_TUPLE, N_LIST, N_CONCAT, N_PRINT, N_DICT: key, value, ... */
        struct nodes list;
        /* operators; N_ITEM a[b]; N_SLICE a[b:c:d]; N_CONDITION a if b else c */
        struct { struct node *a, *b, *c, *d; } of;
        struct { struct node *a; struct str *name; } attr;     /* N_ATTRIBUTE                            */
        struct call_node *call;                                /* N_CALL, N_FILTER, N_TEST               */
        struct { struct nodes items; enum token_kind *op; } compare; /* items[0] op[0] items[1] op[1] ... */
        struct for_node *loop;                                 /* N_FOR                                  */
        struct { struct if_branch *v; int n, cap; } cond;         /* N_IF                                   */
        /* N_MACRO, N_CALL_BLOCK; call: of a call block */
        struct macro_node_use { struct macro_node *m; struct node *call; struct place place; } macro;
        /* N_FILTER_BLOCK, N_SET_BLOCK */
        struct { struct node *filter; struct nodes body; struct node *target; struct scope scope; } block;
        struct { struct nodes targets, values, body; struct scope scope; } with; /* N_WITH */
        struct { struct node *target, *value; } set; /* N_SET */
    } u;
};

/* A parsed template. Renderings only read it. */
struct template {
    struct arena    arena;      /* owned: everything else lies in it */
    struct nodes    body;
    struct function function;   /* the template as a whole           */
    struct scope    scope;      /* its outermost scope               */
    const struct token *token;  /* (n_tokens) of the source */
    size_t          n_tokens;
};

/* Limits of a source. Nesting counts operators, brackets and statements. */
enum { TPL_MAX_SOURCE = 4 << 20, TPL_MAX_NESTING = 100, TPL_MAX_NAMES = 2000 };

/* One parsing, from the source to the resolved names. */
struct parser {
    struct arena  *arena;  /* borrowed: the template's     */
    struct token  *token;  /* (n_tokens) the last is T_EOF */
    size_t         n_tokens, cap, at; /* at: the current one */
    int            nesting, loops; /* now inside so many */
    struct err    *err;    /* borrowed: where a failure is told */
    jmp_buf        escape; /* where a failure leaves to         */
};

/* A failure ends the parsing by longjmp, as a rendering's does: nothing below
 * returns an error, and nothing that is allocated needs to be freed. */
_Noreturn void parse_fail(struct parser *p, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void       *parse_alloc(struct parser *p, size_t n);
struct str *parse_str(struct parser *p, const char *data, size_t n); /* copies */

/* lex.c: fills p->token. */
void tpl_lex(struct parser *p, const char *source, size_t n);

/* parse.c: operators, and what all parts of the parser use */
struct node *parse_new(struct parser *p, enum node_kind kind, int line);
/* Notes that child, which may be NULL, hangs below n now. */
struct node *parse_adopt(struct parser *p, struct node *n, const struct node *child);
struct node *parse_make(struct parser *p, enum node_kind kind, int line, struct node *a, struct node *b);
void         parse_push(struct parser *p, struct nodes *list, struct node *n);
void         parse_enter(struct parser *p);
void         parse_leave(struct parser *p);
const char  *token_text(const struct token *t);
static inline struct token *parse_now(struct parser *p) { return &p->token[p->at]; }
struct token *parse_next(struct parser *p); /* returns the token passed */
struct token *parse_look(struct parser *p); /* the one after the current */
bool         parse_is_name(struct parser *p, const char *name);
bool         parse_skip(struct parser *p, enum token_kind kind);
bool         parse_skip_name(struct parser *p, const char *name);
struct token *parse_expect(struct parser *p, enum token_kind kind);
struct node *parse_expression(struct parser *p);
enum { TUPLE_NO_CONDITION = 1, TUPLE_PARENTHESES = 2, TUPLE_PRIMARY = 4, TUPLE_NAMESPACE = 8, TUPLE_END_IN = 16,
       TUPLE_END_RECURSIVE = 32 };
struct node *parse_tuple(struct parser *p, int flags);

/* primary.c: literals, names, brackets, calls, filters, tests */
struct node *parse_primary(struct parser *p, bool with_namespace);
struct node *parse_postfix(struct parser *p, struct node *n);
struct node *parse_call(struct parser *p, struct node *on);
struct node *parse_test(struct parser *p, struct node *on);
struct node *parse_filters(struct parser *p, struct node *on, bool start_inline);

/* statements.c: the whole template from its tokens. */
void parse_template(struct parser *p, struct template *t);

/* scope.c: gives every name its slot and every scope its loads. */
void tpl_resolve(struct parser *p, struct template *t);

/* eval.c, exec.c, macro.c: running */

/* The variables of one call of a function. */
struct activation {
    struct activation *outer; /* of the enclosing function */
    struct value      *slot;  /* (n_slots) of the function */
};

/* A macro as a value: it remembers where it was defined. */
struct macro {
    const struct macro_node *node;
    struct activation       *outer; /* in which it was defined */
};

/* The condition of a loop, for the iterator that filters its items. */
struct for_if {
    const struct for_node *node;
    struct activation     *outer; /* in which the loop stands */
};

/* The `loop` of a loop. The current item has been taken from the iterator, and the
 * one after it only if something asked for it. */
struct loop {
    const struct for_node *node;    /* to run it again when it is recursive  */
    struct activation     *outer;   /* where a recursive loop was defined */
    struct value           iterable; /* what the loop goes through           */
    struct iter           *iter;    /* how far it has gone                   */
    int64_t                index0, depth0, length; /* length < 0: not known yet */
    struct value           before, current, after; /* items; V_MISSING: none */
    struct value           changed; /* the arguments of the last changed()   */
};

/* Output on its way into a text of its own. */
struct capture {
    struct text  text;
    struct text *before; /* where the output goes again afterwards */
};

/* What a statement says to the bodies around it. */
enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

struct value  tpl_eval(struct render *r, const struct node *n);
void          tpl_eval_args(struct render *r, const struct call_node *c, struct args *out);
struct value *tpl_slot(struct render *r, struct place p);
void          tpl_assign(struct render *r, const struct node *target, struct value v);
enum flow     tpl_exec(struct render *r, const struct nodes *body);
struct value  tpl_call_macro(struct render *r, struct macro *m, const struct args *args);
struct value  tpl_new_macro(struct render *r, const struct macro_node *node);
void          tpl_capture_begin(struct render *r, struct capture *c);
struct value  tpl_capture_end(struct render *r, struct capture *c);
bool          tpl_for_if(struct render *r, struct for_if *f, struct value item);
struct value  tpl_loop_recurse(struct render *r, struct loop *outer, struct value iterable);
bool          tpl_loop_attr(struct render *r, struct loop *l, const struct str *name, struct value *out);
void          tpl_enter_scope(struct render *r, const struct scope *s);
void          tpl_leave_scope(struct render *r, const struct scope *s);
struct value  tpl_apply_filter(struct render *r, const struct call_node *c, struct value on);
struct activation *tpl_activate(struct render *r, const struct function *f, struct activation *outer);

#endif
