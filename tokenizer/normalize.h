/* tokenizer/normalize.h - the "normalizer" of tokenizer.json. */
#ifndef TOKENIZER_NORMALIZE_H
#define TOKENIZER_NORMALIZE_H
#include <jansson.h>

#include "base/err.h"
#include "tokenizer/regex.h"
#include "tokenizer/text.h"

struct normalizer;

/* Reads a normalizer. `spec` is the JSON object, or NULL or null for none. Returns NULL on failure. */
struct normalizer *normalizer_new(const json_t *spec, struct err *e);
void               normalizer_free(struct normalizer *n);

/* Rewrites piece p of `in` and appends the bytes to out, with their origins if
 * `from` has those of `in` (else NULL); *result is the new piece (not added to
 * out). `match` as for regex_find. */
int normalizer_run(const struct normalizer *n, const char *in, const uint8_t *from, const struct piece *p,
                   struct regex_match *match, struct text *out, struct piece *result, struct err *e);

/* Whether it changes nothing, so that text need not be copied. */
int normalizer_is_empty(const struct normalizer *n);

#endif
