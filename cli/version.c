/* cli/version.c - see version.h. The Makefile defines COMMIT for this file alone. */
#include "cli/version.h"

#include <stdio.h>

#include "kernels/cpu/cpu.h"
#include "kernels/plugin.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZER ", with AddressSanitizer"
#elif defined(__SANITIZE_THREAD__)
#define SANITIZER ", with ThreadSanitizer"
#else
#define SANITIZER ""
#endif

/* The instruction sets that were compiled in are those for this kind of processor; which of them works is for `doctor`
 * to say. */
static void print_backends(void)
{
    const struct kernels *k;
    printf("backends   cpu (");
    for (int i = 0; (k = cpu_variant(i)) != NULL; i++)
        printf(i ? ", %s" : "%s", k->name);
    printf("), ref, cuda (%s)\n", plugin_built("cuda") ? "its library is here" : "its library is not here");
}

int command_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("openautoglm " VERSION);
    puts("commit     " COMMIT);
    puts("compiler   " COMPILER SANITIZER);
    print_backends();
    return 0;
}
