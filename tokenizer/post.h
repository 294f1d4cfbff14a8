/* tokenizer/post.h - the "post_processor" of tokenizer.json: what is added
 * around the ids of a text. */
#ifndef TOKENIZER_POST_H
#define TOKENIZER_POST_H
#include <jansson.h>

#include "base/err.h"
#include "tokenizer/tokenizer.h"

struct post;

/* Reads a post-processor. `spec` is the JSON object, or NULL or null for none. Returns NULL on failure. */
struct post *post_new(const json_t *spec, struct err *e);
void         post_free(struct post *p);

/* Rewrites the ids from out->id[from] on. `special`: with the special tokens.
 * -1: memory out, or far more ids than there were. */
int post_run(const struct post *p, struct ids *out, size_t from, bool special, struct err *e);

#endif
