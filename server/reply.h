/* server/reply.h - the JSON that leaves the server: errors, answers and the
 * chunks of a streamed answer, in OpenAI's form. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "engine/engine.h"
#include "server/choice.h"
#include "server/http.h"
#include "server/json_write.h"

/* {"error":{"message","type","param","code"}}; a prompt that is too long is
 * told with the numbers, as clients cut by them. */
void reply_error_object(struct buf *out, int status, const struct err *e);

/* Answers with e's status (0: 400), and Retry-After where it helps. */
void reply_error(struct exchange *x, const struct err *e);

/* An answer's id: the prefix and 24 random digits, as OpenAI's look. Clients only compare them. */
void reply_make_id(char *out, size_t size, const char *prefix);

/* Begins the answer of a route that gives a list: id, object, time, model and the array `field`, which is left open. */
void reply_begin_list(struct buf *out, const char *id_prefix, const char *model, const char *field);

struct answer_head {           /* what all chunks of an answer share */
    char        id[64];        /* "chatcmpl-..." or "cmpl-..."       */
    long        created;       /* Unix seconds                       */
    const char *model;         /* borrowed                           */
    bool        chat;          /* else the form of /v1/completions   */
    bool        functions;     /* calls are told in their older form: one `function_call` */
    bool        named;         /* the request said which function to call: an answer that calls it just stops */
    struct buf  about;         /* owned: of the request, as members of JSON, where the form has them again */
};

struct totals {                /* of all choices, so far             */
    int prompt, image, cached, completion;     /* tokens; image: those of the prompt that are places of images */
    struct timings time;
    int  thoughts;             /* tokens of the completion                                                     */
    bool has_thoughts;         /* they are told apart                                                          */
};

/* Why an answer that has ended did so: "stop", "length", "tool_calls" ...; "cancelled" and "error" where no client is
 * told a reason. */
const char *reply_finish(const struct answer_head *head, const struct choice *c);

/* The whole answer. prompt_ids: those of each prompt, as JSON without brackets, if the token ids are wanted; every
 * prompt has `each` of the n choices. */
void reply_answer(struct buf *out, const struct answer_head *head, const struct choice *choices, int n, int each,
                  const struct choice_wants *wants, const struct buf *prompt_ids, const struct totals *totals);

enum usage_kind { USAGE_ABSENT, USAGE_NULL, USAGE_SO_FAR };

struct chunk {                 /* what a chunk has beside its choice's news; everything borrowed */
    enum usage_kind usage;
    const struct totals *totals;
    bool timings;              /* it has them, so far                              */
    const struct choice_wants *wants;
    const struct buf *prompt_ids;      /* NULL: not in this chunk                  */
};

/* The pieces of a streamed answer, without the framing. The first one of a chat has the role and an empty text;
 * OpenAI's clients build the message from it. */
void reply_chunk_role(struct buf *out, const struct answer_head *head, const struct choice *c,
                      const struct chunk *chunk);
/* What of a choice was not sent yet, and how it ended, if it has. */
void reply_chunk(struct buf *out, const struct answer_head *head, const struct choice *c, const struct chunk *chunk);
/* The chunk after the last one, with an empty list of choices, as OpenAI sends the usage of a stream. */
void reply_chunk_usage(struct buf *out, const struct answer_head *head, const struct totals *totals);

#endif
