/* tokenizer/wordlevel.c - WordLevel: a whole piece is a token, or it is unknown. */
#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/fields.h"
#include "tokenizer/model.h"

/* Appends the id of the piece or of the unknown token. A model may name an unknown token that its vocabulary does not
 * have; only a text that needs it fails. */
static int encode(const struct token_model *m, const char *s, size_t n, struct ids *out, struct err *e)
{
    const int32_t *unknown = m->data;
    int32_t id = vocab_find(&m->vocab, s, n);
    if (id < 0)
        id = *unknown;
    if (id < 0)
        return err_set(e, "the model's unk_token is not in its vocabulary");
    return ids_add(out, id) < 0 ? err_memory(e) : 0;
}

/* Loads a WordLevel model, whose own data is the id of the unknown token alone. model_free() frees what is there after
 * a failure. */
int wordlevel_load(struct token_model *m, const struct json_file *f, const json_t *o, struct err *e)
{
    const char *unk;
    size_t n;
    int32_t *id = xmalloc(sizeof *id);
    m->data = id;
    m->free = free;
    m->encode = encode;
    if (vocab_load(m, f, o, e) < 0 || field_string(o, "model", "unk_token", &unk, &n, e) < 0)
        return -1;
    *id = vocab_find(&m->vocab, unk, n);
    return 0;
}
