/* cli/history.h - the lines that were typed, the last EDITOR_HISTORY of them, kept in a file between two runs. */
#ifndef CLI_HISTORY_H
#define CLI_HISTORY_H
#include <limits.h>

#include "cli/editor.h"

struct history {
    char *line[EDITOR_HISTORY];    /* owned, the oldest first       */
    int   n;
    char  file[PATH_MAX];          /* "": nothing is kept           */
};

/* Where the history belongs, by the XDG base directories: $XDG_STATE_HOME/openautoglm/history. "": nowhere. */
void history_default(char out[PATH_MAX]);

void history_open(struct history *h, const char *file);        /* NULL: none. A file that cannot be read is no error */
void history_add(struct history *h, const char *line);         /* not twice in a row, and no empty one               */
void history_close(struct history *h);                         /* writes the file, which only its owner may read     */

#endif
