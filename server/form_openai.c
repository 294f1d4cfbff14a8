/* server/form_openai.c - the answers of /v1/chat/completions and /v1/completions: the JSON of reply.c as it is; an
 * event is one object, and [DONE] ends the stream. */
#include "server/form.h"
#include "server/sse.h"

/* A stream of chats begins by telling the role, before the first token is there. */
static void begin(struct buf *out, void *state, const struct answer_head *head, const struct choice *c,
                  const struct chunk *chunk)
{
    (void)state;
    sse_begin(out);
    reply_chunk_role(out, head, c, chunk);
    sse_end(out);
}

static void tell(struct buf *out, void *state, const struct answer_head *head, const struct choice *c,
                 const struct chunk *chunk)
{
    (void)state;
    sse_begin(out);
    reply_chunk(out, head, c, chunk);
    sse_end(out);
}

/* The end of a stream: a last chunk with the usage, if it was asked for, and then [DONE]. */
static void end(struct buf *out, void *state, const struct answer_head *head, const struct chunk *chunk)
{
    (void)state;
    if (chunk->usage != USAGE_ABSENT) {
        sse_begin(out);
        reply_chunk_usage(out, head, chunk->totals);
        sse_end(out);
    }
    sse_done(out);
}

static void fail(struct buf *out, void *state, const struct err *e)
{
    (void)state;
    sse_begin(out);
    reply_error_object(out, e->status, e);
    sse_end(out);
    sse_done(out);
}

const struct answer_form form_chat = { .id = "chatcmpl-", .chat = true, .answer = reply_answer, .begin = begin,
                                       .chunk = tell, .end = end, .fail = fail };
const struct answer_form form_completion = { .id = "cmpl-", .answer = reply_answer, .chunk = tell, .end = end,
                                             .fail = fail };
