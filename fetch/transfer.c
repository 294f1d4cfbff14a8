/* fetch/transfer.c - transfers through libcurl, whose header nobody else includes. See transfer.h.
 *
 * Every transfer has one easy handle for all its requests; a multi handle runs them side by side. libcurl follows no
 * redirect and knows no protocol but HTTP. The address that a connection is opened to is looked at in the very call
 * that opens it (on_socket), so that no name can be resolved to one address for the check and to another for the
 * connection. */
#include "fetch/transfer.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    HEADER_BYTES = 64 << 10,           /* of an answer                                             */
    IDLE_BYTES = 64 << 10,             /* of a body that nobody wants: more ends the connection    */
    CONNECT_SECONDS = 15,
    STALL_SECONDS = 30,
    LOOK_MS = 100,                     /* how often go_on() is asked                               */
};

struct transfer_state {
    CURL   *easy;
    struct curl_slist *request;        /* our own headers                  */
    enum { WAITING, RUNNING, OVER } stage;
    double  start_at;                  /* clock_seconds()                  */
    size_t  idle;                      /* bytes of a body that nobody wants */
    bool    forbidden, refused;        /* by the owner's functions          */
    char    error[CURL_ERROR_SIZE];
};

/* ---- once for the process ---- */

static const char *authorities;        /* file with the certificates that are trusted; NULL: libcurl's own choice */

/* Distributions keep the file in different places, and a library that was built on one of them knows only its own. The
 * variables are those that OpenSSL and curl's own program heed. */
static const char *find_authorities(void)
{
    static const char *const variables[] = { "CURL_CA_BUNDLE", "SSL_CERT_FILE" };
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
    };
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *file = getenv(variables[i]);
        if (file && *file)
            return file;
    }
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], R_OK) == 0)
            return places[i];
    return NULL;
}

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    authorities = find_authorities();
}

/* ---- URLs ---- */

/* One part of a URL that is http or https; NULL: it is none, or has no such part. To be freed with curl_free(). */
static char *url_part(const char *url, CURLUPart part)
{
    CURLU *u = curl_url();
    char  *scheme = NULL, *out = NULL;
    if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0) &&
        curl_url_get(u, part, &out, CURLU_DEFAULT_PORT) != CURLUE_OK)
        out = NULL;
    curl_free(scheme);
    curl_url_cleanup(u);
    return out;
}

static void lower(char *s)
{
    for (; *s; s++)
        if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s - 'A' + 'a');
}

/* Scheme, host and port of a URL, in lower case, which is what decides whether a token may go along. Empty if the URL
 * is no such. */
void transfer_origin(const char *url, char out[TRANSFER_ORIGIN])
{
    char *scheme = url_part(url, CURLUPART_SCHEME), *host = url_part(url, CURLUPART_HOST),
         *port = url_part(url, CURLUPART_PORT);
    *out = '\0';
    if (scheme && host && port && snprintf(out, TRANSFER_ORIGIN, "%s://%s:%s", scheme, host, port) >= TRANSFER_ORIGIN)
        *out = '\0';
    lower(out);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
}

/* A dot at the end of a name says that it is complete; without it the name is the same. */
bool transfer_host(const char *url, char out[TRANSFER_ORIGIN])
{
    char  *host = url_part(url, CURLUPART_HOST);
    size_t n = host ? strlen(host) : 0;
    const char *from = host;
    *out = '\0';
    if (n > 2 && *host == '[') {
        from++;
        n = strcspn(from, "]%");
    } else if (n > 1 && host[n - 1] == '.') {
        n--;
    }
    if (n > 0 && n < TRANSFER_ORIGIN)
        snprintf(out, TRANSFER_ORIGIN, "%.*s", (int)n, from);
    curl_free(host);
    lower(out);
    return *out;
}

int transfer_url(struct transfer *t, const char *url)
{
    int n = snprintf(t->url, sizeof t->url, "%s", url);
    return n < (int)sizeof t->url ? 0 : -1;
}

/* ---- what libcurl calls ---- */

/* Headers of the last answer alone: "100 Continue" and the like come before it, each with a status line of its own. */
static size_t on_header(char *line, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;
    (void)one;
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0)
        buf_clear(&t->headers);
    buf_add(&t->headers, line, n);
    return buf_ok(&t->headers) ? n : 0;
}

/* Bodies of errors and redirects are read and forgotten, as long as they are short: then the connection can be used
 * again. */
static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;
    long status = 0;
    (void)one;
    curl_easy_getinfo(t->state->easy, CURLINFO_RESPONSE_CODE, &status);
    t->status = (int)status;
    if (status != 200 && status != 206 && !t->any_status) {
        t->state->idle += n;
        return t->state->idle <= IDLE_BYTES ? n : 0;
    }
    if (t->body && t->body(t->ctx, data, n) != 0) {
        t->state->refused = true;
        return 0;
    }
    t->received += (int64_t)n;
    return n;
}

/* libcurl is about to open a connection: this is the last moment at which the address can be refused, and the only one
 * at which it is certainly the one that is used. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct transfer *t = arg;
    (void)purpose;
    if (t->may_connect && !t->may_connect(t->ctx, &to->addr)) {
        t->state->forbidden = true;
        return CURL_SOCKET_BAD;
    }
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* ---- one request ---- */

/* Adds a header to the request. false: memory, or a value that is longer than any of ours. */
static bool add_header(struct transfer_state *s, const char *name, const char *value)
{
    char line[2048];
    if (snprintf(line, sizeof line, "%s: %s", name, value) >= (int)sizeof line)
        return false;
    struct curl_slist *more = curl_slist_append(s->request, line);
    if (more)
        s->request = more;
    return more;
}

/* What has the same value in every request. libcurl's own limit on slowness counts bytes a second; one a second is
 * enough to go on. */
static void set_common(struct transfer *t, CURL *c)
{
    curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->state->error);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(c, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);       /* a slow answer about a name holds nobody up */
#endif
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "openautoglm/" VERSION);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, t->stall > 0 ? (long)t->stall : (long)STALL_SECONDS);
    if (authorities)
        curl_easy_setopt(c, CURLOPT_CAINFO, authorities);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t);
    if (t->own_host) {
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (t->unix_path)
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, t->unix_path);
    if (t->proxy)
        curl_easy_setopt(c, CURLOPT_PROXY, t->proxy);
}

/* Makes the handle what the fields of the request say now, and the answer empty. -1: memory is out. */
static int prepare(struct transfer *t)
{
    struct transfer_state *s = t->state;
    char token[1100], range[32];
    bool ok = true;
    buf_clear(&t->headers);
    t->status = 0;
    t->received = 0;
    *t->redirect = *t->why = *s->error = '\0';
    s->forbidden = s->refused = false;
    s->idle = 0;
    curl_slist_free_all(s->request);
    s->request = NULL;
    if (!s->easy && !(s->easy = curl_easy_init()))
        return -1;
    curl_easy_reset(s->easy);
    set_common(t, s->easy);
    if (t->bearer) {
        ok = snprintf(token, sizeof token, "Bearer %s", t->bearer) < (int)sizeof token &&
             add_header(s, "Authorization", token);
        explicit_bzero(token, sizeof token);
    }
    if (ok && t->if_etag)
        ok = add_header(s, "If-None-Match", t->if_etag);
    if (t->post) {                 /* a large body is not announced first: that would cost a round trip */
        curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->n_post);
        curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, t->post);
        ok = ok && add_header(s, "Content-Type", "application/json") && add_header(s, "Expect", "");
    }
    if (t->from > 0) {
        snprintf(range, sizeof range, "%lld-", (long long)t->from);
        ok = ok && curl_easy_setopt(s->easy, CURLOPT_RANGE, range) == CURLE_OK;
    }
    if (t->most > 0)
        curl_easy_setopt(s->easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)t->most);
    if (t->seconds > 0)
        curl_easy_setopt(s->easy, CURLOPT_TIMEOUT_MS, (long)(t->seconds * 1e3) + 1);
    curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->request);
    if (t->head)
        curl_easy_setopt(s->easy, CURLOPT_NOBODY, 1L);
    return ok && curl_easy_setopt(s->easy, CURLOPT_URL, t->url) == CURLE_OK ? 0 : -1;
}

/* What libcurl's result means here. A body that nobody wanted to its end, and one that ended in the middle after the
 * status of an error, are answers. */
static enum transfer_end end_of(const struct transfer *t, CURLcode rc)
{
    if (t->state->refused)
        return TRANSFER_REFUSED;
    if (rc == CURLE_FILESIZE_EXCEEDED)
        return TRANSFER_TOO_LARGE;
    if (rc == CURLE_OK || (t->status >= 300 && rc != CURLE_OPERATION_TIMEDOUT))
        return TRANSFER_ANSWERED;
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: return TRANSFER_NO_HOST;
    case CURLE_COULDNT_CONNECT: return t->state->forbidden ? TRANSFER_FORBIDDEN : TRANSFER_NO_CONNECTION;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE: return TRANSFER_NO_TRUST;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_WEIRD_SERVER_REPLY: return TRANSFER_WRONG;
    default: return TRANSFER_BROKEN;
    }
}

/* Fills the answer. A timeout is the whole transfer's if its seconds are over, and a break otherwise: then it was a
 * connection that said nothing. */
static void take_answer(struct transfer *t, CURLcode rc)
{
    struct transfer_state *s = t->state;
    long   status = 0;
    char  *redirect = NULL;
    double total = 0;
    curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(s->easy, CURLINFO_REDIRECT_URL, &redirect);
    curl_easy_getinfo(s->easy, CURLINFO_TOTAL_TIME, &total);
    t->status = (int)status;
    t->end = end_of(t, rc);
    if (rc == CURLE_OPERATION_TIMEDOUT && t->seconds > 0 && total >= t->seconds)
        t->end = TRANSFER_TOO_SLOW;
    else if (rc == CURLE_OPERATION_TIMEDOUT && status == 0 && total < STALL_SECONDS)
        t->end = TRANSFER_NO_CONNECTION;
    if (redirect && strlen(redirect) < sizeof t->redirect)
        strcpy(t->redirect, redirect);
    if (t->end != TRANSFER_ANSWERED)
        snprintf(t->why, sizeof t->why, "%.250s", *s->error ? s->error : curl_easy_strerror(rc));
    t->why[strcspn(t->why, "\r\n")] = '\0';
}

int transfer_init(struct transfer *t, const char *url)
{
    memset(t, 0, sizeof *t);
    buf_init(&t->headers, HEADER_BYTES);
    return transfer_url(t, url);
}

void transfer_free(struct transfer *t)
{
    if (t->state) {
        curl_easy_cleanup(t->state->easy);
        curl_slist_free_all(t->state->request);
        free(t->state);
    }
    t->state = NULL;
    buf_free(&t->headers);
}

/* Finds a header of the last answer, without the white space around its value; the last of several equal ones counts.
 * false: it is not there, and `out` is empty. A value longer than n - 1 bytes is cut. */
bool transfer_header(const struct transfer *t, const char *name, char *out, size_t n)
{
    size_t      len = strlen(name);
    const char *p = t->headers.data ? t->headers.data : "";
    bool        found = false;
    *out = '\0';
    while (*p) {
        size_t line = strcspn(p, "\r\n");
        if (line > len && p[len] == ':' && strncasecmp(p, name, len) == 0) {
            const char *value = p + len + 1, *end = p + line;
            while (value < end && (*value == ' ' || *value == '\t'))
                value++;
            while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
            snprintf(out, n, "%.*s", (int)(end - value), value);
            found = true;
        }
        p += line;
        p += strspn(p, "\r\n");
    }
    return found;
}

/* A header that must be a plain number; -1: it is missing or something else, such as a date in Retry-After. */
int64_t transfer_number(const struct transfer *t, const char *name)
{
    char text[24];
    if (!transfer_header(t, name, text, sizeof text) || strspn(text, "0123456789") != strlen(text) || !*text)
        return -1;
    return strlen(text) > 18 ? -1 : (int64_t)strtoll(text, NULL, 10);
}

/* ---- many ---- */

struct run { CURLM *multi; struct transfer *const *t; int n, at_once; };

/* Starts a transfer if its owner lets it. -1: all stop, or memory is out. */
static int start_one(struct run *r, struct transfer *t)
{
    t->wait = 0;
    switch (t->begin ? t->begin(t->ctx) : TRANSFER_AGAIN) {
    case TRANSFER_STOP_ALL: return -1;
    case TRANSFER_DONE: t->state->stage = OVER; return 0;
    case TRANSFER_LATER: t->state->start_at = clock_seconds() + t->wait; return 0;
    case TRANSFER_AGAIN: break;
    }
    if (prepare(t) != 0 || curl_multi_add_handle(r->multi, t->state->easy) != CURLM_OK)
        return -1;
    t->state->stage = RUNNING;
    return 0;
}

/* Starts those whose time has come, in their order. Returns how many run or wait; -1: all stop. */
static int start_more(struct run *r)
{
    int    running = 0, unfinished = 0;
    double now = clock_seconds();
    for (int i = 0; i < r->n; i++)
        running += r->t[i]->state->stage == RUNNING;
    for (int i = 0; i < r->n; i++) {
        struct transfer *t = r->t[i];
        if (t->state->stage == WAITING && running < r->at_once && now >= t->state->start_at) {
            if (start_one(r, t) != 0)
                return -1;
            running += t->state->stage == RUNNING;
        }
        unfinished += t->state->stage != OVER;
    }
    return unfinished;
}

/* Hands the transfers that have ended to their owners. -1: one of them stops all. */
static int end_some(struct run *r)
{
    int n;
    for (CURLMsg *m; (m = curl_multi_info_read(r->multi, &n)) != NULL;) {
        struct transfer *t = NULL;
        CURLcode         rc = m->data.result;
        CURL            *easy = m->easy_handle;        /* m is gone with the next call */
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
        take_answer(t, rc);
        curl_multi_remove_handle(r->multi, easy);
        t->wait = 0;
        enum transfer_next next = t->over ? t->over(t->ctx) : TRANSFER_DONE;
        t->state->stage = next == TRANSFER_AGAIN ? WAITING : OVER;
        t->state->start_at = clock_seconds() + t->wait;
        if (next == TRANSFER_STOP_ALL)
            return -1;
    }
    return 0;
}

/* Milliseconds until the next of the waiting ones may start, if that is sooner than go_on() wants to be asked. */
static int next_look(const struct run *r)
{
    double now = clock_seconds(), soonest = now + LOOK_MS / 1e3;
    int    running = 0;
    for (int i = 0; i < r->n; i++) {
        const struct transfer_state *s = r->t[i]->state;
        running += s->stage == RUNNING;
        if (s->stage == WAITING && s->start_at < soonest)
            soonest = s->start_at;
    }
    if (running >= r->at_once)
        return LOOK_MS;
    return soonest <= now ? 0 : (int)((soonest - now) * 1e3) + 1;
}

/* Until all have ended (0), or one of them, libcurl or go_on() stops all (-1). */
static int loop(struct run *r, bool (*go_on)(void *), void *arg)
{
    for (;;) {
        int running, left = start_more(r);
        if (left <= 0)
            return left;
        if (curl_multi_perform(r->multi, &running) != CURLM_OK || end_some(r) != 0)
            return -1;
        if (go_on && !go_on(arg))
            return -1;
        if (curl_multi_poll(r->multi, NULL, 0, next_look(r), NULL) != CURLM_OK)
            return -1;
    }
}

/* Runs n transfers, at most `at_once` of them at a time, until all have ended, one of them stops all, or go_on() says
 * no. How each ended is in t[i]->end. -1: libcurl could not be started or memory is out. What is still under way at the
 * end is taken out of the multi handle before that goes, as libcurl demands. */
int transfers_run(struct transfer *const *t, int n, int at_once, bool (*go_on)(void *arg), void *arg)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    struct run r = { .multi = curl_multi_init(), .t = t, .n = n, .at_once = at_once };
    int rc = r.multi ? 0 : -1;
    for (int i = 0; i < n && rc == 0; i++) {
        if (!t[i]->state && !(t[i]->state = calloc(1, sizeof *t[i]->state)))
            rc = -1;
        else
            t[i]->state->stage = WAITING, t[i]->state->start_at = clock_seconds() + t[i]->wait;
    }
    if (rc == 0)
        rc = loop(&r, go_on, arg);
    for (int i = 0; i < n; i++)
        if (t[i]->state && t[i]->state->stage == RUNNING)
            curl_multi_remove_handle(r.multi, t[i]->state->easy);
    curl_multi_cleanup(r.multi);
    return rc;
}
