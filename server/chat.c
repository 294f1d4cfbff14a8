/* server/chat.c - POST /v1/chat/completions.
 *
 * bytes -> JSON -> checked fields -> decoded images -> struct chat -> prompt.
 * All that can be said against a request is said before an image is decoded,
 * and before the first byte of the answer. */
#include <stdlib.h>
#include <string.h>

#include "base/json_watch.h"
#include "server/fields.h"
#include "server/generation.h"
#include "server/handlers.h"
#include "server/known.h"
#include "server/messages.h"
#include "server/reply.h"

struct chat_request {
    json_t         *root;      /* owned                     */
    struct messages messages;  /* owned                     */
    struct sampling sampling;  /* strings borrowed of root  */
    struct chat     chat;      /* borrowed of the others    */
};

/* `documents` are handed to the template as they are; a template expects objects. */
static int check_documents(const json_t *list, struct err *e)
{
    for (size_t i = 0; list && i < json_array_size(list); i++)
        if (!json_is_dict(json_array_get(list, i)))
            return fields_wrong(e, "invalid_type", "", "documents", "must be an array of objects");
    return 0;
}

/* Checks what every template takes for granted: each tool is an object, and its function, if there is one, is an
 * object with a name that is a string. Everything else in a tool is for the template to read, so it is not looked
 * at. */
static int check_tools(const json_t *tools, struct err *e)
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
            (function && member_text(function, inner, "name", &name, e) != 0))
            return -1;
    }
    return 0;
}

/* {"type": "function", "function": {"name": ...}}: one of the tools. */
static int check_named_tool(const json_t *choice, const json_t *tools, struct err *e)
{
    const char *type = "function";
    json_t     *function = NULL;
    const json_t *name = NULL;
    if (member_string(choice, "tool_choice", "type", &type, e) != 0)
        return -1;
    if (strcmp(type, "function") != 0)
        return fields_wrong(e, "unsupported_parameter", "tool_choice", "type", "must be function");
    if (member_object(choice, "tool_choice", "function", &function, e) != 0 ||
        member_text(function, "tool_choice.function", "name", &name, e) != 0)
        return -1;
    if (!name)
        return fields_wrong(e, "missing_field", "tool_choice.function", "name", "is missing");
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (json_equal(name, json_object_get(json_object_get(json_array_get(tools, i), "function"), "name")))
            return 0;
    return fields_wrong(e, "invalid_value", "tool_choice.function", "name", "is none of the tools");
}

/* The template sees the tools, unless they are not to be used; the answer is
 * text, whatever the choice. */
static int check_tool_choice(const json_t *in, json_t **tools, struct err *e)
{
    const json_t *v = json_object_get(in, "tool_choice");
    if (!v || json_is_null(v))
        return 0;
    if (json_is_dict(v))
        return check_named_tool(v, *tools, e);
    if (!json_is_string(v))
        return fields_wrong(e, "invalid_type", "", "tool_choice", "must be a string or an object");
    const char *s = json_string_value(v);
    if (strcmp(s, "required") == 0 && json_array_size(*tools) == 0)
        return fields_wrong(e, "invalid_value", "", "tool_choice", "is required, but there are no tools");
    if (strcmp(s, "none") == 0)
        *tools = NULL;
    else if (strcmp(s, "auto") != 0 && strcmp(s, "required") != 0)
        return fields_wrong(e, "invalid_value", "", "tool_choice", "must be none, auto, required or an object");
    return 0;
}

/* How much the model should think and say is something that only its template can tell it. OpenAI's reasoning_effort
 * therefore becomes two variables of the template, and its verbosity one, unless the request gives those itself. */
static int take_effort(struct chat *c, json_t *in, struct err *e)
{
    const json_t *effort = NULL, *verbosity = NULL;
    if (member_text(in, "", "reasoning_effort", &effort, e) != 0 || member_text(in, "", "verbosity", &verbosity, e) != 0)
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

/* The processor's own settings; which sizes an image may get is the engine's to read. */
static int check_processor(const json_t *kwargs, struct err *e)
{
    return known_check(known_of_processor, kwargs, "mm_processor_kwargs", e) != 0 ||
                   known_check(known_of_size, json_object_get(kwargs, "size"), "mm_processor_kwargs.size", e) != 0
               ? -1
               : 0;
}

/* Reads the fields that only the chat template sees: tools, documents, its variables, and how the prompt ends. The
 * fields are checked in the order in which a person would correct them, and the first fault is reported.
 * `continue_final_message` lets the model go on with the last message of the chat; then no new turn may begin, so
 * asking for both is an error. An empty list of tools counts as none, because templates only ask whether it is
 * there. */
static int parse_template_fields(struct chat *c, json_t *in, struct err *e)
{
    bool generation_prompt = true, special = false;
    if (member_array(in, "", "tools", &c->tools, e) != 0 || check_tools(c->tools, e) != 0 ||
        check_tool_choice(in, &c->tools, e) != 0 ||
        member_array(in, "", "documents", &c->documents, e) != 0 || check_documents(c->documents, e) != 0 ||
        member_object(in, "", "chat_template_kwargs", &c->template_kwargs, e) != 0 ||
        take_effort(c, in, e) != 0 ||
        member_object(in, "", "mm_processor_kwargs", &c->mm_kwargs, e) != 0 || check_processor(c->mm_kwargs, e) != 0 ||
        member_bool(in, "", "add_special_tokens", &special, e) != 0 ||
        member_bool(in, "", "add_generation_prompt", &generation_prompt, e) != 0 ||
        member_bool(in, "", "continue_final_message", &c->continue_final_message, e) != 0)
        return -1;
    if (special)       /* the template writes them, or the model's processor adds them */
        return fields_wrong(e, "unsupported_parameter", "", "add_special_tokens", "is not supported in a chat");
    if (json_array_size(c->tools) == 0)
        c->tools = NULL;
    const json_t *asked = json_object_get(in, "add_generation_prompt");
    if (c->continue_final_message && json_is_true(asked))
        return fields_wrong(e, "invalid_value", "", "continue_final_message", "excludes add_generation_prompt");
    c->no_generation_prompt = !generation_prompt || c->continue_final_message;
    return 0;
}

/* From the bytes of the body to checked fields, without decoding an image. jansson cannot tell a missing member from
 * one that it had no memory for; json_starved() can, and turns whatever error was found into "out of memory". Strings
 * of `q` belong to q->root, which must live until the prompt is made. */
static int parse(struct app *a, const struct engine *g, struct exchange *x, struct chat_request *q, struct err *e)
{
    struct message_limits limits = { .max_images = a->cfg->engine.max_images,
                                     .max_image_bytes = a->cfg->engine.max_image_bytes };
    q->root = fields_parse(x->body, x->n_body, e);
    if (!q->root)
        return -1;
    sampling_init(&q->sampling, g);
    q->sampling.action_grammar = a->cfg->action_grammar;
    bool ok = check_model(a, q->root, e) == 0 && messages_parse(&q->messages, q->root, &limits, e) == 0 &&
              sampling_parse(&q->sampling, q->root, true, e) == 0 && parse_template_fields(&q->chat, q->root, e) == 0;
    if (json_starved())
        return err_memory(e);          /* what looked wrong may just not have been there */
    return ok ? 0 : -1;
}

/* Decodes the images and lets the engine read the chat, while the exchange holds its turn for heavy work. The raw body
 * is dropped first: the parsed JSON and the decoded files are enough, and both at once with the body would take three
 * times the upload. NULL with e->text empty: the client is gone; NULL with a text: the request is at fault, or
 * memory. */
static struct prompt *make_prompt(struct app *a, struct engine *g, struct exchange *x, struct chat_request *q,
                                  struct err *e)
{
    int n = q->messages.n_images;
    if (n > 0 && !app_input_enter(a, x))
        return NULL;
    struct prompt     *p = NULL;
    struct chat_image *images = calloc((size_t)n + 1, sizeof *images);
    exchange_drop_body(x);
    if (!images) {
        err_memory(e);
    } else if (messages_decode(&q->messages, e) == 0) {
        for (int i = 0; i < n; i++) {
            const struct message_image *m = &q->messages.image[i];
            images[i] = (struct chat_image){ .data = m->data, .n = m->n, .field = m->field, .detail = m->detail,
                                             .max_pixels = m->max_pixels, .min_pixels = m->min_pixels };
        }
        q->chat.messages = q->messages.list;
        q->chat.images = images;
        q->chat.n_images = n;
        p = engine_prompt(g, &q->chat, e);
    }
    free(images);
    return p;
}

/* From the body to the engine, and then everything that the request held is freed, before anybody waits for the
 * answer: a chat with a screenshot would otherwise keep megabytes for as long as the model writes. Whatever happens,
 * both turns (input and parsing) are left exactly once. NULL: an error was answered, or the client is gone. */
static struct generation *submit(struct app *a, struct engine *g, struct exchange *x)
{
    struct chat_request q = { 0 };
    struct err          e = { 0 };
    struct prompt      *p = NULL;
    struct generation  *made = NULL;
    if (app_parsing_enter(a, x) && parse(a, g, x, &q, &e) == 0)
        p = make_prompt(a, g, x, &q, &e);
    app_input_leave(a, x);
    if (p)
        made = generation_new(a, g, x, p, &q.sampling, true);
    else if (e.text[0])
        reply_error(x, &e);
    else
        x->broken = true;
    messages_free(&q.messages);
    sampling_free(&q.sampling);
    json_decref(q.root);
    app_parsing_leave(a, x);
    return made;
}

void chat_completions(struct app *a, struct exchange *x)
{
    generation_serve(a, x, submit);
}
