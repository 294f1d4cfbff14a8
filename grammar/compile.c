/* grammar_compile(): a source of any kind becomes an expression, and that a program. */
#include <stdlib.h>

#include "base/mem.h"
#include "grammar/program.h"
#include "grammar/regex.h"
#include "grammar/sources.h"

enum { MAX_CHOICES = 20000, MAX_SOURCES = 2000, MAX_REPEATS = 100000 };

/* The choices of GRAMMAR_CHOICE: `list` must be an array of 1 to MAX_CHOICES strings. After a wrong element the loop
 * goes on with EXPR_NONE, because the first failure of a builder is the one that is told. */
static int32_t choice_expr(struct build *b, const json_t *list)
{
    size_t n = json_array_size(list);
    int32_t *kid = NULL;
    size_t cap = 0;
    if (!json_is_array(list) || n == 0)
        return build_fail(b, "must be an array of at least one string");
    if (n > MAX_CHOICES)
        return build_fail(b, "holds %zu choices; at most %d are possible", n, MAX_CHOICES);
    if (grow(&kid, &cap, n, sizeof *kid) < 0)
        return build_starve(b);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v))
            build_fail(b, "must be an array of strings");
        kid[i] = b->failed ? EXPR_NONE : expr_bytes(b, json_string_value(v), json_string_length(v));
    }
    int32_t x = expr_alt(b, kid, n);
    free(kid);
    return x;
}

/* The parts of GRAMMAR_SEQUENCE and GRAMMAR_ANY_OF. `depth` is the depth of `s` within the whole source; it bounds the
 * recursion, since a part may have parts again. */
static int32_t parts_expr(struct build *b, const struct grammar_source *s, int depth)
{
    int32_t *kid = NULL;
    size_t cap = 0;
    if (s->n_parts < 0 || s->n_parts > MAX_SOURCES)
        return build_fail(b, "consists of more than %d parts", MAX_SOURCES);
    if (grow(&kid, &cap, (size_t)s->n_parts + 1, sizeof *kid) < 0)
        return build_starve(b);
    for (int i = 0; i < s->n_parts; i++)
        kid[i] = source_expr(b, &s->part[i], depth + 1);
    int32_t x = s->kind == GRAMMAR_SEQUENCE ? expr_seq(b, kid, (size_t)s->n_parts)
                                            : expr_alt(b, kid, (size_t)s->n_parts);
    free(kid);
    return x;
}

/* Free text up to and including the first of some literals, any of which ends it; without literals any text at all. The
 * literals themselves are compared, not what they might mean. */
static int32_t free_expr(struct build *b, const struct grammar_source *s)
{
    enum { MAX_ENDS = 64 };
    int32_t end[MAX_ENDS], until[MAX_ENDS];
    size_t n = (size_t)s->n_parts;
    if (n == 0)
        return expr_free(b, NULL, 0);
    if (n > MAX_ENDS)
        return build_fail(b, "has more than %d ends of free text", MAX_ENDS);
    for (size_t i = 0; i < n; i++)
        end[i] = expr_bytes(b, s->part[i].text, s->part[i].n);
    for (size_t i = 0; i < n; i++)
        until[i] = expr_until(b, end, n, i);
    return expr_alt(b, until, n);
}

/* Names the source that is at fault, unless one inside it has a name of its own. */
static int32_t named(struct build *b, const struct grammar_source *s, int32_t x)
{
    if (b->failed && s->field && !b->e.field[0] && b->e.status != 503) {
        struct err e = b->e;
        err_field(&b->e, s->field, "%s %s", s->field, e.text);
        b->e.status = e.status;
    }
    return x;
}

/* The expression of one source, whatever its kind: the only place that knows which parser reads which. All parsers put
 * their errors into the builder, so the caller looks at b->failed once. The limits of text and depth stand here, before
 * any parser sees hostile input. */
static int32_t expr_of(struct build *b, const struct grammar_source *s, int depth)
{
    if (depth > GRAMMAR_MAX_NESTING)
        return build_fail(b, "is nested more than %d deep", GRAMMAR_MAX_NESTING);
    if (s->n > GRAMMAR_MAX_TEXT)
        return build_fail(b, "has %zu bytes; at most %d are possible", s->n, GRAMMAR_MAX_TEXT);
    switch (s->kind) {
    case GRAMMAR_JSON:     return json_object_expr(b);
    case GRAMMAR_SCHEMA:   return schema_expr(b, s->json, s->root ? s->root : s->json, s->closed);
    case GRAMMAR_TEXT:     return text_expr(b, s->json, s->root ? s->root : s->json, s->text, s->n);
    case GRAMMAR_REGEX:    return regex_expr(b, s->text, s->n, true, WRITE_UTF8);
    case GRAMMAR_EBNF:     return ebnf_expr(b, s->text, s->n);
    case GRAMMAR_CHOICE:   return choice_expr(b, s->json);
    case GRAMMAR_ACTIONS:  return actions_expr(b);
    case GRAMMAR_LITERAL:  return expr_marked(b, s->text, s->n);
    case GRAMMAR_SEQUENCE: case GRAMMAR_ANY_OF:   return parts_expr(b, s, depth);
    case GRAMMAR_REPEAT:
        if (s->least < 0 || s->least > MAX_REPEATS || s->most > MAX_REPEATS)
            return build_fail(b, "is repeated more than %d times", MAX_REPEATS);
        return expr_repeat(b, source_expr(b, &s->part[0], depth + 1), s->least, s->most < 0 ? NO_MAX : s->most);
    case GRAMMAR_FREE:     return free_expr(b, s);
    case GRAMMAR_TAGS:     return tags_expr(b, s, depth);
    }
    return build_fail(b, "is of an unknown kind");
}

int32_t source_expr(struct build *b, const struct grammar_source *s, int depth)
{
    return b->failed ? EXPR_NONE : named(b, s, expr_of(b, s, depth));
}

/* The builder lives from the first byte of the source to the finished grammar and is freed with everything in it; only
 * the grammar remains. Errors get the name of the field that the client used. */
struct grammar *grammar_compile(const struct grammar_source *source, struct err *e)
{
    struct build b;
    build_init(&b);
    int32_t root = source_expr(&b, source, 0);
    struct grammar *g = b.failed ? NULL : program_make(&b, root);
    if (b.failed) {
        named(&b, source, EXPR_NONE);
        if (e)
            *e = b.e;
    }
    build_free(&b);
    return g;
}
