#include "tokenizer/json_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

enum { FILE_MAX = 256 << 20 };
static const char stand_in[] = "\xef\xb7\x90"; /* U+FDD0 */

/* The end of the string whose opening quote is at i (the closing quote's place, or n). */
static size_t string_end(const char *s, size_t n, size_t i)
{
    for (i++; i < n && s[i] != '"'; i++)
        if (s[i] == '\\')
            i++;
    return i < n ? i : n;
}

/* \u0000 in keys becomes \ufdd0; everything keeps its place. */
static void hide_nuls(char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '"')
            continue;
        size_t end = string_end(s, n, i), next = end + 1;
        while (next < n && strchr(" \t\r\n", s[next]) && s[next])
            next++;
        for (size_t k = i + 1; next < n && s[next] == ':' && k + 6 <= end; k++) {
            if (s[k] != '\\')
                continue;
            if (!memcmp(s + k, "\\u0000", 6))
                memcpy(s + k, "\\ufdd0", 6);
            k++;
        }
        i = end;
    }
}

const char *json_key(const char *key, size_t *n, char *out)
{
    size_t k = 0;
    if (!memmem(key, *n, stand_in, 3))
        return key;
    for (size_t i = 0; i < *n; i++) {
        bool hidden = *n - i >= 3 && !memcmp(key + i, stand_in, 3);
        out[k++] = hidden ? 0 : key[i];
        i += hidden ? 2 : 0;
    }
    *n = k;
    return out;
}

/* The bytes of a file; NULL and a message, or none if it is optional. */
static char *read_all(const char *path, bool optional, size_t *n, struct err *e)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f) {
        if (!optional || errno != ENOENT)
            err_set(e, "%s: %s", path, strerror(errno));
        return NULL;
    }
    char *data = NULL;
    if (fstat(fileno(f), &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        err_set(e, "%s: not a file of up to %d MiB", path, FILE_MAX >> 20);
    } else {
        data = xmalloc((size_t)st.st_size);
        *n = fread(data, 1, (size_t)st.st_size, f);
    }
    fclose(f);
    return data;
}

json_t *json_file_read(const char *path, bool optional, struct err *e)
{
    json_error_t je;
    size_t n;
    char *data = read_all(path, optional, &n, e);
    if (!data)
        return NULL;
    if (memmem(data, n, "\\u0000", 6))
        hide_nuls(data, n);
    json_t *j = json_loadb(data, n, JSON_ALLOW_NUL, &je);
    if (!j && json_error_code(&je) == json_error_numeric_overflow) /* model_max_length 1000000000000000019884624838656 */
        j = json_loadb(data, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &je);
    free(data);
    if (!j) {
        err_set(e, "%s: line %d, column %d: %s", path, je.line, je.column, je.text);
    } else if (!json_is_object(j)) {
        err_set(e, "%s: expected an object", path);
        json_decref(j);
        j = NULL;
    }
    return j;
}
