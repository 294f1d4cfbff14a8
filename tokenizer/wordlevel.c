/* WordPiece (the longest token at the start, then the longest continuation, and
 * so on) and WordLevel (the whole piece is a token or unknown). */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/fields.h"
#include "tokenizer/model.h"

/* A loaded WordPiece model. */
struct wordpiece {
    char   *prefix;    /* owned; of tokens that continue a word */
    size_t  prefix_len;
    size_t  longest;   /* token of the vocabulary, in bytes     */
    int64_t max_chars; /* longer pieces are unknown             */
    int32_t unk;       /* -1: not in the vocabulary             */
};

/* Appends the unknown token. A model may name one that its vocabulary does not have; only a text that needs it
 * fails. */
static int add_unknown(int32_t unk, struct ids *out, struct err *e)
{
    if (unk < 0)
        return err_set(e, "the model's unk_token is not in its vocabulary");
    return ids_add(out, unk) < 0 ? err_memory(e) : 0;
}

/* The longest token that the text from s on starts with: returns its id and sets *len, or returns -1. `name` holds
 * the prefix already, with room for the longest token of the vocabulary. */
static int32_t longest(const struct model *m, const char *s, size_t n, char *name, size_t prefix_len, size_t *len)
{
    const struct wordpiece *w = m->data;
    size_t end = n < w->longest ? n : w->longest;
    memcpy(name + prefix_len, s, end);
    for (; end; end--) {
        if (end < n && ((uint8_t)s[end] & 0xc0) == 0x80)
            continue; /* inside a character */
        int32_t id = vocab_find(&m->vocab, name, prefix_len + end);
        if (id >= 0) {
            *len = end;
            return id;
        }
    }
    return -1;
}

/* The encode of struct model. A piece with too many characters, or with a part that is no token, is unknown as a
 * whole: the ids that were found for it so far are taken back. */
static int encode(const struct model *m, const char *s, size_t n, struct ids *out, struct err *e)
{
    const struct wordpiece *w = m->data;
    size_t before = out->n, chars = 0, len;
    for (size_t i = 0; i < n; i++)
        chars += ((uint8_t)s[i] & 0xc0) != 0x80;
    if ((int64_t)chars > w->max_chars)
        return add_unknown(w->unk, out, e);
    char small[512], *name = small;
    if (w->prefix_len + w->longest > sizeof small && !(name = malloc(w->prefix_len + w->longest)))
        return err_memory(e);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i += len) {
        size_t prefix = i ? w->prefix_len : 0;
        memcpy(name, w->prefix, prefix);
        int32_t id = longest(m, s + i, n - i, name, prefix, &len);
        if (id < 0) {
            out->n = before;
            rc = add_unknown(w->unk, out, e);
            break;
        }
        if (ids_add(out, id) < 0)
            rc = err_memory(e);
    }
    if (name != small)
        free(name);
    return rc;
}

static void wordpiece_free(void *data)
{
    struct wordpiece *w = data;
    free(w->prefix);
    free(w);
}

/* Loads a WordPiece model and finds the length of its longest token, which bounds the search. model_free() frees what
 * is there after a failure. */
int wordpiece_load(struct model *m, const struct json_file *f, const json_t *o, struct err *e)
{
    const char *unk, *prefix;
    size_t unk_len, n;
    struct wordpiece *w = xcalloc(1, sizeof *w);
    m->data = w;
    m->free = wordpiece_free;
    m->encode = encode;
    if (vocab_load(m, f, o, e) < 0 || field_string(o, "model", "unk_token", &unk, &unk_len, e) < 0 ||
        field_string(o, "model", "continuing_subword_prefix", &prefix, &w->prefix_len, e) < 0 ||
        field_int(o, "model", "max_input_chars_per_word", 0, INT64_MAX, &w->max_chars, e) < 0)
        return -1;
    w->prefix = xmalloc(w->prefix_len + 1);
    memcpy(w->prefix, prefix, w->prefix_len + 1);
    w->unk = vocab_find(&m->vocab, unk, unk_len);
    for (size_t i = 0; i < m->vocab.ids; i++)
        if (vocab_text(&m->vocab, (int32_t)i, &n) && n > w->longest)
            w->longest = n;
    return 0;
}

/* The encode of WordLevel: the piece is a token, or unknown. */
static int wordlevel_encode(const struct model *m, const char *s, size_t n, struct ids *out, struct err *e)
{
    int32_t id = vocab_find(&m->vocab, s, n);
    if (id < 0)
        return add_unknown(*(int32_t *)m->data, out, e);
    return ids_add(out, id) < 0 ? err_memory(e) : 0;
}

/* Loads a WordLevel model, whose own data is the id of the unknown token alone. */
int wordlevel_load(struct model *m, const struct json_file *f, const json_t *o, struct err *e)
{
    const char *unk;
    size_t n;
    int32_t *id = xmalloc(sizeof *id);
    m->data = id;
    m->free = free;
    m->encode = wordlevel_encode;
    if (vocab_load(m, f, o, e) < 0 || field_string(o, "model", "unk_token", &unk, &n, e) < 0)
        return -1;
    *id = vocab_find(&m->vocab, unk, n);
    return 0;
}
