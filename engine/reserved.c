/* engine/reserved.c - see reserved.h. Tokens that build a chat are those that the checkpoint's files name (NAMED) or
 * that its templates write (WRITTEN). The templates are not trusted to be readable: their texts are looked at, and they
 * are rendered with a few small chats, since some put their tokens together only then. */
#include "engine/reserved.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/json_file.h"

enum { NAMED = 1, WRITTEN = 2 };
enum { PROBE_STEPS = 100000, MAX_DEPTH = 8 };

struct look {
    struct tokenizer *t;
    unsigned char *seen;   /* owned, (tokenizer_size): NAMED, WRITTEN, by id */
};

/* Notes that a token was seen; only added tokens can be written by a client as text and be taken for structure. */
static void see(struct look *l, int64_t id, int how)
{
    if (id >= 0 && id < tokenizer_size(l->t) && tokenizer_is_added(l->t, (int32_t)id))
        l->seen[id] |= (unsigned char)how;
}

/* ---- what the checkpoint names ---- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* The numbers of every "..._token_id", "..._token_index" and the like in an object and those within. */
static void see_ids(struct look *l, json_t *object, int depth)
{
    const char *key;
    json_t *v, *one;
    size_t i;
    json_object_foreach(object, key, v) {
        if (json_is_object(v) && depth < MAX_DEPTH)
            see_ids(l, v, depth + 1);
        if (!ends_with(key, "_token_id") && !ends_with(key, "_token_ids") && !ends_with(key, "_token_index"))
            continue;
        if (json_is_integer(v))
            see(l, json_integer_value(v), NAMED);
        json_array_foreach(v, i, one)
            if (json_is_integer(one))
                see(l, json_integer_value(one), NAMED);
    }
}

/* All ids that a file of the checkpoint names, at any depth. */
static void see_file(struct look *l, const char *dir, const char *name)
{
    char path[4096];
    struct json_file f;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path ||
        json_file_read(&f, path, true, false, NULL) < 0)
        return;             /* whoever needs the file says what is wrong with it */
    see_ids(l, f.root, 0);
    json_file_free(&f);
}

/* The tokens that tokenizer_config.json gives a name, such as bos_token. */
static void see_names(struct look *l)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)tokenizer_names(l->t), key, v)
        see(l, tokenizer_id(l->t, json_string_value(v)), NAMED);
}

/* ---- what the templates write ---- */

/* The tokens that a text of a template is made of. */
static void see_text(void *arg, const char *s, size_t n)
{
    struct look *l = arg;
    struct ids ids = { 0 };
    if (tokenizer_encode(l->t, s, n, false, &ids, NULL) == 0)
        for (size_t i = 0; i < ids.n; i++)
            see(l, ids.id[i], WRITTEN);
    ids_free(&ids);
}

/* A chat with a message of this role. What its template refuses, it does not write. */
static void probe(struct look *l, const struct template *t, const char *role, bool first, bool parts)
{
    json_t *content = parts ? json_pack("[{s:s, s:s}]", "type", "text", "text", "a") : json_string("a");
    json_t *messages = json_pack("[{s:s, s:O}]", "role", role, "content", content);
    if (!first)
        json_array_insert_new(messages, 0, json_pack("{s:s, s:O}", "role", "user", "content", content));
    json_t *context = json_pack("{s:o, s:b, s:n, s:n}", "messages", messages, "add_generation_prompt", 1, "tools",
                                "documents");
    size_t n = 0;
    struct template_options opt = { .length = &n, .names = tokenizer_names(l->t), .max_steps = PROBE_STEPS };
    char *text = template_render(t, context, &opt, NULL);
    if (text)
        see_text(l, text, n);
    free(text);
    json_decref(context);
    json_decref(content);
}

/* Texts of the template, and tokens that it puts together, as in "<|" ~ role ~ "|>". */
static void see_template(struct look *l, const struct template *t)
{
    static const char *const roles[] = { "system", "user", "assistant", "tool", "developer", "function",
                                         "observation" };
    if (!t)
        return;
    template_literals(t, see_text, l);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        for (int form = 0; form < 4; form++)
            probe(l, t, roles[i], form & 1, form & 2);
}

/* ---- the choice ---- */

/* Something between signs, such as <s>, [INST] or <|user|>, rather than a word or spaces. */
static bool is_markup(const char *s)
{
    size_t n = strlen(s);
    bool inside = false;
    for (size_t i = 1; i + 1 < n; i++)
        inside |= isalnum((unsigned char)s[i]) || (unsigned char)s[i] >= 0x80;
    return inside && ispunct((unsigned char)s[0]) && ispunct((unsigned char)s[n - 1]);
}

/* Whether an added token is one of a pair, <x> and </x>: such pairs mark parts of an answer, and not turns of a chat.
 * */
static bool is_tag(const struct tokenizer *t, const char *s)
{
    size_t n = strlen(s), name = s[1] == '/' ? 2 : 1;
    char other[128];
    if (s[0] != '<' || s[n - 1] != '>' || !isalpha((unsigned char)s[name]) || n + 2 > sizeof other)
        return false;
    snprintf(other, sizeof other, "%s%s", name == 2 ? "<" : "</", s + name);
    int32_t id = tokenizer_id(t, other);
    return id >= 0 && tokenizer_is_added(t, id);
}

/* First looks at all that may name or write a token, then decides about every token that was seen. */
void reserve_structure(struct tokenizer *t, const struct chat_templates *c, const char *dir, int image_token,
                       int image_mark)
{
    struct look l = { t, xcalloc((size_t)tokenizer_size(t) + 1, 1) };
    see_names(&l);
    see_file(&l, dir, "config.json");
    see_file(&l, dir, "generation_config.json");
    see_template(&l, c->plain);
    see_template(&l, c->tools);
    for (int id = 0; id < tokenizer_size(t); id++) {
        const char *token = l.seen[id] ? tokenizer_token(t, id) : NULL;
        if (!token || !is_markup(token))
            continue;
        bool tag = !(l.seen[id] & NAMED) && is_tag(t, token);
        tokenizer_reserve(t, id, tag ? FROM_REQUEST : FROM_TEMPLATE);
    }
    tokenizer_reserve(t, image_token, FROM_TEMPLATE);
    tokenizer_reserve(t, image_mark, FROM_TEMPLATE);
    free(l.seen);
}
