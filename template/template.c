/* template/template.c - the two entries: parse and render. Both set the place to
 * which failures return by longjmp; what must outlive one is held by the callers
 * of parse() and render(). */
#include "template/template.h"

#include <stdlib.h>
#include <string.h>

#include "template/syntax.h"

enum { DEFAULT_OUTPUT = 16 << 20, DEFAULT_STEPS = 20000000, DEFAULT_MEMORY = 256 << 20 };

/* Nodes take a multiple of the source; a hostile one is stopped here. */
static size_t parse_memory(size_t n) { return ((size_t)32 << 20) + 64 * (n < TPL_MAX_SOURCE ? n : TPL_MAX_SOURCE); }

/* Lexer, parser and resolution of names, one after the other. -1 after a failure in any
 * of them. */
static int parse(struct parser *p, struct template *t, const char *source, size_t n)
{
    if (setjmp(p->escape))
        return -1;
    tpl_lex(p, source, n);
    t->token = p->token;
    t->n_tokens = p->n_tokens;
    parse_template(p, t);
    tpl_resolve(p, t);
    return 0;
}

/* All nodes lie in the arena of the template, so that a failure frees it as a whole. */
struct template *template_parse(const char *source, size_t n, struct err *e)
{
    struct template *t = calloc(1, sizeof *t);
    if (!t) {
        err_memory(e);
        return NULL;
    }
    arena_init(&t->arena, parse_memory(n));
    struct parser p = { .arena = &t->arena, .err = e };
    if (parse(&p, t, source, n)) {
        template_free(t);
        return NULL;
    }
    return t;
}

void template_free(struct template *t)
{
    if (!t)
        return;
    arena_free(&t->arena);
    free(t);
}

/* The texts are tokens: what stands between tags, and strings within them. */
void template_literals(const struct template *t, void (*take)(void *arg, const char *s, size_t n), void *arg)
{
    for (size_t i = 0; i < t->n_tokens; i++)
        if (t->token[i].kind == T_DATA || t->token[i].kind == T_STRING)
            take(arg, t->token[i].value.u.s->data, t->token[i].value.u.s->len);
}

/* The time that strftime_now() writes: the one given, or the present. */
static void now_or(struct tm *out, const struct tm *now)
{
    time_t seconds = time(NULL);
    if (now)
        *out = *now;
    else
        localtime_r(&seconds, out);
}

/* The context's variables. Documents are what somebody else wrote. */
static void take_context(struct render *r, const json_t *context)
{
    if (!json_is_object(context))
        tpl_fail(r, "the context is not an object");
    struct value v = v_from_json(r, context, FROM_REQUEST);
    const json_t *documents = json_object_get(context, "documents");
    if (documents)
        tpl_dict_set(r, v.u.dict, v_text(r, "documents", 9), v_from_json(r, documents, FROM_OTHERS));
    r->context = v.u.dict;
    r->names = r->opt->names ? v_from_json(r, r->opt->names, FROM_TEMPLATE).u.dict : tpl_dict(r, 0);
}

/* The origins of a text's bytes, for the caller to free. */
static uint8_t *take_origins(const struct text *t)
{
    uint8_t *from = malloc(t->len + 1);
    if (!from)
        return NULL;
    if (t->from)
        memcpy(from, t->from, t->len);
    else
        memset(from, t->origin, t->len);
    return from;
}

/* Runs the template over the context and gives the text, which is the caller's; everything else lies in r->arena. NULL
 * after a failure, which jumps here from wherever it happened. length NULL: the caller wants a C string, and a NUL in
 * the text is an error. With opt->from also says of every byte who has written it. */
static char *render(struct render *r, const struct template *t, const json_t *context, size_t *length)
{
    struct text out;
    if (setjmp(r->escape))
        return NULL;
    text_init(&out, r);
    r->out = &out;
    take_context(r, context);
    r->act = tpl_activate(r, &t->function, NULL);
    tpl_enter_scope(r, &t->scope);
    tpl_exec(r, &t->body);
    if (length)
        *length = out.len;
    else if (out.len && memchr(out.data, 0, out.len))
        tpl_fail(r, "the text holds a NUL character");
    char *text = malloc(out.len + 1);
    uint8_t *from = r->opt->from ? take_origins(&out) : NULL;
    if (!text || (r->opt->from && !from)) {
        free(text);
        free(from);
        tpl_starve(r);
    }
    if (out.len)
        memcpy(text, out.data, out.len);
    text[out.len] = 0;
    if (r->opt->from)
        *r->opt->from = from;
    return text;
}

/* Every rendering has its own arena and limits, and the template is only read, so
 * several may run at once. */
char *template_render(const struct template *t, const json_t *context, const struct template_options *opt,
                      struct err *e)
{
    static const struct template_options defaults;
    const struct template_options *o = opt ? opt : &defaults;
    struct render r = {
        .template = t,
        .opt = o,
        .max_steps = o->max_steps ? o->max_steps : DEFAULT_STEPS,
        .max_output = o->max_output ? o->max_output : DEFAULT_OUTPUT,
        .line = 1,
        .err = e,
    };
    now_or(&r.now, o->now);
    arena_init(&r.arena, o->max_memory ? o->max_memory : DEFAULT_MEMORY);
    char *text = render(&r, t, context, o->length);
    arena_free(&r.arena);
    return text;
}
