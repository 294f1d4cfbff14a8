/* server/routes.c - the table of routes, and what holds for all of them: keys,
 * origins, methods, and the counts by route and status. openapi.yaml says the
 * same to clients; tests/api/test_openapi.py compares the two. */
#include "server/routes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json_watch.h"
#include "server/access.h"
#include "server/cors.h"
#include "server/handlers.h"
#include "server/metrics.h"
#include "server/reply.h"

const struct route routes[] = {
    { "POST", "/v1/chat/completions", chat_completions, BODY_IMAGES, false },
    { "POST", "/v1/chat/completions/render", chat_render, BODY_IMAGES, false },
    { "POST", "/v1/completions", completions, BODY_SMALL, false },
    { "POST", "/v1/embeddings", embeddings, BODY_IMAGES, false },
    { "POST", "/v1/rerank", rerank, BODY_IMAGES, false },
    { "POST", "/v2/rerank", rerank, BODY_IMAGES, false },
    { "POST", "/rerank", rerank, BODY_IMAGES, false },
    { "POST", "/v1/classify", classify, BODY_IMAGES, false },
    { "POST", "/classify", classify, BODY_IMAGES, false },
    { "POST", "/v1/score", score, BODY_IMAGES, false },
    { "POST", "/score", score, BODY_IMAGES, false },
    { "POST", "/v1/responses", responses, BODY_IMAGES, false },
    { "POST", "/v1/messages", anthropic_messages, BODY_IMAGES, false },
    { "POST", "/v1/messages/count_tokens", anthropic_count, BODY_IMAGES, false },
    { "GET", "/v1/models", models_list, BODY_NONE, false },
    { "GET", "/v1/models/", models_get, BODY_NONE, false },
    { "GET", "/health", health_get, BODY_NONE, true },
    { "GET", "/ready", health_get, BODY_NONE, true },
    { "GET", "/live", live_get, BODY_NONE, true },
    { "GET", "/metrics", metrics_get, BODY_NONE, false },
    { "POST", "/tokenize", tokenize_post, BODY_IMAGES, false },
    { "POST", "/detokenize", detokenize_post, BODY_SMALL, false },
    { "GET", "/version", version_get, BODY_NONE, false },
    { "GET", "/openapi.json", openapi_get, BODY_NONE, false },
    { "GET", "/model_info", model_info, BODY_NONE, false },
    { "GET", "/get_model_info", model_info, BODY_NONE, false },
    { "GET", "/server_info", server_info, BODY_NONE, false },
    { "GET", "/get_server_info", server_info, BODY_NONE, false },
    { "GET", "/get_load", load_get, BODY_NONE, false },
    { "GET", "/", page_get, BODY_NONE, true },
    { "GET", "/ui/", page_get, BODY_NONE, true },
};
const int n_routes = sizeof routes / sizeof *routes;
_Static_assert(sizeof routes / sizeof *routes < APP_ROUTES, "struct app counts too few routes");

enum { SMALL_BODY = 4 << 20 };

/* A pattern that ends in / also stands for everything below it, but not for itself. */
static bool path_matches(const char *pattern, const char *path)
{
    size_t n = strlen(pattern);
    if (n > 1 && pattern[n - 1] == '/')
        return strncmp(pattern, path, n) == 0 && path[n];
    return strcmp(pattern, path) == 0;
}

/* HEAD is answered like GET; http.c leaves the body out. *known_path says whether the path exists with another method,
 * which is 405 and not 404. Without the page its paths do not exist. */
static const struct route *find_route(const struct app *a, const struct exchange *x, bool *known_path)
{
    const char *method = strcmp(x->method, "HEAD") == 0 ? "GET" : x->method;
    *known_path = false;
    for (int i = 0; i < n_routes; i++) {
        if (!path_matches(routes[i].path, x->path) || (routes[i].handle == page_get && !a->cfg->ui))
            continue;
        *known_path = true;
        if (strcmp(routes[i].method, method) == 0)
            return &routes[i];
    }
    return NULL;
}

/* "GET, HEAD" or "POST": what the path can be asked with. */
static void allowed_methods(const char *path, char *out, size_t size)
{
    bool get = false, post = false;
    for (int i = 0; i < n_routes; i++)
        if (path_matches(routes[i].path, path))
            *(strcmp(routes[i].method, "GET") == 0 ? &get : &post) = true;
    snprintf(out, size, "%s%s%s", get ? "GET, HEAD" : "", get && post ? ", " : "", post ? "POST" : "");
}

static void deny(struct exchange *x, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* An error that is answered before a handler runs. */
static void deny(struct exchange *x, int status, const char *code, const char *fmt, ...)
{
    struct err e;
    char       text[400];
    va_list    ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&e, "%s", text);
    e.status = status;
    snprintf(e.code, sizeof e.code, "%s", code);
    reply_error(x, &e);
}

/* The first coding of the body that is not the body as it is, or NULL. */
static const char *encoding_of(const struct exchange *x)
{
    for (int i = 0; i < x->head.n_fields; i++) {
        const struct head_field *f = &x->head.field[i];
        if (strcasecmp(f->name, "Content-Encoding") == 0 && *f->value && strcasecmp(f->value, "identity") != 0)
            return f->value;
    }
    return NULL;
}

/* Everything that can be decided from the head alone, in an order that gives nothing away: origin and preflight first,
 * because browsers ask without a key; then the key, before anybody learns which paths exist; then whether there is
 * room; then path, method and encoding; last whether the key's limits allow it. Returns how large the body may be. A
 * refused request has its status set when this returns. */
size_t routes_begin(void *ctx, struct exchange *x)
{
    struct app *a = ctx;
    struct err  e = { 0 };
    bool        known;
    char        methods[40];
    const struct route *r = find_route(a, x, &known);
    x->user = (void *)r;
    if (strncmp(x->path, "/v1/messages", 12) == 0)
        x->write_error = anthropic_error;
    cors_allow(&a->cfg->allow_origin, x);
    int state = atomic_load(&a->state);
    if (state >= APP_LEAVING)
        x->last = true;
    if (known && cors_is_preflight(&a->cfg->allow_origin, x)) {
        allowed_methods(x->path, methods, sizeof methods);
        cors_answer_preflight(x, methods);
    } else if (!(r && r->open) && !access_identify(a, x)) {
        exchange_add_header(x, "WWW-Authenticate", "Bearer");
        deny(x, 401, "invalid_api_key", "a valid API key is needed (Authorization: Bearer ...)");
    } else if (!(r && r->open) && exchange_is_extra(x)) {
        deny(x, 503, "too_many_connections", "too many connections are open; try again later");
    } else if (!known) {
        deny(x, 404, "not_found", "there is nothing at %.200s", x->path);
    } else if (!r) {
        allowed_methods(x->path, methods, sizeof methods);
        exchange_add_header(x, "Allow", "%s", methods);
        deny(x, 405, "method_not_allowed", "%.20s is not allowed at %.200s; use %s", x->method, x->path, methods);
    } else if (r->body != BODY_NONE && encoding_of(x)) {
        exchange_add_header(x, "Accept-Encoding", "identity");
        deny(x, 415, "unsupported_encoding", "Content-Encoding: %.40s is not read here; send the body as it is",
             encoding_of(x));
    } else if (r->body == BODY_IMAGES && state == APP_DRAINING && !app_engine(a, &e)) {
        reply_error(x, &e);        /* before a large body is read for nothing */
    } else if (r->body != BODY_NONE && access_begin(a, x, &e) != 0) {
        reply_error(x, &e);
    }
    if (!r || r->body == BODY_NONE)
        return 1024;
    size_t limit = a->cfg->max_body_bytes;
    return r->body == BODY_SMALL && limit > SMALL_BODY ? SMALL_BODY : limit;
}

/* Calls the handler. An answer that outgrew its buffer or ran out of memory is replaced by an error, so handlers need
 * not check every write. */
void routes_handle(void *ctx, struct exchange *x)
{
    const struct route *r = x->user;
    json_begin();
    r->handle(ctx, x);
    if (!buf_ok(&x->reply)) {
        struct err e;
        buf_error(&x->reply, &e, "the answer is too large");
        if (!e.status) {
            e.status = 500;
            snprintf(e.code, sizeof e.code, "answer_too_large");
        }
        buf_free(&x->reply);
        reply_error(x, &e);
    }
}

/* Called exactly once for every exchange, also for those whose head was malformed; those have no route. 499, as nginx
 * has it, counts clients that went away. */
void routes_done(void *ctx, struct exchange *x)
{
    struct app *a = ctx;
    const struct route *r = x->user;
    metrics_count(a, r ? (int)(r - routes) : n_routes, x->broken ? 499 : x->status);
    record_log(x, r && (r->open || r->handle == metrics_get));
    access_end(a, x);
}
