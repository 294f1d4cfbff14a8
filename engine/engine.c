/* The one thread: inbox -> schedule -> run -> deliver. It owns the scheduler,
 * the pages, the image cache, the model and the device; other threads hand it
 * requests through the inbox and see it only through their request's events.
 *
 * A device that computes by itself is kept busy: while it does a step, the
 * thread tells the texts of the step before and prepares what waits. Between two
 * steps is left what the second one needs to know: who goes on. */
#include "engine/engine.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/budget.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/device.h"
#include "engine/pace.h"
#include "engine/prompt.h"
#include "engine/request.h"
#include "engine/room.h"
#include "engine/runner.h"
#include "engine/scheduler.h"
#include "engine/stats.h"
#include "engine/text.h"
#include "selftest/check.h"

struct late { struct request *r; struct sampled s; };      /* a token whose text is still to be told; r NULL: to nobody */

struct engine {
    /* constant after opening */
    struct setup   setup;
    char          *model_dir;          /* owned */
    struct device *device;             /* owned */
    struct model  *model;              /* owned */
    struct text    text;
    struct ends    ends;
    struct prompt_limits limits;
    FILE          *trace;              /* owned; NULL: none */
    pthread_t      thread;
    struct budget  decoding;           /* bytes for uploads while they become pixels ... */
    struct budget  pixels;             /* ... and for these, until their requests end; see plan.c */
    struct tally  *answers;            /* borrowed; what waits to be taken; NULL: nobody counts */

    /* shared */
    struct engine_wake wake;           /* its lock also covers the three below */
    struct request *inbox, *inbox_last;
    int  n_queued;                     /* inbox and waiting list               */
    bool stopping;
    uint64_t next_number;
    struct stats stats;

    /* the engine thread's */
    struct runner    runner;
    struct pages     pages;
    struct room      room;
    struct images    images;
    struct scheduler sched;
    struct step      step;
    struct step      between;          /* of single tokens, while an image is encoded */
    struct pace      pace;
    double           last_step;        /* when it ended                               */
    double           last_part;        /* when `between` could have run last, and the longest time between two such moments ... */
    double           part_seconds;     /* ... of this image                           */
    const char      *between_failed;   /* what the device said, or NULL               */
    struct sampled  *sampled;          /* owned, (max_out) */
    struct late     *late;             /* owned, (max_out) */
    int              n_late;
    struct buf       delta;
};

/* ---- opening ------------------------------------------------------------ */

int engine_plan(const struct engine_options *opt, struct engine_plan *out, struct err *e)
{
    struct chosen c;
    if (device_choose(&c, opt, NULL, e) < 0)
        return -1;
    if (c.model.device)
        c.model.backend->close(c.model.device);
    *out = c.setup.plan;
    if (tokenizer_check(opt->config.model, e) < 0)
        return -1;
    if (!out->fits)
        setup_refusal(&c.setup, e);
    return 0;
}

static void set_limits(struct engine *g)
{
    const struct engine_config *o = &g->setup.config;
    g->limits = (struct prompt_limits){
        .upload = { .max_bytes = o->max_image_bytes, .max_side = o->max_image_side, .max_pixels = (size_t)o->max_image_pixels },
        .image = { .min_pixels = o->min_pixels, .max_pixels = o->max_pixels },
        .max_images = o->max_images, .max_len = o->max_model_len - 1, .device_resize = g->setup.device_resize,
        .max_image_tokens = g->setup.plan.max_image_tokens };
}

static void *engine_main(void *arg);

/* The part of the selftest that takes milliseconds. Tensors that nobody reads are worth a warning; a picture that would
 * reach the model otherwise than the reference's ends the start: its answers would be silently wrong. */
static int selftest(const struct engine *g, const struct engine_options *opt, struct err *e)
{
    enum { WIDTH = 270, HEIGHT = 600 };
    double began = clock_seconds();
    const struct model *m = g->model;
    struct verdict v[3];
    check_tensors(m, &v[0]);
    if (!v[0].ok)
        log_warn("%s: tensors: %s", g->model_dir, v[0].text);
    if (!opt->config.selftest || !m->family->plan_image)
        return 0;
    check_preprocess(m, WIDTH, HEIGHT, &v[1]);
    check_positions(m, &v[2]);
    for (int i = 1; i < 3; i++)
        if (!v[i].ok)
            return err_set(e, "%s: selftest: %s: %s; --no-selftest starts all the same", g->model_dir, v[i].stage, v[i].text);
    log_info("selftest: preprocess and positions are right (%s) after %.3f s", v[1].text, clock_seconds() - began);
    return 0;
}

/* Opens the device and what the plan says, in this order: plan, weights, selftest, text, caches. */
static int open_parts(struct engine *g, const struct engine_options *opt, struct err *e)
{
    struct chosen c;
    const struct engine_config *o = &opt->config;
    const char *own_template = *o->chat_template ? o->chat_template : NULL;
    if (*o->trace && !(g->trace = fopen(o->trace, "w")))
        return err_field(e, "trace", "%s cannot be written", o->trace);
    if (device_choose(&c, opt, g->trace, e) < 0)
        return -1;
    g->device = c.model.device;
    g->setup = c.setup;
    int rc = 0;
    if (!g->setup.plan.fits) {
        setup_refusal(&g->setup, e);
        rc = -1;
    }
    if (rc == 0 && !(g->model = model_open(o->model, &c.model, e)))
        rc = -1;
    if (rc == 0)
        rc = selftest(g, opt, e);
    if (rc == 0)
        rc = text_open(&g->text, o->model, own_template, o->chat_template_content_format, g->model->image_token, e);
    g->text.trust_special_tokens = o->trust_special_tokens;
    if (rc == 0)
        ends_find(&g->ends, g->model, &g->text);
    if (rc == 0)
        rc = runner_open(&g->runner, g->model, &g->model->backend->ops, &g->setup.sizes, e);
    if (rc < 0 && !g->model)
        c.model.backend->close(g->device);
    return rc;
}

static void free_parts(struct engine *g)
{
    const struct backend *be = g->model ? g->model->backend : NULL;
    if (g->runner.m)
        runner_close(&g->runner);
    if (g->text.tokenizer)
        text_close(&g->text);
    model_close(g->model);
    if (be)
        be->close(g->device);
    if (g->trace)
        fclose(g->trace);
    free(g->model_dir);
    free(g);
}

/* Memory for more pages, if the machine has it. */
static int more_pages(void *arg, int from)
{
    struct engine *g = arg;
    int n = runner_chunk(&g->runner), left = g->pages.n - from;
    n = n < left ? n : left;
    if (!room_take(&g->room, (size_t)n * (g->setup.plan.kv / (size_t)g->pages.n)))
        return 0;
    runner_take_pages(&g->runner, from, n);
    return n;
}

static void open_pages(struct engine *g, const struct engine_options *opt)
{
    const struct engine_plan *p = &g->setup.plan;
    pages_init(&g->pages, g->setup.sizes.kv_pages);
    g->room = (struct room){ .free = opt->free_memory, .arg = opt->free_memory_arg, .promised = p->total - p->kv - p->requests - p->pixels,
                             .margin = room_margin(backend_cpu.memory(NULL)) };
    if (!p->discrete)
        pages_on_demand(&g->pages, more_pages, g);
}

struct engine *engine_open(const struct engine_options *opt, struct err *e)
{
    struct engine *g = xcalloc(1, sizeof *g);
    struct engine_options own = *opt;
    g->answers = opt->answers;
    g->model_dir = xstrdup(opt->config.model);
    own.config.model = g->model_dir;
    if (open_parts(g, &own, e) < 0) {
        free_parts(g);
        return NULL;
    }
    const struct runner_sizes *z = &g->setup.sizes;
    set_limits(g);
    open_pages(g, opt);
    images_init(&g->images, z->image_row_pages, z->image_kv_pages);
    g->pace = (struct pace){ .max_pause = opt->config.max_pause };
    g->sched = (struct scheduler){ .pages = &g->pages, .images = &g->images, .max_seqs = z->max_seqs, .max_rows = z->max_rows,
                                   .image_kv = g->model->image_kv.layers > 0, .prefix_cache = opt->config.prefix_cache };
    g->between.seq = xcalloc((size_t)z->max_seqs, sizeof *g->between.seq);
    g->step.seq = xcalloc((size_t)z->max_seqs, sizeof *g->step.seq);
    g->sampled = xcalloc((size_t)z->max_out, sizeof *g->sampled);
    g->late = xcalloc((size_t)z->max_out, sizeof *g->late);
    buf_init(&g->delta, (size_t)1 << 26);
    budget_init(&g->decoding, g->setup.plan.image_peak);
    budget_init(&g->pixels, g->setup.plan.pixels);
    g->limits.decoding = &g->decoding;
    g->limits.pixels = &g->pixels;
    pthread_mutex_init(&g->wake.lock, NULL);
    pthread_cond_init(&g->wake.cond, NULL);
    pthread_mutex_init(&g->stats.lock, NULL);
    g->stats.v.kv_pages = z->kv_pages;
    g->stats.v.page_tokens = KV_PAGE;
    if (pthread_create(&g->thread, NULL, engine_main, g) != 0) {
        err_set(e, "the engine's thread cannot be started");
        g->stopping = true;
        engine_close(g);
        return NULL;
    }
    return g;
}

void engine_close(struct engine *g)
{
    if (!g)
        return;
    if (!g->stopping) {
        pthread_mutex_lock(&g->wake.lock);
        g->stopping = true;
        pthread_cond_signal(&g->wake.cond);
        pthread_mutex_unlock(&g->wake.lock);
        pthread_join(g->thread, NULL);
    }
    pages_free(&g->pages);
    images_free(&g->images);
    free(g->step.seq);
    free(g->between.seq);
    free(g->sampled);
    free(g->late);
    buf_free(&g->delta);
    budget_free(&g->decoding);
    budget_free(&g->pixels);
    pthread_mutex_destroy(&g->wake.lock);
    pthread_cond_destroy(&g->wake.cond);
    pthread_mutex_destroy(&g->stats.lock);
    free_parts(g);
}

/* ---- the engine thread -------------------------------------------------- */

/* Takes r out of its list, gives everything back and drops the engine's reference. The end event is already there. */
static void retire(struct engine *g, struct request *r, struct request_list *from, uint64_t *count)
{
    for (int i = 0; i < g->n_late; i++)
        if (g->late[i].r == r)
            g->late[i].r = NULL;
    list_remove(from, r);
    scheduler_release(&g->sched, r);
    pthread_mutex_lock(&g->stats.lock);
    ++*count;
    stats_observe(&g->stats.v.e2e, clock_seconds() - r->submitted);
    pthread_mutex_unlock(&g->stats.lock);
    request_retire(r);
}

static void fail_all(struct engine *g, struct request_list *list, const struct err *why)
{
    while (list->first) {
        request_fail(list->first, why);
        retire(g, list->first, list, &g->stats.v.finished_error);
    }
}

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
    pthread_mutex_lock(&g->stats.lock);
    stats_observe(r->first_token > 0 ? &g->stats.v.inter_token : &g->stats.v.ttft,
                  now - (r->first_token > 0 ? r->last_token : r->submitted));
    g->stats.v.completion_tokens++;
    pthread_mutex_unlock(&g->stats.lock);
    if (r->first_token == 0)
        r->first_token = now;
    r->last_token = now;
    r->ids[r->n_ids++] = s->id;
    request_count(r, s->id, false);
}

/* The text of r's last token goes out, and the request ends if the token says so, or if its length or memory does: then r is
 * gone, and this is false. */
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
    struct token_logprob lp = { .id = s->id, .logprob = s->logprob, .n_top = r->params.top_logprobs };
    memcpy(lp.top_id, s->top_id, sizeof lp.top_id);
    memcpy(lp.top, s->top, sizeof lp.top);
    const char *stop = detok_add(&r->detok, s->id, &g->delta);
    bool full = r->n_ids == r->max_len;
    if (full && !stop)
        detok_end(&r->detok, &g->delta);
    bool lost = request_push(r, &g->delta, r->params.logprobs ? &lp : NULL) < 0;
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

/* false: it was r's last token, and r is gone. */
static bool deliver_token(struct engine *g, struct request *r, const struct sampled *s)
{
    take_token(g, r, s);
    if (!may_be_late(g, r, s->id))
        return tell(g, r, s);
    g->late[g->n_late++] = (struct late){ r, *s };
    return true;
}

/* Gives q's request what its part of the step yields, which begins at `sampled`. */
static void deliver(struct engine *g, const struct step_seq *q, const struct sampled *sampled)
{
    int k = 0;
    switch (q->yield.kind) {
    case YIELD_NOTHING:
        return;
    case YIELD_TOKENS:
        while (k < q->yield.rows && deliver_token(g, q->r, &sampled[k]))
            k++;
    }
}

static void tell_late(struct engine *g)
{
    for (int i = 0; i < g->n_late; i++)
        if (g->late[i].r)
            tell(g, g->late[i].r, &g->late[i].s);
    g->n_late = 0;
}

/* With the lock held. */
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

static void look_into_inbox(struct engine *g)
{
    pthread_mutex_lock(&g->wake.lock);
    empty_inbox(g);
    pthread_mutex_unlock(&g->wake.lock);
}

static const char *run_step(struct engine *g, struct step *step);

/* Called between the parts of an image: those that are being answered get their next tokens when waiting for one more part
 * would be too long. */
static void serve_others(void *arg)
{
    struct engine *g = arg;
    double now = clock_seconds(), part = now - g->last_part;
    g->last_part = now;
    g->part_seconds = part > g->part_seconds ? part : g->part_seconds;
    if (g->between_failed || now + g->part_seconds + g->pace.step_seconds < g->last_step + g->pace.max_pause)
        return;
    scheduler_plan_single(&g->sched, &g->between);
    if (g->between.n_rows == 0)
        return;
    struct run outer = runner_nest(&g->runner);
    g->between_failed = run_step(g, &g->between);
    pthread_mutex_lock(&g->stats.lock);
    g->stats.v.steps_between++;
    pthread_mutex_unlock(&g->stats.lock);
    runner_unnest(&g->runner, &outer);
    g->last_part = clock_seconds();
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
    const char *failed = runner_encode(&g->runner, &r->prompt->images[i], entry, waits ? serve_others : NULL, g);
    failed = failed ? failed : g->between_failed;
    entry->encoded = !failed;
    images_release(&g->images, entry);
    pthread_mutex_lock(&g->stats.lock);
    stats_observe(&g->stats.v.image_encode, clock_seconds() - began);
    pthread_mutex_unlock(&g->stats.lock);
    return failed;
}

static const char *run_step(struct engine *g, struct step *step)
{
    double began = clock_seconds();
    for (int i = 0; i < step->n_seqs; i++) {
        struct request *r = step->seq[i].r;
        if (r->started > 0)
            continue;
        r->started = began;
        pthread_mutex_lock(&g->stats.lock);
        stats_observe(&g->stats.v.queue, began - r->submitted);
        pthread_mutex_unlock(&g->stats.lock);
    }
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
    pthread_mutex_lock(&g->stats.lock);
    stats_observe(&g->stats.v.step, seconds);
    g->stats.v.steps++;
    pthread_mutex_unlock(&g->stats.lock);
    const struct sampled *sampled = g->sampled;
    for (int i = 0; i < step->n_seqs; i++) {
        const struct step_seq *q = &step->seq[i];
        scheduler_done(&g->sched, q->r, q->n);
        deliver(g, q, sampled);
        sampled += q->yield.rows;
    }
    return NULL;
}

static void publish_stats(struct engine *g)
{
    pthread_mutex_lock(&g->wake.lock);
    int queued = g->n_queued;
    pthread_mutex_unlock(&g->wake.lock);
    pthread_mutex_lock(&g->stats.lock);
    struct engine_stats *v = &g->stats.v;
    v->running = g->sched.running.n;
    v->waiting = queued;
    v->kv_pages_used = g->pages.there - g->pages.n_free;
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

/* Nothing is to be done, with the lock held: after a while without work the heap gives back what requests have left. */
static void rest(struct engine *g)
{
    enum { IDLE_SECONDS = 1 };
    struct timespec until;
#ifndef NDEBUG
    pages_check(&g->pages);
#endif
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += IDLE_SECONDS;
    while (!has_work(g) && pthread_cond_timedwait(&g->wake.cond, &g->wake.lock, &until) == 0)
        ;
    if (has_work(g))
        return;
    pthread_mutex_unlock(&g->wake.lock);
    heap_trim();
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

static void *engine_main(void *arg)
{
    struct engine *g = arg;
    struct err why;
    err_set(&why, "the server is shutting down");
    why.status = 503;
    while (take_inbox(g)) {
        drop_cancelled(g, &g->sched.waiting);
        drop_cancelled(g, &g->sched.running);
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
            err_set(&broken, "the device failed: %s", failed);
            broken.status = 500;
            log_error("%s", broken.text);
            fail_all(g, &g->sched.running, &broken);
        }
        publish_stats(g);
    }
    fail_all(g, &g->sched.running, &why);
    fail_all(g, &g->sched.waiting, &why);
    publish_stats(g);
    return NULL;
}

/* ---- other threads ------------------------------------------------------ */

struct prompt *engine_prompt(struct engine *g, const struct chat *chat, struct err *e)
{
    struct prompt_stats seen = { 0 };
    struct prompt *p = prompt_from_chat(g->model, &g->text, &g->limits, chat, &seen, e);
    if (seen.decoded) {
        pthread_mutex_lock(&g->stats.lock);
        g->stats.v.images_decoded += (uint64_t)seen.decoded;
        stats_observe(&g->stats.v.image_decode, seen.decode_seconds);
        pthread_mutex_unlock(&g->stats.lock);
    }
    return p;
}

struct prompt *engine_prompt_text(struct engine *g, const char *text, size_t n, bool special, struct err *e)
{
    return prompt_from_text(g->model, &g->text, &g->limits, text, n, special, e);
}

/* Images that could never all be there at once would wait for ever. */
static int check_images(const struct engine *g, const struct prompt *p, struct err *e)
{
    int rows = 0, kv = 0;
    for (int i = 0; i < p->n_images; i++) {
        rows += images_row_pages(&p->images[i].plan);
        kv += g->sched.image_kv ? (p->images[i].plan.n_cells + IMAGE_KV_PAGE - 1) / IMAGE_KV_PAGE : 0;
    }
    if (rows > g->setup.sizes.image_row_pages || kv > g->setup.sizes.image_kv_pages)
        return err_field(e, "messages", "the images of this request do not fit into the image cache at one time; send fewer or "
                         "smaller images, or start the server with a larger --image-cache-bytes");
    return 0;
}

static int reject(struct engine *g, struct err *e, int status, const char *code, const char *text)
{
    pthread_mutex_lock(&g->stats.lock);
    g->stats.v.rejected++;
    pthread_mutex_unlock(&g->stats.lock);
    err_set(e, "%s", text);
    if (e) {
        e->status = status;
        snprintf(e->code, sizeof e->code, "%s", code);
    }
    return -1;
}

static int enqueue(struct engine *g, struct request *r, struct err *e)
{
    int n = r->prompt->n;               /* the engine may be done with it, and have freed it, before this function is */
    pthread_mutex_lock(&g->wake.lock);
    bool stopping = g->stopping, full = g->wake.live >= g->setup.config.max_num_seqs + g->setup.config.max_queue;
    if (!stopping && !full) {
        atomic_fetch_add(&r->refs, 1);
        r->number = ++g->next_number;
        r->submitted = clock_seconds();
        r->next = NULL;
        *(g->inbox_last ? &g->inbox_last->next : &g->inbox) = r;
        g->inbox_last = r;
        g->n_queued++;
        g->wake.live++;
        pthread_cond_signal(&g->wake.cond);
    }
    pthread_mutex_unlock(&g->wake.lock);
    if (stopping)
        return reject(g, e, 503, "shutting_down", "the server is shutting down");
    if (full)
        return reject(g, e, 429, "queue_full", "too many requests are waiting; try again later");
    pthread_mutex_lock(&g->stats.lock);
    g->stats.v.prompt_tokens += (uint64_t)n;
    pthread_mutex_unlock(&g->stats.lock);
    return 0;
}

struct request *engine_submit(struct engine *g, struct prompt *p, const struct params *params, struct err *e)
{
    struct params own = *params;
    int max_len = g->setup.config.max_model_len;
    if (check_images(g, p, e) < 0) {
        prompt_free(p);
        return NULL;
    }
    if (own.max_tokens > 0 && own.max_tokens < max_len - p->n)
        max_len = p->n + own.max_tokens;
    if (!own.has_seed && getrandom(&own.seed, sizeof own.seed, 0) != (ssize_t)sizeof own.seed)
        own.seed = (uint64_t)(clock_seconds() * 1e9);
    struct request *r = request_new(p, &own, max_len, KV_PAGE, g->model->vocab, g->text.tokenizer, &g->wake);
    if (!r) {
        reject(g, e, 503, "out_of_memory", "out of memory for this request");
        return NULL;
    }
    r->answers = g->answers;
    request_set_ends(r, &g->ends, g->model->vocab);
    if (enqueue(g, r, e) < 0) {
        request_unref(r);
        return NULL;
    }
    return r;
}

void params_default(const struct engine *g, struct params *p)
{
    const struct model *m = g->model;
    *p = (struct params){ .temperature = m->temperature >= 0 ? m->temperature : 1, .top_p = m->top_p >= 0 ? m->top_p : 1,
                          .top_k = m->top_k > 0 ? m->top_k : 0,
                          .repetition_penalty = m->repetition_penalty > 0 ? m->repetition_penalty : 1 };
}

void engine_piece(const struct engine *g, int32_t id, struct buf *out) { tokenizer_piece(g->text.tokenizer, id, out); }

int engine_tokenize(const struct engine *g, const char *text, size_t n, bool special, int32_t **ids, size_t *n_ids,
                    struct err *e)
{
    struct ids out = { 0 };
    if (tokenizer_encode(g->text.tokenizer, text, n, special, &out, e) < 0) {
        ids_free(&out);
        return -1;
    }
    *ids = out.id;
    *n_ids = out.n;
    return 0;
}

int engine_detokenize(const struct engine *g, const int32_t *ids, size_t n, struct buf *out, struct err *e)
{
    return tokenizer_decode(g->text.tokenizer, ids, n, false, out, e);
}

void engine_info(const struct engine *g, struct engine_info *out)
{
    *out = (struct engine_info){ .model_dir = g->model_dir, .model_type = g->model->type, .device = g->model->backend->name,
                                 .max_model_len = g->setup.config.max_model_len, .max_num_seqs = g->setup.config.max_num_seqs,
                                 .vocab = g->model->vocab, .takes_images = g->model->image_token >= 0 };
}

void engine_stats(struct engine *g, struct engine_stats *out)
{
    pthread_mutex_lock(&g->stats.lock);
    *out = g->stats.v;
    pthread_mutex_unlock(&g->stats.lock);
}
