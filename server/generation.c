/* server/generation.c - collects the events of one request into an answer, or
 * turns them into a stream of server-sent events.
 *
 * Errors before the first event are HTTP errors; so a stream's head is sent
 * when its first event is there, or after a while without one (then comments
 * keep the connection alive while the prompt waits or is read). Events that
 * pile up because the client reads slowly go out as one chunk; they count with
 * all answers that wait for their clients, but take no place: that is free as
 * soon as the engine is done. A client that goes away cancels its request:
 * freeing the generation does. */
#include "server/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/reply.h"
#include "server/sse.h"

enum { TEXT_BYTES = 16 << 20 };        /* of an answer that is collected whole, or waits to be sent */

struct generation {
    struct app      *app;          /* borrowed                                        */
    struct engine   *engine;       /* borrowed                                        */
    struct exchange *x;            /* borrowed; outlives this                         */
    struct request  *request;      /* owned                                           */
    struct answer_head head;
    bool   stream;                 /* answer with events, not at the end              */
    bool   logprobs;               /* log probabilities were asked for                */
    struct chunk_usage usage;      /* so far, and whether chunks have it              */
    struct buf text;               /* not sent yet                                    */
    struct answer_logprobs probs;  /* not sent yet                                    */
    struct event end;              /* the last event, once `ended`                    */
    bool   ended;                  /* the engine has nothing more to say              */
    bool   role_sent;              /* the stream's first chunk is out                 */
    double wait;                   /* seconds between comments                        */
};

/* Ends the request whatever its state. Freeing it while the engine still computes cancels it; that is how a client
 * that has gone stops costing anything. */
static void generation_free(void *state)
{
    struct generation *q = state;
    if (!q->ended)
        log_debug("request %s: cancelled after %.2f s", q->head.id, clock_seconds() - q->x->started);
    else
        event_free(&q->end);
    request_free(q->request);
    buf_free(&q->text);
    logprobs_free(&q->probs);
    free(q);
}

static const char *finish_name(enum finish finish)
{
    switch (finish) {
    case FINISH_STOP:      return "stop";
    case FINISH_LENGTH:    return "length";
    case FINISH_CANCELLED: return "cancelled";
    }
    return "";
}

/* One line for each request, at --log-level debug; failures are warnings. It ties the id in the answer to the id that
 * the client sent in X-Request-Id. */
static void log_end(const struct generation *q)
{
    const struct event *end = &q->end;
    if (end->kind == EVENT_ERROR) {
        log_warn("request %s: %s", q->head.id, end->err.text);
        return;
    }
    log_debug("request %s (%s): %d + %d tokens, %s", q->head.id, q->x->request_id, end->prompt_tokens,
              end->completion_tokens, finish_name(end->finish));
}

/* What a client hears when the answers that wait for slow readers take too much memory together. */
static void overloaded_error(struct err *e)
{
    err_set(e, "too many answers are waiting for their clients");
    e->status = 503;
    snprintf(e->code, sizeof e->code, "overloaded");
}

/* Counts what was taken and not sent yet among all answers. Where they are too many, this one ends with an error. */
static void count_answer(struct generation *q)
{
    if (exchange_hold(q->x, q->text.len + logprobs_bytes(&q->probs)))
        return;
    if (q->ended)
        event_free(&q->end);
    buf_free(&q->text);
    logprobs_free(&q->probs);
    exchange_hold(q->x, 0);
    q->ended = true;
    q->end = (struct event){ .kind = EVENT_ERROR };
    overloaded_error(&q->end.err);
    log_end(q);
}

/* Takes all events that wait, without blocking, and adds their text and log probabilities to what was not sent yet.
 * The last event carries the final counts, which replace those that were summed. Returns how many events there were; 0
 * means "nothing new". */
static int take_events(struct generation *q)
{
    struct event ev;
    int n = 0;
    while (!q->ended && request_next(q->request, &ev)) {
        n++;
        buf_add(&q->text, ev.text ? ev.text : "", ev.text ? ev.n_text : 0);
        if (q->logprobs)
            logprobs_add(&q->probs, q->engine, ev.logprobs, ev.n_logprobs, q->head.chat);
        q->usage.completion += ev.n_tokens;
        if (ev.kind == EVENT_DELTA) {
            event_free(&ev);
            continue;
        }
        q->end = ev;
        q->ended = true;
        q->usage.completion = ev.completion_tokens;
        q->usage.cached = ev.cached_tokens;
        log_end(q);
    }
    if (n > 0)
        count_answer(q);
    return n;
}

/* Blocks until at least one event was taken, the time is over, the client has gone or the server stops. The descriptor
 * may be readable although its event has been taken already, so the wait goes on until there really is one. */
static enum wait_result await_events(struct generation *q, double seconds)
{
    if (take_events(q) > 0)
        return EXCHANGE_READABLE;
    double until = clock_seconds() + seconds;
    for (;;) {
        enum wait_result w = exchange_wait(q->x, request_fd(q->request), until - clock_seconds());
        if (w != EXCHANGE_READABLE || take_events(q) > 0)
            return w;
    }
}

static void stopped_error(struct err *e)
{
    err_set(e, "the server is shutting down");
    e->status = 503;
    snprintf(e->code, sizeof e->code, "shutting_down");
}

/* The error that ended the generation, or NULL if it is still going or ended well. Cancelled counts as "shutting
 * down", because this function is never asked after the client has gone. An answer whose text did not fit or had no
 * memory is a failure, too, even if the engine was content. */
static const struct err *failure(const struct generation *q, struct err *room)
{
    if (!q->ended)
        return NULL;
    if (q->end.kind == EVENT_END && q->end.finish != FINISH_CANCELLED && buf_ok(&q->text))
        return NULL;
    if (q->end.kind == EVENT_ERROR)
        *room = q->end.err;
    else if (!buf_ok(&q->text))
        buf_error(&q->text, room, "the answer is too long");
    else
        stopped_error(room);
    if (room->status == 0)
        room->status = 500;
    return room;
}

/* ---- the whole answer ---- */

/* The reply, and then no more of what it was made from. It is there twice for a moment: of one answer at a time. */
static void write_answer(struct generation *q)
{
    struct exchange *x = q->x;
    struct err       e;
    pthread_mutex_lock(&q->app->reply_lock);
    if (exchange_hold(x, 2 * x->answer_held)) {
        x->status = 200;
        reply_answer(&x->reply, &q->head, q->text.data ? q->text.data : "", q->text.len, q->logprobs ? &q->probs : NULL,
                     &q->end);
    } else {
        overloaded_error(&e);
        reply_error(x, &e);
    }
    buf_free(&q->text);
    logprobs_free(&q->probs);
    exchange_hold(x, x->reply.len < x->answer_held ? x->reply.len : x->answer_held);
    pthread_mutex_unlock(&q->app->reply_lock);
}

/* Waits until the generation is over and answers with the whole of it, or with the error that ended it. If the client
 * goes away meanwhile nothing is answered, and freeing the generation cancels it. */
static void answer(struct generation *q)
{
    struct exchange *x = q->x;
    struct err       e;
    while (!q->ended) {
        enum wait_result w = await_events(q, 3600);
        if (w == EXCHANGE_GONE)
            return;
        if (w == EXCHANGE_STOPPED) {
            stopped_error(&e);
            reply_error(x, &e);
            return;
        }
    }
    const struct err *bad = failure(q, &e);
    if (bad) {
        reply_error(x, bad);
        return;
    }
    write_answer(q);
}

/* ---- the stream ---- */

/* Sends everything that has been collected as one chunk, so a client that reads slowly gets few large chunks instead
 * of a growing queue of small ones. */
static void write_text_chunk(struct generation *q, struct buf *out)
{
    if (!buf_ok(&q->text)) {
        buf_fail(out, &q->text);
        return;
    }
    sse_begin(out);
    reply_chunk_text(out, &q->head, q->text.data, q->text.len, q->logprobs ? &q->probs : NULL,
                     q->ended ? &q->end : NULL, q->usage);
    sse_end(out);
    buf_clear(&q->text);
    logprobs_clear(&q->probs);
}

static void write_error(struct buf *out, const struct err *e)
{
    sse_begin(out);
    reply_error_object(out, e->status, e);
    sse_end(out);
}

/* The last piece of a stream: the rest of the text with the reason why it ended, then the usage if it was asked for,
 * then [DONE]. After a failure an error event takes the place of both. */
static int write_end(struct generation *q, struct buf *out)
{
    struct err        room;
    const struct err *bad = failure(q, &room);
    if (bad) {
        write_error(out, bad);
    } else {
        write_text_chunk(q, out);
        if (q->usage.kind != USAGE_ABSENT) {
            sse_begin(out);
            reply_chunk_usage(out, &q->head, &q->end);
            sse_end(out);
        }
    }
    sse_done(out);
    return 0;
}

/* The next piece of the stream, at least one whole event. Until there is news it sends a comment every keep-alive
 * period, so that proxies do not cut a connection whose prompt is still being read. The role goes out alone as the
 * first event of a chat, as OpenAI's clients expect. Returns as `more` of struct stream does; a piece that did not fit
 * into `out` is noticed by the caller. */
static int next_piece(struct generation *q, struct buf *out)
{
    /* The role goes out with the first event; before that there are comments. */
    bool has_news = q->ended || q->text.len > 0 || q->probs.n > 0;
    while (!has_news) {
        switch (await_events(q, q->wait)) {
        case EXCHANGE_GONE:
            return -1;
        case EXCHANGE_STOPPED:
            q->ended = true;
            q->end = (struct event){ .kind = EVENT_ERROR };
            stopped_error(&q->end.err);
            break;
        case EXCHANGE_TIMEOUT:
            sse_comment(out, "keep-alive");
            return 1;
        case EXCHANGE_READABLE:
            break;
        }
        has_news = q->ended || q->text.len > 0 || q->probs.n > 0;
    }
    if (q->head.chat && !q->role_sent && !(q->ended && q->end.kind == EVENT_ERROR)) {
        sse_begin(out);
        reply_chunk_role(out, &q->head, q->usage);
        sse_end(out);
        q->role_sent = true;
        return 1;
    }
    if (!q->ended)
        take_events(q);
    if (q->ended)
        return write_end(q, out);
    write_text_chunk(q, out);
    return 1;
}

/* Where a piece cannot be built the stream ends as after any other failure: with an event that says why. */
static int more(void *state, struct buf *out)
{
    struct generation *q = state;
    struct err e;
    int rc = next_piece(q, out);
    if (rc < 0 || buf_ok(out))
        return rc;
    buf_error(out, &e, "the answer is too long");
    e.status = e.status ? e.status : 500;
    log_warn("request %s: %s", q->head.id, e.text);
    buf_clear(out);
    write_error(out, &e);
    sse_done(out);
    return 0;
}

/* Waits for the first event, at most one keep-alive period, before the stream's head goes out: until then an error can
 * still be an ordinary HTTP error with its own status. Returns false after answering with such an error, or when the
 * client has gone; then the generation is still the caller's. true: the exchange owns it. */
static bool start_stream(struct generation *q)
{
    struct exchange *x = q->x;
    struct err       e;
    enum wait_result w = await_events(q, q->wait);
    if (w == EXCHANGE_GONE)
        return false;
    if (w == EXCHANGE_STOPPED || (q->ended && q->end.kind == EVENT_ERROR)) {
        if (w == EXCHANGE_STOPPED)
            stopped_error(&e);
        else
            failure(q, &e);
        reply_error(x, &e);
        return false;
    }
    x->status = 200;
    x->content_type = "text/event-stream; charset=utf-8";
    exchange_add_header(x, "Cache-Control", "no-cache");
    exchange_add_header(x, "X-Accel-Buffering", "no");
    x->stream = (struct stream){ .more = more, .free = generation_free, .state = q };
    return true;
}

/* ---- the beginning ---- */

/* "chatcmpl-" and 24 random digits, as OpenAI's ids look. Clients only compare them. */
static void make_id(char *out, size_t size, const char *prefix)
{
    unsigned char r[12] = { 0 };
    char digits[25] = "";
    if (getrandom(r, sizeof r, 0) > 0)
        for (int i = 0; i < 12; i++)
            snprintf(digits + 2 * i, 3, "%02x", r[i]);
    snprintf(out, size, "%s-%s", prefix, digits);
}

/* Fills in what the whole life of the generation needs, because the request's JSON will be gone. engine_submit() takes
 * the prompt in any case. From its success on the place in the app is the engine's to give back, through params.ended;
 * before that it is the caller's. */
struct generation *generation_new(struct app *a, struct engine *g, struct exchange *x, struct prompt *p,
                                  const struct sampling *s, bool chat)
{
    struct generation *q = calloc(1, sizeof *q);
    struct err         e;
    struct request    *r = NULL;
    struct params      params = s->params;
    int                n_prompt = prompt_tokens(p);
    params.ended = app_ended;
    params.ended_arg = a;
    if (q) {
        r = engine_submit(g, p, &params, &e);
    } else {
        prompt_free(p);
        err_memory(&e);
    }
    if (!r) {
        free(q);
        reply_error(x, &e);
        return NULL;
    }
    q->app = a;
    q->engine = g;
    q->x = x;
    q->request = r;
    q->stream = s->stream;
    q->usage.prompt = n_prompt;
    if (s->include_usage)
        q->usage.kind = s->continuous_usage ? USAGE_SO_FAR : USAGE_NULL;
    q->logprobs = s->params.logprobs;
    q->wait = a->cfg->keepalive_seconds;
    q->head.created = time(NULL);
    q->head.model = app_model_name(a);
    q->head.chat = chat;
    make_id(q->head.id, sizeof q->head.id, chat ? "chatcmpl" : "cmpl");
    buf_init(&q->text, TEXT_BYTES);
    logprobs_init(&q->probs);
    return q;
}

/* The frame of every generating request: wait for the model, take a place, let `submit` read the body and start the
 * engine, then answer. The place is left here only if nothing was submitted. A stream outlives this call and is freed
 * by its exchange; a whole answer is freed here. */
void generation_serve(struct app *a, struct exchange *x,
                      struct generation *(*submit)(struct app *a, struct engine *g, struct exchange *x))
{
    struct err     e = { 0 };
    struct engine *g = app_await_engine(a, x, &e);
    if (x->broken)
        return;
    if (!g || app_enter(a, &e) != 0) {
        reply_error(x, &e);
        return;
    }
    struct generation *q = submit(a, g, x);
    if (!q) {
        app_leave(a);
        return;
    }
    if (q->stream && start_stream(q))
        return;                    /* the exchange owns it now */
    if (!q->stream)
        answer(q);
    generation_free(q);
}
