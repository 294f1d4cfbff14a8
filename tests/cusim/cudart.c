/* tests/cusim/cudart.c - the CUDA runtime's functions that the backend calls.
 *
 * Streams are lazy: work runs at the synchronize that needs it, so that a
 * missing one is seen. With CUSIM_GUARD=1 the host cannot touch device memory
 * between operations.
 * Arguments are checked as strictly as the documentation states.
 *
 * Environment: CUSIM_SEED (order of threads), CUSIM_PREEMPT (switch after one in n accesses), CUSIM_MEMORY (MiB,
 * default 8192), CUSIM_DEVICES (default 1), CUSIM_PROCESSORS (default 4), CUSIM_MAJOR (compute capability, default 9),
 * CUSIM_DRIVER (as CUDART_VERSION; 0: none). */
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cusim/stream.h"

struct CUevent_st  { uint64_t recorded, done; struct CUstream_st *stream; };

static struct CUstream_st default_stream, *streams = &default_stream;
static pthread_mutex_t lock;
static cudaError_t sticky;      /* a failed kernel spoils the context, as on a GPU */
static cudaError_t last;        /* of a refused call; cudaGetLastError() clears it */
static size_t memory_total;
static struct { char *p; size_t n; } pinned[64];

static int from_environment(const char *name, int otherwise)
{
    const char *s = getenv(name);
    return s && *s ? atoi(s) : otherwise;
}

__attribute__((constructor)) static void start(void)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &a);
    E.seed = from_environment("CUSIM_SEED", 0);
    E.preempt = from_environment("CUSIM_PREEMPT", 0);
    E.random ^= (uint64_t)E.seed * 0xD1342543DE82EF95u;
    E.guard = from_environment("CUSIM_GUARD", 0) != 0;
    memory_total = (size_t)from_environment("CUSIM_MEMORY", 8192) << 20;
}

__attribute__((visibility("default"))) void cusim_set(int seed, int preempt)
{
    E.seed = seed;
    E.preempt = preempt;
    E.random = 0x9E3779B97F4A7C15u ^ (uint64_t)seed * 0xD1342543DE82EF95u;
}

void cusim_forgive(void) { sticky = last = cudaSuccess; }

void stream_lock(void) { pthread_mutex_lock(&lock); }
void stream_unlock(void) { pthread_mutex_unlock(&lock); }

cudaError_t stream_refuse(cudaError_t e, const char *why)
{
    if (!cusim_is_quiet())
        fprintf(stderr, "cusim: refused: %s\n", why);
    return last = e;
}

/* ---- running a stream ---- */

static void run_copy(const struct op *o)
{
    bool to = shadow_is_device(o->dst), from = shadow_is_device(o->src);
    enum cudaMemcpyKind kind = (enum cudaMemcpyKind)o->value;
    if (to != (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) ||
        from != (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice)) {
        cusim_error("memcpy-direction", NULL, "kind %d, to the %s from the %s", (int)kind, to ? "device" : "host",
                    from ? "device" : "host");
        return;
    }
    if ((from && !shadow_range("cudaMemcpy", o->src, o->n, false)) ||
        (to && !shadow_range("cudaMemcpy", o->dst, o->n, true)))
        return;
    if (to && from)
        shadow_copy_init(o->dst, o->src, o->n);
    memmove(o->dst, o->src, o->n);
}

static void run_op(struct op *o)
{
    switch (o->kind) {
    case OP_LAUNCH:
        cusim_run(&o->launch);
        break;
    case OP_CALL:
        o->launch.thunk(o->launch.params);
        break;
    case OP_COPY:
        run_copy(o);
        break;
    case OP_SET:
        if (shadow_range("cudaMemset", o->dst, o->n, true))
            memset(o->dst, o->value, o->n);
        break;
    case OP_RECORD:
        o->event->done = o->number;
        break;
    case OP_WAIT:
        break;
    }
}

/* Runs one stream to its end, others as far as its event waits need. */
static void flush(struct CUstream_st *s)
{
    int before = cusim_reports();
    if (s->next < s->work.n)
        shadow_guard(false);
    while (s->next < s->work.n) {
        struct op o = s->work.ops[s->next++];
        if (o.kind == OP_WAIT && o.event->done < o.number && o.event->stream != s)
            flush(o.event->stream);
        if (sticky == cudaSuccess)
            run_op(&o);
        if (!o.borrowed)
            free(o.launch.params);
        if (cusim_reports() > before && sticky == cudaSuccess)
            sticky = cudaErrorLaunchFailure;
    }
    s->work.n = s->next = 0;
    shadow_guard(true);
}

static void flush_all(void)
{
    for (struct CUstream_st *s = streams; s; s = s->link)
        flush(s);
}

/* What no stream may be recording for: it waits, or changes what a recording would use. */
static bool capturing(void)
{
    bool any = false;
    for (struct CUstream_st *s = streams; s; s = s->link)
        if (s->capture) {
            s->capture->broken = true;
            any = true;
        }
    return any;
}

static cudaError_t unsupported(const char *what)
{
    if (!cusim_is_quiet())
        fprintf(stderr, "cusim: %s while a stream is captured\n", what);
    return last = cudaErrorStreamCaptureUnsupported;
}

cudaError_t stream_enqueue(cudaStream_t to, struct op o)
{
    struct CUstream_st *s = to ? to : &default_stream;
    struct work *w = s->capture ? &s->capture->work : &s->work;
    if (!to && capturing())
        return last = cudaErrorStreamCaptureImplicit;
    if (s->capture && (o.kind == OP_RECORD || o.kind == OP_WAIT))
        return capturing(), unsupported("an event (this emulation cannot record it)");
    if (w->n == w->max)
        w->ops = realloc(w->ops, sizeof *w->ops * (size_t)(w->max = 2 * w->max + 64));
    w->ops[w->n++] = o;
    return sticky;
}

/* ---- launches ---- */

cudaError_t cusim_launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, const void *fn,
                         void (*thunk)(const void *), const void *params, size_t n);

static struct { const void *fn; int max_shared; } attributes[256];
static int n_attributes;

static cudaError_t launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, const void *fn,
                          void (*thunk)(const void *), const void *params, size_t n)
{
    size_t threads = (size_t)block.x * block.y * block.z, most = 48 << 10;
    for (int i = 0; i < n_attributes; i++)
        if (attributes[i].fn == fn)
            most = (size_t)attributes[i].max_shared;
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535 || threads < 1 || threads > MAX_THREADS ||
        block.z > 64)
        return stream_refuse(cudaErrorInvalidConfiguration, name);
    if (shared > most)
        return stream_refuse(cudaErrorInvalidValue, "more dynamic shared memory than the kernel may use");
    struct op o = { .kind = OP_LAUNCH };
    o.launch = (struct launch){ name, { grid.x, grid.y, grid.z }, { block.x, block.y, block.z }, shared, fn, thunk,
                                NULL, n };
    o.launch.params = memcpy(malloc(n), params, n);
    return stream_enqueue(stream, o);
}

cudaError_t cusim_launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, const void *fn,
                         void (*thunk)(const void *), const void *params, size_t n)
{
    LOCKED(launch(name, grid, block, shared, stream, fn, thunk, params, n));
}

cudaError_t cudaFuncSetAttribute(const void *fn, enum cudaFuncAttribute attribute, int value)
{
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value > MAX_SHARED || n_attributes == 256)
        return stream_refuse(cudaErrorInvalidValue, "cudaFuncSetAttribute");
    attributes[n_attributes].fn = fn;
    attributes[n_attributes++].max_shared = value;
    return cudaSuccess;
}

/* ---- memory ---- */

static int n_device_allocs;

/* How often device memory was allocated: a test sees that nothing is after the start. */
__attribute__((visibility("default"))) int cusim_allocations(void) { return n_device_allocs; }

static cudaError_t device_alloc(void **p, size_t n)
{
    n_device_allocs++;
    if (capturing())
        return unsupported("cudaMalloc");
    if (n > memory_total - shadow_live_bytes() || !(*p = shadow_alloc(n)))
        return last = cudaErrorMemoryAllocation;
    return cudaSuccess;
}

static cudaError_t device_free(void *p)
{
    if (capturing())
        return unsupported("cudaFree");
    flush_all();
    return !p || shadow_free(p) ? cudaSuccess : stream_refuse(cudaErrorInvalidValue,
                                                              "cudaFree of what is not an allocation");
}

cudaError_t cudaMalloc(void **p, size_t n) { LOCKED(device_alloc(p, n)); }
cudaError_t cudaFree(void *p) { LOCKED(device_free(p)); }

static cudaError_t host_alloc(void **p, size_t n)
{
    size_t i = 0;
    while (i < sizeof pinned / sizeof *pinned && pinned[i].p)
        i++;
    if (capturing())
        return unsupported("cudaMallocHost");
    *p = i < sizeof pinned / sizeof *pinned ? aligned_alloc(4096, (n + 4095) / 4096 * 4096) : NULL;
    if (!*p)
        return last = cudaErrorMemoryAllocation;
    memset(*p, 0xff, n);
    pinned[i].p = *p;
    pinned[i].n = n;
    return cudaSuccess;
}

static cudaError_t host_free_now(void *p)
{
    if (!p)
        return cudaSuccess;
    if (capturing())
        return unsupported("cudaFreeHost");
    flush_all();
    for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++)
        if (pinned[i].p == p) {
            pinned[i].p = NULL;
            free(p);
            return cudaSuccess;
        }
    return stream_refuse(cudaErrorInvalidValue, "cudaFreeHost of what is not pinned memory");
}

static bool is_pinned(const void *p, size_t n)
{
    for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++)
        if (pinned[i].p && (const char *)p >= pinned[i].p && (const char *)p + n <= pinned[i].p + pinned[i].n)
            return true;
    return false;
}

cudaError_t cudaMallocHost(void **p, size_t n) { LOCKED(host_alloc(p, n)); }
cudaError_t cudaFreeHost(void *p) { LOCKED(host_free_now(p)); }

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *total = memory_total;
    *available = memory_total - shadow_live_bytes();
    return cudaSuccess;
}

static cudaError_t copy(cudaStream_t s, void *dst, const void *src, size_t n, enum cudaMemcpyKind kind)
{
    const void *host = kind == cudaMemcpyHostToDevice ? src : kind == cudaMemcpyDeviceToHost ? dst : NULL;
    if (s && s->capture && host && !is_pinned(host, n))
        return capturing(), unsupported("a copy of pageable memory");
    return stream_enqueue(s, (struct op){ .kind = OP_COPY, .dst = dst, .src = src, .n = n, .value = (int)kind });
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, enum cudaMemcpyKind kind, cudaStream_t s)
{
    LOCKED(copy(s, dst, src, n, kind));
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t n, cudaStream_t s)
{
    LOCKED(stream_enqueue(s, (struct op){ .kind = OP_SET, .dst = dst, .n = n, .value = value }));
}

/* ---- streams and events ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    (void)flags;
    pthread_mutex_lock(&lock);
    *s = calloc(1, sizeof **s);
    (*s)->link = streams;
    streams = *s;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

static cudaError_t destroy(cudaStream_t s)
{
    if (s->capture)
        return capturing(), unsupported("cudaStreamDestroy");
    flush(s);
    for (struct CUstream_st **p = &streams; *p; p = &(*p)->link)
        if (*p == s) {
            *p = s->link;
            break;
        }
    free(s->work.ops);
    free(s);
    return sticky;
}

static cudaError_t synchronize(cudaStream_t s)
{
    if (s && s->capture)
        return capturing(), unsupported("cudaStreamSynchronize");
    flush(s ? s : &default_stream);
    return sticky;
}

static cudaError_t synchronize_all(void)
{
    if (capturing())
        return unsupported("cudaDeviceSynchronize");
    flush_all();
    return sticky;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) { LOCKED(destroy(s)); }
cudaError_t cudaStreamSynchronize(cudaStream_t s) { LOCKED(synchronize(s)); }
cudaError_t cudaDeviceSynchronize(void) { LOCKED(synchronize_all()); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    (void)flags;
    *e = calloc(1, sizeof **e);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    free(e);
    return cudaSuccess;
}

static cudaError_t record(cudaEvent_t e, cudaStream_t s)
{
    e->stream = s ? s : &default_stream;
    return stream_enqueue(s, (struct op){ .kind = OP_RECORD, .event = e, .number = ++e->recorded });
}

static cudaError_t wait_for(cudaEvent_t e)
{
    if (capturing())
        return unsupported("cudaEventSynchronize");
    if (e->done < e->recorded)
        flush(e->stream);
    return sticky;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) { LOCKED(record(e, s)); }
cudaError_t cudaEventSynchronize(cudaEvent_t e) { LOCKED(wait_for(e)); }

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    (void)flags;
    LOCKED(stream_enqueue(s, (struct op){ .kind = OP_WAIT, .event = e, .number = e->recorded }));
}

/* ---- the device ---- */

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = from_environment("CUSIM_DRIVER", CUDART_VERSION);
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 0;
    if (from_environment("CUSIM_DRIVER", CUDART_VERSION) < CUDART_VERSION)
        return last = cudaErrorInsufficientDriver;
    *n = from_environment("CUSIM_DEVICES", 1);
    return *n > 0 ? cudaSuccess : (last = cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int i)
{
    return i == 0 ? cudaSuccess : stream_refuse(cudaErrorInvalidDevice, "cudaSetDevice");
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = from_environment("CUSIM_MAJOR", 9); break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    case cudaDevAttrMultiProcessorCount:    *value = from_environment("CUSIM_PROCESSORS", 4); break;
    default: return stream_refuse(cudaErrorInvalidValue, "cudaDeviceGetAttribute");
    }
    return device == 0 ? cudaSuccess : stream_refuse(cudaErrorInvalidDevice, "cudaDeviceGetAttribute");
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t e = last ? last : sticky;
    last = cudaSuccess;
    return e;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:                   return "no error";
    case cudaErrorMemoryAllocation:     return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidValue:         return "invalid argument";
    case cudaErrorNoDevice:             return "no device";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureImplicit: return "operation would make the legacy stream depend on a capturing "
                                                "blocking stream";
    case cudaErrorIllegalState:         return "the operation cannot be performed in the present state";
    case cudaErrorLaunchFailure:        return "the emulator reported a mistake (see above)";
    default:                            return "CUDA error";
    }
}
