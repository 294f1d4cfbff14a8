/* fetch/find.h - which folder a model lies in that was named in one of the ways that people name models: by a folder,
 * by its name on a hub, or not at all, which means the shipped one. */
#ifndef FETCH_FIND_H
#define FETCH_FIND_H
#include <stdbool.h>
#include <stddef.h>

#include "fetch/cache.h"

struct find {
    const char *named;         /* borrowed: a folder; ORG/NAME[@REVISION]; "" or "open-autoglm-v1": the shipped model */
    bool fetch;                /* what is not in the cache is fetched, else that is an error                          */
    void (*progress)(void *arg, size_t done, size_t all);      /* bytes, while it is fetched; NULL: nobody waits      */
    void  *progress_arg;
    /* out */
    char folder[CACHE_PATH];   /* as it was named, if that was no name on a hub                                       */
    char name[97];             /* on the hub, without the revision; "" of a folder                                    */
};

/* The shipped model is looked for in ./models, beside the folder of the program, and where packages install it. A
 * folder is not looked at: whoever reads it says what is wrong with it. */
int find_model(struct find *f, struct err *e);

#endif
