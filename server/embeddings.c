/* server/embeddings.c - POST /v1/embeddings: vectors of texts, lists of token ids and contents with images.
 *
 * A vector is the model's last hidden states, pooled as the checkpoint or --pooling says, and mostly of length 1. With
 * `dimensions` it is cut and brought to that length again, as Matryoshka embeddings are meant to be used. Answers are
 * written as the vectors come: none of them waits for the others in memory. */
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json_watch.h"
#include "server/embedding.h"
#include "server/fields.h"
#include "server/handlers.h"
#include "server/inputs.h"
#include "server/reply.h"
#include "server/vectors.h"

struct embeddings {
    struct app      *app;      /* borrowed           */
    struct exchange *x;        /* borrowed           */
    struct inputs    in;       /* owned              */
    struct params    params;   /* for every prompt   */
    char            *salt;     /* owned: params.cache_salt */
    bool  base64, normalised;
    int   dimensions;          /* of every vector    */
    int   cached;              /* tokens             */
};

/* The fields that all routes of vectors share. *salt: memory that p->cache_salt points to, for the caller to free, also
 * after -1. Fails with 400 where the model has no embeddings. */
int embedding_params(struct params *p, const struct engine_info *info, const json_t *in, char **salt, struct err *e)
{
    const json_t *v = NULL;
    int64_t priority = 0;
    *p = (struct params){ .repetition_penalty = 1, .pooling = info->pooling.how };
    *salt = NULL;
    if (!info->pooling.how) {
        err_set(e, "there are no embeddings: %s", info->pooling.why);
        snprintf(e->code, sizeof e->code, "embeddings_not_supported");
        return e->status = 400, -1;
    }
    if (member_int(in, "", "priority", INT32_MIN, INT32_MAX, &priority, e) != 0 ||
        member_text(in, "", "cache_salt", &v, e) != 0)
        return -1;
    if (v && json_string_length(v) == 0)
        return fields_wrong(e, "invalid_value", "", "cache_salt", "must not be empty");
    p->priority = (int)priority;
    p->n_cache_salt = v ? json_string_length(v) : 0;
    if (v && !(*salt = malloc(p->n_cache_salt)))
        return err_memory(e);
    if (v)
        memcpy(*salt, json_string_value(v), p->n_cache_salt);
    p->cache_salt = *salt;
    return 0;
}

/* How the vectors are to look. `user` says who asks and changes nothing. */
static int parse_form(struct embeddings *q, const struct engine_info *info, const json_t *in, struct err *e)
{
    const char *format = "float", *user = NULL;
    int64_t dimensions = info->vector;
    q->normalised = info->pooling.normalised;
    if (member_string(in, "", "encoding_format", &format, e) != 0 ||
        member_int(in, "", "dimensions", 1, info->vector, &dimensions, e) != 0 ||
        member_bool(in, "", "normalize", &q->normalised, e) != 0 || member_string(in, "", "user", &user, e) != 0)
        return -1;
    q->base64 = strcmp(format, "base64") == 0;
    if (!q->base64 && strcmp(format, "float") != 0)
        return fields_wrong(e, "invalid_value", "", "encoding_format", "must be float or base64");
    q->dimensions = (int)dimensions;
    return 0;
}

/* All that is said against a request from its fields alone, and the prompts of its texts. */
static int parse(struct embeddings *q, struct engine *g, json_t **root, struct err *e)
{
    struct engine_info info;
    engine_info(g, &info);
    *root = fields_parse(q->x->body, q->x->n_body, e);
    bool ok = *root && check_model(q->app, *root, e) == 0 &&
              embedding_params(&q->params, &info, *root, &q->salt, e) == 0 &&
              parse_form(q, &info, *root, e) == 0 && inputs_init(&q->in, q->app, g, q->x, *root, e) == 0 &&
              inputs_add_all(&q->in, *root, e) == 0;
    if (json_starved())
        return err_memory(e);          /* what looked wrong may just not have been there */
    return ok ? 0 : -1;
}

/* The numbers as JSON, or their bytes (32-bit floats, little-endian) in base64, as OpenAI's client asks for them. */
static void write_vector(struct buf *out, const float *v, int n, bool base64)
{
    if (!base64) {
        for (int i = 0; i < n; i++)
            buf_printf(out, "%c%.9g", i ? ',' : '[', (double)v[i]);
        buf_byte(out, ']');
        return;
    }
    size_t bytes = (size_t)n * sizeof *v, length = base64_length(bytes);
    char  *text = malloc(length + 1);
    if (!text) {
        out->failed = out->starved = true;
        return;
    }
    base64_encode(text, (const uint8_t *)v, bytes);
    buf_byte(out, '"');
    buf_add(out, text, length);
    buf_byte(out, '"');
    free(text);
}

/* For struct vectors. The answers of all requests together may take so much; what is written of this one is counted
 * while it grows. */
static int take(void *arg, int i, const struct event *end, struct err *e)
{
    struct embeddings *q = arg;
    float *v = end->vector;
    int    n = end->n_vector < q->dimensions ? end->n_vector : q->dimensions;
    struct buf *out = &q->x->reply;
    q->cached += end->cached_tokens;
    if (q->normalised)
        engine_unit(v, n);
    buf_printf(out, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i ? "," : "", i);
    write_vector(out, v, n, q->base64);
    buf_byte(out, '}');
    if (!buf_ok(out))
        return buf_error(out, e, "the answer is too large; ask for fewer inputs at a time");
    if (exchange_hold(q->x, out->len))
        return 0;
    err_set(e, "too many answers are waiting for their clients");
    e->status = 503;
    snprintf(e->code, sizeof e->code, "overloaded");
    return -1;
}

static struct prompt *make(void *arg, int i, struct params *params, struct err *e)
{
    struct embeddings *q = arg;
    return inputs_make(&q->in, i, params, e);
}

static void begin_answer(struct embeddings *q)
{
    reply_begin_list(&q->x->reply, "embd-", app_model_name(q->app), "data");
}

static void end_answer(struct embeddings *q)
{
    q->x->status = 200;
    buf_printf(&q->x->reply, "],\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d,\"completion_tokens\":0,"
                    "\"prompt_tokens_details\":{\"cached_tokens\":%d}}}",
               q->in.tokens, q->in.tokens, q->cached);
}

/* The whole request. Its JSON is freed before the first vector is waited for, unless some of its inputs are chats,
 * which are made one by one. */
void embeddings(struct app *a, struct exchange *x)
{
    struct err     e = { 0 };
    struct engine *g = app_await_engine(a, x, &e);
    struct embeddings q = { .app = a, .x = x };
    json_t        *root = NULL;
    if (x->broken)
        return;
    int rc = g ? 0 : -1;
    if (rc == 0)
        rc = app_parsing_enter(a, x) ? parse(&q, g, &root, &e) : -1;
    app_input_leave(a, x);
    if (rc == 0 && q.in.n_chats == 0) {
        json_decref(root);
        root = NULL;
        exchange_drop_body(x);
        app_parsing_leave(a, x);
    }
    if (rc == 0) {
        begin_answer(&q);
        rc = vectors_compute(a, g, x, &(struct vectors){ .n = q.in.n, .window = inputs_window(&q.in),
                                                         .params = &q.params, .make = make, .take = take, .arg = &q },
                             &e);
    }
    if (rc == 0)
        end_answer(&q);
    inputs_end(&q.in, a, x, rc, &e);
    free(q.salt);
    json_decref(root);
    app_parsing_leave(a, x);
}
