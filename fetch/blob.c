/* fetch/blob.c - the states of a file on its way. See blob.h.
 *
 * A break is no error as long as the file grows: after each one the hub itself is asked again, since the address
 * that it gave the last time may be good for one use or some minutes alone. Five tries without a byte more end it. */
#include "fetch/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"
#include "fetch/listing.h"

enum { AT_ONCE = 4, MAX_HOPS = 5 };

static const double LOCK_SECONDS = 0.5;        /* between two looks at a lock that another process has */

/* ---- asking ---- */

/* The address of the file at the hub, from which every try begins. Names are checked, so that '%' and what ends a path
 * are all that must be escaped. */
static void set_url(struct blob *b)
{
    const struct fetching *s = b->shared;
    struct transfer *t = &b->t;
    size_t n = (size_t)snprintf(t->url, sizeof t->url, "%s/%s/resolve/%s/", s->hub->endpoint, s->name->model,
                                s->commit);
    for (const char *p = b->file; *p; p++)
        n += (size_t)sprintf(t->url + n, strchr(" %?#\"<>[]{}|^`", *p) || *p & 0x80 ? "%%%02X" : "%c",
                             (unsigned char)*p);
    t->bearer = hub_bearer(s->hub, t->url);
    b->hops = 0;
}

static enum transfer_next refuse(struct blob *b)
{
    hub_refusal(&b->t, b->shared->hub, b->shared->name, b->file, b->shared->e);
    return TRANSFER_STOP_ALL;
}

/* An etag is quoted, and may be marked as weak. One that is the name of a file of Git LFS or of git says how to check
 * the bytes. */
static int take_etag(struct blob *b)
{
    char  text[HUB_ETAG + 8], *s = text;
    struct transfer *t = &b->t;
    if (!transfer_header(t, "X-Linked-Etag", text, sizeof text))
        transfer_header(t, "ETag", text, sizeof text);
    if (strncmp(s, "W/", 2) == 0)
        s += 2;
    if (*s == '"') {
        s++;
        s[strcspn(s, "\"")] = '\0';
    }
    if (!hub_is_etag(s))
        return err_set(b->shared->e, "%s: what it says of %s/%s has no ETag that can be used: is it a hub?",
                       b->shared->hub->endpoint, b->shared->name->model, b->file);
    snprintf(b->etag, sizeof b->etag, "%.*s", (int)sizeof b->etag - 1, s);
    bool   hex = strspn(s, "0123456789abcdef") == strlen(s);
    size_t n = strlen(s);
    b->check = CHECK_SIZE;
    if (hex && n == 64)
        b->check = CHECK_SHA256;
    else if (hex && n == 40)
        b->check = CHECK_GIT;
    b->size = transfer_number(t, "X-Linked-Size");
    if (b->size < 0 && t->status == 200)
        b->size = transfer_number(t, "Content-Length");
    if (b->size < 0 && b->check == CHECK_GIT)
        b->check = CHECK_SIZE;                 /* git's hash begins with the size */
    return 0;
}

/* An answer that leads elsewhere on the same host, and does not say what the file is, is followed. */
static enum transfer_next looked(void *ctx)
{
    struct blob *b = ctx;
    struct transfer *t = &b->t;
    char linked[8], own[TRANSFER_ORIGIN], next[TRANSFER_ORIGIN];
    if (t->end == TRANSFER_ANSWERED && *t->redirect) {
        transfer_origin(t->url, own);
        transfer_origin(t->redirect, next);
        if (!transfer_header(t, "X-Linked-Etag", linked, sizeof linked) && strcmp(own, next) == 0 &&
            b->hops++ < MAX_HOPS) {
            transfer_url(t, t->redirect);
            return TRANSFER_AGAIN;
        }
    }
    if (t->end == TRANSFER_ANSWERED && t->status >= 200 && t->status < 400)
        return take_etag(b) == 0 ? TRANSFER_DONE : TRANSFER_STOP_ALL;
    t->wait = hub_retry(t, b->tries++);
    if (t->wait < 0)
        return refuse(b);
    set_url(b);
    return TRANSFER_AGAIN;
}

/* ---- writing ---- */

/* The error of the last system call on `path`. For a full disk it says what is free, and that nothing is lost. */
static int failed(struct blob *b, const char *path)
{
    int why = errno;
    struct statvfs fs;
    double free_mb = statvfs(b->shared->hub->cache, &fs) == 0 ? (double)fs.f_bavail * (double)fs.f_frsize / 1e6 : 0;
    if (why == ENOSPC || why == EDQUOT)
        return err_set(b->shared->e, "%s: %s: %.1f MB are free. What has come is kept, and the next try goes on from "
                                     "there", path, strerror(why), free_mb);
    return err_set(b->shared->e, "%s: %s", path, strerror(why));
}

/* Git hashes a file with a header before it, which says its length. */
static void hash_begin(struct blob *b)
{
    char head[40];
    sha256_begin(&b->sha256);
    sha1_begin(&b->sha1);
    if (b->check == CHECK_GIT)
        sha1_add(&b->sha1, head, (size_t)snprintf(head, sizeof head, "blob %lld", (long long)b->size) + 1);
}

static void hash_add(struct blob *b, const void *data, size_t n)
{
    if (b->check == CHECK_SHA256)
        sha256_add(&b->sha256, data, n);
    else if (b->check == CHECK_GIT)
        sha1_add(&b->sha1, data, n);
}

/* From the first byte again. */
static int restart(struct blob *b)
{
    b->shared->done -= b->have;
    b->have = 0;
    hash_begin(b);
    return ftruncate(b->fd, 0) == 0 && lseek(b->fd, 0, SEEK_SET) == 0 ? 0 : failed(b, b->file);
}

/* "Content-Range: bytes 100-199/200": does the answer go on where the file ends? */
static bool goes_on(const struct blob *b)
{
    char text[64], *end;
    if (!transfer_header(&b->t, "Content-Range", text, sizeof text) || strncmp(text, "bytes ", 6) != 0)
        return false;
    long long from = strtoll(text + 6, &end, 10);
    return *end == '-' && from == b->have;
}

/* A server that knows no ranges sends the whole file again, with status 200: then what is here goes. One that sends
 * some other part is not to be trusted. */
static int on_body(void *ctx, const void *data, size_t n)
{
    struct blob *b = ctx;
    struct fetching *s = b->shared;
    bool first = b->t.received == 0 && b->t.from > 0;
    if (first && b->t.status == 200 && restart(b) != 0)
        return -1;
    if (first && b->t.status == 206 && !goes_on(b))
        return err_set(s->e, "%s: %s sent another part of it than was asked for", b->file, s->hub->endpoint);
    if (b->size >= 0 && (int64_t)n > b->size - b->have)
        return err_set(s->e, "%s: %s sends more than the %lld bytes that it announced", b->file, s->hub->endpoint,
                       (long long)b->size);
    for (size_t at = 0; at < n;) {
        ssize_t w = write(b->fd, (const char *)data + at, n - at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return failed(b, b->file);
        at += (size_t)w;
    }
    hash_add(b, data, n);
    b->have += (int64_t)n;
    s->done += (int64_t)n;
    s->fetched += (int64_t)n;
    if (s->progress && s->done < s->all)
        s->progress(s->progress_arg, (size_t)s->done, (size_t)s->all);
    return 0;
}

static void close_files(struct blob *b)
{
    if (b->fd >= 0)
        close(b->fd);
    if (b->lock >= 0)
        close(b->lock);
    b->fd = b->lock = -1;
}

/* ---- the end of a file ---- */

/* Whether the contents have the checksum by which the hub names them: SHA-256 for large files, git's SHA-1 for small
 * ones. Some have neither, and then the size has to do. */
static bool is_right(struct blob *b)
{
    char hex[65];
    if (b->check == CHECK_SHA256)
        sha256_end(&b->sha256, hex);
    else if (b->check == CHECK_GIT)
        sha1_end(&b->sha1, hex);
    return b->check == CHECK_SIZE || strcmp(hex, b->etag) == 0;
}

/* All bytes are there: checks them, and gives the file its name. What was begun by somebody else, or before a crash,
 * may be wrong in its first part, and is fetched once more from the beginning. */
static enum transfer_next finish(struct blob *b)
{
    const struct fetching *s = b->shared;
    char part[CACHE_PATH + 12], path[CACHE_PATH];
    if (cache_blob(s->hub, s->name->model, b->etag, path, s->e) != 0)
        return TRANSFER_STOP_ALL;
    snprintf(part, sizeof part, "%s.incomplete", path);
    if (!is_right(b)) {
        if (restart(b) != 0)
            return TRANSFER_STOP_ALL;
        if (b->resumed) {
            b->resumed = false;
            b->best = 0;
            return TRANSFER_AGAIN;
        }
        unlink(part);
        err_set(s->e, "%s: what %s sent does not have the %s that it announced, %.64s", b->file, s->hub->endpoint,
                b->check == CHECK_SHA256 ? "SHA-256" : "hash of git", b->etag);
        return TRANSFER_STOP_ALL;
    }
    if (fsync(b->fd) != 0 || rename(part, path) != 0) {
        failed(b, path);
        return TRANSFER_STOP_ALL;
    }
    close_files(b);
    return TRANSFER_DONE;
}

/* Sends the next request from the hub's own address, for what is missing. */
static enum transfer_next again(struct blob *b, double wait)
{
    set_url(b);
    b->t.wait = wait;
    return TRANSFER_AGAIN;
}

/* There is no more of the file, though more was announced. */
static enum transfer_next too_short(struct blob *b)
{
    long long had = (long long)b->have;
    if (restart(b) == 0)
        err_set(b->shared->e, "%s: %s sent %lld bytes of the %lld that it announced", b->file, b->shared->hub->endpoint,
                had, (long long)b->size);
    return TRANSFER_STOP_ALL;
}

/* The transfer ended before the file did. The file grew, or nothing came. */
static enum transfer_next broke(struct blob *b)
{
    struct transfer *t = &b->t;
    if (b->have > b->best) {
        b->best = b->have;
        b->tries = 0;
    }
    bool clean = t->end == TRANSFER_ANSWERED && (t->status == 200 || t->status == 206);
    if (clean && b->tries++ > 1)
        return too_short(b);
    if (clean)
        return again(b, 0);
    /* An address that another host was to answer for may have been good for a while only. */
    if (t->end == TRANSFER_ANSWERED && t->status < 500 && b->hops > 0 && b->tries < 2) {
        b->tries++;
        return again(b, 0);
    }
    double wait = hub_retry(t, b->tries++);
    return wait < 0 ? refuse(b) : again(b, wait);
}

/* What one transfer of a file has come to, and what is done next. A redirect is followed if it keeps TLS and there were
 * not too many. 416 says that more is here than the hub has: then the file is begun anew, once. Whatever else did not
 * bring the last byte counts as a break, which broke() may try again. */
static enum transfer_next fetched(void *ctx)
{
    struct blob *b = ctx;
    struct transfer *t = &b->t;
    if (t->end == TRANSFER_REFUSED)
        return TRANSFER_STOP_ALL;
    if (t->end == TRANSFER_ANSWERED && *t->redirect) {
        if (b->hops++ >= MAX_HOPS || !hub_may_follow(t->url, t->redirect)) {
            err_set(b->shared->e, "%s: %s leads to too many other places, or to one without TLS", b->file,
                    b->shared->hub->endpoint);
            return TRANSFER_STOP_ALL;
        }
        transfer_url(t, t->redirect);
        t->bearer = hub_bearer(b->shared->hub, t->url);
        return TRANSFER_AGAIN;
    }
    bool success = t->end == TRANSFER_ANSWERED && (t->status == 200 || t->status == 206);
    if (b->size >= 0 ? b->have == b->size : success)
        return finish(b);
    if (t->end == TRANSFER_ANSWERED && t->status == 416 && b->have > 0) {
        if (!b->resumed || restart(b) != 0)
            return too_short(b);
        b->resumed = false;            /* what was here is longer than what there is */
        b->best = 0;
        return again(b, 0);
    }
    return broke(b);
}

/* ---- the start of a file ---- */

/* Takes the lock of this file in the cache, which Hugging Face's own tools use, too, so that two programs do not write
 * the same file. 0: it is ours until close_files(); 1: another process has it; -1: an error was noted. */
static int take_lock(struct blob *b)
{
    const struct fetching *s = b->shared;
    char path[CACHE_PATH + 200];
    int  org = (int)strcspn(s->name->model, "/");
    snprintf(path, sizeof path, "%s/.locks/models--%.*s--%s/%s.lock", s->hub->cache, org, s->name->model,
             s->name->model + org + 1, b->etag);
    if (cache_folders(path, s->e) != 0)
        return -1;
    b->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (b->lock < 0)
        return failed(b, path);
    if (flock(b->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    bool busy = errno == EWOULDBLOCK;
    if (!busy)
        failed(b, path);
    close_files(b);
    return busy ? 1 : -1;
}

/* Opens the part that is here and hashes it, so that the rest can be added. */
static int open_part(struct blob *b, const char *blob)
{
    char path[CACHE_PATH + 12], part[65536];
    ssize_t n;
    snprintf(path, sizeof path, "%s.incomplete", blob);
    if (cache_folders(path, b->shared->e) != 0)
        return -1;
    b->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    struct stat st;
    if (b->fd < 0 || fstat(b->fd, &st) != 0)
        return failed(b, path);
    hash_begin(b);
    b->have = 0;
    if (b->size < 0 || st.st_size > b->size)
        return restart(b);
    while ((n = read(b->fd, part, sizeof part)) > 0) {
        hash_add(b, part, (size_t)n);
        b->have += n;
    }
    b->resumed = b->have > 0;
    b->best = b->have;
    b->shared->done += b->have;
    return n < 0 ? failed(b, path) : 0;
}

/* Before every request: the first one opens the file, and every one asks for what is missing. */
static enum transfer_next begin(void *ctx)
{
    struct blob *b = ctx;
    char path[CACHE_PATH];
    if (b->fd < 0) {
        int rc = cache_blob(b->shared->hub, b->shared->name->model, b->etag, path, b->shared->e);
        if (rc == 0)
            rc = take_lock(b);
        if (rc > 0) {
            if (!b->told)
                log_info("waiting for another process that is fetching %s", b->file);
            b->told = true;
            b->t.wait = LOCK_SECONDS;
            return TRANSFER_LATER;
        }
        if (rc == 0 && access(path, F_OK) == 0) {      /* the other process was done with it */
            close_files(b);
            b->shared->done += b->size > 0 ? b->size : 0;
            return TRANSFER_DONE;
        }
        if (rc != 0 || open_part(b, path) != 0)
            return TRANSFER_STOP_ALL;
    }
    if (b->size >= 0 && b->have == b->size) {
        enum transfer_next next = finish(b);
        if (next != TRANSFER_AGAIN)
            return next;
    }
    b->t.from = b->have;
    return TRANSFER_AGAIN;
}

/* ---- all ---- */

/* Nothing is known of the file but its name. -1: memory; blob_free() is due in any case. */
int blob_init(struct blob *b, struct fetching *shared, const char *file)
{
    memset(b, 0, sizeof *b);
    b->shared = shared;
    b->fd = b->lock = -1;
    b->size = -1;
    snprintf(b->file, sizeof b->file, "%s", file);
    int rc = transfer_init(&b->t, "");
    b->t.ctx = b;
    set_url(b);
    return rc;
}

void blob_free(struct blob *b)
{
    close_files(b);
    transfer_free(&b->t);
}

/* Runs transfers whose errors were put into `e` by whoever stopped them. If nobody did, memory was out. */
static int run(struct transfer **t, int n, struct err *e)
{
    *e->text = '\0';
    if (n == 0 || transfers_run(t, n, AT_ONCE, NULL, NULL) == 0)
        return 0;
    return *e->text ? -1 : err_memory(e);
}

/* Asks for the size and the ETag of n files at once, without their contents. Must come before blobs_fetch(), which
 * names files in the cache by their ETag. */
int blobs_look(struct blob *b, int n, struct err *e)
{
    struct transfer **t = calloc((size_t)n + 1, sizeof *t);
    if (!t)
        return err_memory(e);
    for (int i = 0; i < n; i++) {
        b[i].shared->e = e;
        b[i].t.head = true;
        b[i].t.over = looked;
        t[i] = &b[i].t;
    }
    int rc = run(t, n, e);
    free(t);
    return rc;
}

/* Whether the cache has this file, whole: files get their name only when they are complete, and the size guards against
 * one that somebody else has cut. */
static bool is_here(const struct blob *b)
{
    char path[CACHE_PATH];
    struct stat st;
    return cache_blob(b->shared->hub, b->shared->name->model, b->etag, path, NULL) == 0 && stat(path, &st) == 0 &&
           (b->size < 0 || st.st_size == b->size);
}

/* Bytes that an earlier try left of a blob. */
static int64_t part_of(const struct blob *b)
{
    char path[CACHE_PATH + 12];
    struct stat st;
    if (cache_blob(b->shared->hub, b->shared->name->model, b->etag, path, NULL) != 0)
        return 0;
    strcat(path, ".incomplete");
    return stat(path, &st) == 0 && st.st_size <= b->size ? st.st_size : 0;
}

/* Room on the disk is looked at before, since a full one after an hour helps nobody. */
static int check_room(const struct hub *h, int64_t need, struct err *e)
{
    struct statvfs fs;
    if (statvfs(h->cache, &fs) != 0)
        return 0;
    double room = (double)fs.f_bavail * (double)fs.f_frsize;
    return (double)need <= room ? 0 : err_set(e, "%s: No space left on device: %.1f MB are needed, %.1f MB are free",
                                              h->cache, (double)need / 1e6, room / 1e6);
}

/* Fetches those of n files that are not in the cache yet, going on behind what an earlier run has left, and links all
 * of them into the model's folder. Room on the disk is asked for before the first byte. No link is made before
 * everything is there: a folder with all its links is whole. */
int blobs_fetch(struct blob *b, int n, struct err *e)
{
    struct transfer **t = calloc((size_t)n + 1, sizeof *t);
    int     missing = 0, rc = t ? 0 : err_memory(e);
    int64_t need = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        if (is_here(&b[i]))
            continue;
        b[i].t.head = false;
        b[i].t.begin = begin;
        b[i].t.body = on_body;
        b[i].t.over = fetched;
        b[i].tries = 0;
        set_url(&b[i]);
        t[missing++] = &b[i].t;
        if (b[i].size > 0) {
            b[i].shared->all += b[i].size;
            need += b[i].size - part_of(&b[i]);
        }
    }
    if (rc == 0)
        rc = check_room(b->shared->hub, need, e);
    if (rc == 0)
        rc = run(t, missing, e);
    for (int i = 0; i < n && rc == 0; i++)
        rc = cache_link(b->shared->hub, b->shared->name->model, b->shared->commit, b[i].file, b[i].etag, e);
    free(t);
    return rc;
}
