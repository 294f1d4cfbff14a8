/* base/wrap.c - breaks lines between words. See wrap.h. */
#include "base/wrap.h"

#include <stdbool.h>
#include <string.h>

/* Columns of n bytes: every byte that does not continue a character begins one. */
static int columns(const char *s, size_t n)
{
    int count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)s[i] & 0xc0) != 0x80;
    return count;
}

/* Prints a text whose words are separated by blanks. The first line begins at column `at`, where something stands
 * already, and the others at `indent`. A word that is wider than a line has one of its own. */
void wrap_print(FILE *out, const char *text, int at, int indent)
{
    bool begins = true;        /* no word stands in this line yet */
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        int width = columns(p, n);
        if (!begins && at + 1 + width > WRAP_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
            begins = true;
        }
        if (!begins)
            fputc(' ', out);
        fwrite(p, 1, n, out);
        at += width + !begins;
        begins = false;
        p += n;
    }
    fputc('\n', out);
}
