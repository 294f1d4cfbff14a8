#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/progress.h"

static _Atomic int least = LOG_INFO;

void log_set_level(enum log_level level) { atomic_store(&least, (int)level); }

/* The line is built first and written with one call, so that threads do not
 * mix theirs. Control characters of foreign text become '?': no client writes
 * lines of its own into our log. */
void log_line(enum log_level level, const char *fmt, ...)
{
    static const char *const name[] = { "debug", "info", "warn", "error" };
    if ((int)level < atomic_load(&least))
        return;
    char line[1024];
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ %s ", ts.tv_nsec / 1000000, name[level]);
    va_list ap;
    va_start(ap, fmt);
    int k = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    size_t end = k < 0 ? n : n + (size_t)k;
    if (end > sizeof line - 2)
        end = sizeof line - 2;
    for (size_t i = n; i < end; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[end] = '\n';
    progress_hide();
    fwrite(line, 1, end + 1, stderr);
}
