/* server/vectors.h - prompts that become vectors, one after the other of a list
 * that may be far longer than the engine has places. */
#ifndef SERVER_VECTORS_H
#define SERVER_VECTORS_H
#include "server/app.h"

enum { VECTORS_WINDOW = 64 };          /* prompts of one request that wait or run at once, at most */

struct vectors {
    int n;                             /* prompts                                                   */
    int window;                        /* how many of them are with the engine at once: from 1 to VECTORS_WINDOW */
    const struct params *params;       /* borrowed: `pooling`, and what else holds for all          */
    /* Makes the i-th prompt, when its turn has come, and may change the parameters for it. NULL with e->text empty: the
     * client is gone. */
    struct prompt *(*make)(void *arg, int i, struct params *params, struct err *e);
    /* Gets the i-th vector, in the order of the list: the end of its request, which is freed afterwards. -1 ends
     * all. */
    int  (*take)(void *arg, int i, const struct event *end, struct err *e);
    void  *arg;                        /* borrowed: make's and take's                               */
};

/* Computes them all and waits. Each prompt has a place while it is with the engine; one is taken at the start, and the
 * others as they are free. -1: what is still with the engine is cancelled; e->text empty: the client is gone. */
int vectors_compute(struct app *a, struct engine *g, struct exchange *x, const struct vectors *v, struct err *e);

#endif
