/* server/tool_fields.c - reads what a chat says of tools. The template sees the tools unless they are not to be used;
 * what it does with them, and what is in their schemas, is between it and the model. */
#include "server/tool_fields.h"

#include <stdio.h>
#include <string.h>

#include "server/fields.h"

/* A function in the form of OpenAI's Responses API, {"type": "function", "name", ...}, which some clients send here
 * (Cursor), gets that of a chat, with a member `function`. Other tools stay as they are. */
static int nest_function(json_t *tools, size_t i, struct err *e)
{
    json_t     *tool = json_array_get(tools, i);
    const char *type = json_string_value(json_object_get(tool, "type"));
    if (!type || strcmp(type, "function") != 0 || json_object_get(tool, "function") ||
        !json_is_string(json_object_get(tool, "name")))
        return 0;
    json_t *function = json_copy(tool), *made = json_pack("{s:s, s:O}", "type", "function", "function", function);
    json_object_del(function, "type");
    json_decref(function);
    return made && json_array_set_new(tools, i, made) == 0 ? 0 : err_memory(e);
}

/* Checks what every template takes for granted: each tool is an object, and its function, if there is one, is an
 * object with a name that is a string. Everything else in a tool is for the template to read, so it is not looked
 * at. */
static int check_tools(json_t *tools, struct err *e)
{
    for (size_t i = 0; tools && i < json_array_size(tools); i++) {
        char          at[32], inner[48];
        json_t       *tool = json_array_get(tools, i), *function = NULL;
        const json_t *name = NULL;
        snprintf(at, sizeof at, "tools[%zu]", i);
        snprintf(inner, sizeof inner, "%s.function", at);
        if (!json_is_dict(tool))
            return fields_wrong(e, "invalid_type", at, "", "must be an object");
        if (member_object(tool, at, "function", &function, e) != 0 ||
            (function && member_text(function, inner, "name", &name, e) != 0) || nest_function(tools, i, e) != 0)
            return -1;
    }
    return 0;
}

/* The older form of tools, `functions`, becomes today's; both at once are refused. */
static int take_functions(struct tool_fields *t, json_t *in, struct err *e)
{
    json_t *functions = NULL;
    if (member_array(in, "", "functions", &functions, e) != 0)
        return -1;
    if (json_array_size(functions) == 0)
        return 0;
    if (t->tools)
        return fields_wrong(e, "invalid_value", "", "functions", "excludes tools, which are the newer form of it");
    json_t *tools = json_array();
    for (size_t i = 0; i < json_array_size(functions); i++) {
        char    at[32];
        json_t *function = json_array_get(functions, i);
        const json_t *name = NULL;
        snprintf(at, sizeof at, "functions[%zu]", i);
        int rc = json_is_dict(function) ? member_text(function, at, "name", &name, e)
                                        : fields_wrong(e, "invalid_type", at, "", "must be an object");
        if (rc == 0 && !name)
            rc = fields_wrong(e, "missing_field", at, "name", "is missing");
        if (rc != 0) {
            json_decref(tools);
            return -1;
        }
        json_array_append_new(tools, json_pack("{s:s, s:O}", "type", "function", "function", function));
    }
    t->functions = true;
    t->tools = tools;
    return json_object_set_new(in, "tools", tools) == 0 ? 0 : err_memory(e);
}

/* The tool of that name; NULL: there is none. */
static json_t *find_tool(const json_t *tools, const json_t *name)
{
    json_t *tool;
    size_t  i;
    json_array_foreach((json_t *)tools, i, tool)
        if (json_equal(name, json_object_get(json_object_get(tool, "function"), "name")))
            return tool;
    return NULL;
}

/* {"name": ...}: one of the tools, which has to be called. */
static int take_name(struct tool_fields *t, const json_t *choice, const char *at, struct err *e)
{
    const json_t *name = NULL;
    if (member_text(choice, at, "name", &name, e) != 0)
        return -1;
    if (!name)
        return fields_wrong(e, "missing_field", at, "name", "is missing");
    t->forced = true;
    t->named = json_string_value(name);
    return find_tool(t->tools, name) ? 0 : fields_wrong(e, "invalid_value", at, "name", "is none of the tools");
}

/* One entry of allowed_tools.tools goes to `kept`. */
static int keep_tool(const struct tool_fields *t, json_t *kept, const json_t *entry, size_t i, struct err *e)
{
    char          at[64], inner[80];
    json_t       *function = NULL, *tool;
    const json_t *name = NULL;
    snprintf(at, sizeof at, "tool_choice.allowed_tools.tools[%zu]", i);
    snprintf(inner, sizeof inner, "%s.function", at);
    if (!json_is_dict(entry))
        return fields_wrong(e, "invalid_type", at, "", "must be an object");
    if (member_object(entry, at, "function", &function, e) != 0 || member_text(function, inner, "name", &name, e) != 0)
        return -1;
    if (!name)
        return fields_wrong(e, "missing_field", inner, "name", "is missing");
    if (!(tool = find_tool(t->tools, name)))
        return fields_wrong(e, "invalid_value", inner, "name", "is none of the tools");
    return json_array_append(kept, tool) == 0 ? 0 : err_memory(e);
}

/* {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [...]}}: as if the others were not there. The
 * request's own list becomes the shorter one, which is then also what the template sees: a model cannot call what it
 * does not know. */
static int take_allowed(struct tool_fields *t, json_t *in, const json_t *choice, struct err *e)
{
    static const char at[] = "tool_choice.allowed_tools";
    json_t     *allowed = NULL, *list = NULL, *kept;
    const char *mode = "auto";
    if (member_object(choice, "tool_choice", "allowed_tools", &allowed, e) != 0)
        return -1;
    if (!allowed)
        return fields_wrong(e, "missing_field", "tool_choice", "allowed_tools", "is missing");
    if (member_string(allowed, at, "mode", &mode, e) != 0 || member_array(allowed, at, "tools", &list, e) != 0)
        return -1;
    t->forced = strcmp(mode, "required") == 0;
    if (!t->forced && strcmp(mode, "auto") != 0)
        return fields_wrong(e, "invalid_value", at, "mode", "must be auto or required");
    if (json_array_size(list) == 0)
        return fields_wrong(e, list ? "invalid_value" : "missing_field", at, "tools",
                            list ? "must not be empty" : "is missing");
    int rc = (kept = json_array()) ? 0 : err_memory(e);
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
        rc = keep_tool(t, kept, json_array_get(list, i), i, e);
    if (rc == 0)
        rc = json_object_set(in, "tools", kept) == 0 ? 0 : err_memory(e);
    json_decref(kept);                 /* the request has it now */
    t->tools = rc == 0 ? kept : NULL;
    return rc;
}

static int take_word(struct tool_fields *t, const char *word, const char *field, bool older, struct err *e)
{
    if (strcmp(word, "required") == 0 && !older) {
        t->forced = t->tools != NULL;
        return t->tools ? 0 : fields_wrong(e, "invalid_value", "", field, "is required, but there are no tools");
    }
    if (strcmp(word, "none") == 0)
        t->tools = NULL;
    else if (strcmp(word, "auto") != 0)
        return fields_wrong(e, "invalid_value", "", field,
                            older ? "must be none, auto or an object" : "must be none, auto, required or an object");
    return 0;
}

/* {"type": "function", "function": {"name": ...}}, the form with several names, or one of the words, as {"type":
 * "auto"}, which Cursor sends. A name may stand without `function` around it, as in OpenAI's Responses API. */
static int take_named_tool(struct tool_fields *t, json_t *in, const json_t *choice, struct err *e)
{
    static const char *const words[] = { "auto", "none", "required" };
    const char *type = "function";
    json_t     *function = NULL;
    if (member_string(choice, "tool_choice", "type", &type, e) != 0)
        return -1;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(type, words[i]) == 0)
            return take_word(t, type, "tool_choice", false, e);
    if (strcmp(type, "allowed_tools") == 0)
        return take_allowed(t, in, choice, e);
    if (strcmp(type, "function") != 0)
        return fields_wrong(e, "unsupported_parameter", "tool_choice", "type", "must be function or allowed_tools");
    if (member_object(choice, "tool_choice", "function", &function, e) != 0)
        return -1;
    if (!function && json_is_string(json_object_get(choice, "name")))
        return take_name(t, choice, "tool_choice", e);
    return take_name(t, function, "tool_choice.function", e);
}

/* `field` is tool_choice or, in the older form, function_call, which knows no "required". */
static int take_choice(struct tool_fields *t, json_t *in, const char *field, struct err *e)
{
    const json_t *v = json_object_get(in, field);
    bool older = strcmp(field, "function_call") == 0;
    if (!v || json_is_null(v))
        return 0;
    if (json_is_dict(v) && older)
        return take_name(t, v, field, e);
    if (json_is_dict(v))
        return take_named_tool(t, in, v, e);
    if (!json_is_string(v))
        return fields_wrong(e, "invalid_type", "", field, "must be a string or an object");
    return take_word(t, json_string_value(v), field, older, e);
}

/* An empty list of tools counts as none, because templates only ask whether it is there. */
int tool_fields_parse(struct tool_fields *t, json_t *in, struct err *e)
{
    bool parallel = true;
    *t = (struct tool_fields){ 0 };
    if (member_array(in, "", "tools", &t->tools, e) != 0 || check_tools(t->tools, e) != 0)
        return -1;
    if (json_array_size(t->tools) == 0)
        t->tools = NULL;
    if (take_functions(t, in, e) != 0 || take_choice(t, in, "tool_choice", e) != 0 ||
        take_choice(t, in, "function_call", e) != 0 ||
        member_bool(in, "", "parallel_tool_calls", &parallel, e) != 0)
        return -1;
    t->single = !parallel || t->functions || t->named;
    return 0;
}
