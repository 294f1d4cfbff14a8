/* cli/bench.c - sends requests and measures the answers. See bench.h.
 *
 * There are as many workers as requests may be under way. Each is one transfer: when an answer is over it takes the
 * next request, as soon as that is due. All of them run on this thread, which libcurl wakes whenever something came,
 * so the clock is read right behind the bytes. */
#include "cli/bench.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/bench_report.h"
#include "cli/command.h"
#include "cli/load.h"
#include "fetch/transfer.h"
#include "kernels/random.h"

static const double STALL = 3600, REDRAW = .1;         /* seconds */

enum { MODEL_BYTES = 1 << 20, REQUEST_BYTES = 1 << 30, DEFAULT_TOKENS = 64 };

struct bench {
    const struct config *c;
    struct load     load;
    char            base[TRANSFER_URL - 32];   /* of the API: "http://127.0.0.1:8000/v1" */
    char            model[256];
    long            most, started; /* requests: at most, so far               */
    double          next;          /* when the next one is due                */
    double          began, until;  /* of the first request; no more begin then */
    double          shown;         /* when the bar was drawn                  */
    struct measured m;
};

struct worker {
    struct bench        *b;        /* borrowed                                */
    struct transfer      t;
    struct stream_answer answer;
    struct buf           body;     /* of the request that is under way        */
};

static volatile sig_atomic_t stop;

static void ask_to_stop(int sig) { stop = sig; }

/* ---- one worker ---- */

/* When requests come at a rate, the times between them are those of customers who know nothing of one another: with an
 * exponential distribution, drawn from the seed. */
static double interval(const struct bench *b)
{
    if (b->c->rate <= 0)
        return 0;
    double u = random_unit((uint64_t)b->c->seed + 0xa221, (uint64_t)b->started);
    return -log(1 - u) / b->c->rate;
}

/* What a worker does next: nothing more when all requests were sent or the time is over, wait when the next one is not
 * due yet, or send it. Times are planned from one request to the next, so a slow answer does not shift those that
 * follow. */
static enum transfer_next begin_request(void *ctx)
{
    struct worker *w = ctx;
    struct bench  *b = w->b;
    struct err     e;
    double now = clock_seconds();
    if (stop || b->started >= b->most || (b->until > 0 && now >= b->until))
        return TRANSFER_DONE;
    if (now < b->next) {
        w->t.wait = b->next - now;
        return TRANSFER_LATER;
    }
    buf_clear(&w->body);
    if (load_body(&b->load, b->started, &w->body, &e) != 0)
        return TRANSFER_STOP_ALL;
    b->started++;
    b->next = b->c->rate > 0 ? b->next + interval(b) : 0;
    w->t.post = w->body.data;
    w->t.n_post = w->body.len;
    stream_begin(&w->answer, clock_seconds());
    return TRANSFER_AGAIN;
}

static int take_bytes(void *ctx, const void *data, size_t n)
{
    struct worker *w = ctx;
    return stream_take(&w->answer, data, n, clock_seconds());
}

/* Counts an answer, or why there is none. A status that is no success is a failure with the server's own words. */
static enum transfer_next end_request(void *ctx)
{
    struct worker *w = ctx;
    struct err     e;
    double now = clock_seconds();
    if (w->t.end == TRANSFER_REFUSED)
        measured_fail(&w->b->m, "an event is too long");
    else if (w->t.end != TRANSFER_ANSWERED)
        measured_fail(&w->b->m, w->t.why);
    else if (stream_end(&w->answer, w->t.status, &e) != 0)
        measured_fail(&w->b->m, e.text);
    else
        measured_add(&w->b->m, &w->answer, now);
    stream_free(&w->answer);
    w->b->m.seconds = now - w->b->began;
    return TRANSFER_AGAIN;                     /* begin_request() says whether there is another one */
}

/* ---- all of them ---- */

static void hide_bar(const struct bench *b)
{
    if (b->shown > 0)
        fputs("\r\033[K", stderr);
}

/* How far it is, by requests or by time, whichever ends it first. Only where somebody sees it. */
static void show_bar(struct bench *b, double now)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    long over = b->m.completed + b->m.failed;
    double share = b->most > 0 ? (double)over / (double)b->most : 0;
    if (!isatty(STDERR_FILENO) || now - b->shown < REDRAW)
        return;
    if (b->until > 0)
        share = fmax(share, fmin(1, (now - b->began) / (b->until - b->began)));
    memset(bar, ' ', WIDTH);
    memset(bar, '#', (size_t)(share * WIDTH));
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %ld answered, %.1f/s, %ld under way, %ld failed\033[K", bar, b->m.completed,
            (double)b->m.completed / fmax(now - b->began, 1e-3), b->started - over, b->m.failed);
    b->shown = now;
}

static bool go_on(void *arg)
{
    show_bar(arg, clock_seconds());
    return !stop;
}

/* A transfer that sends one request after the other. -1: memory is out. */
static int init_worker(struct worker *w, struct bench *b)
{
    char url[TRANSFER_URL];
    snprintf(url, sizeof url, "%s/chat/completions", b->base);
    *w = (struct worker){ .b = b };
    if (transfer_init(&w->t, url) != 0)
        return -1;
    buf_init(&w->body, REQUEST_BYTES);
    w->t.bearer = *b->c->api_key ? b->c->api_key : NULL;
    w->t.stall = STALL;
    w->t.any_status = true;
    w->t.ctx = w;
    w->t.begin = begin_request;
    w->t.body = take_bytes;
    w->t.over = end_request;
    return 0;
}

/* The first SIGINT ends the measurement, and what was measured is told; a second one ends the program. */
static int run(struct bench *b, struct err *e)
{
    int n = (int)fmin(b->c->concurrency, (double)b->most);
    struct worker    *w = xcalloc((size_t)n, sizeof *w);
    struct transfer **all = xcalloc((size_t)n, sizeof *all);
    for (int i = 0; i < n; i++) {
        init_worker(&w[i], b);
        all[i] = &w[i].t;
    }
    sigaction(SIGINT, &(struct sigaction){ .sa_handler = ask_to_stop, .sa_flags = (int)SA_RESETHAND }, NULL);
    b->began = b->next = clock_seconds();
    b->until = b->c->duration > 0 ? b->began + b->c->duration : 0;
    int rc = transfers_run(all, n, n, go_on, b);
    signal(SIGINT, SIG_DFL);
    hide_bar(b);
    for (int i = 0; i < n; i++) {
        stream_free(&w[i].answer);
        buf_free(&w[i].body);
        transfer_free(&w[i].t);
    }
    free(all);
    free(w);
    return rc == 0 || stop ? 0 : err_memory(e);
}

/* ---- whom to ask, and for what ---- */

/* An address without a path is that of a server, whose API is at /v1. */
static int find_base(struct bench *b, const char *url, struct err *e)
{
    const char *host = strstr(url, "://"), *path = host ? strchr(host + 3, '/') : NULL;
    size_t n = strlen(url);
    char   origin[TRANSFER_ORIGIN];
    transfer_origin(url, origin);
    if (!*origin || n > sizeof b->base - 8)
        return err_field(e, "url", "option url: '%.200s' is no address of http or https", url);
    while (n > 0 && url[n - 1] == '/')
        n--;
    snprintf(b->base, sizeof b->base, "%.*s%s", (int)n, url, path && path[1] ? "" : "/v1");
    return 0;
}

static int keep_body(void *ctx, const void *data, size_t n)
{
    buf_add(ctx, data, n);
    return buf_ok((struct buf *)ctx) ? 0 : -1;
}

/* Without --model it is the first that the server names. */
static int find_model(struct bench *b, struct err *e)
{
    char url[TRANSFER_URL];
    struct transfer t, *all[] = { &t };
    struct buf body;
    if (*b->c->engine.model) {
        snprintf(b->model, sizeof b->model, "%s", b->c->engine.model);
        return 0;
    }
    snprintf(url, sizeof url, "%s/models", b->base);
    transfer_init(&t, url);
    buf_init(&body, MODEL_BYTES);
    t.bearer = *b->c->api_key ? b->c->api_key : NULL;
    t.body = keep_body;
    t.ctx = &body;
    int rc = transfers_run(all, 1, 1, NULL, NULL);
    json_t *v = body.len ? json_loadb(body.data, body.len, 0, NULL) : NULL;
    const char *id = json_string_value(json_object_get(json_array_get(json_object_get(v, "data"), 0), "id"));
    if (rc != 0 || t.end != TRANSFER_ANSWERED)
        rc = err_set(e, "%s: %s", url, *t.why ? t.why : "no answer");
    else if (t.status != 200)
        rc = err_set(e, "%s: status %d%s", url, t.status, t.status == 401 ? ": it wants a key (--api-key)" : "");
    else if (!id)
        rc = err_set(e, "%s: no model is named there; say which with --model", url);
    else
        snprintf(b->model, sizeof b->model, "%s", id);
    json_decref(v);
    buf_free(&body);
    transfer_free(&t);
    return rc;
}

/* What is sent, from the options. With --duration alone there is no end to the number of requests. -1: the size of the
 * pictures is no size. */
static int fill_load(struct bench *b, struct err *e)
{
    const struct config *c = b->c;
    b->load = (struct load){ .model = b->model, .images = c->images, .words = c->prompt_words,
                             .max_tokens = c->max_tokens ? c->max_tokens : DEFAULT_TOKENS,
                             .temperature = c->temperature, .ignore_eos = c->ignore_eos, .seed = (uint64_t)c->seed };
    b->most = c->duration > 0 && !options_given(c, "requests") ? 1000000000 : c->requests;
    return load_size(c->image_size, &b->load.width, &b->load.height, e);
}

/* ---- what is told ---- */

/* All of the options that have an influence, and the figures, so that a result says by itself how it was made. */
static json_t *all_json(struct bench *b)
{
    const struct config *c = b->c;
    const struct load   *l = &b->load;
    json_t *options = json_pack("{s:I, s:i, s:f, s:f, s:i, s:[ii], s:i, s:i, s:f, s:I, s:b}", "requests",
                                (json_int_t)b->started, "concurrency", c->concurrency, "rate", c->rate, "duration",
                                c->duration, "images", l->images, "image_size", l->width, l->height, "prompt_words",
                                l->words, "max_tokens", l->max_tokens, "temperature", l->temperature, "seed",
                                (json_int_t)c->seed, "ignore_eos", l->ignore_eos);
    json_t *out = json_pack("{s:s, s:s, s:s, s:o}", "version", VERSION, "url", b->base, "model", b->model, "options",
                            options);
    json_object_update_new(out, measured_json(&b->m));
    return out;
}

/* The table goes to standard output unless the JSON does. */
static int tell(struct bench *b, const char *file, struct err *e)
{
    if (!b->c->json || file) {
        printf("%s, model %s, %d at once\n", b->base, b->model, b->c->concurrency);
        measured_print(&b->m, stdout);
    }
    if (!b->c->json)
        return 0;
    FILE   *out = file ? fopen(file, "w") : stdout;
    json_t *all = all_json(b);
    int     rc = out ? json_dumpf(all, out, JSON_COMPACT | JSON_REAL_PRECISION(9)) : -1;
    if (out)
        fputc('\n', out);
    if (out && (file ? fclose(out) : fflush(out)) != 0)
        rc = -1;
    json_decref(all);
    return rc == 0 ? 0 : err_set(e, "%s cannot be written: %s", file ? file : "standard output", strerror(errno));
}

/* The command, once its options are read. Failed requests make it fail: figures of the rest would look like a success.
 * */
static int measure(struct bench *b, const char *file, struct err *e)
{
    if (find_base(b, b->c->url, e) != 0 || fill_load(b, e) != 0)
        return EXIT_USAGE;
    if (find_model(b, e) != 0 || load_draw(&b->load, b->most, e) != 0 || run(b, e) != 0 || tell(b, file, e) != 0)
        return EXIT_FAILURE;
    *e->text = '\0';
    return b->m.failed > 0 || b->m.completed == 0 ? EXIT_FAILURE : 0;
}

/* The one argument that is no option belongs to --json: the file that it is written to. */
int command_bench(int argc, char **argv)
{
    struct config c;
    struct bench  b = { .c = &c };
    struct err    e = { 0 };
    int rc = command_options(&c, OPT_BENCH, "bench [OPTION...] [--json [FILE]]", argc, argv);
    if (rc >= 0)
        return rc;
    if (c.rest.n > (c.json ? 1 : 0))
        rc = (err_set(&e, "bench takes no argument '%s'", c.rest.item[c.json ? 1 : 0]), EXIT_USAGE);
    else
        rc = measure(&b, c.rest.n ? c.rest.item[0] : NULL, &e);
    if (rc != 0 && *e.text)
        command_fail(rc, &e);
    load_free(&b.load);
    measured_free(&b.m);
    options_free(&c);
    return rc;
}
