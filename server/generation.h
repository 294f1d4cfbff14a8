/* server/generation.h - from a prompt to the end of its answer: the part that
 * chats and completions have in common. */
#ifndef SERVER_GENERATION_H
#define SERVER_GENERATION_H
#include "output/output.h"
#include "server/app.h"
#include "server/form.h"
#include "server/sampling.h"

struct generation;

struct answering {             /* how an answer is made and told; everything borrowed until generation_new() returns */
    const struct sampling *sampling;
    const struct answer_form *form;
    struct buf *about;         /* of the request, for the answers' head, which takes it; NULL: nothing */
    const json_t *tools;       /* that the answer may call; NULL: none                   */
    const struct tool_format      *tool_format;        /* NULL: calls are not looked for */
    const struct reasoning_format *reasoning_format;   /* NULL: thoughts are content     */
    bool   thoughts_begun;     /* the prompt ends with what opens them                   */
    bool   hide_thoughts;      /* they are split off and not told                        */
    bool   single_call;        /* no more than one                                       */
    bool   grounded;           /* places of what the text names are told beside it       */
    bool   functions;          /* a call is told in its older form                       */
    bool   named_call;         /* the request named the function that has to be called   */
    const struct buf *echo;    /* (prompts) comes before the answers; NULL: nothing      */
    bool   echo_logprobs;      /* the prompt's log probabilities, too                    */
};

/* Submits the prompts, each for its own answers; they become the engine's. Nothing of `how` is needed afterwards, so
 * the request's JSON need not wait for the answer. The caller has entered the app (app_enter); that place, and those of
 * the other choices, are now the engine's to give back. NULL after answering x with an error: the place is still the
 * caller's. */
struct generation *generation_new(struct app *a, struct engine *g, struct exchange *x, struct prompt **prompts,
                                  int n_prompts, const struct answering *how);

/* A generating request from its start to its end: takes a place, lets `submit` make a generation of the body, and
 * answers with the whole text or a stream. `submit` returns NULL after answering x with an error, or when the client is
 * gone. */
void generation_serve(struct app *a, struct exchange *x,
                      struct generation *(*submit)(struct app *a, struct engine *g, struct exchange *x));

#endif
