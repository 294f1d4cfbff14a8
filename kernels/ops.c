#include "kernels/ops.h"

#include <string.h>

static const struct backend *const backends[] = { &backend_cpu, &backend_ref };

const struct backend *backend_find(const char *name)
{
    if (strcmp(name, "auto") == 0)
        return backends[0];
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strcmp(name, backends[i]->name) == 0)
            return backends[i];
    return NULL;
}
