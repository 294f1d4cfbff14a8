/* fetch/remote.c - fetches the images of a request side by side, within the limits of remote.h. Who may be asked is in
 * hosts.c, files of this machine are in local.c, and what is kept for later is in kept.c. */
#include "fetch/remote.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/budget.h"
#include "base/clock.h"
#include "fetch/hosts.h"
#include "fetch/kept.h"
#include "fetch/local.h"
#include "fetch/transfer.h"

struct remote_source {
    struct remote_policy policy;
    char        *folder;       /* owned: the real path of policy.folder; NULL: none */
    struct hosts hosts;
    struct tally held;         /* bytes of images in use                            */
    struct kept  kept;
    pthread_mutex_t lock;      /* guards the two numbers                            */
    pthread_cond_t  changed;   /* signalled when a place becomes free               */
    int free, waiting;
};

/* One image on its way. */
struct job {
    struct remote_source *s;
    struct remote_image *image;
    struct transfer t;
    char   host[TRANSFER_ORIGIN];      /* of the URL that is asked now    */
    char   etag[KEPT_ETAG];            /* of the bytes that are kept; ""  */
    char   known[TRANSFER_URL];        /* URL that these bytes came from  */
    double until;                      /* clock_seconds() of its end      */
    int    hops;
    struct err *e;                     /* shared by all of the request    */
};

/* ---- what may be asked ---- */

bool remote_is_url(const char *url)
{
    return strncasecmp(url, "http:", 5) == 0 || strncasecmp(url, "https:", 6) == 0 || local_is_url(url);
}

/* The request is wrong, or what it names cannot be had. */
static int refuse(const char *field, struct err *e, const char *why)
{
    err_field(e, field, "%s: %s", field, why);
    e->status = 400;
    snprintf(e->code, sizeof e->code, "invalid_image_url");
    return -1;
}

/* 503: the request is right, but the server cannot hold more images at the moment. */
static int overloaded(const char *field, struct err *e, const char *why)
{
    err_field(e, field, "%s: %s", field, why);
    e->status = 503;
    snprintf(e->code, sizeof e->code, "overloaded");
    return -1;
}

/* By the settings, whoever answers there. */
static int not_allowed(const char *field, struct err *e, const char *why)
{
    return err_field(e, field, "%s: %s", field, why);
}

/* Whether the URL of an image may be fetched at all, before anything else of the request is read: where remote images
 * are off, or for this host, the client hears which option would allow it. s NULL: neither is on. Addresses are checked
 * later, when a connection is opened. */
int remote_check(const struct remote_source *s, const char *url, const char *field, struct err *e)
{
    char host[TRANSFER_ORIGIN], why[TRANSFER_ORIGIN + 80];
    if (local_is_url(url))
        return s && s->folder ? 0 : not_allowed(field, e, "file: URLs are off (--allow-local-images); send the image "
                                                          "as a base64 data: URL");
    if (!s || s->policy.n_hosts == 0)
        return not_allowed(field, e, "remote image URLs are off (--allow-image-hosts); send the image as a base64 "
                                     "data: URL");
    if (strlen(url) >= TRANSFER_URL)
        return not_allowed(field, e, "the URL is too long");
    if (!transfer_host(url, host))
        return not_allowed(field, e, "is not a URL of http or https with a host");
    if (hosts_name(&s->hosts, host))
        return 0;
    snprintf(why, sizeof why, "images of the host %.100s are not fetched (--allow-image-hosts)", host);
    return not_allowed(field, e, why);
}

/* ---- places ---- */

/* Waits until this request may fetch, and asks ten times a second whether it still wants to. 0: it has a place; -1 with
 * an empty e->text: go_on() said no, its client is gone; -1 with a 503: too many wait already. */
static int take_place(struct remote_source *s, const char *field, bool (*go_on)(void *), void *arg, struct err *e)
{
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    if (s->free == 0 && s->waiting == REMOTE_WAITING) {
        pthread_mutex_unlock(&s->lock);
        return overloaded(field, e, "too many images are being fetched; try again later");
    }
    s->waiting++;
    while (s->free == 0 && rc == 0) {
        struct timespec ts = clock_from_now(CLOCK_REALTIME, 0.1);
        pthread_cond_timedwait(&s->changed, &s->lock, &ts);
        pthread_mutex_unlock(&s->lock);
        rc = go_on(arg) ? 0 : -1;
        pthread_mutex_lock(&s->lock);
    }
    s->waiting--;
    s->free -= rc == 0;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* One more request may fetch; wakes one that waits. */
static void give_place(struct remote_source *s)
{
    pthread_mutex_lock(&s->lock);
    s->free++;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* ---- bytes ---- */

static size_t most_bytes(const struct remote_source *s)
{
    return s->policy.max_bytes < REMOTE_BYTES ? s->policy.max_bytes : (size_t)REMOTE_BYTES;
}

static void drop(struct remote_source *s, struct remote_image *image)
{
    free(image->data);
    tally_give(&s->held, image->room);
    image->data = NULL;
    image->n = image->room = 0;
}

/* Makes room for `need` bytes of an image, within the sum that all requests share: at least double, so that a long
 * transfer does not copy itself again and again. -1: there is no room (503) or no memory, and what has come is still
 * there. */
static int make_room(struct remote_source *s, struct remote_image *image, size_t need, struct err *e)
{
    size_t want = 2 * image->room > need ? 2 * image->room : need;
    if (need <= image->room)
        return 0;
    if (want > most_bytes(s))
        want = need;
    if (!tally_take(&s->held, want - image->room))
        return overloaded(image->field, e, "the images being fetched take too much memory; try again later");
    unsigned char *grown = realloc(image->data, want);
    if (!grown) {
        tally_give(&s->held, want - image->room);
        return err_memory(e);
    }
    image->data = grown;
    image->room = want;
    return 0;
}

static int too_large(const struct job *j)
{
    char why[64];
    snprintf(why, sizeof why, "has more than the %zu bytes that it may have", most_bytes(j->s));
    return refuse(j->image->field, j->e, why);
}

/* Appends a part of an image. Room is made as large as the Content-Length says when the first part comes, so that it is
 * copied once, but never beyond the limit, whatever the header says. -1 ends the transfer. */
static int on_body(void *ctx, const void *data, size_t n)
{
    struct job *j = ctx;
    struct remote_image *im = j->image;
    int64_t told = j->t.received == 0 ? transfer_number(&j->t, "Content-Length") : -1;
    size_t  most = most_bytes(j->s);
    if (n > most - im->n)
        return too_large(j);
    size_t need = im->n + n;
    if (make_room(j->s, im, told > (int64_t)need ? (size_t)told : need, j->e) != 0)
        return -1;
    memcpy(im->data + im->n, data, n);
    im->n += n;
    return 0;
}

/* ---- one image ---- */

static bool may_connect(void *ctx, const struct sockaddr *to)
{
    const struct job *j = ctx;
    return *j->s->policy.proxy || hosts_address(&j->s->hosts, j->host, to);
}

/* What is asked now: the host, whether bytes of this very URL are kept, and how much time is left. */
static enum transfer_next begin(void *ctx)
{
    struct job *j = ctx;
    double now = clock_seconds();
    if (j->until <= 0)
        j->until = now + REMOTE_SECONDS;
    transfer_host(j->t.url, j->host);
    j->t.seconds = j->until > now ? j->until - now : 0.001;
    j->t.if_etag = *j->etag && strcmp(j->known, j->t.url) == 0 ? j->etag : NULL;
    j->image->n = 0;
    return TRANSFER_AGAIN;
}

/* A place that another server names is held to the same rules as the URL of the request. */
static enum transfer_next redirected(struct job *j)
{
    if (j->hops++ == REMOTE_REDIRECTS) {
        refuse(j->image->field, j->e, "is redirected too often");
        return TRANSFER_STOP_ALL;
    }
    if (!remote_is_url(j->t.redirect) || local_is_url(j->t.redirect)) {
        refuse(j->image->field, j->e, "is redirected to what is not http or https");
        return TRANSFER_STOP_ALL;
    }
    if (remote_check(j->s, j->t.redirect, j->image->field, j->e) != 0)
        return TRANSFER_STOP_ALL;
    transfer_url(&j->t, j->t.redirect);
    return TRANSFER_AGAIN;
}

/* It has not changed: the bytes that are kept are copied. If they had to go meanwhile, they are asked for without a
 * condition. */
static enum transfer_next unchanged(struct job *j)
{
    size_t n = kept_size(&j->s->kept, j->image->url, j->etag);
    if (n > 0 && make_room(j->s, j->image, n, j->e) != 0)
        return TRANSFER_STOP_ALL;
    j->image->n = n > 0 ? kept_copy(&j->s->kept, j->image->url, j->etag, j->image->data, n) : 0;
    if (j->image->n > 0)
        return TRANSFER_DONE;
    *j->etag = '\0';
    return TRANSFER_AGAIN;
}

/* Says why a transfer has brought no image, in words of this file: neither addresses of this machine's network nor
 * libcurl's own errors reach the client. One image that fails ends the others, too, as the request is refused. */
static enum transfer_next failed(struct job *j)
{
    static const char *const words[] = {
        [TRANSFER_BROKEN] = "the connection broke before the image was there",
        [TRANSFER_NO_HOST] = "its host has no address",
        [TRANSFER_NO_CONNECTION] = "its host does not answer",
        [TRANSFER_NO_TRUST] = "its host has no certificate that is trusted here",
        [TRANSFER_FORBIDDEN] = "its host has an address that is not public, and images of such are not fetched "
                               "(--allow-image-hosts)",
        [TRANSFER_TOO_SLOW] = "did not come in time",
        [TRANSFER_WRONG] = "what its host sends is not HTTP",
    };
    char status[48];
    snprintf(status, sizeof status, "its host answers %d", j->t.status);
    if (j->t.end == TRANSFER_TOO_LARGE)
        too_large(j);
    else if (j->t.end != TRANSFER_REFUSED)
        refuse(j->image->field, j->e, j->t.end == TRANSFER_ANSWERED ? status : words[j->t.end]);
    return TRANSFER_STOP_ALL;
}

/* A transfer has ended: an error, a redirect, "unchanged" (304) or the image. It is kept for the next request only if
 * the host has given an ETag by which it can be asked whether it still holds. */
static enum transfer_next over(void *ctx)
{
    struct job *j = ctx;
    char etag[KEPT_ETAG];
    if (j->t.end != TRANSFER_ANSWERED)
        return failed(j);
    if (*j->t.redirect)
        return redirected(j);
    if (j->t.status == 304 && j->t.if_etag)
        return unchanged(j);
    if (j->t.status != 200)
        return failed(j);
    if (j->image->n == 0) {
        refuse(j->image->field, j->e, "holds no data");
        return TRANSFER_STOP_ALL;
    }
    if (transfer_header(&j->t, "ETag", etag, sizeof etag) && *etag && strlen(etag) < sizeof etag - 1)
        kept_put(&j->s->kept, j->image->url, j->t.url, etag, j->image->data, j->image->n);
    return TRANSFER_DONE;
}

/* Prepares one transfer with the limits of the source. If the image was fetched before, it asks with the old ETag. */
static void job_init(struct job *j, struct remote_source *s, struct remote_image *image, struct err *e)
{
    j->s = s;
    j->image = image;
    j->e = e;
    transfer_init(&j->t, image->url);
    kept_find(&s->kept, image->url, j->etag, j->known);
    j->t.ctx = j;
    j->t.proxy = s->policy.proxy;
    j->t.most = (int64_t)most_bytes(s);
    j->t.may_connect = may_connect;
    j->t.begin = begin;
    j->t.body = on_body;
    j->t.over = over;
}

/* ---- all of a request ---- */

/* Files are read first: they are here, and what is wrong with one of them is known at once. */
static int read_files(struct remote_source *s, struct remote_image *list, int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        struct remote_image *im = &list[i];
        if (remote_check(s, im->url, im->field, e) != 0)
            return -1;
        if (!local_is_url(im->url))
            continue;
        if (local_read(im->url, s->folder, most_bytes(s), &im->data, &im->n, e) != 0) {
            char why[sizeof e->text];
            snprintf(why, sizeof why, "%s", e->text);
            return e->status == 503 ? -1 : refuse(im->field, e, why);
        }
        if (!tally_take(&s->held, im->n))
            return overloaded(im->field, e, "the images being fetched take too much memory; try again later");
        im->room = im->n;
    }
    return 0;
}

/* Fetches all images of the list that are not files of this machine, REMOTE_EACH at a time. The caller holds a place.
 * -1: an error was noted by the job that failed, or go_on() said no. */
static int run(struct remote_source *s, struct remote_image *list, int n, bool (*go_on)(void *), void *arg,
               struct err *e)
{
    struct job       *job = calloc((size_t)n + 1, sizeof *job);
    struct transfer **t = calloc((size_t)n + 1, sizeof *t);
    int jobs = 0, rc = job && t ? 0 : err_memory(e);
    for (int i = 0; i < n && rc == 0; i++)
        if (!local_is_url(list[i].url)) {
            job_init(&job[jobs], s, &list[i], e);
            t[jobs] = &job[jobs].t;
            jobs++;
        }
    if (rc == 0 && (rc = transfers_run(t, jobs, REMOTE_EACH, go_on, arg)) != 0 && !*e->text && go_on(arg))
        err_memory(e);
    for (int i = 0; i < jobs; i++)
        transfer_free(&job[i].t);
    free(job);
    free(t);
    return rc;
}

/* Fetches the images of one request: files of this machine first, then the others side by side. At most REMOTE_AT_ONCE
 * requests fetch at a time, and the rest wait for their turn as long as go_on() says so. After -1 the caller still
 * frees what has come. */
int remote_fetch(struct remote_source *s, struct remote_image *list, int n, bool (*go_on)(void *arg), void *arg,
                 struct err *e)
{
    int others = 0;
    *e = (struct err){ 0 };
    if (read_files(s, list, n, e) != 0)
        return -1;
    for (int i = 0; i < n; i++)
        others += !local_is_url(list[i].url);
    if (others == 0)
        return 0;
    if (take_place(s, list[0].field, go_on, arg, e) != 0)
        return -1;
    int rc = run(s, list, n, go_on, arg, e);
    give_place(s);
    return rc;
}

void remote_release(struct remote_source *s, struct remote_image *list, int n)
{
    for (int i = 0; s && i < n; i++)
        drop(s, &list[i]);
}

/* ---- the source ---- */

/* Takes the policy's lists as they are; they must live as long as the source. The folder of local images is resolved
 * once, so that links in its own path do not count as ways out. */
struct remote_source *remote_open(const struct remote_policy *policy, struct err *e)
{
    struct remote_source *s = calloc(1, sizeof *s);
    if (!s) {
        err_memory(e);
        return NULL;
    }
    s->policy = *policy;
    s->held.size = policy->held;
    s->free = REMOTE_AT_ONCE;
    kept_init(&s->kept, policy->kept);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    int rc = hosts_init(&s->hosts, policy->hosts, policy->n_hosts, e);
    if (rc == 0 && *policy->folder && !(s->folder = realpath(policy->folder, NULL)))
        rc = err_field(e, "allow-local-images", "option allow-local-images: %.300s: No such folder", policy->folder);
    if (rc == 0)
        return s;
    remote_close(s);
    return NULL;
}

void remote_close(struct remote_source *s)
{
    if (!s)
        return;
    kept_free(&s->kept);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->folder);
    free(s);
}
