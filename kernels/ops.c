/* kernels/ops.c - which backends there are, and the choice that `auto` makes. */
#include "kernels/ops.h"

#include <string.h>

#include "base/log.h"
#include "kernels/plugin.h"

static const struct backend *const backends[] = { &backend_cpu, &backend_ref };

/* NULL: there is none, or it cannot be used; why, where the library for it was built. */
static const struct backend *usable_gpu(void)
{
    struct err e;
    struct device *dev;
    if (!plugin_built("cuda"))
        return NULL;
    const struct backend *gpu = plugin_load("cuda", &e);
    if (gpu && gpu->open(&dev, &(struct device_options){ 0 }, &e) == 0) {
        gpu->close(dev);
        return gpu;
    }
    log_info("the CPU computes: %s", e.text);
    return NULL;
}

/* The backend with this name; `auto` is a GPU if one can be used, else the CPU. NULL with `e`: there is none. */
const struct backend *backend_find(const char *name, struct err *e)
{
    if (strcmp(name, "auto") == 0) {
        const struct backend *gpu = usable_gpu();
        return gpu ? gpu : backends[0];
    }
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strcmp(name, backends[i]->name) == 0)
            return backends[i];
    return plugin_load(name, e);
}
