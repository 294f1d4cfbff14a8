/* server/chat.c - POST /v1/chat/completions.
 *
 * bytes -> JSON -> checked fields -> decoded images -> struct chat -> prompt.
 * All that can be said against a request is said before an image is decoded,
 * and before the first byte of the answer. */
#include <stdlib.h>
#include <string.h>

#include "base/json_watch.h"
#include "server/call_grammar.h"
#include "server/chat.h"
#include "server/constraint.h"
#include "server/field_names.h"
#include "server/fields.h"
#include "server/handlers.h"
#include "server/known.h"
#include "server/messages.h"
#include "server/reply.h"
#include "server/template_fields.h"
#include "server/tool_fields.h"

struct chat_request {
    json_t         *sent;      /* owned: the body           */
    json_t         *root;      /* owned: the same in the form of /v1/chat/completions */
    json_t         *names;     /* owned: how errors name the fields of root; NULL: as they are */
    struct messages messages;  /* owned                     */
    struct sampling sampling;  /* strings borrowed of root  */
    struct tool_fields tools;  /* borrowed of root          */
    struct chat     chat;      /* borrowed of the others    */
    const struct tool_format *format;          /* of the calls in the answer; NULL: none are looked for */
    bool split_thoughts, hide_thoughts, echo;
    bool grounded;             /* places that the answer names are told beside it */
    bool calls_held;           /* the grammar is that of calls, and thoughts may have to be put before it */
    struct remote_image *remote;   /* owned: the images that the request names, in the order of the others; or NULL */
    int             n_remote;
};

/* What is to become of the model's thoughts, in the words of three other servers: vLLM's include_reasoning drops them,
 * SGLang's separate_reasoning and llama.cpp's reasoning_format leave them in the content. Where the server splits
 * nothing, none of these changes anything. */
static int parse_thoughts(struct chat_request *q, const json_t *in, struct err *e)
{
    static const char *const forms[] = { "none", "auto", "deepseek", "deepseek-legacy" };
    const char *form = "auto";
    bool include = true, separate = true;
    size_t i = 0, n = sizeof forms / sizeof *forms;
    if (member_bool(in, "", "include_reasoning", &include, e) != 0 ||
        member_bool(in, "", "separate_reasoning", &separate, e) != 0 ||
        member_string(in, "", "reasoning_format", &form, e) != 0)
        return -1;
    while (i < n && strcmp(form, forms[i]) != 0)
        i++;
    if (i == n)
        return fields_wrong(e, "invalid_value", "", "reasoning_format", "must be none, auto or deepseek");
    q->split_thoughts = separate && i > 0;
    q->hide_thoughts = !include;
    return 0;
}

/* What is to become of places that the answer names. True asks the model for them, through a variable of its template;
 * false leaves the text as the model writes it, and so does a grammar, which nothing may be taken from that it allowed.
 * Other forms than OpenAI's chats have no member for places. */
static int parse_grounding(const struct app *a, struct chat_request *q, const struct chat_kind *kind, json_t *in,
                           struct err *e)
{
    bool told = true;
    if (member_bool(in, "", "grounding", &told, e) != 0)
        return -1;
    q->grounded = told && a->formats.grounding && kind->form == &form_chat && !q->sampling.grammar;
    if (!json_is_true(json_object_get(in, "grounding")))
        return 0;
    if (!a->formats.grounding)
        return fields_wrong(e, "unsupported_parameter", "", "grounding",
                            "asks for places, which this model cannot tell");
    if (!q->chat.template_kwargs)
        json_object_set_new(in, "chat_template_kwargs", q->chat.template_kwargs = json_object());
    if (!json_object_get(q->chat.template_kwargs, "grounding"))
        json_object_set_new(q->chat.template_kwargs, "grounding", json_true());
    return 0;
}

/* Compiles the grammar of the calls that the request forces or wants to be strict, behind thoughts of that format, if
 * there is one; `begun`: the prompt has opened them. */
static int compile_calls(struct chat_request *q, const struct reasoning_format *thoughts, bool begun, struct err *e)
{
    struct constraint *text = q->tools.forced ? NULL : constraint_read(&q->sampling, q->root, e);
    struct call_rules rules = { .format = q->format, .tools = q->tools.tools, .named = q->tools.named,
                                .forced = q->tools.forced, .single = q->tools.single, .functions = q->tools.functions,
                                .thoughts = thoughts, .begun = begun,
                                .text = text ? constraint_source(text) : NULL };
    struct grammar *g = NULL;
    int rc = call_grammar(&rules, &g, e);
    constraint_free(text);
    if (rc != 0)
        return -1;
    q->calls_held = g != NULL;
    if (g) {
        grammar_unref(q->sampling.grammar);
        q->sampling.params.grammar = q->sampling.grammar = g;
    }
    return 0;
}

/* How calls are read, and what holds the model to them. A model that has no format of its own is led by the grammar in
 * any case, so a call that is forced is then one JSON object and nothing else. What response_format asks for is said of
 * an answer's text: a forced call has none, and where calls may be made, the answer is calls or that text. */
static int hold_calls(const struct app *a, struct chat_request *q, struct err *e)
{
    const char *field = q->sampling.grammar_field;
    q->format = q->tools.tools ? a->formats.tools : NULL;
    if (q->tools.forced && !q->format)
        q->format = tool_format_named("llama3_json");
    if (q->tools.forced && field && strcmp(field, "response_format") != 0)
        return fields_wrong(e, "invalid_value", "", field, "excludes a tool_choice that forces a call");
    if (!q->format)
        return 0;
    return compile_calls(q, NULL, false, e);
}

/* Thoughts come before a held call if the prompt has opened them, or if the model marks its own and the prompt has not
 * closed them already. */
static int hold_behind_thoughts(const struct app *a, struct chat_request *q, const struct prompt *p, struct err *e)
{
    const struct reasoning_format *own = a->formats.reasoning, *f = own ? own : reasoning_format_named("think");
    bool begun = prompt_ends_with(p, reasoning_format_opening(f));
    if (!begun && (!own || prompt_ends_with(p, reasoning_format_closing(f))))
        return 0;
    return compile_calls(q, f, begun, e);
}

/* From the bytes of the body to checked fields, without decoding an image. jansson cannot tell a missing member from
 * one that it had no memory for; json_starved() can, and turns whatever error was found into "out of memory". Strings
 * of `q` belong to q->root, which must live until the prompt is made. */
static int parse(struct app *a, const struct engine *g, struct exchange *x, const struct chat_kind *kind,
                 struct chat_request *q, struct err *e)
{
    struct message_limits limits = { .max_images = a->cfg->engine.max_images,
                                     .max_image_bytes = a->cfg->engine.max_image_bytes,
                                     .source = a->images };
    if (!q->sent && !(q->sent = fields_parse(x->body, x->n_body, e)))
        return -1;
    q->root = kind->translate ? NULL : json_incref(q->sent);
    if (kind->translate && kind->translate(q->sent, &q->root, &q->names, e) != 0)
        return json_starved() ? err_memory(e) : -1;
    x->field_names = kind->translate ? q->names : kind->names;
    sampling_init(&q->sampling, g);
    q->sampling.action_grammar = a->cfg->action_grammar;
    bool ok = check_model(a, q->root, e) == 0 && messages_parse(&q->messages, q->root, &limits, e) == 0 &&
              sampling_parse(&q->sampling, q->root, true, e) == 0 && tool_fields_parse(&q->tools, q->root, e) == 0 &&
              template_fields_parse(&q->chat, q->root, e) == 0 && parse_thoughts(q, q->root, e) == 0 &&
              parse_grounding(a, q, kind, q->root, e) == 0 &&
              member_bool(q->root, "", "echo", &q->echo, e) == 0 && hold_calls(a, q, e) == 0;
    q->chat.tools = q->tools.tools;
    q->chat.keep_tokens = q->sampling.keep_tokens;
    if (json_starved())
        return err_memory(e);          /* what looked wrong may just not have been there */
    return ok ? 0 : -1;
}

static bool is_there(void *x) { return exchange_wait(x, -1, 0) == EXCHANGE_TIMEOUT; }

/* Fetches the images that the request only names. That may take seconds, so the turn for heavy work goes to others
 * meanwhile. -1 with e->text empty: the client is gone. */
static int fetch_images(struct app *a, struct exchange *x, struct chat_request *q, struct err *e)
{
    const struct messages *m = &q->messages;
    int n = 0;
    for (int i = 0; i < m->n_images; i++)
        n += m->image[i].remote;
    if (n == 0)
        return 0;
    if (!(q->remote = calloc((size_t)n, sizeof *q->remote)))
        return err_memory(e);
    for (int i = 0; i < m->n_images; i++)
        if (m->image[i].remote)
            q->remote[q->n_remote++] = (struct remote_image){ .url = json_string_value(m->image[i].url),
                                                              .field = m->image[i].field };
    app_input_leave(a, x);
    return remote_fetch(a->images, q->remote, n, is_there, x, e);
}

/* The file of every image, wherever it came from, as the engine takes them. */
static void list_images(const struct chat_request *q, struct chat_image *out)
{
    const struct remote_image *remote = q->remote;
    for (int i = 0; i < q->messages.n_images; i++) {
        const struct message_image *m = &q->messages.image[i];
        out[i] = (struct chat_image){ .data = m->remote ? remote->data : m->data, .n = m->remote ? remote->n : m->n,
                                      .field = m->field, .detail = m->detail, .max_pixels = m->max_pixels,
                                      .min_pixels = m->min_pixels };
        remote += m->remote;
    }
}

/* Decodes the images and lets the engine read the chat, while the exchange holds its turn for heavy work. The raw body
 * is dropped first: the parsed JSON and the decoded files are enough, and both at once with the body would take three
 * times the upload. NULL with e->text empty: the client is gone; NULL with a text: the request is at fault, or
 * memory. */
static struct prompt *make_prompt(struct app *a, struct engine *g, struct exchange *x, struct chat_request *q,
                                  struct err *e)
{
    int n = q->messages.n_images;
    if (fetch_images(a, x, q, e) != 0 || (n > 0 && !app_input_enter(a, x)))
        return NULL;
    struct prompt     *p = NULL;
    struct chat_image *images = calloc((size_t)n + 1, sizeof *images);
    exchange_drop_body(x);
    if (!images) {
        err_memory(e);
    } else if (messages_decode(&q->messages, e) == 0) {
        list_images(q, images);
        q->chat.messages = q->messages.list;
        q->chat.images = images;
        q->chat.n_images = n;
        p = engine_prompt(g, &q->chat, e);
    }
    free(images);
    return p;
}

/* vLLM's echo: the text of the last message, if it is the assistant's. Parts are joined as they follow one another.
 * `room` is what they are joined in. */
static void find_echo(const struct chat_request *q, struct answering *how, struct buf *room)
{
    const json_t *list = q->messages.list, *last = json_array_get(list, json_array_size(list) - 1);
    const char   *role = json_string_value(json_object_get(last, "role"));
    const json_t *content = json_object_get(last, "content"), *part;
    size_t i;
    if (!q->echo || !role || strcmp(role, "assistant") != 0)
        return;
    if (json_is_string(content))
        buf_add(room, json_string_value(content), json_string_length(content));
    json_array_foreach((json_t *)content, i, part) {
        const json_t *text = json_object_get(part, "text");
        if (json_is_string(text))
            buf_add(room, json_string_value(text), json_string_length(text));
    }
    how->echo = room;
}

/* How the answer is to be read and told. Calls are looked for only where some may come. */
static struct generation *generate(struct app *a, struct engine *g, struct exchange *x, struct prompt *p,
                                   const struct chat_kind *kind, struct chat_request *q)
{
    struct answering how = { .sampling = &q->sampling, .form = kind->form, .tools = q->chat.tools,
                             .tool_format = q->format,
                             .reasoning_format = q->split_thoughts ? a->formats.reasoning : NULL,
                             .hide_thoughts = q->hide_thoughts, .single_call = q->tools.single, .grounded = q->grounded,
                             .functions = q->tools.functions, .named_call = q->tools.named };
    struct generation *made = NULL;
    struct buf echo, about;
    struct err e;
    buf_init(&echo, a->cfg->max_body_bytes);
    buf_init(&about, 2 * a->cfg->max_body_bytes);
    find_echo(q, &how, &echo);
    if (kind->describe) {
        kind->describe(q->sent, &q->sampling, &about);
        how.about = &about;
    }
    if (how.reasoning_format)
        how.thoughts_begun = prompt_ends_with(p, reasoning_format_opening(how.reasoning_format));
    formats_show(&q->sampling.params, how.tool_format, how.reasoning_format);
    const struct buf *bad = buf_ok(&echo) ? &about : &echo;
    int rc = buf_ok(bad) ? 0 : buf_error(bad, &e, "the request is too long to be told again");
    if (rc == 0 && q->calls_held)
        rc = hold_behind_thoughts(a, q, p, &e);
    if (rc == 0) {
        made = generation_new(a, g, x, &p, 1, &how);
    } else {
        prompt_free(p);
        reply_error(x, &e);
    }
    buf_free(&echo);
    buf_free(&about);
    return made;
}

/* Gives back the memory that the request held. */
static void drop(struct app *a, struct exchange *x, struct chat_request *q)
{
    remote_release(a->images, q->remote, q->n_remote);
    free(q->remote);
    messages_free(&q->messages);
    sampling_free(&q->sampling);
    json_decref(q->root);
    json_decref(q->sent);
    json_decref(q->names);
    x->field_names = NULL;
}

/* From the body of a request to its prompt, for the routes that compute no answer. `sent`: the body if it is parsed
 * already, owned by this call; NULL: it is parsed here. `text`: receives what the template has written, unless it is
 * NULL. Everything that was taken for the request is given back, whatever happens. */
struct prompt *chat_prompt(struct app *a, struct engine *g, struct exchange *x, const struct chat_kind *kind,
                           json_t *sent, struct buf *text, struct err *e)
{
    struct chat_request q = { .sent = sent };
    struct prompt *p = NULL;
    if ((sent || app_parsing_enter(a, x)) && parse(a, g, x, kind, &q, e) == 0)
        p = make_prompt(a, g, x, &q, e);
    app_input_leave(a, x);
    if (p && text && engine_render(g, &q.chat, text, e) != 0) {
        prompt_free(p);
        p = NULL;
    }
    if (!p)
        field_names_apply(kind->translate ? q.names : kind->names, e);
    drop(a, x, &q);
    return p;
}

/* From the body to the engine, and then everything that the request held is freed, before anybody waits for the
 * answer: a chat with a screenshot would otherwise keep megabytes for as long as the model writes. Whatever happens,
 * both turns (input and parsing) are left exactly once. NULL: an error was answered, or the client is gone. */
struct generation *chat_submit(struct app *a, struct engine *g, struct exchange *x, const struct chat_kind *kind)
{
    struct chat_request q = { 0 };
    struct err          e = { 0 };
    struct prompt      *p = NULL;
    struct generation  *made = NULL;
    if (app_parsing_enter(a, x) && parse(a, g, x, kind, &q, &e) == 0)
        p = make_prompt(a, g, x, &q, &e);
    app_input_leave(a, x);
    if (p)
        made = generate(a, g, x, p, kind, &q);
    else if (e.text[0])
        reply_error(x, &e);
    else
        x->broken = true;
    drop(a, x, &q);
    app_parsing_leave(a, x);
    return made;
}

static struct generation *submit(struct app *a, struct engine *g, struct exchange *x)
{
    return chat_submit(a, g, x, &(struct chat_kind){ .form = &form_chat });
}

void chat_completions(struct app *a, struct exchange *x)
{
    generation_serve(a, x, submit);
}
