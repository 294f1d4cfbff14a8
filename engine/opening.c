/* How an engine comes to be and ends: the plan, the device, the weights, the quick part of the selftest, and everything
 * that is allocated once. When its thread has started, all memory that it will ever use is there or is promised. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_watch.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/masks.h"
#include "engine/parts.h"
#include "selftest/check.h"

/* For `openautoglm plan`: everything but loading. The plan is given also where it does not fit; then `e` says why. The
 * tokenizer is looked at, too, so that a folder that passes here can be served. */
int engine_plan(const struct engine_options *opt, struct engine_plan *out, struct err *e)
{
    struct chosen c;
    if (device_choose(&c, opt, NULL, e) < 0)
        return -1;
    if (c.model.device)
        c.model.backend->close(c.model.device);
    *out = c.setup.plan;
    if (!c.no_texts && tokenizer_check(opt->config.model, e) < 0)
        return -1;
    if (!out->fits)
        setup_refusal(&c.setup, e);
    return 0;
}

/* The limits of prompts, from the options and the plan. A prompt leaves room for one token of an answer, where there
 * are answers. */
static void set_limits(struct engine *g)
{
    const struct engine_config *o = &g->setup.config;
    struct image_limits upload = { .max_bytes = o->max_image_bytes, .max_side = o->max_image_side,
                                   .max_pixels = (size_t)o->max_image_pixels };
    g->limits = (struct prompt_limits){
        .upload = upload,
        .image = { .min_pixels = o->min_pixels, .max_pixels = o->max_pixels },
        .max_images = o->max_images, .device_resize = g->setup.device_resize,
        .max_len = o->max_model_len - !g->model->image_alone,
        .max_image_tokens = g->setup.plan.max_image_tokens, .max_plan_bytes = g->setup.plan.max_plan_bytes,
        .max_together = g->setup.plan.max_together };
    const char *pad = json_string_value(json_object_get(tokenizer_names(g->text.tokenizer), "pad_token"));
    int32_t id = pad ? tokenizer_id(g->text.tokenizer, pad) : -1;
    g->limits.pad = id >= 0 && id < g->model->vocab ? id : 0;
}

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
            return err_set(e, "%s: selftest: %s: %s; --no-selftest starts all the same", g->model_dir, v[i].stage,
                           v[i].text);
    log_info("selftest: preprocess and positions are right (%s) after %.3f s", v[1].text, clock_seconds() - began);
    return 0;
}

struct reading {               /* of tokenizer and templates, on a thread of its own */
    pthread_t thread;
    struct text *text;                    /* borrowed: what is filled */
    const struct engine_config *config;   /* borrowed                 */
    bool no_texts;
    int image_token, image_mark, rc;
    struct err err;
};

/* The thread that reads tokenizer and template. A model without texts gets a tokenizer that knows none. */
static void *read_text(void *arg)
{
    struct reading *r = arg;
    const struct engine_config *o = r->config;
    if (r->no_texts)
        r->rc = (r->text->tokenizer = tokenizer_none(&r->err)) ? 0 : -1;
    else
        r->rc = text_open(r->text, o->model, *o->chat_template ? o->chat_template : NULL,
                          o->chat_template_content_format, r->image_token, r->image_mark, &r->err);
    if (r->rc < 0 && json_starved())
        err_memory(&r->err);           /* and no fault of the files */
    return NULL;
}

/* Loads the weights, and meanwhile the text's files, which may take as long where the weights were prepared. Of two
 * errors the weights' is told. */
static int load(struct engine *g, const struct engine_config *o, const struct chosen *c, struct err *e)
{
    struct reading r = { .text = &g->text, .config = o, .image_token = c->image_token,
                         .image_mark = c->image_mark, .no_texts = c->no_texts };
    bool started = pthread_create(&r.thread, NULL, read_text, &r) == 0;
    g->model = model_open(o->model, &c->model, e);
    if (started)
        pthread_join(r.thread, NULL);
    else
        read_text(&r);
    if (g->model && r.rc < 0)
        *e = r.err;
    if (g->model && r.rc == 0 && !g->text.templates.plain && !g->text.templates.tools && !g->model->no_head)
        log_warn("%s: no chat template: /v1/chat/completions will answer 400", o->model);
    return g->model && r.rc == 0 ? 0 : -1;
}

/* Opens the device and what the plan says, in this order: plan, weights and text, selftest, caches. */
static int open_parts(struct engine *g, const struct engine_options *opt, struct err *e)
{
    struct chosen c;
    const struct engine_config *o = &opt->config;
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
    if (rc == 0)
        rc = load(g, o, &c, e);
    if (rc == 0)
        rc = selftest(g, opt, e);
    g->text.trust_special_tokens = o->trust_special_tokens;
    if (rc == 0)
        pooling_choose(&g->pooling, o->pooling, o->model, g->model);
    if (rc == 0)
        ends_find(&g->ends, g->model, &g->text);
    if (rc == 0)
        rc = runner_open(&g->runner, g->model, &g->model->backend->ops, &g->setup.sizes, e);
    if (rc < 0 && !g->model)
        c.model.backend->close(g->device);
    return rc;
}

/* Where the memory of a process that is not ours has run out on the way, whatever was made is given up. */
static int memory_sufficed(struct err *e)
{
    return reserve_spent() ? err_memory(e) : 0;
}

/* Undoes open_parts(), wherever it stopped, and frees the engine. The device goes last: all else may lie in its
 * memory. */
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
    tokens_free(g->tokens);
    pthread_mutex_destroy(&g->tokens_lock);
    pthread_mutex_destroy(&g->wake.lock);
    pthread_cond_destroy(&g->wake.cond);
    pthread_mutex_destroy(&g->stats.lock);
    free(g->model_dir);
    free(g);
}

/* The pages of a cache ask for memory, from page `from` on: for a chunk, if the machine has that much to spare.
 * Returns for how many pages there is some; 0: none, and a request has to wait or is refused. */
static int more_pages(void *arg, int from)
{
    struct text_cache *cache = arg;
    struct engine *g = cache->g;
    int which = (int)(cache - g->cache), n = runner_chunk(&g->runner, which), left = cache->pages.n - from;
    n = n < left ? n : left;
    return room_take(&g->room, (size_t)n * runner_kv_page_bytes(g->model, which, g->setup.sizes.kv)) ? n : 0;
}

/* The pages of the caches. On the CPU they are taken as they are first needed, and never so many that the machine would
 * have less free than `margin`; a GPU's were all taken before. */
static void open_pages(struct engine *g, const struct engine_options *opt)
{
    const struct engine_plan *p = &g->setup.plan;
    g->room = (struct room){ .free = opt->free_memory, .arg = opt->free_memory_arg,
                             .promised = p->total - p->kv - p->requests - p->pixels,
                             .margin = room_margin(backend_cpu.memory(NULL)) };
    for (int c = 0; c < TEXT_CACHES; c++) {
        struct text_cache *cache = &g->cache[c];
        cache->g = g;
        pages_init(&cache->pages, g->setup.sizes.kv_pages[c]);
        if (!model_text_cache(g->model, c)->layers)
            continue;
        if (!p->discrete)
            pages_on_demand(&cache->pages, more_pages, cache);
        g->sched.cache[c] = (struct cache){ &cache->pages, model_text_cache(g->model, c)->window };
    }
}

/* What every engine has, also one whose opening fails later: engine_close() frees it in any case. */
static struct engine *engine_new(const struct engine_options *opt)
{
    struct engine *g = xcalloc(1, sizeof *g);
    pthread_mutex_init(&g->tokens_lock, NULL);
    pthread_mutex_init(&g->wake.lock, NULL);
    pthread_cond_init(&g->wake.cond, NULL);
    pthread_mutex_init(&g->stats.lock, NULL);
    g->answers = opt->answers;
    g->model_dir = xstrdup(opt->config.model);
    g->stopping = true;                /* until its thread runs */
    return g;
}

/* The budgets for decoding images, and the other limits of a prompt. */
static void set_budgets(struct engine *g)
{
    set_limits(g);
    budget_init(&g->decoding, g->setup.plan.image_peak);
    budget_init(&g->pixels, g->setup.plan.pixels);
    g->limits.decoding = &g->decoding;
    g->limits.pixels = &g->pixels;
}

/* The CPU's plan has the limits for images, and may be of more memory than there is: none of it is taken but that for
 * images. */
static int open_text_parts(struct engine *g, const struct engine_options *opt, struct err *e)
{
    struct chosen c;
    const struct engine_config *o = &opt->config;
    if (device_choose(&c, opt, NULL, e) < 0)
        return -1;
    c.model.backend->close(c.model.device);
    c.model.device = NULL;
    g->setup = c.setup;
    g->setup.device_resize = 0;
    int rc = load(g, o, &c, e);
    g->text.trust_special_tokens = o->trust_special_tokens;
    return rc == 0 ? selftest(g, opt, e) : -1;
}

struct engine *engine_open_text(const struct engine_options *opt, struct err *e)
{
    struct engine *g = engine_new(opt);
    struct engine_options own = *opt;
    own.config.model = g->model_dir;
    own.config.device = "cpu";
    own.config.gpu_memory = 0;
    if (open_text_parts(g, &own, e) < 0 || memory_sufficed(e) < 0) {
        free_parts(g);
        return NULL;
    }
    set_budgets(g);
    return g;
}

/* First all that may fail, then what only needs the numbers of the plan, at last the thread. */
struct engine *engine_open(const struct engine_options *opt, struct err *e)
{
    struct engine *g = engine_new(opt);
    struct engine_options own = *opt;
    own.config.model = g->model_dir;
    if (open_parts(g, &own, e) < 0 || memory_sufficed(e) < 0) {
        free_parts(g);
        return NULL;
    }
    const struct runner_sizes *z = &g->setup.sizes;
    set_budgets(g);
    images_init(&g->images, z->image_row_pages, z->image_kv_pages);
    g->pace = (struct pace){ .max_pause = opt->config.max_pause };
    g->sched = (struct scheduler){ .images = &g->images, .max_seqs = z->max_seqs,
                                   .max_out = z->max_out, .max_rows = z->max_rows,
                                   .image_kv = g->model->image_kv.layers > 0,
                                   .prefix_cache = opt->config.prefix_cache, .whole = g->model->texts_whole,
                                   .stretch_after = g->model->stretch_after };
    open_pages(g, opt);
    g->between.seq = xcalloc((size_t)z->max_seqs, sizeof *g->between.seq);
    g->step.seq = xcalloc((size_t)z->max_seqs, sizeof *g->step.seq);
    g->sampled = xcalloc((size_t)z->max_out, sizeof *g->sampled);
    g->late = xcalloc((size_t)z->max_out, sizeof *g->late);
    buf_init(&g->delta, (size_t)1 << 26);
    for (int c = 0; c < TEXT_CACHES; c++)
        g->stats.v.kv_pages += z->kv_pages[c];
    g->stats.v.full_pages = z->kv_pages[0];
    g->stats.v.page_tokens = KV_PAGE;
    g->stopping = memory_sufficed(e) < 0;
    if (!g->stopping && pthread_create(&g->thread, NULL, engine_main, g) != 0) {
        err_set(e, "the engine's thread cannot be started");
        g->stopping = true;
    }
    if (!g->stopping)
        return g;
    engine_close(g);
    return NULL;
}

/* Tells the thread to stop and waits for it; it ends all requests with an error before it does. */
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
    for (int c = 0; c < TEXT_CACHES; c++)
        pages_free(&g->cache[c].pages);
    images_free(&g->images);
    free(g->step.seq);
    free(g->between.seq);
    free(g->sampled);
    free(g->late);
    buf_free(&g->delta);
    budget_free(&g->decoding);
    budget_free(&g->pixels);
    free_parts(g);
}
