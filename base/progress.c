/* base/progress.c - a progress bar on a terminal, lines in the log elsewhere. Both go through log.c, which keeps them
 * in order with its lines. */
#include "base/progress.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static const double QUIET = .5, REDRAW = .1, LINE = 10;     /* seconds */
enum { WIDTH = 30 };

static _Atomic bool on_line;

/* Called before every line of the log, too, so that a line does not begin behind a bar. */
void progress_hide(void)
{
    static const char clear[] = "\r\033[K";
    if (atomic_exchange(&on_line, false))
        log_bytes(clear, sizeof clear - 1);
}

/* "8.9 MB", "18.2 GB" */
static void write_size(char out[24], size_t bytes)
{
    bool giga = bytes >= 1000000000;
    snprintf(out, 24, "%.1f %s", (double)bytes / (giga ? 1e9 : 1e6), giga ? "GB" : "MB");
}

/* Writes the bar over the one before: \r goes to the beginning of the line, and the escape sequence clears what is
 * left of a longer one. */
static void draw(const struct progress *p, size_t done, size_t all, double seconds)
{
    char bar[WIDTH + 1], line[200], size[24];
    double share = (double)done / (double)all;
    memset(bar, ' ', WIDTH);
    memset(bar, '#', (size_t)(share * WIDTH));
    bar[WIDTH] = '\0';
    write_size(size, all);
    int n = snprintf(line, sizeof line, "\r%s [%s] %3.0f %% of %s, %.0f s left\033[K", p->what, bar, 100 * share, size,
                     share > 0 ? seconds / share - seconds : 0);
    log_bytes(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    atomic_store(&on_line, true);
}

/* Called as often as the caller likes. It shows something only after half a second, and then ten times a second on a
 * terminal or every ten seconds in a log. At the end the bar goes and the struct is ready for another use. */
void progress_bytes(void *arg, size_t done, size_t all)
{
    struct progress *p = arg;
    double now = clock_seconds();
    if (p->began <= 0)
        p->began = now;
    if (done >= all) {
        progress_hide();
        *p = (struct progress){ .what = p->what };
        return;
    }
    bool terminal = isatty(STDERR_FILENO);
    double last = p->shown > 0 ? p->shown : p->began;
    if (now - p->began < QUIET || now - last < (terminal ? REDRAW : LINE))
        return;
    p->shown = now;
    if (terminal) {
        draw(p, done, all, now - p->began);
        return;
    }
    char size[24];
    write_size(size, all);
    log_info("%s: %.0f %% of %s", p->what, 100 * (double)done / (double)all, size);
}
