/* cli/examine_gpu.c - GPUs as the driver sees them, and whether the program can use one. See examine.h.
 *
 * The driver's library is asked by the names of its functions, which NVIDIA keeps: the program is built without its
 * headers, and runs on machines without a driver. */
#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "cli/examine.h"
#include "kernels/plugin.h"

static const double GIB = 1 << 30;

/* The functions of libcuda.so.1 that are asked; each returns 0 if it went well. */
struct driver {
    int (*init)(unsigned flags);
    int (*version)(int *);             /* 12040: CUDA 12.4 */
    int (*count)(int *);
    int (*get)(int *device, int index);
    int (*name)(char *, int n, int device);
    int (*memory)(size_t *, int device);
    int (*attribute)(int *, int which, int device);
};

enum { CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76 };     /* CUdevice_attribute */

/* false: there is no driver. The library stays loaded. */
static bool driver_load(struct driver *d)
{
    void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    const struct { const char *name; void *to; } want[] = {
        { "cuInit", &d->init }, { "cuDriverGetVersion", &d->version }, { "cuDeviceGetCount", &d->count },
        { "cuDeviceGet", &d->get }, { "cuDeviceGetName", &d->name }, { "cuDeviceTotalMem_v2", &d->memory },
        { "cuDeviceGetAttribute", &d->attribute },
    };
    for (size_t i = 0; lib && i < sizeof want / sizeof *want; i++) {
        void *function = dlsym(lib, want[i].name);
        if (!function)
            return false;
        memcpy(want[i].to, &function, sizeof function);
    }
    return lib != NULL;
}

/* One GPU. Below compute capability 8.0 the kernels have no code for it, which is a warning. A GPU that does not answer
 * is left out. */
static void examine_one(struct findings *f, const struct driver *d, int index)
{
    char   name[128] = "?";
    size_t bytes = 0;
    int    device, major = 0, minor = 0;
    if (d->get(&device, index) != 0 || d->name(name, sizeof name, device) != 0 || d->memory(&bytes, device) != 0)
        return;
    d->attribute(&major, CAPABILITY_MAJOR, device);
    d->attribute(&minor, CAPABILITY_MINOR, device);
    enum verdict v = major >= 8 ? VERDICT_OK : VERDICT_WARN;
    finding(f, v, "GPU", json_pack("{s:i, s:s, s:I, s:i, s:i}", "index", index, "name", name, "memory_bytes",
                                   (json_int_t)bytes, "major", major, "minor", minor),
            "%d: %s, %.1f GiB, compute capability %d.%d%s", index, name, (double)bytes / GIB, major, minor,
            v == VERDICT_OK ? "" : ": older than those that the kernels are written for (8.0)");
}

/* The first number with a dot after "Module" in the driver's own file, such as 550.54.15; "": unknown. */
static void module_version(char *out, size_t n)
{
    char  line[300] = "";
    FILE *file = fopen("/proc/driver/nvidia/version", "r");
    if (file && !fgets(line, sizeof line, file))
        *line = '\0';
    if (file)
        fclose(file);
    const char *p = strstr(line, "Module");
    p = p ? p + strcspn(p, "0123456789") : "";
    snprintf(out, n, "%.*s", (int)strspn(p, "0123456789."), p);
}

/* Returns how many GPUs the driver has. */
static int examine_driver(struct findings *f)
{
    struct driver d;
    char module[64];
    int  version = 0, n = 0;
    module_version(module, sizeof module);
    if (!driver_load(&d)) {
        finding(f, VERDICT_NOTE, "GPU", json_pack("{s:i}", "count", 0), "no NVIDIA driver here (libcuda.so.1)");
        return 0;
    }
    int rc = d.init(0);
    if (rc != 0 || d.version(&version) != 0 || d.count(&n) != 0 || n == 0) {
        finding(f, VERDICT_WARN, "GPU", json_pack("{s:i, s:i}", "count", 0, "error", rc),
                "the driver is there but gives no GPU (error %d): is it hidden from this container or user?", rc);
        return 0;
    }
    finding(f, VERDICT_OK, "GPU driver", json_pack("{s:s, s:i}", "version", module, "cuda", version),
            "%s%sfor CUDA up to %d.%d", module, *module ? ", " : "", version / 1000, version % 1000 / 10);
    for (int i = 0; i < n; i++)
        examine_one(f, &d, i);
    return n;
}

/* Whether the program's own library for GPUs is there and can be opened: what --device auto would find. */
static void examine_plugin(struct findings *f, int n_gpus)
{
    struct device *dev;
    struct err     e;
    if (!plugin_built("cuda")) {
        finding(f, n_gpus > 0 ? VERDICT_WARN : VERDICT_NOTE, "GPU backend", json_pack("{s:b}", "built", 0),
                n_gpus > 0 ? "not built: `make cuda` makes it, and the CPU computes until then"
                           : "not built, and nothing here needs it");
        return;
    }
    const struct backend *gpu = plugin_load("cuda", &e);
    json_t *values = json_pack("{s:b}", "built", 1);
    if (!gpu || gpu->open(&dev, &(struct device_options){ 0 }, &e) != 0) {
        finding(f, n_gpus > 0 ? VERDICT_WARN : VERDICT_NOTE, "GPU backend", values, "cannot be used: %s", e.text);
        return;
    }
    json_object_set_new(values, "memory_bytes", json_integer((json_int_t)gpu->memory(dev)));
    finding(f, VERDICT_OK, "GPU backend", values, "works; a model may use %.1f GiB",
            (double)gpu->memory(dev) / GIB);
    gpu->close(dev);
}

void examine_gpus(struct findings *f) { examine_plugin(f, examine_driver(f)); }
