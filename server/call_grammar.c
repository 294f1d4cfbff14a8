/* server/call_grammar.c - see call_grammar.h. A call is a tag (grammar/grammar.h) whose frame the format gives and
 * whose inside follows the schema of the function's parameters.
 *
 * Arguments have the parameters that the schema names and no others, unless it speaks of additionalProperties: a model
 * that is led by the grammar would otherwise be free to invent some. The sources are built in small blocks of memory
 * that live until the grammar is compiled. */
#include "server/call_grammar.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/fields.h"

struct block { struct block *next; max_align_t data[]; };

struct maker {
    const struct call_rules *rules;    /* borrowed */
    const struct tool_frame *frame;    /* borrowed */
    struct block *blocks;              /* owned    */
    json_t       *made;                /* owned array: schemas that are not the request's */
    struct err   *e;
};

/* Zeroed memory that lives as long as the maker; NULL: it is out, and the error says so. */
static void *room(struct maker *m, size_t n)
{
    struct block *b = calloc(1, sizeof *b + n);
    if (!b) {
        err_memory(m->e);
        return NULL;
    }
    b->next = m->blocks;
    m->blocks = b;
    return b->data;
}

/* Four texts end to end, in memory that lives until the grammar is compiled. NULL: memory. */
static char *joined(struct maker *m, const char *a, const char *b, const char *c, const char *d)
{
    size_t n = strlen(a) + strlen(b) + strlen(c) + strlen(d) + 1;
    char  *s = room(m, n);
    if (s)
        snprintf(s, n, "%s%s%s%s", a, b, c, d);
    return s;
}

static struct grammar_source literal(const char *s)
{
    return (struct grammar_source){ .kind = GRAMMAR_LITERAL, .text = s, .n = strlen(s) };
}

static struct grammar_source regex(const char *s)
{
    return (struct grammar_source){ .kind = GRAMMAR_REGEX, .text = s, .n = strlen(s) };
}

static struct grammar_source parts(enum grammar_kind kind, const struct grammar_source *part, int n)
{
    return (struct grammar_source){ .kind = kind, .part = part, .n_parts = n };
}

static struct grammar_source optional(const struct grammar_source *part, bool required)
{
    return (struct grammar_source){ .kind = GRAMMAR_REPEAT, .part = part, .n_parts = 1, .least = required, .most = 1 };
}

/* ---- arguments as JSON ---- */

static bool is_type_object(const json_t *schema)
{
    const char *type = json_string_value(json_object_get(schema, "type"));
    return type && strcmp(type, "object") == 0;
}

/* Does the schema list its properties, and there are none? */
static bool has_no_parameters(const json_t *schema)
{
    static const char *const others[] = { "additionalProperties", "patternProperties", "minProperties", "anyOf",
                                          "oneOf", "allOf", "$ref" };
    const json_t *properties = json_object_get(schema, "properties");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (json_object_get(schema, others[i]))
            return false;
    return json_is_object(properties) && json_object_size(properties) == 0 &&
           json_array_size(json_object_get(schema, "required")) == 0;
}

/* The parameters' schema; where it does not say that they are an object, or has none, one that says so and refers to
 * it. NULL: memory is out. */
static const json_t *object_schema(struct maker *m, const json_t *parameters)
{
    bool none = has_no_parameters(parameters);
    if (is_type_object(parameters) && !none)
        return parameters;
    json_t *v = json_pack("{s:s, s:[{s:s}]}", "type", "object", "allOf", "$ref", "#");
    if (v && none)
        json_object_set_new(v, "additionalProperties", json_false());
    if (!m->made)
        m->made = json_array();
    if (json_array_append_new(m->made, v) != 0) {
        err_memory(m->e);
        return NULL;
    }
    return v;
}

/* The arguments of a call as JSON. A function without a schema of its parameters takes none, as OpenAI has it. */
static int json_arguments(struct maker *m, struct grammar_source *out, const json_t *parameters, const char *field)
{
    *out = literal("{}");
    if (!parameters)
        return 0;
    *out = (struct grammar_source){ .kind = GRAMMAR_SCHEMA, .field = field, .json = object_schema(m, parameters),
                                    .root = parameters, .closed = true };
    return out->json ? 0 : -1;
}

/* ---- arguments one by one ---- */

/* Parameters that are written one by one are those that the schema names, in its order. What else it says of them
 * together is refused, because nothing would keep to it. */
static int check_list(const json_t *parameters, const char *field, struct err *e)
{
    static const char *const refused[] = { "$ref", "anyOf", "oneOf", "allOf", "not", "if", "patternProperties",
                                           "propertyNames", "minProperties", "maxProperties", "enum", "const",
                                           "dependentRequired", "dependentSchemas", "dependencies" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (json_object_get(parameters, refused[i]))
            return fields_wrong(e, "unsupported_value", field, "",
                                "uses the keyword \"%s\" for the parameters as a whole, which this model's format of "
                                "calls does not support", refused[i]);
    return 0;
}

/* Whether the schema demands this parameter. */
static bool is_required(const json_t *parameters, const char *name)
{
    const json_t *list = json_object_get(parameters, "required"), *one;
    size_t i;
    json_array_foreach((json_t *)list, i, one)
        if (json_is_string(one) && strcmp(json_string_value(one), name) == 0)
            return true;
    return false;
}

/* One parameter of formats that write them one by one: its mark and name, its value, and the mark behind it. A string
 * is written as it is, up to that mark; any other value as JSON. It may be left out unless the schema demands it. */
static int make_argument(struct maker *m, struct grammar_source *out, const json_t *parameters, const char *name,
                         const json_t *schema, const char *field)
{
    const struct tool_frame *f = m->frame;
    struct grammar_source   *part = room(m, 5 * sizeof *part);
    char *begin = joined(m, f->key, name, f->value, "");
    char *path = joined(m, field, ".properties.", name, "");
    if (!part || !begin || !path)
        return -1;
    bool text = tool_parameter_is_string(schema);
    part[0] = literal(begin);
    part[1] = (struct grammar_source){ .kind = text ? GRAMMAR_TEXT : GRAMMAR_SCHEMA, .field = path, .json = schema,
                                       .root = parameters, .closed = true, .text = text ? f->past : NULL,
                                       .n = text ? strlen(f->past) : 0 };
    part[2] = literal(text ? "" : f->past);
    part[3] = literal(f->next);
    part[4] = parts(GRAMMAR_SEQUENCE, part, 4);
    *out = optional(&part[4], is_required(parameters, name));
    return 0;
}

/* The parameters that are named, and then those that are only said to be required. */
static int listed_arguments(struct maker *m, struct grammar_source *out, const json_t *parameters, const char *field)
{
    json_t *properties = json_object_get(parameters, "properties"), *required = json_object_get(parameters, "required");
    json_t *schema, *one;
    const char *name;
    size_t i, most = json_object_size(properties) + json_array_size(required);
    int    n = 0;
    if (check_list(parameters, field, m->e) != 0)
        return -1;
    struct grammar_source *argument = room(m, (most + 1) * sizeof *argument);
    if (!argument)
        return -1;
    json_object_foreach(properties, name, schema) {
        if (strlen(name) > 256 || strstr(name, "</"))
            return fields_wrong(m->e, "invalid_value", field, "properties",
                                "has a name that this model's format of calls cannot write");
        if (make_argument(m, &argument[n++], parameters, name, schema, field) != 0)
            return -1;
    }
    json_array_foreach(required, i, one)
        if (!json_is_string(one) || !json_object_get(properties, json_string_value(one)))
            return fields_wrong(m->e, "unsupported_value", field, "required",
                                "must name some of the properties, for this model's format of calls");
    *out = parts(GRAMMAR_SEQUENCE, argument, n);
    return 0;
}

/* ---- a call ---- */

/* Names are written into the frame as they are, so they may hold nothing that would be more than text there. */
static int check_name(const char *name, const char *function, struct err *e)
{
    size_t n = name ? strlen(name) : 0;
    if (!name)
        return fields_wrong(e, "missing_field", function, "name", "is missing");
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("_-.:/", name[i]))
            n = 0;
    if (n == 0 || n > OUTPUT_MAX_NAME)
        return fields_wrong(e, "invalid_value", function, "name",
                            "must be 1 to %d letters, digits and _-.:/ where calls are forced or strict",
                            OUTPUT_MAX_NAME);
    return 0;
}

/* What the arguments of a function that is not strict may be. */
static int any_arguments(struct maker *m, struct grammar_tag *tag)
{
    tag->content.kind = GRAMMAR_JSON;
    if (!m->frame->key)
        return 0;
    struct grammar_source *end = room(m, sizeof *end);
    if (!end)
        return -1;
    *end = literal(tag->end);
    tag->content = parts(GRAMMAR_FREE, end, 1);
    tag->end = "";
    return 0;
}

static int is_strict(const json_t *tool, const char *function, bool *strict, struct err *e)
{
    *strict = false;
    return member_bool(json_object_get(tool, "function"), function, "strict", strict, e);
}

/* The tag of tool i: how its call begins, what its arguments may be, and how it ends; `before` stands in front of it.
 * Where calls are free and the function is not strict, any arguments are allowed. */
static int make_tag(struct maker *m, struct grammar_tag *tag, size_t i, const char *before)
{
    const struct tool_frame *f = m->frame;
    const json_t *tool = json_array_get(m->rules->tools, i), *function = json_object_get(tool, "function");
    const char   *name = json_string_value(json_object_get(function, "name"));
    json_t       *parameters = NULL;
    bool          strict;
    char          at[48];
    snprintf(at, sizeof at, m->rules->functions ? "functions[%zu]" : "tools[%zu].function", i);
    if (check_name(name, at, m->e) != 0 || is_strict(tool, at, &strict, m->e) != 0 ||
        member_object(function, at, "parameters", &parameters, m->e) != 0)
        return -1;
    char *begin = joined(m, f->begin, name, f->arguments, ""), *field = joined(m, at, ".parameters", "", "");
    tag->begin = begin ? joined(m, before, begin, "", "") : NULL;
    tag->end = f->end;
    if (!tag->begin || !field)
        return -1;
    if (!m->rules->forced && !strict)
        return any_arguments(m, tag);
    if (json_object_get(parameters, "type") && !is_type_object(parameters))
        return fields_wrong(m->e, "invalid_value", field, "type", "must be object");
    return f->key ? listed_arguments(m, &tag->content, parameters, field)
                  : json_arguments(m, &tag->content, parameters, field);
}

/* Whether tool i may be called: all may, unless tool_choice names one. */
static bool may_be_called(const struct maker *m, size_t i)
{
    const json_t *function = json_object_get(json_array_get(m->rules->tools, i), "function");
    const char   *name = json_string_value(json_object_get(function, "name"));
    return !m->rules->named || (name && strcmp(name, m->rules->named) == 0);
}

/* The tags of all functions that may be called. Without a trigger: calls and nothing else. */
static int make_calls(struct maker *m, struct grammar_source *out, const char *trigger)
{
    size_t n = json_array_size(m->rules->tools);
    struct grammar_tag *tag = room(m, n * sizeof *tag);
    const char **triggers = room(m, sizeof *triggers);
    if (!tag || !triggers)
        return -1;
    *triggers = trigger;
    *out = (struct grammar_source){ .kind = GRAMMAR_TAGS, .field = m->rules->functions ? "functions" : "tools",
                                    .tag = tag, .trigger = triggers, .n_triggers = trigger != NULL,
                                    .separator = m->frame->separator, .at_least_one = !trigger,
                                    .at_most_one = m->rules->single };
    for (size_t i = 0; i < n; i++)
        if (may_be_called(m, i) &&
            make_tag(m, &tag[out->n_tags++], i, trigger && m->frame->bare ? trigger : "") != 0)
            return -1;
    return 0;
}

/* ---- the answer ---- */

/* Calls alone. Where a call begins without a mark, the mark may stand before the first of them all the same. */
static int calls_alone(struct maker *m, struct grammar_source *out)
{
    struct grammar_source *s = room(m, 3 * sizeof *s);
    if (!s)
        return -1;
    s[0] = literal(m->frame->trigger);
    s[1] = optional(&s[0], false);
    if (make_calls(m, &s[2], NULL) != 0)
        return -1;
    *out = m->frame->bare ? parts(GRAMMAR_SEQUENCE, &s[1], 2) : s[2];
    return 0;
}

/* Where a call may begin without a mark, but only at the beginning of the answer: calls, or a text that begins
 * otherwise and in which the mark leads to a call. */
static int calls_or_text(struct maker *m, struct grammar_source *out)
{
    struct grammar_source *s = room(m, 5 * sizeof *s);
    if (!s || calls_alone(m, &s[2]) != 0)
        return -1;
    s[0] = regex("\\s*([^\\s{<]|<[^|{\\s])");
    if (make_calls(m, &s[1], m->frame->trigger) != 0)
        return -1;
    s[3] = parts(GRAMMAR_SEQUENCE, &s[0], 2);
    s[4] = parts(GRAMMAR_ANY_OF, &s[2], 2);
    *out = optional(&s[4], false);
    return 0;
}

/* `body`, behind the thoughts that the prompt has opened or that the model may open. */
static int think_first(struct maker *m, struct grammar_source *out, const struct grammar_source *body)
{
    const struct reasoning_format *f = m->rules->thoughts;
    struct grammar_source *s = room(m, 7 * sizeof *s), *end = room(m, sizeof *end);
    if (!s || !end)
        return -1;
    *end = literal(reasoning_format_closing(f));
    s[0] = literal(reasoning_format_opening(f));
    s[1] = parts(GRAMMAR_FREE, end, 1);
    s[2] = regex("\\n{0,2}");
    s[3] = m->rules->begun ? parts(GRAMMAR_SEQUENCE, &s[1], 2) : parts(GRAMMAR_SEQUENCE, &s[0], 3);
    s[4] = optional(&s[3], m->rules->begun);
    s[5] = *body;
    *out = parts(GRAMMAR_SEQUENCE, &s[4], 2);
    return 0;
}

/* Calls and nothing else, or the text that the request describes. */
static int calls_or_described(struct maker *m, struct grammar_source *out)
{
    struct grammar_source *s = room(m, 2 * sizeof *s);
    if (!s || calls_alone(m, &s[0]) != 0)
        return -1;
    s[1] = *m->rules->text;
    *out = parts(GRAMMAR_ANY_OF, s, 2);
    return 0;
}

/* What an answer may be, from the inside out: calls alone where they are forced, calls or a described text, calls or
 * free text; and in front of it thoughts, where they come first. */
static int make_answer(struct maker *m, struct grammar_source *out)
{
    struct grammar_source body = { .field = NULL };
    int rc;
    if (m->rules->forced)
        rc = calls_alone(m, &body);
    else if (m->rules->text)
        rc = calls_or_described(m, &body);
    else
        rc = m->frame->bare ? calls_or_text(m, &body) : make_calls(m, &body, m->frame->trigger);
    *out = body;
    return rc == 0 && m->rules->thoughts ? think_first(m, out, &body) : rc;
}

/* Whether a function asks that its calls keep to its schema. Also checks that `strict` is a boolean in each, and names
 * the one where it is not. */
static int any_strict(const struct call_rules *r, bool *any, struct err *e)
{
    *any = false;
    for (size_t i = 0; i < json_array_size(r->tools); i++) {
        char at[48];
        bool strict;
        snprintf(at, sizeof at, r->functions ? "functions[%zu]" : "tools[%zu].function", i);
        if (is_strict(json_array_get(r->tools, i), at, &strict, e) != 0)
            return -1;
        *any |= strict;
    }
    return 0;
}

/* The grammar that an answer with tools has to follow. *out stays NULL, and 0 is returned, where none is needed: no
 * call is forced and no function is strict. The sources borrow from m.made and the blocks, so these go only after the
 * grammar is compiled. -1: a schema asks for what the grammar cannot do, which names its field. */
int call_grammar(const struct call_rules *rules, struct grammar **out, struct err *e)
{
    struct maker m = { .rules = rules, .frame = tool_format_frame(rules->format), .e = e };
    struct grammar_source answer = { .field = NULL };
    bool strict;
    *out = NULL;
    if (any_strict(rules, &strict, e) != 0)
        return -1;
    if (!rules->forced && !strict && !rules->text)
        return 0;
    if (make_answer(&m, &answer) == 0)
        *out = grammar_cached(&answer, e);
    json_decref(m.made);
    while (m.blocks) {
        struct block *b = m.blocks;
        m.blocks = b->next;
        free(b);
    }
    if (!*out && !e->code[0] && e->status != 503)
        snprintf(e->code, sizeof e->code, "invalid_value");
    return *out ? 0 : -1;
}
