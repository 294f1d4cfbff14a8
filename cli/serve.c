/* cli/serve.c - `openautoglm serve`: looks at the model, listens,
 * then loads, then serves until it is told to stop.
 *
 * Signals are waited for by a thread of their own. The first SIGTERM or SIGINT
 * turns /health to 503. With --drain-delay all is still served for so long,
 * until routers have seen it; then the port is closed, and connections that
 * stand may bring one more request each. Without it the port stays open, and
 * new requests are refused. What runs may finish for --drain-seconds. The
 * second signal ends both waits. SIGHUP has API keys and the certificate
 * read again. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/app.h"
#include "cli/command.h"
#include "cli/service.h"
#include "server/connections.h"
#include "server/cors.h"
#include "server/routes.h"

/* How long the last lines of the log may take, once everything else has ended. */
static const double LOG_SECONDS = 0.5;
/* How long a connection that was accepted last may take to say its first word. */
static const double FIRST_WORD_SECONDS = 0.5;
/* How long the process goes on after a second signal with what it is in the midst of. */
static const double END_SECONDS = 2;

struct server {
    struct app  app;
    sem_t       told;          /* posted once, when the server shall stop     */
    _Atomic int signals;       /* how many came                               */
    enum app_state after_ready;   /* what the first one makes of APP_READY    */
};

/* Every connection takes a file, and every generation another; without one,
 * nobody could be accepted, not even to be told so. */
static void fit_connections(struct config *c, rlim_t files)
{
    enum { OWN_FILES = 32 };
    int64_t others = OWN_FILES + EXTRA_CONNECTIONS + c->engine.max_num_seqs + c->engine.max_queue,
        most = (int64_t)files - others;
    if (files == RLIM_INFINITY || c->max_connections <= most)
        return;
    c->max_connections = most > 1 ? (int)most : 1;
    log_warn("at most %d connections: this process may open %llu files (ulimit -n)", c->max_connections,
             (unsigned long long)files);
}

/* Raises the number of files that the process may open to what the system allows, and lowers the number of connections
 * to what that leaves. */
static void raise_limits(struct config *c)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) == 0)
        fit_connections(c, files.rlim_max);
}

/* What would end or hold up the process for somebody else's doing becomes an error that the writer hears: a client that
 * has gone (SIGPIPE), a log or a trace that is as large as a file may be (SIGXFSZ). Before the first thread is
 * started. */
static void prepare_process(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    heap_settle();
}

static void pause_for(double seconds)
{
    nanosleep(&(struct timespec){ .tv_sec = (time_t)seconds,
                                  .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) }, NULL);
}

/* Ends without running exit handlers: threads that cannot be interrupted are still at work. */
static _Noreturn void end_process(const char *why)
{
    log_info("%s", why);
    log_stop(LOG_SECONDS);
    _exit(0);
}

/* Loading cannot be broken off, so the process ends from here; requests that wait for the model are told so first. */
static _Noreturn void end_loading(struct server *s, int sig)
{
    struct http *h = atomic_load(&s->app.http);
    log_info("signal %d while loading: stopping", sig);
    service_tell("STOPPING=1");
    if (h)
        http_wake(h);
    for (int i = 0; h && i < 50 && http_busy(h) > 0; i++)
        pause_for(0.02);
    end_process("stopped");
}

/* Reads again what may change while the server runs. What is wrong stays as it was, and requests that run go on. */
static void reload(struct server *s)
{
    struct err e;
    bool ready = atomic_load(&s->app.state) == APP_READY;
    if (ready)
        service_tell_reloading();
    if (!s->app.keys && !s->app.tls)
        log_info("SIGHUP: there is nothing to read again");
    if (s->app.keys && keys_reload(s->app.keys, &e) != 0)
        log_error("SIGHUP: the API keys stay as they were: %s", e.text);
    else if (s->app.keys)
        log_info("SIGHUP: %d API keys", keys_count(s->app.keys));
    if (s->app.tls && tls_reload(s->app.tls, &e) != 0)
        log_error("SIGHUP: the certificate stays as it was: %s", e.text);
    else if (s->app.tls)
        log_info("SIGHUP: %s is the certificate of new connections", s->app.cfg->tls_cert);
    if (ready)
        service_tell("READY=1");
}

/* The signals that the server waits for. */
static sigset_t own_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

/* The thread that takes SIGTERM, SIGINT and SIGHUP. While the model loads, the first one of the former two ends the
 * process. Later the first one tells the main thread to stop, and the second one cuts that short. A SIGHUP that the
 * kernel sends, because the terminal was closed, stops the server like a SIGTERM; one that somebody sends has it read
 * its files again. Signals are taken by a thread and not by a handler, because what has to be done then is not allowed
 * in a handler. */
static void *wait_for_signals(void *ctx)
{
    struct server *s = ctx;
    sigset_t set = own_signals();
    for (;;) {
        siginfo_t info;
        int loading = APP_LOADING, ready = APP_READY, sig = sigwaitinfo(&set, &info);
        if (sig < 0)
            continue;
        if (sig == SIGHUP && info.si_code != SI_KERNEL) {
            reload(s);
            continue;
        }
        if (atomic_compare_exchange_strong(&s->app.state, &loading, APP_DRAINING))
            end_loading(s, sig);
        if (atomic_fetch_add(&s->signals, 1) == 0) {
            atomic_compare_exchange_strong(&s->app.state, &ready, s->after_ready);
            sem_post(&s->told);
        } else {
            atomic_store(&s->app.state, APP_DRAINING);
            pause_for(END_SECONDS);
            end_process("the second signal: ended in the midst of a step");
        }
    }
    return NULL;
}

/* Blocks the signals first: threads that are started later inherit that, so no other thread is ever interrupted by
 * them. */
static void start_signal_thread(struct server *s)
{
    sigset_t  set = own_signals();
    pthread_t t;
    sem_init(&s->told, 0, 0);
    s->after_ready = s->app.cfg->drain_delay > 0 ? APP_LEAVING : APP_DRAINING;
    pthread_sigmask(SIG_BLOCK, &set, NULL);    /* inherited by all threads to come */
    if (pthread_create(&t, NULL, wait_for_signals, s) == 0)
        pthread_detach(t);
}

/* While routers find out at /health that this server is to end, it serves what they still send. New connections to a
 * socket that was passed on wait there for the next process at once. */
static void leave(struct server *s)
{
    double seconds = s->app.cfg->drain_delay, until = clock_seconds() + seconds;
    service_tell("STOPPING=1\nSTATUS=finishing what runs");
    if (http_is_passed(s->app.http))
        http_close_port(s->app.http);
    if (seconds <= 0)
        return;
    log_info("told to stop: /health says so, and requests are served for another %g s", seconds);
    while (clock_seconds() < until && atomic_load(&s->signals) < 2)
        pause_for(0.02);
    http_close_port(s->app.http);
}

/* Is anything under way that is to be finished? Connections that stand when the port is closed may bring one more
 * request, and the last of them have not said a word yet: they are given a moment for it. */
static bool is_needed(struct server *s, double draining)
{
    struct http *h = s->app.http;
    bool serving = atomic_load(&s->app.state) == APP_LEAVING;
    return atomic_load(&s->app.inflight) > 0 || http_busy(h) > 0 ||
           (serving && (http_reading(h) > 0 || draining < FIRST_WORD_SECONDS));
}

/* Waits until what runs has finished, or the time is over, or a second signal comes. */
static void drain(struct server *s)
{
    double seconds = s->app.cfg->drain_seconds, began = clock_seconds();
    log_info("stopping: %d requests may finish within %g s", atomic_load(&s->app.inflight), seconds);
    while (clock_seconds() < began + seconds && atomic_load(&s->signals) < 2 && is_needed(s, clock_seconds() - began))
        pause_for(0.02);
}

/* Lines for people where one may be looking, else for whatever collects them. */
static void choose_log_format(const char *name)
{
    bool text = strcmp(name, "text") == 0 || (strcmp(name, "auto") == 0 && isatty(STDERR_FILENO));
    log_set_format(text ? LOG_PLAIN : LOG_JSON);
}

/* Hands the settings and the three calls of routes.c to the HTTP server, and the sockets that a service manager has
 * passed on. */
static struct http *start_http(struct app *a, struct err *e)
{
    const struct config *c = a->cfg;
    int  passed[LISTEN_MOST], n_passed = service_sockets(passed, LISTEN_MOST);
    char name[LISTEN_NAME];
    struct http_options opt = {
        .listen = { .host = c->host, .port = c->port, .path = c->uds, .mode = c->uds_mode, .passed = passed,
                    .n_passed = n_passed },
        .tls = a->tls,
        .max_connections = c->max_connections,
        .idle_timeout = c->idle_timeout,
        .read_timeout = c->read_timeout,
        .write_timeout = c->write_timeout,
        .max_body_total = c->max_body_total,
        .answers = &a->answers,
        .ctx = a,
        .begin = routes_begin,
        .handle = routes_handle,
        .done = routes_done,
        .retry_after = app_retry_after,
    };
    struct http *h = http_start(&opt, e);
    for (int i = 0; h && http_name(h, i, name); i++)
        log_info("listening on %s%s", name, n_passed > 0 ? ", which was passed on" : "");
    return h;
}

/* Loads the model while the server listens already. Returns the exit status if it cannot be used, otherwise -1. A
 * signal that came meanwhile has ended the process, or is about to. */
static int load(struct server *s, const struct engine_options *opt, const struct engine_plan *plan, struct err *e)
{
    struct engine *g = engine_open(opt, e);
    if (!g)
        return EXIT_USAGE;
    if (app_loaded(&s->app, g)) {
        service_tell("READY=1\nSTATUS=serving");
        log_info("ready after %.3f s: %s (%s, %s), %d tokens of context, %d requests at once",
                 clock_seconds() - s->app.started, app_model_name(&s->app), plan->model_type, plan->device,
                 plan->max_model_len, plan->max_num_seqs);
    }
    return -1;
}

/* What can be known of model and device before anything is loaded is looked at before the first connection, so that a
 * wrong option ends the program at once. Then the port is opened, the model loaded, and this thread sleeps until it is
 * told to stop. If loading fails while a signal ends the process, end_loading() still uses the server, so nothing may
 * be torn down here. */
static int serve(struct server *s, struct err *e)
{
    struct engine_options opt = command_engine_options(s->app.cfg);
    struct engine_plan    plan;
    opt.request_bytes = app_bytes(s->app.cfg);
    opt.answers = &s->app.answers;
    if (engine_plan(&opt, &plan, e) != 0)
        return EXIT_USAGE;
    if (!plan.fits)
        return EXIT_FAILURE;
    command_tell_ignored(s->app.cfg, &plan);
    s->app.http = start_http(&s->app, e);
    if (!s->app.http)
        return EXIT_USAGE;
    int rc = load(s, &opt, &plan, e), loading = APP_LOADING;
    if (rc < 0) {
        while (sem_wait(&s->told) != 0)
            ;
        leave(s);
        drain(s);
    } else if (!atomic_compare_exchange_strong(&s->app.state, &loading, APP_DRAINING)) {
        for (;;)
            pause();           /* end_loading() ends the process, and needs the server until then */
    }
    http_stop(s->app.http);
    engine_close(atomic_load(&s->app.engine));
    if (rc < 0)
        log_info("stopped");
    return rc < 0 ? 0 : rc;
}

/* What the settings name beside the model. */
struct opened {
    struct remote_source *images;      /* each of them NULL: not wanted */
    struct keys *keys;
    struct tls  *tls;
};

/* Who may ask, and how they are spoken with. */
static int open_doors(struct opened *o, const struct config *c, struct err *e)
{
    o->keys = keys_open(c->api_key, c->api_key_file, e);
    if (!o->keys && *e->text)
        return -1;
    if (*c->tls_key && !*c->tls_cert)
        return err_field(e, "tls-key", "option tls-key needs --tls-cert");
    if (*c->tls_cert && !(o->tls = tls_open(c->tls_cert, c->tls_key, e)))
        return -1;
    return 0;
}

static void close_all(struct opened *o)
{
    remote_close(o->images);
    keys_close(o->keys);
    tls_close(o->tls);
}

/* Everything that can be wrong with the settings is found before anything starts. What was opened is to be closed in
 * any case. */
static int check_settings(struct opened *o, struct config *c, struct err *e)
{
    bool named = c->served_model_name.n > 0;
    if (open_doors(o, c, e) != 0)
        return -1;
    if (command_find_model(c, true, e) != 0 || cors_check(&c->allow_origin, e) != 0)
        return -1;
    if (!named)
        command_name_model(c);
    command_size_bodies(c);
    return app_remote_source(c, &o->images, e);
}

/* Settings first, since wrong ones are told before anything starts; then signals are blocked before the first thread
 * is made, so that all threads inherit that. */
int command_serve(int argc, char **argv)
{
    static struct server s;    /* the signal thread may outlive this call */
    struct config cfg;
    struct err    e;
    struct opened opened = { 0 };
    int rc = command_options(&cfg, OPT_ENGINE | OPT_SERVER, "serve [MODEL] [OPTION...]", argc, argv);
    if (rc >= 0)
        return rc;
    choose_log_format(cfg.log_format);
    if (check_settings(&opened, &cfg, &e) != 0) {
        rc = EXIT_USAGE;
    } else {
        prepare_process();
        app_init(&s.app, &cfg);
        s.app.images = opened.images;
        s.app.keys = opened.keys;
        s.app.tls = opened.tls;
        start_signal_thread(&s);
        log_start();
        raise_limits(&cfg);
        rc = serve(&s, &e);
        app_free(&s.app);
    }
    close_all(&opened);
    if (rc != 0)
        command_fail(rc, &e);
    log_stop(LOG_SECONDS);
    options_free(&cfg);
    return rc;
}
