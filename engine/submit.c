/* engine/submit.c - what any thread may ask of an engine: to make a prompt, to submit a request, to turn text into
 * tokens and back, and for its figures. The heavy work on a prompt is done here, on the caller's thread; the
 * engine's own gets what is ready to compute. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "engine/masks.h"
#include "engine/parts.h"

struct prompt *engine_prompt(struct engine *g, const struct chat *chat, struct err *e)
{
    struct prompt_stats seen = { 0 };
    struct prompt *p = prompt_from_chat(g->model, &g->text, &g->limits, chat, &seen, e);
    if (seen.decoded) {
        stats_add(&g->stats, &g->stats.v.images_decoded, (uint64_t)seen.decoded);
        stats_time(&g->stats, NULL, &g->stats.v.image_decode, seen.decode_seconds);
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
        return err_field(e, "messages", "the images of this request do not fit into the image cache at one time; send "
                         "fewer or smaller images, or start the server with a larger --image-cache-bytes");
    return 0;
}

/* Counts a request that is turned away, and fills in the error that its client gets. Returns -1. `text` is ours:
 * nothing that a client sent may get into it. */
static int reject(struct engine *g, struct err *e, int status, const char *code, const char *text)
{
    stats_add(&g->stats, &g->stats.v.rejected, 1);
    err_set(e, "%s", text);
    if (e) {
        e->status = status;
        snprintf(e->code, sizeof e->code, "%s", code);
    }
    return -1;
}

/* Puts r into the inbox and wakes the engine's thread, which has a reference of its own from then on. -1: the engine
 * closes, or all places are taken; r is still the caller's alone. */
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
    stats_add(&g->stats, &g->stats.v.prompt_tokens, (uint64_t)n);
    return 0;
}

/* The vocabulary is read when the first grammar comes: that takes a tenth of a second, on the thread of its request. */
static int give_matcher(struct engine *g, struct request *r, struct grammar *grammar, struct err *e)
{
    pthread_mutex_lock(&g->tokens_lock);
    if (!g->tokens)
        g->tokens = masks_tokens(&g->text, g->model->vocab, e);
    struct tokens *tokens = g->tokens;
    pthread_mutex_unlock(&g->tokens_lock);
    r->matcher = tokens ? matcher_new(grammar, tokens, e) : NULL;
    return r->matcher ? 0 : -1;
}

/* Fills in what the request left open: how long it may become, a seed, the tokens that end it. The prompt is freed or
 * is the request's, whatever comes out. */
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
    struct request *r = request_new(p, &own, max_len, KV_PAGE, g->model->vocab, g->text.tokenizer, &g->wake, e);
    if (!r) {
        stats_add(&g->stats, &g->stats.v.rejected, 1);
        return NULL;
    }
    r->answers = g->answers;
    request_set_ends(r, &g->ends, g->model->vocab);
    if ((own.grammar && give_matcher(g, r, own.grammar, e) < 0) || enqueue(g, r, e) < 0) {
        request_unref(r);
        return NULL;
    }
    return r;
}

/* What holds where a request says nothing: the checkpoint's own way of sampling, where generation_config.json has one,
 * else sampling as the model was trained. */
void params_default(const struct engine *g, struct params *p)
{
    const struct model *m = g->model;
    *p = (struct params){ .temperature = m->temperature >= 0 ? m->temperature : 1,
                          .top_p = m->top_p >= 0 ? m->top_p : 1, .top_k = m->top_k > 0 ? m->top_k : 0,
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
    *out = (struct engine_info){ .model_dir = g->model_dir, .model_type = g->model->type,
                                 .device = g->model->backend->name, .max_model_len = g->setup.config.max_model_len,
                                 .max_num_seqs = g->setup.config.max_num_seqs, .vocab = g->model->vocab,
                                 .takes_images = g->model->image_token >= 0 };
}

void engine_stats(struct engine *g, struct engine_stats *out)
{
    pthread_mutex_lock(&g->stats.lock);
    *out = g->stats.v;
    pthread_mutex_unlock(&g->stats.lock);
}
