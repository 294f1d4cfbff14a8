/* server/app.c - what the handlers share: places for generations, turns for heavy input, and waiting for the model.
 * What each function promises stands in app.h. */
#include "server/app.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "grammar/grammar.h"
#include "server/connections.h"
#include "server/fields.h"

/* Processors of this machine; 1 if nobody can say. */
static int processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

/* Everything that requests are counted against is made here, at the start, from the settings: places for generations,
 * the number of requests that may decode images at once, and the three sums of bytes. The engine is still missing
 * (APP_LOADING), so that the port can answer while the model is read. Without loaded_fd, when the process has no
 * descriptor left, requests that wait for the model look again every second. */
void app_init(struct app *a, const struct config *cfg)
{
    memset(a, 0, sizeof *a);
    a->cfg = cfg;
    a->max_inflight = cfg->engine.max_num_seqs + cfg->engine.max_queue;
    a->created = time(NULL);
    a->started = clock_seconds();
    a->loaded_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->input_free = cfg->input_threads > 0 ? cfg->input_threads : processors();
    pace_init(&a->pace);
    pthread_mutex_init(&a->input_lock, NULL);
    pthread_cond_init(&a->input_cond, NULL);
    pthread_mutex_init(&a->reply_lock, NULL);
    budget_init(&a->json, fields_room(cfg->max_body_bytes));
    a->short_json.size = APP_SHORT_JSON;
    a->answers.size = cfg->max_body_total;
}

/* Remote images may take as much as bodies that are being read; a quarter of that is kept for the next turn of a
 * chat. */
static struct remote_policy remote_policy(const struct config *cfg)
{
    return (struct remote_policy){
        .hosts = cfg->allow_image_hosts.item,
        .n_hosts = cfg->allow_image_hosts.n,
        .folder = cfg->allow_local_images,
        .proxy = cfg->image_proxy,
        .max_bytes = cfg->engine.max_image_bytes,
        .held = cfg->max_body_total,
        .kept = cfg->max_body_total / 4,
    };
}

/* The two sums that app_init() makes for JSON, and max_body_total twice: once for bodies that are being read and
 * once for answers that wait; and remote images, if any are allowed. `plan` reports the total as what requests may
 * take at most. */
size_t app_bytes(const struct config *cfg)
{
    struct remote_policy p = remote_policy(cfg);
    size_t images = p.n_hosts > 0 || *p.folder ? p.held + p.kept + REMOTE_OWN : 0;
    size_t sessions = *cfg->tls_cert ? (size_t)(cfg->max_connections + EXTRA_CONNECTIONS) * TLS_SESSION_BYTES : 0;
    return fields_room(cfg->max_body_bytes) + APP_SHORT_JSON + 2 * cfg->max_body_total + GRAMMAR_BYTES + images +
           sessions;
}

/* The source of remote images, or NULL without an error where the options allow none. */
int app_remote_source(const struct config *cfg, struct remote_source **images, struct err *e)
{
    struct remote_policy p = remote_policy(cfg);
    *images = NULL;
    if (p.n_hosts == 0 && !*p.folder)
        return 0;
    *images = remote_open(&p, e);
    return *images ? 0 : -1;
}

void app_free(struct app *a)
{
    if (a->loaded_fd >= 0)
        close(a->loaded_fd);
    budget_free(&a->json);
    pthread_mutex_destroy(&a->reply_lock);
    pace_free(&a->pace);
    pthread_mutex_destroy(&a->input_lock);
    pthread_cond_destroy(&a->input_cond);
}

/* An error that is not the request's fault: a text for people, the HTTP status, and the code that client programs look
 * at. */
static int unavailable(struct err *e, int status, const char *code, const char *text)
{
    err_set(e, "%s", text);
    e->status = status;
    snprintf(e->code, sizeof e->code, "%s", code);
    return -1;
}

/* The engine if requests can be served, else NULL with a 503 whose code says whether it is too early or too late. */
struct engine *app_engine(struct app *a, struct err *e)
{
    int state = atomic_load(&a->state);
    if (state == APP_READY || state == APP_LEAVING)
        return atomic_load(&a->engine);
    unavailable(e, 503, state == APP_LOADING ? "model_loading" : "shutting_down",
                state == APP_LOADING ? "the model is still being loaded" : "the server is shutting down");
    return NULL;
}

/* Waits in steps of at most a second, because loaded_fd may be missing; otherwise the eventfd ends the wait as soon as
 * the model is there. A client that hangs up, or a server that is told to stop, ends it as well. When the time is
 * over, app_engine() says what the state is then, so that a model which became ready in the last moment is still
 * used. */
struct engine *app_await_engine(struct app *a, struct exchange *x, struct err *e)
{
    enum { LOOK_AGAIN = 1 };   /* seconds: there may be no loaded_fd */
    double until = clock_seconds() + a->cfg->load_wait;
    while (atomic_load(&a->state) == APP_LOADING) {
        double           left = until - clock_seconds();
        enum wait_result w = exchange_wait(x, a->loaded_fd, fmax(0, fmin(left, LOOK_AGAIN)));
        if (w == EXCHANGE_GONE)
            return NULL;
        if (w == EXCHANGE_STOPPED) {
            unavailable(e, 503, "shutting_down", "the server is shutting down");
            return NULL;
        }
        if (left <= 0)
            break;
    }
    return app_engine(a, e);
}

/* The engine is published before the state: whoever reads APP_READY also sees the engine. The exchange of the state
 * fails only if the server was told to stop while the model loaded; then the caller has to free the engine. */
bool app_loaded(struct app *a, struct engine *g)
{
    uint64_t one = 1;
    int      loading = APP_LOADING;
    formats_choose(&a->formats, a->cfg, g);
    atomic_store(&a->engine, g);
    if (!atomic_compare_exchange_strong(&a->state, &loading, APP_READY))
        return false;
    if (write(a->loaded_fd, &one, sizeof one) < 0)
        log_debug("requests that wait for the model notice within a second that it is there");
    return true;
}

/* Counts first and takes it back where it was too much, so that two requests cannot both get the last place. */
int app_enter(struct app *a, struct err *e)
{
    if (atomic_fetch_add(&a->inflight, 1) < a->max_inflight) {
        pace_enter(&a->pace, clock_seconds());
        return 0;
    }
    atomic_fetch_sub(&a->inflight, 1);
    return unavailable(e, 429, "queue_full", "too many requests are waiting; try again later");
}

/* For a place whose request never reached the engine. It tells nothing about how fast requests end, so the pace
 * forgets it. */
void app_leave(struct app *a)
{
    pace_leave(&a->pace, clock_seconds());
    atomic_fetch_sub(&a->inflight, 1);
}

/* The engine calls this from its own thread when a generation is done, cancelled or failed. */
void app_ended(void *app)
{
    struct app *a = app;
    pace_end(&a->pace, clock_seconds());
    atomic_fetch_sub(&a->inflight, 1);
}

/* A model that loads is expected to take as long again; of a server that leaves, its successor is there at once. */
int app_retry_after(void *app)
{
    struct app *a = app;
    double      now = clock_seconds();
    switch (atomic_load(&a->state)) {
    case APP_LOADING:
        return (int)fmin(fmax(ceil(now - a->started), 1), PACE_LONGEST);
    case APP_READY:
        return pace_retry_after(&a->pace, now, a->cfg->engine.max_num_seqs);
    default:
        return 1;
    }
}

/* Waits for a turn. Five times a second it also asks whether the client is still there and whether the server stops: a
 * client that has gone must not keep its place in the line. The lock is given up while the socket is asked. The
 * condition waits by the wall clock; if that is set back meanwhile, only this check comes late, because a turn that
 * becomes free signals. */
bool app_input_enter(struct app *a, struct exchange *x)
{
    if (x->has_input)
        return true;
    pthread_mutex_lock(&a->input_lock);
    bool alive = true;
    while (a->input_free == 0 && alive) {
        struct timespec ts = clock_from_now(CLOCK_REALTIME, 0.2);
        pthread_cond_timedwait(&a->input_cond, &a->input_lock, &ts);
        if (a->input_free == 0) {
            pthread_mutex_unlock(&a->input_lock);
            alive = exchange_wait(x, -1, 0) == EXCHANGE_TIMEOUT;
            pthread_mutex_lock(&a->input_lock);
        }
    }
    if (alive)
        a->input_free--;
    x->has_input = alive;
    pthread_mutex_unlock(&a->input_lock);
    return alive;
}

/* Short bodies count in a sum of their own that is never waited for, so that a few huge bodies cannot hold up the many
 * small ones; when that sum is spent, a short body waits with the others. The bytes are an upper bound that
 * fields_bytes() finds without parsing. Returns false if the client went away while a long body waited for its turn;
 * what was taken is given back by app_parsing_leave() all the same. */
bool app_parsing_enter(struct app *a, struct exchange *x)
{
    size_t bytes = fields_bytes(x->body, x->n_body);
    x->parses_short = x->n_body <= APP_LONG_BODY && tally_take(&a->short_json, bytes);
    x->parsing = x->parses_short ? bytes : budget_take(&a->json, bytes);
    return x->n_body <= APP_LONG_BODY || app_input_enter(a, x);
}

/* Gives the bytes back to whichever of the two sums they came from. May be called twice, or for an exchange that never
 * entered. */
void app_parsing_leave(struct app *a, struct exchange *x)
{
    if (x->parses_short)
        tally_give(&a->short_json, x->parsing);
    else if (x->parsing)
        budget_give(&a->json, x->parsing);
    x->parses_short = false;
    x->parsing = 0;
}

/* Gives the turn to one of those that wait. Does nothing for an exchange that holds none. */
void app_input_leave(struct app *a, struct exchange *x)
{
    if (!x->has_input)
        return;
    x->has_input = false;
    pthread_mutex_lock(&a->input_lock);
    a->input_free++;
    pthread_cond_signal(&a->input_cond);
    pthread_mutex_unlock(&a->input_lock);
}

const char *app_model_name(const struct app *a) { return a->cfg->served_model_name.item[0]; }

bool app_knows_model(const struct app *a, const char *name)
{
    for (int i = 0; i < a->cfg->served_model_name.n; i++)
        if (strcmp(a->cfg->served_model_name.item[i], name) == 0)
            return true;
    return false;
}
