/* tokenizer/names.c - see names.h.
 *
 * The names are taken first, then the tokens in their order; a set of those that are there already keeps any from
 * being added twice. Entries of `added` have the form of those of tokenizer.json, so that both are loaded by the same
 * code. */
#include "tokenizer/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/fields.h"
#include "tokenizer/json_file.h"

/* The names that come first, in the order of the reference. */
static const char *const first_names[] = { "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
                                           "mask_token" };
enum {
    N_FIRST = sizeof first_names / sizeof *first_names,
    MAX_ADDED = 1 << 20     /* tokens that the files may add */
};

/* A token is a string, or an object with the string and flags: its string. */
static const json_t *content_of(const json_t *v) { return json_is_object(v) ? json_object_get(v, "content") : v; }

/* The state while the files are read. Sets of strings are objects of JSON, so that large files take linear time. */
struct reader {
    struct token_names *out;         /* borrowed                              */
    const json_t *known;             /* borrowed; tokenizer.json's, or NULL   */
    json_t *have;                    /* owned set: all tokens so far          */
    json_t *named;                   /* owned set: the values of out->special */
};

static bool in_set(const json_t *set, const json_t *s) { return json_object_get(set, json_string_value(s)) != NULL; }
static void put_in(json_t *set, const json_t *s) { json_object_set_new(set, json_string_value(s), json_true()); }

/* Adds an entry to `added` with every flag given: what `v` (an object or a string) says, else the defaults of the
 * reference. `special`: the token is special whatever v says. `where` names the place in the file for messages. */
static int add_token(struct reader *r, const json_t *v, bool special, const char *where, struct err *e)
{
    static const char *const flags[] = { "single_word", "lstrip", "rstrip", "normalized", "special" };
    const json_t *content = content_of(v);
    bool value[5] = { false, false, false, false, special };
    if (!json_is_string(content))
        return err_set(e, "%s: a token without a string", where);
    if (json_array_size(r->out->added) >= MAX_ADDED)
        return err_set(e, "%s: more than %d tokens", where, MAX_ADDED);
    if (json_is_object(v) && !special && field_bool_or(v, where, "special", &value[4], e) < 0)
        return -1;
    /* By default, special tokens are found in the text as it came and others in the normalized text. */
    value[3] = !value[4];
    for (int i = 0; i < 4 && json_is_object(v); i++)
        if (field_bool_or(v, where, flags[i], &value[i], e) < 0)
            return -1;
    value[4] = value[4] || in_set(r->named, content);
    json_t *one = json_pack("{s:i, s:O}", "id", 0, "content", content);
    for (int i = 0; i < 5; i++)
        json_object_set_new(one, flags[i], json_boolean(value[i]));
    put_in(r->have, content);
    return json_array_append_new(r->out->added, one) == 0 ? 0 : err_memory(e);
}

/* ---- what the files say ---- */

/* Notes the token that the file gives the name `key`. A value that is no token is passed over. */
static void take_name(struct reader *r, const char *key, json_t *v)
{
    const json_t *content = content_of(v);
    if (!json_is_string(content))
        return;
    json_object_set(r->out->special, key, (json_t *)content);
    put_in(r->named, content);
}

/* Notes all names: the usual ones in their order, then the others of the file, then those of an object of extra
 * tokens. */
static void take_names(struct reader *r, json_t *config)
{
    const char *key;
    json_t *v;
    for (int i = 0; i < N_FIRST; i++)
        take_name(r, first_names[i], json_object_get(config, first_names[i]));
    json_object_foreach(config, key, v) {
        size_t n = strlen(key);
        if (n > 6 && !strcmp(key + n - 6, "_token") && !json_object_get(r->out->special, key))
            take_name(r, key, v);
    }
    json_object_foreach(json_object_get(config, "extra_special_tokens"), key, v)
        take_name(r, key, v);
}

/* A token of added_tokens_decoder with its id as a number, for sorting. */
struct decoder_entry { long id; const char *key; const json_t *token; };

static int by_id(const void *a, const void *b)
{
    const struct decoder_entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Adds the tokens of an object such as {"151643": {"content": ...}} in the order of the numbers. `where` names the
 * object for messages. */
static int take_decoder(struct reader *r, const json_t *decoder, const char *where, struct err *e)
{
    const char *key;
    json_t *v;
    size_t count = 0;
    int rc = 0;
    if (!json_is_object(decoder))
        return err_set(e, "%s: expected an object", where);
    struct decoder_entry *list = xcalloc(json_object_size(decoder), sizeof *list);
    json_object_foreach((json_t *)decoder, key, v) {
        char *end;
        list[count++] = (struct decoder_entry){ strtol(key, &end, 10), key, v };
        if (*end || end == key)
            rc = err_set(e, "%s: \"%.40s\" is not an id", where, key);
        else if (!json_is_object(v))
            rc = err_set(e, "%s.%.40s: expected an object", where, key);
        if (rc < 0)
            break;
    }
    if (rc == 0)
        qsort(list, count, sizeof *list, by_id);
    for (size_t i = 0; i < count && rc == 0; i++) {
        char at[PATH_MAX_LEN];
        path_join(at, where, list[i].key, -1);
        rc = add_token(r, list[i].token, false, at, e);
    }
    free(list);
    return rc;
}

/* Adds the tokens of added_tokens.json, which maps strings to ids as in {"<token>": 32000}, in the order of the ids.
 * Tokens with an id that tokenizer.json gives away are left out. */
static int take_added(struct reader *r, json_t *added, struct err *e)
{
    json_t *decoder = json_object(), *v;
    const char *token;
    char id[24];
    json_object_foreach(added, token, v) {
        bool special = json_object_get(r->named, token) != NULL;
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(v));
        if (json_is_integer(v))
            json_object_set_new(decoder, id, json_pack("{s:s, s:b, s:b}", "content", token, "special", special,
                                                       "normalized", !special));
    }
    for (size_t i = 0; i < json_array_size(r->known); i++) {
        const json_t *known = json_object_get(json_array_get(r->known, i), "id");
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(known));
        json_object_del(decoder, id);
    }
    int rc = take_decoder(r, decoder, "", e);
    json_decref(decoder);
    return rc;
}

/* Adds tokenizer.json's own tokens that have a name, as if added_tokens_decoder held them: what has a name is
 * special. */
static int take_known(struct reader *r, struct err *e)
{
    for (size_t i = 0; i < json_array_size(r->known); i++) {
        const json_t *one = json_array_get(r->known, i), *content = json_object_get(one, "content");
        if (json_is_string(content) && in_set(r->named, content) && add_token(r, one, false, "added_tokens", e) < 0)
            return -1;
    }
    return 0;
}

/* Adds tokens that are special by their name or because they stand in a list of extra tokens, unless they are there
 * already. */
static int take_special(struct reader *r, const json_t *config, struct err *e)
{
    const char *key;
    json_t *v, *list = json_object_get(config, "extra_special_tokens");
    size_t i;
    json_object_foreach(r->out->special, key, v) {
        const json_t *given = json_object_get(config, key);
        if (!in_set(r->have, v) && add_token(r, json_is_object(given) ? given : v, true, key, e) < 0)
            return -1;
    }
    if (json_array_size(list) == 0 && !json_is_object(list))
        list = json_object_get(config, "additional_special_tokens");
    json_array_foreach(list, i, v) {
        char at[PATH_MAX_LEN];
        path_join(at, "", "extra_special_tokens", (long)i);
        if (!(json_is_string(content_of(v)) && in_set(r->have, content_of(v))) && add_token(r, v, true, at, e) < 0)
            return -1;
    }
    return 0;
}

/* Reads an optional file of the folder: f->root is NULL where it is not there. */
static int read_file(struct json_file *f, const char *dir, const char *name, struct err *e)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return err_set(e, "the name of the model folder is too long");
    return json_file_read(f, path, true, false, e);
}

/* Reads the older files, which count only without added_tokens_decoder. `config` gets what special_tokens_map.json
 * says, which wins over the configuration. */
static int read_legacy(struct reader *r, const char *dir, json_t *config, struct err *e)
{
    struct json_file map, added;
    if (read_file(&map, dir, "special_tokens_map.json", e) < 0)
        return -1;
    if (map.root)
        json_object_update(config, map.root);
    json_file_free(&map);
    take_names(r, config);
    if (take_known(r, e) < 0)
        return err_prefix(e, "%s/tokenizer.json", dir);
    if (read_file(&added, dir, "added_tokens.json", e) < 0)
        return -1;
    int rc = take_added(r, added.root, e);
    json_file_free(&added);
    return rc < 0 ? err_prefix(e, "%s/added_tokens.json", dir) : 0;
}

/* Fills r->out from tokenizer_config.json (`config`) and, where it has no added_tokens_decoder, from the older
 * files. */
static int read_all(struct reader *r, const char *dir, json_t *config, struct err *e)
{
    json_t *decoder = json_object_get(config, "added_tokens_decoder");
    if (!decoder && read_legacy(r, dir, config, e) < 0)
        return -1;
    if (decoder)
        take_names(r, config);
    if ((decoder && take_decoder(r, decoder, "added_tokens_decoder", e) < 0) || take_special(r, config, e) < 0)
        return err_prefix(e, "%s/tokenizer_config.json", dir);
    return 0;
}

/* A folder without tokenizer_config.json is read as if the file were an empty object, as the older files may be there
 * all the same. After a failure out is still to be freed. */
int token_names_read(struct token_names *out, const char *dir, const json_t *known, struct err *e)
{
    struct json_file f;
    *out = (struct token_names){ json_object(), json_array() };
    if (read_file(&f, dir, "tokenizer_config.json", e) < 0)
        return -1;
    json_t *config = f.root ? json_incref(f.root) : json_object();
    struct reader r = { out, known, json_object(), json_object() };
    for (size_t i = 0; i < json_array_size(known); i++)
        if (json_is_string(json_object_get(json_array_get(known, i), "content")))
            put_in(r.have, json_object_get(json_array_get(known, i), "content"));
    int rc = read_all(&r, dir, config, e);
    json_decref(r.have);
    json_decref(r.named);
    json_decref(config);
    json_file_free(&f);
    return rc;
}

void token_names_free(struct token_names *n)
{
    json_decref(n->special);
    json_decref(n->added);
    *n = (struct token_names){ 0 };
}
