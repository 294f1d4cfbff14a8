/* server/chat.h - chats in other forms than OpenAI's first one: their requests are
 * translated into it and then go the same way. */
#ifndef SERVER_CHAT_H
#define SERVER_CHAT_H
#include "server/form.h"
#include "server/generation.h"

struct chat_kind {
    const struct answer_form *form;
    /* Makes the body of a request for /v1/chat/completions, which may share values with `in`. *names: how errors are to
     * name its fields, as field_names.h has them. Both are the caller's, also after -1. NULL: it is one already. */
    int (*translate)(json_t *in, json_t **chat, json_t **names, struct err *e);
    const json_t *names;       /* borrowed: the same for a request that is not translated; NULL: as they are */
    /* What of the request the answer has again. NULL: nothing. */
    void (*describe)(const json_t *in, const struct sampling *s, struct buf *out);
};

/* For generation_serve(): from the body to the engine. */
struct generation *chat_submit(struct app *a, struct engine *g, struct exchange *x, const struct chat_kind *kind);

/* The prompt that such a request leads to, and no answer. sent: the body, which becomes this function's, as JSON that
 * was parsed after app_parsing_enter(); NULL: it is parsed here. app_parsing_leave() is the caller's business. text:
 * gets what the template writes; NULL: nobody wants it. NULL with e->text empty: the client is gone. */
struct prompt *chat_prompt(struct app *a, struct engine *g, struct exchange *x, const struct chat_kind *kind,
                           json_t *sent, struct buf *text, struct err *e);

#endif
