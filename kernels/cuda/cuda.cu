/* kernels/cuda/cuda.cu - the table, the device and its memory.
 *
 * Compiled by nvcc into libopenautoglm_cuda.so and, with the kernels, by g++
 * for the emulator into libopenautoglm_cusim.so: the name is the only
 * difference. The library exports openautoglm_backend() and the interface that it has.
 *
 * Uploads go through two pinned buffers in turn: the caller's memory is free
 * when upload() returns, and the copy of one buffer runs while the other is
 * being filled. */
#include "kernels/cuda/blas.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/err.h"
}

/* The first error counts; everything after it is skipped. */
void device_fail(struct device *dev, const char *what, cudaError_t e)
{
    if (dev->error != cudaSuccess)
        return;
    dev->error = e;
    snprintf(dev->text, sizeof dev->text, "%s: %s", what, cudaGetErrorString(e));
}

/* Notes an error of the last launch on the device; sync() tells it. */
void device_check(struct device *dev, const char *what)
{
    cudaError_t e = cudaGetLastError();
    if (e != cudaSuccess)
        device_fail(dev, what, e);
}

/* Whether a call of CUDA has worked; an error sticks to the device. */
static bool worked(struct device *dev, cudaError_t e, const char *what)
{
    if (e != cudaSuccess)
        device_fail(dev, what, e);
    return e == cudaSuccess;
}

/* ---- opening ---- */

/* Takes a device that is only partly open as well; waits for what is on its stream. */
static void cuda_close(struct device *dev)
{
    if (!dev)
        return;
    if (dev->stream)
        cudaStreamSynchronize(dev->stream);
    for (int i = 0; i < STAGES_IN_FLIGHT; i++)
        if (dev->copied[i])
            cudaEventDestroy(dev->copied[i]);
    device_forget_graphs(dev);
    blas_close(dev);
    cudaFreeHost(dev->staging);
    cudaFree(dev->work);
    cudaFree(dev->arrived);
    if (dev->stream)
        cudaStreamDestroy(dev->stream);
    free(dev);
}

/* Every way in which a machine may lack a usable GPU has a sentence of its own, because this is what people meet
 * first. `varies` asks for cuBLASLt, whose absence is an error that the caller may answer by asking without. */
static int cuda_open(struct device **out, const struct device_options *options, struct err *e)
{
    int n = 0, major = 0, minor = 0, driver = 0, runtime = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return err_set(e, "no NVIDIA driver is installed, or it does not run");
    cudaRuntimeGetVersion(&runtime);
    cudaError_t found = cudaGetDeviceCount(&n);
    if (found == cudaErrorInsufficientDriver)
        return err_set(e, "the NVIDIA driver is too old: it is for CUDA %d.%d, and %d.%d is needed", driver / 1000,
                       driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (found != cudaSuccess || n < 1)
        return err_set(e, "no GPU can be used: %s", found != cudaSuccess ? cudaGetErrorString(found) : "none is there");
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    if (major < 8)
        return err_set(e, "the GPU has compute capability %d.%d; 8.0 (Ampere) or newer is needed", major, minor);
    struct device *dev = (struct device *)calloc(1, sizeof *dev);
    if (!dev)
        return err_set(e, "out of memory");
    bool ok = worked(dev, cudaSetDevice(0), "selecting the CUDA device") &&
              worked(dev, cudaDeviceGetAttribute(&dev->processors, cudaDevAttrMultiProcessorCount, 0),
                     "asking the CUDA device") &&
              worked(dev, cudaStreamCreateWithFlags(&dev->stream, cudaStreamNonBlocking), "creating a stream") &&
              worked(dev, cudaMallocHost((void **)&dev->staging, (size_t)STAGING * STAGES_IN_FLIGHT),
                     "pinned memory") &&
              worked(dev, cudaMalloc((void **)&dev->work, WORK), "CUDA memory") &&
              worked(dev, cudaMalloc((void **)&dev->arrived, sizeof *dev->arrived), "CUDA memory") &&
              worked(dev, cudaMemsetAsync(dev->arrived, 0, sizeof *dev->arrived, dev->stream), "CUDA memory");
    for (int i = 0; ok && i < STAGES_IN_FLIGHT; i++)
        ok = worked(dev, cudaEventCreateWithFlags(&dev->copied[i], cudaEventDisableTiming), "creating an event");
    if (!ok)
        err_set(e, "%s", dev->text);
    if (!ok || (options->varies && blas_open(dev, e) != 0)) {
        cuda_close(dev);
        return -1;
    }
    dev->rounds = options->activations == ACTIVATIONS_INT8;
    *out = dev;
    return 0;
}

/* ---- memory ---- */

static size_t cuda_memory(struct device *dev)
{
    size_t available = 0, total = 0;
    worked(dev, cudaMemGetInfo(&available, &total), "asking for the CUDA memory");
    return available;
}

/* NULL where the memory is not there. The error is taken back from CUDA's thread, because the next check of a kernel
 * would otherwise find it. */
void *cuda_alloc(struct device *dev, size_t n)
{
    void *p = NULL;
    (void)dev;
    if (cudaMalloc(&p, n ? n : 1) != cudaSuccess) {
        cudaGetLastError();                    /* not an error of the device: the caller knows */
        return NULL;
    }
    return p;
}

void cuda_free(struct device *dev, void *p) { worked(dev, cudaFree(p), "freeing CUDA memory"); }

/* The next n bytes of pinned memory. Those that it had before have arrived. */
void *device_stage(struct device *dev, size_t n)
{
    n = (n + 15) / 16 * 16;
    if (dev->recording)                        /* a replay would send what the buffer holds by then */
        device_fail(dev, "an upload in a recorded step", cudaErrorStreamCaptureUnsupported);
    if (dev->staged + n > STAGING) {
        worked(dev, cudaEventRecord(dev->copied[dev->stage], dev->stream), "upload");
        dev->stage = (dev->stage + 1) % STAGES_IN_FLIGHT;
        dev->staged = 0;
        worked(dev, cudaEventSynchronize(dev->copied[dev->stage]), "upload");
    }
    void *p = dev->staging + (size_t)dev->stage * STAGING + dev->staged;
    dev->staged += n;
    return p;
}

void device_send(struct device *dev, void *dst, const void *staged, size_t n)
{
    if (dev->error == cudaSuccess)
        worked(dev, cudaMemcpyAsync(dst, staged, n, cudaMemcpyHostToDevice, dev->stream), "upload");
}

/* In parts of the staging buffer, which is pinned: the host's memory may be changed as soon as this returns. */
void cuda_upload(struct device *dev, void *dst, const void *src, size_t n)
{
    while (n > 0) {
        size_t part = n < STAGING ? n : STAGING;
        void *p = device_stage(dev, part);
        memcpy(p, src, part);
        device_send(dev, dst, p, part);
        dst = (char *)dst + part;
        src = (const char *)src + part;
        n -= part;
    }
}

static void cuda_download(struct device *dev, void *dst, const void *src, size_t n)
{
    if (n > 0 && dev->error == cudaSuccess)
        worked(dev, cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToHost, dev->stream), "download");
}

static const char *cuda_sync(struct device *dev)
{
    worked(dev, cudaStreamSynchronize(dev->stream), "running on the CUDA device");
    return dev->error == cudaSuccess ? NULL : dev->text;
}

/* ---- the table ---- */

/* C++17 has no designated initialisers, so the table is filled by assignments, once. */
static struct backend backend_make(void)
{
    struct backend b;
    memset(&b, 0, sizeof b);
#ifdef CUSIM
    b.name = "cusim";
#else
    b.name = "cuda";
#endif
    b.kv = b.kv_rounded = F32;                 /* golden cases: logits within 1e-3; with BF16 within 0.2 */
    b.discrete = b.async = true;
    struct ops *o = &b.ops;
    o->embed = cuda_embed, o->linear = cuda_linear, o->norm = cuda_norm, o->act = cuda_act;
    o->add = cuda_add, o->copy = cuda_copy, o->fuse = cuda_fuse;
    o->route = cuda_route, o->linear_grouped = cuda_linear_grouped;
    o->prep = cuda_prep, o->attend = cuda_attend, o->attend_ragged = cuda_attend_ragged;
    o->prep_attend = cuda_prep_attend;
    o->pixels = cuda_pixels, o->resample = cuda_resample, o->conv2d = cuda_conv2d, o->dwconv2d = cuda_dwconv2d;
    o->gather = cuda_gather, o->scatter = cuda_scatter;
    o->mask = cuda_mask, o->penalize = cuda_penalize, o->sample = cuda_sample, o->logprobs = cuda_logprobs;
    b.open = cuda_open, b.close = cuda_close, b.memory = cuda_memory;
    b.alloc = cuda_alloc, b.free = cuda_free, b.upload = cuda_upload, b.download = cuda_download;
    b.pack = cuda_pack, b.release = cuda_release, b.packed_bytes = cuda_packed_bytes, b.sync = cuda_sync;
    b.record = cuda_record, b.replay = cuda_replay;
    return b;
}

/* The checksum of ops.h: the program refuses a library that was made with another one. */
extern "C" {
__attribute__((visibility("default"))) extern const unsigned openautoglm_interface = OPS_INTERFACE;
}

extern "C" __attribute__((visibility("default"))) const struct backend *openautoglm_backend(void)
{
    static const struct backend b = backend_make();
    return &b;
}
