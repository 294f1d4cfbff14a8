/* tests/cusim/cudart.c - the CUDA runtime's functions that the backend calls.
 *
 * Streams are lazy: work runs at the synchronize that needs it, so that a
 * missing one is seen. With CUSIM_GUARD=1 the host cannot touch device memory
 * between operations.
 * Arguments are checked as strictly as the documentation states.
 *
 * Environment: CUSIM_SEED (order of threads), CUSIM_PREEMPT (switch after one
 * in n accesses), CUSIM_MEMORY (MiB, default 8192), CUSIM_DEVICES (default 1),
 * CUSIM_MAJOR (compute capability, default 9), CUSIM_DRIVER (as CUDART_VERSION; 0: none). */
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cusim/internal.h"

enum op_kind { OP_LAUNCH, OP_COPY, OP_SET, OP_RECORD, OP_WAIT };

struct op {                     /* one piece of work in a stream */
    enum op_kind  kind;
    struct launch launch;
    void         *dst;
    const void   *src;
    size_t        n;
    int           value;        /* of a memset, or a copy's direction */
    cudaEvent_t   event;
    uint64_t      number;       /* of the event's recording           */
};

struct CUstream_st { struct op *ops; int n, max, next; struct CUstream_st *link; };
struct CUevent_st  { uint64_t recorded, done; struct CUstream_st *stream; };

static struct CUstream_st default_stream, *streams = &default_stream;
static pthread_mutex_t lock;
static cudaError_t sticky;      /* a failed kernel spoils the context, as on a GPU */
static cudaError_t last;        /* of a refused call; cudaGetLastError() clears it */
static size_t memory_total;

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

#define LOCKED(expr)                  \
    do {                              \
        pthread_mutex_lock(&lock);    \
        cudaError_t e_ = (expr);      \
        pthread_mutex_unlock(&lock);  \
        return e_;                    \
    } while (0)

static cudaError_t refuse(cudaError_t e, const char *why)
{
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
    if ((from && !shadow_range("cudaMemcpy", o->src, o->n, false)) || (to && !shadow_range("cudaMemcpy", o->dst, o->n, true)))
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
    if (s->next < s->n)
        shadow_guard(false);
    while (s->next < s->n) {
        struct op o = s->ops[s->next++];
        if (o.kind == OP_WAIT && o.event->done < o.number && o.event->stream != s)
            flush(o.event->stream);
        if (sticky == cudaSuccess)
            run_op(&o);
        free(o.launch.params);
        if (cusim_reports() > before && sticky == cudaSuccess)
            sticky = cudaErrorLaunchFailure;
    }
    s->n = s->next = 0;
    shadow_guard(true);
}

static void flush_all(void)
{
    for (struct CUstream_st *s = streams; s; s = s->link)
        flush(s);
}

static cudaError_t enqueue(cudaStream_t to, struct op o)
{
    struct CUstream_st *s = to ? to : &default_stream;
    if (s->n == s->max)
        s->ops = realloc(s->ops, sizeof *s->ops * (size_t)(s->max = 2 * s->max + 64));
    s->ops[s->n++] = o;
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
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535 || threads < 1 || threads > MAX_THREADS || block.z > 64)
        return refuse(cudaErrorInvalidConfiguration, name);
    if (shared > most)
        return refuse(cudaErrorInvalidValue, "more dynamic shared memory than the kernel may use");
    struct op o = { .kind = OP_LAUNCH };
    o.launch = (struct launch){ name, { grid.x, grid.y, grid.z }, { block.x, block.y, block.z }, shared, thunk, NULL, n };
    o.launch.params = memcpy(malloc(n), params, n);
    return enqueue(stream, o);
}

cudaError_t cusim_launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, const void *fn,
                         void (*thunk)(const void *), const void *params, size_t n)
{
    LOCKED(launch(name, grid, block, shared, stream, fn, thunk, params, n));
}

cudaError_t cudaFuncSetAttribute(const void *fn, enum cudaFuncAttribute attribute, int value)
{
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value > MAX_SHARED || n_attributes == 256)
        return refuse(cudaErrorInvalidValue, "cudaFuncSetAttribute");
    attributes[n_attributes].fn = fn;
    attributes[n_attributes++].max_shared = value;
    return cudaSuccess;
}

/* ---- memory ---- */

static cudaError_t device_alloc(void **p, size_t n)
{
    if (n > memory_total - shadow_live_bytes() || !(*p = shadow_alloc(n)))
        return last = cudaErrorMemoryAllocation;
    return cudaSuccess;
}

static cudaError_t device_free(void *p)
{
    flush_all();
    return !p || shadow_free(p) ? cudaSuccess : refuse(cudaErrorInvalidValue, "cudaFree of what is not an allocation");
}

cudaError_t cudaMalloc(void **p, size_t n) { LOCKED(device_alloc(p, n)); }
cudaError_t cudaFree(void *p) { LOCKED(device_free(p)); }

cudaError_t cudaMallocHost(void **p, size_t n)
{
    *p = aligned_alloc(4096, (n + 4095) / 4096 * 4096);
    if (!*p)
        return last = cudaErrorMemoryAllocation;
    memset(*p, 0xff, n);
    return cudaSuccess;
}

static cudaError_t host_free_now(void *p)
{
    flush_all();
    free(p);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p) { LOCKED(host_free_now(p)); }

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *total = memory_total;
    *available = memory_total - shadow_live_bytes();
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, enum cudaMemcpyKind kind, cudaStream_t s)
{
    LOCKED(enqueue(s, (struct op){ .kind = OP_COPY, .dst = dst, .src = src, .n = n, .value = (int)kind }));
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t n, cudaStream_t s)
{
    LOCKED(enqueue(s, (struct op){ .kind = OP_SET, .dst = dst, .n = n, .value = value }));
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
    flush(s);
    for (struct CUstream_st **p = &streams; *p; p = &(*p)->link)
        if (*p == s) {
            *p = s->link;
            break;
        }
    free(s->ops);
    free(s);
    return sticky;
}

static cudaError_t synchronize(cudaStream_t s)
{
    flush(s ? s : &default_stream);
    return sticky;
}

static cudaError_t synchronize_all(void)
{
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
    return enqueue(s, (struct op){ .kind = OP_RECORD, .event = e, .number = ++e->recorded });
}

static cudaError_t wait_for(cudaEvent_t e)
{
    if (e->done < e->recorded)
        flush(e->stream);
    return sticky;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) { LOCKED(record(e, s)); }
cudaError_t cudaEventSynchronize(cudaEvent_t e) { LOCKED(wait_for(e)); }

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    (void)flags;
    LOCKED(enqueue(s, (struct op){ .kind = OP_WAIT, .event = e, .number = e->recorded }));
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

cudaError_t cudaSetDevice(int i) { return i == 0 ? cudaSuccess : refuse(cudaErrorInvalidDevice, "cudaSetDevice"); }

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = from_environment("CUSIM_MAJOR", 9); break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    case cudaDevAttrMultiProcessorCount:    *value = 4; break;
    default: return refuse(cudaErrorInvalidValue, "cudaDeviceGetAttribute");
    }
    return device == 0 ? cudaSuccess : refuse(cudaErrorInvalidDevice, "cudaDeviceGetAttribute");
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
    case cudaErrorLaunchFailure:        return "the emulator reported a mistake (see above)";
    default:                            return "CUDA error";
    }
}
