/* tokenizer/model.h - the "model" of tokenizer.json: one piece of text to ids.
 *
 * Read-only after loading, but for a cache of words that any number of threads
 * may use at once. */
#ifndef TOKENIZER_MODEL_H
#define TOKENIZER_MODEL_H
#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "tokenizer/json_file.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

/* A model of any kind. `data`, `encode` and `free` are what the kind adds. */
struct token_model {
    struct vocab vocab;  /* owned                          */
    size_t       size;   /* entries of the vocabulary, as the reference counts them */
    void        *data;   /* owned by the kind of model     */
    int        (*encode)(const struct token_model *m, const char *s, size_t n, struct ids *out, struct err *e);
    void       (*free)(void *data);
    struct cache *cache; /* owned; NULL: looking up is no slower than the model */
};

/* Loads the model of a file. On failure returns NULL and a message that names the place in the file. */
struct token_model *model_new(const struct json_file *f, struct err *e);
void          model_free(struct token_model *m);

/* Appends the ids of a piece (n > 0 bytes of valid UTF-8). */
int model_encode(const struct token_model *m, const char *s, size_t n, struct ids *out, struct err *e);

/* The kinds. Each fills vocab, data, encode and free. */
int bpe_load(struct token_model *m, const struct json_file *f, const json_t *o, struct err *e);
int unigram_load(struct token_model *m, const struct json_file *f, const json_t *o, struct err *e);
int wordlevel_load(struct token_model *m, const struct json_file *f, const json_t *o, struct err *e);

/* Reads {"token": id, ...} into m->vocab. */
int vocab_load(struct token_model *m, const struct json_file *f, const json_t *o, struct err *e);

/* The ids of <0x00> ... <0xFF>; -1 where there is none. */
void vocab_byte_tokens(const struct vocab *v, int32_t id[256]);

#endif
