#include "base/json_watch.h"

#include <jansson.h>
#include <stdlib.h>

static _Thread_local bool starved;

static void *allocate(size_t n)
{
    void *p = malloc(n ? n : 1);
    starved |= !p;
    return p;
}

void json_watch(void) { json_set_alloc_funcs(allocate, free); }

void json_begin(void) { starved = false; }

bool json_starved(void) { return starved; }
