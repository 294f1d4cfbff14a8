/* tokenizer/tokenizer.h - text <-> token ids, from a Hugging Face tokenizer.json.
 *
 *     struct tokenizer *t = tokenizer_open(dir, &e);
 *     struct ids ids = { 0 };
 *     tokenizer_encode(t, text, strlen(text), false, &ids, &e);
 *     ids_free(&ids); tokenizer_close(t);
 *
 * A tokenizer is read-only after opening: any number of threads may encode and
 * decode at once. Time is linear in the text, whatever the text. */
#ifndef TOKENIZER_TOKENIZER_H
#define TOKENIZER_TOKENIZER_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/origin.h"

struct tokenizer;

/* A list of ids that grows; all zero is the empty list. */
struct ids {
    int32_t *id;       /* owned, (n) */
    size_t   n, cap;
};
void ids_free(struct ids *ids);
int  ids_add(struct ids *ids, int32_t id); /* -1: memory out */

/* Reads DIR/tokenizer.json and, where they exist, the files of names.h. On failure returns NULL and a message that
 * names the file. */
struct tokenizer *tokenizer_open(const char *dir, struct err *e);
/* One without any token, for models that read no texts. */
struct tokenizer *tokenizer_none(struct err *e);
void              tokenizer_close(struct tokenizer *t);

/* Only asks whether DIR/tokenizer.json is there, and whether it and those beside it are files at all, which takes no
 * time. On failure returns -1 and a message that says what to do. */
int tokenizer_check(const char *dir, struct err *e);

/* Appends the ids of n bytes of text (invalid UTF-8 counts as U+FFFD). Special
 * tokens that stand in the text are recognised, as in the reference.
 * `post`: also what the post-processor adds (bos, eos, ...). */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, bool post, struct ids *out, struct err *e);

/* The same for a rendered chat, of which from[i] is the origin of byte i (NULL: as above): a token that is reserved is
 * plain text in the text of greater origins. */
int tokenizer_encode_chat(const struct tokenizer *t, const char *text, const uint8_t *from, size_t n, bool post,
                          struct ids *out, struct err *e);

/* From now on the added token `id` counts in a chat's text of origins up to `most` alone. To be called before anything
 * is encoded. */
void tokenizer_reserve(struct tokenizer *t, int32_t id, enum origin most);
bool tokenizer_is_added(const struct tokenizer *t, int32_t id);

/* Appends the text of the ids as the reference's decode() does (ids outside the
 * vocabulary give nothing). `skip_special` leaves special tokens out. */
int tokenizer_decode(const struct tokenizer *t, const int32_t *id, size_t n, bool skip_special, struct buf *out,
                     struct err *e);

/* The bytes that this one token contributes to running text (for streaming and
 * logprobs): may be part of a UTF-8 sequence. Appends to out. */
int tokenizer_piece(const struct tokenizer *t, int32_t id, struct buf *out);

int         tokenizer_size(const struct tokenizer *t);                    /* largest id + 1             */
const char *tokenizer_token(const struct tokenizer *t, int32_t id);       /* as in the file; NULL: none */
int32_t     tokenizer_id(const struct tokenizer *t, const char *token);   /* -1: no such token          */
bool        tokenizer_is_special(const struct tokenizer *t, int32_t id);

/* Whether decode(ids) is the concatenation of the pieces, apart from a leading space: then text can be streamed piece
 * by piece. */
bool tokenizer_streams(const struct tokenizer *t);

/* The special tokens that have a name, as templates see them: {"bos_token": "<s>", ...}; borrowed. */
const json_t *tokenizer_names(const struct tokenizer *t);
const char   *tokenizer_bos(const struct tokenizer *t);    /* NULL where there is none */

#endif
