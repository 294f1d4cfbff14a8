/* cli/history.c - see history.h. A line of the file is one that was typed, with \n and \\ for what it cannot hold. */
#include "cli/history.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

/* Where the history lies by the rules of XDG; empty where there is no home. */
void history_default(char out[PATH_MAX])
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = 0;
    *out = '\0';
    if (state && *state == '/')
        n = snprintf(out, PATH_MAX, "%s/openautoglm/history", state);
    else if (home && *home == '/')
        n = snprintf(out, PATH_MAX, "%s/.local/state/openautoglm/history", home);
    if (n >= PATH_MAX)
        *out = '\0';
}

/* In place: \n becomes the end of a line, and a backslash stands before what is meant as it is. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        bool escaped = *s == '\\' && s[1];
        s += escaped;
        *to++ = escaped && *s == 'n' ? '\n' : *s;
    }
    *to = '\0';
}

/* Adds a line unless it is empty or the same as the last one. The oldest goes when there are too many. */
void history_add(struct history *h, const char *line)
{
    if (!*line || (h->n > 0 && strcmp(h->line[h->n - 1], line) == 0))
        return;
    if (h->n == EDITOR_HISTORY) {
        free(h->line[0]);
        memmove(h->line, h->line + 1, sizeof h->line - sizeof *h->line);
        h->n--;
    }
    h->line[h->n++] = xstrdup(line);
}

/* Reads the lines of earlier sessions; a file that is not there is an empty history. */
void history_open(struct history *h, const char *file)
{
    char  *line = NULL;
    size_t cap = 0;
    ssize_t n;
    h->n = 0;
    snprintf(h->file, sizeof h->file, "%s", file ? file : "");
    FILE *f = file && *file ? fopen(file, "r") : NULL;
    while (f && (n = getline(&line, &cap, f)) >= 0) {
        if (n > 0 && line[n - 1] == '\n')
            line[n - 1] = '\0';
        unescape(line);
        if (n <= EDITOR_LINE)
            history_add(h, line);
    }
    free(line);
    if (f)
        fclose(f);
}

/* Makes the folders that the file is to lie in. */
static void make_folders(const char *file)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", file);
    for (char *p = path + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
}

/* Into a file beside it, which then takes its name: whatever happens, there is a whole history. */
static void write_file(const struct history *h)
{
    char part[PATH_MAX + 8];
    make_folders(h->file);
    snprintf(part, sizeof part, "%s.new", h->file);
    int   fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    for (int i = 0; f && i < h->n; i++) {
        for (const char *p = h->line[i]; *p; p++) {
            if (*p == '\n' || *p == '\\')
                fputc('\\', f);
            fputc(*p == '\n' ? 'n' : *p, f);
        }
        fputc('\n', f);
    }
    if (f ? fclose(f) == 0 : false)
        rename(part, h->file);
    else
        unlink(part);
}

void history_close(struct history *h)
{
    if (*h->file && h->n > 0)
        write_file(h);
    for (int i = 0; i < h->n; i++)
        free(h->line[i]);
    h->n = 0;
}
