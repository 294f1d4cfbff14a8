/* server/constraint.c - see constraint.h. Each name leads to a source of a grammar (grammar/grammar.h); a text that
 * holds JSON, as SGLang and vLLM have it, is read as such. */
#include "server/constraint.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/grammar.h"
#include "server/fields.h"
#include "server/known.h"

enum { MAX_TAGS = 128 };

struct constraint {
    struct grammar_source source;
    const char *field;         /* the one that asked; NULL: none did             */
    char        path[96];      /* of what the source's errors name               */
    json_t     *read;          /* owned: JSON that a text held; or NULL          */
    struct grammar_tag *tag;   /* owned */
    const char **trigger;      /* owned */
    char      (*tag_path)[64]; /* owned: what errors of a tag's schema name      */
};

/* Remembers that a field asks for something. -1: another one did before. */
static int ask(struct constraint *c, const char *field, const char *path, struct err *e)
{
    if (c->field)
        return fields_wrong(e, "invalid_value", "", field, "excludes %s: an answer can be held to one of them",
                            c->field);
    c->field = field;
    snprintf(c->path, sizeof c->path, "%s", path);
    c->source.field = c->path;
    return 0;
}

/* A JSON Schema, as it is or as a text of JSON, which is how some clients send it. What is read from a text lives in
 * c->read until the grammar is compiled. */
static int take_schema(struct constraint *c, const json_t *v, struct err *e)
{
    struct json_limits limits = FIELDS_LIMITS;
    if (json_is_string(v)) {
        c->read = json_read(c->path, json_string_value(v), json_string_length(v), &limits, e);
        if (!c->read) {
            snprintf(e->field, sizeof e->field, "%s", c->path);
            return -1;
        }
        v = c->read;
    }
    if (!json_is_dict(v) && !json_is_boolean(v))
        return fields_wrong(e, "invalid_type", c->path, "", "must be a JSON Schema: an object, or a text that holds "
                            "one");
    c->source.kind = GRAMMAR_SCHEMA;
    c->source.json = v;
    return 0;
}

/* A constraint that is text: a regular expression or a grammar. */
static int take_text(struct constraint *c, enum grammar_kind kind, const json_t *v, struct err *e)
{
    if (!json_is_string(v))
        return fields_wrong(e, "invalid_type", c->path, "", "must be a string");
    c->source.kind = kind;
    c->source.text = json_string_value(v);
    c->source.n = json_string_length(v);
    return 0;
}

static int take_choice(struct constraint *c, const json_t *v, struct err *e)
{
    if (!json_is_array(v))
        return fields_wrong(e, "invalid_type", c->path, "", "must be an array of strings");
    c->source.kind = GRAMMAR_CHOICE;
    c->source.json = v;
    return 0;
}

/* true: any JSON object; false counts as not given. */
static int take_json(struct constraint *c, const json_t *v, struct err *e)
{
    if (!json_is_boolean(v))
        return fields_wrong(e, "invalid_type", c->path, "", "must be a boolean");
    if (json_is_true(v))
        c->source.kind = GRAMMAR_JSON;
    else
        c->field = NULL;
    return 0;
}

/* One of the structures of a structural tag: the texts that begin and end it, and the schema of what stands between;
 * without one any JSON object. */
static int take_tag(struct constraint *c, size_t i, const json_t *v, struct err *e)
{
    struct grammar_tag *tag = &c->tag[i];
    const json_t *schema = json_object_get(v, "schema");
    const char *begin = NULL, *end = NULL;
    snprintf(c->tag_path[i], sizeof *c->tag_path, "%.40s.structures[%zu]", c->path, i);
    if (!json_is_dict(v))
        return fields_wrong(e, "invalid_type", c->tag_path[i], "", "must be an object");
    if (member_string(v, c->tag_path[i], "begin", &begin, e) != 0 ||
        member_string(v, c->tag_path[i], "end", &end, e) != 0)
        return -1;
    if (!begin || !end)
        return fields_wrong(e, "missing_field", c->tag_path[i], begin ? "end" : "begin", "is missing");
    tag->begin = begin;
    tag->end = end;
    tag->content = (struct grammar_source){ .kind = schema ? GRAMMAR_SCHEMA : GRAMMAR_JSON, .field = c->tag_path[i],
                                            .json = schema };
    return 0;
}

/* {"type": "structural_tag", "structures": [{"begin", "schema", "end"}], "triggers": [...]}, as it is or as a text. */
static int take_tags(struct constraint *c, const json_t *v, struct err *e)
{
    struct json_limits limits = FIELDS_LIMITS;
    json_t *structures = NULL, *triggers = NULL;
    if (json_is_string(v))
        v = c->read = json_read(c->path, json_string_value(v), json_string_length(v), &limits, e);
    if (!v)
        return -1;
    if (!json_is_dict(v))
        return fields_wrong(e, "invalid_type", c->path, "", "must be an object, or a text that holds one");
    if (json_object_get(v, "format"))
        return fields_wrong(e, "unsupported_parameter", c->path, "format",
                            "is not supported; structures and triggers are");
    if (member_array(v, c->path, "structures", &structures, e) != 0 ||
        member_array(v, c->path, "triggers", &triggers, e) != 0)
        return -1;
    size_t n = json_array_size(structures), n_triggers = json_array_size(triggers);
    if (n == 0 || n > MAX_TAGS || n_triggers == 0 || n_triggers > MAX_TAGS)
        return fields_wrong(e, "invalid_value", c->path, "", "must have 1 to %d structures and triggers", MAX_TAGS);
    c->tag = calloc(n, sizeof *c->tag);
    c->tag_path = calloc(n, sizeof *c->tag_path);
    c->trigger = calloc(n_triggers, sizeof *c->trigger);
    if (!c->tag || !c->tag_path || !c->trigger)
        return err_memory(e);
    for (size_t i = 0; i < n; i++)
        if (take_tag(c, i, json_array_get(structures, i), e) != 0)
            return -1;
    for (size_t i = 0; i < n_triggers; i++) {
        const json_t *t = json_array_get(triggers, i);
        if (!json_is_string(t) || strlen(json_string_value(t)) != json_string_length(t))
            return fields_wrong(e, "invalid_type", c->path, "triggers", "must be an array of strings without U+0000");
        c->trigger[i] = json_string_value(t);
    }
    c->source.kind = GRAMMAR_TAGS;
    c->source.tag = c->tag;
    c->source.n_tags = (int)n;
    c->source.trigger = c->trigger;
    c->source.n_triggers = (int)n_triggers;
    return 0;
}

/* OpenAI's field: strict closes objects that name their properties, as it wants them to be written anyway. llama.cpp
 * takes a schema beside json_object, too. */
static int take_format(struct constraint *c, const json_t *in, struct err *e)
{
    json_t *format = NULL, *wrapper = NULL, *schema = NULL;
    const json_t *name = NULL;
    const char *type = "text";
    bool strict = false;
    if (member_object(in, "", "response_format", &format, e) != 0 ||
        member_string(format, "response_format", "type", &type, e) != 0 ||
        member_object(format, "response_format", "schema", &schema, e) != 0)
        return -1;
    if (!format || strcmp(type, "text") == 0)
        return 0;
    if (strcmp(type, "structural_tag") == 0)
        return ask(c, "response_format", "response_format", e) != 0 ? -1 : take_tags(c, format, e);
    if (strcmp(type, "json_object") == 0) {
        c->source.kind = GRAMMAR_JSON;
        if (ask(c, "response_format", schema ? "response_format.schema" : "response_format", e) != 0)
            return -1;
        return schema ? take_schema(c, schema, e) : 0;
    }
    if (strcmp(type, "json_schema") != 0)
        return fields_wrong(e, "invalid_value", "response_format", "type", "must be text, json_object or json_schema");
    if (member_object(format, "response_format", "json_schema", &wrapper, e) != 0 ||
        member_bool(wrapper, "response_format.json_schema", "strict", &strict, e) != 0 ||
        member_text(wrapper, "response_format.json_schema", "name", &name, e) != 0 ||
        member_text(wrapper, "response_format.json_schema", "description", &name, e) != 0)
        return -1;
    if (!wrapper && schema)            /* as llama.cpp takes it, too */
        return ask(c, "response_format", "response_format.schema", e) != 0 ? -1 : take_schema(c, schema, e);
    if (!wrapper)
        return fields_wrong(e, "missing_field", "response_format", "json_schema", "is missing");
    schema = NULL;
    if (member_object(wrapper, "response_format.json_schema", "schema", &schema, e) != 0)
        return -1;
    if (!schema)
        return fields_wrong(e, "missing_field", "response_format.json_schema", "schema", "is missing");
    c->source.closed = strict;
    return ask(c, "response_format", "response_format.json_schema.schema", e) != 0 ? -1 : take_schema(c, schema, e);
}

/* What can be asked for by a name of its own: at the request, or in vLLM's structured_outputs. */
enum what { WHAT_SCHEMA, WHAT_JSON, WHAT_REGEX, WHAT_CHOICE, WHAT_EBNF, WHAT_TAGS };

/* Reads one constraint by what its name stands for in the table. */
static int take(struct constraint *c, enum what what, const json_t *v, struct err *e)
{
    switch (what) {
    case WHAT_SCHEMA: return take_schema(c, v, e);
    case WHAT_JSON:   return take_json(c, v, e);
    case WHAT_REGEX:  return take_text(c, GRAMMAR_REGEX, v, e);
    case WHAT_CHOICE: return take_choice(c, v, e);
    case WHAT_EBNF:   return take_text(c, GRAMMAR_EBNF, v, e);
    case WHAT_TAGS:   return take_tags(c, v, e);
    }
    return -1;
}

/* vLLM's newer names stand within structured_outputs, its older ones and those of SGLang and llama.cpp do not. */
static const struct { const char *at, *name; enum what what; } names[] = {
    { "structured_outputs", "json", WHAT_SCHEMA }, { "structured_outputs", "json_object", WHAT_JSON },
    { "structured_outputs", "regex", WHAT_REGEX }, { "structured_outputs", "choice", WHAT_CHOICE },
    { "structured_outputs", "grammar", WHAT_EBNF }, { "structured_outputs", "structural_tag", WHAT_TAGS },
    { "", "guided_json", WHAT_SCHEMA }, { "", "guided_regex", WHAT_REGEX }, { "", "guided_choice", WHAT_CHOICE },
    { "", "guided_grammar", WHAT_EBNF }, { "", "structural_tag", WHAT_TAGS },
    { "", "regex", WHAT_REGEX }, { "", "ebnf", WHAT_EBNF },
    { "", "grammar", WHAT_EBNF }, { "", "json_schema", WHAT_SCHEMA },
};

/* Clients send an empty value of what a name takes with every request, and mean nothing by it: null, an empty text, and
 * by the older names an empty schema or list, too. */
static bool asks_nothing(const json_t *v, enum what what, bool older)
{
    if (json_is_string(v))
        return json_string_length(v) == 0 && what != WHAT_JSON && what != WHAT_CHOICE;
    if (json_is_array(v))
        return json_array_size(v) == 0 && what == WHAT_CHOICE && older;
    if (json_is_dict(v))
        return json_object_size(v) == 0 && what == WHAT_SCHEMA && older;
    return !v || json_is_null(v);
}

/* Looks for the many names under which clients ask for a constraint, in the order of the table. ask() refuses a second
 * one, since two could contradict each other. */
static int take_names(struct constraint *c, const json_t *in, struct err *e)
{
    json_t *outputs = NULL;
    bool closed = false;
    if (member_object(in, "", "structured_outputs", &outputs, e) != 0 ||
        known_check(known_of_structured, outputs, "structured_outputs", e) != 0 ||
        member_bool(outputs, "structured_outputs", "disable_additional_properties", &closed, e) != 0)
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        const json_t *v = json_object_get(*names[i].at ? outputs : in, names[i].name);
        if (asks_nothing(v, names[i].what, !*names[i].at))
            continue;
        snprintf(path, sizeof path, "%s%s%s", names[i].at, *names[i].at ? "." : "", names[i].name);
        if (ask(c, *names[i].at ? names[i].at : names[i].name, path, e) != 0 || take(c, names[i].what, v, e) != 0)
            return -1;
    }
    c->source.closed |= closed;
    return 0;
}

/* The request's own word counts more than the server's; "none" is one, too. */
static int take_actions(struct constraint *c, const struct sampling *s, const json_t *in, struct err *e)
{
    const char *own = NULL, *which = s->action_grammar;
    if (member_string(in, "", "action_grammar", &own, e) != 0)
        return -1;
    if (own && *own)
        which = own;
    if (!which || strcmp(which, "none") == 0 || (c->field && which != own))
        return 0;
    if (strcmp(which, "autoglm") != 0)
        return fields_wrong(e, "invalid_value", "", "action_grammar", "must be autoglm or none");
    c->source.kind = GRAMMAR_ACTIONS;
    return ask(c, "action_grammar", "action_grammar", e);
}

void constraint_free(struct constraint *c)
{
    if (!c)
        return;
    json_decref(c->read);
    free(c->tag);
    free(c->tag_path);
    free(c->trigger);
    free(c);
}

const struct grammar_source *constraint_source(const struct constraint *c) { return &c->source; }

struct constraint *constraint_read(const struct sampling *s, const json_t *in, struct err *e)
{
    struct constraint *c = calloc(1, sizeof *c);
    e->text[0] = 0;
    int rc = c ? 0 : err_memory(e);
    if (rc == 0 && (take_format(c, in, e) != 0 || take_names(c, in, e) != 0 || take_actions(c, s, in, e) != 0))
        rc = -1;
    if (rc != 0 && !e->code[0])
        snprintf(e->code, sizeof e->code, "invalid_value");
    if (rc == 0 && c->field)
        return c;
    constraint_free(c);
    return NULL;
}

int constraint_parse(struct sampling *s, const json_t *in, struct err *e)
{
    struct constraint *c = constraint_read(s, in, e);
    if (!c)
        return e->text[0] ? -1 : 0;
    s->params.grammar = s->grammar = grammar_cached(&c->source, e);
    s->grammar_field = strcmp(c->field, "action_grammar") == 0 && json_string_length(json_object_get(in, c->field)) == 0
                           ? NULL : c->field;
    constraint_free(c);
    if (!s->grammar && !e->code[0])
        snprintf(e->code, sizeof e->code, "invalid_value");
    return s->grammar ? 0 : -1;
}
