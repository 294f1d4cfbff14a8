/* fetch/remote.h - images that a request names instead of sending them: by http(s): and file: URLs.
 *
 *     struct remote_source *s = remote_open(&(struct remote_policy){ ... }, &e);
 *     struct remote_image list[2] = { { .url = "https://...", .field = "messages[0]..." }, ... };
 *     if (remote_fetch(s, list, 2, still_there, arg, &e) == 0)
 *         ... list[i].data, list[i].n ...
 *     remote_release(s, list, 2);
 *
 * Any thread may fetch, and waits on its own: for one of REMOTE_AT_ONCE places, and for the transfers. Nobody else is
 * held up meanwhile. All bytes that are held count in one sum. What came with an ETag is kept, as far as a second sum
 * goes, and asked for again with "only if it has changed": a chat that shows the same picture in every turn costs one
 * transfer of it. */
#ifndef FETCH_REMOTE_H
#define FETCH_REMOTE_H
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum {
    REMOTE_AT_ONCE = 16,       /* requests that fetch at the same time; each may have REMOTE_EACH transfers */
    REMOTE_EACH = 4,
    REMOTE_WAITING = 64,       /* requests that may wait for that; more hear 503                            */
    REMOTE_REDIRECTS = 3,
    REMOTE_SECONDS = 10,       /* for one image with all its redirects                                      */
    REMOTE_BYTES = 20 << 20,   /* of one image                                                              */
    REMOTE_OWN = 16 << 20,     /* bytes that all transfers together take beside the images                  */
};

struct remote_policy {
    char *const *hosts;        /* borrowed: --allow-image-hosts; none: no http(s): URL is fetched           */
    int          n_hosts;
    const char  *folder;       /* borrowed: --allow-local-images; "": no file: URL is read                  */
    const char  *proxy;        /* borrowed: --image-proxy; "": connections are direct                       */
    size_t       max_bytes;    /* of one image, beside REMOTE_BYTES                                         */
    size_t       held, kept;   /* most bytes of images in use, and of images kept for later                 */
};

struct remote_image {
    const char *url;           /* borrowed */
    const char *field;         /* borrowed: names it in errors        */
    unsigned char *data;       /* owned, until remote_release()       */
    size_t n, room;            /* bytes of the file; bytes that count */
};

struct remote_source;

/* -1: e names the option that is wrong. */
struct remote_source *remote_open(const struct remote_policy *policy, struct err *e);
void                 remote_close(struct remote_source *s);

/* Does the URL name an image somewhere else (http:, https:, file:)? */
bool remote_is_url(const char *url);
/* May it be fetched, as far as that can be said without asking anybody? `s` may be NULL. */
int  remote_check(const struct remote_source *s, const char *url, const char *field, struct err *e);

/* Fetches all. -1: e has the error of the first one that failed; with an empty text, go_on() said no. */
int  remote_fetch(struct remote_source *s, struct remote_image *list, int n, bool (*go_on)(void *arg), void *arg,
                  struct err *e);
/* Frees what was fetched, after success and failure. */
void remote_release(struct remote_source *s, struct remote_image *list, int n);

#endif
