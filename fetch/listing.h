/* fetch/listing.h - what the hub says of a model: the commit that a revision is now, and the files of it. And what its
 * refusals mean, in words for people. */
#ifndef FETCH_LISTING_H
#define FETCH_LISTING_H
#include <jansson.h>

#include "fetch/hub.h"
#include "fetch/transfer.h"

struct listing {
    char    commit[HUB_COMMIT];
    json_t *files;             /* owned: an object whose keys are the paths of all files */
};

/* -1 and *unreachable: nobody could be asked; -1 alone: the hub refused, or said what cannot be. */
int  listing_get(struct listing *l, const struct hub *h, const struct hub_name *name, bool *unreachable, struct err *e);
void listing_free(struct listing *l);
bool listing_has(const struct listing *l, const char *file);

/* Is an answer such that asking again may help? Seconds to wait before the next try, or -1: no, or `tries` were
 * enough. */
double hub_retry(const struct transfer *t, int tries);

/* Why an answer is no success. `file` may be NULL. Always -1. */
int hub_refusal(const struct transfer *t, const struct hub *h, const struct hub_name *name, const char *file,
                struct err *e);

/* The token goes to the hub itself and to nobody else. */
const char *hub_bearer(const struct hub *h, const char *url);
/* May an answer of `from` send us to `to`? Not from https to what anybody on the way can read. */
bool hub_may_follow(const char *from, const char *to);

#endif
