/* server/form.h - a form of answers: how one kind of endpoint tells what a
 * generation has made, whole or as events. Everything else (places, prompts,
 * waiting, taking text apart) is the same for all of them. */
#ifndef SERVER_FORM_H
#define SERVER_FORM_H
#include "server/reply.h"

struct answer_form {
    const char *id;            /* what ids begin with                                              */
    bool   chat;               /* thoughts and calls are told apart; else a text and no more       */
    size_t state_size;         /* bytes, first all 0, that the events of a stream may need         */
    void (*state_free)(void *state);       /* what they own; NULL: nothing                          */
    /* The whole answer: as reply_answer(). */
    void (*answer)(struct buf *out, const struct answer_head *head, const struct choice *choices, int n, int each,
                   const struct choice_wants *wants, const struct buf *prompt_ids, const struct totals *totals);
    /* A stream's events, with their framing. begin: before anything else of a choice; NULL: nothing comes there. chunk:
     * what of it was not told yet, and how it ended, if it has. end: behind the last chunk of all choices. fail: in the
     * place of all that would follow. */
    void (*begin)(struct buf *out, void *state, const struct answer_head *head, const struct choice *c,
                  const struct chunk *chunk);
    void (*chunk)(struct buf *out, void *state, const struct answer_head *head, const struct choice *c,
                  const struct chunk *chunk);
    void (*end)(struct buf *out, void *state, const struct answer_head *head, const struct chunk *chunk);
    void (*fail)(struct buf *out, void *state, const struct err *e);
};

extern const struct answer_form form_chat, form_completion, form_responses;    /* OpenAI's */
extern const struct answer_form form_messages;                 /* Anthropic's */

#endif
