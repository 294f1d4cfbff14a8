/* cli/load.h - the requests of `openautoglm bench`: random pictures and random words, the same for the same seed.
 *
 * Pictures are drawn before the first request is sent: as many as the requests have, up to LOAD_PICTURES, and then
 * again from the first. Each question begins with a number of its own. */
#ifndef CLI_LOAD_H
#define CLI_LOAD_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum { LOAD_PICTURES = 32 };

struct load {                  /* what is asked; filled by the caller */
    const char *model;         /* borrowed                            */
    int    images, width, height;      /* pictures in each request, and their size */
    int    words;              /* of the question                     */
    int    max_tokens;
    double temperature;
    bool   ignore_eos;
    uint64_t seed;
    /* load.c's */
    struct buf picture[LOAD_PICTURES];     /* owned: data URLs */
    int    n_pictures;
};

/* "1080x2400" */
int  load_size(const char *text, int *width, int *height, struct err *e);

/* Draws the pictures for so many requests. */
int  load_draw(struct load *l, long requests, struct err *e);
void load_free(struct load *l);

/* The i-th request, as JSON. */
int  load_body(const struct load *l, long i, struct buf *out, struct err *e);

#endif
