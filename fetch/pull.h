/* fetch/pull.h - brings a model from the hub into the cache. */
#ifndef FETCH_PULL_H
#define FETCH_PULL_H
#include <stdint.h>

#include "fetch/cache.h"

struct pull {
    const struct hub      *hub;        /* borrowed                                                              */
    const struct hub_name *name;       /* borrowed                                                              */
    void (*progress)(void *arg, size_t done, size_t all);      /* bytes; NULL: nobody waits                     */
    void  *progress_arg;
    /* out */
    char    commit[HUB_COMMIT];
    char    folder[CACHE_PATH];        /* of the snapshot, to be loaded                                         */
    int64_t fetched;                   /* bytes that came over the network                                      */
    bool    unreachable;               /* it failed because the hub could not be asked, and not by its answer   */
};

/* Asks the hub which commit the revision is, and fetches those of its files that are needed and not here yet.
 * Nothing of the snapshot can be loaded before it is whole, and the revision stands for the earlier commit until
 * then. What came of a file before a break is kept, and the next try goes on from there. */
int pull_model(struct pull *p, struct err *e);

#endif
