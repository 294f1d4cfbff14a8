/* server/generation_parts.h - a generation from within: what generation.c and
 * begin.c share. Others see generation.h. */
#ifndef SERVER_GENERATION_PARTS_H
#define SERVER_GENERATION_PARTS_H
#include "output/output.h"
#include "server/app.h"
#include "server/choice.h"
#include "server/form.h"

struct generation {
    struct app      *app;          /* borrowed                                        */
    struct engine   *engine;       /* borrowed                                        */
    struct exchange *x;            /* borrowed; outlives this                         */
    struct answer_head head;
    const struct answer_form *form;
    void  *form_state;             /* owned; NULL: the form has none                  */
    bool   stream;                 /* answer with events, not at the end              */
    struct choice_wants wants;
    enum usage_kind usage;         /* what chunks say of it                           */
    bool   timings;                /* every chunk has them so far                     */
    int    n_prompt, n_image;      /* tokens of the prompts; of these, places of images */
    int    n_prompts, each;        /* choices of each prompt                          */
    struct buf *prompt_ids;        /* owned, (n_prompts): they were asked for, and not sent yet */
    struct answer_logprobs *echoed;    /* owned, (n_prompts): what answers begin with; NULL: nothing */
    struct tool_names names;       /* of the tools that the answer may call           */
    struct choice *choice;         /* owned, (n)                                      */
    int    n;
    int    next;                   /* the choice whose turn is next in a stream       */
    int    fd;                     /* readable while an event of any choice waits     */
    bool   own_fd;                 /* owned; else it is the only request's            */
    double wait;                   /* seconds between comments                        */
};

void generation_free(void *state);
/* Ends all choices that have not ended with this error. */
void generation_fail(struct generation *q, const struct err *why);
/* Keeps what the request's line of the log will say, as of now. */
void generation_record(struct generation *q);

#endif
