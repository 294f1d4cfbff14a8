/* library/library.h - what the files of the library share. */
#ifndef LIBRARY_LIBRARY_H
#define LIBRARY_LIBRARY_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "config/options.h"
#include "engine/engine.h"
#include "library/openautoglm.h"

/* Prompts and answers use the engine, so each holds a reference: the engine goes with the last of them. */
struct openautoglm {
    atomic_int refs;
    struct config config;      /* owned                                                     */
    struct engine *engine;     /* owned                                                     */
    pthread_mutex_t lock;      /* of the two below                                          */
    struct openautoglm_answer *answers;    /* borrowed: all that there are                  */
    bool closed;               /* nothing new is made                                       */
};

struct openautoglm_prompt {
    struct openautoglm *m;     /* owned reference  */
    struct prompt *prompt;     /* owned            */
};

struct openautoglm_answer {
    struct openautoglm *m;     /* owned reference  */
    struct openautoglm_answer *prev, *next;
    struct request *request;   /* owned            */
    struct event event;        /* owned: the last one; valid with `told`          */
    float *logprobs;           /* owned: of its tokens; NULL: none were asked for */
    bool   told, ended;
};

/* -1: the model was closed (503). */
int  library_use(struct openautoglm *m, struct err *e);
void library_drop(struct openautoglm *m);

/* Copies an error of ours to the caller's. */
void library_tell(const struct err *from, struct openautoglm_error *to);

#endif
