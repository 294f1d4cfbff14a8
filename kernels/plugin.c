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
    const unsigned *interface = dlsym(lib, "openautoglm_interface");
    if (get && (!interface || *interface != OPS_INTERFACE)) {
        err_set(e, "%s was built from other sources than this program: build it again", path);
        dlclose(lib);
        return NULL;
    }
    if (!get) {
        err_set(e, "%s is not a backend of this program", path);
        dlclose(lib);
        return NULL;
    }
    return get();
}

/* The library's path, if it is there: next to the executable or in a folder above it. */
static bool find_library(const char *file, char path[PATH_MAX + 64])
{
    char dir[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
    dir[n > 0 ? n : 0] = 0;
    for (int up = 0; up < FOLDERS && strrchr(dir, '/'); up++) {
        *strrchr(dir, '/') = 0;
        snprintf(path, PATH_MAX + 64, "%s/%s", dir, file);
        if (access(path, R_OK) == 0)
            return true;
    }
    return false;
}

static const struct library { const char *name, *file; } libraries[] = {
    { "cuda", "libopenautoglm_cuda.so" },
    { "cusim", "libopenautoglm_cusim.so" },
    { "cusim-checked", "libopenautoglm_cusim_checked.so" },
};

static const struct library *library_of(const char *name)
{
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        if (strcmp(name, libraries[i].name) == 0)
            return &libraries[i];
    return NULL;
}

bool plugin_built(const char *name)
{
    char path[PATH_MAX + 64];
    const struct library *l = library_of(name);
    return l && find_library(l->file, path);
}

const struct backend *plugin_load(const char *name, struct err *e)
{
    char path[PATH_MAX + 64];
    const struct library *l = library_of(name);
    if (!l) {
        err_set(e, "there is no device '%s'", name);
        return NULL;
    }
    if (!find_library(l->file, path)) {
        err_set(e, "%s was not built: `make %s` makes it", l->file, l->name);
        return NULL;
    }
    return open_library(path, e);
}
