/* server/generation.c - collects the events of one request into an answer, or
 * turns them into a stream of server-sent events.
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
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/access.h"
#include "server/choice.h"
#include "server/fields.h"
#include "server/reply.h"
#include "server/sse.h"

enum { TEXT_BYTES = 16 << 20 };        /* of an answer that is collected whole, or waits to be sent */

struct generation {
    struct app      *app;          /* borrowed                                        */
    struct engine   *engine;       /* borrowed                                        */
    struct exchange *x;            /* borrowed; outlives this                         */
    struct answer_head head;
    const struct answer_form *form;
    void  *form_state;             /* owned; NULL: the form has none                  */
    bool   stream;                 /* answer with events, not at the end              */
    struct choice_wants wants;
    enum usage_kind usage;         /* what chunks say of it                           */
    bool   timings;                /* every chunk has them so far                     */
    int    n_prompt, n_image;      /* tokens of the prompts; of these, places of images */
    int    n_prompts, each;        /* choices of each prompt                          */
    struct buf *prompt_ids;        /* owned, (n_prompts): they were asked for, and not sent yet */
    struct answer_logprobs *echoed;    /* owned, (n_prompts): what answers begin with; NULL: nothing */
    struct tool_names names;       /* of the tools that the answer may call           */
    struct choice *choice;         /* owned, (n)                                      */
    int    n;
    int    next;                   /* the choice whose turn is next in a stream       */
    int    fd;                     /* readable while an event of any choice waits     */
    bool   own_fd;                 /* owned; else it is the only request's            */
    double wait;                   /* seconds between comments                        */
};

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
static void generation_free(void *state)
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

static void fail_all(struct generation *q, const struct err *why)
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
    fail_all(q, &e);
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
static void keep_record(struct generation *q)
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
        keep_record(q);
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
            fail_all(q, &e);
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

/* ---- the beginning ---- */

/* The whole prompt as token ids, which is gone once it was submitted. */
static void keep_prompt_ids(struct buf *out, const struct prompt *p)
{
    int n = prompt_tokens(p);
    const int32_t *ids = prompt_ids(p);
    for (int i = 0; i < n; i++)
        buf_printf(out, i ? ",%d" : "%d", ids[i]);
}

/* One descriptor for the events of all choices: that of the only one, or one of our own which watches all. */
static int watch(struct generation *q, struct err *e)
{
    q->fd = request_fd(q->choice[0].request);
    if (q->n == 1)
        return 0;
    q->fd = epoll_create1(EPOLL_CLOEXEC);
    q->own_fd = q->fd >= 0;
    for (int i = 0; i < q->n && q->own_fd; i++) {
        struct epoll_event ev = { .events = EPOLLIN };
        if (epoll_ctl(q->fd, EPOLL_CTL_ADD, request_fd(q->choice[i].request), &ev) != 0)
            return err_memory(e);
    }
    return q->own_fd ? 0 : err_memory(e);
}

/* What is told of the prompts, which are the engine's once they were submitted. */
static int keep_prompts(struct generation *q, struct prompt **prompts, bool ids, struct err *e)
{
    q->prompt_ids = calloc((size_t)q->n_prompts, sizeof *q->prompt_ids);
    if (!q->prompt_ids)
        return err_memory(e);
    for (int i = 0; i < q->n_prompts; i++) {
        q->n_prompt += prompt_tokens(prompts[i]);
        q->n_image += prompt_image_tokens(prompts[i]);
        buf_init(&q->prompt_ids[i], TEXT_BYTES);
        if (ids)
            keep_prompt_ids(&q->prompt_ids[i], prompts[i]);
        if (!buf_ok(&q->prompt_ids[i]))
            return err_memory(e);
    }
    return 0;
}

/* Empty lists, one for each prompt. */
static int make_echoes(struct generation *q, struct err *e)
{
    q->echoed = malloc((size_t)q->n_prompts * sizeof *q->echoed);
    if (!q->echoed)
        return err_memory(e);
    for (int i = 0; i < q->n_prompts; i++)
        logprobs_init(&q->echoed[i]);
    return 0;
}

/* Everything that the whole life of the generation needs, because the request's JSON will be gone. */
static int fill(struct generation *q, const struct answering *how, struct prompt **prompts, struct err *e)
{
    const struct sampling *s = how->sampling;
    q->stream = s->stream;
    if (s->include_usage)
        q->usage = s->continuous_usage ? USAGE_SO_FAR : USAGE_NULL;
    q->timings = s->timings_per_token;
    q->wants = (struct choice_wants){ .logprobs = s->params.logprobs, .ids = s->params.return_ids,
                                       .prompt_logprobs = s->prompt_logprobs, .chat = how->form->chat,
                                       .prompt_only = s->prompt_only };
    q->wait = q->app->cfg->keepalive_seconds;
    q->head.created = time(NULL);
    q->head.model = app_model_name(q->app);
    q->head.chat = how->form->chat;
    q->head.functions = how->functions;
    q->head.named = how->named_call;
    reply_make_id(q->head.id, sizeof q->head.id, how->form->id);
    q->form = how->form;
    if (how->about) {
        q->head.about = *how->about;
        *how->about = (struct buf){ 0 };
    }
    if (how->form->state_size > 0 && !(q->form_state = calloc(1, how->form->state_size)))
        return err_memory(e);
    q->each = s->n;
    q->choice = calloc((size_t)q->n_prompts * (size_t)s->n, sizeof *q->choice);
    if (!q->choice)
        return err_memory(e);
    if (keep_prompts(q, prompts, s->params.return_ids, e) != 0)
        return -1;
    if (how->echo_logprobs && q->each > 1 && make_echoes(q, e) != 0)
        return -1;
    return how->tools ? tool_names_init(&q->names, how->tools, e) : 0;
}

/* The choices of all prompts, as yet without their requests: how the output of each is taken apart, and what of the
 * prompt is told before it. After -1 those that were made are freed with the generation. */
static int make_choices(struct generation *q, const struct answering *how, struct prompt **prompts, struct err *e)
{
    struct output_options options = { .tools = how->tool_format, .reasoning = how->reasoning_format,
                                      .names = how->tools ? &q->names : NULL, .begun = how->thoughts_begun,
                                      .hidden = how->hide_thoughts, .whole = !q->stream, .single = how->single_call,
                                      .grounded = how->grounded,
                                      .max_bytes = TEXT_BYTES };
    for (int i = 0; i < q->n_prompts * q->each; i++) {
        struct choice *c = &q->choice[q->n++];
        int prompt = i / q->each;
        if (choice_init(c, i, &options, e) != 0)
            return -1;
        c->first_id = prompt_ids(prompts[prompt])[0];
        thought_tokens_init(&c->thoughts, how->reasoning_format, how->thoughts_begun);
        if (how->echo_logprobs) {
            c->echoed = q->echoed ? &q->echoed[prompt] : NULL;
            c->leads = i % q->each == 0;
            c->echo_awaited = true;
        }
        if (how->echo)
            output_echo(&c->output, how->echo[prompt].data, how->echo[prompt].len);
    }
    return 0;
}

/* One place for each answer. The first one has been taken. A list of prompts that could never have all of its places is
 * at fault itself. Returns how many there are now: fewer than n if `e` says why there are no more. */
static int take_places(struct app *a, int n, bool list, struct err *e)
{
    int places = 1;
    if (list && n > a->max_inflight) {
        fields_wrong(e, "invalid_value", "", "prompt", "asks for %d answers, but the server has %d places", n,
                     a->max_inflight);
        return places;
    }
    while (places < n && app_enter(a, e) == 0)
        places++;
    return places;
}

/* engine_submit_many() takes a prompt in any case. Of the prompts that it was not given, none is left. Returns how many
 * were submitted: fewer than there are if `e` says why. */
static int submit_prompts(struct generation *q, struct prompt **prompts, const struct answering *how, struct err *e)
{
    struct request *r[SAMPLING_MAX_N] = { NULL };
    struct params   params = how->sampling->params;
    int i = 0;
    params.return_ids |= how->reasoning_format != NULL;    /* thoughts are counted by tokens */
    params.ended = app_ended;
    params.ended_arg = q->app;
    while (i < q->n_prompts && engine_submit_many(q->engine, prompts[i], &params, q->each, r, e) == 0) {
        for (int k = 0; k < q->each; k++)
            q->choice[i * q->each + k].request = r[k];
        i++;
    }
    for (int k = i + 1; k < q->n_prompts; k++)
        prompt_free(prompts[k]);
    return i;
}

/* Puts the parts together. Where a later one of several prompts cannot be submitted, the requests of those before it
 * are cancelled; their places are the engine's to give back, through params.ended. Of the places that nobody was
 * submitted for, the first one is the caller's if there was no submission at all, and all others are given back
 * here. */
struct generation *generation_new(struct app *a, struct engine *g, struct exchange *x, struct prompt **prompts,
                                  int n_prompts, const struct answering *how)
{
    struct generation *q = calloc(1, sizeof *q);
    struct err         e = { 0 };
    int each = how->sampling->n, n = n_prompts * each, places = 1, submitted = 0, rc = q ? 0 : err_memory(&e);
    if (q) {
        *q = (struct generation){ .app = a, .engine = g, .x = x, .n_prompts = n_prompts };
        rc = fill(q, how, prompts, &e) == 0 ? make_choices(q, how, prompts, &e) : -1;
    }
    if (rc == 0)
        places = take_places(a, n, n_prompts > 1, &e);
    if (rc == 0 && places == n) {
        submitted = submit_prompts(q, prompts, how, &e);
    } else {
        for (int i = 0; i < n_prompts; i++)
            prompt_free(prompts[i]);
    }
    if (submitted == n_prompts) {
        access_spend(a, x, q->n_prompt);
        if (watch(q, &e) != 0)
            fail_all(q, &e);
        keep_record(q);
        return q;
    }
    for (int i = submitted * each + (submitted == 0); i < places; i++)
        app_leave(a);
    if (submitted > 0) {
        for (int i = submitted * each; i < n; i++)
            choice_fail(&q->choice[i], &e);
        q->stream = false;
        q->fd = -1;
        return q;
    }
    if (q)
        generation_free(q);
    reply_error(x, &e);
    return NULL;
}

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
