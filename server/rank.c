/* server/rank.c - POST /v1/rerank (Jina's and Cohere's form, also at /rerank and /v2/rerank) and POST /v1/score
 * (vLLM's, also at /score): how well texts fit together, as the cosine of their embeddings; or, by a cross-encoder (a
 * model with a head for one class), as the probability that it gives to the two texts read together.
 *
 * A query's vector is kept while its documents' come, and no other vector is: so the order of the prompts is that of
 * the comparisons. */
#include <stdlib.h>
#include <string.h>

#include "base/json_watch.h"
#include "server/embedding.h"
#include "server/fields.h"
#include "server/handlers.h"
#include "server/inputs.h"
#include "server/known.h"
#include "server/reply.h"
#include "server/vectors.h"

struct score { int index; double value; };

struct ranking {
    struct app      *app;      /* borrowed                                            */
    struct exchange *x;        /* borrowed                                            */
    json_t          *root;     /* owned: the body                                     */
    const json_t    *documents;    /* borrowed from root: of rerank                   */
    struct inputs    in;       /* owned: a query before the documents that it is compared with */
    struct params    params;
    char            *salt;     /* owned: params.cache_salt                            */
    bool   cross;              /* the model reads both texts at once: every prompt is a pair */
    bool   paired;             /* every document has a query of its own, else all have the first */
    float *query;              /* owned, (width): the vector of the last query        */
    struct score *score;       /* owned, (n)                                          */
    int    n, top;             /* documents; how many of them are told                */
    bool   tell_documents;
};

/* What other servers do with documents and this one does not. */
static const struct known_field not_done[] = {
    { "max_tokens_per_doc", "" }, { "max_chunks_per_doc", "" }, { "overlap_tokens", "" }, { "rank_fields", "[text]" },
    { 0 }
};

static bool is_id(const json_t *v) { return json_is_number(v) || json_big(v, NULL); }

/* A list of inputs, as opposed to one, which may be an array of token ids. */
static bool is_list(const json_t *v) { return json_is_array(v) && !is_id(json_array_get(v, 0)); }

/* How many inputs a field holds, which is one or a list. -1: it is missing, empty, or holds too many. */
static int count(const json_t *v, const char *name, int *n, struct err *e)
{
    if (!v || json_is_null(v))
        return fields_wrong(e, "missing_field", "", name, "is missing");
    size_t size = is_list(v) ? json_array_size(v) : 1;
    if (size == 0 || size > INPUTS_MAX)
        return fields_wrong(e, "invalid_value", "", name, size ? "may hold at most %d inputs" : "must not be empty",
                            INPUTS_MAX);
    *n = (int)size;
    return 0;
}

/* The i-th input of what is one or a list. */
static int add(struct ranking *q, const json_t *v, const char *name, int i, struct err *e)
{
    char at[48];
    if (!is_list(v))
        return inputs_add(&q->in, v, name, e);
    snprintf(at, sizeof at, "%s[%d]", name, i);
    return inputs_add(&q->in, json_array_get(v, (size_t)i), at, e);
}

/* A query and a document as one prompt, or the document's and before it, if it is the first that needs it, the
 * query's. */
static int add_document(struct ranking *q, const json_t *queries, const char *query, const json_t *documents,
                        const char *document, int i, struct err *e)
{
    char at[48], from[48];
    int  k = q->paired ? i : 0;
    if (!q->cross)
        return (k == i && add(q, queries, query, i, e) != 0) || add(q, documents, document, i, e) != 0 ? -1 : 0;
    snprintf(from, sizeof from, is_list(queries) ? "%s[%d]" : "%s", query, k);
    snprintf(at, sizeof at, is_list(documents) ? "%s[%d]" : "%s", document, i);
    return inputs_add_pair(&q->in, is_list(queries) ? json_array_get(queries, (size_t)k) : queries, from,
                           is_list(documents) ? json_array_get(documents, (size_t)i) : documents, at, e);
}

/* Adds the prompts of all queries and documents: one query for all documents, or as many as there are documents, which
 * are then compared pair by pair. A query comes before its documents. */
static int add_all(struct ranking *q, const json_t *queries, const char *query, const json_t *documents,
                   const char *document, struct err *e)
{
    int n = 0;
    if (count(queries, query, &n, e) != 0 || count(documents, document, &q->n, e) != 0)
        return -1;
    if (n > 1 && n != q->n)
        return fields_wrong(e, "invalid_value", "", query, "holds %d inputs: it must be one, or as many as %s has", n,
                            document);
    q->paired = n > 1;
    for (int i = 0; i < q->n; i++)
        if (add_document(q, queries, query, documents, document, i, e) != 0)
            return -1;
    q->score = calloc((size_t)q->n, sizeof *q->score);
    return q->score ? 0 : err_memory(e);
}

/* One query and the documents that are compared with it. Without top_n all of them are told. -1: the error names the
 * field. */
static int parse_rerank(struct ranking *q, struct err *e)
{
    const json_t *query = json_object_get(q->root, "query");
    int64_t top = INPUTS_MAX;
    json_t *documents = NULL;
    q->tell_documents = true;
    if (known_check(not_done, q->root, "", e) != 0 ||
        member_array(q->root, "", "documents", &documents, e) != 0 ||
        member_int(q->root, "", "top_n", 1, INT32_MAX, &top, e) != 0 ||
        member_bool(q->root, "", "return_documents", &q->tell_documents, e) != 0)
        return -1;
    if (is_list(query))
        return fields_wrong(e, "invalid_type", "", "query", "must be one input");
    q->documents = documents;
    if (documents && is_id(json_array_get(documents, 0)))
        return fields_wrong(e, "invalid_type", "documents[0]", "", "must be a string or an object");
    if (add_all(q, query, "query", documents, "documents", e) != 0)
        return -1;
    q->top = top < q->n ? (int)top : q->n;
    return 0;
}

/* Which of its names the request has; the first one if it has none. NULL: it has two. */
static const char *one_of(const json_t *in, const char *const names[3], struct err *e)
{
    const char *found = NULL;
    for (int i = 0; i < 3; i++) {
        const json_t *v = json_object_get(in, names[i]);
        if (!v || json_is_null(v))
            continue;
        if (found) {
            fields_wrong(e, "invalid_value", "", names[i], "excludes %s, which is another name of it", found);
            return NULL;
        }
        found = names[i];
    }
    return found ? found : names[0];
}

/* Both texts go by three names each, of which a request may use one. */
static int parse_score(struct ranking *q, struct err *e)
{
    static const char *const first[] = { "text_1", "queries", "data_1" }, *const second[] = { "text_2", "documents",
                                                                                             "data_2" };
    const char *one = one_of(q->root, first, e), *two = one ? one_of(q->root, second, e) : NULL;
    if (!two)
        return -1;
    return add_all(q, json_object_get(q->root, one), one, json_object_get(q->root, two), two, e);
}

/* Always true. */
static bool choose(struct ranking *q, const struct engine_info *info)
{
    q->cross = info->n_classes == 1;
    q->params.classes = q->cross;
    q->params.pooling = q->cross ? POOLING_LAST : q->params.pooling;
    return true;
}

/* Reads what all ranks have in common, then by `fields` what is this form's. -1 with the first thing that is wrong. */
static int parse(struct ranking *q, struct engine *g, int (*fields)(struct ranking *, struct err *), struct err *e)
{
    struct engine_info info;
    engine_info(g, &info);
    q->root = fields_parse(q->x->body, q->x->n_body, e);
    bool ok = q->root && check_model(q->app, q->root, e) == 0 &&
              embedding_params(&q->params, &info, q->root, &q->salt, e) == 0 &&
              choose(q, &info) && inputs_init(&q->in, q->app, g, q->x, q->root, e) == 0 && fields(q, e) == 0;
    if (ok && !(q->query = malloc((size_t)info.vector * sizeof *q->query)))
        return err_memory(e);
    if (json_starved())
        return err_memory(e);          /* what looked wrong may just not have been there */
    return ok ? 0 : -1;
}

static struct prompt *make(void *arg, int i, struct params *params, struct err *e)
{
    struct ranking *q = arg;
    return inputs_make(&q->in, i, params, e);
}

/* A vector has come. That of a query is kept; that of a document is compared with the query before it, by the cosine,
 * since both have the length 1. */
static int take(void *arg, int i, const struct event *end, struct err *e)
{
    struct ranking *q = arg;
    (void)e;
    if (q->cross) {
        engine_probabilities(end->vector, 1, true);
        q->score[i] = (struct score){ i, (double)end->vector[0] };
        return 0;
    }
    engine_unit(end->vector, end->n_vector);
    if (q->paired ? i % 2 == 0 : i == 0) {
        memcpy(q->query, end->vector, (size_t)end->n_vector * sizeof *q->query);
        return 0;
    }
    double sum = 0;
    for (int k = 0; k < end->n_vector; k++)
        sum += (double)q->query[k] * (double)end->vector[k];
    int document = q->paired ? i / 2 : i - 1;
    q->score[document] = (struct score){ document, sum };
    return 0;
}

/* The better one first; of equals the one that was sent first. */
static int by_score(const void *a, const void *b)
{
    const struct score *s = a, *t = b;
    if (s->value != t->value)
        return s->value < t->value ? 1 : -1;
    return s->index - t->index;
}

/* ,"document":{"text":...}, if it is a text. */
static void write_document(struct buf *out, const json_t *v)
{
    const json_t *text = json_is_string(v) ? v : json_object_get(v, "text");
    text = json_is_string(text) ? text : json_object_get(v, "content");
    if (!json_is_string(text))
        return;
    buf_str(out, ",\"document\":{\"text\":");
    json_write_string(out, json_string_value(text), json_string_length(text));
    buf_byte(out, '}');
}

static void write_usage(struct ranking *q)
{
    buf_printf(&q->x->reply, "],\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}", q->in.tokens, q->in.tokens);
}

/* The best ones first, as many as were asked for. */
static void write_rerank(struct ranking *q)
{
    struct buf *out = &q->x->reply;
    qsort(q->score, (size_t)q->n, sizeof *q->score, by_score);
    reply_begin_list(out, "rerank-", app_model_name(q->app), "results");
    for (int i = 0; i < q->top; i++) {
        buf_printf(out, "%s{\"index\":%d,\"relevance_score\":%.9g", i ? "," : "", q->score[i].index, q->score[i].value);
        if (q->tell_documents)
            write_document(out, json_array_get(q->documents, (size_t)q->score[i].index));
        buf_byte(out, '}');
    }
    write_usage(q);
}

static void write_score(struct ranking *q)
{
    reply_begin_list(&q->x->reply, "score-", app_model_name(q->app), "data");
    for (int i = 0; i < q->n; i++)
        buf_printf(&q->x->reply, "%s{\"index\":%d,\"object\":\"score\",\"score\":%.9g}", i ? "," : "", i,
                   q->score[i].value);
    write_usage(q);
}

/* From the body to the answer. The JSON stays until the end, since the answer may tell the documents again. */
static void rank(struct app *a, struct exchange *x, int (*fields)(struct ranking *, struct err *),
                 void (*write)(struct ranking *))
{
    struct err     e = { 0 };
    struct engine *g = app_await_engine(a, x, &e);
    struct ranking q = { .app = a, .x = x };
    if (x->broken)
        return;
    int rc = g ? 0 : -1;
    if (rc == 0)
        rc = app_parsing_enter(a, x) ? parse(&q, g, fields, &e) : -1;
    app_input_leave(a, x);
    if (rc == 0)
        rc = vectors_compute(a, g, x, &(struct vectors){ .n = q.in.n, .window = inputs_window(&q.in),
                                                         .params = &q.params, .make = make, .take = take, .arg = &q },
                             &e);
    if (rc == 0) {
        x->status = 200;
        write(&q);
    }
    inputs_end(&q.in, a, x, rc, &e);
    free(q.query);
    free(q.score);
    free(q.salt);
    json_decref(q.root);
    app_parsing_leave(a, x);
}

void rerank(struct app *a, struct exchange *x) { rank(a, x, parse_rerank, write_rerank); }
void score(struct app *a, struct exchange *x) { rank(a, x, parse_score, write_score); }
