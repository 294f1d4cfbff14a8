/* server/field_names.c - see field_names.h. */
#include "server/field_names.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int field_names_add(json_t *names, const char *chat, const char *own, struct err *e)
{
    return json_object_set_new(names, chat, json_string(own)) == 0 ? 0 : err_memory(e);
}

static bool is_of_path(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Is the path at this place of the text, and not only the end of a longer one or the beginning of a longer name? A path
 * of one word may be a word like any other, unless the text begins with it. */
static bool stands_at(const char *text, size_t i, const char *path, size_t n)
{
    if (strncmp(text + i, path, n) != 0 || is_of_path(text[i + n]))
        return false;
    return i == 0 || (!is_of_path(text[i - 1]) && text[i - 1] != '.' && strpbrk(path, ".["));
}

/* Replaces a path wherever it stands in a text, which is cut if it grows too long. */
static void replace(char *text, size_t size, const char *path, size_t n, const char *own)
{
    char   old[sizeof((struct err *)0)->text];
    size_t at = 0;
    snprintf(old, sizeof old, "%s", text);
    for (size_t i = 0; old[i] && at + 1 < size;) {
        bool here = stands_at(old, i, path, n);
        int  put = snprintf(text + at, size - at, "%.*s", here ? (int)strlen(own) : 1, here ? own : old + i);
        at += (size_t)put < size - at ? (size_t)put : size - at - 1;
        i += here ? n : 1;
    }
    text[at] = 0;
}

/* Looks for the longest beginning of the field's path that has a name. */
void field_names_apply(const json_t *names, struct err *e)
{
    char   path[sizeof e->field];
    size_t n = strlen(e->field);
    memcpy(path, e->field, n + 1);
    while (n > 0) {
        path[n] = 0;
        const char *own = json_string_value(json_object_get(names, path));
        if (own) {
            replace(e->field, sizeof e->field, path, n, own);
            replace(e->text, sizeof e->text, path, n, own);
            return;
        }
        do
            n--;
        while (n > 0 && path[n] != '.' && path[n] != '[');
    }
}
