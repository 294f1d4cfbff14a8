/* grammar/tokens.h - a vocabulary as a grammar sees it: the bytes of every token, as a tree of their prefixes.
 *
 * A special token is no text. Here it has the bytes of its name behind the mark 0xFF, which no UTF-8 has in it: only a
 * grammar that allows that mark allows the token (free text does, and EXPR_MARKED). Tokens without bytes, longer than
 * TOKENS_LONGEST, or with bytes that no UTF-8 has are never allowed.
 *
 * The tree also keeps what rules know of all tokens in advance (matcher.c); so it belongs to the one thread that makes
 * masks. */
#ifndef GRAMMAR_TOKENS_H
#define GRAMMAR_TOKENS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { TOKENS_LONGEST = 256 };

struct tokens;

struct token_source {
    int n;                     /* ids are 0 .. n - 1 */
    /* Appends the bytes of a token to `out`; for a special one its name. false: this id is not to be used. */
    bool (*bytes)(void *arg, int32_t id, struct buf *out, bool *special);
    void *arg;
};

/* NULL: memory is out. */
struct tokens *tokens_new(const struct token_source *source, struct err *e);
void           tokens_free(struct tokens *t);
/* Memory that a vocabulary of so many tokens takes, with all that becomes known of it. */
size_t         tokens_bytes(int vocab);

/* Words of 32 bits that a mask of the vocabulary takes. */
static inline size_t tokens_mask_words(int n) { return ((size_t)n + 31) / 32; }

#endif
