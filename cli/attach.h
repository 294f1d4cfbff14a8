/* cli/attach.h - pictures that a person names within a line: pasted or dragged paths, and words with an @ before them.
 *
 * Terminals paste a dragged file as a path in quotes, with backslashes before blanks, or as a file:// URL. A word
 * counts as a picture if it looks like a path, or begins with @, and a file is there; everything else stays text. */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H
#include <limits.h>
#include <stdbool.h>

#include "base/buf.h"

enum { ATTACH_MOST = 16 };     /* in one line */

struct attached {
    char path[ATTACH_MOST][PATH_MAX];
    int  n;
};

/* Takes the paths out of the line; what is left of it goes to `text`, without blanks around it. */
void attach_find(const char *line, struct attached *out, struct buf *text);

/* One path as somebody types it behind /image: quotes, backslashes, ~ and file:// are understood. false: too long. */
bool attach_path(const char *typed, char out[PATH_MAX]);

#endif
