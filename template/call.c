/* template/call.c - calling things, and the global functions. */
#include <stdio.h>
#include <string.h>

#include "template/syntax.h"

enum { MAX_RANGE = 100000 }; /* the sandbox's */

/* The entry of a table by its name, or NULL. Tables are short and end with an entry
 * without a name. */
const struct builtin *tpl_find_builtin(const struct builtin *table, const char *name, size_t len)
{
    for (; table->name; table++)
        if (strlen(table->name) == len && memcmp(table->name, name, len) == 0)
            return table;
    return NULL;
}

/* ---- arguments to parameters */

struct parameter {
    const char *name;
    size_t      len;
    bool        optional;
};

/* Reads a list of parameters, "name name= ...", where = marks one that has a default. Returns how many there are. */
static int parameters(const char *spec, struct parameter p[TPL_MAX_PARAMS])
{
    int n = 0;
    while (*spec && n < TPL_MAX_PARAMS) {
        size_t len = strcspn(spec, " =");
        p[n++] = (struct parameter){ spec, len, spec[len] == '=' };
        spec += len + (spec[len] == '=');
        spec += *spec == ' ';
    }
    return n;
}

/* Puts the arguments of a call in the order of the parameters, as Python does:
 * positional ones first, then keywords by name. Those left out stay V_MISSING. Too
 * many, unknown, doubled or missing arguments end the rendering. It is not inlined, so
 * that its locals are off the stack while the function called runs. */
static __attribute__((noinline)) void bind(struct render *r, const struct builtin *b, const struct args *args,
                                           struct value out[TPL_MAX_PARAMS])
{
    struct parameter p[TPL_MAX_PARAMS];
    bool positional = b->params[0] == '/';
    int n = parameters(b->params + positional, p);
    if (args->n > n)
        tpl_fail(r, "%s() takes at most %d arguments (%d given)", b->name, n, args->n);
    for (int i = 0; i < n; i++)
        out[i] = i < args->n ? args->v[i] : v_missing();
    for (int k = 0; k < args->n_kw; k++) {
        const struct str *name = args->kw[k].name;
        int i = 0;
        while (i < n && !(p[i].len == name->len && memcmp(p[i].name, name->data, name->len) == 0))
            i++;
        if (positional || i == n)
            tpl_fail(r, "%s() got an unexpected keyword argument '%.*s'", b->name,
                     (int)(name->len < 100 ? name->len : 100), name->data);
        if (out[i].kind != V_MISSING)
            tpl_fail(r, "%s() got multiple values for argument '%.*s'", b->name, (int)p[i].len, p[i].name);
        out[i] = args->kw[k].value;
    }
    for (int i = 0; i < n; i++)
        if (out[i].kind == V_MISSING && !p[i].optional)
            tpl_fail(r, "%s() is missing its argument '%.*s'", b->name, (int)p[i].len, p[i].name);
}

/* Calls a function, method, filter or test of ours. One whose parameters are "*" looks
 * at the arguments itself. */
struct value tpl_call_builtin(struct render *r, const struct builtin *b, struct value self, const struct args *args)
{
    struct value a[TPL_MAX_PARAMS] = { { .kind = V_MISSING } };
    if (!b->call)
        tpl_fail(r, "'%s' is not supported", b->name);
    if (b->params[0] != '*')
        bind(r, b, args, a);
    return b->call(r, self, a, args);
}

/* Calls what a template calls: functions, methods, macros, a recursive loop, a joiner.
 * Nothing else is callable. */
struct value tpl_call(struct render *r, struct value callee, const struct args *args)
{
    switch (callee.kind) {
    case V_UNDEFINED:
        tpl_fail(r, "%s", callee.u.undefined ? callee.u.undefined->text : "a value is undefined");
    case V_FUNCTION:
        return tpl_call_builtin(r, callee.u.function, v_none(), args);
    case V_METHOD:
        return tpl_call_builtin(r, callee.u.method->builtin, callee.u.method->self, args);
    case V_MACRO:
        return tpl_call_macro(r, callee.u.macro, args);
    case V_LOOP:
        if (args->n != 1 || args->n_kw)
            tpl_fail(r, "loop() takes one argument");
        return tpl_loop_recurse(r, callee.u.loop, args->v[0]);
    case V_JOINER:
        if (args->n || args->n_kw)
            tpl_fail(r, "a joiner takes no arguments");
        if (callee.u.joiner->used)
            return callee.u.joiner->sep;
        callee.u.joiner->used = true;
        return v_text(r, "", 0);
    default:
        tpl_fail(r, "'%s' object is not callable", tpl_type(callee));
    }
}

/* ---- global functions */

/* range(stop), range(start, stop) and range(start, stop, step). The length is computed
 * in 128 bits, since the difference of two integers may not fit 64, and is limited as
 * in Jinja's sandbox. */
static struct value g_range(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)self, (void)args;
    bool one = a[1].kind == V_MISSING;
    int64_t start = one ? 0 : tpl_int_arg(r, a[0], "range()"), stop = tpl_int_arg(r, a[one ? 0 : 1], "range()");
    int64_t step = a[2].kind == V_MISSING ? 1 : tpl_int_arg(r, a[2], "range()");
    if (!step)
        tpl_fail(r, "range() arg 3 must not be zero");
    __int128 width = step > 0 ? (__int128)stop - start : (__int128)start - stop, by = step > 0 ? step : -(__int128)step;
    __int128 n = width > 0 ? (width - 1) / by + 1 : 0;
    if (n > MAX_RANGE)
        tpl_fail(r, "range too big: more than %d items", MAX_RANGE);
    struct value v = { .kind = V_RANGE };
    v.u.range = tpl_alloc(r, sizeof *v.u.range);
    *v.u.range = (struct range){ start, stop, step, (size_t)n };
    return v;
}

/* The mapping that dict() and namespace() make of a mapping or pairs and of keyword
 * arguments. `what` names the function in messages. */
static struct dict *make_dict(struct render *r, const struct args *args, const char *what)
{
    struct dict *d = tpl_dict(r, 0);
    struct value item;
    if (args->n > 1)
        tpl_fail(r, "%s() takes at most 1 argument (%d given)", what, args->n);
    if (args->n && args->v[0].kind == V_DICT) {
        for (size_t i = 0; i < args->v[0].u.dict->n; i++)
            tpl_dict_set(r, d, args->v[0].u.dict->e[i].key, args->v[0].u.dict->e[i].value);
    } else if (args->n) {
        if (args->v[0].kind == V_UNDEFINED)
            tpl_fail(r, "%s", args->v[0].u.undefined ? args->v[0].u.undefined->text : "a value is undefined");
        for (struct iter *it = tpl_iter(r, args->v[0]); tpl_next(r, it, &item);) {
            struct value pair = tpl_list_of(r, item);
            if (pair.u.list->n != 2)
                tpl_fail(r, "%s() needs pairs", what);
            tpl_dict_set(r, d, pair.u.list->v[0], pair.u.list->v[1]);
        }
    }
    for (int i = 0; i < args->n_kw; i++)
        tpl_dict_set(r, d, v_str(args->kw[i].name), args->kw[i].value);
    return d;
}

static struct value g_dict(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)self, (void)a;
    return v_dict(make_dict(r, args, "dict"));
}

/* namespace(...): a mapping that templates may change by `set ns.name = ...`. Names
 * with an underscore in front stay forbidden there, so they are here. */
static struct value g_namespace(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)self, (void)a;
    struct value v = { .kind = V_NAMESPACE, .u.dict = make_dict(r, args, "namespace") };
    for (size_t i = 0; i < v.u.dict->n; i++) {
        struct value key = v.u.dict->e[i].key;
        if (key.kind == V_STR && key.u.s->len && key.u.s->data[0] == '_')
            tpl_fail(r, "a namespace cannot store names that begin with an underscore");
    }
    return v;
}

/* cycler(a, b, ...): an object whose next() gives one item after the other, round and
 * round. */
static struct value g_cycler(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)self, (void)a;
    if (!args->n || args->n_kw)
        tpl_fail(r, "cycler() needs items");
    struct value v = { .kind = V_CYCLER }, items = v_list(r, V_LIST, args->v, (size_t)args->n);
    v.u.cycler = tpl_alloc(r, sizeof *v.u.cycler);
    v.u.cycler->v = items.u.list->v;
    v.u.cycler->n = items.u.list->n;
    return v;
}

/* c.next(): the item whose turn it is. It moves on, one of the few things that a
 * template can change. */
static struct value cycler_next(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)r, (void)a, (void)args;
    struct cycler *c = self.u.cycler;
    struct value v = c->v[c->pos];
    c->pos = (c->pos + 1) % c->n;
    return v;
}

static struct value cycler_reset(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)r, (void)a, (void)args;
    self.u.cycler->pos = 0;
    return v_none();
}

/* joiner(sep): an object that gives nothing at its first call and the separator at each
 * later one. */
static struct value g_joiner(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)self, (void)args;
    struct value v = { .kind = V_JOINER };
    v.u.joiner = tpl_alloc(r, sizeof *v.u.joiner);
    v.u.joiner->sep = a[0].kind == V_MISSING ? v_text(r, ", ", 2) : a[0];
    return v;
}

/* raise_exception(message): ends the rendering with the template's own words, which the
 * client gets to read. */
static struct value g_raise_exception(struct render *r, struct value self, const struct value *a,
                                      const struct args *args)
{
    (void)self, (void)args;
    tpl_raise(r, tpl_to_str(r, a[0]));
}

/* As datetime.strftime of a time without zone: %z and %Z are empty, %f is zero. */
static struct value g_strftime_now(struct render *r, struct value self, const struct value *a, const struct args *args)
{
    (void)self, (void)args;
    const struct str *format = tpl_str_arg(r, a[0], "strftime_now()'s format");
    struct text f, out;
    text_init(&f, r);
    text_init(&out, r);
    for (size_t i = 0; i < format->len; i++) {
        char next = i + 1 < format->len && format->data[i] == '%' ? format->data[i + 1] : 0;
        if (next == 'z' || next == 'Z' || next == 'f') {
            text_cstr(&f, next == 'f' ? "000000" : "");
            i++;
        } else {
            text_add(&f, format->data + i, next ? 2 : 1);
            i += next ? 1 : 0;
        }
    }
    text_add(&f, "|", 2); /* never empty, and ends in NUL */
    size_t size = 4096 + 16 * f.len;
    char *text = tpl_alloc(r, size);
    struct tm now = r->now;
    size_t n = strftime(text, size, f.data, &now);
    enum origin origin = format->from ? origin_most(format->from, format->len) : format->origin;
    text_add_as(&out, text, n ? n - 1 : 0, origin);
    return text_value(&out);
}

const struct builtin tpl_cycler_methods[] = {
    { "next", "", cycler_next },
    { "reset", "", cycler_reset },
    { NULL, NULL, NULL },
};

const struct builtin tpl_globals[] = {
    { "range", "/start stop= step=", g_range },
    { "dict", "*", g_dict },
    { "namespace", "*", g_namespace },
    { "cycler", "*", g_cycler },
    { "joiner", "sep=", g_joiner },
    { "raise_exception", "message", g_raise_exception },
    { "strftime_now", "format", g_strftime_now },
    { NULL, NULL, NULL },
};
