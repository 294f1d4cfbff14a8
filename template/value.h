/* template/value.h - values of a running template, as Python has them.
 *
 * Values are 16 bytes, passed by value and immutable, apart from namespaces,
 * cyclers, joiners and iterators. What they point to lies in the arena of the
 * rendering (or, for literals, of the template; for strings of the context, in
 * the JSON itself) and is dropped as a whole, so nothing is freed one by one.
 *
 * That is also why a failure may leave by longjmp: tpl_fail() ends the whole
 * rendering from any depth and no function in between owns anything. Functions
 * here therefore return their result and have no error to check. */
#ifndef TEMPLATE_VALUE_H
#define TEMPLATE_VALUE_H
#include <jansson.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/origin.h"
#include "template/template.h"

enum value_kind {
    V_MISSING, /* an unset variable or an argument that was not given; never seen by templates */
    V_UNDEFINED,
    V_NONE,
    V_BOOL,
    V_INT,
    V_BIG,       /* an integer that 64 bits do not hold   */
    V_FLOAT,
    V_STR,
    V_LIST,
    V_TUPLE,
    V_DICT,
    V_RANGE,
    V_VIEW,      /* d.keys(), d.values(), d.items() */
    V_ITER,      /* a generator: can be walked once  */
    V_NAMESPACE,
    V_MACRO,
    V_LOOP,
    V_METHOD,
    V_FUNCTION,
    V_CYCLER,
    V_JOINER,
};

/* One value. The kind says which member of the union is meant; kinds without one
 * leave it zero. */
struct value {
    enum value_kind kind;
    union {
        bool              b;         /* V_BOOL              */
        int64_t           i;         /* V_INT               */
        struct big_int   *big;       /* V_BIG               */
        double            f;         /* V_FLOAT             */
        struct str       *s;         /* V_STR               */
        struct list      *list;      /* V_LIST, V_TUPLE     */
        struct dict      *dict;      /* V_DICT, V_NAMESPACE */
        struct range     *range;     /* V_RANGE             */
        struct view      *view;      /* V_VIEW              */
        struct iter      *iter;      /* V_ITER              */
        struct undefined *undefined; /* NULL: no reason     */
        struct macro     *macro;     /* V_MACRO             */
        struct loop      *loop;      /* V_LOOP              */
        struct method    *method;    /* V_METHOD            */
        const struct builtin *function; /* V_FUNCTION       */
        struct cycler    *cycler;    /* V_CYCLER            */
        struct joiner    *joiner;    /* V_JOINER            */
    } u;
};

/* Where a string may still grow: the free bytes behind the newest text. */
struct tail {
    char    *start, *end, *limit;
    uint8_t *from;       /* (limit - start) of the bytes so far; NULL while all are of one origin */
};

struct str {
    const char  *data;   /* (len) UTF-8, no NUL at the end                                 */
    size_t       len;    /* bytes                                                          */
    size_t       chars;  /* code points; equal to len for ASCII, where an index is O(1)    */
    const uint8_t *from; /* (len) enum origin of every byte; NULL: all are of `origin`     */
    uint8_t      origin;
    bool         markup; /* Jinja's Markup: adding to it escapes what is added             */
    struct tail *tail;   /* NULL, or shared: a + b may put b behind a without copying a    */
};

struct list {
    struct value *v; /* (n) */
    size_t        n;
    bool          group; /* a tuple of groupby: has .grouper and .list */
};

/* One entry of a mapping. */
struct entry {
    struct value key, value;
    uint64_t     hash; /* of the key */
};

/* Keeps the order of insertion, as Python. */
struct dict {
    struct entry *e;     /* (n) of cap                                          */
    size_t        n, cap;
    uint32_t     *index; /* (index_size) 1 + place in e, 0: free; NULL if small */
    size_t        index_size;
};

/* The numbers start, start + step, ... before stop, none of which is stored. */
struct range {
    int64_t start, stop, step;
    size_t  n; /* how many numbers there are */
};

enum view_kind { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };

/* What d.keys(), d.values() and d.items() give. */
struct view {
    enum view_kind kind;
    struct dict   *dict; /* shared with the mapping, never a copy */
};

/* Why a value is undefined, for the message of the operation that minds. */
struct undefined {
    const char *text; /* ends in NUL */
};

/* One argument given by name. */
struct keyword {
    struct str  *name;
    struct value value;
};

/* The arguments of a call. */
struct args {
    struct value   *v; /* (n)  */
    int             n;
    struct keyword *kw; /* (n_kw) */
    int             n_kw;
};

struct render;

/* A filter, method or function. `params` lists the parameters, blank between:
 * "name" must be given, "name=" may be left out, a leading "/" forbids keywords,
 * "*" takes anything (then only `args` is filled). a[i] is V_MISSING if left out.
 * Without `call` Jinja or Python has it and this engine does not: a template may
 * name it, and what uses it ends with an error that says so. */
struct builtin {
    const char *name, *params;
    struct value (*call)(struct render *r, struct value self, const struct value *a, const struct args *args);
};

enum { TPL_MAX_PARAMS = 6 };

/* A method bound to its object, as "abc".upper is before it is called. */
struct method {
    struct value          self;    /* the object                       */
    const struct builtin *builtin; /* an entry of the table of its type */
};

/* What cycler(...) gives. */
struct cycler {
    struct value *v;      /* (n)                    */
    size_t        n, pos; /* pos: whose turn it is  */
};

/* What joiner(sep) gives. */
struct joiner {
    struct value sep;
    bool         used; /* it has been called before */
};

enum iter_kind {
    ITER_ITEMS,    /* of anything that has a length, forwards   */
    ITER_REVERSED, /* the same backwards                         */
    ITER_EMPTY,    /* no items: what undefined values have      */
    ITER_FOR_IF,   /* {% for x in y if z %}                      */
    ITER_MAP,      /* the filter `map`                           */
    ITER_SELECT,   /* select, reject, selectattr and rejectattr  */
    ITER_UNIQUE,   /* the filter `unique`                        */
    ITER_BATCH,    /* the filter `batch`                         */
    ITER_SLICES,   /* the filter `slice`                         */
    ITER_PAIRS,    /* the filter `items`                         */
};

/* Walks a value. The kinds after ITER_EMPTY are lazy, as Python's generators:
 * nothing happens, and nothing fails, before the first step. */
struct iter {
    enum iter_kind       kind;
    struct value         source; /* what is walked                              */
    size_t               pos;    /* ITER_ITEMS, ITER_REVERSED: steps taken      */
    size_t               byte;   /* ITER_ITEMS over a string: offset            */
    bool                 started, done; /* done: it gives nothing any more      */
    struct iter         *inner;  /* of the lazy kinds, once started             */
    const struct args   *args;   /* of the filter                               */
    const struct builtin *filter; /* ITER_MAP: the filter to apply, or NULL     */
    struct value         attribute, fallback; /* V_MISSING: none                */
    bool                 by_attribute, want;  /* ITER_SELECT: select or reject  */
    struct dict         *seen;   /* ITER_UNIQUE                                 */
    int64_t              count;  /* ITER_BATCH, ITER_SLICES                     */
    struct for_if       *for_if; /* ITER_FOR_IF                                 */
    const char          *error;  /* what is wrong with the arguments, or NULL   */
};

/* Bytes that grow in the arena. They are UTF-8, with the origin of each noted, so
 * that the tokenizer later knows which of them may be special tokens. */
struct text {
    struct render *r;       /* borrowed                    */
    char          *data;    /* (cap); NULL while empty     */
    size_t         len, cap, chars; /* chars: code points  */
    uint8_t       *from;    /* (cap) enum origin of every byte; NULL: all are of `origin` */
    uint8_t        origin;  /* enum origin, while `from` is NULL */
};

/* One rendering. */
struct render {
    const struct template *template;
    struct arena           arena;   /* every value made while rendering */
    struct dict           *context; /* the variables given              */
    struct dict           *names;   /* those of the checkpoint          */
    const struct template_options *opt; /* borrowed                     */
    struct activation     *act;     /* of the function that runs        */
    struct text           *out;     /* where output goes now            */
    size_t                 steps, max_steps, max_output; /* steps: charged so far */
    int                    depth;   /* levels entered: see TPL_MAX_DEPTH */
    int                    line;    /* for messages                     */
    struct tm              now;     /* for strftime_now                 */
    struct err            *err;     /* borrowed: where a failure is told */
    jmp_buf                escape;  /* where a failure leaves to        */
};

/* Levels of evaluation (an operator in an operator, a body in a body, a macro in
 * a macro, a list in a list). One level takes at most about 600 bytes of stack,
 * so that all fit a thread of 512 KiB. */
enum { TPL_MAX_DEPTH = 400 };

/* Ends the rendering because memory ran out, not the bound of a template. */
_Noreturn void tpl_starve(struct render *r);

/* Ends the rendering with "line N: ..." */
_Noreturn void tpl_fail(struct render *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Ends the rendering with the text and the code "template_raised". */
_Noreturn void tpl_raise(struct render *r, const struct str *message);

/* Zeroed memory that lasts as long as the rendering; never NULL. */
void *tpl_alloc(struct render *r, size_t n);

/* Every loop over data pays for it here, so that max_steps bounds the time. */
void tpl_charge(struct render *r, size_t steps);

/* Functions that call themselves by way of the template's data or nodes stand
 * between these two. A failure in between leaves by longjmp and needs no tpl_leave(). */
static inline void tpl_enter(struct render *r)
{
    if (++r->depth > TPL_MAX_DEPTH)
        tpl_fail(r, "nested or recursing too deeply");
}

static inline void tpl_leave(struct render *r) { r->depth--; }

/* value.c: making values and asking them. What a template sees of a value, such as
 * its truth or its equality with another, is what Python says of it. */
static inline struct value v_none(void) { return (struct value){ .kind = V_NONE }; }
static inline struct value v_missing(void) { return (struct value){ .kind = V_MISSING }; }
static inline struct value v_bool(bool b) { return (struct value){ .kind = V_BOOL, .u.b = b }; }
static inline struct value v_int(int64_t i) { return (struct value){ .kind = V_INT, .u.i = i }; }
static inline struct value v_float(double f) { return (struct value){ .kind = V_FLOAT, .u.f = f }; }
static inline struct value v_str(struct str *s) { return (struct value){ .kind = V_STR, .u.s = s }; }
static inline struct value v_dict(struct dict *d) { return (struct value){ .kind = V_DICT, .u.dict = d }; }

struct value v_undefined(struct render *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct value v_list(struct render *r, enum value_kind kind, const struct value *v, size_t n); /* copies v */
struct value v_pair(struct render *r, struct value a, struct value b);                        /* a tuple  */
struct value v_from_json(struct render *r, const json_t *j, enum origin origin);

struct str *tpl_str(struct render *r, const char *data, size_t len);   /* copies            */
struct str *tpl_str_view(struct render *r, const char *data, size_t len); /* data must outlive */
static inline enum origin str_origin(const struct str *s, size_t at) { return s->from ? s->from[at] : s->origin; }
struct value v_text(struct render *r, const char *data, size_t len);
static inline bool str_is(const struct str *s, const char *text)
{
    size_t i = 0;
    while (i < s->len && text[i] && s->data[i] == text[i])
        i++;
    return i == s->len && !text[i];
}

bool        tpl_truth(struct render *r, struct value v);
bool        tpl_equal(struct render *r, struct value a, struct value b);
enum { UNORDERED = 2 }; /* what comparing with nan gives */
int         tpl_compare(struct render *r, struct value a, struct value b, const char *op); /* -1, 0, 1 or UNORDERED */
bool        tpl_in(struct render *r, struct value item, struct value container);
const char *tpl_type(struct value v);           /* Python's name of the type */
bool        tpl_is_number(struct value v);      /* bool, int or float         */
double      tpl_number(struct value v);         /* of such                    */
bool        tpl_length(struct value v, size_t *n); /* false: it has none      */
/* of a number; fails where an integer is beyond all floats */
double      tpl_float_arg(struct render *r, struct value v);
int64_t     tpl_int_arg(struct render *r, struct value v, const char *what);  /* bool or int, else fails */
struct str *tpl_str_arg(struct render *r, struct value v, const char *what);

/* dict.c */
struct dict  *tpl_dict(struct render *r, size_t expected);
void          tpl_dict_set(struct render *r, struct dict *d, struct value key, struct value v);
struct value *tpl_dict_get(struct render *r, const struct dict *d, struct value key); /* NULL: absent */
struct value *tpl_dict_get_str(struct render *r, const struct dict *d, const struct str *key);

/* text.c: texts, which grow at their end alone, and strings, which never change
 * and share their bytes with their parts. Offsets are bytes unless the name says
 * characters. */
void text_init(struct text *t, struct render *r);
void text_add(struct text *t, const char *data, size_t n);
void text_cstr(struct text *t, const char *s);
void text_str(struct text *t, const struct str *s);
void text_part(struct text *t, const struct str *s, size_t from, size_t to); /* these bytes of s, theirs the origin */
void text_add_as(struct text *t, const char *data, size_t n, enum origin origin);
void text_char(struct text *t, uint32_t cp);
void text_char_as(struct text *t, uint32_t cp, enum origin origin);
void text_repeat(struct text *t, char c, int64_t n, enum origin origin);
void text_printf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct str  *text_take(struct text *t);
struct value text_value(struct text *t);

struct str *tpl_escape_html(struct render *r, const struct str *s);
struct str *tpl_as_markup(struct render *r, const struct str *s);
struct str *tpl_concat(struct render *r, struct str *a, struct str *b);

size_t      str_offset(const struct str *s, size_t index); /* byte offset of a code point */
struct str *str_sub(struct render *r, const struct str *s, size_t from, size_t to); /* bytes */
struct str *str_sub_chars(struct render *r, const struct str *s, size_t from, size_t to);
int         str_order(const struct str *a, const struct str *b);
ptrdiff_t   str_find(const struct str *s, size_t from, size_t to, const struct str *what); /* bytes; -1: none */
ptrdiff_t   str_rfind(const struct str *s, size_t from, size_t to, const struct str *what);
struct str *str_strip(struct render *r, const struct str *s, const struct str *chars, bool left, bool right);
struct str *str_replace(struct render *r, const struct str *s, const struct str *a, const struct str *b, int64_t count);

/* repr.c: values as Python prints them. */
void        text_print(struct text *t, struct value v); /* adds str(v)  */
void        text_repr(struct text *t, struct value v);  /* adds repr(v) */
struct str *tpl_to_str(struct render *r, struct value v);
void        tpl_float_repr(char out[40], double f);

/* iter.c: walking values. tpl_next() gives false at the end. */
struct iter *tpl_iter(struct render *r, struct value v);   /* fails if v cannot be walked     */
bool         tpl_next(struct render *r, struct iter *it, struct value *out);
struct iter *tpl_iter_new(struct render *r, enum iter_kind kind, struct value source);
struct value v_iter(struct iter *it);
bool         tpl_iterable(struct value v);
struct value tpl_list_of(struct render *r, struct value v); /* list(v)                        */
struct value tpl_at(struct render *r, struct value v, size_t i); /* of what has a length       */

/* attr.c: a.b, a["b"] and a[i:j:k], by the rules of the sandbox */
struct value tpl_getattr(struct render *r, struct value v, struct str *name);
struct value tpl_getitem(struct render *r, struct value v, struct value key);
struct value tpl_slice(struct render *r, struct value v, struct value start, struct value stop, struct value step);
bool         tpl_own_attr(struct render *r, struct value v, const struct str *name, struct value *out);
struct value tpl_path(struct render *r, struct value v, struct value path, struct value fallback);

/* call.c: calling values and our own functions. Arguments are checked against the
 * parameters of the entry before it is called. */
struct value tpl_call(struct render *r, struct value callee, const struct args *args);
struct value tpl_call_builtin(struct render *r, const struct builtin *b, struct value self, const struct args *args);
const struct builtin *tpl_find_builtin(const struct builtin *table, const char *name, size_t len);

/* operators.c: arithmetic, and + * % of strings and lists. */
struct value tpl_binary(struct render *r, int op, struct value a, struct value b); /* op: enum token_kind */
struct value tpl_negate(struct render *r, struct value v);
struct value tpl_positive(struct render *r, struct value v);

/* Tables and the larger single functions, each in the file of its name. */
extern const struct builtin tpl_str_methods[], tpl_list_methods[], tpl_tuple_methods[], tpl_dict_methods[],
    tpl_number_methods[], tpl_cycler_methods[], tpl_globals[];
const struct builtin *tpl_find_filter(const struct str *name);
const struct builtin *tpl_find_test(const struct str *name);
extern const struct builtin tpl_text_filters[], tpl_sequence_filters[], tpl_value_filters[];
/* percent.c, format.c */
struct value tpl_percent(struct render *r, const struct str *format, struct value args);          /* format % args  */
struct value tpl_format(struct render *r, const struct str *format, const struct args *args);     /* str.format     */
/* of str */
struct value tpl_translate(struct render *r, struct value self, const struct value *a, const struct args *args);
struct value tpl_maketrans(struct render *r, struct value self, const struct value *a, const struct args *args);
struct value tpl_to_json(struct render *r, struct value v, const struct value *options);          /* the filter     */
struct value tpl_compare_sort(struct render *r, struct value list, const struct value *keys, bool reverse);
struct value tpl_ignore_case(struct render *r, struct value v);

/* unicode.c: the only user of utf8proc */
bool        uni_space(uint32_t cp);
bool        uni_printable(uint32_t cp);
bool        uni_alpha(uint32_t cp);
bool        uni_decimal(uint32_t cp);
bool        uni_digit(uint32_t cp);
bool        uni_numeric(uint32_t cp);
bool        uni_lower(uint32_t cp);
bool        uni_upper(uint32_t cp);
bool        uni_title(uint32_t cp);
bool        uni_word(uint32_t cp); /* \w of Python's re */
struct str *uni_to_upper(struct render *r, const struct str *s);
struct str *uni_to_lower(struct render *r, const struct str *s);
struct str *uni_casefold(struct render *r, const struct str *s);
struct str *uni_capitalize(struct render *r, const struct str *s);
struct str *uni_titlecase(struct render *r, const struct str *s);

#endif
