#include "engine/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

enum { MAX_TEMPLATE = 4 << 20 };

/* The whole of a text file. 0: read; 1: there is no such file; -1: error. */
static int read_file(const char *path, struct buf *out, struct err *e)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return 1;
    char part[65536];
    size_t n;
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        buf_add(out, part, n);
    int bad = ferror(f);
    fclose(f);
    if (bad || !buf_ok(out))
        return err_set(e, "%s: cannot be read, or is larger than %d bytes", path, MAX_TEMPLATE);
    return 0;
}

static struct template *parse(const char *source, size_t n, const char *where, struct err *e)
{
    struct template *t = template_parse(source, n, e);
    if (!t)
        err_prefix(e, "%s", where);
    return t;
}

/* A chat_template of JSON is a string, or a list of {"name", "template"} of which "default" counts. */
static const char *template_of(const json_t *v)
{
    if (json_is_string(v))
        return json_string_value(v);
    size_t i;
    json_t *one;
    const char *found = NULL;
    json_array_foreach(v, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *source = json_string_value(json_object_get(one, "template"));
        if (source && (!found || (name && strcmp(name, "default") == 0)))
            found = source;
    }
    return found;
}

static int parse_from_json(struct text *t, const char *path, struct err *e)
{
    json_error_t why;
    /* model_max_length is often 1000000000000000019884624838656 */
    json_t *root = json_load_file(path, JSON_DECODE_INT_AS_REAL, &why);
    if (!root)
        return 0;               /* absent; a broken tokenizer_config.json was reported by the tokenizer */
    const char *source = template_of(json_object_get(root, "chat_template"));
    int rc = 0;
    if (source && !(t->template = parse(source, strlen(source), path, e)))
        rc = -1;
    json_decref(root);
    return rc;
}

static int load_template(struct text *t, const char *dir, const char *file, struct err *e)
{
    static const char *const json_name[] = { "chat_template.json", "tokenizer_config.json" };
    char path[4096];
    struct buf source;
    buf_init(&source, MAX_TEMPLATE);
    snprintf(path, sizeof path, "%s/chat_template.jinja", dir);
    int rc = read_file(file ? file : path, &source, e);
    if (rc == 1 && file)
        rc = err_set(e, "%s: no such file", file);
    if (rc == 0 && !(t->template = parse(source.data ? source.data : "", source.len, file ? file : path, e)))
        rc = -1;
    buf_free(&source);
    for (int i = 0; rc == 1 && !t->template && i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, json_name[i]);
        if (parse_from_json(t, path, e) < 0)
            rc = -1;
    }
    return rc < 0 ? -1 : 0;
}

static json_t *context_of(const struct text *t, const struct chat *c, json_t *messages)
{
    const char *bos = tokenizer_bos(t->tokenizer), *eos = tokenizer_eos(t->tokenizer);
    json_t *ctx = json_object();
    json_object_set(ctx, "messages", messages);
    json_object_set_new(ctx, "add_generation_prompt", json_boolean(!c->no_generation_prompt));
    json_object_set_new(ctx, "bos_token", bos ? json_string(bos) : json_string(""));
    json_object_set_new(ctx, "eos_token", eos ? json_string(eos) : json_string(""));
    json_object_set_new(ctx, "tools", c->tools ? json_incref(c->tools) : json_null());
    json_object_set_new(ctx, "documents", c->documents ? json_incref(c->documents) : json_null());
    if (c->template_kwargs)
        json_object_update(ctx, c->template_kwargs);
    return ctx;
}

/* Does the template look at content parts itself? It is asked to render one: if the text comes out and the dictionary
 * around it does not, it does. */
static bool wants_parts(const struct text *t)
{
    static const char probe[] = "PROBEtextPROBE";
    json_t *messages = json_pack("[{s:s, s:[{s:s, s:s}]}]", "role", "user", "content", "type", "text", "text", probe);
    json_t *ctx = context_of(t, &(struct chat){ 0 }, messages);
    char *text = template_render(t->template, ctx, NULL, NULL);
    bool yes = text && strstr(text, probe) && !strstr(text, "'type'") && !strstr(text, "\"type\"");
    free(text);
    json_decref(ctx);
    json_decref(messages);
    return yes;
}

int text_open(struct text *t, const char *dir, const char *template_file, const char *format, int image_token,
              struct err *e)
{
    *t = (struct text){ 0 };
    t->tokenizer = tokenizer_open(dir, e);
    if (!t->tokenizer)
        return -1;
    if (load_template(t, dir, template_file, e) < 0)
        goto fail;
    const char *placeholder = image_token >= 0 ? tokenizer_token(t->tokenizer, image_token) : NULL;
    if (image_token >= 0 && !placeholder) {
        err_set(e, "%s/config.json: image_token_id %d is not in the tokenizer", dir, image_token);
        goto fail;
    }
    t->image_placeholder = placeholder ? xstrdup(placeholder) : NULL;
    bool automatic = !format || strcmp(format, "auto") == 0;
    if (t->template)
        t->content_string = automatic ? !wants_parts(t) : strcmp(format, "string") == 0;
    else
        log_warn("%s: no chat template: /v1/chat/completions will answer 400", dir);
    return 0;
fail:
    text_close(t);
    return -1;
}

void text_close(struct text *t)
{
    tokenizer_close(t->tokenizer);
    template_free(t->template);
    free(t->image_placeholder);
    *t = (struct text){ 0 };
}

/* Content parts as one string: the image placeholders first, then the texts, joined by newlines. */
static json_t *flatten(const struct text *t, const json_t *parts, struct err *e)
{
    struct buf b;
    buf_init(&b, (size_t)1 << 30);
    size_t i;
    json_t *part;
    for (int pass = 0; pass < 2; pass++)
        json_array_foreach(parts, i, part) {
            const char *type = json_string_value(json_object_get(part, "type"));
            bool image = type && strcmp(type, "image") == 0;
            const char *s = image ? t->image_placeholder : json_string_value(json_object_get(part, "text"));
            if (image != (pass == 0) || !s)
                continue;
            if (b.len)
                buf_byte(&b, '\n');
            buf_str(&b, s);
        }
    json_t *out = buf_ok(&b) ? json_stringn(b.data ? b.data : "", b.len) : NULL;
    buf_free(&b);
    if (!out)
        err_set(e, "out of memory for the messages");
    return out;
}

static json_t *flat_messages(const struct text *t, const json_t *messages, struct err *e)
{
    json_t *out = json_array(), *m;
    size_t i;
    json_array_foreach(messages, i, m) {
        json_t *copy = json_copy(m), *content = json_object_get(m, "content");
        json_array_append_new(out, copy);
        if (!json_is_array(content))
            continue;
        json_t *s = flatten(t, content, e);
        if (!s) {
            json_decref(out);
            return NULL;
        }
        json_object_set_new(copy, "content", s);
    }
    return out;
}

char *text_render(const struct text *t, const struct chat *chat, struct err *e)
{
    if (!t->template) {
        err_field(e, "messages", "this model has no chat template; use /v1/completions");
        return NULL;
    }
    json_t *messages = t->content_string ? flat_messages(t, chat->messages, e) : json_incref(chat->messages);
    if (!messages)
        return NULL;
    json_t *ctx = context_of(t, chat, messages);
    char *text = template_render(t->template, ctx, NULL, e);
    if (!text && e && !e->field[0]) {
        snprintf(e->field, sizeof e->field, "messages");
        if (strcmp(e->code, "template_raised") != 0)
            err_prefix(e, "chat template");
    }
    json_decref(ctx);
    json_decref(messages);
    return text;
}
