/* server/health.c - is the process there, and can it serve? The paths mean what routers and the peers of this server
 * expect: /health is 200 when requests can be served, and 503 while the model loads and once the server was told to
 * stop. /ready is the same by another name. /live is 200 whatever the state. */
#include "server/handlers.h"

/* A server that is leaving (APP_LEAVING) still serves, but says 503 here, so that routers send their requests
 * elsewhere. */
void health_get(struct app *a, struct exchange *x)
{
    int state = atomic_load(&a->state);
    if (state == APP_READY) {
        x->status = 200;
        buf_str(&x->reply, "{\"status\":\"ok\",\"state\":\"ready\"}");
        return;
    }
    x->status = 503;
    buf_printf(&x->reply, "{\"status\":\"%s\"}", state == APP_LOADING ? "loading" : "draining");
}

/* For watchdogs that restart a process which has died or hangs: a long start is no reason to. */
void live_get(struct app *a, struct exchange *x)
{
    static const char *const name[] = { "loading", "ready", "draining", "draining" };
    x->status = 200;
    buf_printf(&x->reply, "{\"status\":\"ok\",\"state\":\"%s\"}", name[atomic_load(&a->state)]);
}
