/* kernels/plugin.c - see plugin.h: where a backend's library is looked for, and what it must match. */
#include "kernels/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/place.h"

enum { FOLDERS = 4, NAME_BYTES = 32, FILE_BYTES = 64 };

/* A library is taken only if it was made with the same ops.h and dtype.h: with another table of operations calls
 * would go to wrong places. Once loaded it stays for the process. */
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

/* The library's path, if it is there: next to the program, or the library that this is a part of, or in a folder above
 * it. */
static bool find_library(const char *file, char path[PATH_MAX + FILE_BYTES])
{
    char dir[PATH_MAX];
    place_folder(dir, sizeof dir);
    for (int up = 0; up < FOLDERS && *dir; up++) {
        snprintf(path, PATH_MAX + FILE_BYTES, "%s/%s", dir, file);
        if (access(path, R_OK) == 0)
            return true;
        *strrchr(dir, '/') = '\0';
    }
    return false;
}

/* libopenautoglm_<name>.so, '-' as '_'; -1: a library is never called so. */
static int file_of(const char *name, char file[FILE_BYTES])
{
    size_t n = strlen(name);
    if (n == 0 || n > NAME_BYTES || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") < n)
        return -1;
    snprintf(file, FILE_BYTES, "libopenautoglm_%s.so", name);
    for (char *p = file; *p; p++)
        if (*p == '-')
            *p = '_';
    return 0;
}

/* Is there such a library? It is not opened: that may take a second, and bind to a driver. */
bool plugin_built(const char *name)
{
    char file[FILE_BYTES], path[PATH_MAX + FILE_BYTES];
    return file_of(name, file) == 0 && find_library(file, path);
}

/* NULL and e: there is none, or it is not of these sources. The message for cuda says how it is made. */
const struct backend *plugin_load(const char *name, struct err *e)
{
    char file[FILE_BYTES], path[PATH_MAX + FILE_BYTES];
    if (file_of(name, file) == 0 && find_library(file, path))
        return open_library(path, e);
    if (strcmp(name, "cuda") == 0)
        err_set(e, "%s was not built: `make cuda` makes it", file);
    else
        err_set(e, "there is no such device; choose auto, cpu, ref or cuda");
    return NULL;
}
