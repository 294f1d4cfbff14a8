/* cli/attach.c - see attach.h. */
#include "cli/attach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* The value of a hexadecimal digit; -1: it is none. */
static int hex_value(char c)
{
    const char *digits = "0123456789abcdef", *p = c ? strchr(digits, c | 0x20) : NULL;
    return p ? (int)(p - digits) : -1;
}

/* Reads a word from *at as a shell would: quotes around it or within it, backslashes. An apostrophe within a word
 * ("don't") quotes nothing. Moves *at behind the word. false: a quote is open at the end, or the word is too long. */
static bool read_word(const char **at, char out[PATH_MAX])
{
    const char *p = *at;
    char   quote = '\0';
    size_t n = 0;
    bool   starts = true, whole = true;
    for (; *p && (quote || (*p != ' ' && *p != '\n')); p++) {
        char c = *p;
        if (!quote && starts && (c == '\'' || c == '"')) {
            quote = c;
            continue;
        }
        if (quote && c == quote) {
            quote = '\0';
            continue;
        }
        if (c == '\\' && quote != '\'' && p[1])
            c = *++p;
        starts = starts && c == '@';
        whole &= n < PATH_MAX - 1;
        if (whole)
            out[n++] = c;
    }
    out[n] = '\0';
    *at = p;
    return whole && !quote && n > 0;
}

/* file:///a%20b becomes /a b, ~/a the file at home. */
static bool resolve(const char *word, char out[PATH_MAX])
{
    const char *home = getenv("HOME");
    size_t n = 0;
    if (strncmp(word, "file://", 7) == 0) {
        for (const char *p = word + 7; *p && n < PATH_MAX - 1; p++) {
            bool code = *p == '%' && hex_value(p[1]) >= 0 && hex_value(p[2]) >= 0;
            out[n++] = code ? (char)(hex_value(p[1]) * 16 + hex_value(p[2])) : *p;
            p += code ? 2 : 0;
        }
        out[n] = '\0';
        return n < PATH_MAX - 1 && *out == '/';
    }
    if (strncmp(word, "~/", 2) == 0 && home)
        return snprintf(out, PATH_MAX, "%s%s", home, word + 1) < PATH_MAX;
    return snprintf(out, PATH_MAX, "%s", word) < PATH_MAX;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Does the word look like a path to a picture? Other files that are pasted are more likely part of the question. */
static bool looks_like_picture(const char *word)
{
    static const char *const begins[] = { "/", "~/", "./", "../", "file://" };
    static const char *const ends[] = { ".png", ".jpg", ".jpeg", ".webp", ".gif" };
    size_t n = strlen(word);
    bool path = false;
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        path |= strncmp(word, begins[i], strlen(begins[i])) == 0;
    for (size_t i = 0; path && i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && strcasecmp(word + n - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

/* A path that was typed by itself, perhaps quoted or as a file: URL, as terminals paste it. A plain one may hold
 * blanks. */
bool attach_path(const char *typed, char out[PATH_MAX])
{
    char word[PATH_MAX];
    const char *p = typed;
    bool quoted = *typed == '\'' || *typed == '"' || strchr(typed, '\\') || strncmp(typed, "file://", 7) == 0;
    if (!quoted)                               /* a path with blanks in it, as it is */
        return resolve(typed, out);
    return read_word(&p, word) && !p[strspn(p, " ")] && resolve(word, out);
}

/* Takes the paths of pictures out of a line: words that begin with @, and words that look like the path of a picture
 * and are one, as terminals paste them. What is left goes to `text`, without white space at its end. */
void attach_find(const char *line, struct attached *out, struct buf *text)
{
    char word[PATH_MAX], path[PATH_MAX];
    out->n = 0;
    for (const char *p = line; *p;) {
        const char *from = p;
        bool whole = read_word(&p, word), at = *word == '@' && word[1];
        if (whole && out->n < ATTACH_MOST && (at || looks_like_picture(word)) && resolve(word + at, path) &&
            is_file(path)) {
            memcpy(out->path[out->n++], path, sizeof path);
            p += *p == ' ';
            continue;
        }
        if (!whole)                            /* as it was typed, up to the next blank */
            p = from + strcspn(from, " \n");
        p += *p != '\0';
        buf_add(text, from, (size_t)(p - from));
    }
    while (text->len > 0 && strchr(" \n", text->data[text->len - 1]))
        text->data[--text->len] = '\0';
}
