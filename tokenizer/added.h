/* tokenizer/added.h - the "added_tokens" of tokenizer.json and those of the
 * configuration: strings that are found in the text before the model sees it. */
#ifndef TOKENIZER_ADDED_H
#define TOKENIZER_ADDED_H
#include <jansson.h>

#include "base/err.h"
#include "tokenizer/model.h"
#include "tokenizer/normalize.h"
#include "tokenizer/text.h"
#include "tokenizer/trie.h"

struct added_token {
    char   *content;    /* owned; as in the file                              */
    char   *text;       /* owned; what is searched for and decoded: normalized */
    size_t  content_len, text_len;
    int32_t id;         /* in the vocabulary                                  */
    bool    single_word, lstrip, rstrip, normalized, special;
    uint8_t most;       /* enum origin: in the text of greater ones it does not count */
};

struct added {
    struct added_token *token; /* owned, (n), in the order of the file       */
    size_t n, cap;
    struct vocab index;        /* content to place in `token`                */
    struct trie plain;         /* text to place in `token`, for the text as it came */
    struct trie normalized;    /* the same for the normalized text           */
    bool has_plain, has_normalized;
};

/* Fills a. `spec` is the JSON array, or NULL or null; `more` is what comes after it (token_names.added). Ids come from
 * the model where it knows the string, else they count on from the end of the model's, whatever the file says, as in
 * the reference. */
int  added_load(struct added *a, const json_t *spec, const json_t *more, const struct token_model *m,
                const struct normalizer *n, struct err *e);
void added_free(struct added *a);

const struct added_token *added_find(const struct added *a, const char *s, size_t n); /* by content; NULL: none */

/* Token `id` counts in the text of `most` and lesser origins alone. */
void added_reserve(struct added *a, int32_t id, enum origin most);

/* Cuts piece p of the bytes `in` at the tokens of a trie and adds the parts to
 * out. `from`: the origins of the bytes; NULL: every token counts. */
int added_cut(const struct added *a, const struct trie *trie, const char *in, const uint8_t *from,
              const struct piece *p, struct text *out, struct err *e);

#endif
