/* server/begin.c - how a generation begins: what the whole life of the answers needs is taken from the request, each
 * answer gets a place, and the prompts go to the engine. What becomes of them is in generation.c. */
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#include "server/access.h"
#include "server/fields.h"
#include "server/generation.h"
#include "server/generation_parts.h"
#include "server/reply.h"

enum { TEXT_BYTES = 16 << 20 };        /* of an answer that is collected whole, or waits to be sent */

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
            generation_fail(q, &e);
        generation_record(q);
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
