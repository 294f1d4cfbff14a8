#include "tokenizer/json_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

enum { FILE_MAX = 256 << 20 };

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
        data = xmalloc((size_t)st.st_size + 1);
        *n = fread(data, 1, (size_t)st.st_size, f);
    }
    fclose(f);
    return data;
}

/* Copies text up to `to` and then an empty value instead of the one at c, which
 * becomes *part. Anything but an object or array is left to the tree. */
static int cut_value(struct cursor *c, size_t *copied, struct buf *rest, struct cursor *part)
{
    int kind = cursor_peek(c);
    size_t from = c->at;
    if (cursor_skip(c) < 0)
        return -1;
    if (kind != '{' && kind != '[')
        return 0;
    *part = (struct cursor){ c->s + from, c->at - from, 0 };
    buf_add(rest, c->s + *copied, from - *copied);
    buf_str(rest, kind == '{' ? "{}" : "[]");
    *copied = c->at;
    return 0;
}

static bool equal(const char *s, size_t n, const char *word) { return n == strlen(word) && !memcmp(s, word, n); }

/* Walks an object; the text without its large parts goes to rest. Where the text
 * is not JSON it stops and leaves the complaint to the real parser. */
static int walk(struct json_file *f, struct cursor *c, bool in_model, size_t *copied, struct buf *rest,
                struct buf *tmp)
{
    const char *key;
    size_t n;
    if (!cursor_take(c, '{'))
        return -1;
    if (cursor_take(c, '}'))
        return 0;
    do {
        int rc;
        if (cursor_string(c, tmp, &key, &n) < 0 || !cursor_take(c, ':'))
            return -1;
        if (!in_model && equal(key, n, "model") && cursor_peek(c) == '{')
            rc = walk(f, c, true, copied, rest, tmp);
        else if (in_model && equal(key, n, "vocab"))
            rc = cut_value(c, copied, rest, &f->vocab);
        else if (in_model && equal(key, n, "merges"))
            rc = cut_value(c, copied, rest, &f->merges);
        else
            rc = cursor_skip(c);
        if (rc < 0)
            return -1;
    } while (cursor_take(c, ','));
    return cursor_take(c, '}') ? 0 : -1;
}

/* The tree. model_max_length is often 1000000000000000019884624838656: then all
 * whole numbers become real ones. */
static json_t *parse(const char *s, size_t n, json_error_t *je)
{
    json_t *j = json_loadb(s, n, JSON_ALLOW_NUL, je);
    if (!j && json_error_code(je) == json_error_numeric_overflow)
        j = json_loadb(s, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, je);
    return j;
}

int json_file_read(struct json_file *f, const char *path, bool optional, bool cut, struct err *e)
{
    json_error_t je;
    size_t n = 0, copied = 0;
    struct buf rest, tmp;
    struct err why = { 0 };
    memset(f, 0, sizeof *f);
    if (!(f->text = read_all(path, optional, &n, &why)))
        return *why.text ? err_set(e, "%s", why.text) : 0;
    buf_init(&rest, FILE_MAX);
    buf_init(&tmp, FILE_MAX);
    struct cursor c = { f->text, n, 0 };
    if (cut && walk(f, &c, false, &copied, &rest, &tmp) == 0 && buf_ok(&rest)) {
        buf_add(&rest, f->text + copied, n - copied);
        f->root = parse(rest.data ? rest.data : "", rest.len, &je);
    } else {
        f->vocab = f->merges = (struct cursor){ 0 };
        f->root = parse(f->text, n, &je);
    }
    buf_free(&rest);
    buf_free(&tmp);
    int rc = 0;
    if (!f->root && cut) /* once more, for the place in the whole text */
        json_decref(parse(f->text, n, &je));
    if (!f->root)
        rc = err_set(e, "%s: line %d, column %d: %s", path, je.line, je.column, je.text);
    else if (!json_is_object(f->root))
        rc = err_set(e, "%s: expected an object", path);
    if (rc < 0)
        json_file_free(f);
    return rc;
}

void json_file_free(struct json_file *f)
{
    json_decref(f->root);
    free(f->text);
    memset(f, 0, sizeof *f);
}
