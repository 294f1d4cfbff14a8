/* engine/text.c - see text.h. A chat becomes a prompt's text in three steps: its messages are brought into the form
 * that the template knows (form_of), the template is rendered (render), and where the last message is to be continued,
 * the end of the turn is cut off again. */
#include "engine/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_watch.h"
#include "base/mem.h"
#include "engine/reserved.h"
#include "template/prefill.h"

/* The variables that every template is given, with null for what the request does not have, as in transformers. */
static json_t *context_of(const struct chat *c, json_t *messages)
{
    json_t *ctx = json_object();
    json_object_set(ctx, "messages", messages);
    json_object_set_new(ctx, "add_generation_prompt", json_boolean(!c->no_generation_prompt));
    json_object_set_new(ctx, "tools", c->tools ? json_incref(c->tools) : json_null());
    json_object_set_new(ctx, "documents", c->documents ? json_incref(c->documents) : json_null());
    if (c->template_kwargs)
        json_object_update(ctx, c->template_kwargs);
    return ctx;
}

static const char probe[] = "PROBEtextPROBE";

/* Does the text of a message come out of the template, and no dictionary around it? content: of the message, with the
 * probe in it; it is the callee's. */
static bool comes_out(const struct text *t, const struct template *template, json_t *content)
{
    json_t *messages = json_pack("[{s:s, s:o}]", "role", "user", "content", content);
    json_t *ctx = context_of(&(struct chat){ 0 }, messages);
    struct template_options opt = { .names = tokenizer_names(t->tokenizer) };
    char *text = template_render(template, ctx, &opt, NULL);
    bool yes = text && strstr(text, probe) && !strstr(text, "'type'") && !strstr(text, "\"type\"");
    free(text);
    json_decref(ctx);
    json_decref(messages);
    return yes;
}

/* Which form of contents the template knows: whether it looks at parts itself, and whether it knows strings, too. It is
 * asked to render one of each. */
static void find_form(struct text *t, const struct template *template, const char *format)
{
    bool automatic = !format || strcmp(format, "auto") == 0;
    bool parts = automatic ? comes_out(t, template, json_pack("[{s:s, s:s}]", "type", "text", "text", probe))
                           : strcmp(format, "string") != 0;
    t->content_string = !parts;
    t->content_parts = parts && !comes_out(t, template, json_string(probe)) &&
                       comes_out(t, template, json_pack("[{s:s, s:s}]", "type", "text", "text", probe));
}

/* The text of a token for images; NULL after an error. */
static char *image_text(const struct text *t, const char *dir, int id, struct err *e)
{
    const char *s = tokenizer_token(t->tokenizer, id);
    if (!s)
        err_set(e, "%s/config.json: image_token_id %d is not in the tokenizer", dir, id);
    return s ? xstrdup(s) : NULL;
}

/* A checkpoint without a chat template opens all the same: it completes text. -1: nothing stays open. */
int text_open(struct text *t, const char *dir, const char *template_file, const char *format, int image_token,
              int image_mark, struct err *e)
{
    *t = (struct text){ 0 };
    t->tokenizer = tokenizer_open(dir, e);
    if (!t->tokenizer)
        return -1;
    if (chat_templates_open(&t->templates, dir, template_file, image_token >= 0, e) < 0)
        goto fail;
    if (image_token >= 0 && (!(t->image_place = image_text(t, dir, image_token, e)) ||
                             !(t->image_mark = image_text(t, dir, image_mark, e))))
        goto fail;
    const struct template *any = t->templates.plain ? t->templates.plain : t->templates.tools;
    if (any)
        find_form(t, any, format);
    reserve_structure(t->tokenizer, &t->templates, dir, image_token, image_mark);
    return 0;
fail:
    text_close(t);
    return -1;
}

/* May be called at any time after text_open() has begun, whatever had been opened. */
void text_close(struct text *t)
{
    tokenizer_close(t->tokenizer);
    chat_templates_close(&t->templates);
    free(t->image_mark);
    free(t->image_place);
    *t = (struct text){ 0 };
}

/* ---- a request's chat ---- */

/* What is made for one rendering. */
struct chat_form {
    json_t *messages;                   /* owned                                                  */
    struct template_prefix *prefix;     /* owned, (n): contents that begin with places of images  */
    size_t n;
    struct prefill prefill;
};

/* Content parts as one string: the image placeholders first, then the texts, joined by newlines. *prefix: how many
 * bytes of it are placeholders. */
static json_t *flatten(const struct text *t, const json_t *parts, size_t *prefix)
{
    struct buf b;
    buf_init(&b, (size_t)1 << 30);
    size_t i;
    json_t *part;
    for (int pass = 0; pass < 2; pass++) {
        json_array_foreach(parts, i, part) {
            const char *type = json_string_value(json_object_get(part, "type"));
            bool image = type && strcmp(type, "image") == 0;
            const json_t *s = json_object_get(part, "text");
            if (image != (pass == 0) || (image ? !t->image_mark : !json_is_string(s)))
                continue;
            if (b.len)
                buf_byte(&b, '\n');
            if (image)
                buf_str(&b, t->image_mark);
            else
                buf_add(&b, json_string_value(s), json_string_length(s));
        }
        *prefix = pass == 0 ? b.len : *prefix;
    }
    json_t *out = buf_ok(&b) ? json_stringn(b.data ? b.data : "", b.len) : NULL;
    buf_free(&b);
    return out;
}

/* For templates that want strings as contents: lists of parts become one string each, in which images are placeholders.
 * Where the first bytes of such a string were written by this server and not by the client, f->prefix says how many, so
 * that they count as structure. */
static int flatten_all(const struct text *t, struct chat_form *f, struct err *e)
{
    json_t *m;
    size_t i;
    f->prefix = calloc(json_array_size(f->messages) + 1, sizeof *f->prefix);
    if (!f->prefix)
        return err_memory(e);
    json_array_foreach(f->messages, i, m) {
        const json_t *content = json_object_get(m, "content");
        if (!json_is_array(content))
            continue;
        size_t prefix = 0;
        json_t *copy = json_copy(m), *s = flatten(t, content, &prefix);
        if (json_object_set_new(copy, "content", s) != 0) {
            json_decref(copy);
            return err_memory(e);
        }
        if (json_array_set_new(f->messages, i, copy) != 0)
            return err_memory(e);
        if (prefix)
            f->prefix[f->n++] = (struct template_prefix){ s, prefix };
    }
    return 0;
}

/* For templates that know nothing but lists of parts and would lose a string: each becomes a list of one part. */
static int list_all(struct chat_form *f, struct err *e)
{
    json_t *m;
    size_t i;
    json_array_foreach(f->messages, i, m) {
        json_t *content = json_object_get(m, "content");
        if (!json_is_string(content))
            continue;
        json_t *copy = json_copy(m), *list = json_pack("[{s:s, s:O}]", "type", "text", "text", content);
        if (json_object_set_new(copy, "content", list) != 0) {
            json_decref(copy);
            return err_memory(e);
        }
        if (json_array_set_new(f->messages, i, copy) != 0)
            return err_memory(e);
    }
    return 0;
}

/* Instructions with the role "developer" as those of "system", which every template knows. Whether memory sufficed is
 * for the caller to ask: json_starved(). */
static json_t *developer_as_system(const json_t *messages)
{
    json_t *out = json_array(), *m;
    size_t i;
    json_array_foreach(messages, i, m) {
        const char *role = json_string_value(json_object_get(m, "role"));
        json_t *one = role && strcmp(role, "developer") == 0 ? json_copy(m) : json_incref(m);
        if (one != m)
            json_object_set_new(one, "role", json_string("system"));
        json_array_append_new(out, one);
    }
    return out;
}

/* A request may give a template more variables, but not other messages than those that were checked, nor other
 * tokens. */
static int check_kwargs(const struct text *t, const json_t *kwargs, struct err *e)
{
    static const char *const own[] = { "messages", "tools", "documents", "bos_token", "eos_token", "unk_token",
                                       "sep_token", "pad_token", "cls_token", "mask_token",
                                       "additional_special_tokens" };
    char field[96];
    const char *key;
    size_t n;
    json_t *v;
    json_object_keylen_foreach((json_t *)kwargs, key, n, v) {
        bool taken = json_object_getn(tokenizer_names(t->tokenizer), key, n) != NULL;
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            taken |= n == strlen(own[i]) && memcmp(key, own[i], n) == 0;
        snprintf(field, sizeof field, "chat_template_kwargs.%.64s", key);
        if (taken)
            return err_field(e, field, "%s is given by the chat itself and may not be replaced", field);
    }
    return 0;
}

static void form_free(struct chat_form *f)
{
    json_decref(f->messages);
    free(f->prefix);
    prefill_free(&f->prefill);
}

/* Brings the chat's messages into the form that this template wants: the role `developer` as `system` where it does not
 * know that, contents as strings if it reads no parts, or as parts if it reads no strings, and a mark in the last
 * message if the model is to go on with it. f owns copies; the chat stays as it was. */
static int form_of(const struct text *t, const struct chat *chat, bool knows_developer, struct chat_form *f,
                   struct err *e)
{
    f->messages = knows_developer ? json_copy(chat->messages) : developer_as_system(chat->messages);
    if (!f->messages)
        return err_memory(e);
    if ((t->content_string && flatten_all(t, f, e) < 0) || (t->content_parts && list_all(f, e) < 0))
        return -1;
    if (chat->continue_final_message && prefill_mark(&f->prefill, f->messages, e) < 0)
        return -1;
    for (size_t i = 0; i < f->n && f->prefill.begun; i++)
        if (f->prefix[i].string == f->prefill.begun)
            f->prefix[i].string = f->prefill.content;
    return 0;
}

/* Renders f. The error is the request's: a template speaks of its messages. */
static int render(const struct text *t, const struct template *template, const struct chat *chat,
                  const struct chat_form *f, struct rendering *out, struct err *e)
{
    json_t *ctx = context_of(chat, f->messages);
    struct template_options opt = { .length = &out->n, .names = tokenizer_names(t->tokenizer), .prefix = f->prefix,
                                    .n_prefixes = f->n, .from = t->trust_special_tokens ? NULL : &out->from };
    if (!ctx || json_starved())        /* a copy of jansson's lacks what there was no memory for */
        err_memory(e);
    else
        out->text = template_render(template, ctx, &opt, e);
    json_decref(ctx);
    if (out->text)
        return f->prefill.begun ? prefill_cut(&f->prefill, out->text, &out->n, e) : 0;
    if (e && !e->field[0] && e->status != 503) {
        snprintf(e->field, sizeof e->field, "messages");
        if (strcmp(e->code, "template_raised") != 0)
            err_prefix(e, "chat template");
    }
    return -1;
}

/* How many messages with instructions the chat begins with. */
static size_t leading_instructions(const json_t *messages)
{
    size_t n = 0;
    for (const char *role; n < json_array_size(messages); n++) {
        role = json_string_value(json_object_get(json_array_get(messages, n), "role"));
        if (!role || (strcmp(role, "system") != 0 && strcmp(role, "developer") != 0))
            break;
    }
    return n;
}

/* Adds the texts of a content, of which parts stand in lines of their own. False: it holds something else, too. */
static bool add_texts(struct buf *b, const json_t *content)
{
    const json_t *part;
    size_t i;
    if (json_is_string(content))
        buf_add(b, json_string_value(content), json_string_length(content));
    json_array_foreach((json_t *)content, i, part) {
        const json_t *text = json_object_get(part, "text");
        if (!json_is_string(text))
            return false;
        buf_str(b, i ? "\n" : "");
        buf_add(b, json_string_value(text), json_string_length(text));
    }
    return true;
}

/* The messages, of which the first n, instructions, have become one, with an empty line between their texts. NULL: they
 * are not only texts, or memory is out. */
static json_t *join_instructions(const json_t *messages, size_t n)
{
    struct buf b;
    bool texts = true;
    buf_init(&b, (size_t)1 << 30);
    for (size_t i = 0; i < n && texts; i++) {
        buf_str(&b, i ? "\n\n" : "");
        texts = add_texts(&b, json_object_get(json_array_get(messages, i), "content"));
    }
    json_t *said = texts && buf_ok(&b) ? json_stringn_nocheck(b.data ? b.data : "", b.len) : NULL;
    json_t *first = said ? json_copy(json_array_get(messages, 0)) : NULL, *out = first ? json_array() : NULL;
    if (out && json_object_set(first, "content", said) == 0 && json_array_append(out, first) == 0)
        for (size_t i = n; i < json_array_size(messages); i++)
            json_array_append(out, json_array_get(messages, i));
    json_decref(said);
    json_decref(first);
    buf_free(&b);
    return out;
}

/* Brings the messages into the form that the template wants, and renders. */
static int render_chat(const struct text *t, const struct template *template, const struct chat *chat,
                       bool knows_developer, struct rendering *out, struct err *e)
{
    struct chat_form f = { 0 };
    int rc = form_of(t, chat, knows_developer, &f, e);
    if (json_starved())
        rc = err_memory(e);            /* what looked wrong may just not have been there */
    if (rc == 0)
        rc = render(t, template, chat, &f, out, e);
    form_free(&f);
    if (rc < 0)
        rendering_free(out);
    return rc;
}

/* Templates of Gemma and Mistral allow one message of instructions, while clients send several (Codex sends its own and
 * those of the developer). Where the template has refused such a chat, the instructions at its beginning are told as
 * one. 0: that was it; else the refusal stands. */
static int render_joined(const struct text *t, const struct template *template, const struct chat *chat,
                         bool knows_developer, struct rendering *out)
{
    struct err why;
    size_t n = leading_instructions(chat->messages);
    struct chat joined = *chat;
    if (n < 2 || !(joined.messages = join_instructions(chat->messages, n)))
        return -1;
    int rc = render_chat(t, template, &joined, knows_developer, out, &why);
    json_decref(joined.messages);
    return rc;
}

/* Chooses the template: the one for tools only where the chat brings some. */
int text_render(const struct text *t, const struct chat *chat, struct rendering *out, struct err *e)
{
    const struct chat_templates *c = &t->templates;
    bool with_tools = chat->tools && c->tools;
    const struct template *template = with_tools ? c->tools : c->plain;
    bool developer = with_tools ? c->tools_developer : c->plain_developer;
    *out = (struct rendering){ 0 };
    if (!template)
        return err_field(e, "messages", "%s",
                         c->named ? "this model has several chat templates and none of them is the default; name a "
                                    "file with --chat-template"
                                  : "this model has no chat template; use /v1/completions");
    if (check_kwargs(t, chat->template_kwargs, e) < 0)
        return -1;
    int rc = render_chat(t, template, chat, developer, out, e);
    if (rc < 0 && e && strcmp(e->code, "template_raised") == 0)
        rc = render_joined(t, template, chat, developer, out);
    return rc;
}

void rendering_free(struct rendering *r)
{
    free(r->text);
    free(r->from);
    *r = (struct rendering){ 0 };
}
