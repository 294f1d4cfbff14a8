/* server/generation.h - from a prompt to the end of its answer: the part that
 * chats and completions have in common. */
#ifndef SERVER_GENERATION_H
#define SERVER_GENERATION_H
#include "server/app.h"
#include "server/sampling.h"

struct generation;

/* Submits the prompt, which becomes the engine's. Nothing of `s` is needed
 * afterwards, so the request's JSON need not wait for the answer. The caller
 * has entered the app (app_enter); that place is now the engine's to give back. NULL
 * after answering x with an error: the place is still the caller's. */
struct generation *generation_new(struct app *a, struct engine *g, struct exchange *x, struct prompt *p,
                                  const struct sampling *s, bool chat);

/* A generating request from its start to its end: takes a place, lets `submit` make a generation of the body, and
 * answers with the whole text or a stream. `submit` returns NULL after answering x with an error, or when the client is
 * gone. */
void generation_serve(struct app *a, struct exchange *x,
                      struct generation *(*submit)(struct app *a, struct engine *g, struct exchange *x));

#endif
