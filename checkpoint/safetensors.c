/* checkpoint/safetensors.c - maps the files of a checkpoint and checks every word of their headers against their size.
 * See safetensors.h for what callers may rely on.
 *
 * A file is: the length of the header in eight bytes, the header as JSON (name -> dtype, shape, place), and the
 * data. */
#include "checkpoint/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

enum { MAX_SHARDS = 4096, MAX_HEADER = 100 << 20, MAX_INDEX = 100 << 20 };

struct shard {
    char          *name;    /* owned; without the folder */
    const uint8_t *map;     /* owned                     */
    size_t         size;
};

struct weights_file {
    struct shard  *shards;  /* owned (n_shards)                        */
    size_t         n_shards, cap_shards;
    struct stored *all;     /* owned (n), in the order of the headers  */
    size_t         n, cap;
    json_t        *headers; /* owned array: the names point into it    */
    json_t        *index;   /* owned object: name -> place in `all`    */
};

/* Bytes of an element of a type in the words of safetensors; 0: it is unknown. */
size_t weights_element_size(const char *dtype)
{
    static const struct { const char *name; size_t size; } types[] = {
        { "F64", 8 }, { "F32", 4 }, { "F16", 2 }, { "BF16", 2 }, { "F8_E4M3", 1 }, { "F8_E5M2", 1 }, { "I64", 8 },
        { "I32", 4 }, { "I16", 2 }, { "I8", 1 }, { "U64", 8 }, { "U32", 4 }, { "U16", 2 }, { "U8", 1 }, { "BOOL", 1 },
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(dtype, types[i].name))
            return types[i].size;
    return 0;
}

/* What a file is that is not safetensors, by its first bytes, so that the error can say it. NULL: not known. */
const char *weights_kind(const void *start, size_t n)
{
    static const struct { const char *start; size_t n; const char *kind; } known[] = {
        { "GGUF", 4, "a GGUF file" }, { "PK\3\4", 4, "a PyTorch pickle" }, { "\x80\2\x8a\n", 4, "a PyTorch pickle" },
        { "\x89HDF", 4, "an HDF5 file" },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n >= known[i].n && memcmp(start, known[i].start, known[i].n) == 0)
            return known[i].kind;
    return NULL;
}

/* Maps a whole file for reading. The mapping stays when the descriptor is closed. A file that is cut while it is in
 * use ends the process when the missing part is read: nobody can check that beforehand. */
static int map_file(struct shard *s, const char *path, struct err *e)
{
    struct stat st;
    int fd = file_open(path, e), rc = -1;
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0) {
        err_set(e, "%s: %s", path, strerror(errno));
    } else if (st.st_size < 8) {
        err_set(e, "%s: %lld bytes are too few for a safetensors file", path, (long long)st.st_size);
    } else {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            err_set(e, "%s: cannot be mapped: %s", path, strerror(errno));
        } else {
            s->map = p;
            s->size = (size_t)st.st_size;
            rc = 0;
        }
    }
    close(fd);
    return rc;
}

/* shape: [..] of non-negative integers; *n_bytes gets the size of the tensor. */
static int read_shape(struct stored *t, json_t *shape, size_t *n_bytes)
{
    size_t n = weights_element_size(t->dtype);
    if (!json_is_array(shape) || json_array_size(shape) > STORED_MAX_DIMS)
        return -1;
    t->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < t->n_dims; i++) {
        json_t *d = json_array_get(shape, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0 ||
            __builtin_mul_overflow(n, (size_t)json_integer_value(d), &n))
            return -1;
        t->dims[i] = json_integer_value(d);
    }
    *n_bytes = n;
    return 0;
}

/* One entry of a header: type, shape and place. `data` and `size` are what follows the header; the place must lie
 * within it and have exactly the bytes that type and shape need. */
static int read_entry(struct stored *t, json_t *v, const uint8_t *data, size_t size, struct err *e)
{
    const char *dtype = json_string_value(json_object_get(v, "dtype"));
    json_t *at = json_object_get(v, "data_offsets");
    size_t want;
    if (!dtype || strlen(dtype) >= sizeof t->dtype)
        return err_set(e, "tensor %.80s: no dtype", t->name);
    strcpy(t->dtype, dtype);
    if (!weights_element_size(dtype))
        return err_set(e, "tensor %.80s: unknown dtype %s", t->name, dtype);
    if (read_shape(t, json_object_get(v, "shape"), &want) != 0)
        return err_set(e, "tensor %.80s: bad shape", t->name);
    json_t *from = json_array_get(at, 0), *to = json_array_get(at, 1);
    if (json_array_size(at) != 2 || !json_is_integer(from) || !json_is_integer(to))
        return err_set(e, "tensor %.80s: bad data_offsets", t->name);
    json_int_t a = json_integer_value(from), b = json_integer_value(to);
    if (a < 0 || b < a || (uint64_t)b > size)
        return err_set(e, "tensor %.80s: bytes %lld..%lld lie outside the file's %zu", t->name, (long long)a,
                       (long long)b, size);
    if ((size_t)(b - a) != want)
        return err_set(e, "tensor %.80s: %lld bytes where its shape needs %zu", t->name, (long long)(b - a), want);
    t->data = data + a;
    t->bytes = want;
    return 0;
}

/* The order of tensors in the file. An empty tensor comes before another one at the same place, so that the check
 * below does not take them for overlapping. */
static int by_place(const void *a, const void *b)
{
    const struct stored *const *x = a, *const *y = b;
    const char *p = (*x)->data, *q = (*y)->data;
    if (p != q)
        return p < q ? -1 : 1;
    return ((*x)->bytes > (*y)->bytes) - ((*x)->bytes < (*y)->bytes);
}

/* As the format says, every one of the `size` bytes from `data` on belongs to exactly one of the tensors t[0..n).
 * Bytes that belong to none are a sign of a damaged file, or hide something; tensors that share bytes could be changed
 * through one another. */
static int check_cover(const struct stored *t, size_t n, const uint8_t *data, size_t size, struct err *e)
{
    int rc = 0;
    const uint8_t *at = data;
    const struct stored **p = xmalloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = t + i;
    qsort(p, n, sizeof *p, by_place);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const uint8_t *begin = p[i]->data;
        if (begin < at)
            rc = err_set(e, "tensors %.80s and %.80s overlap", p[i - 1]->name, p[i]->name);
        else if (begin > at)
            rc = err_set(e, "%zu bytes before tensor %.80s belong to no tensor", (size_t)(begin - at), p[i]->name);
        at = begin + p[i]->bytes;
    }
    if (rc == 0 && at < data + size)
        rc = err_set(e, "%zu bytes after the last tensor belong to no tensor", (size_t)(data + size - at));
    free(p);
    return rc;
}

/* Adds the tensors of one header to the list and to the index by name. A name may occur once in all files together,
 * since nobody could say which of two is meant. */
static int add_entries(struct weights_file *f, json_t *header, const struct shard *s, size_t start, struct err *e)
{
    size_t first = f->n;
    const char *name;
    json_t *v;
    json_object_foreach(header, name, v) {
        if (!strcmp(name, "__metadata__"))
            continue;
        if (grow(&f->all, &f->cap, f->n + 1, sizeof *f->all) != 0)
            return err_set(e, "out of memory for the list of tensors");
        struct stored *t = &f->all[f->n];
        *t = (struct stored){ .name = name, .file = (int)(s - f->shards) };
        if (read_entry(t, v, s->map + start, s->size - start, e) != 0)
            return -1;
        if (json_object_get(f->index, name))
            return err_set(e, "tensor %.80s: a second one of this name", name);
        json_object_set_new(f->index, name, json_integer((json_int_t)f->n++));
    }
    return check_cover(f->all + first, f->n - first, s->map + start, s->size - start, e);
}

/* Maps one file and reads its header. A length that makes no sense most often means another format, which is told by
 * name. The shard is counted as soon as it is mapped, so that weights_close() unmaps it after an error. */
static int add_file(struct weights_file *f, const char *dir, const char *name, struct err *e)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s%s%s", dir, *dir ? "/" : "", name) >= sizeof path)
        return err_set(e, "%.200s...: the path is too long", dir);
    if (grow(&f->shards, &f->cap_shards, f->n_shards + 1, sizeof *f->shards) != 0)
        return err_set(e, "out of memory for the list of files");
    struct shard *s = &f->shards[f->n_shards];
    *s = (struct shard){ 0 };
    if (map_file(s, path, e) != 0)
        return -1;
    const char *slash = strrchr(name, '/');
    s->name = xstrdup(slash ? slash + 1 : name);
    f->n_shards++;
    uint64_t n;
    memcpy(&n, s->map, 8);
    if ((n > MAX_HEADER || n > s->size - 8) && weights_kind(s->map, s->size))
        return err_set(e, "%s: is %s, not a safetensors file", path, weights_kind(s->map, s->size));
    if (n > MAX_HEADER || n > s->size - 8)
        return err_set(e, "%s: a header of %llu bytes does not fit the file's %zu", path, (unsigned long long)n,
                       s->size);
    json_error_t je;
    json_t *header = json_loadb((const char *)s->map + 8, (size_t)n, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(header)) {
        bool parsed = header != NULL;
        json_decref(header);
        return err_set(e, "%s: the header is not a JSON object%s%s", path, parsed ? "" : ": ", parsed ? "" : je.text);
    }
    json_array_append_new(f->headers, header);
    if (add_entries(f, header, s, 8 + (size_t)n, e) != 0)
        return err_prefix(e, "%s", path);
    return 0;
}

/* Without any file yet. */
static struct weights_file *weights_new(void)
{
    struct weights_file *f = xcalloc(1, sizeof *f);
    f->headers = json_array();
    f->index = json_object();
    return f;
}

/* A file that the index names. */
static int add_shard(struct weights_file *f, const char *dir, const char *file, struct err *e)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (!file_exists(path))
        return err_set(e, "%s: No such file or directory, though model.safetensors.index.json names it: the "
                          "checkpoint is not complete; download the rest", path);
    return add_file(f, dir, file, e);
}

/* Opens every file that the index names, each once, in the order in which they are named, and then checks that every
 * tensor is in the file where the index says. Names with a folder in them are refused: an index must not lead out of
 * its checkpoint. */
static int add_shards(struct weights_file *f, const char *dir, json_t *map, const char *index_path, struct err *e)
{
    json_t *opened = json_object(), *v;
    const char *name;
    int rc = 0;
    json_object_foreach(map, name, v) {
        const char *file = json_string_value(v);
        if (!file || !*file || strchr(file, '/') || !strcmp(file, "..")) {
            rc = err_set(e, "%s: %.80s: not the name of a file", index_path, name);
            break;
        }
        if (json_object_get(opened, file))
            continue;
        if (f->n_shards == MAX_SHARDS) {
            rc = err_set(e, "%s: more than %d files", index_path, MAX_SHARDS);
            break;
        }
        json_object_set_new(opened, file, json_true());
        if ((rc = add_shard(f, dir, file, e)) != 0)
            break;
    }
    json_decref(opened);
    if (rc)
        return rc;
    json_object_foreach(map, name, v) {
        const struct stored *t = weights_find(f, name);
        if (!t || strcmp(weights_file_name(f, t), json_string_value(v)) != 0)
            return err_set(e, "%s: tensor %.80s is not in %.80s", index_path, name, json_string_value(v));
    }
    return 0;
}

/* The index as JSON; NULL and a message if it cannot be read. */
static json_t *read_index(const char *path, struct err *e)
{
    struct buf text;
    json_error_t je;
    json_t *index = NULL;
    buf_init(&text, MAX_INDEX);
    if (file_read(path, &text, e) == 0) {
        index = json_loadb(text.data ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &je);
        if (!index)
            err_set(e, "%s: line %d: %s", path, je.line, je.text);
    }
    buf_free(&text);
    return index;
}

/* One file, or an index and its shards. A folder with both is taken as one file, as transformers does it. */
struct weights_file *weights_open(const char *dir, struct err *e)
{
    char path[4096];
    struct weights_file *f = weights_new();
    int rc = -1;
    if ((size_t)snprintf(path, sizeof path, "%s/model.safetensors", dir) >= sizeof path) {
        err_set(e, "%.200s...: the path is too long", dir);
    } else if (file_exists(path)) {
        rc = add_file(f, dir, "model.safetensors", e);
    } else if (snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir) < 0 || !file_exists(path)) {
        err_set(e, "%s: no model.safetensors and no model.safetensors.index.json", dir);
    } else {
        json_t *index = read_index(path, e), *map = json_object_get(index, "weight_map");
        if (json_is_object(map))
            rc = add_shards(f, dir, map, path, e);
        else if (index)
            err_set(e, "%s: no weight_map", path);
        json_decref(index);
    }
    if (rc == 0)
        return f;
    weights_close(f);
    return NULL;
}

struct weights_file *weights_open_file(const char *path, struct err *e)
{
    struct weights_file *f = weights_new();
    if (add_file(f, "", path, e) == 0)
        return f;
    weights_close(f);
    return NULL;
}

/* The names of tensors lie in the headers, so nothing that weights_find() gave may be used afterwards. */
void weights_close(struct weights_file *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_shards; i++) {
        munmap((void *)(uintptr_t)f->shards[i].map, f->shards[i].size);
        free(f->shards[i].name);
    }
    free(f->shards);
    free(f->all);
    json_decref(f->index);
    json_decref(f->headers);
    free(f);
}

const struct stored *weights_find(const struct weights_file *f, const char *name)
{
    json_t *at = json_object_get(f->index, name);
    return at ? &f->all[json_integer_value(at)] : NULL;
}

const struct stored *weights_all(const struct weights_file *f, int *n)
{
    *n = (int)f->n;
    return f->all;
}

const char *weights_file_name(const struct weights_file *f, const struct stored *t) { return f->shards[t->file].name; }

const char *weights_note(const struct weights_file *f, int file, const char *key)
{
    json_t *header = json_array_get(f->headers, (size_t)file);
    return json_string_value(json_object_get(json_object_get(header, "__metadata__"), key));
}

void weights_read_ahead(const struct weights_file *f)
{
    for (size_t i = 0; i < f->n_shards; i++)
        madvise((void *)(uintptr_t)f->shards[i].map, f->shards[i].size, MADV_WILLNEED);    /* advice: may fail */
}
