/* server/logprobs.h - the log probabilities of an answer, in the forms of chats and of completions. */
#ifndef SERVER_LOGPROBS_H
#define SERVER_LOGPROBS_H
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "engine/engine.h"

/* Log probabilities as they are collected, already JSON. A chat's are a list
 * of objects (list[0]); a completion's are four lists side by side. */
struct answer_logprobs {
    struct buf list[4];        /* token objects | tokens, token_logprobs, top_logprobs, text_offset */
    size_t     n, text_offset; /* in characters, where the next token begins                        */
};
void logprobs_init(struct answer_logprobs *l);
void logprobs_free(struct answer_logprobs *l);
void logprobs_clear(struct answer_logprobs *l);
size_t logprobs_bytes(const struct answer_logprobs *l);
void logprobs_add(struct answer_logprobs *l, const struct engine *g, const struct token_logprob *t, int n, bool chat);

/* Those of a prompt of n + 1 tokens in the form of completions, to be followed by those of the answer: the first token
 * is `first`, of which nothing is known. */
void logprobs_add_prompt(struct answer_logprobs *l, const struct engine *g, int32_t first,
                         const struct token_logprob *t, int n);

/* Appends all that `from` holds. */
void logprobs_copy(struct answer_logprobs *l, const struct answer_logprobs *from);

/* Those of a prompt in vLLM's form: a list with an object for each token but the first, which has null; its members are
 * the ids of the token itself and of the likeliest others. Added to out, without the list's brackets. */
void logprobs_of_prompt(struct buf *out, const struct engine *g, const struct token_logprob *t, int n);

/* The member "logprobs", with a comma before it; null (l NULL) if they were not asked for, as clients expect it in any
 * case. */
void logprobs_write(struct buf *out, const struct answer_logprobs *l, bool chat);

#endif
