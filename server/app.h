/* server/app.h - what the handlers share: the settings, the engine once it is
 * loaded, and the counts that several threads keep. */
#ifndef SERVER_APP_H
#define SERVER_APP_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "base/budget.h"
#include "base/err.h"
#include "config/options.h"
#include "engine/engine.h"
#include "server/http.h"
#include "server/pace.h"

enum app_state {
    APP_LOADING,               /* requests wait for the model                                      */
    APP_READY,
    APP_LEAVING,               /* still serves, but says at /health that it will not for long      */
    APP_DRAINING               /* finishes what runs, refuses what comes                           */
};

enum {
    APP_ROUTES = 32, APP_STATUSES = 24,
    APP_LONG_BODY = 64 << 10,  /* bytes; JSON may take forty times as many when it is parsed */
    APP_SHORT_JSON = 32 << 20, /* bytes for the JSON of all shorter ones                     */
};

struct app {
    const struct config      *cfg;        /* borrowed                                              */
    _Atomic(struct http *)    http;       /* borrowed; NULL before it listens, as its threads may see */
    _Atomic(struct engine *)  engine;     /* NULL while it loads                                   */
    _Atomic int               state;
    int                       loaded_fd;  /* eventfd, readable once the model is loaded; -1: there was none */
    _Atomic int               inflight;   /* generations that have a place, from admission to the engine's end of them */
    int                       max_inflight;
    struct pace               pace;       /* how fast places become free                           */
    time_t                    created;    /* Unix seconds of the start, the models' "created"      */
    double                    started;    /* clock_seconds() of the start                          */
    pthread_mutex_t           input_lock; /* of input_free                                         */
    pthread_cond_t            input_cond;
    int                       input_free; /* requests whose images may be decoded now              */
    struct tally              short_json; /* bytes of the JSON of short bodies, ...                */
    struct budget             json;       /* ... and of all others: the values, then decoded files */
    struct tally              answers;    /* bytes of answers, as far as they were not sent        */
    pthread_mutex_t           reply_lock; /* whoever holds it may hold its answer twice            */
    _Atomic uint64_t          http_requests[APP_ROUTES][APP_STATUSES];   /* see metrics.c          */
};

void app_init(struct app *a, const struct config *cfg);
void app_free(struct app *a);

/* The engine, or NULL with a 503 in `e`: it is still loading, or the server drains. */
struct engine *app_engine(struct app *a, struct err *e);

/* The same for a request that had better wait than hear 503: while the model loads, up to --load-wait. It holds its
 * connection and its body meanwhile, but no place. NULL with e->text empty: the client has gone. */
struct engine *app_await_engine(struct app *a, struct exchange *x, struct err *e);

/* The model is loaded: whoever waits for it goes on. false: the server has been told to stop meanwhile. */
bool app_loaded(struct app *a, struct engine *g);

/* A place for one generation; -1 with a 429: there are enough of them already. It is given back with app_leave() when
 * nothing was submitted, else by the engine with app_ended(): when that is done, not when the client has read. */
int  app_enter(struct app *a, struct err *e);
void app_leave(struct app *a);
void app_ended(void *app);

/* Seconds after which a request that is refused now may try again. */
int app_retry_after(void *app);

/* Parsing a long body and decoding images take memory and a core for a while:
 * only a few requests at a time (once is enough for all that x does). Returns
 * false when the client went away or the server stops. */
bool app_input_enter(struct app *a, struct exchange *x);

void app_input_leave(struct app *a, struct exchange *x);     /* if it has entered */

/* Before x's body is parsed: waits for the memory that its JSON may take, then enters as above if the body is long.
 * To be left, whatever the answer, once neither the JSON nor a file of it is there any more. */
bool app_parsing_enter(struct app *a, struct exchange *x);
void app_parsing_leave(struct app *a, struct exchange *x);

/* Bytes that requests and answers may take in all, beside images. */
size_t app_bytes(const struct config *cfg);

const char *app_model_name(const struct app *a);                     /* the one that replies carry */
bool        app_knows_model(const struct app *a, const char *name);

#endif
