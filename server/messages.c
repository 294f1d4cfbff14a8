/* server/messages.c - "messages" of a request: roles, contents, parts.
 *
 * The checked copy has no null members; every image part became
 * {"type": "image"} and its URL a row of image[], in the order of the
 * prompt. Members that we do not know stay: templates may use them. */
#include "server/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "server/fields.h"
#include "server/known.h"

enum {
    PATH = 128,                /* bytes of the path of a field, as errors name it */
    THOUGHT_BYTES = 512 << 20  /* more than a body may hold                       */
};

struct parser {
    struct messages             *m;
    const struct message_limits *limits;
    struct json_limits           limit;    /* bounds all JSON within strings together */
    struct err                  *e;
};

/* OpenAI's four details; "original" asks for all that there is, as "high" does. */
static const char *known_detail(const char *s)
{
    static const char *const known[][2] = {
        { "low", "low" }, { "high", "high" }, { "auto", "auto" }, { "original", "high" }
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(s, known[i][0]) == 0)
            return known[i][1];
    return NULL;
}

/* What may be said of an image beside its image_url or within it. */
static int parse_options(struct parser *p, struct message_image *image, const json_t *in, const char *at)
{
    const int64_t most = (int64_t)1 << 40;
    const char   *detail = NULL;
    if (member_string(in, at, "detail", &detail, p->e) != 0 ||
        member_int(in, at, "max_pixels", 1, most, &image->max_pixels, p->e) != 0 ||
        member_int(in, at, "min_pixels", 1, most, &image->min_pixels, p->e) != 0 ||
        known_check(known_of_image, in, at, p->e) != 0)
        return -1;
    if (detail && !(image->detail = known_detail(detail)))
        return fields_wrong(p->e, "invalid_value", at, "detail", "must be low, high, auto or original");
    return 0;
}

/* Checks what can be known of an image before it is decoded or fetched. */
static int check_image(struct parser *p, struct message_image *image)
{
    const char *url = json_string_value(image->url);
    size_t n = json_string_length(image->url);
    image->remote = remote_is_url(url);
    if (!image->remote)
        return data_url_parse(&image->encoded, url, n, p->limits->max_image_bytes, image->field, p->e);
    if (strlen(url) != n)
        return err_field(p->e, image->field, "%s: a URL cannot have a byte of zero", image->field);
    return remote_check(p->limits->source, url, image->field, p->e);
}

/* Adds the image to the list, whose order is the order of the images in the prompt. `at` and `name` together are the
 * path that errors give. */
static int add_image(struct parser *p, struct message_image image, const char *at, const char *name)
{
    struct messages *m = p->m;
    char *field = image.field;
    snprintf(field, sizeof image.field, *name ? "%s.%s" : "%s", at, name);
    if (m->n_images == p->limits->max_images)
        return err_field(p->e, field, "%s: a request may have at most %d images", field, p->limits->max_images);
    if (!image.attached && check_image(p, &image) != 0)
        return -1;
    struct message_image *grown = realloc(m->image, (size_t)(m->n_images + 1) * sizeof *grown);
    if (!grown)
        return err_memory(p->e);
    m->image = grown;
    grown[m->n_images++] = image;
    return 0;
}

/* A part with an image: {"image_url": {"url": ..., "detail": ...}} or {"image_url": "..."}. Options may stand in the
 * part or beside the URL, since clients differ. Nothing is decoded yet. */
static int parse_image(struct parser *p, const json_t *part, const char *at)
{
    json_t     *v = json_object_get(part, "image_url");
    const char *url = NULL;
    char        path[PATH];
    struct message_image image = { .url = v };
    if (parse_options(p, &image, part, at) != 0)
        return -1;
    if (json_is_string(v))
        return add_image(p, image, at, "image_url");
    if (!json_is_dict(v))
        return fields_wrong(p->e, v && !json_is_null(v) ? "invalid_type" : "missing_field", at, "image_url",
                            "must be an object with a url, or a string");
    snprintf(path, sizeof path, "%.100s.image_url", at);
    if (member_string(v, path, "url", &url, p->e) != 0 || parse_options(p, &image, v, path) != 0)
        return -1;
    if (!url)
        return fields_wrong(p->e, "missing_field", path, "url", "is missing");
    image.url = json_object_get(v, "url");
    return add_image(p, image, at, "image_url.url");
}

/* {"type": "image"}, where the image itself came beside the request. */
static int parse_attached(struct parser *p, const json_t *part, const char *at)
{
    struct message_image image = { .attached = true };
    return parse_options(p, &image, part, at) == 0 ? add_image(p, image, at, "") : -1;
}

/* A part of text, checked and copied in the one form that templates know. The string itself is shared with the
 * request's JSON. */
static int add_text(struct parser *p, json_t *out, const json_t *text, const char *at, const char *name)
{
    if (!json_is_string(text))
        return fields_wrong(p->e, text && !json_is_null(text) ? "invalid_type" : "missing_field", at, name,
                            "must be a string");
    return json_array_append_new(out, json_pack("{s:s, s:O}", "type", "text", "text", (json_t *)text));
}

/* The name of a part that holds thoughts, which is also that of the member with their text: LiteLLM sends an earlier
 * answer's thoughts as {"type": "thinking", "thinking": ...}, LangChain as {"type": "reasoning", "reasoning": ...}.
 * NULL: it holds something else. */
static const char *thoughts_of(const char *type)
{
    static const char *const names[] = { "thinking", "reasoning" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(type, names[i]) == 0)
            return names[i];
    return NULL;
}

/* One part of a message's content. Clients write parts in several ways: a bare string, OpenAI's chat form (text,
 * image_url), and that of its Responses API (input_text, input_image, output_text); a part without a type is taken for
 * what its members say. All become {"type": "text"} or {"type": "image"}, which is what templates look for. An image
 * beside a text would be lost, and is an error. The text of a part with thoughts goes to `thoughts` instead; NULL: the
 * message cannot have any. */
static int parse_part(struct parser *p, json_t *out, json_t *thoughts, const json_t *part, const char *at)
{
    if (json_is_string(part))
        return add_text(p, out, part, at, "");
    if (!json_is_dict(part))
        return fields_wrong(p->e, "invalid_type", at, "", "must be an object");
    const json_t *image = json_object_get(part, "image_url");
    bool          has_image = image && !json_is_null(image);
    const char   *type = NULL;
    if (member_string(part, at, "type", &type, p->e) != 0)
        return -1;
    if (!type)
        type = has_image ? "image_url" : "text";
    if (strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0)
        return has_image ? fields_wrong(p->e, "invalid_value", at, "image_url", "must stand in a part of its own")
                         : add_text(p, out, json_object_get(part, "text"), at, "text");
    if (strcmp(type, "refusal") == 0)
        return add_text(p, out, json_object_get(part, "refusal"), at, "refusal");
    if (thoughts && thoughts_of(type))
        return add_text(p, thoughts, json_object_get(part, thoughts_of(type)), at, thoughts_of(type));
    bool attached = p->limits->attached && strcmp(type, "image") == 0;
    if (attached || strcmp(type, "image_url") == 0 || strcmp(type, "input_image") == 0)
        return (attached ? parse_attached : parse_image)(p, part, at) == 0
                   ? json_array_append_new(out, json_pack("{s:s}", "type", "image"))
                   : -1;
    return fields_wrong(p->e, "invalid_value", at, "type", "\"%.40s\" is not understood; parts are text and image_url",
                        type);
}

static bool is_blank(const char *s, size_t n) { return strspn(s, " \t\r\n") == n; }

/* Templates want the arguments of earlier tool calls as an object; the wire
 * has them as a string of JSON. A call without any has none, "" or null on the
 * wire and {} in the template. What is not JSON stays a string. */
static int parse_arguments(struct parser *p, json_t *function, const char *at)
{
    json_t     *arguments = json_object_get(function, "arguments");
    bool        absent = !arguments || json_is_null(arguments);
    const char *s = absent ? "" : json_string_value(arguments);
    size_t      n = absent ? 0 : json_string_length(arguments);
    if (!s)
        return 0;
    if (is_blank(s, n))
        return json_object_set_new(function, "arguments", json_object());
    char        field[PATH];
    snprintf(field, sizeof field, "%.96s.function.arguments", at);
    struct err why;
    json_t    *parsed = json_read(field, s, n, &p->limit, &why);
    if (!parsed && strcmp(why.code, "invalid_json") != 0) {
        *p->e = why;
        snprintf(p->e->field, sizeof p->e->field, "%s", field);
        return -1;
    }
    if (json_is_null(parsed))
        json_object_set_new(function, "arguments", json_object());
    else if (json_is_dict(parsed))
        json_object_set(function, "arguments", parsed);
    json_decref(parsed);
    return 0;
}

/* Earlier calls of the assistant, which the template writes into the prompt again. Their arguments are parsed, and an
 * empty list is removed. */
static int parse_tool_calls(struct parser *p, json_t *message, const char *at)
{
    json_t *calls = NULL;
    if (member_array(message, at, "tool_calls", &calls, p->e) != 0)
        return -1;
    for (size_t i = 0; calls && i < json_array_size(calls); i++) {
        char path[PATH];
        snprintf(path, sizeof path, "%.80s.tool_calls[%zu]", at, i);
        json_t *call = json_array_get(calls, i), *function = NULL;
        if (!json_is_dict(call))
            return fields_wrong(p->e, "invalid_type", path, "", "must be an object");
        if (member_object(call, path, "function", &function, p->e) != 0)
            return -1;
        if (function && parse_arguments(p, function, path) != 0)
            return -1;
    }
    if (calls && json_array_size(calls) == 0)
        json_object_del(message, "tool_calls");        /* templates ask whether it is there, not what it holds */
    return 0;
}

/* What a message's thoughts are called: by OpenAI's clients, and by templates and older servers. */
static const char *const thought_names[] = { "reasoning", "reasoning_content" };

/* The thoughts that stood among the parts become the message's own, unless it has some: then they are the same ones
 * told twice. */
static int take_thoughts(json_t *message, const json_t *thoughts, struct err *e)
{
    struct buf text;
    json_t    *part;
    size_t     i;
    if (json_array_size(thoughts) == 0 || json_object_get(message, thought_names[0]))
        return 0;
    buf_init(&text, THOUGHT_BYTES);
    json_array_foreach((json_t *)thoughts, i, part) {
        const json_t *v = json_object_get(part, "text");
        buf_str(&text, i ? "\n" : "");
        buf_add(&text, json_string_value(v), json_string_length(v));
    }
    json_t *joined = buf_ok(&text) ? json_stringn_nocheck(text.data ? text.data : "", text.len) : NULL;
    buf_free(&text);
    int rc = joined ? 0 : err_memory(e);
    for (int k = 0; k < 2 && rc == 0; k++)
        rc = json_object_set(message, thought_names[k], joined) == 0 ? 0 : err_memory(e);
    json_decref(joined);
    return rc;
}

/* A list of parts. `thoughts`: as in parse_part(). */
static int parse_parts(struct parser *p, json_t *message, const json_t *content, json_t *thoughts, const char *at)
{
    json_t *parts = json_array();
    if (json_object_set_new(message, "content", parts) != 0)
        return err_memory(p->e);
    for (size_t i = 0; i < json_array_size(content); i++) {
        char path[PATH];
        snprintf(path, sizeof path, "%.80s.content[%zu]", at, i);
        if (parse_part(p, parts, thoughts, json_array_get(content, i), path) != 0)
            return -1;
    }
    return json_array_size(parts) > 0 ? 0 : json_object_set_new(message, "content", json_string(""));
}

/* The content as a list of checked parts, or as the string that it was. An assistant's message may have none, because
 * it may only call tools, and neither may what a tool has said, because it may have nothing to say; every other message
 * needs some. */
static int parse_content(struct parser *p, json_t *message, const json_t *in, const char *role, const char *at)
{
    const json_t *content = json_object_get(in, "content");
    bool          absent = !content || json_is_null(content), assistant = strcmp(role, "assistant") == 0;
    bool may_lack = assistant || strcmp(role, "tool") == 0 || strcmp(role, "function") == 0 ||
                    strcmp(role, "observation") == 0;
    if (json_is_string(content))
        return 0;
    if (absent && may_lack)
        return json_object_set_new(message, "content", json_string(""));
    if (absent)
        return fields_wrong(p->e, "missing_field", at, "content", "is missing");
    if (!json_is_array(content))
        return fields_wrong(p->e, "invalid_type", at, "content", "must be a string or an array of parts");
    if (json_array_size(content) == 0 && !may_lack)
        return fields_wrong(p->e, "invalid_value", at, "content", "must not be empty");
    json_t *thoughts = assistant ? json_array() : NULL;
    int     rc = assistant && !thoughts ? err_memory(p->e) : parse_parts(p, message, content, thoughts, at);
    if (rc == 0)
        rc = take_thoughts(message, thoughts, p->e);
    json_decref(thoughts);
    return rc;
}

/* What templates know of the older form of calls: nothing. So a function_call becomes one of the tool_calls, and the
 * answer of a function that of a tool. */
static void take_older_call(json_t *message, json_t *call, const char *role)
{
    if (call && !json_object_get(message, "tool_calls"))
        json_object_set_new(message, "tool_calls",
                            json_pack("[{s:s, s:o}]", "type", "function", "function", json_deep_copy(call)));
    json_object_del(message, "function_call");
    if (strcmp(role, "function") == 0)
        json_object_set_new(message, "role", json_string("tool"));
}

/* Checks one message and appends its copy to the list. null members are left out, since templates ask whether a member
 * is there. Members are shared with the request, except for tool_calls, whose arguments are rewritten and which are
 * therefore copied deeply. Thoughts have two names; templates get both. */
static int parse_message(struct parser *p, const json_t *in, size_t index)
{
    static const char *const roles[] = {
        "system", "user", "assistant", "tool", "developer", "function", "observation"
    };
    char at[PATH];
    snprintf(at, sizeof at, "messages[%zu]", index);
    if (!json_is_dict(in))
        return fields_wrong(p->e, "invalid_type", at, "", "must be an object");
    const char   *role = NULL;
    const json_t *text = NULL;
    json_t       *call = NULL;
    if (member_string(in, at, "role", &role, p->e) != 0 || member_text(in, at, "name", &text, p->e) != 0 ||
        member_text(in, at, thought_names[0], &text, p->e) != 0 ||
        member_text(in, at, thought_names[1], &text, p->e) != 0 ||
        member_object(in, at, "function_call", &call, p->e) != 0)
        return -1;
    if (!role)
        return fields_wrong(p->e, "missing_field", at, "role", "is missing");
    size_t r = 0;
    while (r < sizeof roles / sizeof *roles && strcmp(role, roles[r]) != 0)
        r++;
    if (r == sizeof roles / sizeof *roles)
        return fields_wrong(p->e, "invalid_value", at, "role",
                            "\"%.40s\" is none of system, developer, user, assistant, tool", role);

    json_t *message = json_object();
    if (json_array_append_new(p->m->list, message) != 0)
        return err_memory(p->e);
    const char *key;
    size_t      n_key;
    json_t     *v;
    json_object_keylen_foreach((json_t *)in, key, n_key, v)
        if (!json_is_null(v))
            json_object_setn_new_nocheck(message, key, n_key,
                                         strcmp(key, "tool_calls") == 0 ? json_deep_copy(v) : json_incref(v));
    for (int i = 0; i < 2; i++)
        if ((v = json_object_get(message, thought_names[i])) != NULL && !json_object_get(message, thought_names[!i]))
            json_object_set(message, thought_names[!i], v);
    take_older_call(message, call, role);
    if (parse_content(p, message, in, role, at) != 0)
        return -1;
    return parse_tool_calls(p, message, at);
}

/* On an error everything is freed again and `m` is empty; messages_free() may still be called. All JSON within strings
 * (arguments of tool calls) shares one limit with the whole list, so a request cannot multiply it by writing many
 * calls. */
int messages_parse(struct messages *m, const json_t *in, const struct message_limits *limits, struct err *e)
{
    memset(m, 0, sizeof *m);
    json_t *list = NULL;
    if (member_array(in, "", "messages", &list, e) != 0)
        return -1;
    if (!list)
        return fields_wrong(e, "missing_field", "", "messages", "is missing");
    if (json_array_size(list) == 0)
        return fields_wrong(e, "invalid_value", "", "messages", "must not be empty");
    m->list = json_array();
    struct parser p = { .m = m, .limits = limits, .limit = FIELDS_LIMITS, .e = e };
    for (size_t i = 0; i < json_array_size(list); i++)
        if (parse_message(&p, json_array_get(list, i), i) != 0) {
            messages_free(m);
            return -1;
        }
    return 0;
}

/* Decodes the files of the images one after the other. The base64 text in the request is emptied as soon as its bytes
 * are there: text and bytes of all images at once would take more than twice the memory. */
int messages_decode(struct messages *m, struct err *e)
{
    for (int i = 0; i < m->n_images; i++) {
        struct message_image *image = &m->image[i];
        if (image->remote || image->attached)
            continue;
        if (data_url_decode(&image->encoded, image->field, &image->data, &image->n, e) != 0)
            return -1;
        image->encoded = (struct data_url){ 0 };
        json_string_set(image->url, "");       /* the request need not hold the image a second time */
    }
    return 0;
}

void messages_free(struct messages *m)
{
    for (int i = 0; i < m->n_images; i++)
        free(m->image[i].data);
    free(m->image);
    json_decref(m->list);
    memset(m, 0, sizeof *m);
}
