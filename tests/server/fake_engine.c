/* tests/server/fake_engine.c - an engine for tests of the HTTP layer: no model,
 * but the same promises. It answers with numbered words, one every
 * `fake_token_seconds` after `fake_prefill_seconds`; "fail" as the prompt's
 * last text ends in an error event. Include it in the test. */
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/engine.h"

static double fake_token_seconds = 0.002, fake_prefill_seconds;
static int    fake_max_live = 1 << 20;
static _Atomic int fake_live, fake_cancelled, fake_images;

const double engine_latency_bounds[ENGINE_LATENCY_BUCKETS] = { 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1,
                                                               2, 5, 10, 20, 30, 60, 120, 300, 600, 1200 };
const double engine_count_bounds[ENGINE_LATENCY_BUCKETS] = { 1, 2, 5 };
struct engine { int unused; };
struct prompt { int n; bool fail; };
struct request {
    pthread_mutex_t lock;
    pthread_t       thread;
    int             fd, max, made, taken, prompt;
    bool            fail, ended, end_taken, logprobs;
    _Atomic bool    cancelled;
    void          (*told)(void *arg);
    void           *told_arg;
};

static void tell(struct request *r)
{
    uint64_t one = 1;
    if (write(r->fd, &one, sizeof one) < 0)
        return;
}

static void *generate(void *arg)
{
    struct request *r = arg;
    double next = clock_seconds() + fake_prefill_seconds;
    for (int i = 0; i < r->max && !r->fail;) {
        if (atomic_load(&r->cancelled))
            break;
        double left = next - clock_seconds();
        if (left > 0) {
            usleep(left > 0.005 ? 5000 : (useconds_t)(left * 1e6) + 1);
            continue;
        }
        pthread_mutex_lock(&r->lock);
        r->made = ++i;
        pthread_mutex_unlock(&r->lock);
        tell(r);
        next += fake_token_seconds;
    }
    r->told(r->told_arg);
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    pthread_mutex_unlock(&r->lock);
    tell(r);
    return NULL;
}

struct engine *engine_open(const struct engine_options *opt, struct err *e)
{
    (void)opt, (void)e;
    return xcalloc(1, sizeof(struct engine));
}
void engine_close(struct engine *g) { free(g); }
int engine_plan(const struct engine_options *opt, struct engine_plan *out, struct err *e)
{
    (void)opt, (void)e;
    memset(out, 0, sizeof *out);
    out->fits = true;
    return 0;
}
void params_default(const struct engine *g, struct params *p)
{
    (void)g;
    *p = (struct params){ .temperature = 1, .top_p = 1, .repetition_penalty = 1 };
}

static struct prompt *new_prompt(int n, bool fail)
{
    struct prompt *p = xcalloc(1, sizeof *p);
    p->n = n;
    p->fail = fail;
    return p;
}
struct prompt *engine_prompt(struct engine *g, const struct chat *chat, struct err *e)
{
    (void)g;
    for (int i = 0; i < chat->n_images; i++)
        if (chat->images[i].n < 4 || memcmp(chat->images[i].data, "\x89PNG", 4) != 0) {
            err_field(e, chat->images[i].field, "%s is no image", chat->images[i].field);
            return NULL;
        }
    atomic_fetch_add(&fake_images, chat->n_images);
    const json_t *last = json_array_get(chat->messages, json_array_size(chat->messages) - 1);
    const char *text = json_string_value(json_object_get(last, "content"));
    return new_prompt(10 + chat->n_images, text && strcmp(text, "fail") == 0);
}
int engine_render(const struct engine *g, const struct chat *chat, struct buf *out, struct err *e)
{
    (void)g, (void)chat, (void)out, (void)e;
    return 0;
}
int prompt_images(const struct prompt *p)
{
    (void)p;
    return 0;
}
struct prompt_place prompt_place(const struct prompt *p, int i)
{
    (void)p, (void)i;
    return (struct prompt_place){ 0 };
}
struct prompt *engine_prompt_ids(struct engine *g, const int32_t *ids, size_t n, int keep, struct err *e)
{
    (void)g, (void)ids, (void)keep, (void)e;
    return new_prompt((int)n, false);
}
struct prompt *engine_prompt_text(struct engine *g, const char *text, size_t n, bool special, int keep, struct err *e)
{
    (void)g, (void)text, (void)special, (void)keep, (void)e;
    return new_prompt((int)n, false);
}
struct prompt *engine_prompt_pair(struct engine *g, const char *a, size_t n_a, const char *b, size_t n_b, bool special,
                                  int keep, struct err *e)
{
    (void)b;
    return engine_prompt_text(g, a, n_a + n_b, special, keep, e);
}
int prompt_tokens(const struct prompt *p) { return p->n; }
void prompt_free(struct prompt *p) { free(p); }
int  prompt_image_tokens(const struct prompt *p) { return p->n > 10 ? p->n - 10 : 0; }
bool prompt_ends_with(const struct prompt *p, const char *text) { return p->n < 0 && !text; }
bool engine_template_writes(const struct engine *g, const char *words) { return !g && !words; }
const int32_t *prompt_ids(const struct prompt *p)
{
    static const int32_t ids[1 << 16];
    return p->n < 1 << 16 ? ids : NULL;
}

struct request *engine_submit(struct engine *g, struct prompt *p, const struct params *params, struct err *e)
{
    (void)g;
    struct request *r = xcalloc(1, sizeof *r);
    r->prompt = p->n;
    r->fail = p->fail;
    prompt_free(p);
    if (atomic_fetch_add(&fake_live, 1) >= fake_max_live) {
        atomic_fetch_sub(&fake_live, 1);
        free(r);
        err_set(e, "the queue is full");
        e->status = 429;
        return NULL;
    }
    pthread_mutex_init(&r->lock, NULL);
    r->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->max = params->max_tokens ? params->max_tokens : 8;
    r->logprobs = params->logprobs;
    r->told = params->ended;
    r->told_arg = params->ended_arg;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    pthread_create(&r->thread, &small, generate, r);
    pthread_attr_destroy(&small);
    return r;
}

int engine_submit_many(struct engine *g, struct prompt *p, const struct params *params, int n, struct request **out,
                       struct err *e)
{
    struct prompt like = *p;
    prompt_free(p);
    for (int i = 0; i < n; i++) {
        out[i] = engine_submit(g, new_prompt(like.n, like.fail), params, e);
        if (!out[i]) {
            while (i > 0)
                request_free(out[--i]);
            return -1;
        }
    }
    return 0;
}

int request_next(struct request *r, struct event *out)
{
    uint64_t drained;
    *out = (struct event){ 0 };
    pthread_mutex_lock(&r->lock);
    int have = 0;
    if (r->taken < r->made) {
        out->kind = EVENT_DELTA;
        out->text = xcalloc((size_t)(r->made - r->taken), 8);
        out->logprobs = r->logprobs ? xcalloc((size_t)(r->made - r->taken), sizeof *out->logprobs) : NULL;
        while (r->taken < r->made) {
            out->n_text += (size_t)snprintf(out->text + out->n_text, 8, "w%d ", r->taken);
            if (r->logprobs)
                out->logprobs[out->n_logprobs++] = (struct token_logprob){ .id = r->taken,
                                                                           .logprob = r->taken ? -0.5f : -INFINITY,
                                                                          .n_top = 1, .top_id = { 200 } };
            r->taken++;
            out->n_tokens++;
        }
        have = 1;
    } else if (r->ended && !r->end_taken) {
        out->kind = r->fail ? EVENT_ERROR : EVENT_END;
        if (r->fail) {
            err_set(&out->err, "the device is lost");
            out->err.status = 500;
        }
        out->finish = atomic_load(&r->cancelled) ? FINISH_CANCELLED : FINISH_LENGTH;
        out->prompt_tokens = r->prompt;
        out->completion_tokens = r->made;
        out->total = 1;
        r->end_taken = true;
        have = 1;
    }
    if (!(r->ended && !r->end_taken) && read(r->fd, &drained, sizeof drained) < 0)
        drained = 0;
    pthread_mutex_unlock(&r->lock);
    return have;
}
int request_fd(const struct request *r) { return r->fd; }
void request_cancel(struct request *r) { atomic_store(&r->cancelled, true); }
void request_free(struct request *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    if (!r->ended)
        atomic_fetch_add(&fake_cancelled, 1);
    pthread_mutex_unlock(&r->lock);
    request_cancel(r);
    pthread_join(r->thread, NULL);
    close(r->fd);
    free(r);
    atomic_fetch_sub(&fake_live, 1);
}
void event_free(struct event *ev)
{
    free(ev->text);
    free(ev->logprobs);
}

/* Token 200 is half a UTF-8 sequence, 201 two characters of six bytes. */
void engine_piece(const struct engine *g, int32_t id, struct buf *out)
{
    (void)g;
    if (id == 200)
        buf_add(out, "\xE4\xBD", 2);
    else if (id == 201)
        buf_str(out, "\xE4\xBD\xA0\xE5\xA5\xBD");
    else
        buf_printf(out, "w%d ", id);
}
int engine_tokenize(const struct engine *g, const char *text, size_t n, bool special, int32_t **ids, size_t *n_ids,
                    struct err *e)
{
    (void)g, (void)special, (void)e;
    *ids = xcalloc(n + 1, sizeof **ids);
    for (size_t i = 0; i < n; i++)
        (*ids)[i] = (unsigned char)text[i];
    *n_ids = n;
    return 0;
}
int engine_detokenize(const struct engine *g, const int32_t *ids, size_t n, bool skip_special, struct buf *out,
                      struct err *e)
{
    (void)g, (void)skip_special, (void)e;
    for (size_t i = 0; i < n; i++)
        buf_byte(out, (char)ids[i]);
    return 0;
}
void engine_info(const struct engine *g, struct engine_info *out)
{
    (void)g;
    *out = (struct engine_info){ .model_dir = "models/fake", .model_type = "fake", .device = "none",
                                 .max_model_len = 2048, .max_num_seqs = 4, .vocab = 256, .takes_images = true,
                                 .makes_texts = true, .vector = 64 };
}
void engine_stats(struct engine *g, struct engine_stats *out)
{
    (void)g;
    *out = (struct engine_stats){ .running = atomic_load(&fake_live), .kv_pages = 10, .page_tokens = 16 };
}
