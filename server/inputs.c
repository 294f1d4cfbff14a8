/* server/inputs.c - see inputs.h. An input with an image, or one that has parts, is a chat of one message of the user:
 * it goes through the chat template, and its images the way of all images. Pixels of two prompts are never held at once
 * by one request, because two requests that each wait for the other's room would wait for ever. */
#include "server/inputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/access.h"
#include "server/chat.h"
#include "server/fields.h"
#include "server/reply.h"
#include "server/token_fields.h"
#include "server/vectors.h"

struct item {
    struct prompt *prompt;     /* owned; NULL: not made yet, or taken             */
    json_t        *messages;   /* owned: of a chat; NULL: the prompt is made      */
    char           at[48];     /* the path of the input                           */
};

int inputs_init(struct inputs *q, struct app *a, struct engine *g, struct exchange *x, const json_t *common,
                struct err *e)
{
    int64_t keep = 0;
    bool    prompt = false;    /* it is the template's, but wrong in any case */
    *q = (struct inputs){ .app = a, .engine = g, .x = x, .common = common, .special = true };
    if (member_bool(common, "", "add_special_tokens", &q->special, e) != 0 ||
        member_bool(common, "", "add_generation_prompt", &prompt, e) != 0 ||
        member_int(common, "", "truncate_prompt_tokens", -1, INT32_MAX, &keep, e) != 0)
        return -1;
    if (keep == 0 && json_is_number(json_object_get(common, "truncate_prompt_tokens")))
        return fields_wrong(e, "invalid_value", "", "truncate_prompt_tokens", "must be -1 or at least 1");
    q->keep_tokens = (int)keep;
    return 0;
}

void inputs_free(struct inputs *q)
{
    for (int i = 0; i < q->n; i++) {
        prompt_free(q->item[i].prompt);
        json_decref(q->item[i].messages);
    }
    free(q->item);
    *q = (struct inputs){ 0 };
}

void inputs_end(struct inputs *q, struct app *a, struct exchange *x, int rc, struct err *e)
{
    if (rc != 0 && e->text[0]) {
        buf_free(&x->reply);           /* what was written of the answer */
        reply_error(x, e);
    } else if (rc != 0) {
        x->broken = true;
    }
    access_spend(a, x, q->tokens);
    inputs_free(q);
}

/* Room for one more, with its path; NULL: memory is out. The array doubles. */
static struct item *add(struct inputs *q, const char *at, struct err *e)
{
    if ((q->n & (q->n - 1)) == 0) {
        struct item *grown = realloc(q->item, (size_t)(q->n ? 2 * q->n : 1) * sizeof *grown);
        if (!grown) {
            err_memory(e);
            return NULL;
        }
        q->item = grown;
    }
    struct item *item = &q->item[q->n++];
    *item = (struct item){ 0 };
    snprintf(item->at, sizeof item->at, "%s", at);
    return item;
}

/* What is said of a prompt is said of the input that it came from. */
static void blame(const struct item *item, struct err *e)
{
    if (strcmp(e->field, "prompt") == 0)
        snprintf(e->field, sizeof e->field, "%s", item->at);
}

/* Ids become a prompt as they are. -1: they are no ids of this model, or memory is out. */
static int add_ids(struct inputs *q, const json_t *v, const char *at, struct err *e)
{
    struct engine_info info;
    int32_t *ids = malloc((json_array_size(v) + 1) * sizeof *ids);
    struct item *item = ids ? add(q, at, e) : NULL;
    engine_info(q->engine, &info);
    int rc = ids ? 0 : err_memory(e);
    if (rc == 0)
        rc = item ? token_ids_read(v, at, info.vocab, ids, e) : -1;
    if (rc == 0)
        item->prompt = engine_prompt_ids(q->engine, ids, json_array_size(v), q->keep_tokens, e);
    free(ids);
    return item && item->prompt ? 0 : -1;
}

static int add_text(struct inputs *q, const json_t *v, const char *at, struct err *e)
{
    struct item *item = add(q, at, e);
    if (item)
        item->prompt = engine_prompt_text(q->engine, json_string_value(v), json_string_length(v), q->special,
                                          q->keep_tokens, e);
    return item && item->prompt ? 0 : -1;
}

/* Parts of the user's message. `parts` becomes the item's. */
static int add_parts(struct inputs *q, json_t *parts, const char *at, struct err *e)
{
    struct item *item = parts ? add(q, at, e) : NULL;
    if (!item) {
        json_decref(parts);
        return parts ? -1 : err_memory(e);
    }
    item->messages = json_pack("[{s:s, s:o}]", "role", "user", "content", parts);
    q->n_chats++;
    return item->messages ? 0 : err_memory(e);
}

static bool is_there(const json_t *v) { return v && !json_is_null(v); }

/* An input that is an object: with a content as in messages, an image by itself, a text, or one part of a content.
 * These are the forms of several vendors for the same things. A text and an image together would be two inputs. */
static int add_object(struct inputs *q, const json_t *v, const char *at, struct err *e)
{
    const json_t *content = json_object_get(v, "content"), *image = json_object_get(v, "image"),
        *text = json_object_get(v, "text");
    if (is_there(content)) {
        if (json_is_string(content))
            return add_text(q, content, at, e);
        if (!json_is_array(content))
            return fields_wrong(e, "invalid_type", at, "content", "must be a string or an array of parts");
        return add_parts(q, json_incref((json_t *)content), at, e);
    }
    if (is_there(text) && (is_there(image) || is_there(json_object_get(v, "image_url"))))
        return fields_wrong(e, "invalid_value", at, "text", "excludes an image; a content may have both");
    if (image && !json_object_get(v, "type"))
        return add_parts(q, json_pack("[{s:s, s:O}]", "type", "image_url", "image_url", (json_t *)image), at, e);
    const char *type = json_string_value(json_object_get(v, "type"));
    if (json_is_string(text) && (!type || strcmp(type, "text") == 0))
        return add_text(q, text, at, e);
    if (!type)
        return fields_wrong(e, "invalid_value", at, "", "must have a text, an image or a content");
    return add_parts(q, json_pack("[O]", (json_t *)v), at, e);
}

/* Adds one input at `at`, which may be several prompts' worth of parts, and what its tokens count, as far as that is
 * known before its images are decoded. -1: the error names the input's own field. */
int inputs_add(struct inputs *q, const json_t *v, const char *at, struct err *e)
{
    int n = q->n, rc;
    if (json_is_string(v))
        rc = add_text(q, v, at, e);
    else if (json_is_array(v))
        rc = add_ids(q, v, at, e);
    else if (json_is_dict(v))
        rc = add_object(q, v, at, e);
    else
        return fields_wrong(e, "invalid_type", at, "", "must be a string, an array of token ids or an object");
    if (rc == 0 && q->item[n].prompt)
        q->tokens += prompt_tokens(q->item[n].prompt);
    if (rc != 0 && q->n > n)
        blame(&q->item[n], e);
    return rc;
}

/* A string, or the text of an object; NULL: it has none. */
static const json_t *text_of(const json_t *v)
{
    const json_t *text = json_object_get(v, "text"), *content = json_object_get(v, "content");
    if (json_is_string(v))
        return v;
    if (json_is_string(text))
        return text;
    return json_is_string(content) ? content : NULL;
}

int inputs_add_pair(struct inputs *q, const json_t *a, const char *at_a, const json_t *b, const char *at_b,
                    struct err *e)
{
    const json_t *s = text_of(a), *t = text_of(b);
    if (!s || !t)
        return fields_wrong(e, "invalid_type", s ? at_b : at_a, "",
                            "must be a text: this model reads two texts at once");
    struct item *item = add(q, at_b, e);
    if (!item)
        return -1;
    item->prompt = engine_prompt_pair(q->engine, json_string_value(s), json_string_length(s), json_string_value(t),
                                      json_string_length(t), q->special, q->keep_tokens, e);
    if (!item->prompt) {
        blame(item, e);
        return -1;
    }
    q->tokens += prompt_tokens(item->prompt);
    return 0;
}

int inputs_add_chat(struct inputs *q, struct err *e)
{
    struct item *item = add(q, "messages", e);
    if (!item)
        return -1;
    item->messages = json_incref(json_object_get(q->common, "messages"));
    q->n_chats++;
    return 0;
}

static bool is_id(const json_t *v) { return json_is_number(v) || json_big(v, NULL); }

/* `input`: one input, or a list of them. An array of numbers is one, and so is an object. */
int inputs_add_all(struct inputs *q, const json_t *in, struct err *e)
{
    const json_t *v = json_object_get(in, "input"), *messages = json_object_get(in, "messages");
    char at[48];
    if (v && !json_is_null(v) && messages && !json_is_null(messages))
        return fields_wrong(e, "invalid_value", "", "messages", "excludes input");
    if (messages && !json_is_null(messages))
        return inputs_add_chat(q, e);
    if (!v || json_is_null(v))
        return fields_wrong(e, "missing_field", "", "input", "is missing");
    if (!json_is_array(v) || is_id(json_array_get(v, 0)))
        return inputs_add(q, v, "input", e);
    if (json_array_size(v) == 0)
        return fields_wrong(e, "invalid_value", "", "input", "must not be empty");
    if (json_array_size(v) > INPUTS_MAX)
        return fields_wrong(e, "invalid_value", "", "input", "may hold at most %d inputs", INPUTS_MAX);
    for (size_t i = 0; i < json_array_size(v); i++) {
        snprintf(at, sizeof at, "input[%zu]", i);
        if (inputs_add(q, json_array_get(v, i), at, e) != 0)
            return -1;
    }
    return 0;
}

/* The chat as a request for /v1/chat/completions: the fields of this one, but for the messages, and no place for an
 * answer unless it was asked for. NULL: memory is out. */
static json_t *chat_of(const struct inputs *q, const struct item *item)
{
    json_t *chat = json_copy((json_t *)q->common);
    static const char *const others[] = { "input", "query", "documents", "dimensions", "encoding_format", "labels" };
    for (size_t i = 0; chat && i < sizeof others / sizeof *others; i++)
        json_object_del(chat, others[i]);
    int rc = chat ? json_object_set(chat, "messages", item->messages) : -1;
    if (rc == 0 && !json_object_get(chat, "add_generation_prompt"))
        rc = json_object_set_new(chat, "add_generation_prompt", json_false());
    if (rc != 0) {
        json_decref(chat);
        return NULL;
    }
    return chat;
}

/* How many texts and images the messages hold. */
static size_t count_things(const json_t *messages)
{
    size_t i, n = 0;
    json_t *message;
    json_array_foreach((json_t *)messages, i, message) {
        const json_t *content = json_object_get(message, "content");
        n += json_is_array(content) ? json_array_size(content) : 1;
    }
    return n;
}

/* Where texts and images share a space, a vector is that of texts or of one image alone. Whether there is an image says
 * the prompt that was made: of the parts it is not always plain. */
static int check_shared(const struct item *item, const struct prompt *p, size_t things, bool *image, struct err *e)
{
    *image = prompt_images(p) > 0;
    if (!*image || things == 1)
        return 0;
    return fields_wrong(e, "unsupported_value", item->at, "", "must be a text or one image: this model has no vectors "
                        "of several things");
}

/* The prompt of input i, which is the caller's from here on. One that is a chat is made now and not before, so that the
 * images of one prompt are held at a time. NULL: the error names the field, or the client has gone. */
struct prompt *inputs_make(struct inputs *q, int i, struct params *params, struct err *e)
{
    struct item   *item = &q->item[i];
    struct prompt *p = item->prompt;
    item->prompt = NULL;
    if (!item->messages)
        return p;
    struct engine_info info;
    engine_info(q->engine, &info);
    size_t things = count_things(item->messages);
    json_t *names = strcmp(item->at, "messages") == 0 ? NULL : json_pack("{s:s}", "messages[0]", item->at);
    json_t *chat = chat_of(q, item);
    if (!chat)
        err_memory(e);
    else
        p = chat_prompt(q->app, q->engine, q->x, &(struct chat_kind){ .names = names }, chat, NULL, e);
    json_decref(names);
    json_decref(item->messages);
    item->messages = NULL;
    if (p && info.shares && check_shared(item, p, things, &params->share_image, e) != 0) {
        prompt_free(p);
        return NULL;
    }
    if (p)
        q->tokens += prompt_tokens(p);
    return p;
}

int inputs_window(const struct inputs *q)
{
    struct engine_info info;
    engine_info(q->engine, &info);
    if (q->n_chats > 0)
        return 1;
    return info.max_num_seqs < VECTORS_WINDOW ? info.max_num_seqs : VECTORS_WINDOW;
}
