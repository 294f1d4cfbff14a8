/* fetch/listing.c - one request: GET /api/models/ORG/NAME/revision/REVISION. See listing.h. */
#include "fetch/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LISTING_BYTES = 64 << 20, MAX_TRIES = 5, MAX_HOPS = 5, MAX_WAIT = 30 };      /* seconds */

/* The token goes to the hub itself and nowhere else: a redirect to a storage host must not receive it. */
const char *hub_bearer(const struct hub *h, const char *url)
{
    char own[TRANSFER_ORIGIN], other[TRANSFER_ORIGIN];
    transfer_origin(h->endpoint, own);
    transfer_origin(url, other);
    return *h->token && *own && strcmp(own, other) == 0 ? h->token : NULL;
}

/* A redirect may change the host, but not give up TLS. */
bool hub_may_follow(const char *from, const char *to)
{
    char a[TRANSFER_ORIGIN], b[TRANSFER_ORIGIN];
    transfer_origin(from, a);
    transfer_origin(to, b);
    return *b && (strncmp(a, "https:", 6) != 0 || strncmp(b, "https:", 6) == 0);
}

/* Waits double from half a second, unless the hub says how long. */
double hub_retry(const struct transfer *t, int tries)
{
    bool busy = t->end == TRANSFER_ANSWERED && (t->status == 408 || t->status == 429 || t->status >= 500);
    if (tries >= MAX_TRIES || (t->end == TRANSFER_ANSWERED && !busy) || t->end == TRANSFER_NO_TRUST ||
        t->end == TRANSFER_WRONG || t->end == TRANSFER_REFUSED)
        return -1;
    int64_t told = transfer_number(t, "Retry-After");
    double  wait = 0.5 * (double)(1 << tries);
    if (told < 0)
        return wait;
    return told < MAX_WAIT ? (double)told : MAX_WAIT;
}

/* What the hub itself says of its refusal, as far as it is harmless on a terminal. */
static void told_by_hub(const struct transfer *t, char out[160])
{
    transfer_header(t, "X-Error-Message", out, 160);
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
}

/* 404 has several causes, which a header tells apart; a hub that does not send it leaves two. */
static int not_found(const struct transfer *t, const struct hub *h, const struct hub_name *name, const char *file,
                     struct err *e)
{
    char code[40];
    transfer_header(t, "X-Error-Code", code, sizeof code);
    if (strcmp(code, "RevisionNotFound") == 0)
        return err_field(e, "model", "%s has no revision '%s' at %s", name->model, name->revision, h->endpoint);
    if (file)
        return err_field(e, "model", "%s: %s does not have the file %s that it lists", name->model, h->endpoint, file);
    if (strcmp(code, "RepoNotFound") == 0 || strcmp(name->revision, "main") == 0)
        return err_field(e, "model", "there is no model %s at %s", name->model, h->endpoint);
    return err_field(e, "model", "there is no model %s at %s, or it has no revision '%s'", name->model, h->endpoint,
                     name->revision);
}

/* Turns an answer that is no success into one sentence that says what the user can do: check the network, the token,
 * the name, or ask for access. `file` NULL: the list of files was asked for. Always -1. */
int hub_refusal(const struct transfer *t, const struct hub *h, const struct hub_name *name, const char *file,
                struct err *e)
{
    char told[160], code[40];
    told_by_hub(t, told);
    transfer_header(t, "X-Error-Code", code, sizeof code);
    const char *sep = *told ? ": " : "";
    if (t->end == TRANSFER_NO_TRUST)
        return err_set(e, "%s: the connection is not safe: %.200s", h->endpoint, t->why);
    if (t->end != TRANSFER_ANSWERED)
        return err_set(e, "%s cannot be reached: %.200s. Is there a network? HF_ENDPOINT names another hub",
                       h->endpoint, t->why);
    if (t->status == 401 && *h->token && strcmp(code, "RepoNotFound") != 0 && strcmp(code, "GatedRepo") != 0)
        return err_field(e, "HF_TOKEN", "%s refuses the token (HF_TOKEN, or the file token in HF_HOME)%s%s",
                         h->endpoint, sep, told);
    if (t->status == 401)
        return err_field(e, "model", "%s shows %s to nobody without the right: there is no such model, or a token is "
                                     "needed (HF_TOKEN)%s%s", h->endpoint, name->model, sep, told);
    if (t->status == 403)
        return err_field(e, "model", "%s does not let %s have %s: ask for access at %s/%s%s%s", h->endpoint,
                         *h->token ? "this token" : "strangers", name->model, h->endpoint, name->model, sep, told);
    if (t->status == 404)
        return not_found(t, h, name, file, e);
    return err_set(e, "%s answers %d for %s%s%s%s%s", h->endpoint, t->status, name->model, file ? "/" : "",
                   file ? file : "", sep, told);
}

/* ---- the request ---- */

struct ask {
    struct transfer   t;
    const struct hub *hub;
    struct buf        text;
    int               hops, tries;
};

/* A retry begins from the start, so what came before is dropped. -1: the listing is longer than LISTING_BYTES. */
static int on_body(void *ctx, const void *data, size_t n)
{
    struct ask *a = ctx;
    if (a->t.received == 0)
        buf_clear(&a->text);
    buf_add(&a->text, data, n);
    return buf_ok(&a->text) ? 0 : -1;
}

/* A model that was renamed is told by a redirect. What cannot be reached at all is not tried again, since whoever has
 * no network wants to know it now. */
static enum transfer_next on_over(void *ctx)
{
    struct ask *a = ctx;
    struct transfer *t = &a->t;
    if (t->end == TRANSFER_NO_HOST || t->end == TRANSFER_NO_CONNECTION)
        return TRANSFER_DONE;
    if (t->end == TRANSFER_ANSWERED && *t->redirect && a->hops < MAX_HOPS && hub_may_follow(t->url, t->redirect)) {
        a->hops++;
        transfer_url(t, t->redirect);
        t->bearer = hub_bearer(a->hub, t->url);
        return TRANSFER_AGAIN;
    }
    t->wait = hub_retry(t, a->tries++);
    return t->wait < 0 ? TRANSFER_DONE : TRANSFER_AGAIN;
}

/* Reads {"sha": ..., "siblings": [{"rfilename": ...}, ...]}. A single path that leads out of the folder makes the whole
 * answer unbelievable. */
static int read_listing(struct listing *l, const struct buf *text, const struct hub *h, const struct hub_name *name,
                        struct err *e)
{
    json_error_t je;
    json_t *root = json_loadb(text->data ? text->data : "", text->len, 0, &je), *v;
    const char *commit = json_string_value(json_object_get(root, "sha"));
    const json_t *files = json_object_get(root, "siblings");
    int    rc = 0;
    size_t i;
    if (!commit || !hub_is_commit(commit) || !json_is_array(files))
        rc = err_set(e, "%s: what it says of %s is not what a hub says of a model", h->endpoint, name->model);
    else
        snprintf(l->commit, sizeof l->commit, "%s", commit);
    if (rc == 0 && !(l->files = json_object()))
        rc = err_memory(e);
    if (rc == 0)
        json_array_foreach(files, i, v) {
            const char *file = json_string_value(json_object_get(v, "rfilename"));
            if (!file || !hub_is_file(file)) {
                rc = err_set(e, "%s: %s lists a file with a name that is not safe to use, \"%.100s\": nothing is "
                                "fetched", h->endpoint, name->model, file ? file : "");
                break;
            }
            json_object_set_new(l->files, file, json_true());
        }
    json_decref(root);
    return rc;
}

/* '/' in a revision is written as %2F, as the hub's library does; other characters of it need no escape. */
static int set_url(struct transfer *t, const struct hub *h, const struct hub_name *name)
{
    char   revision[3 * sizeof name->revision];
    size_t n = 0;
    for (const char *p = name->revision; *p; p++)
        n += (size_t)sprintf(revision + n, strchr("/+", *p) ? "%%%02X" : "%c", *p);
    snprintf(t->url, sizeof t->url, "%s/api/models/%s/revision/%s", h->endpoint, name->model, revision);
    return 0;
}

/* Asks the hub which files a model's revision has. *unreachable tells whether it makes sense to go on with what the
 * cache holds: the hub did not answer, has trouble or wants to be left alone, rather than saying no. After -1 the
 * listing is empty. */
int listing_get(struct listing *l, const struct hub *h, const struct hub_name *name, bool *unreachable, struct err *e)
{
    struct ask a = { .hub = h };
    struct transfer *all[] = { &a.t };
    *l = (struct listing){ 0 };
    *unreachable = false;
    buf_init(&a.text, LISTING_BYTES);
    transfer_init(&a.t, "");
    set_url(&a.t, h, name);
    a.t.bearer = hub_bearer(h, a.t.url);
    a.t.ctx = &a;
    a.t.body = on_body;
    a.t.over = on_over;
    int rc = transfers_run(all, 1, 1, NULL, NULL);
    if (rc != 0) {
        err_memory(e);
    } else if (a.t.end != TRANSFER_ANSWERED || a.t.status != 200) {
        *unreachable = a.t.end != TRANSFER_ANSWERED || a.t.status >= 500 || a.t.status == 429;
        rc = hub_refusal(&a.t, h, name, NULL, e);
    } else {
        rc = read_listing(l, &a.text, h, name, e);
    }
    transfer_free(&a.t);
    buf_free(&a.text);
    if (rc != 0)
        listing_free(l);
    return rc;
}

void listing_free(struct listing *l)
{
    json_decref(l->files);
    l->files = NULL;
}

bool listing_has(const struct listing *l, const char *file) { return json_object_get(l->files, file) != NULL; }
