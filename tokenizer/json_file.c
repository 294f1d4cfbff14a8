/* tokenizer/json_file.c - see json_file.h. */
#include "tokenizer/json_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json_python.h"

enum { FILE_MAX = 256 << 20 };

/* Copies text up to the value at c and then an empty value instead of it; the value itself becomes *part, and c
 * stands behind it. *copied is how far the text has been copied. Anything but an object or an array is left to the
 * tree. Returns -1 where the value has no end. */
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

/* Walks over an object of the file, first the outermost one and from there `model` (in_model), and cuts out the
 * vocabulary and the merges; the text without these goes to rest. Where the text is not JSON it returns -1 and leaves
 * the complaint to the real parser. */
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

/* Reads the file and, with `cut`, parses it without its large parts; where these cannot be cut out, the whole text is
 * parsed. When parsing fails the whole text is parsed once more, so that line and column in the message are those of
 * the file. */
int json_file_read(struct json_file *f, const char *path, bool optional, bool cut, struct err *e)
{
    json_error_t je;
    size_t n = 0, copied = 0;
    struct buf rest, tmp;
    memset(f, 0, sizeof *f);
    buf_init(&tmp, FILE_MAX);
    int rc = file_read(path, &tmp, e);
    n = tmp.len;
    f->text = rc == 0 ? buf_take(&tmp) : NULL;
    buf_free(&tmp);
    if (rc == 1 && !optional)
        return err_set(e, "%s: No such file or directory", path);
    if (rc != 0 || !f->text)
        return rc < 0 ? -1 : 0;
    buf_init(&rest, FILE_MAX);
    buf_init(&tmp, FILE_MAX);
    struct cursor c = { f->text, n, 0 };
    if (cut && walk(f, &c, false, &copied, &rest, &tmp) == 0 && buf_ok(&rest)) {
        buf_add(&rest, f->text + copied, n - copied);
        f->root = json_python(rest.data ? rest.data : (char[]){ "" }, rest.len, &je);
    } else {
        f->vocab = f->merges = (struct cursor){ 0 };
        f->root = json_python(f->text, n, &je);
    }
    buf_free(&rest);
    buf_free(&tmp);
    rc = 0;
    if (!f->root && cut) /* once more, for the place in the whole text */
        json_decref(json_python(f->text, n, &je));
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
