/* kernels/plugin.h - backends that live in a library of their own, so that the
 * program itself needs no CUDA: libopenautoglm_<name>.so, next to the
 * executable or up to three folders above it. */
#ifndef KERNELS_PLUGIN_H
#define KERNELS_PLUGIN_H
#include "base/err.h"
#include "kernels/ops.h"

bool plugin_built(const char *name);    /* its library is there */

/* "cuda" is the backend for GPUs; whoever builds another library finds it under its name. NULL and e: why not. It stays
 * loaded. */
const struct backend *plugin_load(const char *name, struct err *e);

#endif
