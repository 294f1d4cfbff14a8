/* server/vectors.c - see vectors.h. Submitted prompts lie in a ring: the oldest is waited for, and for each that has
 * ended another one is submitted, so that the engine always has a few to put into one step. */
#include "server/vectors.h"

#include <stdio.h>

struct ring {
    struct request *request[VECTORS_WINDOW];   /* owned: those of prompts first .. next - 1, by their number modulo the
                                                  window */
    int first, next;
};

/* Submits the next prompt. 1: there is no place now (429 in e); -1: an error of its own. */
static int submit(struct app *a, struct engine *g, const struct vectors *v, struct ring *q, struct err *e)
{
    struct params params = *v->params;
    params.ended = app_ended;
    params.ended_arg = a;
    if (app_enter(a, e) != 0)
        return 1;
    struct prompt  *p = v->make(v->arg, q->next, &params, e);
    struct request *r = p ? engine_submit(g, p, &params, e) : NULL;
    if (!r) {
        app_leave(a);
        return -1;
    }
    q->request[q->next++ % v->window] = r;
    return 0;
}

/* Submits as many as the window has room for. Where others have taken all places, what is with the engine goes on. */
static int fill(struct app *a, struct engine *g, const struct vectors *v, struct ring *q, struct err *e)
{
    int rc = 0;
    while (rc == 0 && q->next < v->n && q->next - q->first < v->window)
        rc = submit(a, g, v, q, e);
    if (rc > 0 && q->next > 0) {
        *e = (struct err){ 0 };
        return 0;
    }
    return rc == 0 ? 0 : -1;
}

/* Waits for the end of r. -1: an error, its own or the server's; e->text empty: the client is gone. */
static int await(struct exchange *x, struct request *r, struct event *end, struct err *e)
{
    while (!request_next(r, end)) {
        enum wait_result w = exchange_wait(x, request_fd(r), 3600);
        if (w == EXCHANGE_GONE)
            return -1;
        if (w == EXCHANGE_STOPPED) {
            err_set(e, "the server is shutting down");
            e->status = 503;
            snprintf(e->code, sizeof e->code, "shutting_down");
            return -1;
        }
    }
    if (end->kind != EVENT_ERROR)
        return 0;
    *e = end->err;
    event_free(end);
    return -1;
}

/* Computes vectors in their order and hands each to v->take(), `window` of them under way at a time. Without a place
 * for even one it waits and asks again. After -1, or when the client has gone, the requests under way are cancelled. */
int vectors_compute(struct app *a, struct engine *g, struct exchange *x, const struct vectors *v, struct err *e)
{
    enum { AGAIN_MS = 50 };    /* between two looks for a place that others have */
    struct ring q = { .next = 0 };
    int rc = 0;
    while (rc == 0 && q.first < v->n) {
        rc = fill(a, g, v, &q, e);
        if (rc == 0 && q.next == q.first) {
            rc = exchange_wait(x, -1, AGAIN_MS / 1000.0) == EXCHANGE_GONE ? -1 : 0;
            continue;
        }
        struct request *r = q.request[q.first % v->window];
        struct event end = { 0 };
        if (rc == 0)
            rc = await(x, r, &end, e);
        if (rc == 0) {
            q.first++;
            request_free(r);
            rc = v->take(v->arg, q.first - 1, &end, e);
            event_free(&end);
        }
    }
    while (q.first < q.next)
        request_free(q.request[q.first++ % v->window]);
    return rc;
}
