/* server/routes.h - which function answers which request. */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H
#include "server/app.h"

struct route {
    const char *method, *path;     /* a path that ends in '/' also matches what follows     */
    void      (*handle)(struct app *a, struct exchange *x);
    enum { BODY_NONE, BODY_SMALL, BODY_IMAGES } body;
    bool        open;              /* answered without an API key                           */
};

extern const struct route routes[];
extern const int          n_routes;

/* The three calls that http.c makes for each exchange; ctx is the struct app. */
size_t routes_begin(void *ctx, struct exchange *x);
void   routes_handle(void *ctx, struct exchange *x);
void   routes_done(void *ctx, struct exchange *x);

#endif
