/* server/classify.c - POST /classify (vLLM's form, also at /v1/classify): which of some classes an input belongs to.
 *
 * A model with a head for classes has its own, and their names. One that leads texts and images into one space takes
 * them from the request: `labels` are texts, whose vectors come first, and an input's probability of each follows from
 * the cosine with it, as the model was trained (softmax for CLIP, a sigmoid for SigLIP). */
#include <stdlib.h>
#include <string.h>

#include "base/json_watch.h"
#include "server/embedding.h"
#include "server/fields.h"
#include "server/handlers.h"
#include "server/inputs.h"
#include "server/reply.h"
#include "server/vectors.h"

enum { MAX_LABELS = 1024 };

struct classification {
    struct app      *app;      /* borrowed                                                    */
    struct exchange *x;        /* borrowed                                                    */
    struct engine_info info;
    json_t          *root;     /* owned: the body                                             */
    const json_t    *labels;   /* borrowed from root: of the request; NULL: the model's       */
    struct inputs    in;       /* owned: the labels of the request, then the inputs           */
    struct params    params;
    char            *salt;     /* owned: params.cache_salt                                    */
    int    n_labels;           /* of the request; 0: the model's                              */
    int    n_classes;          /* of either                                                   */
    float *label;              /* owned, (n_labels, info.vector): their vectors, of length 1  */
    float *probs;              /* owned, (n_classes): of one input                            */
    bool   raw;                /* logits are told in the place of probabilities               */
};

/* Labels are texts; their prompts come before those of the inputs. */
static int add_labels(struct classification *q, struct err *e)
{
    json_t *list = NULL;
    char    at[48];
    if (member_array(q->root, "", "labels", &list, e) != 0)
        return -1;
    if (!list && !q->info.n_classes && q->info.match.there)
        return fields_wrong(e, "missing_field", "", "labels", "is missing: this model has no classes of its own");
    if (!list)
        return 0;
    if (!q->info.match.there)
        return fields_wrong(e, "unsupported_value", "", "labels", "cannot be given: this model %s",
                            q->info.n_classes ? "has classes of its own" : "cannot compare texts with inputs");
    if (json_array_size(list) < 1 || json_array_size(list) > MAX_LABELS)
        return fields_wrong(e, "invalid_value", "", "labels", "must hold 1 to %d texts", MAX_LABELS);
    q->labels = list;
    q->n_labels = (int)json_array_size(list);
    for (int i = 0; i < q->n_labels; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        snprintf(at, sizeof at, "labels[%d]", i);
        if (!json_is_string(v))
            return fields_wrong(e, "invalid_type", at, "", "must be a string");
        if (inputs_add(&q->in, v, at, e) != 0)
            return -1;
    }
    return 0;
}

/* Room for what is kept while the vectors come. */
static int take_room(struct classification *q, struct err *e)
{
    q->n_classes = q->n_labels ? q->n_labels : q->info.n_classes;
    q->label = malloc(((size_t)q->n_labels * (size_t)q->info.vector + 1) * sizeof *q->label);
    q->probs = malloc(((size_t)q->n_classes + 1) * sizeof *q->probs);
    return q->label && q->probs ? 0 : err_memory(e);
}

/* vLLM's use_activation, which older versions call activation. */
static int read_activation(struct classification *q, struct err *e)
{
    bool use = true;
    if (member_bool(q->root, "", "activation", &use, e) != 0 ||
        member_bool(q->root, "", "use_activation", &use, e) != 0)
        return -1;
    q->raw = !use;
    return 0;
}

static int check_classes(const struct classification *q, struct err *e)
{
    if (q->info.n_classes || q->info.match.there)
        return 0;
    err_set(e, "this model does not classify: it has no head for classes, and texts share no space with images");
    snprintf(e->code, sizeof e->code, "classify_not_supported");
    return e->status = 400, -1;
}

/* Reads the request in the order in which one field needs the other: the model, whether it can classify, parameters,
 * labels, inputs. -1 with the first thing that is wrong. */
static int parse(struct classification *q, struct engine *g, struct err *e)
{
    const char *user = NULL;
    engine_info(g, &q->info);
    q->root = fields_parse(q->x->body, q->x->n_body, e);
    bool ok = q->root && check_model(q->app, q->root, e) == 0 && check_classes(q, e) == 0 &&
              embedding_params(&q->params, &q->info, q->root, &q->salt, e) == 0 && read_activation(q, e) == 0 &&
              member_string(q->root, "", "user", &user, e) == 0 &&
              inputs_init(&q->in, q->app, g, q->x, q->root, e) == 0 && add_labels(q, e) == 0 &&
              inputs_add_all(&q->in, q->root, e) == 0 && take_room(q, e) == 0;
    q->params.classes = q->n_labels == 0;
    if (q->params.classes)
        q->params.pooling = POOLING_LAST;
    if (json_starved())
        return err_memory(e);          /* what looked wrong may just not have been there */
    return ok ? 0 : -1;
}

static struct prompt *make_label(void *arg, int i, struct params *params, struct err *e)
{
    struct classification *q = arg;
    return inputs_make(&q->in, i, params, e);
}

static struct prompt *make_input(void *arg, int i, struct params *params, struct err *e)
{
    return make_label(arg, ((struct classification *)arg)->n_labels + i, params, e);
}

/* Logits of one input become what is told of it. */
static void fill_probs(struct classification *q, const struct event *end)
{
    if (q->n_labels)
        engine_match_logits(&q->info.match, end->vector, q->label, q->n_labels, q->info.vector, q->probs);
    else
        memcpy(q->probs, end->vector, (size_t)q->n_classes * sizeof *q->probs);
    if (!q->raw)
        engine_probabilities(q->probs, q->n_classes, q->n_labels ? q->info.match.sigmoid : q->info.classes_sigmoid);
}

static void write_name(struct buf *out, const struct classification *q, int i)
{
    const json_t *v = json_array_get(q->labels, (size_t)i);
    const char *name = v ? json_string_value(v) : q->info.class_name[i];
    json_write_string(out, name, v ? json_string_length(v) : strlen(name));
}

/* The likeliest class by its name, and the probabilities of all in their order. */
static void write_input(struct classification *q, int index)
{
    struct buf *out = &q->x->reply;
    int best = 0;
    for (int i = 1; i < q->n_classes; i++)
        best = q->probs[i] > q->probs[best] ? i : best;
    buf_printf(out, "%s{\"index\":%d,\"label\":", index ? "," : "", index);
    write_name(out, q, best);
    buf_str(out, ",\"probs\":");
    for (int i = 0; i < q->n_classes; i++)
        buf_printf(out, "%c%.9g", i ? ',' : '[', (double)q->probs[i]);
    buf_printf(out, "],\"num_classes\":%d}", q->n_classes);
}

static int take_label(void *arg, int i, const struct event *end, struct err *e)
{
    struct classification *q = arg;
    (void)e;
    engine_unit(end->vector, end->n_vector);
    memcpy(q->label + (size_t)i * (size_t)q->info.vector, end->vector, (size_t)q->info.vector * sizeof *q->label);
    return 0;
}

/* A head's logits are no vector, and keep their length. */
static int take_input(void *arg, int i, const struct event *end, struct err *e)
{
    struct classification *q = arg;
    if (q->n_labels > 0)
        engine_unit(end->vector, end->n_vector);
    fill_probs(q, end);
    write_input(q, i);
    if (!buf_ok(&q->x->reply))
        return buf_error(&q->x->reply, e, "the answer is too large; ask for fewer inputs at a time");
    if (exchange_hold(q->x, q->x->reply.len))
        return 0;
    err_set(e, "too many answers are waiting for their clients");
    e->status = 503;
    snprintf(e->code, sizeof e->code, "overloaded");
    return -1;
}

static void begin_answer(struct classification *q)
{
    reply_begin_list(&q->x->reply, "classify-", app_model_name(q->app), "data");
}

static void end_answer(struct classification *q)
{
    q->x->status = 200;
    buf_printf(&q->x->reply, "],\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d,\"completion_tokens\":0}}",
               q->in.tokens, q->in.tokens);
}

/* The labels are texts, of which many are computed at a time, whatever the inputs are. */
static int compute(struct classification *q, struct engine *g, struct err *e)
{
    int seqs = q->info.max_num_seqs, rc = 0;
    struct vectors labels = { .n = q->n_labels, .window = seqs < VECTORS_WINDOW ? seqs : VECTORS_WINDOW,
                              .params = &q->params, .make = make_label, .take = take_label, .arg = q };
    struct vectors inputs = { .n = q->in.n - q->n_labels, .window = inputs_window(&q->in), .params = &q->params,
                              .make = make_input, .take = take_input, .arg = q };
    if (q->n_labels)
        rc = vectors_compute(q->app, g, q->x, &labels, e);
    if (rc != 0)
        return -1;
    begin_answer(q);
    return vectors_compute(q->app, g, q->x, &inputs, e);
}

/* From the body to the answer. The JSON stays until the end: the answer names the labels. */
void classify(struct app *a, struct exchange *x)
{
    struct err     e = { 0 };
    struct engine *g = app_await_engine(a, x, &e);
    struct classification q = { .app = a, .x = x };
    if (x->broken)
        return;
    int rc = g ? 0 : -1;
    if (rc == 0)
        rc = app_parsing_enter(a, x) ? parse(&q, g, &e) : -1;
    app_input_leave(a, x);
    if (rc == 0)
        rc = compute(&q, g, &e);
    if (rc == 0)
        end_answer(&q);
    inputs_end(&q.in, a, x, rc, &e);
    free(q.label);
    free(q.probs);
    free(q.salt);
    json_decref(q.root);
    app_parsing_leave(a, x);
}
