/* engine/submit.c - what any thread may ask of an engine: to make a prompt, to submit a request, to turn text into
 * tokens and back, and for its figures. The heavy work on a prompt is done here, on the caller's thread; the
 * engine's own gets what is ready to compute. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "engine/masks.h"
#include "engine/parts.h"

/* Counts what was decoded for a prompt, also for one that failed. */
static void count_images(struct engine *g, const struct prompt_stats *seen)
{
    if (!seen->decoded)
        return;
    stats_add(&g->stats, &g->stats.v.images_decoded, (uint64_t)seen->decoded);
    stats_time(&g->stats, NULL, &g->stats.v.image_decode, seen->decode_seconds);
}

struct prompt *engine_prompt(struct engine *g, const struct chat *chat, struct err *e)
{
    struct prompt_stats seen = { 0 };
    struct prompt *p = prompt_from_chat(g->model, &g->text, &g->limits, chat, &seen, e);
    count_images(g, &seen);
    return p;
}

struct prompt *engine_prompt_places(struct engine *g, const int32_t *ids, size_t n, const struct chat *chat,
                                    struct err *e)
{
    struct prompt_stats seen = { 0 };
    struct prompt *p = prompt_from_places(g->model, &g->limits, ids, n, chat, &seen, e);
    count_images(g, &seen);
    return p;
}

/* The text that the template makes of a chat, without tokens or images, for the routes that show it. */
int engine_render(const struct engine *g, const struct chat *chat, struct buf *out, struct err *e)
{
    struct rendering text = { 0 };
    int rc = text_render(&g->text, chat, &text, e);
    if (rc == 0)
        buf_add(out, text.text, text.n);
    rendering_free(&text);
    return rc;
}

struct prompt *engine_prompt_text(struct engine *g, const char *text, size_t n, bool special, int keep_tokens,
                                  struct err *e)
{
    return prompt_from_text(g->model, &g->text, &g->limits, text, n, special, keep_tokens, e);
}

struct prompt *engine_prompt_pair(struct engine *g, const char *a, size_t n_a, const char *b, size_t n_b, bool special,
                                  int keep_tokens, struct err *e)
{
    return prompt_from_pair(g->model, &g->text, &g->limits, a, n_a, b, n_b, special, keep_tokens, e);
}

struct prompt *engine_prompt_ids(struct engine *g, const int32_t *ids, size_t n, int keep_tokens, struct err *e)
{
    struct ids borrowed = { .id = (int32_t *)ids, .n = n };
    return prompt_from_ids(g->model, &g->limits, &borrowed, keep_tokens, e);
}

int engine_image_tokens(const struct engine *g, int width, int height, int *n, struct err *e)
{
    struct image_plan plan;
    if (g->model->image_token < 0)
        return err_set(e, g->model->image_alone ? "an image is no part of this model's texts"
                                                : "this model takes no images");
    if (g->model->family->plan_image(g->model, width, height, &g->limits.image, &plan, e) < 0)
        return -1;
    *n = plan.n_tokens;
    return 0;
}

/* Images that could never all be there at once would wait for ever. */
static int check_images(const struct engine *g, const struct prompt *p, struct err *e)
{
    int rows = 0, kv = 0;
    for (int i = 0; i < p->n_images; i++) {
        rows += images_row_pages(&p->images[i].plan);
        kv += images_kv_pages(&g->images, &p->images[i].plan);
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

/* Puts n requests into the inbox and wakes the engine's thread, which has a reference of its own to each from then on.
 * -1: the engine closes, or all places are taken; they are still the caller's alone. */
static int enqueue(struct engine *g, struct request *const *r, int n, struct err *e)
{
    int tokens = r[0]->prompt->n;       /* the engine may be done with it, and have freed it, before this function is */
    pthread_mutex_lock(&g->wake.lock);
    bool stopping = g->stopping, full = g->wake.live + n > g->setup.config.max_num_seqs + g->setup.config.max_queue;
    for (int i = 0; i < n && !stopping && !full; i++) {
        atomic_fetch_add(&r[i]->refs, 1);
        r[i]->number = ++g->next_number;
        r[i]->submitted = clock_seconds();
        r[i]->next = NULL;
        *(g->inbox_last ? &g->inbox_last->next : &g->inbox) = r[i];
        g->inbox_last = r[i];
        g->n_queued++;
        g->wake.live++;
    }
    pthread_cond_signal(&g->wake.cond);
    pthread_mutex_unlock(&g->wake.lock);
    if (stopping)
        return reject(g, e, 503, "shutting_down", "the server is shutting down");
    if (full)
        return reject(g, e, 429, "queue_full", "too many requests are waiting; try again later");
    stats_add(&g->stats, &g->stats.v.prompt_tokens, (uint64_t)tokens * (uint64_t)n);
    stats_size(&g->stats, &g->stats.v.answers, n);
    return 0;
}

/* What a request's pages and images are shared by. Images know their salt in their keys, pages in the first hash. Where
 * tokens see images that come after them, what their pages hold is these images', too; and where they see the whole
 * prompt, its pages are those of no other prompt, be it longer by a token. */
static void add_salt(struct prompt *p, const struct params *params, struct hash *salt)
{
    *salt = (struct hash){ 0 };
    if (params->cache_salt)
        *salt = hash_bytes(params->cache_salt, params->n_cache_salt);
    for (int i = 0; params->cache_salt && i < p->n_images; i++)
        p->images[i].key = hash_chain(*salt, &p->images[i].key, sizeof p->images[i].key);
    for (int i = 0; (p->looks_ahead || p->whole) && i < p->n_images; i++)
        *salt = hash_chain(*salt, &p->images[i].key, sizeof p->images[i].key);
    if (p->whole)
        *salt = hash_chain(*salt, p->ids, (size_t)p->n * sizeof *p->ids);
}

/* The group of n answers. Where there is no prefix cache, their pages are nobody else's. */
static int form_group(const struct engine *g, struct request **r, int n, struct err *e)
{
    struct group *group = n > 1 ? calloc(1, sizeof *group) : NULL;
    if (n > 1 && !group)
        return err_memory(e);
    uint64_t own[2] = { r[0]->params.seed, (uint64_t)(uintptr_t)group };
    struct hash salt = g->setup.config.prefix_cache ? r[0]->salt : hash_chain(r[0]->salt, own, sizeof own);
    for (int i = 0; i < n && group; i++) {
        group->leader = r[0];
        group->n_going = n;
        request_join(r[i], group);
        r[i]->salt = salt;
    }
    return 0;
}

/* May a prompt whose tokens see each other both ways be asked for? It has to fit into one step, beside the next tokens
 * of all others; and as each token knows those behind it, none has a logprob. */
static int check_whole(const struct engine *g, const struct prompt *p, bool told, struct err *e)
{
    int room = g->setup.config.max_batched_tokens - g->setup.config.max_num_seqs + 1;
    if (told)
        return err_field(e, "prompt_logprobs", "logprobs of the prompt's tokens are not to be had: this model reads "
                         "prompts both ways");
    if (p->n <= room)
        return 0;
    err_set(e, "the prompt has %d tokens, but at most %d are computed in one step, as this model has to "
            "(--max-batched-tokens)", p->n, room);
    if (e) {
        snprintf(e->code, sizeof e->code, "context_length_exceeded");
        e->have = p->n;
        e->most = room;
    }
    return -1;
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

/* Vectors of images are there in models whose texts and images share a space, and of prompts with an image. */
static int check_shared(const struct engine *g, const struct prompt *p, const struct params *params, struct err *e)
{
    if (params->classes && (!g->model->classes || !params->pooling))
        return err_set(e, "this model has no head for classes%s", g->model->classes ? " without pooling" : "");
    if (!params->share_image)
        return 0;
    if (!g->model->shared || !params->pooling)
        return err_set(e, "this model has no vectors of images%s", g->model->shared ? " without pooling" : "");
    return p->n_images ? 0 : err_set(e, "the vector of an image is asked for, and there is none in the prompt");
}

/* Fills in what the request left open: how long it may become, a seed, the tokens that end it. The prompt is freed or
 * is the requests', whatever comes out. */
int engine_submit_many(struct engine *g, struct prompt *p, const struct params *params, int n, struct request **out,
                       struct err *e)
{
    struct params own = *params;
    int max_len = g->setup.config.max_model_len, made = 0, rc = check_images(g, p, e);
    struct hash salt;
    if (rc == 0)
        rc = check_shared(g, p, params, e);
    if (rc == 0 && g->model->no_head && !own.pooling && own.probe != PROBE_IMAGES)
        rc = reject(g, e, 400, "text_not_supported",
                    "this model makes no texts, but vectors: it has no head for tokens");
    bool told = own.prompt_logprobs || own.probe == PROBE_LOGITS;
    if (rc == 0 && told && p->spans && p->n_images)    /* which are computed in one step, and that has fewer logits */
        rc = err_field(e, "prompt_logprobs", "logprobs of the prompt's tokens are not to be had where it has images "
                       "that this model reads both ways");
    if (rc == 0 && p->whole)
        rc = check_whole(g, p, told, e);
    if (own.max_tokens > 0 && own.max_tokens < max_len - p->n)
        max_len = p->n + own.max_tokens;
    if (own.pooling || own.probe)
        max_len = p->n;
    if (!own.has_seed && getrandom(&own.seed, sizeof own.seed, 0) != (ssize_t)sizeof own.seed)
        own.seed = (uint64_t)(clock_seconds() * 1e9);
    add_salt(p, params, &salt);
    for (; made < n && rc == 0; made += rc == 0, own.seed++) {
        atomic_fetch_add(&p->refs, 1);
        own.prompt_logprobs &= made == 0;
        out[made] = request_new(p, &own, max_len, KV_PAGE, g->model, g->text.tokenizer, &g->wake, e);
        if (!out[made]) {
            stats_add(&g->stats, &g->stats.v.rejected, 1);
            rc = -1;
            continue;
        }
        out[made]->answers = g->answers;
        out[made]->salt = salt;
        request_set_ends(out[made], &g->ends, g->model->vocab);
        if (own.grammar && give_matcher(g, out[made], own.grammar, e) < 0) {
            request_unref(out[made]);
            rc = -1;
        }
    }
    prompt_free(p);                    /* what is left are the requests' references */
    if (rc == 0)
        rc = form_group(g, out, n, e);
    if (rc == 0)
        rc = enqueue(g, out, n, e);
    while (rc < 0 && made > 0)
        request_unref(out[--made]);
    return rc;
}

struct request *engine_submit(struct engine *g, struct prompt *p, const struct params *params, struct err *e)
{
    struct request *r = NULL;
    return engine_submit_many(g, p, params, 1, &r, e) < 0 ? NULL : r;
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

struct search { const char *words; bool found; };

static void search_literal(void *arg, const char *s, size_t n)
{
    struct search *search = arg;
    search->found |= memmem(s, n, search->words, strlen(search->words)) != NULL;
}

/* Whether one of the model's templates writes `words`: that is how the format of its calls and thoughts is guessed. */
bool engine_template_writes(const struct engine *g, const char *words)
{
    struct search search = { .words = words };
    const struct template *all[] = { g->text.templates.plain, g->text.templates.tools };
    for (int i = 0; i < 2; i++)
        if (all[i])
            template_literals(all[i], search_literal, &search);
    return search.found;
}

void engine_piece(const struct engine *g, int32_t id, struct buf *out) { tokenizer_piece(g->text.tokenizer, id, out); }

/* Ids of a text; *ids is the caller's to free. `special`: add what the tokenizer adds at the ends of a prompt. */
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

int engine_detokenize(const struct engine *g, const int32_t *ids, size_t n, bool skip_special, struct buf *out,
                      struct err *e)
{
    return tokenizer_decode(g->text.tokenizer, ids, n, skip_special, out, e);
}

void engine_info(const struct engine *g, struct engine_info *out)
{
    *out = (struct engine_info){ .model_dir = g->model_dir, .model_type = g->model->type,
                                 .device = g->model->backend->name, .max_model_len = g->setup.config.max_model_len,
                                 .max_num_seqs = g->setup.config.max_num_seqs, .vocab = g->model->vocab,
                                 .takes_images = g->model->image_token >= 0 || g->model->image_alone,
                                 .shares = g->model->shared > 0,
                                 .vector = g->model->shared ? g->model->shared : g->model->hidden,
                                 .pooling = g->pooling };
    out->makes_texts = !g->model->no_head;
    const struct match *match = &g->model->match;
    out->match = (struct engine_match){ match->there, match->sigmoid, match->scale, match->bias };
    out->n_classes = g->model->n_classes;
    out->class_name = g->model->class_name;
    out->classes_sigmoid = g->model->classes_sigmoid;
    out->hidden = model_features(g->model);
    out->image_token = g->model->image_token;
    out->has_weights = g->model->device != NULL;
}

void engine_stats(struct engine *g, struct engine_stats *out)
{
    pthread_mutex_lock(&g->stats.lock);
    *out = g->stats.v;
    pthread_mutex_unlock(&g->stats.lock);
}
