/* kernels/trace.h - a device that does what another does and writes one line
 * for every operation: number, name, shape and norm of the output.
 *
 * Two traces of the same request, from two backends or two versions, are
 * diffed to find the first operation that differs. Every operation waits for
 * its result to be read back: use it to find bugs, not to serve. All its state
 * is the device's, so several devices of a process may be traced at once. */
#ifndef KERNELS_TRACE_H
#define KERNELS_TRACE_H
#include <stdio.h>

#include "kernels/ops.h"

/* Puts an open device inside one that writes lines to `to` (borrowed). Afterwards *backend and *dev are a pair that
 * belongs together: the backend serves this device alone, and its close() closes the device inside, frees both, and
 * leaves the file open. It cannot open() another one, record or replay, and prep_attend is two operations. */
void trace_device(const struct backend **backend, struct device **dev, FILE *to);

#endif
