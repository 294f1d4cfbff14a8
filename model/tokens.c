/* model/tokens.c - ids of tokens that a family needs and a configuration does not name: tokenizer.json has them. */
#include <string.h>

#include "model/load.h"

/* The id of the added token with this text; -1: there is none. */
static int id_of(const json_t *added, const char *text)
{
    json_t *one;
    size_t i;
    json_array_foreach((json_t *)added, i, one) {
        const char *content = json_string_value(json_object_get(one, "content"));
        const json_t *id = json_object_get(one, "id");
        if (content && strcmp(content, text) == 0 && json_is_integer(id) && json_integer_value(id) >= 0 &&
            json_integer_value(id) < INT32_MAX)
            return (int)json_integer_value(id);
    }
    return -1;
}

int load_tokens(struct loader *l, const char *const *texts, int n, int *ids)
{
    struct hparams file;
    if (hparams_open(&file, l->dir, "tokenizer.json", true, l->e) != 0) {
        l->failed = true;
        return -1;
    }
    const json_t *added = json_object_get(file.object, "added_tokens");
    for (int i = 0; i < n && !l->failed; i++) {
        ids[i] = id_of(added, texts[i]);
        if (ids[i] < 0 || ids[i] >= l->m->vocab)
            load_fail(l, "%s/tokenizer.json: %s \"%s\", which this model needs", l->dir,
                      ids[i] < 0 ? "there is no added token" : "beyond the vocabulary is", texts[i]);
    }
    hparams_close(&file);
    return l->failed ? -1 : 0;
}
