/* engine/engine.c - the one thread: inbox -> schedule -> run -> deliver. It owns the scheduler,
 * the pages, the image cache, the model and the device; other threads hand it
 * requests through the inbox and see it only through their request's events.
 *
 * A device that computes by itself is kept busy: while it does a step, the
 * thread tells the texts of the step before and prepares what waits. Between two
 * steps is left what the second one needs to know: who goes on. What a step
 * yields is handed out in deliver.c. */
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/deliver.h"

/* Ends every request of the list with the same error. */
static void fail_all(struct engine *g, struct request_list *list, const struct err *why)
{
    while (list->first) {
        request_fail(list->first, why);
        engine_retire(g, list->first, list, &g->stats.v.finished_error);
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
        engine_retire(g, r, list, &g->stats.v.finished_cancelled);
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
    engine_retire(g, r, &g->sched.waiting, &g->stats.v.finished_error);
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
    if (g->between_failed || now + g->part_seconds + g->pace.step_seconds < g->last_step + pace_aim(&g->pace))
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
    engine_retire(g, r, &g->sched.running, &g->stats.v.finished_error);
    images_release(&g->images, entry);
}

/* The request may be put back meanwhile and give up its entry: so one more reference is held. */
static const char *encode_image(struct engine *g)
{
    struct request *r = g->step.encode;
    int i = g->step.encode_image;
    struct image_entry *entry = r->images[i];
    double began = clock_seconds();
    bool waits = !g->model->backend->async && !g->trace;   /* a trace must not depend on where parts end */
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
    deliver_late(g);
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
        failed = deliver_numbers(g, q, sampled, row += q->n);
        sampled += step_drawn(q);
    }
    sampled = g->sampled;
    for (int i = 0; i < step->n_seqs && !failed; i++) {
        const struct step_seq *q = &step->seq[i];
        int drawn = step_drawn(q);
        scheduler_done(&g->sched, q->r, q->n);
        failed = deliver(g, q, sampled);
        sampled += drawn;
    }
    return failed;
}

/* The pages in use, in all caches and in the first. */
static void count_pages(const struct engine *g, struct engine_stats *v)
{
    v->kv_pages_used = 0;
    v->kv_used = 0;
    for (int c = 0; c < TEXT_CACHES; c++) {
        const struct pages *p = &g->cache[c].pages;
        int used = p->there - p->n_free;
        v->kv_pages_used += used;
        v->kv_used = p->n > 0 ? fmax(v->kv_used, (double)used / p->n) : v->kv_used;
        v->full_pages_used = c == 0 ? used : v->full_pages_used;
    }
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
    count_pages(g, v);
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
    until = clock_from_now(CLOCK_REALTIME, IDLE_SECONDS);
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
        deliver_features(g);
        g->sched.beside_rows = pace_rows(&g->pace);
        scheduler_plan(&g->sched, &g->step);
        if (g->step.starved)
            refuse_starved(g, g->step.starved);
        count_queue(g);
        if (!g->step.n_rows)
            deliver_late(g);
        const char *failed = g->step.n_rows ? run_step(g, &g->step) : NULL;
        if (!failed && g->step.encode) {
            deliver_late(g);               /* an image takes long */
            failed = encode_image(g);
        }
        if (failed) {
            struct err broken;
            engine_broken(failed, &broken);
            fail_all(g, &g->sched.running, &broken);
        }
        publish_stats(g);
    }
    fail_all(g, &g->sched.running, &why);
    fail_all(g, &g->sched.waiting, &why);
    publish_stats(g);
    return NULL;
}
