/* server/sampling.h - the fields of a request that say how to generate; the
 * same for chats and completions, but for `logprobs`. */
#ifndef SERVER_SAMPLING_H
#define SERVER_SAMPLING_H
#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "engine/engine.h"

struct sampling {
    struct params params;      /* stop strings borrowed from the request */
    bool stream, include_usage;
    bool continuous_usage;     /* every chunk has the usage so far */
};

/* `s->params` holds the defaults already. */
int sampling_parse(struct sampling *s, const json_t *in, bool chat, struct err *e);

#endif
