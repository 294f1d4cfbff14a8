#include "tokenizer/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/cache.h"
#include "tokenizer/fields.h"
#include "tokenizer/json_file.h"

static int load_entry(struct vocab *v, const char *key, size_t n, const json_t *id, struct err *e)
{
    if (!json_is_integer(id))
        return err_set(e, "model.vocab: the id of \"%.60s\" is not a whole number", key);
    char *plain = xmalloc(n);
    const char *s = json_key(key, &n, plain);
    int rc = vocab_add(v, s, n, json_integer_value(id), e);
    free(plain);
    return rc < 0 ? err_prefix(e, "model.vocab") : 0;
}

int vocab_load(struct model *m, const json_t *o, struct err *e)
{
    json_t *list;
    if (field_object(o, "model", "vocab", &list, e) < 0)
        return -1;
    m->size = json_object_size(list);
    vocab_reserve(&m->vocab, m->size);
    for (void *i = json_object_iter(list); i; i = json_object_iter_next(list, i)) {
        const char *key = json_object_iter_key(i);
        if (load_entry(&m->vocab, key, json_object_iter_key_len(i), json_object_iter_value(i), e) < 0)
            return -1;
    }
    return 0;
}

void vocab_byte_tokens(const struct vocab *v, int32_t id[256])
{
    char name[8];
    for (int b = 0; b < 256; b++) {
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        id[b] = vocab_find(v, name, 6);
    }
}

/* Files of early versions have no type; the fields tell. */
static int guess_type(const json_t *o)
{
    return json_object_get(o, "merges") ? 0 : json_is_array(json_object_get(o, "vocab")) ? 1
         : json_object_get(o, "continuing_subword_prefix") ? 2 : 3;
}

struct model *model_new(const json_t *spec, struct err *e)
{
    static const char *const words[] = { "BPE", "Unigram", "WordPiece", "WordLevel" };
    static int (*const load[])(struct model *, const json_t *, struct err *) = { bpe_load, unigram_load,
                                                                                wordpiece_load, wordlevel_load };
    int type;
    if (!json_is_object(spec)) {
        err_set(e, "model: expected an object");
        return NULL;
    }
    if (!json_object_get(spec, "type"))
        type = guess_type(spec);
    else if (field_word(spec, "model", "type", words, 4, &type, e) < 0)
        return NULL;
    struct model *m = xcalloc(1, sizeof *m);
    if (load[type](m, spec, e) < 0) {
        model_free(m);
        return NULL;
    }
    if (load[type] != wordlevel_load)
        m->cache = cache_new();
    return m;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    if (m->free)
        m->free(m->data);
    vocab_free(&m->vocab);
    cache_free(m->cache);
    free(m);
}

static int append(struct ids *out, const int32_t *id, size_t n)
{
    if (grow(&out->id, &out->cap, out->n + n, sizeof *out->id) < 0)
        return -1;
    if (n)
        memcpy(out->id + out->n, id, n * sizeof *id);
    out->n += n;
    return 0;
}

int model_encode(const struct model *m, const char *s, size_t n, struct ids *out, struct err *e)
{
    size_t before = out->n, count;
    bool keep = m->cache && n < CACHE_WORD_MAX;
    const int32_t *known = keep ? cache_get(m->cache, s, n, &count) : NULL;
    if (known)
        return append(out, known, count) < 0 ? err_set(e, "out of memory") : 0;
    if (m->encode(m, s, n, out, e) < 0)
        return -1;
    if (keep)
        cache_put(m->cache, s, n, out->id + before, out->n - before);
    return 0;
}
