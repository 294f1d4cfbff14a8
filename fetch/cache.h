/* fetch/cache.h - models that were fetched, laid out as the hub's own Python library does it, so that both find each
 * other's files:
 *
 *     models--ORG--NAME/blobs/ETAG                         the bytes of a file, once
 *     models--ORG--NAME/blobs/ETAG.incomplete              the beginning of one, until it was checked
 *     models--ORG--NAME/refs/main                          the commit that a branch or tag stood for
 *     models--ORG--NAME/snapshots/COMMIT/config.json       a relative link to a blob
 *     models--ORG--NAME/.no_exist/COMMIT/added_tokens.json empty: that commit has no such file
 *     .locks/models--ORG--NAME/ETAG.lock                   whoever writes a blob holds a lock on this
 *
 * A blob has its name only when it is whole, and a link is made only to a whole blob: what lies in a folder of
 * snapshots may be loaded. */
#ifndef FETCH_CACHE_H
#define FETCH_CACHE_H
#include <stdint.h>
#include <stdio.h>

#include "fetch/hub.h"

enum { CACHE_PATH = PATH_MAX };

/* Paths, written to out. -1: longer than CACHE_PATH. */
int cache_repo(const struct hub *h, const char *model, char out[CACHE_PATH], struct err *e);
int cache_blob(const struct hub *h, const char *model, const char *etag, char out[CACHE_PATH], struct err *e);
int cache_snapshot(const struct hub *h, const char *model, const char *commit, char out[CACHE_PATH], struct err *e);

/* The commit that the revision stands for, as far as is known here. false: nothing is. */
bool cache_commit(const struct hub *h, const struct hub_name *name, char commit[HUB_COMMIT]);

/* What is there of a snapshot. */
enum cache_state {
    CACHE_NOTHING,             /* or not enough to load                                                         */
    CACHE_LOADABLE,            /* configuration, tokenizer and weights are there; whether files are missing that a model
                                  may have or not is unknown                                                    */
    CACHE_WHOLE,               /* every file that we read is there, or known not to exist                       */
};
enum cache_state cache_look(const struct hub *h, const char *model, const char *commit);

/* Makes the folders above a path. */
int cache_folders(const char *path, struct err *e);
/* Links a file of a snapshot to its blob; whatever link was there is replaced at once. */
int cache_link(const struct hub *h, const char *model, const char *commit, const char *file, const char *etag,
               struct err *e);
int cache_write_ref(const struct hub *h, const struct hub_name *name, const char *commit, struct err *e);
int cache_write_absent(const struct hub *h, const char *model, const char *commit, const char *file, struct err *e);

/* A table of all snapshots. */
int cache_list(const struct hub *h, FILE *out, struct err *e);

/* Removes a model with all that belongs to it or, if `revision` is not NULL, one snapshot and the blobs that no other
 * one uses. *freed is in bytes. */
int cache_remove(const struct hub *h, const char *model, const char *revision, int64_t *freed, struct err *e);

#endif
