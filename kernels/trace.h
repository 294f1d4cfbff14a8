/* kernels/trace.h - a backend that does what another does and writes one line
 * for every operation: number, name, shape and norm of the output.
 *
 * Two traces of the same request, from two backends or two versions, are
 * diffed to find the first operation that differs. Every operation waits for
 * its result to be read back: use it to find bugs, not to serve. */
#ifndef KERNELS_TRACE_H
#define KERNELS_TRACE_H
#include <stdio.h>

#include "kernels/ops.h"

/* One at a time in a process; `to` is borrowed. Recording and replay are off. */
const struct backend *backend_trace(const struct backend *inner, FILE *to);

#endif
