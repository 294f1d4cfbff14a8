/* server/reply.h - the JSON that leaves the server: errors, answers and the
 * chunks of a streamed answer, in OpenAI's form. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "engine/engine.h"
#include "server/http.h"

/* s as a JSON string with its quotes; malformed UTF-8 becomes U+FFFD. */
void json_write_string(struct buf *out, const char *s, size_t n);

/* {"error":{"message","type","param","code"}}; a prompt that is too long is
 * told with the numbers, as clients cut by them. */
void reply_error_object(struct buf *out, int status, const struct err *e);

/* Answers with e's status (0: 400), and Retry-After where it helps. */
void reply_error(struct exchange *x, const struct err *e);

struct answer_head {           /* what all chunks of an answer share */
    char        id[64];        /* "chatcmpl-..." or "cmpl-..."       */
    long        created;       /* Unix seconds                       */
    const char *model;         /* borrowed                           */
    bool        chat;          /* else the form of /v1/completions   */
};

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

/* The whole answer. logprobs: NULL if not asked for. `end` is the EVENT_END. */
void reply_answer(struct buf *out, const struct answer_head *head, const char *text, size_t n,
                  const struct answer_logprobs *logprobs, const struct event *end);

/* The pieces of a streamed answer, without the framing. */
struct chunk_usage {
    enum { USAGE_ABSENT, USAGE_NULL, USAGE_SO_FAR } kind;
    int prompt, completion, cached;    /* tokens so far */
};
void reply_chunk_role(struct buf *out, const struct answer_head *head, struct chunk_usage usage);
void reply_chunk_text(struct buf *out, const struct answer_head *head, const char *text, size_t n,
                      const struct answer_logprobs *logprobs, const struct event *end /* or NULL */,
                      struct chunk_usage usage);
void reply_chunk_usage(struct buf *out, const struct answer_head *head, const struct event *end);

#endif
