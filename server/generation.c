/* server/generation.c - collects the events of one request into an answer, or
 * turns them into a stream of server-sent events. How it begins is in begin.c.
 *
 * A request may have several answers, its choices: those to one prompt share it,
 * and each comes in its own time. Errors before the first event are HTTP errors; so
 * a stream's head is sent when its first event is there, or after a while
 * without one (then comments keep the connection alive while the prompt waits or
 * is read). Events that pile up because the client reads slowly go out as one
 * chunk; they count with all answers that wait for their clients, but take no
 * place: that is free as soon as the engine is done. A client that goes away
 * cancels its request: freeing the generation does. */
#include "server/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/access.h"
#include "server/generation_parts.h"
#include "server/reply.h"
#include "server/sse.h"

/* Whether the engine is done with all choices; some may not have been told yet. */
static bool all_ended(const struct generation *q)
{
    bool all = true;
    for (int i = 0; i < q->n; i++)
        all &= q->choice[i].ended;
    return all;
}

/* Tokens of all choices that have come so far. */
static int answer_tokens(const struct generation *q)
{
    int n = 0;
    for (int i = 0; i < q->n; i++)
        n += q->choice[i].tokens;
    return n;
}

/* Ends the request whatever its state. Freeing a choice while the engine still computes it cancels it; that is how a
 * client that has gone stops costing anything. */
void generation_free(void *state)
{
    struct generation *q = state;
    if (!all_ended(q))
        log_debug("request %s (%s): cancelled after %.2f s", q->head.id, q->x->request_id,
                  clock_seconds() - q->x->started);
    access_spend(q->app, q->x, answer_tokens(q));
    if (q->own_fd)
        close(q->fd);
    for (int i = 0; i < q->n; i++)
        choice_free(&q->choice[i]);
    tool_names_free(&q->names);
    for (int i = 0; i < q->n_prompts && q->prompt_ids; i++)
        buf_free(&q->prompt_ids[i]);
    free(q->prompt_ids);
    for (int i = 0; i < q->n_prompts && q->echoed; i++)
        logprobs_free(&q->echoed[i]);
    free(q->echoed);
    if (q->form_state && q->form->state_free)
        q->form->state_free(q->form_state);
    free(q->form_state);
    buf_free(&q->head.about);
    free(q->choice);
    free(q);
}

/* A failure of an answer is a warning; how the others ended stands in the request's line of the log. */
static void log_end(const struct generation *q, const struct choice *c)
{
    const struct event *end = &c->end;
    if (end->kind == EVENT_ERROR)
        log_warn("request %s (%s): %s", q->head.id, q->x->request_id, end->err.text);
}

void generation_fail(struct generation *q, const struct err *why)
{
    for (int i = 0; i < q->n; i++)
        choice_fail(&q->choice[i], why);
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
    struct err e;
    size_t bytes = q->head.about.len;
    for (int i = 0; i < q->n_prompts; i++)
        bytes += q->prompt_ids[i].len + (q->echoed ? logprobs_bytes(&q->echoed[i]) : 0);
    for (int i = 0; i < q->n; i++)
        bytes += choice_bytes(&q->choice[i]);
    if (exchange_hold(q->x, bytes))
        return;
    overloaded_error(&e);
    generation_fail(q, &e);
    exchange_hold(q->x, 0);
    log_end(q, &q->choice[0]);
}

/* The sums over the choices that have come so far. */
static struct totals totals_of(const struct generation *q)
{
    struct totals t = { .prompt = q->n_prompt, .image = q->n_image, .completion = answer_tokens(q),
                        .time = q->choice[0].time };
    for (int i = 0; i < q->n; i++) {
        const struct choice *c = &q->choice[i];
        t.time.decode = c->time.decode > t.time.decode ? c->time.decode : t.time.decode;
        t.cached += i % q->each == 0 && c->ended ? c->end.cached_tokens : 0;
        t.thoughts += c->thoughts.n;
        t.has_thoughts |= c->thoughts.format != NULL;
    }
    return t;
}

/* What the request's line of the log will say, as of now: it is written when the answer is over, and this generation
 * may be gone by then. The first answer stands for all where there can be only one word. */
void generation_record(struct generation *q)
{
    struct record       *r = &q->x->record;
    const struct choice *c = &q->choice[0];
    struct totals        t = totals_of(q);
    r->generated = true;
    memcpy(r->answer, q->head.id, sizeof r->answer);
    r->prompt = t.prompt;
    r->cached = t.cached;
    r->image = t.image;
    r->completion = t.completion;
    r->time = t.time;
    r->finish = c->ended ? reply_finish(&q->head, c) : NULL;
}

/* Takes all events that wait, without blocking. Returns how many there were; 0 means "nothing new". */
static int take_events(struct generation *q)
{
    int n = 0;
    for (int i = 0; i < q->n; i++) {
        struct choice *c = &q->choice[i];
        bool ended = c->ended;
        n += choice_take(c, q->engine, &q->wants);
        if (c->ended && !ended)
            log_end(q, c);
    }
    if (n > 0) {
        count_answer(q);
        generation_record(q);
    }
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
        enum wait_result w = exchange_wait(q->x, q->fd, until - clock_seconds());
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

/* The first error that ended one of the answers: then there is none. */
static const struct err *failure(const struct generation *q, struct err *room)
{
    for (int i = 0; i < q->n; i++)
        if (choice_failure(&q->choice[i], room))
            return room;
    return NULL;
}

/* ---- the whole answer ---- */

/* The reply, and then no more of what it was made from. It is there twice for a moment: of one answer at a time. */
static void write_answer(struct generation *q)
{
    struct exchange *x = q->x;
    struct err       e;
    struct totals    totals = totals_of(q);
    pthread_mutex_lock(&q->app->reply_lock);
    if (exchange_hold(x, 2 * x->answer_held)) {
        x->status = 200;
        q->form->answer(&x->reply, &q->head, q->choice, q->n, q->each, &q->wants, q->prompt_ids, &totals);
    } else {
        overloaded_error(&e);
        reply_error(x, &e);
    }
    for (int i = 0; i < q->n; i++)
        choice_sent(&q->choice[i]);
    exchange_hold(x, x->reply.len < x->answer_held ? x->reply.len : x->answer_held);
    pthread_mutex_unlock(&q->app->reply_lock);
}

/* Waits until the generation is over and answers with the whole of it, or with the error that ended it. If the client
 * goes away meanwhile nothing is answered, and freeing the generation cancels it. */
static void answer(struct generation *q)
{
    struct exchange *x = q->x;
    struct err       e;
    while (!all_ended(q) && !failure(q, &e)) {
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

/* The next choice, in turn, that has something to be sent; NULL: none has. */
static struct choice *next_choice(struct generation *q)
{
    for (int i = 0; i < q->n; i++) {
        struct choice *c = &q->choice[(q->next + i) % q->n];
        if (choice_has_news(c)) {
            q->next = (c->index + 1) % q->n;
            return c;
        }
    }
    return NULL;
}

static bool all_sent(const struct generation *q)
{
    bool all = true;
    for (int i = 0; i < q->n; i++)
        all &= q->choice[i].end_sent;
    return all;
}

/* Everything that a choice has to say goes out as one chunk, so a client that reads slowly gets few large chunks
 * instead of a growing queue of small ones. The role goes out alone as the first one of a chat, as OpenAI's clients
 * expect. Behind the last chunk of all comes what ends the stream. Returns as `more` of struct stream does. */
static int write_choice(struct generation *q, struct choice *c, struct buf *out)
{
    struct totals totals = totals_of(q);
    struct buf   *prompt_ids = &q->prompt_ids[c->index / q->each];
    struct chunk  chunk = { .usage = q->usage, .totals = &totals, .timings = q->timings, .wants = &q->wants,
                            .prompt_ids = prompt_ids->len ? prompt_ids : NULL };
    if (q->form->begin && !c->role_sent) {
        c->role_sent = true;
        q->form->begin(out, q->form_state, &q->head, c, &chunk);
        buf_free(prompt_ids);
        return 1;
    }
    c->end_sent = c->ended;
    bool last = all_sent(q);
    chunk.timings |= last && q->usage == USAGE_ABSENT;
    q->form->chunk(out, q->form_state, &q->head, c, &chunk);
    buf_free(prompt_ids);
    choice_sent(c);
    if (last)
        q->form->end(out, q->form_state, &q->head, &chunk);
    return !last;
}

/* The next piece of the stream, at least one whole event. Until there is news it sends a comment every keep-alive
 * period, so that proxies do not cut a connection whose prompt is still being read. A piece that did not fit into `out`
 * is noticed by the caller. */
static int next_piece(struct generation *q, struct buf *out)
{
    struct choice *c = NULL;
    struct err     e;
    take_events(q);
    while (!failure(q, &e) && !(c = next_choice(q))) {
        switch (await_events(q, q->wait)) {
        case EXCHANGE_GONE:
            return -1;
        case EXCHANGE_STOPPED:
            stopped_error(&e);
            generation_fail(q, &e);
            break;
        case EXCHANGE_TIMEOUT:
            sse_comment(out, "keep-alive");
            return 1;
        case EXCHANGE_READABLE:
            break;
        }
    }
    if (!failure(q, &e))
        return write_choice(q, c, out);
    q->form->fail(out, q->form_state, &e);
    return 0;
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
    q->form->fail(out, q->form_state, &e);
    return 0;
}

/* Waits for the first event, at most one keep-alive period, before the stream's head goes out: until then an error can
 * still be an ordinary HTTP error with its own status. Returns false after answering with such an error, or when the
 * client has gone; then the generation is still the caller's. true: the exchange owns it. */
static bool start_stream(struct generation *q)
{
    struct exchange *x = q->x;
    struct err       e;
    enum wait_result w = failure(q, &e) ? EXCHANGE_READABLE : await_events(q, q->wait);
    if (w == EXCHANGE_GONE)
        return false;
    bool failed = false;
    for (int i = 0; i < q->n; i++)
        failed |= q->choice[i].ended && q->choice[i].end.kind == EVENT_ERROR;
    if (w == EXCHANGE_STOPPED || failed) {
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

/* ---- the frame ---- */

/* A model that gives vectors alone is told to have no texts before anything of the request is read. */
static int check_texts(struct engine *g, struct err *e)
{
    struct engine_info info;
    engine_info(g, &info);
    if (info.makes_texts)
        return 0;
    err_set(e, "this model makes no texts, since it has no head for tokens; it gives vectors, at /v1/embeddings");
    snprintf(e->code, sizeof e->code, "text_not_supported");
    return e->status = 400, -1;
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
    if (!g || check_texts(g, &e) != 0 || app_enter(a, &e) != 0) {
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
