/* engine/request.c - see request.h. From its submission to its end a request is written by the engine thread and
 * read by its client's. They meet under `lock` in one place: the text and the logprobs that the client has not taken
 * yet. The eventfd is readable whenever there is something to take, so that the client may wait for many requests at
 * once. */
#include "engine/request.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/probe.h"

enum { MAX_PENDING_TEXT = 1 << 28 };

/* The engine thread sleeps while no request runs. The flag makes sure that a wake-up which comes just before it falls
 * asleep is not lost. */
void wake_up(struct engine_wake *w)
{
    pthread_mutex_lock(&w->lock);
    w->pending = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

/* Memory for counting tokens, only for a request with a penalty: the table of the vocabulary has hundreds of kilobytes.
 * -1: memory is out. */
static int init_penalties(struct request *r, int vocab)
{
    const struct params *p = &r->params;
    if (p->frequency_penalty == 0 && p->presence_penalty == 0 && p->repetition_penalty == 1)
        return 0;
    r->seen = malloc((size_t)r->max_len * sizeof *r->seen);
    r->seen_at = calloc((size_t)vocab, sizeof *r->seen_at);
    r->vocab = vocab;
    return r->seen && r->seen_at ? 0 : -1;
}

/* Stop strings are the client's and may go when the submission is over; the request keeps copies. -1: memory is out,
 * and the copies made so far are freed with the request. */
static int copy_stops(struct request *r, const struct params *from)
{
    r->params.n_stop = 0;
    for (int i = 0; i < from->n_stop; i++) {
        char *s = strdup(from->stop[i]);
        if (!s)
            return -1;
        r->params.stop[r->params.n_stop++] = s;
    }
    return 0;
}

/* Everything whose size is known now is allocated here. Later only what the client has not taken yet grows. The prompt
 * is the request's from the first line on, also where this fails. */
struct request *request_new(struct prompt *p, const struct params *params, int max_len, int page_tokens,
                            const struct model *m, const struct tokenizer *t, struct engine_wake *wake, struct err *e)
{
    struct request *r = calloc(1, sizeof *r);
    if (!r) {
        err_memory(e);
        prompt_free(p);
        return NULL;
    }
    size_t pages = (size_t)(max_len + page_tokens - 1) / (size_t)page_tokens;
    pthread_mutex_init(&r->lock, NULL);
    r->refs = 1;
    r->prompt = p;
    r->params = *params;
    r->max_len = max_len;
    r->wake = wake;
    r->n_cached = -1;
    buf_init(&r->text, MAX_PENDING_TEXT);
    r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->ids = malloc((size_t)max_len * sizeof *r->ids);
    bool held = true;
    for (int c = 0; c < TEXT_CACHES; c++)
        held &= !!(r->kv[c].page = calloc(pages, sizeof *r->kv[c].page));
    r->hash = malloc(pages * sizeof *r->hash);
    r->images = calloc((size_t)p->n_images + 1, sizeof *r->images);
    bool ok = copy_stops(r, params) == 0 && init_penalties(r, m->vocab) == 0 &&
              detok_init(&r->detok, t, &r->params) == 0 && r->fd >= 0 && r->ids && held && r->hash && r->images;
    int rc = ok ? steer_init(&r->steer, params, t, m->vocab, e) : err_memory(e);
    if (rc == 0)
        rc = pooled_init(&r->pooled, params->pooling, m->hidden, e);
    if (rc == 0)
        rc = probed_init(&r->probed, params->probe, p, m, e);
    r->params.bias = NULL;             /* these were the caller's */
    r->params.allowed = NULL;
    r->params.cache_salt = NULL;
    r->params.shown[0] = NULL;
    r->params.n_bad_words = 0;
    if (rc < 0) {
        request_unref(r);
        return NULL;
    }
    memcpy(r->ids, p->ids, (size_t)p->n * sizeof *r->ids);
    r->n_ids = p->n;
    for (int i = 0; i < p->n && params->repetition_penalty != 1; i++)
        request_count(r, p->ids[i], true);
    return r;
}

/* The tokens that end the answer: the model's own unless they are to be ignored, and those of the request. The first
 * n_model_ends are the model's, which the reason for the end is told by. */
void request_set_ends(struct request *r, const struct ends *model, int vocab)
{
    for (int i = 0; i < model->n && !r->params.ignore_eos; i++)
        ends_add(r->ends, &r->n_ends, model->id[i]);
    r->n_model_ends = r->n_ends;
    for (int i = 0; i < r->params.n_stop_ids; i++)
        if (r->params.stop_ids[i] < vocab)
            ends_add(r->ends, &r->n_ends, r->params.stop_ids[i]);
}

void request_join(struct request *r, struct group *g)
{
    atomic_fetch_add(&g->refs, 1);
    r->group = g;
}

void request_lead(struct request *r)
{
    if (r->group && r->group->leader == r)
        r->group->computed = true;
}

static void group_unref(struct group *g)
{
    if (g && atomic_fetch_sub(&g->refs, 1) == 1)
        free(g);
}

/* The work is done, or will not be: what is left is what the client has not taken. */
static void free_work(struct request *r)
{
    detok_free(&r->detok);
    prompt_free(r->prompt);
    group_unref(r->group);
    r->group = NULL;
    free(r->ids);
    for (int c = 0; c < TEXT_CACHES; c++) {
        free(r->kv[c].page);
        r->kv[c].page = NULL;
    }
    free(r->hash);
    free(r->images);
    free(r->seen);
    free(r->seen_at);
    steer_free(&r->steer);
    pooled_free(&r->pooled);
    probed_free(&r->probed);
    matcher_free(r->matcher);
    r->matcher = NULL;
    r->prompt = NULL;
    r->ids = r->seen_at = NULL;
    r->hash = NULL;
    r->images = NULL;
    r->seen = NULL;
}

/* Tells the tally what waits for the client now. Where all requests together hold too much, `crowded` is set: then this
 * one is to end with an error, or a client that does not read could fill the memory of all. */
static void count_events(struct request *r)
{
    if (r->answers && !tally_set(r->answers, &r->n_counted,
                                  r->text.len + r->n_logprobs * sizeof *r->logprobs +
                                      r->n_prompt_logprobs * sizeof *r->prompt_logprobs +
                                      r->n_new_ids * sizeof *r->new_ids))
        r->crowded = true;
}

/* What the client has not taken is thrown away, and no longer counts. */
static void drop_events(struct request *r)
{
    buf_free(&r->text);
    free(r->logprobs);
    r->logprobs = NULL;
    r->n_logprobs = r->cap_logprobs = 0;
    free(r->prompt_logprobs);
    r->prompt_logprobs = NULL;
    r->n_prompt_logprobs = r->cap_prompt_logprobs = 0;
    free(r->new_ids);
    r->new_ids = NULL;
    r->n_new_ids = r->cap_new_ids = 0;
    count_events(r);
}

/* The one who drops the last of the two references frees the rest. Whether that is the client or the engine depends on
 * who is done first. */
void request_unref(struct request *r)
{
    if (atomic_fetch_sub(&r->refs, 1) > 1)
        return;
    if (r->fd >= 0)
        close(r->fd);
    for (int i = 0; i < r->params.n_stop; i++)
        free((char *)r->params.stop[i]);
    free_work(r);
    drop_events(r);
    if (!r->end_taken)
        free(r->end.vector);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void request_retire(struct request *r)
{
    free_work(r);
    request_unref(r);
}

/* `seen` lists every token once, in the order of its first appearance, as penalize() wants it. seen_at finds a token's
 * place there without a search. */
void request_count(struct request *r, int token, bool in_prompt)
{
    if (!r->seen || token >= r->vocab)      /* a token of the prompt that has no logit */
        return;
    if (!r->seen_at[token]) {
        r->seen[r->n_seen] = (struct seen){ .token = token };
        r->seen_at[token] = ++r->n_seen;
    }
    struct seen *s = &r->seen[r->seen_at[token] - 1];
    if (in_prompt)
        s->in_prompt = true;
    else
        s->count++;
}

/* Makes the fd readable. It may be so already, which is as good. */
static void signal_client(const struct request *r)
{
    uint64_t one = 1;
    if (write(r->fd, &one, sizeof one) < 0)
        return;                     /* the counter is full: readable already */
}

/* With the lock held. What there was no memory for fails `text`: nothing more is handed out, and the request's end is
 * an error. */
static void append(struct request *r, const struct buf *text, const struct token_logprob *lp)
{
    if (text && !buf_ok(text))
        buf_fail(&r->text, text);
    else if (text && text->len)
        buf_add(&r->text, text->data, text->len);
    if (lp && grow(&r->logprobs, &r->cap_logprobs, r->n_logprobs + 1, sizeof *lp) < 0)
        r->text.failed = r->text.starved = true;
    else if (lp)
        r->logprobs[r->n_logprobs++] = *lp;
    count_events(r);
}

/* The engine thread adds the log probability of one more token of the prompt. -1: memory is out or the client takes too
 * little of what is told, and the engine ends the request. */
int request_tell_prompt(struct request *r, const struct token_logprob *lp)
{
    pthread_mutex_lock(&r->lock);
    size_t n = r->n_prompt_logprobs;
    if (grow(&r->prompt_logprobs, &r->cap_prompt_logprobs, n + 1, sizeof *lp) < 0) {
        r->text.failed = r->text.starved = true;
    } else {
        r->prompt_logprobs[r->n_prompt_logprobs++] = *lp;
        r->n_told++;
    }
    count_events(r);
    int rc = buf_ok(&r->text) && !r->crowded ? 0 : -1;
    pthread_mutex_unlock(&r->lock);
    return rc;
}

/* With the lock held. */
static void append_id(struct request *r, int32_t id)
{
    if (!r->params.return_ids)
        return;
    if (grow(&r->new_ids, &r->cap_new_ids, r->n_new_ids + 1, sizeof id) < 0)
        r->text.failed = r->text.starved = true;
    else
        r->new_ids[r->n_new_ids++] = id;
}

/* Brings r->time up to date, for the event that is about to be told. The lock of the request is held. */
static void take_time(struct request *r)
{
    r->time = (struct timings){ .image_decode = r->prompt->decode_seconds - r->prompt->resize_seconds,
                                .image_resize = r->prompt->resize_seconds, .image_encode = r->encode_seconds };
    if (r->started > 0)
        r->time.queue = fmax(0, r->started - r->submitted - r->encode_queued);
    if (r->first_token > 0) {
        r->time.prefill = fmax(0, r->first_token - r->started - (r->encode_seconds - r->encode_queued));
        r->time.decode = r->last_token - r->first_token;
    }
}

/* The engine thread adds one token with its text and log probability and wakes the client. -1: memory is out or the
 * client takes too little, and the engine ends the request. */
int request_push(struct request *r, int32_t id, const struct buf *text, const struct token_logprob *lp)
{
    pthread_mutex_lock(&r->lock);
    append_id(r, id);
    append(r, text, lp);
    take_time(r);
    r->n_tokens++;
    int rc = buf_ok(&r->text) && !r->crowded ? 0 : -1;
    pthread_mutex_unlock(&r->lock);
    signal_client(r);
    return rc;
}

/* The request's place is free, before its client hears that it has ended. */
static void give_place(struct request *r)
{
    pthread_mutex_lock(&r->wake->lock);
    r->wake->live--;
    pthread_mutex_unlock(&r->wake->lock);
    if (r->params.ended)
        r->params.ended(r->params.ended_arg);
}

/* With the lock held. Writes the end that the client will take when it has taken all text. What went wrong while the
 * answer was collected decides over `why`: the end is then an error. */
static void finish(struct request *r, enum finish why, const char *stop, const struct buf *text)
{
    double now = clock_seconds();
    append(r, text, NULL);
    take_time(r);
    r->ended = true;
    r->end = (struct event){ .kind = EVENT_END, .time = r->time, .finish = why, .stop = stop,
                             .prompt_tokens = r->prompt->n,
                             .cached_tokens = r->n_cached > 0 ? r->n_cached : 0,
                             .completion_tokens = request_answer_len(r),
                             .ttft = r->first_token > 0 ? r->first_token - r->submitted : 0,
                             .total = now - r->submitted };
    if (r->crowded) {
        r->end.kind = EVENT_ERROR;
        err_set(&r->end.err, "too many answers are waiting for their clients");
        r->end.err.status = 503;
        snprintf(r->end.err.code, sizeof r->end.err.code, "overloaded");
        drop_events(r);
    } else if (r->text.failed) {
        r->end.kind = EVENT_ERROR;
        buf_error(&r->text, &r->end.err, "the answer's text is too long");
        if (!r->text.starved)
            r->end.err.status = 400;    /* asking again would not help */
    }
}

void request_finish(struct request *r, enum finish why, const char *stop, const struct buf *text)
{
    give_place(r);
    pthread_mutex_lock(&r->lock);
    finish(r, why, stop, text);
    pthread_mutex_unlock(&r->lock);
    signal_client(r);
}

/* As request_finish() with FINISH_STOP. The client may have to be told which of its own stop tokens it was; an end of
 * the model's is nobody's business. */
void request_finish_at(struct request *r, int32_t id, const struct buf *text)
{
    give_place(r);
    pthread_mutex_lock(&r->lock);
    append_id(r, id);
    finish(r, FINISH_STOP, NULL, text);
    r->end.by_stop_id = !ends_hold(r->ends, r->n_model_ends, id);
    r->end.stop_id = id;
    pthread_mutex_unlock(&r->lock);
    signal_client(r);
}

void request_finish_probed(struct request *r)
{
    float *data = r->probed.data;
    r->probed.data = NULL;
    request_finish_pooled(r, data, r->probed.n);
}

void request_finish_pooled(struct request *r, float *vector, int n)
{
    give_place(r);
    pthread_mutex_lock(&r->lock);
    finish(r, FINISH_STOP, NULL, NULL);
    r->end.vector = vector;
    r->end.n_vector = n;
    pthread_mutex_unlock(&r->lock);
    signal_client(r);
}

/* Text that waits is not given any more: an answer that failed in its middle has no use. */
void request_fail(struct request *r, const struct err *e)
{
    give_place(r);
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    r->end = (struct event){ .kind = EVENT_ERROR, .err = *e };
    pthread_mutex_unlock(&r->lock);
    signal_client(r);
}

/* First all text that waits, as one event, then the end; text that comes before an error is not given any more. The fd
 * stays readable as long as the end has not been taken. */
int request_next(struct request *r, struct event *out)
{
    uint64_t drained;
    *out = (struct event){ 0 };
    pthread_mutex_lock(&r->lock);
    int have = buf_ok(&r->text) && (r->n_tokens || r->text.len || r->n_logprobs || r->n_new_ids);
    if (have && !(r->ended && r->end.kind == EVENT_ERROR)) {
        out->kind = EVENT_DELTA;
        out->n_text = r->text.len;
        out->text = r->text.len ? buf_take(&r->text) : NULL;
        out->logprobs = r->logprobs;
        out->n_logprobs = (int)r->n_logprobs;
        out->n_tokens = r->n_tokens;
        out->prompt_logprobs = r->prompt_logprobs;
        out->n_prompt_logprobs = (int)r->n_prompt_logprobs;
        r->prompt_logprobs = NULL;
        r->n_prompt_logprobs = r->cap_prompt_logprobs = 0;
        out->ids = r->new_ids;
        out->n_ids = (int)r->n_new_ids;
        out->time = r->time;
        r->new_ids = NULL;
        r->n_new_ids = r->cap_new_ids = 0;
        r->logprobs = NULL;
        r->n_logprobs = r->cap_logprobs = 0;
        r->n_tokens = 0;
        count_events(r);
    } else if (r->ended && !r->end_taken) {
        *out = r->end;
        r->end_taken = true;
        have = 1;
    } else
        have = 0;
    if (!(r->ended && !r->end_taken) && read(r->fd, &drained, sizeof drained) < 0)
        drained = 0;                /* it was not readable */
    pthread_mutex_unlock(&r->lock);
    return have;
}

int request_fd(const struct request *r) { return r->fd; }

/* May be called at any time from any thread but the engine's, which looks at the flag between two steps. */
void request_cancel(struct request *r)
{
    atomic_store(&r->cancelled, true);
    wake_up(r->wake);
}

/* The client wants nothing more of it, whether or not it has ended. */
void request_free(struct request *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    bool running = !r->ended;
    pthread_mutex_unlock(&r->lock);
    if (running)
        request_cancel(r);
    request_unref(r);
}

void event_free(struct event *ev)
{
    free(ev->text);
    free(ev->logprobs);
    free(ev->ids);
    free(ev->prompt_logprobs);
    free(ev->vector);
    ev->prompt_logprobs = NULL;
    ev->vector = NULL;
    ev->text = NULL;
    ev->logprobs = NULL;
    ev->ids = NULL;
}
