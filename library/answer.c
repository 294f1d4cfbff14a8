/* library/answer.c - answers: begun, waited for, cancelled. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_watch.h"
#include "library/library.h"
#include "server/fields.h"
#include "server/sampling.h"

/* What the server makes of a request's answer and this library leaves to its caller. */
static int check_sampling(const struct sampling *s, struct err *e)
{
    if (s->n > 1)
        return fields_wrong(e, "unsupported_value", "", "n", "must be 1: begin as many answers as are wanted");
    if (s->params.top_logprobs > 0)
        return fields_wrong(e, "unsupported_parameter", "", "top_logprobs", "is not told here");
    if (s->prompt_logprobs)
        return fields_wrong(e, "unsupported_parameter", "", "prompt_logprobs", "is not told here");
    return 0;
}

/* Submits the prompt, which is the engine's from then on. */
static struct request *submit(struct openautoglm *m, struct prompt **prompt, const struct params *params,
                              struct err *e)
{
    struct request *r = engine_submit(m->engine, *prompt, params, e);
    *prompt = NULL;
    return r;
}

/* Reads the request and submits the prompt; where the request is wrong, the prompt stays. */
static struct request *submit_request(struct openautoglm *m, struct prompt **prompt, const char *text, struct err *e)
{
    struct request *r = NULL;
    struct sampling s;
    json_t *root = fields_parse(text, strlen(text), e);
    if (!root)
        return NULL;
    sampling_init(&s, m->engine);
    int rc = sampling_parse(&s, root, true, e);
    if (json_starved())
        rc = err_memory(e);
    if (rc == 0 && check_sampling(&s, e) == 0) {
        s.params.return_ids = true;
        r = submit(m, prompt, &s.params, e);
    }
    sampling_free(&s);
    json_decref(root);
    return r;
}

/* The same for numbers. */
static struct request *submit_probe(struct openautoglm *m, struct prompt **prompt, int what, struct err *e)
{
    struct params params;
    params_default(m->engine, &params);
    params.probe = what == OPENAUTOGLM_LOGITS ? PROBE_LOGITS : PROBE_IMAGES;
    if (what == OPENAUTOGLM_LOGITS || (what == OPENAUTOGLM_IMAGE_FEATURES && prompt_images(*prompt) > 0))
        return submit(m, prompt, &params, e);
    err_set(e, what == OPENAUTOGLM_IMAGE_FEATURES ? "the prompt has no images" : "there is no such computation");
    return NULL;
}

/* A model that is being closed cancels the answers in its list; one that comes too late for that does it here. */
static void enlist(struct openautoglm_answer *a)
{
    struct openautoglm *m = a->m;
    pthread_mutex_lock(&m->lock);
    a->next = m->answers;
    if (a->next)
        a->next->prev = a;
    m->answers = a;
    if (m->closed)
        request_cancel(a->request);
    pthread_mutex_unlock(&m->lock);
}

/* Takes an answer out of its model's list, which closing the model goes through. */
static void delist(struct openautoglm_answer *a)
{
    struct openautoglm *m = a->m;
    pthread_mutex_lock(&m->lock);
    *(a->prev ? &a->prev->next : &m->answers) = a->next;
    if (a->next)
        a->next->prev = a->prev;
    pthread_mutex_unlock(&m->lock);
}

/* An answer to the request; without one, the numbers that were asked for. */
static struct openautoglm_answer *begin(struct openautoglm *m, struct prompt **prompt, const char *request, int what,
                                        struct err *e)
{
    struct engine_info info;
    engine_info(m->engine, &info);
    if (!info.has_weights) {
        err_set(e, "this model was opened as a tokenizer, without weights");
        return NULL;
    }
    struct openautoglm_answer *a = calloc(1, sizeof *a);
    if (!a) {
        err_memory(e);
        return NULL;
    }
    a->m = m;
    a->request = request ? submit_request(m, prompt, request, e) : submit_probe(m, prompt, what, e);
    if (a->request) {
        enlist(a);
        return a;
    }
    free(a);
    return NULL;
}

/* Takes the prompt, whatever comes of it. */
static struct openautoglm_answer *begin_with(struct openautoglm *m, struct openautoglm_prompt *p, const char *request,
                                             int what, struct openautoglm_error *e)
{
    struct openautoglm_answer *a = NULL;
    struct err why = { 0 };
    json_begin();
    if (p->m != m)
        err_set(&why, "the prompt was made by another model");
    else if (library_use(m, &why) == 0) {
        a = begin(m, &p->prompt, request, what, &why);
        if (!a)
            library_drop(m);
    }
    openautoglm_prompt_free(p);
    if (!a)
        library_tell(&why, e);
    return a;
}

struct openautoglm_answer *openautoglm_generate(struct openautoglm *m, struct openautoglm_prompt *p,
                                                const char *request, struct openautoglm_error *e)
{
    return begin_with(m, p, request ? request : "{}", 0, e);
}

struct openautoglm_answer *openautoglm_compute(struct openautoglm *m, struct openautoglm_prompt *p, int32_t what,
                                               struct openautoglm_error *e)
{
    return begin_with(m, p, NULL, what, e);
}

/* 1: a->event is the next one, or again the last one; 0: there is none yet. */
static int advance(struct openautoglm_answer *a)
{
    struct event next;
    if (a->ended)
        return 1;
    if (!request_next(a->request, &next))
        return 0;
    if (a->told)
        event_free(&a->event);
    a->event = next;
    a->told = true;
    a->ended = next.kind != EVENT_DELTA;
    return 1;
}

/* The logprobs of the event's tokens as an array of their own. Without memory the answer ends with that error. */
static const float *logprobs_of(struct openautoglm_answer *a)
{
    struct event *ev = &a->event;
    free(a->logprobs);
    a->logprobs = NULL;
    if (ev->n_logprobs == 0)
        return NULL;
    a->logprobs = malloc((size_t)ev->n_logprobs * sizeof *a->logprobs);
    for (int i = 0; i < ev->n_logprobs && a->logprobs; i++)
        a->logprobs[i] = ev->logprobs[i].logprob;
    if (!a->logprobs) {
        request_cancel(a->request);
        a->ended = true;
        ev->kind = EVENT_ERROR;
        err_memory(&ev->err);
    }
    return a->logprobs;
}

static const char *reason_of(enum finish finish)
{
    switch (finish) {
    case FINISH_STOP: return "stop";
    case FINISH_LENGTH: return "length";
    case FINISH_CANCELLED: return "cancelled";
    }
    return "stop";
}

/* An event in the words of the library. Pointers lead into a->event and hold until the next call. */
static void describe(struct openautoglm_answer *a, struct openautoglm_event *out)
{
    const struct event *ev = &a->event;
    const float *logprobs = logprobs_of(a);
    *out = (struct openautoglm_event){ .kind = OPENAUTOGLM_TEXT, .text = ev->text ? ev->text : "",
                                       .n_text = ev->text ? ev->n_text : 0, .tokens = ev->ids, .logprobs = logprobs,
                                       .n_tokens = (size_t)ev->n_ids };
    if (ev->kind == EVENT_END) {
        out->kind = OPENAUTOGLM_END;
        out->finish_reason = reason_of(ev->finish);
        out->prompt_tokens = ev->prompt_tokens;
        out->cached_tokens = ev->cached_tokens;
        out->completion_tokens = ev->completion_tokens;
        out->seconds = ev->total;
        out->numbers = ev->vector;
        out->n_numbers = ev->vector ? (size_t)ev->n_vector : 0;
    } else if (ev->kind == EVENT_ERROR) {
        out->kind = OPENAUTOGLM_FAILED;
        library_tell(&ev->err, &out->error);
    }
}

int openautoglm_next(struct openautoglm_answer *a, struct openautoglm_event *out, int milliseconds)
{
    int have = advance(a);
    if (!have) {
        struct pollfd p = { .fd = request_fd(a->request), .events = POLLIN };
        poll(&p, 1, milliseconds);
        have = advance(a);
    }
    *out = (struct openautoglm_event){ .kind = OPENAUTOGLM_NOTHING, .text = "" };
    if (have)
        describe(a, out);
    return have;
}

int openautoglm_descriptor(const struct openautoglm_answer *a) { return request_fd(a->request); }

void openautoglm_cancel(struct openautoglm_answer *a) { request_cancel(a->request); }

void openautoglm_answer_free(struct openautoglm_answer *a)
{
    if (!a)
        return;
    struct openautoglm *m = a->m;
    delist(a);
    if (a->told)
        event_free(&a->event);
    request_free(a->request);
    free(a->logprobs);
    free(a);
    library_drop(m);
}
