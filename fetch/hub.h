/* fetch/hub.h - a hub of models, as Hugging Face runs one: where it is, who asks, where its files are kept here, and
 * what names may look like.
 *
 * The settings are the environment's, with the names and meanings that the hub's own Python library gives them:
 * HF_ENDPOINT, HF_TOKEN (or a file, HF_TOKEN_PATH), HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE. */
#ifndef FETCH_HUB_H
#define FETCH_HUB_H
#include <limits.h>
#include <stdbool.h>

#include "base/err.h"

struct hub {
    char endpoint[256];        /* without a slash at the end: "https://huggingface.co"                          */
    char token[1024];          /* ""                                                                            */
    char cache[PATH_MAX / 2];  /* folder of the cache; it may not exist yet                                     */
    bool offline;              /* nothing is asked                                                              */
};

struct hub_name {
    char model[97];            /* "ORG/NAME"                                                                    */
    char revision[129];        /* a branch, a tag or a commit: "main"                                           */
};

enum { HUB_COMMIT = 65, HUB_FILE = 256, HUB_ETAG = 129 };      /* most bytes of these, with the NUL */

int hub_open(struct hub *h, struct err *e);

/* ORG/NAME[@REVISION]. -1: it is no such name, and e says what is wrong with it. */
int hub_name_parse(struct hub_name *out, const char *text, struct err *e);

/* What a hub says of itself goes into paths, so it is believed only if it looks as it must. A commit is 40 or 64
 * hexadecimal digits; a file is a relative path that leads nowhere else; an etag is one word. */
bool hub_is_commit(const char *s);
bool hub_is_file(const char *path);
bool hub_is_etag(const char *s);

#endif
