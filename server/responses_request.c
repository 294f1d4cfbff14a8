/* server/responses_request.c - see responses_request.h. The items of the input become messages: calls and thoughts go
 * into the assistant's message that they belong to. The parts of a message have the same names in both forms for what
 * messages.c reads. Whatever would need an answer to be kept is refused by name. */
#include "server/responses_request.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "server/field_names.h"
#include "server/fields.h"
#include "server/known.h"
#include "server/translate.h"

enum { PATH = 96 };

struct conversation {
    json_t *chat;              /* borrowed */
    json_t *messages, *names;  /* borrowed: of the chat, so far, and how errors name what is in it */
    json_t *thoughts;          /* borrowed from the request; NULL: none that wait for their message */
    struct err *e;
};

/* What an answer would have to be kept for, or what is not done here. */
static const struct known_field unknown_here[] = {
    { "previous_response_id", "" }, { "conversation", "" }, { "background", "false" }, { "prompt", "" },
    { "max_tool_calls", "" }, { "truncation", "disabled" }, { "top_logprobs", "0" }, { "n", "1" },
    { "context_management", "[]" }, { 0 }
};

/* `at` is the item's path; `content_at` that of its content, where that has another name here. */
static json_t *add_message(struct conversation *t, const char *role, json_t *content, const char *at,
                           const char *content_at)
{
    json_t *message = json_pack("{s:s, s:o}", "role", role, "content", content);
    char chat[PATH];
    snprintf(chat, sizeof chat, "messages[%zu]", json_array_size(t->messages));
    if (json_array_append_new(t->messages, message) != 0) {
        err_memory(t->e);
        return NULL;
    }
    if (field_names_add(t->names, chat, at, t->e) != 0)
        return NULL;
    snprintf(chat, sizeof chat, "messages[%zu].content", json_array_size(t->messages) - 1);
    if (content_at && field_names_add(t->names, chat, content_at, t->e) != 0)
        return NULL;
    if (t->thoughts && strcmp(role, "assistant") == 0) {
        json_object_set(message, "reasoning_content", t->thoughts);
        t->thoughts = NULL;
    }
    return message;
}

/* A message keeps its content as it is: parts have the same names in both forms, and whoever reads the chat checks
 * them. */
static int take_message(struct conversation *t, const json_t *item, const char *at)
{
    static const char *const roles[] = { "user", "assistant", "system", "developer" };
    const char *role = NULL;
    json_t *content = json_object_get(item, "content");
    if (member_string(item, at, "role", &role, t->e) != 0)
        return -1;
    size_t i = 0;
    while (role && i < 4 && strcmp(role, roles[i]) != 0)
        i++;
    if (!role || i == 4)
        return fields_wrong(t->e, role ? "invalid_value" : "missing_field", at, "role",
                            "must be user, assistant, system or developer");
    return add_message(t, role, content ? json_incref(content) : json_null(), at, NULL) ? 0 : -1;
}

/* A call belongs to the assistant's message before it, or is one of its own. */
static int take_call(struct conversation *t, const json_t *item, const char *at)
{
    const json_t *id = NULL, *name = NULL, *arguments = NULL;
    if (member_text(item, at, "call_id", &id, t->e) != 0 || member_text(item, at, "name", &name, t->e) != 0 ||
        member_text(item, at, "arguments", &arguments, t->e) != 0)
        return -1;
    if (!id || !name)
        return fields_wrong(t->e, "missing_field", at, id ? "name" : "call_id", "is missing");
    json_t *last = json_array_get(t->messages, json_array_size(t->messages) - 1), *calls;
    const char *role = json_string_value(json_object_get(last, "role"));
    if (!role || strcmp(role, "assistant") != 0 || t->thoughts)
        last = add_message(t, "assistant", json_string(""), at, NULL);
    if (!last)
        return -1;
    if (!(calls = json_object_get(last, "tool_calls")))
        json_object_set_new(last, "tool_calls", calls = json_array());
    char chat[PATH];
    snprintf(chat, sizeof chat, "messages[%zu].tool_calls[%zu].function", json_array_size(t->messages) - 1,
             json_array_size(calls));
    if (field_names_add(t->names, chat, at, t->e) != 0)
        return -1;
    json_t *function = json_pack("{s:O, s:o}", "name", (json_t *)name, "arguments",
                                 arguments ? json_incref((json_t *)arguments) : json_string(""));
    return json_array_append_new(calls, json_pack("{s:O, s:s, s:o}", "id", (json_t *)id, "type", "function", "function",
                                                  function));
}

/* What a function has returned: a message of the role `tool`, which says by the call's id what it answers. */
static int take_output(struct conversation *t, const json_t *item, const char *at)
{
    const json_t *id = NULL, *v = json_object_get(item, "output");
    if (member_text(item, at, "call_id", &id, t->e) != 0)
        return -1;
    if (!id)
        return fields_wrong(t->e, "missing_field", at, "call_id", "is missing");
    if (!json_is_string(v) && !json_is_array(v))
        return fields_wrong(t->e, v ? "invalid_type" : "missing_field", at, "output",
                            "must be a string or an array of parts");
    char output[PATH];
    snprintf(output, sizeof output, "%.80s.output", at);
    json_t *message = add_message(t, "tool", json_incref((json_t *)v), at, output);
    return message ? json_object_set(message, "tool_call_id", (json_t *)id) : -1;
}

/* The thoughts of an earlier answer, for the message that follows; without a text that can be read they are dropped. */
static int take_thoughts(struct conversation *t, const json_t *item, const char *at)
{
    json_t *content = NULL;
    if (member_array(item, at, "content", &content, t->e) != 0)
        return -1;
    json_t *text = json_object_get(json_array_get(content, 0), "text");
    t->thoughts = json_is_string(text) ? text : NULL;
    return 0;
}

/* Tools that OpenAI's servers run, or that only its own models know how to use. */
static bool is_of_openai(const char *type)
{
    static const char *const types[] = {
        "web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp", "local_shell",
        "shell", "apply_patch", "computer_use_preview", "custom", "namespace", "tool_search"
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

/* {"type": "function", "name", "description", "parameters"}: what a chat has one level deeper. Codex lists tools of
 * other types beside its functions in every request; the model is not told of them, so it never calls one. */
static json_t *function_of(json_t *tool, json_t *names, const char *at, struct err *e)
{
    const char   *type = NULL;
    const json_t *name = NULL, *description = NULL;
    json_t       *parameters = NULL;
    (void)names;
    if (member_string(tool, at, "type", &type, e) != 0)
        return NULL;
    if (type && is_of_openai(type))
        return json_null();
    if (member_text(tool, at, "name", &name, e) != 0 ||
        member_text(tool, at, "description", &description, e) != 0 ||
        member_object(tool, at, "parameters", &parameters, e) != 0)
        return NULL;
    if (!type || strcmp(type, "function") != 0)
        return fields_wrong(e, type ? "unsupported_value" : "missing_field", at, "type", "must be function"), NULL;
    if (!name)
        return fields_wrong(e, "missing_field", at, "name", "is missing"), NULL;
    json_t *function = json_copy(tool);
    if (!function)
        return err_memory(e), NULL;
    json_object_del(function, "type");
    return function;
}

/* One item of the input by its type; without a type it is a message. Types whose tools OpenAI's servers would run are
 * refused by name. */
static int take_item(struct conversation *t, const json_t *item, const char *at)
{
    const char *type = "message";
    if (!json_is_dict(item))
        return fields_wrong(t->e, "invalid_type", at, "", "must be an object");
    if (member_string(item, at, "type", &type, t->e) != 0)
        return -1;
    if (strcmp(type, "message") == 0)
        return take_message(t, item, at);
    if (strcmp(type, "function_call") == 0)
        return take_call(t, item, at);
    if (strcmp(type, "function_call_output") == 0)
        return take_output(t, item, at);
    if (strcmp(type, "reasoning") == 0)
        return take_thoughts(t, item, at);
    if (strcmp(type, "additional_tools") == 0)         /* Codex's */
        return translate_tools(t->chat, t->names, item, at, function_of, t->e);
    return fields_wrong(t->e, "unsupported_value", at, "type", "\"%.40s\" is not supported here", type);
}

/* The input, a string or a list of items, as messages; `instructions` are the system's, and come first. */
static int take_input(struct conversation *t, const json_t *in)
{
    json_t *v = json_object_get(in, "input");
    const json_t *instructions = NULL;
    if (member_text(in, "", "instructions", &instructions, t->e) != 0)
        return -1;
    if (instructions && !add_message(t, "system", json_incref((json_t *)instructions), "instructions", "instructions"))
        return -1;
    if (json_is_string(v))
        return add_message(t, "user", json_incref(v), "input", "input") ? 0 : -1;
    if (!v || json_is_null(v))
        return fields_wrong(t->e, "missing_field", "", "input", "is missing");
    if (!json_is_array(v))
        return fields_wrong(t->e, "invalid_type", "", "input", "must be a string or an array of items");
    if (json_array_size(v) == 0)
        return fields_wrong(t->e, "invalid_value", "", "input", "must not be empty");
    for (size_t i = 0; i < json_array_size(v); i++) {
        char at[PATH];
        snprintf(at, sizeof at, "input[%zu]", i);
        if (take_item(t, json_array_get(v, i), at) != 0)
            return -1;
    }
    return 0;
}

/* {"type": "allowed_tools", "mode", "tools": [{"type": "function", "name"}]}: a chat has it one level deeper. */
static int take_allowed(json_t *chat, json_t *names, const json_t *v, struct err *e)
{
    json_t *list = NULL, *tools = json_array(), *tool, *mode = json_object_get(v, "mode");
    size_t  i;
    json_t *made = json_pack("{s:s, s:{s:o}}", "type", "allowed_tools", "allowed_tools", "tools", tools);
    if (!made || json_object_set_new(chat, "tool_choice", made) != 0)
        return err_memory(e);
    if (member_array(v, "tool_choice", "tools", &list, e) != 0)
        return -1;
    json_array_foreach(list, i, tool) {
        const json_t *name = NULL;
        char at[48], inner[72];
        snprintf(at, sizeof at, "tool_choice.tools[%zu]", i);
        snprintf(inner, sizeof inner, "tool_choice.allowed_tools.tools[%zu].function", i);
        if (field_names_add(names, inner, at, e) != 0)
            return -1;
        if (!json_is_dict(tool))
            return fields_wrong(e, "invalid_type", at, "", "must be an object");
        if (member_text(tool, at, "name", &name, e) != 0)
            return -1;
        if (!name)
            return fields_wrong(e, "missing_field", at, "name", "is missing");
        json_array_append_new(tools, json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name",
                                               (json_t *)name));
    }
    return mode && json_object_set(json_object_get(made, "allowed_tools"), "mode", mode) != 0 ? err_memory(e) : 0;
}

/* {"type": "function", "name"}; as a word it is the same in a chat. */
static int take_choice(json_t *chat, json_t *names, const json_t *in, struct err *e)
{
    const json_t *v = json_object_get(in, "tool_choice"), *name = NULL;
    const char *type = "function";
    if (!json_is_dict(v))
        return 0;
    if (member_string(v, "tool_choice", "type", &type, e) != 0 || member_text(v, "tool_choice", "name", &name, e) != 0)
        return -1;
    if (strcmp(type, "allowed_tools") == 0)
        return take_allowed(chat, names, v, e);
    if (strcmp(type, "auto") == 0 || strcmp(type, "none") == 0 || strcmp(type, "required") == 0)
        return json_object_set_new(chat, "tool_choice", json_string(type)) == 0 ? 0 : err_memory(e);
    if (strcmp(type, "function") != 0)
        return fields_wrong(e, "unsupported_value", "tool_choice", "type", "must be function or allowed_tools");
    if (!name)
        return fields_wrong(e, "missing_field", "tool_choice", "name", "is missing");
    json_t *made = json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name", (json_t *)name);
    return json_object_set_new(chat, "tool_choice", made) == 0 ? 0 : err_memory(e);
}

/* text.format is response_format of a chat, with the members of json_schema one level higher. */
static int take_text(json_t *chat, const json_t *in, struct err *e)
{
    json_t *text = NULL, *format = NULL, *reasoning = NULL, *made, *wrapper;
    const char *type = "text";
    const json_t *verbosity = NULL, *effort = NULL, *name = NULL;
    if (member_object(in, "", "text", &text, e) != 0 || member_object(text, "text", "format", &format, e) != 0 ||
        member_string(format, "text.format", "type", &type, e) != 0 ||
        member_text(format, "text.format", "name", &name, e) != 0 ||
        member_text(text, "text", "verbosity", &verbosity, e) != 0 ||
        member_object(in, "", "reasoning", &reasoning, e) != 0 ||
        member_text(reasoning, "reasoning", "effort", &effort, e) != 0)
        return -1;
    if (verbosity)
        json_object_set(chat, "verbosity", (json_t *)verbosity);
    if (effort)
        json_object_set(chat, "reasoning_effort", (json_t *)effort);
    if (!format)
        return 0;
    if (strcmp(type, "text") != 0 && strcmp(type, "json_object") != 0 && strcmp(type, "json_schema") != 0)
        return fields_wrong(e, "invalid_value", "text.format", "type", "must be text, json_object or json_schema");
    if (strcmp(type, "json_schema") != 0)
        return json_object_set(chat, "response_format", format);
    if (!json_is_dict(json_object_get(format, "schema")))
        return fields_wrong(e, "missing_field", "text.format", "schema", "must be an object");
    wrapper = json_copy(format);
    json_object_del(wrapper, "type");
    made = json_pack("{s:s, s:o}", "type", "json_schema", "json_schema", wrapper);
    return json_object_set_new(chat, "response_format", made) == 0 ? 0 : err_memory(e);
}

/* The functions above put what only this form has back in the form of a chat; other fields of chats pass through. *chat
 * and *names are the caller's, also after -1. */
int responses_translate(json_t *in, json_t **chat, json_t **names, struct err *e)
{
    static const char *const own[] = { "input", "instructions", "tools", "text", "reasoning", "truncation", "include",
                                       "max_output_tokens", "response_format", "prompt", "top_logprobs" };
    int64_t most = 0;
    json_t *include = NULL;
    *names = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "messages", "input",
                       "max_completion_tokens", "max_output_tokens",
                       "response_format", "text.format", "response_format.json_schema", "text.format",
                       "tool_choice.function", "tool_choice", "tool_choice.allowed_tools", "tool_choice");
    struct conversation t = { .names = *names, .e = e };
    t.messages = translate_begin(in, own, sizeof own / sizeof *own, chat, e);
    t.chat = *chat;
    if (!t.messages || !*names)
        return err_memory(e);
    if (known_check(unknown_here, in, "", e) != 0 || take_input(&t, in) != 0 ||
        translate_tools(*chat, *names, in, "", function_of, e) != 0 || take_choice(*chat, *names, in, e) != 0 ||
        take_text(*chat, in, e) != 0 ||
        member_array(in, "", "include", &include, e) != 0 ||
        member_int(in, "", "max_output_tokens", 1, INT32_MAX, &most, e) != 0)
        return -1;
    if (most > 0)
        json_object_set_new(*chat, "max_completion_tokens", json_integer(most));
    return 0;
}
