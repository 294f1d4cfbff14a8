/* tokenizer/split.h - the "pre_tokenizer" of tokenizer.json: cuts the text into
 * the pieces that the model sees one by one. */
#ifndef TOKENIZER_SPLIT_H
#define TOKENIZER_SPLIT_H
#include <jansson.h>

#include "base/err.h"
#include "tokenizer/regex.h"
#include "tokenizer/text.h"

struct splitter;

/* Reads a pre-tokenizer. `spec` is the JSON object, or NULL or null for none. Returns NULL on failure. */
struct splitter *splitter_new(const json_t *spec, struct err *e);
void             splitter_free(struct splitter *s);

/* Cuts and rewrites the pieces of t that are no added tokens. `match` as for regex_find. Returns -1 with the error set
 * when a pattern fails, or the memory or the effort runs out; t is then of no use. */
int splitter_run(const struct splitter *s, struct text *t, struct regex_match *match, struct err *e);

#endif
