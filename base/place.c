/* base/place.c - asks the dynamic linker which file this code is in. For a program it only knows the name that the
 * program was started by, so for that the kernel is asked. See place.h. */
#include "base/place.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* The program headers that the kernel tells of are those of the program: they lie in the same file as this code, or
 * this code is a library's. */
static void find_file(char file[PATH_MAX])
{
    static const char here;
    Dl_info own, program;
    const void *headers = (const void *)getauxval(AT_PHDR);    /* an integer that is an address */
    if (dladdr(&here, &own) && headers && dladdr(headers, &program) && own.dli_fbase != program.dli_fbase &&
        realpath(own.dli_fname, file))
        return;
    ssize_t n = readlink("/proc/self/exe", file, PATH_MAX - 1);
    file[n > 0 ? n : 0] = '\0';
}

void place_folder(char *out, size_t n)
{
    char file[PATH_MAX];
    find_file(file);
    char *slash = strrchr(file, '/');
    snprintf(out, n, "%.*s", slash ? (int)(slash - file) : 0, file);
}
