/* server/sampling.h - the fields of a request that say how to generate; the
 * same for chats and completions, but for `logprobs`. */
#ifndef SERVER_SAMPLING_H
#define SERVER_SAMPLING_H
#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "engine/engine.h"

enum { SAMPLING_MAX_N = 16 };          /* answers to one request */

struct sampling {
    struct params params;      /* stop strings and bad words borrowed from the request, tokens from below */
    struct token_bias *bias;   /* owned; NULL: none */
    int32_t *allowed;          /* owned; NULL: all tokens */
    struct grammar *grammar;   /* owned reference; NULL: any text */
    const char *grammar_field; /* which field of the request asked for it; NULL: none did, but maybe the server */
    const char *action_grammar;    /* borrowed: which one a request has that asks for no grammar; NULL: none */
    int  vocab;                /* ids of tokens are below it */
    int  n;                    /* answers                    */
    int  keep_tokens;          /* of the prompt, as in struct chat */
    bool prompt_only;          /* a completion of no tokens: what is wanted is told of the prompt */
    bool prompt_logprobs;      /* they were asked for by that name */
    bool timings_per_token;    /* every chunk has the timings so far */
    bool stream, include_usage;
    bool continuous_usage;     /* every chunk has the usage so far */
};

/* The model's defaults, and how many tokens it has. */
void sampling_init(struct sampling *s, const struct engine *g);
/* After that; sampling_free() is to be called in any case. */
int  sampling_parse(struct sampling *s, const json_t *in, bool chat, struct err *e);
void sampling_free(struct sampling *s);

#endif
