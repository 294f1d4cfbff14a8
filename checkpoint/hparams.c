/* checkpoint/hparams.c - typed reads of a configuration file; the first error is kept and told once. See hparams.h. */
#include "checkpoint/hparams.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json_python.h"

/* JSON takes some twenty times its size in memory. The longest configurations are names of classes, of a few MiB;
 * vocabularies may be longer than all else. */
enum { MAX_FILE = 16 << 20, MAX_TOKENIZER = 64 << 20 };

/* `h` may be closed whatever this returns. A file that is missing and not required reads as an empty object, so every
 * field takes its default. */
int hparams_open(struct hparams *h, const char *dir, const char *file, bool required, struct err *e)
{
    char path[4096];
    struct buf text;
    json_error_t je;
    *h = (struct hparams){ .file = file, .e = e };
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, file) >= sizeof path)
        return err_set(e, "%.200s...: the path is too long", dir);
    buf_init(&text, strcmp(file, "tokenizer.json") ? MAX_FILE : MAX_TOKENIZER);
    int rc = file_read(path, &text, e);
    if (rc == 0)
        h->object = json_python(text.data ? text.data : (char[]){ "" }, text.len, &je);
    else if (rc == 1 && !required)
        h->object = json_object();
    buf_free(&text);
    if (rc < 0)
        return -1;
    if (rc == 1 && required)
        return err_set(e, "%s: No such file or directory", path);
    if (!h->object)
        return err_set(e, "%s: line %d: %s", path, je.line, je.text);
    if (!json_is_object(h->object)) {
        hparams_close(h);
        return err_set(e, "%s: not a JSON object", path);
    }
    return 0;
}

/* A section has nothing of its own: only the root's object is given back. */
void hparams_close(struct hparams *h)
{
    if (!h->root)
        json_decref(h->object);
    h->object = NULL;
}

static const struct hparams *root_of(const struct hparams *h) { return h->root ? h->root : h; }

int hparams_end(const struct hparams *h) { return root_of(h)->failed ? -1 : 0; }

/* Only the first error is kept, because later ones are often its consequences. Of alternative names the first is told,
 * which is the one in use today. */
int hparams_fail(struct hparams *h, const char *name, const char *fmt, ...)
{
    struct hparams *root = h->root ? h->root : h;
    char text[384];
    if (root->failed)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    root->failed = true;
    const char *bar = strchr(name, '|');
    return err_set(root->e, "%s: %s%.*s: %s", h->file, h->section, bar ? (int)(bar - name) : (int)strlen(name), name,
                   text);
}

/* The first of the alternatives that is there and not null. */
static json_t *get(const struct hparams *h, const char *names)
{
    while (names && h->object) {
        char one[64];
        const char *bar = strchr(names, '|');
        size_t n = bar ? (size_t)(bar - names) : strlen(names);
        snprintf(one, sizeof one, "%.*s", (int)n, names);
        json_t *v = json_object_get(h->object, one);
        if (v && !json_is_null(v))
            return v;
        names = bar ? bar + 1 : NULL;
    }
    return NULL;
}

bool hparams_has(const struct hparams *h, const char *names) { return get(h, names) != NULL; }

/* A section: its reads look into v, and its errors name `names` in front and go to the root. */
static struct hparams inner(struct hparams *h, const char *names, json_t *v)
{
    struct hparams s = { .object = v, .file = h->file, .root = h->root ? h->root : h };
    const char *bar = strchr(names, '|');
    snprintf(s.section, sizeof s.section, "%.20s%.*s.", h->section, bar ? (int)(bar - names) : (int)strlen(names),
             names);
    return s;
}

/* Checkpoints of one family keep their fields in a nested object or flat, depending on their age. A flat one reads as
 * the section itself. */
struct hparams hparams_section(struct hparams *h, const char *name)
{
    json_t *v = get(h, name);
    if (v && !json_is_object(v))
        hparams_fail(h, name, "must be an object");
    if (json_is_object(v))
        return inner(h, name, v);
    struct hparams same = *h;
    same.root = h->root ? h->root : h;
    return same;
}

/* A nested object that must not be flat. Where it is missing, every field in it takes its default. */
struct hparams hparams_object(struct hparams *h, const char *names)
{
    json_t *v = get(h, names);
    if (v && !json_is_object(v))
        hparams_fail(h, names, "must be an object");
    return inner(h, names, json_is_object(v) ? v : NULL);
}

/* A whole number within its limits, also if it is written as 2048.0; else the error is noted and the smallest legal
 * value returned, with which the caller can go on. */
static int64_t check_int(struct hparams *h, const char *names, json_t *v, int64_t min, int64_t max)
{
    int64_t n = json_integer_value(v);
    if (json_is_real(v) && fabs(json_real_value(v)) < 9e15 && json_real_value(v) == floor(json_real_value(v)))
        n = (int64_t)json_real_value(v); /* 2048.0 */
    else if (!json_is_integer(v))
        return hparams_fail(h, names, "must be an integer"), min;
    if (n < min || n > max)
        return hparams_fail(h, names, "%lld is not in %lld..%lld", (long long)n, (long long)min, (long long)max), min;
    return n;
}

/* Missing and HP_REQUIRED: an error is noted, and the smallest legal value lets the caller go on. */
int64_t hparams_int(struct hparams *h, const char *names, int64_t def, int64_t min, int64_t max)
{
    json_t *v = get(h, names);
    if (v)
        return check_int(h, names, v, min, max);
    if (def == HP_REQUIRED)
        return hparams_fail(h, names, "is missing"), min;
    return def;
}

/* The comparison is written so that NaN is refused, too. */
double hparams_number(struct hparams *h, const char *names, double def, double min, double max)
{
    json_t *v = get(h, names);
    if (!v && def == HP_REQUIRED_NUMBER)
        return hparams_fail(h, names, "is missing"), min;
    if (!v)
        return def;
    if (!json_is_number(v))
        return hparams_fail(h, names, "must be a number"), min;
    double x = json_number_value(v);
    if (!(x >= min && x <= max))
        return hparams_fail(h, names, "%g is not in %g..%g", x, min, max), min;
    return x;
}

bool hparams_bool(struct hparams *h, const char *names, bool def)
{
    json_t *v = get(h, names);
    if (v && !json_is_boolean(v))
        hparams_fail(h, names, "must be true or false");
    return json_is_boolean(v) ? json_is_true(v) : def;
}

const char *hparams_string(struct hparams *h, const char *names, const char *def)
{
    json_t *v = get(h, names);
    if (v && !json_is_string(v))
        hparams_fail(h, names, "must be a string");
    return json_is_string(v) ? json_string_value(v) : def;
}

/* A single number counts as a list of one. Entries are checked like single integers. */
int hparams_ints(struct hparams *h, const char *names, int *out, int max, int64_t least, int64_t most)
{
    json_t *v = get(h, names);
    if (!v)
        return 0;
    if (!json_is_array(v)) {
        out[0] = (int)check_int(h, names, v, least, most);
        return 1;
    }
    if (json_array_size(v) > (size_t)max)
        return hparams_fail(h, names, "has more than %d entries", max), 0;
    for (size_t i = 0; i < json_array_size(v); i++)
        out[i] = (int)check_int(h, names, json_array_get(v, i), least, most);
    return (int)json_array_size(v);
}

const json_t *hparams_list(struct hparams *h, const char *names)
{
    const json_t *v = get(h, names);
    if (v && !json_is_array(v))
        hparams_fail(h, names, "must be a list");
    return json_is_array(v) ? v : NULL;
}

/* Returns how many there are; 0 also after an error. */
int hparams_numbers(struct hparams *h, const char *names, double *out, int max)
{
    json_t *v = get(h, names);
    if (!v)
        return 0;
    if (!json_is_array(v) || json_array_size(v) > (size_t)max)
        return hparams_fail(h, names, "must be a list of at most %d numbers", max), 0;
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (!json_is_number(json_array_get(v, i)))
            return hparams_fail(h, names, "must be a list of numbers"), 0;
        out[i] = json_number_value(json_array_get(v, i));
    }
    return (int)json_array_size(v);
}
