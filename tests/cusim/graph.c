/* tests/cusim/graph.c - CUDA graphs of the fake runtime: capture of a stream,
 * instances, launches.
 *
 * What a real runtime refuses during a capture is refused (cudart.c): waiting,
 * allocating, copies of pageable memory, the default stream; it spoils the
 * recording as well, which EndCapture then tells. Recorded kernels keep the
 * parameters that they were recorded with. Handles that were destroyed, or
 * never existed, are refused. */
#include <stdlib.h>
#include <string.h>

#include "tests/cusim/stream.h"

enum { MAX_LIVE = 1024 };

struct CUgraphExec_st { struct work work; };    /* launches' params: owned */

static void *live[MAX_LIVE];                    /* graphs and instances */
static int n_launches;

/* How often a graph was launched, for tests. */
__attribute__((visibility("default"))) int cusim_graph_launches(void) { return n_launches; }

static void **find(const void *p)
{
    for (int i = 0; i < MAX_LIVE; i++)
        if (live[i] == p)
            return &live[i];
    return NULL;
}

static bool add_live(void *p)
{
    void **at = find(NULL);
    if (at)
        *at = p;
    return at != NULL;
}

static void work_free(struct work *w)
{
    for (int i = 0; i < w->n; i++)
        if (!w->ops[i].borrowed)
            free(w->ops[i].launch.params);
    free(w->ops);
}

static cudaError_t begin(cudaStream_t s)
{
    if (!s)
        return stream_refuse(cudaErrorStreamCaptureUnsupported, "capture of the default stream");
    if (s->capture)
        return stream_refuse(cudaErrorIllegalState, "capture of a stream that is being captured");
    s->capture = calloc(1, sizeof *s->capture);
    return cudaSuccess;
}

static cudaError_t end(cudaStream_t s, cudaGraph_t *out)
{
    *out = NULL;
    if (!s || !s->capture)
        return stream_refuse(cudaErrorIllegalState, "the end of a capture that was not begun");
    struct CUgraph_st *g = s->capture;
    s->capture = NULL;
    if (!g->broken && add_live(g)) {
        *out = g;
        return cudaSuccess;
    }
    work_free(&g->work);
    free(g);
    return stream_refuse(cudaErrorStreamCaptureInvalidated, "a capture that was spoilt");
}

static cudaError_t instantiate(cudaGraphExec_t *out, cudaGraph_t g)
{
    if (!g || !find(g))
        return stream_refuse(cudaErrorInvalidValue, "an instance of what is no graph");
    struct CUgraphExec_st *x = calloc(1, sizeof *x);
    x->work = (struct work){ malloc(sizeof *x->work.ops * (size_t)(g->work.n + 1)), g->work.n, g->work.n };
    for (int i = 0; i < g->work.n; i++) {
        struct op *o = &x->work.ops[i];
        *o = g->work.ops[i];
        if (o->kind == OP_LAUNCH || o->kind == OP_CALL)
            o->launch.params = memcpy(malloc(o->launch.params_size), o->launch.params, o->launch.params_size);
    }
    if (!add_live(x))
        return stream_refuse(cudaErrorMemoryAllocation, "too many graphs");
    *out = x;
    return cudaSuccess;
}

static cudaError_t launch(cudaGraphExec_t x, cudaStream_t s)
{
    cudaError_t e = cudaSuccess;
    if (!x || !find(x))
        return stream_refuse(cudaErrorInvalidValue, "a launch of what is no instance of a graph");
    if (s && s->capture)
        return stream_refuse(cudaErrorStreamCaptureUnsupported, "a graph in a graph (this emulation cannot record it)");
    n_launches++;
    for (int i = 0; i < x->work.n && e == cudaSuccess; i++) {
        struct op o = x->work.ops[i];
        o.borrowed = true;
        e = stream_enqueue(s, o);
    }
    return e;
}

static cudaError_t destroy(void *p, struct work *w)
{
    void **at = p ? find(p) : NULL;
    if (!at)
        return stream_refuse(cudaErrorInvalidValue, "destroying what is no graph");
    *at = NULL;
    work_free(w);
    free(p);
    return cudaSuccess;
}

/* An instance may be destroyed while it runs; here its work must not lie in a stream any more. */
static cudaError_t destroy_exec(cudaGraphExec_t x)
{
    cudaError_t e = cudaDeviceSynchronize();
    return e == cudaErrorStreamCaptureUnsupported ? e : destroy(x, &x->work);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode mode)
{
    (void)mode;
    LOCKED(begin(s));
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *out) { LOCKED(end(s, out)); }

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t g, unsigned long long flags)
{
    if (flags != 0)
        return stream_refuse(cudaErrorInvalidValue, "cudaGraphInstantiate: flags");
    LOCKED(instantiate(out, g));
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s) { LOCKED(launch(x, s)); }
cudaError_t cudaGraphDestroy(cudaGraph_t g) { LOCKED(destroy(g, &g->work)); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x) { LOCKED(destroy_exec(x)); }
