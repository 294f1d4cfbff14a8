/* base/err.c - fills a struct err. Texts that do not fit are cut; every function returns -1, so that a caller can
 * return it. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Everything of an earlier error goes. Always -1, so that callers can return it. */
static int fill(struct err *e, const char *field, const char *fmt, va_list ap)
{
    if (!e)
        return -1;
    memset(e, 0, sizeof *e);
    snprintf(e->field, sizeof e->field, "%s", field);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    return -1;
}

int err_set(struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(e, "", fmt, ap);
    va_end(ap);
    return -1;
}

int err_field(struct err *e, const char *field, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(e, field, fmt, ap);
    va_end(ap);
    return -1;
}

/* The text is short, because callers put in front what they were about to do. */
int err_memory(struct err *e)
{
    err_set(e, "out of memory");
    if (e) {
        e->status = 503;
        snprintf(e->code, sizeof e->code, "out_of_memory");
    }
    return -1;
}

/* The old text is copied aside first, because it may be an argument of the new one. The field, the code and the status
 * stay. */
int err_prefix(struct err *e, const char *fmt, ...)
{
    if (!e)
        return -1;
    char old[sizeof e->text];
    memcpy(old, e->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text &&
        snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", old) < 0)
        e->text[n] = 0;             /* longer ones are cut, as everywhere here */
    return -1;
}
