/* tokenizer/model.c - see model.h.
 *
 * Here the kind of model is chosen, and its answers are kept for words that come again. The kinds themselves are in
 * bpe.c, unigram.c and wordlevel.c. */
#include "tokenizer/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/cache.h"
#include "tokenizer/fields.h"
#include "tokenizer/json_file.h"

/* Reads one entry of a vocabulary, "token": id, at the cursor and adds it. `tmp`: room for names with escapes, kept
 * from entry to entry. */
static int load_entry(struct vocab *v, struct cursor *c, struct buf *tmp, struct err *e)
{
    const char *s;
    size_t n;
    int64_t id;
    if (cursor_string(c, tmp, &s, &n) < 0 || !cursor_take(c, ':'))
        return err_set(e, "expected \"token\": id after %zu entries", v->count);
    if (cursor_integer(c, &id) < 0)
        return err_set(e, "the id of \"%.*s\" is not a whole number", n < 60 ? (int)n : 60, s);
    return vocab_add(v, s, n, id, e);
}

/* Reads the text of the vocabulary entry by entry. Messages of failures name the token or tell how many entries were
 * read, as a file of this size may have a single line. */
int vocab_load(struct token_model *m, const struct json_file *f, const json_t *o, struct err *e)
{
    json_t *list;
    struct buf tmp;
    struct cursor c = f->vocab;
    int rc = 0;
    if (field_object(o, "model", "vocab", &list, e) < 0)
        return -1;
    buf_init(&tmp, 4 << 20);
    vocab_reserve(&m->vocab, c.n / 24); /* bytes of an entry, or nearly */
    cursor_take(&c, '{');
    if (!cursor_take(&c, '}')) {
        do
            rc = load_entry(&m->vocab, &c, &tmp, e);
        while (rc == 0 && cursor_take(&c, ','));
        if (rc == 0 && !cursor_take(&c, '}'))
            rc = err_set(e, "expected a comma after %zu entries", m->vocab.count);
    }
    m->size = m->vocab.count;
    buf_free(&tmp);
    return rc < 0 ? err_prefix(e, "model.vocab") : 0;
}

void vocab_byte_tokens(const struct vocab *v, int32_t id[256])
{
    char name[8];
    for (int b = 0; b < 256; b++) {
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        id[b] = vocab_find(v, name, 6);
    }
}

/* The place in model_new() of the type of a file without a type. Files of early versions have none; the fields tell.
 * -1: they are those of WordPiece. */
static int guess_type(const json_t *o, struct err *e)
{
    if (json_object_get(o, "merges"))
        return 0;
    if (json_is_array(json_object_get(o, "vocab")))
        return 1;
    if (json_object_get(o, "continuing_subword_prefix"))
        return err_set(e, "model: WordPiece, which models that write text do not use, is not supported");
    return 2;
}

/* Loads the kind of model that the file names. WordLevel gets no cache, as its own look-up costs no more than the
 * cache's. */
struct token_model *model_new(const struct json_file *f, struct err *e)
{
    static const char *const words[] = { "BPE", "Unigram", "WordLevel" };
    static int (*const load[])(struct token_model *, const struct json_file *, const json_t *, struct err *) = {
        bpe_load, unigram_load, wordlevel_load
    };
    const json_t *spec = json_object_get(f->root, "model");
    int type, rc = 0;
    if (!json_is_object(spec)) {
        err_set(e, "model: expected an object");
        return NULL;
    }
    if (!json_object_get(spec, "type"))
        rc = type = guess_type(spec, e);
    else
        rc = field_word(spec, "model", "type", words, 3, &type, e);
    if (rc < 0)
        return NULL;
    struct token_model *m = xcalloc(1, sizeof *m);
    if (load[type](m, f, spec, e) < 0) {
        model_free(m);
        return NULL;
    }
    if (load[type] != wordlevel_load)
        m->cache = cache_new();
    return m;
}

void model_free(struct token_model *m)
{
    if (!m)
        return;
    if (m->free)
        m->free(m->data);
    vocab_free(&m->vocab);
    cache_free(m->cache);
    free(m);
}

/* Appends n ids. Returns -1 when the memory runs out. */
static int append(struct ids *out, const int32_t *id, size_t n)
{
    if (grow(&out->id, &out->cap, out->n + n, sizeof *out->id) < 0)
        return -1;
    if (n)
        memcpy(out->id + out->n, id, n * sizeof *id);
    out->n += n;
    return 0;
}

/* Takes the ids from the cache where the word has been seen before; else asks the model and puts them there. Words of
 * CACHE_WORD_MAX bytes and more always go to the model. */
int model_encode(const struct token_model *m, const char *s, size_t n, struct ids *out, struct err *e)
{
    size_t before = out->n, count;
    bool keep = m->cache && n < CACHE_WORD_MAX;
    const int32_t *known = keep ? cache_get(m->cache, s, n, &count) : NULL;
    if (known)
        return append(out, known, count) < 0 ? err_memory(e) : 0;
    if (m->encode(m, s, n, out, e) < 0)
        return -1;
    if (keep)
        cache_put(m->cache, s, n, out->id + before, out->n - before);
    return 0;
}
