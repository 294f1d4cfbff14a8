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
#include "fetch/remote.h"
#include "server/formats.h"
#include "server/http.h"
#include "server/keys.h"
#include "server/pace.h"
#include "server/tls.h"

enum app_state {
    APP_LOADING,               /* requests wait for the model                                      */
    APP_READY,
    APP_LEAVING,               /* still serves, but says at /health that it will not for long      */
    APP_DRAINING               /* finishes what runs, refuses what comes                           */
};

enum {
    APP_ROUTES = 40, APP_STATUSES = 24,
    APP_LONG_BODY = 64 << 10,  /* bytes; JSON may take forty times as many when it is parsed */
    APP_SHORT_JSON = 32 << 20, /* bytes for the JSON of all shorter ones                     */
};

/* Made once, before the port opens, and freed after every connection has ended. Handlers on many threads use it: what
 * is not atomic is either constant after the start or behind the lock that its comment names. */
struct app {
    const struct config      *cfg;        /* borrowed                                              */
    _Atomic(struct http *)    http;       /* borrowed; NULL before it listens, as its threads may see */
    _Atomic(struct engine *)  engine;     /* NULL while it loads                                   */
    struct formats            formats;    /* constant once there is an engine                      */
    _Atomic int               state;
    int                       loaded_fd;  /* eventfd, readable once the model is loaded; -1: there was none */
    _Atomic int               inflight;   /* generations that have a place: until the engine is done with them */
    int                       max_inflight;   /* places: running and waiting together             */
    struct pace               pace;       /* how fast places become free                           */
    time_t                    created;    /* Unix seconds of the start, the models' "created"      */
    double                    started;    /* clock_seconds() of the start                          */
    pthread_mutex_t           input_lock; /* guards input_free                                     */
    pthread_cond_t            input_cond; /* signalled when input_free grows                       */
    int                       input_free; /* requests whose images may be decoded now              */
    struct tally              short_json; /* bytes of the JSON of short bodies                     */
    struct budget             json;       /* bytes of the JSON and decoded files of all other bodies */
    struct remote_source      *images;     /* borrowed: fetches remote images; NULL: none is allowed */
    struct tls               *tls;        /* borrowed: certificate and settings; NULL: no TLS      */
    struct keys              *keys;       /* borrowed: who may ask; NULL: everybody                */
    struct tally              answers;    /* bytes of answers, as far as they were not sent        */
    pthread_mutex_t           reply_lock; /* whoever holds it may hold its answer twice            */
    _Atomic uint64_t          http_requests[APP_ROUTES][APP_STATUSES];   /* see metrics.c          */
};

void app_init(struct app *a, const struct config *cfg);
void app_free(struct app *a);

/* The engine, or NULL with a 503 in `e`: the model is still being loaded, or the server finishes what runs and takes
 * nothing new. Never waits. */
struct engine *app_engine(struct app *a, struct err *e);

/* The same for requests that are better answered late than with 503: while the model is being loaded this waits for it,
 * up to --load-wait. The request holds its connection and its body meanwhile, but no place. NULL with e->text empty:
 * the client has gone. */
struct engine *app_await_engine(struct app *a, struct exchange *x, struct err *e);

/* The model is loaded: requests that wait for it go on. false: the server has been told to stop meanwhile, and the
 * engine stays the caller's. */
bool app_loaded(struct app *a, struct engine *g);

/* Takes a place for one generation; -1 with a 429: all are taken. The place is given back with app_leave() if nothing
 * was submitted, otherwise by the engine, which calls app_ended(). That is when it has finished computing, which may be
 * long before a slow client has read its answer. */
int  app_enter(struct app *a, struct err *e);
void app_leave(struct app *a);
void app_ended(void *app);

/* Seconds after which a request that is refused now may try again. */
int app_retry_after(void *app);

/* Parsing a long body and decoding images take memory and a core for a while, so only a few requests (--input-threads)
 * do that at a time. Waits for a turn, which then lasts until app_input_leave(); a second call for the same exchange
 * does nothing. Returns false when the client went away or the server stops. */
bool app_input_enter(struct app *a, struct exchange *x);

void app_input_leave(struct app *a, struct exchange *x);     /* if it has entered */

/* To be called before the body of x is parsed: waits for the memory that its JSON may take and, if the body is long,
 * for a turn as above. app_parsing_leave() gives the memory back; call it whatever the outcome, once neither the JSON
 * nor a file decoded from it is there any more. */
bool app_parsing_enter(struct app *a, struct exchange *x);
void app_parsing_leave(struct app *a, struct exchange *x);

/* Bytes that requests and answers may take in all, beside images that were sent. */
size_t app_bytes(const struct config *cfg);

/* What remote images may be fetched, by the settings. *images: NULL if none may. -1: a setting is wrong. */
int  app_remote_source(const struct config *cfg, struct remote_source **images, struct err *e);

const char *app_model_name(const struct app *a);                     /* the one that replies carry */
bool        app_knows_model(const struct app *a, const char *name);

#endif
