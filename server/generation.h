/* server/generation.h - from a prompt to the end of its answer: the part that
 * chats and completions have in common. */
#ifndef SERVER_GENERATION_H
#define SERVER_GENERATION_H
#include "server/app.h"
#include "server/sampling.h"

/* Submits the prompt (which becomes the engine's) and answers x: with the
 * whole answer, with a stream, or with an error. The caller has entered the
 * app (app_enter); the place is given back when the generation ends. */
void generation_run(struct app *a, struct engine *g, struct exchange *x, struct prompt *p, const struct sampling *s,
                    bool chat);

#endif
