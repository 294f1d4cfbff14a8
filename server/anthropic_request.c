/* server/anthropic_request.c - see anthropic_request.h. Content is a list of blocks of many types; what a chat has a
 * place for becomes that, and any other block is refused by its type. Fields that are not Anthropic's stay as they are,
 * so that whatever chats can do can be asked for here, too.
 *
 * Memory is checked where JSON that others are built from is made; that all of it was there, the caller asks
 * json_starved(). */
#include "server/anthropic_request.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "server/field_names.h"
#include "server/fields.h"
#include "server/known.h"
#include "server/translate.h"

enum { PATH = 96, URL_BYTES = 512 << 20 };

struct translation {
    json_t *messages;          /* borrowed: of the chat, so far           */
    json_t *names;             /* borrowed: how errors name what is in it */
    struct err *e;
};

/* What a client may ask for and this server does not have. */
static const struct known_field unknown_here[] = {
    { "container", "" }, { "mcp_servers", "[]" }, { "n", "1" },
    { "fallbacks", "[]" }, { 0 }
};

/* The parts of one message, by what becomes of them in a chat. All owned by `all`. */
struct parts {
    json_t *all, *content, *calls, *thoughts;
    json_t *images;            /* "content[0].image_url.url" to where it comes from */
};

/* Adds a message, and to the names where it and its images come from, so that an error names the client's own field. p
 * NULL: it has no images. */
static int add_message(struct translation *t, json_t *message, const struct parts *p, const char *at)
{
    char chat[PATH];
    const char *key;
    json_t *from;
    size_t index = json_array_size(t->messages);
    if (json_array_append_new(t->messages, message) != 0)
        return err_memory(t->e);
    json_object_foreach(p ? p->images : NULL, key, from) {
        snprintf(chat, sizeof chat, "messages[%zu].%s", index, key);
        if (field_names_add(t->names, chat, json_string_value(from), t->e) != 0)
            return -1;
    }
    snprintf(chat, sizeof chat, "messages[%zu]", index);
    return field_names_add(t->names, chat, at, t->e);
}

/* The image's URL becomes the next part; errors of it name `at`, a member of its block. */
static int add_url(struct translation *t, struct parts *p, json_t *url, const char *at, const char *member)
{
    char key[PATH], from[PATH + 8];
    snprintf(key, sizeof key, "content[%zu].image_url.url", json_array_size(p->content));
    snprintf(from, sizeof from, "%s.%s", at, member);
    json_t *part = json_pack("{s:s, s:{s:o}}", "type", "image_url", "image_url", "url", url);
    return json_array_append_new(p->content, part) != 0 || field_names_add(p->images, key, from, t->e) != 0
               ? err_memory(t->e)
               : 0;
}

/* {"type": "base64", "media_type", "data"} or {"type": "url", "url"}. The base64 text goes into a data: URL, and the
 * request does not hold it a second time. */
static int add_image(struct translation *t, struct parts *p, const json_t *block, const char *at)
{
    json_t     *source = NULL;
    const char *type = NULL, *media = "image/png", *url = NULL;
    const json_t *data = NULL;
    char path[PATH];
    struct buf text;
    snprintf(path, sizeof path, "%.80s.source", at);
    if (member_object(block, at, "source", &source, t->e) != 0 ||
        member_string(source, path, "type", &type, t->e) != 0 ||
        member_string(source, path, "media_type", &media, t->e) != 0 ||
        member_text(source, path, "data", &data, t->e) != 0 || member_string(source, path, "url", &url, t->e) != 0)
        return -1;
    if (!type)
        return fields_wrong(t->e, "missing_field", path, "type", "is missing");
    if (strcmp(type, "url") == 0 && url)
        return add_url(t, p, json_string(url), path, "url");
    if (strcmp(type, "url") == 0)
        return fields_wrong(t->e, "missing_field", path, "url", "is missing");
    if (strcmp(type, "base64") != 0)
        return fields_wrong(t->e, "unsupported_value", path, "type", "must be base64 or url");
    if (!data)
        return fields_wrong(t->e, "missing_field", path, "data", "is missing");
    if (strlen(media) > 64 || strpbrk(media, ",;#"))
        return fields_wrong(t->e, "invalid_value", path, "media_type", "is no type of an image");
    buf_init(&text, URL_BYTES);
    buf_printf(&text, "data:%s;base64,", media);
    buf_add(&text, json_string_value(data), json_string_length(data));
    json_t *joined = buf_ok(&text) ? json_stringn_nocheck(text.data, text.len) : NULL;
    buf_free(&text);
    if (!joined)
        return err_memory(t->e);
    json_string_set((json_t *)data, "");
    return add_url(t, p, joined, path, "data");
}

/* A part with the text that the block's member `name` holds. */
static int add_text(struct translation *t, json_t *parts, const json_t *block, const char *at, const char *name)
{
    const json_t *text = NULL;
    if (member_text(block, at, name, &text, t->e) != 0)
        return -1;
    if (!text)
        return fields_wrong(t->e, "missing_field", at, name, "is missing");
    return json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "text", "text", (json_t *)text));
}

/* A document counts if it is a plain text. */
static int add_document(struct translation *t, json_t *parts, const json_t *block, const char *at)
{
    json_t     *source = NULL;
    const char *type = "";
    char path[PATH];
    snprintf(path, sizeof path, "%.80s.source", at);
    if (member_object(block, at, "source", &source, t->e) != 0 ||
        member_string(source, path, "type", &type, t->e) != 0)
        return -1;
    if (strcmp(type, "text") != 0)
        return fields_wrong(t->e, "unsupported_value", path, "type", "must be text: other documents are not read");
    return add_text(t, parts, source, path, "data");
}

/* A call that the assistant has made. */
static int add_call(struct translation *t, json_t *calls, const json_t *block, const char *at)
{
    const json_t *id = NULL, *name = NULL;
    json_t *input = NULL;
    if (member_text(block, at, "id", &id, t->e) != 0 || member_text(block, at, "name", &name, t->e) != 0 ||
        member_object(block, at, "input", &input, t->e) != 0)
        return -1;
    if (!id || !name)
        return fields_wrong(t->e, "missing_field", at, id ? "name" : "id", "is missing");
    json_t *call = json_pack("{s:O, s:s, s:{s:O, s:o}}", "id", (json_t *)id, "type", "function", "function", "name",
                             (json_t *)name, "arguments", input ? json_incref(input) : json_object());
    return json_array_append_new(calls, call);
}

static int add_thought(struct translation *t, json_t *thoughts, const json_t *block, const char *at)
{
    const json_t *text = NULL;
    if (member_text(block, at, "thinking", &text, t->e) != 0)
        return -1;
    return text ? json_array_append(thoughts, (json_t *)text) : 0;
}

static int parse_blocks(struct translation *t, struct parts *p, const json_t *content, const char *at, bool nested);

/* What a tool has said: a message of its own, which comes before what else the user says. */
static int add_result(struct translation *t, const json_t *block, const char *at)
{
    const json_t *id = NULL, *v = json_object_get(block, "content");
    bool failed = false;
    if (member_text(block, at, "tool_use_id", &id, t->e) != 0 || member_bool(block, at, "is_error", &failed, t->e) != 0)
        return -1;
    if (!id)
        return fields_wrong(t->e, "missing_field", at, "tool_use_id", "is missing");
    struct parts p = { .all = json_array() };
    int rc = 0;
    if (v && !json_is_null(v) && !json_is_string(v))
        rc = parse_blocks(t, &p, v, at, true);
    if (rc == 0) {
        json_t *said = json_is_string(v) ? (json_t *)v : p.content;
        json_t *content = json_is_string(said) || json_array_size(said) > 0 ? json_incref(said) : json_string("");
        json_t *message = json_pack("{s:s, s:O, s:o}", "role", "tool", "tool_call_id", (json_t *)id, "content",
                                    content);
        rc = add_message(t, message, &p, at);
    }
    json_decref(p.all);
    return rc;
}

/* One block of a message's content goes to the list that its type belongs to. `nested`: within the result of a tool,
 * where neither calls nor thoughts can be. */
static int parse_block(struct translation *t, struct parts *p, const json_t *block, const char *at, bool nested)
{
    const char *type = NULL;
    if (!json_is_dict(block))
        return fields_wrong(t->e, "invalid_type", at, "", "must be an object");
    if (member_string(block, at, "type", &type, t->e) != 0)
        return -1;
    if (!type)
        return fields_wrong(t->e, "missing_field", at, "type", "is missing");
    if (strcmp(type, "text") == 0)
        return add_text(t, p->content, block, at, "text");
    if (strcmp(type, "image") == 0)
        return add_image(t, p, block, at);
    if (strcmp(type, "document") == 0)
        return add_document(t, p->content, block, at);
    if (strcmp(type, "tool_use") == 0 && !nested)
        return add_call(t, p->calls, block, at);
    if (strcmp(type, "tool_result") == 0 && !nested)
        return add_result(t, block, at);
    if (strcmp(type, "thinking") == 0 && !nested)
        return add_thought(t, p->thoughts, block, at);
    if (strcmp(type, "redacted_thinking") == 0 && !nested)
        return 0;
    return fields_wrong(t->e, "unsupported_value", at, "type", "\"%.40s\" is not supported here", type);
}

/* All blocks of one message. The lists of `p` are made here and hang on p->all, which the caller frees whatever
 * happens. `at` names the message in errors. */
static int parse_blocks(struct translation *t, struct parts *p, const json_t *content, const char *at, bool nested)
{
    json_t **list[] = { &p->content, &p->calls, &p->thoughts };
    for (int i = 0; i < 3; i++)
        if (json_array_append_new(p->all, *list[i] = json_array()) != 0)
            return err_memory(t->e);
    if (json_array_append_new(p->all, p->images = json_object()) != 0)
        return err_memory(t->e);
    if (!json_is_array(content))
        return fields_wrong(t->e, "invalid_type", at, "content", "must be a string or an array of blocks");
    for (size_t i = 0; i < json_array_size(content); i++) {
        char path[PATH];
        snprintf(path, sizeof path, "%.64s.content[%zu]", at, i);
        if (parse_block(t, p, json_array_get(content, i), path, nested) != 0)
            return -1;
    }
    return 0;
}

/* The assistant's or the user's message, after the results of tools that were in it. */
static int finish_message(struct translation *t, const struct parts *p, const char *role, const char *at)
{
    bool assistant = strcmp(role, "assistant") == 0;
    if (json_array_size(p->calls) > 0 && !assistant)
        return fields_wrong(t->e, "invalid_value", at, "content", "may hold tool_use in the assistant's messages only");
    if (json_array_size(p->content) == 0 && !assistant)
        return 0;                      /* nothing but results of tools */
    json_t *message = json_pack("{s:s, s:O}", "role", role, "content", p->content), *thoughts = NULL;
    if (json_array_size(p->calls) > 0)
        json_object_set(message, "tool_calls", p->calls);
    if (assistant && (thoughts = json_array_get(p->thoughts, 0)))
        json_object_set(message, "reasoning_content", thoughts);
    return add_message(t, message, p, at);
}

/* One message becomes one or more of a chat: the results of tools, which Anthropic puts into the user's message, are
 * messages of their own there and come first. A message that would leave nothing is refused, because the chat would not
 * show that it was there. The role may also be system, which Claude Code sends among the others. */
static int parse_message(struct translation *t, const json_t *in, const char *at)
{
    const char *role = NULL;
    if (!json_is_dict(in))
        return fields_wrong(t->e, "invalid_type", at, "", "must be an object");
    if (member_string(in, at, "role", &role, t->e) != 0)
        return -1;
    if (!role || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0 && strcmp(role, "system") != 0))
        return fields_wrong(t->e, role ? "invalid_value" : "missing_field", at, "role",
                            "must be user, assistant or system");
    json_t *content = json_object_get(in, "content");
    if (json_is_string(content))
        return add_message(t, json_pack("{s:s, s:O}", "role", role, "content", content), NULL, at);
    if (!content || json_is_null(content))
        return fields_wrong(t->e, "missing_field", at, "content", "is missing");
    struct parts p = { .all = json_array() };
    size_t before = json_array_size(t->messages);
    int rc = parse_blocks(t, &p, content, at, false);
    if (rc == 0)
        rc = finish_message(t, &p, role, at);
    if (rc == 0 && json_array_size(t->messages) == before)
        rc = fields_wrong(t->e, "invalid_value", at, "content", "must not be empty");
    json_decref(p.all);
    return rc;
}

/* `system` is a string or a list of blocks of text, and becomes the first message of the chat. */
static int take_system(struct translation *t, const json_t *in)
{
    json_t *v = json_object_get(in, "system");
    if (!v || json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0))
        return 0;
    if (json_is_string(v))
        return add_message(t, json_pack("{s:s, s:O}", "role", "system", "content", v), NULL, "system");
    if (!json_is_array(v))
        return fields_wrong(t->e, "invalid_type", "", "system", "must be a string or an array of blocks of text");
    json_t *content = json_array();
    int rc = add_message(t, json_pack("{s:s, s:o}", "role", "system", "content", content), NULL, "system");
    for (size_t i = 0; rc == 0 && i < json_array_size(v); i++) {
        char at[PATH];
        snprintf(at, sizeof at, "system[%zu]", i);
        const json_t *block = json_array_get(v, i);
        rc = json_is_dict(block) ? add_text(t, content, block, at, "text")
                                 : fields_wrong(t->e, "invalid_type", at, "", "must be an object");
    }
    return rc;
}

/* {"name", "description", "input_schema"}; tools of other types are run by Anthropic's servers. */
static json_t *function_of(json_t *tool, json_t *names, const char *at, struct err *e)
{
    char schema_at[64], own_schema[48];
    const char   *type = "custom";
    const json_t *name = NULL, *text = NULL;
    json_t       *schema = NULL;
    if (member_string(tool, at, "type", &type, e) != 0 || member_text(tool, at, "name", &name, e) != 0 ||
        member_text(tool, at, "description", &text, e) != 0 || member_object(tool, at, "input_schema", &schema, e) != 0)
        return NULL;
    if (strcmp(type, "custom") != 0)
        return fields_wrong(e, "unsupported_value", at, "type", "\"%.40s\" is not supported here", type), NULL;
    if (!name || !schema)
        return fields_wrong(e, "missing_field", at, name ? "input_schema" : "name", "is missing"), NULL;
    snprintf(schema_at, sizeof schema_at, "%s.function.parameters", at);
    snprintf(own_schema, sizeof own_schema, "%s.input_schema", at);
    if (field_names_add(names, schema_at, own_schema, e) != 0)
        return NULL;
    json_t *function = json_pack("{s:O, s:O}", "name", (json_t *)name, "parameters", schema);
    if (!function)
        return err_memory(e), NULL;
    if (text)
        json_object_set(function, "description", (json_t *)text);
    return function;
}

/* {"type": "auto" | "any" | "none" | "tool", "name", "disable_parallel_tool_use"} */
static int take_choice(json_t *chat, const json_t *in, struct err *e)
{
    json_t *choice = NULL;
    const char *type = NULL;
    const json_t *name = NULL;
    bool single = false;
    if (member_object(in, "", "tool_choice", &choice, e) != 0)
        return -1;
    if (!choice)
        return 0;
    if (member_string(choice, "tool_choice", "type", &type, e) != 0 ||
        member_text(choice, "tool_choice", "name", &name, e) != 0 ||
        member_bool(choice, "tool_choice", "disable_parallel_tool_use", &single, e) != 0)
        return -1;
    json_t *made = NULL;
    if (type && strcmp(type, "tool") == 0 && name)
        made = json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name", (json_t *)name);
    else if (type && (strcmp(type, "auto") == 0 || strcmp(type, "none") == 0))
        made = json_string(type);
    else if (type && strcmp(type, "any") == 0)
        made = json_string("required");
    else
        return type && strcmp(type, "tool") == 0
                   ? fields_wrong(e, "missing_field", "tool_choice", "name", "is missing")
                   : fields_wrong(e, "invalid_value", "tool_choice", "type", "must be auto, any, tool or none");
    json_object_set_new(chat, "tool_choice", made);
    if (single)
        json_object_set_new(chat, "parallel_tool_calls", json_false());
    return 0;
}

/* Whether the model thinks is a variable of its template. How long it may is not: budget_tokens has no influence. */
static int take_thinking(json_t *chat, const json_t *in, struct err *e)
{
    json_t *thinking = NULL, *kwargs = NULL;
    const char *type = NULL;
    if (member_object(in, "", "thinking", &thinking, e) != 0)
        return -1;
    if (!thinking)
        return 0;
    if (member_string(thinking, "thinking", "type", &type, e) != 0 ||
        member_object(in, "", "chat_template_kwargs", &kwargs, e) != 0)
        return -1;
    bool off = type && strcmp(type, "disabled") == 0;
    if (!off && !(type && (strcmp(type, "enabled") == 0 || strcmp(type, "adaptive") == 0)))
        return fields_wrong(e, "invalid_value", "thinking", "type", "must be enabled, adaptive or disabled");
    json_t *made = kwargs ? json_copy(kwargs) : json_object();
    if (!json_object_get(made, "enable_thinking"))
        json_object_set_new(made, "enable_thinking", json_boolean(!off));
    return json_object_set_new(chat, "chat_template_kwargs", made) == 0 ? 0 : err_memory(e);
}

/* context_management: {"edits": [{"type": "clear_thinking_20251015", "keep"}]}, which Claude Code sends with every
 * request. Which of the earlier thoughts the model sees is its chat template's to decide, as it always is; edits of
 * other kinds would take something out of the messages, and are refused. */
static int check_edits(const json_t *in, struct err *e)
{
    static const char known[] = "clear_thinking_";
    json_t *management = NULL, *edits = NULL, *edit;
    size_t  i;
    if (member_object(in, "", "context_management", &management, e) != 0 ||
        member_array(management, "context_management", "edits", &edits, e) != 0)
        return -1;
    json_array_foreach(edits, i, edit) {
        char        at[PATH];
        const char *type = NULL;
        snprintf(at, sizeof at, "context_management.edits[%zu]", i);
        if (!json_is_dict(edit))
            return fields_wrong(e, "invalid_type", at, "", "must be an object");
        if (member_string(edit, at, "type", &type, e) != 0)
            return -1;
        if (!type)
            return fields_wrong(e, "missing_field", at, "type", "is missing");
        if (strncmp(type, known, strlen(known)) != 0)
            return fields_wrong(e, "unsupported_value", at, "type", "\"%.40s\" is not supported here", type);
    }
    return 0;
}

/* output_config: {"format": {"type": "json_schema", "schema"}, "effort"}. The format, whose older name is
 * output_format, becomes the chat's response_format, the effort its reasoning_effort. */
static int take_output(json_t *chat, json_t *names, const json_t *in, struct err *e)
{
    json_t *config = NULL, *format = NULL, *schema = NULL;
    const char *type = NULL, *at = "output_config.format";
    const json_t *effort = NULL;
    if (member_object(in, "", "output_config", &config, e) != 0 ||
        member_object(config, "output_config", "format", &format, e) != 0 ||
        member_text(config, "output_config", "effort", &effort, e) != 0)
        return -1;
    if (effort)
        json_object_set(chat, "reasoning_effort", (json_t *)effort);
    if (!format && member_object(in, "", at = "output_format", &format, e) != 0)
        return -1;
    if (!format)
        return 0;
    if (member_string(format, at, "type", &type, e) != 0 || member_object(format, at, "schema", &schema, e) != 0)
        return -1;
    if (!type || strcmp(type, "json_schema") != 0)
        return fields_wrong(e, "invalid_value", at, "type", "must be json_schema");
    if (!schema)
        return fields_wrong(e, "missing_field", at, "schema", "is missing");
    if (field_names_add(names, "response_format", at, e) != 0 ||
        field_names_add(names, "response_format.json_schema", at, e) != 0)
        return -1;
    json_t *made = json_pack("{s:s, s:{s:s, s:O}}", "type", "json_schema", "json_schema", "name", "answer", "schema",
                             schema);
    return json_object_set_new(chat, "response_format", made) == 0 ? 0 : err_memory(e);
}

/* The messages, and where the last of them is the assistant's, that the model goes on with it. */
static int take_messages(struct translation *t, json_t *chat, const json_t *in)
{
    json_t *list = NULL;
    if (member_array(in, "", "messages", &list, t->e) != 0)
        return -1;
    if (json_array_size(list) == 0)
        return fields_wrong(t->e, list ? "invalid_value" : "missing_field", "", "messages",
                            list ? "must not be empty" : "is missing");
    if (take_system(t, in) != 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        char at[PATH];
        snprintf(at, sizeof at, "messages[%zu]", i);
        if (parse_message(t, json_array_get(list, i), at) != 0)
            return -1;
    }
    const json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char   *role = json_string_value(json_object_get(last, "role"));
    if (role && strcmp(role, "assistant") == 0)
        json_object_set_new(chat, "continue_final_message", json_true());
    return 0;
}

/* stop_sequences is `stop` of a chat, which is checked there. */
static int take_stops(json_t *chat, const json_t *in, struct err *e)
{
    json_t *stops = NULL;
    if (member_array(in, "", "stop_sequences", &stops, e) != 0)
        return -1;
    for (size_t i = 0; i < json_array_size(stops); i++)
        if (!json_is_string(json_array_get(stops, i)) || json_string_length(json_array_get(stops, i)) == 0)
            return fields_wrong(e, "invalid_value", "", "stop_sequences", "must be an array of strings, none empty");
    if (stops)
        json_object_set(chat, "stop", stops);
    return 0;
}

/* What both routes share, /v1/messages and count_tokens. The functions above put what is Anthropic's own back in the
 * form of a chat. *chat and *names are the caller's, also after -1. */
int anthropic_translate_prompt(json_t *in, json_t **chat, json_t **names, struct err *e)
{
    static const char *const own[] = { "system", "stop_sequences", "stop", "tools", "tool_choice", "thinking",
                                       "output_config", "output_format" };
    *names = json_pack("{s:s, s:s, s:s}", "stop", "stop_sequences", "tool_choice.function", "tool_choice",
                       "continue_final_message", "messages");
    struct translation t = { .names = *names, .e = e };
    t.messages = translate_begin(in, own, sizeof own / sizeof *own, chat, e);
    if (!t.messages || !*names)
        return err_memory(e);
    if (known_check(unknown_here, in, "", e) != 0 || check_edits(in, e) != 0 || take_messages(&t, *chat, in) != 0 ||
        translate_tools(*chat, *names, in, "", function_of, e) != 0 || take_choice(*chat, in, e) != 0 ||
        take_thinking(*chat, in, e) != 0 || take_output(*chat, *names, in, e) != 0 || take_stops(*chat, in, e) != 0)
        return -1;
    return 0;
}

int anthropic_translate(json_t *in, json_t **chat, json_t **names, struct err *e)
{
    const json_t *most = json_object_get(in, "max_tokens");
    if (!most || json_is_null(most))
        return fields_wrong(e, "missing_field", "", "max_tokens", "is missing");
    return anthropic_translate_prompt(in, chat, names, e);
}
