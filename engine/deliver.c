/* engine/deliver.c - what a step yields goes to its requests: tokens with their texts, vectors and probed numbers. A
 * request that has all it asked for ends here. See deliver.h. */
#include "engine/deliver.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/probe.h"

/* The longest answer to a prompt, which is known once the last one has ended. */
static void count_longest(struct stats *s, struct group *group, int answer)
{
    if (group) {
        group->longest = answer > group->longest ? answer : group->longest;
        answer = group->longest;
    }
    if (!group || --group->n_going == 0)
        stats_size(s, &s->v.longest_answer, answer);
}

/* What a request was, once it has ended. One that never began has neither times nor an answer. */
static void count_ended(struct engine *g, const struct request *r)
{
    struct stats *s = &g->stats;
    int prompt = r->prompt->n, answer = r->n_ids - prompt;
    stats_size(s, &s->v.prompt_size, prompt);
    if (r->params.pooling)
        return;
    stats_size(s, &s->v.answer_size, answer);
    stats_size(s, &s->v.answer_room, r->max_len - prompt);
    count_longest(s, r->group, answer);
    if (r->first_token == 0)
        return;
    double decode = r->last_token - r->first_token;
    stats_time(s, NULL, &s->v.prefill, r->first_token - r->started - (r->encode_seconds - r->encode_queued));
    stats_time(s, NULL, &s->v.inference, r->last_token - r->started);
    stats_time(s, NULL, &s->v.decode, decode);
    if (answer > 1)
        stats_time(s, NULL, &s->v.per_token, decode / (answer - 1));
}

/* Takes r out of its list, gives everything back and drops the engine's reference. The end event is already there. */
void engine_retire(struct engine *g, struct request *r, struct request_list *from, uint64_t *count)
{
    for (int i = 0; i < g->n_late; i++)
        if (g->late[i].r == r)
            g->late[i].r = NULL;
    list_remove(from, r);
    scheduler_release(&g->sched, r);
    request_lead(r);
    count_ended(g, r);
    stats_time(&g->stats, count, &g->stats.v.e2e, clock_seconds() - r->submitted);
    request_retire(r);
}

void engine_broken(const char *what, struct err *e)
{
    err_set(e, "the device failed: %s", what);
    e->status = 500;
    log_error("%s", e->text);
}

/* One new token of r, as far as the next step has to know of it. */
static void take_token(struct engine *g, struct request *r, const struct sampled *s)
{
    double now = clock_seconds();
    struct engine_stats *v = &g->stats.v;
    bool first = r->first_token == 0;
    stats_time(&g->stats, &v->completion_tokens, first ? &v->ttft : &v->inter_token,
               now - (first ? r->submitted : r->last_token));
    r->first_token = first ? now : r->first_token;
    r->last_token = now;
    r->ids[r->n_ids++] = s->id;
    request_count(r, s->id, false);
}

static struct token_logprob told(const struct sampled *s, int n_top)
{
    struct token_logprob lp = { .id = s->id, .logprob = s->logprob, .n_top = n_top };
    memcpy(lp.top_id, s->top_id, sizeof lp.top_id);
    memcpy(lp.top, s->top, sizeof lp.top);
    return lp;
}

/* The text of r's last token goes out, and the request ends if the token says so, or if its length or memory does: then
 * r is gone, and this is false. */
static bool tell(struct engine *g, struct request *r, const struct sampled *s)
{
    buf_clear(&g->delta);
    if (ends_hold(r->ends, r->n_ends, s->id)) {
        if (r->params.include_stop)
            detok_add(&r->detok, s->id, &g->delta);
        detok_end(&r->detok, &g->delta);
        request_finish_at(r, s->id, &g->delta);
        engine_retire(g, r, &g->sched.running, &g->stats.v.finished_stop);
        return false;
    }
    struct token_logprob lp = told(s, r->params.top_logprobs);
    const char *stop = detok_add(&r->detok, s->id, &g->delta);
    bool full = r->n_ids == r->max_len;
    if (full && !stop)
        detok_end(&r->detok, &g->delta);
    bool lost = request_push(r, s->id, &g->delta, r->params.logprobs ? &lp : NULL) < 0;
    if (!stop && !full && !lost)
        return true;
    uint64_t *count = stop ? &g->stats.v.finished_stop : &g->stats.v.finished_length;
    request_finish(r, stop ? FINISH_STOP : FINISH_LENGTH, stop, NULL);
    engine_retire(g, r, &g->sched.running, lost ? &g->stats.v.finished_error : count);
    return false;
}

/* Can the text wait until the device has its next step? Not a first token, and not one that may end the request. */
static bool may_be_late(const struct engine *g, const struct request *r, int id)
{
    bool first = request_answer_len(r) == 1, ends = ends_hold(r->ends, r->n_ends, id);
    return g->model->backend->async && !first && !ends && r->params.n_stop == 0 && r->n_ids < r->max_len;
}

/* Goes on in the request's grammar. false: it has no next token, or all that it has were forbidden otherwise. */
static bool follows(struct request *r, int32_t id)
{
    if (!r->matcher || r->stuck || ends_hold(r->ends, r->n_ends, id))
        return !r->stuck;
    if (!matcher_accept(r->matcher, id))
        err_set(&r->stuck_error, "what else the request forbids leaves no token that its grammar allows");
    return !r->stuck_error.text[0];
}

/* Ends a request whose grammar has no next token, whatever was drawn. Where the text cannot end either, what was asked
 * for is at fault: 400. */
static void end_stuck(struct engine *g, struct request *r)
{
    buf_clear(&g->delta);
    if (r->stuck_at_end) {
        detok_end(&r->detok, &g->delta);
        request_finish(r, FINISH_STOP, NULL, &g->delta);
    } else {
        r->stuck_error.status = 400;
        request_fail(r, &r->stuck_error);
    }
    engine_retire(g, r, &g->sched.running, r->stuck_at_end ? &g->stats.v.finished_stop : &g->stats.v.finished_error);
}

/* Ends r with an error. */
static void end_failed(struct engine *g, struct request *r, const struct err *e)
{
    request_fail(r, e);
    engine_retire(g, r, &g->sched.running, &g->stats.v.finished_error);
}

/* Damaged weights have made no numbers of r's prompt: an error of the server's, not of the request. */
static void end_without_numbers(struct engine *g, struct request *r, const char *what)
{
    struct err e;
    err_set(&e, "the model's weights are damaged: it gave %s without numbers", what);
    e.status = 500;
    end_failed(g, r, &e);
}

static void end_without_memory(struct engine *g, struct request *r)
{
    struct err e;
    err_memory(&e);
    end_failed(g, r, &e);
}

/* A drawn token goes to its request: through the grammar, into its ids, and to its client now or during the next step.
 * false: it was r's last token, and r is gone. */
static bool deliver_token(struct engine *g, struct request *r, const struct sampled *s)
{
    if (r->no_numbers) {
        end_without_numbers(g, r, "logits");
        return false;
    }
    if (!follows(r, s->id)) {
        end_stuck(g, r);
        return false;
    }
    take_token(g, r, s);
    if (!may_be_late(g, r, s->id))
        return tell(g, r, s);
    g->late[g->n_late++] = (struct late){ r, *s };
    return true;
}

/* The logprob of a token that was known. One that has no logit, as the place of an image in some families, could never
 * come. false: there is no room for it, and r is gone. */
static bool tell_prompt(struct engine *g, struct request *r, int known, const struct sampled *s)
{
    struct token_logprob lp = told(s, r->params.top_prompt_logprobs);
    if (known >= g->model->vocab) {
        lp.id = known;
        lp.logprob = -INFINITY;
    }
    if (request_tell_prompt(r, &lp) == 0)
        return true;
    request_finish(r, FINISH_LENGTH, NULL, NULL);
    engine_retire(g, r, &g->sched.running, &g->stats.v.finished_error);
    return false;
}

/* Fills in the vector of r's prompt: what was pooled, in the space that texts and images share where there is one, or
 * the image's there; or the logits of the model's classes from either. NULL, or what the device said. */
static const char *fill_vector(struct engine *g, const struct request *r, float *vector)
{
    const struct model *m = g->model;
    const struct weight *project = r->params.share_image ? NULL : m->share_text;
    if (r->params.share_image)
        memcpy(vector, r->images[0]->shared, (size_t)m->shared * sizeof *vector);
    else
        pooled_result(&r->pooled, vector);
    project = r->params.classes ? m->classes : project;
    return project ? runner_project(&g->runner, project, vector, vector) : NULL;
}

/* Floats of the vector that r gets. */
static int vector_width(const struct model *m, const struct request *r)
{
    if (r->params.classes)
        return m->n_classes;
    return m->shared ? m->shared : m->hidden;
}

/* Is everything in the vector a number? Sums and probabilities of what is not would be none either. */
static bool all_numbers(const float *v, int n)
{
    int i = 0;
    while (i < n && isfinite(v[i]))
        i++;
    return i == n;
}

/* All states have come: r ends with its vector, or with an error where there is no memory for it, or where damaged
 * weights made no numbers. NULL, or what the device said; then r still runs. */
static const char *end_pooled(struct engine *g, struct request *r)
{
    int shared = g->model->shared, hidden = g->model->hidden, most = shared > hidden ? shared : hidden;
    most = g->model->n_classes > most ? g->model->n_classes : most;
    float *vector = malloc((size_t)most * sizeof *vector);
    const char *failed = vector ? fill_vector(g, r, vector) : NULL;
    if (failed) {
        free(vector);
        return failed;
    }
    int n = vector_width(g->model, r);
    if (!vector || !all_numbers(vector, n)) {
        if (vector)
            end_without_numbers(g, r, "a vector");
        else
            end_without_memory(g, r);
        free(vector);
        return NULL;
    }
    request_finish_pooled(r, vector, n);
    engine_retire(g, r, &g->sched.running, &g->stats.v.finished_stop);
    return NULL;
}

/* Pools the last hidden states of q's request, whose rows of the step end before row `end`. NULL, or what the device
 * said. */
static const char *pool(struct engine *g, const struct step_seq *q, int end)
{
    struct request *r = q->r;
    const char *failed = NULL;
    for (int row = end - q->yield.rows, n; row < end && !failed; row += n) {
        const float *states;
        n = end - row < RUNNER_STATES ? end - row : RUNNER_STATES;
        failed = runner_states(&g->runner, row, n, &states);
        if (!failed)
            pooled_add(&r->pooled, states, n);
    }
    return failed;
}

/* All numbers have come. */
static void end_probed(struct engine *g, struct request *r)
{
    request_finish_probed(r);
    engine_retire(g, r, &g->sched.running, &g->stats.v.finished_stop);
}

/* Hands out what r wants of its images, if they are all encoded; then r is gone. NULL, or what the device said. */
static const char *end_with_images(struct engine *g, struct request *r)
{
    if (r->params.share_image)
        return r->images[0]->shared ? end_pooled(g, r) : NULL;
    if (r->params.probe != PROBE_IMAGES || !probe_images_ready(r))
        return NULL;
    const char *failed = probe_images(&g->runner, r);
    if (!failed)
        end_probed(g, r);
    return failed;
}

/* Those that wait for nothing but features or the vector of images, which are all there, end before the next step is
 * planned: nobody needs what a step would make of their prompts. */
void deliver_features(struct engine *g)
{
    for (struct request *r = g->sched.running.first, *next; r; r = next) {
        next = r->next;
        const char *failed = end_with_images(g, r);
        if (!failed)
            continue;
        struct err broken;
        engine_broken(failed, &broken);
        end_failed(g, r, &broken);
    }
}

/* Notes whether one of q's tokens was drawn from a row of logits that holds no number, as damaged weights make them.
 * From such a row token 0 is drawn, so the logits are copied and looked at only where that came. NULL, or what the
 * device said. */
static const char *doubt_zeros(struct engine *g, const struct step_seq *q, const struct sampled *sampled)
{
    int first = (int)(sampled - g->sampled), vocab = g->model->vocab;
    const char *failed = NULL;
    for (int k = 0; k < q->yield.rows && !failed; k++) {
        float *row;
        if (sampled[k].id != 0 || step_known_token(q, k) >= 0 || !(row = malloc((size_t)vocab * sizeof *row)))
            continue;
        failed = runner_logits(&g->runner, first + k, 1, row);
        int i = 0;
        while (!failed && i < vocab && !isfinite(row[i]))
            i++;
        q->r->no_numbers |= i == vocab;
        free(row);
    }
    return failed;
}

/* Copies what q's request wants of the device's own numbers, states or logits: tokens begin at `sampled`, and its rows
 * end before row `end`. To be called for all of a step before deliver() is for any, which may compute in the memory
 * where these lie. NULL, or what the device said. */
const char *deliver_numbers(struct engine *g, const struct step_seq *q, const struct sampled *sampled, int end)
{
    if (q->yield.kind == YIELD_STATES)
        return pool(g, q, end);
    if (q->yield.kind == YIELD_TOKENS && q->r->params.probe == PROBE_LOGITS)
        return probe_logits(&g->runner, q, (int)(sampled - g->sampled));
    return q->yield.kind == YIELD_TOKENS ? doubt_zeros(g, q, sampled) : NULL;
}

/* Gives q's request what its part of the step yields, of which tokens begin at `sampled`. NULL, or what the device
 * said. */
const char *deliver(struct engine *g, const struct step_seq *q, const struct sampled *sampled)
{
    struct request *r = q->r;
    bool whole = r->n_computed == r->prompt->n;
    if (q->yield.kind == YIELD_TOKENS && r->params.probe != PROBE_LOGITS) {
        for (int k = 0; k < q->yield.rows; k++) {
            int known = step_known_token(q, k);
            if (!(known >= 0 ? tell_prompt(g, r, known, &sampled[k]) : deliver_token(g, r, &sampled[k])))
                break;                 /* the request is gone */
        }
        return NULL;
    }
    if (r->params.pooling && whole)
        return end_pooled(g, r);
    if (r->params.probe == PROBE_LOGITS && whole)
        end_probed(g, r);
    return NULL;
}

/* Tells the texts that may_be_late() has let wait. A request that has ended meanwhile has taken itself out of the
 * list. */
void deliver_late(struct engine *g)
{
    for (int i = 0; i < g->n_late; i++)
        if (g->late[i].r)
            tell(g, g->late[i].r, &g->late[i].s);
    g->n_late = 0;
}
