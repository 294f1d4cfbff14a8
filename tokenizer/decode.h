/* tokenizer/decode.h - the "decoder" of tokenizer.json: token strings to text. */
#ifndef TOKENIZER_DECODE_H
#define TOKENIZER_DECODE_H
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "tokenizer/text.h"

struct token_decoder;

/* Reads a decoder. `spec` is the JSON object, or NULL or null for none. Returns NULL on failure. */
struct token_decoder *decoder_new(const json_t *spec, struct err *e);
void            decoder_free(struct token_decoder *d);

/* Appends the text of the tokens, which are the pieces of t (it is used up).
 * `inner`: they stand somewhere in a running text, not at its start, and bytes
 * that are no valid UTF-8 stay as they are. */
int decoder_run(const struct token_decoder *d, struct text *t, bool inner, struct buf *out, struct err *e);

/* Whether the text of a token never depends on its neighbours; see tokenizer_streams(). */
bool decoder_streams(const struct token_decoder *d);

#endif
