#include "kernels/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FOLDERS = 4 };

static const struct backend *open_library(const char *path, struct err *e)
{
    const struct backend *(*get)(void);
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        err_set(e, "%s", dlerror());
        return NULL;
    }
    *(void **)&get = dlsym(lib, "openautoglm_backend");
    if (!get) {
        err_set(e, "%s is not a backend of this program", path);
        dlclose(lib);
        return NULL;
    }
    return get();
}

const struct backend *plugin_load(const char *name, struct err *e)
{
    static const char *const names[] = { "cuda", "cusim", "cusim-checked" };
    static const char *const files[] = { "libopenautoglm_cuda.so", "libopenautoglm_cusim.so", "libopenautoglm_cusim_checked.so" };
    char dir[PATH_MAX], path[PATH_MAX + 64];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0)
            continue;
        ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
        dir[n > 0 ? n : 0] = 0;
        for (int up = 0; up < FOLDERS && strrchr(dir, '/'); up++) {
            *strrchr(dir, '/') = 0;
            snprintf(path, sizeof path, "%s/%s", dir, files[i]);
            if (access(path, R_OK) == 0)
                return open_library(path, e);
        }
        err_set(e, "%s was not built: `make %.5s` makes it", files[i], name);
        return NULL;
    }
    err_set(e, "there is no backend %s", name);
    return NULL;
}
