/* fetch/kept.h - files that were fetched, with their ETags, to be asked for again only if they have changed. A maximum
 * of bytes; the one that was not used for longest goes first. Any thread. */
#ifndef FETCH_KEPT_H
#define FETCH_KEPT_H
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEPT_FILES = 256, KEPT_ETAG = 200 };

struct kept_file {
    char  *url;                /* owned: of the request; NULL: this place is free        */
    char  *from;               /* owned: where the bytes came from, after all redirects  */
    char   etag[KEPT_ETAG];
    void  *data;               /* owned */
    size_t n;
    uint64_t used;             /* the larger, the later */
};

struct kept {
    pthread_mutex_t  lock;     /* guards all of the rest */
    struct kept_file file[KEPT_FILES];
    size_t   bytes, most;
    uint64_t clock;
};

void kept_init(struct kept *k, size_t most);
void kept_free(struct kept *k);

/* The ETag of what is kept of a URL, and where it came from; both "" if nothing is. `from` has TRANSFER_URL bytes. */
void   kept_find(struct kept *k, const char *url, char etag[KEPT_ETAG], char *from);
/* Bytes of what is kept with that ETag; 0: it is not there any more. */
size_t kept_size(struct kept *k, const char *url, const char *etag);
/* Copies them, if they are still n; returns n or 0. */
size_t kept_copy(struct kept *k, const char *url, const char *etag, void *out, size_t n);
/* Keeps a copy, in the place of what was kept of that URL. Nothing happens if it is too large or memory is out. */
void   kept_put(struct kept *k, const char *url, const char *from, const char *etag, const void *data, size_t n);

#endif
