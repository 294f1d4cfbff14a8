/* tests/cusim/stream.h - work in the fake runtime's streams: cudart.c runs it,
 * graph.c records it and plays it again. All of it under one lock. */
#ifndef TESTS_CUSIM_STREAM_H
#define TESTS_CUSIM_STREAM_H
#include <cuda_runtime_api.h>

#include "tests/cusim/internal.h"

enum op_kind { OP_LAUNCH, OP_CALL, OP_COPY, OP_SET, OP_RECORD, OP_WAIT };    /* CALL: launch.thunk on the host */

struct op {                     /* one piece of work in a stream */
    enum op_kind  kind;
    struct launch launch;
    bool          borrowed;     /* launch.params belong to a graph    */
    void         *dst;
    const void   *src;
    size_t        n;
    int           value;        /* of a memset, or a copy's direction */
    cudaEvent_t   event;
    uint64_t      number;       /* of the event's recording           */
};

struct work { struct op *ops; int n, max; };                  /* owned */

struct CUgraph_st { struct work work; bool broken; };         /* broken: something was done that cannot be recorded */

struct CUstream_st {
    struct work work;
    int next;                   /* of it: the first that has not run             */
    struct CUgraph_st *capture; /* owned; NULL: the stream is not being captured */
    struct CUstream_st *link;
};

void stream_lock(void);
void stream_unlock(void);
cudaError_t stream_enqueue(cudaStream_t s, struct op o);      /* at the end of the stream, or of its recording */
cudaError_t stream_refuse(cudaError_t e, const char *why);    /* remembers e for cudaGetLastError(); returns it */

#define LOCKED(expr)                  \
    do {                              \
        stream_lock();                \
        cudaError_t e_ = (expr);      \
        stream_unlock();              \
        return e_;                    \
    } while (0)

#endif
