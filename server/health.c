/* server/health.c - is the process alive, and does it take requests? */
#include "server/handlers.h"
#include "server/reply.h"

void health_get(struct app *a, struct exchange *x)
{
    static const char *const name[] = { "loading", "ready", "draining" };
    x->status = 200;
    buf_printf(&x->reply, "{\"status\":\"ok\",\"state\":\"%s\"}", name[atomic_load(&a->state)]);
}

void ready_get(struct app *a, struct exchange *x)
{
    struct err e;
    if (!app_engine(a, &e)) {
        reply_error(x, &e);
        return;
    }
    x->status = 200;
    buf_str(&x->reply, "{\"status\":\"ready\"}");
}

void index_get(struct app *a, struct exchange *x)
{
    x->status = 200;
    x->content_type = "text/plain; charset=utf-8";
    buf_printf(&x->reply, "openautoglm " VERSION ": %s at /v1/chat/completions\n", app_model_name(a));
}
