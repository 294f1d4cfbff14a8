/* fetch/kept.c - a small table, searched from end to end: there are few files, and each stands for a transfer. See
 * kept.h. */
#include "fetch/kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/transfer.h"

void kept_init(struct kept *k, size_t most)
{
    memset(k, 0, sizeof *k);
    pthread_mutex_init(&k->lock, NULL);
    k->most = most;
}

/* Takes one file out. Its place can be used again. */
static void forget(struct kept *k, struct kept_file *f)
{
    k->bytes -= f->n;
    free(f->url);
    free(f->from);
    free(f->data);
    memset(f, 0, sizeof *f);
}

void kept_free(struct kept *k)
{
    for (int i = 0; i < KEPT_FILES; i++)
        forget(k, &k->file[i]);
    pthread_mutex_destroy(&k->lock);
}

/* The file of a URL, and with a certain ETag if that is not NULL. */
static struct kept_file *find(struct kept *k, const char *url, const char *etag)
{
    for (int i = 0; i < KEPT_FILES; i++) {
        struct kept_file *f = &k->file[i];
        if (f->url && strcmp(f->url, url) == 0 && (!etag || strcmp(f->etag, etag) == 0))
            return f;
    }
    return NULL;
}

/* The ETag under which an image is kept, and the URL where a redirect led; both are empty if it is not. */
void kept_find(struct kept *k, const char *url, char etag[KEPT_ETAG], char *from)
{
    *etag = *from = '\0';
    pthread_mutex_lock(&k->lock);
    const struct kept_file *f = find(k, url, NULL);
    if (f) {
        snprintf(etag, KEPT_ETAG, "%s", f->etag);
        snprintf(from, TRANSFER_URL, "%s", f->from);
    }
    pthread_mutex_unlock(&k->lock);
}

/* Bytes of a kept image, so that the caller can make room before it copies; 0: it is not kept, or is another one. */
size_t kept_size(struct kept *k, const char *url, const char *etag)
{
    pthread_mutex_lock(&k->lock);
    const struct kept_file *f = find(k, url, etag);
    size_t n = f ? f->n : 0;
    pthread_mutex_unlock(&k->lock);
    return n;
}

/* Copies a kept image if it still is the one with this ETag and size: meanwhile another request may have replaced it.
 * 0: it is gone, and has to be fetched. */
size_t kept_copy(struct kept *k, const char *url, const char *etag, void *out, size_t n)
{
    pthread_mutex_lock(&k->lock);
    struct kept_file *f = find(k, url, etag);
    bool same = f && f->n == n;
    if (same) {
        memcpy(out, f->data, n);
        f->used = ++k->clock;
    }
    pthread_mutex_unlock(&k->lock);
    return same ? n : 0;
}

/* A free place with `n` bytes left for it: the oldest go until there is one. */
static struct kept_file *make_place(struct kept *k, size_t n)
{
    for (;;) {
        struct kept_file *oldest = NULL, *place = NULL;
        for (int i = 0; i < KEPT_FILES; i++) {
            struct kept_file *f = &k->file[i];
            if (!f->url)
                place = f;
            else if (!oldest || f->used < oldest->used)
                oldest = f;
        }
        if (place && n <= k->most - k->bytes)
            return place;
        forget(k, oldest);
    }
}

/* Keeps a copy of a fetched image under its URL, with the ETag by which it can be asked for again. What is too large is
 * not kept, and neither is anything when memory is short: the cache is a convenience. The copy is made before the lock
 * is taken. */
void kept_put(struct kept *k, const char *url, const char *from, const char *etag, const void *data, size_t n)
{
    if (n > k->most || strlen(etag) >= KEPT_ETAG)
        return;
    struct kept_file fresh = { .url = strdup(url), .from = strdup(from), .data = malloc(n), .n = n };
    if (!fresh.url || !fresh.from || !fresh.data) {
        free(fresh.url);
        free(fresh.from);
        free(fresh.data);
        return;
    }
    memcpy(fresh.data, data, n);
    snprintf(fresh.etag, sizeof fresh.etag, "%s", etag);
    pthread_mutex_lock(&k->lock);
    struct kept_file *old = find(k, url, NULL);
    if (old)
        forget(k, old);
    struct kept_file *place = make_place(k, n);
    fresh.used = ++k->clock;
    *place = fresh;
    k->bytes += n;
    pthread_mutex_unlock(&k->lock);
}
