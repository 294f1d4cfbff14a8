/* kernels/cuda/graphs.cu - steps that are recorded once and replayed: one
 * launch for the hundreds of kernels of a decode step.
 *
 * record(key) begins to capture the stream, replay(key) ends that and launches
 * what was captured; later replays only launch. Kernels are replayed with the
 * very arguments that they were recorded with, so everything that differs from
 * step to step has to come from memory at the same addresses. An instance takes
 * some driver memory, about a kilobyte for each kernel; it lives until close. */
#include "kernels/cuda/common.cuh"

#include <stdlib.h>

struct graph { int key; cudaGraphExec_t exec; };

/* From here on launches are captured and not run. A device with an error records nothing, since it computes nothing. */
void cuda_record(struct device *dev, int key)
{
    if (dev->error != cudaSuccess)
        return;
    cudaError_t e = cudaStreamBeginCapture(dev->stream, cudaStreamCaptureModeGlobal);
    if (e != cudaSuccess) {
        device_fail(dev, "recording a step", e);
        return;
    }
    dev->recording = true;
    dev->recorded_key = key;
}

/* What was recorded becomes the last of dev->graphs, under the key that record() was given. A failure sticks to the
 * device, and the step counts as not recorded. */
static void end_recording(struct device *dev)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaError_t e = cudaStreamEndCapture(dev->stream, &graph);
    dev->recording = false;
    if (e == cudaSuccess)
        e = cudaGraphInstantiate(&exec, graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    struct graph *more = (struct graph *)realloc(dev->graphs, sizeof *more * (size_t)(dev->n_graphs + 1));
    if (e == cudaSuccess && !more)
        e = cudaErrorMemoryAllocation;
    if (more)
        dev->graphs = more;
    if (e != cudaSuccess) {
        if (exec)
            cudaGraphExecDestroy(exec);
        device_fail(dev, "recording a step", e);
        return;
    }
    dev->graphs[dev->n_graphs++] = { dev->recorded_key, exec };
}

/* There are few recorded shapes, so the one with this key is searched for. After an error the key still counts as
 * known: the caller must not compute what a working device would have replayed. */
bool cuda_replay(struct device *dev, int key)
{
    if (dev->recording)
        end_recording(dev);
    for (int i = 0; i < dev->n_graphs; i++)
        if (dev->graphs[i].key == key) {
            cudaError_t e = dev->error == cudaSuccess ? cudaGraphLaunch(dev->graphs[i].exec, dev->stream) : cudaSuccess;
            if (e != cudaSuccess)
                device_fail(dev, "replaying a step", e);
            return true;
        }
    return false;
}

/* Gives the instances back with the device. */
void device_forget_graphs(struct device *dev)
{
    for (int i = 0; i < dev->n_graphs; i++)
        cudaGraphExecDestroy(dev->graphs[i].exec);
    free(dev->graphs);
}
