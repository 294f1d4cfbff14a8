/* tests/cusim/bugs.cu - kernels with one mistake each, which the emulator must
 * report by name, and correct ones next to them, which it must not. Linked with
 * the emulator into build/libcusim_selfcheck.so for test_selfcheck.c. */
#include "kernels/cuda/common.cuh"

#include <stdlib.h>

#include <stdio.h>

extern "C" {
bool cusim_saw(const char *kind);
void cusim_clear(void);
void cusim_quiet(bool quiet);
void cusim_forgive(void);
int  cusim_reports(void);
}

enum bug {
    NO_BARRIER, UNINIT_SHARED, PAST_END, TWO_BARRIERS, MISSING_LANES, MISALIGNED, SAME_WORD, RETURN_FIRST,
        SHUFFLE_AS_FENCE,
    STATIC_OVERRUN, DYNAMIC_OVERRUN, NO_WAIT, UNINIT_GLOBAL, OVERWRITTEN_EARLY, DEADLOCK,
    GOOD_SYNCWARP, GOOD_ATOMICS, GOOD_COPY, GOOD_BARRIER, N_BUGS,
};

static __global__ void bug_kernel(int which, float *g, int n)
{
    extern __shared__ __align__(16) unsigned char smem_raw[];
    __shared__ __align__(16) float s[128];
    float *d = (float *)smem_raw;
    int t = (int)threadIdx.x;
    switch (which) {
    case NO_BARRIER:       s[t] = g[t]; g[t] = s[t ^ 64]; break;
    case UNINIT_SHARED:    if (t == 0) s[0] = 1; __syncthreads(); g[t] = s[t]; break;
    case PAST_END:         g[t + n - 64] = 1; break;
    case TWO_BARRIERS:     if (t < 64) { __syncthreads(); g[t] = 1; } else { g[t] = 2; __syncthreads(); } break;
    case MISSING_LANES:    if (t & 1) g[t] = __shfl_xor_sync(~0u, (float)t, 1); break;
    case MISALIGNED:       *(float4 *)(g + 1 + t / 2) = make_float4(0, 0, 0, 0); break;
    case SAME_WORD:        g[0] = (float)t; break;
    case RETURN_FIRST:     if (t < 100) return; __syncthreads(); g[t] = 1; break;
    case SHUFFLE_AS_FENCE: s[t] = 1; (void)__shfl_xor_sync(~0u, t, 1); g[t] = s[t ^ 1]; break;
    case STATIC_OVERRUN:   s[t + 1] = 1; break;
    case DYNAMIC_OVERRUN:  d[t + 1] = 1; break;
    case NO_WAIT:          cp_async(s + t % 32 * 4, g + t % 32 * 4, true); cp_async_commit(); __syncthreads();
    g[t] = s[t]; break;
    case UNINIT_GLOBAL:    g[n + t % 2] = g[n + 2]; break;
    case OVERWRITTEN_EARLY:
        for (int i = 0; i < 2; i++) {
            s[t] = (float)i;
            __syncthreads();
            g[t] = s[t ^ 64];                            /* the next round writes s before all have read it */
        }
        break;
    case DEADLOCK:         if (t < 32) __syncwarp(t < 16 ? 0xffffu : ~0u); else __syncthreads(); break;
    case GOOD_SYNCWARP:    s[t] = 1; __syncwarp(); g[t] = s[t ^ 1]; break;
    case GOOD_ATOMICS:     atomicAdd((unsigned long long *)g, 1ull); break;
    case GOOD_COPY:        if (t < 32) cp_async(s + t * 4, g + t * 4, true);
                           cp_async_commit(); cp_async_wait<0>(); __syncthreads(); g[t] = s[127 - t]; break;
    case GOOD_BARRIER:     d[t] = g[t]; __syncthreads(); g[t] = d[t ^ 64]; break;
    }
}

static __global__ void blocks_kernel(float *g)
{
    if (threadIdx.x == 0)
        g[blockIdx.x ? 1 : 0] = blockIdx.x ? g[0] : 1;
}

/* The last block adds up what all have stored; each mistake of that. */
enum { GOOD_LAST, NO_FENCE, NO_BARRIER_FIRST, NO_FENCE_AFTER, NO_COUNTER };

static __global__ void last_kernel(int which, float *g, unsigned *counter)
{
    __shared__ int last;
    int t = (int)threadIdx.x, n = (int)gridDim.x;
    g[(int)blockIdx.x * 64 + t] = 1;
    if (which != NO_FENCE)
        __threadfence();
    if (which != NO_BARRIER_FIRST)
        __syncthreads();
    if (t == 0)
        last = which == NO_COUNTER ? (int)blockIdx.x == n - 1 : atomicInc(counter, (unsigned)n - 1) == (unsigned)n - 1;
    __syncthreads();
    if (!last)
        return;
    if (which != NO_FENCE_AFTER)
        __threadfence();
    for (int b = 1; b < n; b++)
        g[t] += g[b * 64 + t];
}

static float *numbers(int n, int written)
{
    static float zero[512];
    float *p = NULL;
    cudaMalloc((void **)&p, sizeof(float) * (size_t)n);
    cudaMemcpyAsync(p, zero, sizeof(float) * (size_t)written, cudaMemcpyHostToDevice, 0);
    return p;
}

static void run(int which)
{
    LAUNCH_RAW(bug_kernel, dim3(1), dim3(128), (size_t)512, (cudaStream_t)0, which,
               numbers(which == UNINIT_GLOBAL ? 192 : 128 + 4 * (which == MISALIGNED) * 16, 128), 128);
}

static void run_blocks(int) { LAUNCH_RAW(blocks_kernel, dim3(2), dim3(32), (size_t)0, (cudaStream_t)0, numbers(2, 2)); }

static void run_last(int which)
{
    float *counter = numbers(1, 1);
    LAUNCH_RAW(last_kernel, dim3(4), dim3(64), (size_t)0, (cudaStream_t)0, which, numbers(256, 0), (unsigned *)counter);
    if (which == GOOD_LAST)                              /* the counter is 0 again */
        LAUNCH_RAW(last_kernel, dim3(3), dim3(64), (size_t)0, (cudaStream_t)0, which, numbers(192, 0),
                   (unsigned *)counter);
}

static void run_freed(int)
{
    float *p = numbers(128, 128);
    cudaFree(p);
    LAUNCH_RAW(bug_kernel, dim3(1), dim3(128), (size_t)512, (cudaStream_t)0, (int)GOOD_BARRIER, p, 128);
}

static void run_host(int)
{
    static float *host = (float *)malloc(512);
    LAUNCH_RAW(bug_kernel, dim3(1), dim3(128), (size_t)512, (cudaStream_t)0, (int)GOOD_BARRIER, host, 128);
}

static void run_direction(int)
{
    float x;
    cudaMemcpyAsync(&x, numbers(1, 1), 4, cudaMemcpyHostToDevice, 0);
}

static void run_long(int)
{
    float x[2];
    cudaMemcpyAsync(x, numbers(1, 1), 8, cudaMemcpyDeviceToHost, 0);
}

/* ---- what a capture does not allow: the call must be refused, and the recording be spoilt ---- */

static cudaStream_t stream_of_captures(void)
{
    static cudaStream_t s;
    if (!s)
        cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    return s;
}

enum { WAITS, WAITS_FOR_ALL, ALLOCATES, FREES, PAGEABLE, OTHER_STREAM, ENDS_TWICE, BROKEN_HANDLE, GOOD_REPLAY };

static cudaError_t in_capture(int which, cudaStream_t s, float *p)
{
    static float host[4];
    cudaGraph_t none;
    switch (which) {
    case WAITS:         return cudaStreamSynchronize(s);
    case WAITS_FOR_ALL: return cudaDeviceSynchronize();
    case ALLOCATES:     return cudaMalloc((void **)&p, 4);
    case FREES:         return cudaFree(p);
    case PAGEABLE:      return cudaMemcpyAsync(p, host, 16, cudaMemcpyHostToDevice, s);
    case OTHER_STREAM:  return cudaMemsetAsync(p, 0, 16, 0);
    default:            cudaStreamEndCapture(s, &none);
                        return cudaStreamEndCapture(s, &none);
    }
}

static bool refused_in_capture(int which)
{
    cudaStream_t s = stream_of_captures();
    cudaGraph_t graph = NULL;
    float *p = numbers(4, 4);
    cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal);
    cudaError_t e = in_capture(which, s, p);
    return which == ENDS_TWICE ? e == cudaErrorIllegalState
                                 : (e == cudaErrorStreamCaptureUnsupported || e == cudaErrorStreamCaptureImplicit) &&
                                   cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated && !graph;
}

static __global__ void count_kernel(int *n, int by) { n[threadIdx.x] += by; }

/* A good recording runs when it is launched and not before, as often as that, with its own parameters; a destroyed one
 * does not. */
static bool replays(int which)
{
    cudaStream_t s = stream_of_captures();
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    int *n = (int *)numbers(32, 32), got[32] = {};
    cudaStreamSynchronize(0);
    cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal);
    LAUNCH_RAW(count_kernel, dim3(1), dim3(32), (size_t)0, s, n, 3);
    bool ok = cudaStreamEndCapture(s, &graph) == cudaSuccess && cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess;
    ok = ok && cudaGraphDestroy(graph) == cudaSuccess && cudaGraphInstantiate(&exec, graph, 0) == cudaErrorInvalidValue;
    for (int i = 0; i < 5; i++)
        ok = ok && cudaGraphLaunch(exec, s) == cudaSuccess;
    cudaMemcpyAsync(got, n, sizeof got, cudaMemcpyDeviceToHost, s);
    ok = ok && cudaStreamSynchronize(s) == cudaSuccess && got[0] == 15 && got[31] == 15;
    ok = cudaGraphExecDestroy(exec) == cudaSuccess && ok;
    return which == GOOD_REPLAY ? ok : cudaGraphLaunch(exec, s) == cudaErrorInvalidValue &&
        cudaGraphExecDestroy(exec) == cudaErrorInvalidValue;
}

static const struct refused { const char *name; bool (*right)(int); int which; } refused[] = {
    { "a wait for a stream that is captured", refused_in_capture, WAITS },
    { "a wait for the device while a stream is captured", refused_in_capture, WAITS_FOR_ALL },
    { "an allocation while a stream is captured", refused_in_capture, ALLOCATES },
    { "a release while a stream is captured", refused_in_capture, FREES },
    { "a copy of pageable memory in a capture", refused_in_capture, PAGEABLE },
    { "work for the default stream while another is captured", refused_in_capture, OTHER_STREAM },
    { "two ends of one capture", refused_in_capture, ENDS_TWICE },
    { "a graph that was destroyed", replays, BROKEN_HANDLE },
    { "a graph, launched five times", replays, GOOD_REPLAY },
};

/* kind NULL: no report */
static const struct seeded { const char *name, *kind; void (*run)(int); int which; } seeded[] = {
    { "no barrier between a write and a read", "race", run, NO_BARRIER },
    { "shared memory that nothing wrote", "uninitialised-shared", run, UNINIT_SHARED },
    { "a store past the end", "out-of-bounds", run, PAST_END },
    { "barriers in two branches", "divergent-barrier", run, TWO_BARRIERS },
    { "a shuffle without half the lanes", "mask-has-exited-lanes", run, MISSING_LANES },
    { "a misaligned float4", "misaligned", run, MISALIGNED },
    { "all threads store one word", "race", run, SAME_WORD },
    { "a return before a barrier", "barrier-after-exit", run, RETURN_FIRST },
    { "a shuffle taken for a fence", "race", run, SHUFFLE_AS_FENCE },
    { "past a static shared array", "index-out-of-bounds", run, STATIC_OVERRUN },
    { "past the dynamic shared memory", "shared-out-of-bounds", run, DYNAMIC_OVERRUN },
    { "cp.async not waited for", "cp.async-not-waited", run, NO_WAIT },
    { "device memory that nothing wrote", "uninitialised-global", run, UNINIT_GLOBAL },
    { "a buffer written before all have read it", "race", run, OVERWRITTEN_EARLY },
    { "lanes that wait for others that never come", "deadlock", run, DEADLOCK },
    { "a read of another block's store", "race-across-blocks", run_blocks, 0 },
    { "stores not fenced before the last block reads them", "race-across-blocks", run_last, NO_FENCE },
    { "a block that is counted before all its threads have stored", "race-across-blocks", run_last, NO_BARRIER_FIRST },
    { "a last block without a fence of its own", "race-across-blocks", run_last, NO_FENCE_AFTER },
    { "the block with the highest number taken for the last", "race-across-blocks", run_last, NO_COUNTER },
    { "use after free", "use-after-free", run_freed, 0 },
    { "a host pointer in a kernel", "wild-access", run_host, 0 },
    { "a copy in the wrong direction", "memcpy-direction", run_direction, 0 },
    { "a copy of too much", "out-of-bounds", run_long, 0 },
    { "exchange through __syncwarp()", NULL, run, GOOD_SYNCWARP },
    { "atomics", NULL, run, GOOD_ATOMICS },
    { "cp.async, waited for", NULL, run, GOOD_COPY },
    { "exchange through a barrier", NULL, run, GOOD_BARRIER },
    { "the last block reads what all have stored", NULL, run_last, GOOD_LAST },
};

/* Case i: its name, or NULL after the last; *ok: reported as it must be. */
extern "C" __attribute__((visibility("default"))) const char *selfcheck(int i, bool *ok)
{
    int n = (int)(sizeof seeded / sizeof *seeded), more = (int)(sizeof refused / sizeof *refused);
    cusim_clear();
    if (i >= n + more)
        return NULL;
    if (i >= n) {
        cusim_quiet(true);
        *ok = refused[i - n].right(refused[i - n].which) && cusim_reports() == 0;
        cudaGetLastError();
        return refused[i - n].name;
    }
    const struct seeded *s = &seeded[i];
    cusim_quiet(s->kind != NULL);
    s->run(s->which);
    cudaError_t e = cudaDeviceSynchronize();
    *ok = s->kind ? cusim_saw(s->kind) && e != cudaSuccess : cusim_reports() == 0 && e == cudaSuccess;
    cusim_forgive();
    cusim_clear();
    return s->name;
}
