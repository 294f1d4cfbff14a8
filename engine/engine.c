/* engine/engine.c - the one thread: inbox -> schedule -> run -> deliver. It owns the scheduler,
 * the pages, the image cache, the model and the device; other threads hand it
 * requests through the inbox and see it only through their request's events.
 *
 * A device that computes by itself is kept busy: while it does a step, the
 * thread tells the texts of the step before and prepares what waits. Between two
 * steps is left what the second one needs to know: who goes on. */
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/parts.h"
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
static void retire(struct engine *g, struct request *r, struct request_list *from, uint64_t *count)
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

static void device_failed(const char *what, struct err *e)
{
    err_set(e, "the device failed: %s", what);
    e->status = 500;
    log_error("%s", e->text);
}

/* Ends every request of the list with the same error. */
static void fail_all(struct engine *g, struct request_list *list, const struct err *why)
{
    while (list->first) {
        request_fail(list->first, why);
        retire(g, list->first, list, &g->stats.v.finished_error);
    }
}

/* Their clients have gone: what they hold is free before the next step is planned. */
static void drop_cancelled(struct engine *g, struct request_list *list)
{
    for (struct request *r = list->first, *next; r; r = next) {
        next = r->next;
        if (!atomic_load(&r->cancelled))
            continue;
        request_finish(r, FINISH_CANCELLED, NULL, NULL);
        retire(g, r, list, &g->stats.v.finished_cancelled);
    }
}

/* r needs memory that the machine does not have now, for its pages while it is alone, or for the entry of an image: an
 * answer is better than waiting for it. */
static void refuse_starved(struct engine *g, struct request *r)
{
    struct err why;
    err_memory(&why);
    snprintf(why.text, sizeof why.text, "the machine has no memory for this request at the moment; try again later");
    request_fail(r, &why);
    retire(g, r, &g->sched.waiting, &g->stats.v.finished_error);
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
        retire(g, r, &g->sched.running, &g->stats.v.finished_stop);
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
    retire(g, r, &g->sched.running, lost ? &g->stats.v.finished_error : count);
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
    retire(g, r, &g->sched.running, r->stuck_at_end ? &g->stats.v.finished_stop : &g->stats.v.finished_error);
}

/* A drawn token goes to its request: through the grammar, into its ids, and to its client now or during the next step.
 * false: it was r's last token, and r is gone. */
static bool deliver_token(struct engine *g, struct request *r, const struct sampled *s)
{
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
    retire(g, r, &g->sched.running, &g->stats.v.finished_error);
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

/* All states have come: r ends with its vector, or with an error where there is no memory for it. NULL, or what the
 * device said; then r still runs. */
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
    if (vector) {
        request_finish_pooled(r, vector, vector_width(g->model, r));
    } else {
        struct err e;
        err_memory(&e);
        request_fail(r, &e);
    }
    retire(g, r, &g->sched.running, vector ? &g->stats.v.finished_stop : &g->stats.v.finished_error);
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
    retire(g, r, &g->sched.running, &g->stats.v.finished_stop);
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
static void end_with_features(struct engine *g)
{
    for (struct request *r = g->sched.running.first, *next; r; r = next) {
        next = r->next;
        const char *failed = end_with_images(g, r);
        if (!failed)
            continue;
        struct err broken;
        device_failed(failed, &broken);
        request_fail(r, &broken);
        retire(g, r, &g->sched.running, &g->stats.v.finished_error);
    }
}

/* Gives q's request what its part of the step yields: tokens begin at `sampled`, and its rows end before row `end`.
 * NULL, or what the device said. */
static const char *deliver(struct engine *g, const struct step_seq *q, const struct sampled *sampled, int end)
{
    const char *failed = NULL;
    switch (q->yield.kind) {
    case YIELD_NOTHING:
        break;
    case YIELD_STATES:
        failed = pool(g, q, end);
        break;
    case YIELD_TOKENS:
        if (q->r->params.probe == PROBE_LOGITS) {
            failed = probe_logits(&g->runner, q, (int)(sampled - g->sampled));
            break;
        }
        for (int k = 0; k < q->yield.rows; k++) {
            int known = step_known_token(q, k);
            if (!(known >= 0 ? tell_prompt(g, q->r, known, &sampled[k]) : deliver_token(g, q->r, &sampled[k])))
                return NULL;           /* the request is gone */
        }
        return NULL;
    }
    if (!failed && q->r->params.pooling && q->r->n_computed == q->r->prompt->n)
        failed = end_pooled(g, q->r);
    else if (!failed && q->r->params.probe == PROBE_LOGITS && q->r->n_computed == q->r->prompt->n)
        end_probed(g, q->r);
    return failed;
}

/* Tells the texts that may_be_late() has let wait. A request that has ended meanwhile has taken itself out of the
 * list. */
static void tell_late(struct engine *g)
{
    for (int i = 0; i < g->n_late; i++)
        if (g->late[i].r)
            tell(g, g->late[i].r, &g->late[i].s);
    g->n_late = 0;
}

/* What came in since the last look joins the waiting list, by priority and age. The lock of the inbox is held. */
static void empty_inbox(struct engine *g)
{
    while (g->inbox) {
        struct request *r = g->inbox;
        g->inbox = r->next;
        list_push(&g->sched.waiting, r);
    }
    g->inbox_last = NULL;
    g->n_queued = g->sched.waiting.n;
}

/* Takes what has come in without waiting for anything. */
static void look_into_inbox(struct engine *g)
{
    pthread_mutex_lock(&g->wake.lock);
    empty_inbox(g);
    pthread_mutex_unlock(&g->wake.lock);
}

static const char *run_step(struct engine *g, struct step *step);

/* Called between the parts of an image: those that are being answered get their next tokens when waiting for one more
 * part would be too long. How long that takes is forgotten by and by: one part that something else had held up would
 * otherwise let every later part of the image be followed by a step, which made images take three times as long. */
static void serve_others(void *arg)
{
    struct engine *g = arg;
    double now = clock_seconds(), part = now - g->last_part;
    g->last_part = now;
    g->part_seconds = part > g->part_seconds ? part : g->part_seconds + (part - g->part_seconds) / 8;
    if (g->between_failed || now + g->part_seconds + g->pace.step_seconds < g->last_step + g->pace.max_pause)
        return;
    scheduler_plan_single(&g->sched, &g->between);
    if (g->between.n_rows == 0)
        return;
    struct run outer = runner_nest(&g->runner);
    g->between_failed = run_step(g, &g->between);
    stats_add(&g->stats, &g->stats.v.steps_between, 1);
    runner_unnest(&g->runner, &outer);
    g->last_part = clock_seconds();
}

/* There is no memory for what r wants of its image. */
static void refuse_image(struct engine *g, struct request *r, struct image_entry *entry)
{
    struct err e;
    err_memory(&e);
    request_fail(r, &e);
    retire(g, r, &g->sched.running, &g->stats.v.finished_error);
    images_release(&g->images, entry);
}

/* The request may be put back meanwhile and give up its entry: so one more reference is held. */
static const char *encode_image(struct engine *g)
{
    struct request *r = g->step.encode;
    int i = g->step.encode_image;
    struct image_entry *entry = r->images[i];
    double began = clock_seconds();
    bool waits = !g->model->backend->async;
    images_hold(entry);
    g->last_part = began;
    g->part_seconds = 0;
    g->between_failed = NULL;
    float *shared = r->params.share_image ? malloc((size_t)g->model->shared * sizeof *shared) : NULL;
    if (r->params.share_image && !shared) {
        refuse_image(g, r, entry);
        return NULL;
    }
    const char *failed = runner_encode(&g->runner, &r->prompt->images[i], entry, shared, waits ? serve_others : NULL,
                                       g);
    failed = failed ? failed : g->between_failed;
    entry->encoded = !failed;
    if (shared) {
        free(entry->shared);
        entry->shared = shared;
    }
    images_release(&g->images, entry);
    double seconds = clock_seconds() - began;
    r->encode_seconds += seconds;
    stats_time(&g->stats, NULL, &g->stats.v.image_encode, seconds);
    return failed;
}

/* Has memory put behind the first n pages of a cache, which are those that a step is about to use for the first time,
 * or more. So much of it comes with each step as its own rows need, because the machine may take long for it: a
 * prompt's pages at once made everybody wait for half a second. */
static void fill_pages(struct engine *g, int c, int n)
{
    struct text_cache *cache = &g->cache[c];
    if (cache->pages.more)
        room_fill(&g->room, (size_t)runner_fill_pages(&g->runner, c, n) *
                                runner_kv_page_bytes(g->model, c, g->setup.sizes.kv));
}

/* Computes a planned step and hands out what it yields. While a device that works by itself is busy with it, the thread
 * tells the tokens of the step before and prepares what waits. NULL, or what the device said; then nothing of the step
 * counts. */
static const char *run_step(struct engine *g, struct step *step)
{
    double began = clock_seconds();
    for (int i = 0; i < step->n_seqs; i++) {
        struct request *r = step->seq[i].r;
        if (r->started > 0)
            continue;
        r->started = began;
        r->encode_queued = r->encode_seconds;
        stats_time(&g->stats, NULL, &g->stats.v.queue, began - r->submitted - r->encode_queued);
    }
    for (int c = 0; c < TEXT_CACHES; c++)
        fill_pages(g, c, g->cache[c].pages.used);
    runner_start(&g->runner, step, &g->images);
    tell_late(g);
    if (g->model->backend->async) {
        look_into_inbox(g);
        scheduler_prepare(&g->sched);
    }
    const char *failed = runner_finish(&g->runner, g->sampled);
    if (failed)
        return failed;
    double seconds = clock_seconds() - began;
    g->last_step = began + seconds;
    pace_learn(&g->pace, step->n_single, step->n_rows - step->n_single, seconds);
    stats_time(&g->stats, &g->stats.v.steps, &g->stats.v.step, seconds);
    stats_size(&g->stats, &g->stats.v.step_tokens, step->n_rows);
    const struct sampled *sampled = g->sampled;
    for (int i = 0, row = 0; i < step->n_seqs && !failed; i++) {
        const struct step_seq *q = &step->seq[i];
        int drawn = step_drawn(q);
        scheduler_done(&g->sched, q->r, q->n);
        failed = deliver(g, q, sampled, row += q->n);
        sampled += drawn;
    }
    return failed;
}

/* Copies the figures that only this thread may read to where the others find them. */
static void publish_stats(struct engine *g)
{
    pthread_mutex_lock(&g->wake.lock);
    int queued = g->n_queued;
    pthread_mutex_unlock(&g->wake.lock);
    pthread_mutex_lock(&g->stats.lock);
    struct engine_stats *v = &g->stats.v;
    v->running = g->sched.running.n;
    v->waiting = queued;
    v->kv_pages_used = g->cache[0].pages.there - g->cache[0].pages.n_free;
    v->preemptions = g->sched.preemptions;
    v->prefix_queries = g->sched.prefix_queries;
    v->prefix_hits = v->cached_tokens = g->sched.prefix_hits;
    v->image_queries = g->images.queries;
    v->image_hits = g->images.hits;
    pthread_mutex_unlock(&g->stats.lock);
}

/* With the lock held. */
static bool has_work(const struct engine *g)
{
    return g->wake.pending || g->inbox || g->stopping || g->sched.running.n || g->sched.waiting.n;
}

/* Puts memory behind some pages that the next prompt is likely to use, as many as a step can fill, a few at a time:
 * where the machine is slow to give memory, the prompt would wait for it. false: there is nothing to be done. */
static bool fill_ahead(struct engine *g)
{
    int step = (g->setup.sizes.max_rows + KV_PAGE - 1) / KV_PAGE;
    bool more = false;
    for (int c = 0; c < TEXT_CACHES; c++) {
        struct pages *p = &g->cache[c].pages;
        int filled = g->runner.filled[c];
        int n = p->more ? pages_ahead(p, filled, step, runner_chunk(&g->runner, c)) : filled;
        fill_pages(g, c, n);
        more |= n > filled;
    }
    return more;
}

/* Nothing is to be done, with the lock held: some memory is taken ahead. After a while without work the heap gives back
 * what requests have left, and the scratch what steps and images have used. */
static void rest(struct engine *g)
{
    enum { IDLE_SECONDS = 1 };
    struct timespec until;
#ifndef NDEBUG
    for (int c = 0; c < TEXT_CACHES; c++)
        pages_check(&g->cache[c].pages);
#endif
    for (bool more = true; more && !has_work(g);) {
        pthread_mutex_unlock(&g->wake.lock);
        more = fill_ahead(g);
        pthread_mutex_lock(&g->wake.lock);
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += IDLE_SECONDS;
    while (!has_work(g) && pthread_cond_timedwait(&g->wake.cond, &g->wake.lock, &until) == 0)
        ;
    if (has_work(g))
        return;
    pthread_mutex_unlock(&g->wake.lock);
    heap_trim();
    runner_rest(&g->runner);
    pthread_mutex_lock(&g->wake.lock);
    while (!has_work(g))
        pthread_cond_wait(&g->wake.cond, &g->wake.lock);
}

/* Waits for work; moves the inbox to the waiting list. false: the engine closes. */
static bool take_inbox(struct engine *g)
{
    pthread_mutex_lock(&g->wake.lock);
    g->n_queued = g->sched.waiting.n;
    if (!has_work(g))
        rest(g);
    g->wake.pending = false;
    empty_inbox(g);
    bool go_on = !g->stopping;
    pthread_mutex_unlock(&g->wake.lock);
    return go_on;
}

/* Those that have been taken into a step, or dropped, leave room in the queue. */
static void count_queue(struct engine *g)
{
    pthread_mutex_lock(&g->wake.lock);
    g->n_queued = g->sched.waiting.n;
    for (const struct request *r = g->inbox; r; r = r->next)
        g->n_queued++;
    pthread_mutex_unlock(&g->wake.lock);
}

/* One turn of the loop is a step, and after it one image that has to be encoded. Where nothing can be computed now,
 * tokens that were to be told during the next step are told at once. When the device fails, those that run get an
 * error, and the engine goes on with those that wait. */
void *engine_main(void *arg)
{
    struct engine *g = arg;
    struct err why;
    err_set(&why, "the server is shutting down");
    why.status = 503;
    while (take_inbox(g)) {
        drop_cancelled(g, &g->sched.waiting);
        drop_cancelled(g, &g->sched.running);
        end_with_features(g);
        g->sched.beside_rows = pace_rows(&g->pace);
        scheduler_plan(&g->sched, &g->step);
        if (g->step.starved)
            refuse_starved(g, g->step.starved);
        count_queue(g);
        if (!g->step.n_rows)
            tell_late(g);
        const char *failed = g->step.n_rows ? run_step(g, &g->step) : NULL;
        if (!failed && g->step.encode) {
            tell_late(g);               /* an image takes long */
            failed = encode_image(g);
        }
        if (failed) {
            struct err broken;
            device_failed(failed, &broken);
            fail_all(g, &g->sched.running, &broken);
        }
        publish_stats(g);
    }
    fail_all(g, &g->sched.running, &why);
    fail_all(g, &g->sched.waiting, &why);
    publish_stats(g);
    return NULL;
}
