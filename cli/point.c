/* cli/point.c - points in the text of actions. See point.h. */
#include "cli/point.h"

#include <stdio.h>
#include <string.h>

int point_find(const char *action, const char *name, int *x, int *y)
{
    char pattern[32];
    snprintf(pattern, sizeof pattern, "%s=[", name);
    const char *at = strstr(action, pattern);
    return at && sscanf(at + strlen(pattern), "%d,%d]", x, y) == 2 ? 0 : -1;
}
