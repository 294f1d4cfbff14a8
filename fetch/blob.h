/* fetch/blob.h - one file on its way from the hub into the cache.
 *
 * First the hub is asked what the file is (HEAD): its etag, which names the blob, and its size. If the blob is not here
 * yet, it is fetched into ETAG.incomplete from where that ends, and checked: a file of Git LFS by its SHA-256, which is
 * its etag, a small one by git's SHA-1, which is its etag too, and every file by its size. Then it gets its name. */
#ifndef FETCH_BLOB_H
#define FETCH_BLOB_H
#include "base/sha1.h"
#include "base/sha256.h"
#include "fetch/cache.h"
#include "fetch/transfer.h"

struct fetching {              /* what all files of a pull share */
    const struct hub      *hub;
    const struct hub_name *name;
    const char            *commit;
    void (*progress)(void *arg, size_t done, size_t all);
    void  *progress_arg;
    int64_t done, all;         /* bytes of the files that are fetched, for the progress          */
    int64_t fetched;           /* bytes that came over the network                               */
    struct err *e;             /* why all was stopped; "" in its text: memory is out             */
};

enum blob_check { CHECK_SIZE, CHECK_SHA256, CHECK_GIT };

struct blob {
    struct fetching *shared;   /* borrowed */
    struct transfer  t;
    char    file[HUB_FILE];
    char    etag[HUB_ETAG];    /* "": not asked for yet                                          */
    int64_t size;              /* -1: the hub did not say                                        */
    enum blob_check check;
    int64_t have;              /* bytes in the file now                                          */
    int64_t best;              /* most that it ever had: more than that is progress              */
    int     hops, tries;
    bool    resumed, told;     /* it goes on from an earlier part; somebody has the lock         */
    int     fd, lock;          /* -1: not open                                                   */
    struct sha256 sha256;
    struct sha1   sha1;
};

int  blob_init(struct blob *b, struct fetching *shared, const char *file);
void blob_free(struct blob *b);

/* Asks the hub about all of them. */
int blobs_look(struct blob *b, int n, struct err *e);
/* Fetches those that are not here, four at a time, and links all into the snapshot. Refuses before the first byte if
 * the disk has no room for them. */
int blobs_fetch(struct blob *b, int n, struct err *e);

#endif
