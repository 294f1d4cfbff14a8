/* base/json_watch.c - an allocator for jansson that remembers, for each thread, whether it had to refuse. See
 * json_watch.h for why. */
#include "base/json_watch.h"

#include <jansson.h>
#include <stdlib.h>

static _Thread_local bool starved;

/* jansson may ask for 0 bytes, for which malloc() may give NULL without being out of memory. */
static void *allocate(size_t n)
{
    void *p = malloc(n ? n : 1);
    starved |= !p;
    return p;
}

void json_watch(void) { json_set_alloc_funcs(allocate, free); }

void json_begin(void) { starved = false; }

bool json_starved(void) { return starved; }
