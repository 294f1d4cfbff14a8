/* cli/editor.h - lines that a person types into a terminal, with the keys that shells have taught them, and a history.
 *
 *     struct editor *ed = editor_open("history file or NULL");
 *     while ((line = editor_read(ed, "> ", &end)) != NULL || end == EDITOR_INTERRUPTED) ...   // free(line)
 *     editor_close(ed);
 *
 * Text is UTF-8. A line may be wider than the terminal: it is shown around the cursor. What is pasted may have several
 * lines and is never taken for keys. While nothing is read the terminal is as it was, and also after a signal that
 * ends the process. Without a terminal that can move its cursor, lines are read as they come. */
#ifndef CLI_EDITOR_H
#define CLI_EDITOR_H
#include <stddef.h>

enum { EDITOR_LINE = 64 << 10, EDITOR_HISTORY = 1000 };        /* most bytes of a line; most lines that are kept */

enum editor_end {
    EDITOR_LINE_READ,
    EDITOR_INTERRUPTED,        /* Ctrl-C: what was typed is dropped                */
    EDITOR_CLOSED,             /* Ctrl-D in an empty line, or the input has ended  */
};

struct editor;

/* Returns a word that `line` up to `at` could go on with, or NULL; the part of it that is typed already begins at
 * *from. To be freed. */
typedef char *editor_complete(void *arg, const char *line, size_t at, size_t *from);

struct editor *editor_open(const char *history);       /* NULL: the history is forgotten at the end */
void           editor_close(struct editor *ed);        /* writes the history                        */
void           editor_set_complete(struct editor *ed, editor_complete *complete, void *arg);

/* A line without its end, to be freed; NULL: *end says why there is none. */
char *editor_read(struct editor *ed, const char *prompt, enum editor_end *end);

/* Sends a question to the terminal and reads its answer up to the byte `last`, at most n - 1 bytes; "" if none comes
 * within a moment, or there is no terminal. */
void  editor_ask_terminal(const char *question, char last, char *answer, size_t n);

#endif
