/* server/template_fields.c - see template_fields.h. */
#include "server/template_fields.h"

#include <stdio.h>
#include <string.h>

#include "server/fields.h"
#include "server/known.h"

/* `documents` are handed to the template as they are; a template expects objects. */
static int check_documents(const json_t *list, struct err *e)
{
    for (size_t i = 0; list && i < json_array_size(list); i++)
        if (!json_is_dict(json_array_get(list, i)))
            return fields_wrong(e, "invalid_type", "", "documents", "must be an array of objects");
    return 0;
}

/* How much the model should think and say is something that only its template can tell it. OpenAI's reasoning_effort
 * therefore becomes two variables of the template, and its verbosity one, unless the request gives those itself. */
static int take_effort(struct chat *c, json_t *in, struct err *e)
{
    const json_t *effort = NULL, *verbosity = NULL;
    if (member_text(in, "", "reasoning_effort", &effort, e) != 0 ||
        member_text(in, "", "verbosity", &verbosity, e) != 0)
        return -1;
    if ((effort || verbosity) && !c->template_kwargs)
        json_object_set_new(in, "chat_template_kwargs", c->template_kwargs = json_object());
    if (verbosity && !json_object_get(c->template_kwargs, "verbosity"))
        json_object_set(c->template_kwargs, "verbosity", (json_t *)verbosity);
    if (!effort)
        return 0;
    bool thinks = strcmp(json_string_value(effort), "none") != 0;
    if (!json_object_get(c->template_kwargs, "reasoning_effort"))
        json_object_set(c->template_kwargs, "reasoning_effort", (json_t *)effort);
    if (!json_object_get(c->template_kwargs, "enable_thinking"))
        json_object_set_new(c->template_kwargs, "enable_thinking", json_boolean(thinks));
    return 0;
}

/* Whether the model shall think, as other services are asked for it: Alibaba's and SiliconFlow's enable_thinking, and
 * {"type": "enabled" or "disabled"} of Z.ai and DeepSeek. *wish: 1 or 0; -1 stays: nothing was said, or "auto". */
static int read_thinking(const json_t *in, int *wish, struct err *e)
{
    static const char *const types[] = { "disabled", "enabled", "adaptive", "auto" };
    static const int wishes[] = { 0, 1, 1, -1 };
    bool        on = false;
    json_t     *thinking = NULL;
    const char *type = NULL;
    size_t      i = 0;
    if (member_bool(in, "", "enable_thinking", &on, e) != 0 || member_object(in, "", "thinking", &thinking, e) != 0 ||
        member_string(thinking, "thinking", "type", &type, e) != 0)
        return -1;
    while (type && i < 4 && strcmp(type, types[i]) != 0)
        i++;
    if (i == 4)
        return fields_wrong(e, "invalid_value", "thinking", "type", "must be enabled, disabled, adaptive or auto");
    if (json_is_boolean(json_object_get(in, "enable_thinking")))
        *wish = on;
    else if (type)
        *wish = wishes[i];
    return 0;
}

/* The wish becomes the template's variable enable_thinking, unless the request gives that itself. This comes before
 * reasoning_effort has its say, which tells it less plainly. */
static int take_thinking(struct chat *c, json_t *in, struct err *e)
{
    int wish = -1;
    if (read_thinking(in, &wish, e) != 0)
        return -1;
    if (wish < 0 || json_object_get(c->template_kwargs, "enable_thinking"))
        return 0;
    if (!c->template_kwargs)
        json_object_set_new(in, "chat_template_kwargs", c->template_kwargs = json_object());
    return json_object_set_new(c->template_kwargs, "enable_thinking", json_boolean(wish)) == 0 ? 0 : err_memory(e);
}

/* The last message may say itself that it is a beginning to go on from: DeepSeek and Mistral call that "prefix",
 * Moonshot and Alibaba "partial". */
static int take_prefix(struct chat *c, const json_t *in, struct err *e)
{
    const json_t *list = json_object_get(in, "messages");
    size_t        n = json_array_size(list);
    const json_t *last = n ? json_array_get(list, n - 1) : NULL;
    const char   *role = json_string_value(json_object_get(last, "role"));
    char          at[40];
    bool          prefix = false, partial = false;
    if (!role || strcmp(role, "assistant") != 0)
        return 0;
    snprintf(at, sizeof at, "messages[%zu]", n - 1);
    if (member_bool(last, at, "prefix", &prefix, e) != 0 || member_bool(last, at, "partial", &partial, e) != 0)
        return -1;
    c->continue_final_message |= prefix || partial;
    return 0;
}

/* mm_processor_kwargs: which sizes images may get. The processor's other settings are the checkpoint's. */
static int take_sizes(struct image_sizes *out, const json_t *in, struct err *e)
{
    static const char at[] = "mm_processor_kwargs", within[] = "mm_processor_kwargs.size";
    const int64_t most = (int64_t)1 << 40;
    json_t *kwargs = NULL, *size = NULL;
    if (member_object(in, "", at, &kwargs, e) != 0 || known_check(known_of_processor, kwargs, at, e) != 0 ||
        member_int(kwargs, at, "min_pixels", 1, most, &out->min_pixels, e) != 0 ||
        member_int(kwargs, at, "max_pixels", 1, most, &out->max_pixels, e) != 0 ||
        member_object(kwargs, at, "size", &size, e) != 0 || known_check(known_of_size, size, within, e) != 0 ||
        member_int(size, within, "shortest_edge", 1, most, &out->shortest_edge, e) != 0 ||
        member_int(size, within, "longest_edge", 1, most, &out->longest_edge, e) != 0)
        return -1;
    return 0;
}

/* Reads the fields that only the chat template sees: documents, its variables, and how the prompt ends. The fields are
 * checked in the order in which a person would correct them, and the first fault is reported. `continue_final_message`
 * lets the model go on with the last message of the chat; then no new turn may begin, so asking for both is an
 * error. */
int template_fields_parse(struct chat *c, json_t *in, struct err *e)
{
    bool generation_prompt = true;
    if (member_array(in, "", "documents", &c->documents, e) != 0 || check_documents(c->documents, e) != 0 ||
        member_object(in, "", "chat_template_kwargs", &c->template_kwargs, e) != 0 ||
        take_thinking(c, in, e) != 0 || take_effort(c, in, e) != 0 || take_sizes(&c->sizes, in, e) != 0 ||
        member_bool(in, "", "add_special_tokens", &c->special_tokens, e) != 0 ||
        member_bool(in, "", "add_generation_prompt", &generation_prompt, e) != 0 ||
        member_bool(in, "", "continue_final_message", &c->continue_final_message, e) != 0 ||
        take_prefix(c, in, e) != 0)
        return -1;
    const json_t *asked = json_object_get(in, "add_generation_prompt");
    if (c->continue_final_message && json_is_true(asked))
        return fields_wrong(e, "invalid_value", "", "continue_final_message", "excludes add_generation_prompt");
    c->no_generation_prompt = !generation_prompt || c->continue_final_message;
    return 0;
}
