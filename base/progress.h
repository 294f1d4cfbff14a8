/* base/progress.h - how far something long is, for whoever waits: a bar on a
 * terminal, elsewhere a line of the log every ten seconds. What takes less
 * than half a second shows nothing. */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H
#include <stdbool.h>
#include <stddef.h>

struct progress {
    const char *what;       /* borrowed: "loading"; the rest begins as zeros */
    double      began;      /* clock_seconds() of the first call             */
    double      shown;      /* clock_seconds() of the last line or bar       */
};

/* `done` of `all` bytes; equal: that was all, and the bar goes. p: struct progress *, as a callback has it. */
void progress_bytes(void *p, size_t done, size_t all);

/* Takes a bar off the terminal's line, so that something else can be written there. */
void progress_hide(void);

#endif
