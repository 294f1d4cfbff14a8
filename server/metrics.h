/* server/metrics.h - counts by route and status; GET /metrics is in handlers.h. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H
#include "server/app.h"

void metrics_count(struct app *a, int route, int status);   /* route: index in routes[]; n_routes: none matched */

#endif
