/* tokenizer/names.h - what tokenizer_config.json says beyond tokenizer.json:
 * the names of special tokens, and tokens that are added to the vocabulary, as
 * transformers 5.24 applies them.
 *
 * Tokens are added in this order: `added_tokens_decoder` by id; named ones
 * (bos_token, ..., then any other *_token of the file) and extra_special_tokens
 * (once additional_special_tokens) that tokenizer.json does not have. Only
 * where there is no added_tokens_decoder do the files of older times count:
 * special_tokens_map.json, which wins over the configuration, and
 * added_tokens.json. add_bos_token and add_eos_token change nothing where there
 * is a tokenizer.json: its post-processor says what is put around a text. */
#ifndef TOKENIZER_NAMES_H
#define TOKENIZER_NAMES_H
#include <jansson.h>

#include "base/err.h"

struct token_names {
    json_t *special;        /* owned object: "bos_token" -> "<s>", as templates see it */
    json_t *added;          /* owned array, as tokenizer.json's added_tokens; the ids mean nothing */
};

/* Reads the files of folder `dir`. `known` are tokenizer.json's added_tokens, or NULL. On failure returns -1 and a
 * message that names file and field; *out is to be freed all the same. */
int  token_names_read(struct token_names *out, const char *dir, const json_t *known, struct err *e);
void token_names_free(struct token_names *n);

#endif
