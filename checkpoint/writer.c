/* checkpoint/writer.c - see writer.h. */
#include "checkpoint/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sum.h"
#include "checkpoint/safetensors.h"

enum { PAGE = 4096, LONGEST_NOTE = 64 };

void writer_init(struct writer *w) { *w = (struct writer){ .index = json_object(), .fd = -1 }; }

bool writer_has(const struct writer *w, const char *name) { return json_object_get(w->index, name) != NULL; }

/* Announces a tensor; its data comes later. Its size follows from the dimensions, and writer_has() keeps names apart.
 * The strings are copied. */
int writer_add(struct writer *w, const char *name, const char *dtype, const int64_t *dims, int n_dims, int align,
               struct err *e)
{
    if (writer_has(w, name))
        return err_set(e, "tensor %.120s would be stored twice", name);
    if (w->n == WRITER_MAX_TENSORS || n_dims > WRITER_MAX_DIMS || grow(&w->all, &w->cap, w->n + 1, sizeof *w->all) != 0)
        return err_set(e, "tensor %.120s: too many tensors or dimensions", name);
    struct written *t = &w->all[w->n];
    *t = (struct written){ .name = xstrdup(name), .n_dims = n_dims, .align = align,
                           .bytes = weights_element_size(dtype) };
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    for (int i = 0; i < n_dims; i++) {
        t->dims[i] = dims[i];
        t->bytes *= (size_t)dims[i];
    }
    json_object_set_new(w->index, name, json_integer((json_int_t)w->n++));
    return 0;
}

/* The header as it will be, but for checksums and notes, whose room is always the same. */
static char *header_text(const struct writer *w, const json_t *notes, const json_t *about, const uint64_t *sums)
{
    json_t *root = json_object(), *meta = about ? json_deep_copy(about) : json_object();
    json_object_set_new(root, "__metadata__", meta);
    for (size_t i = 0; i < w->n; i++) {
        const struct written *t = &w->all[i];
        const char *note = json_string_value(json_object_get(notes, t->name));
        char text[LONGEST_NOTE + 24];
        json_t *shape = json_array();
        snprintf(text, sizeof text, "%.*s %016" PRIx64, LONGEST_NOTE, note ? note : "", sums ? sums[i] : 0);
        for (int d = 0; d < t->n_dims; d++)
            json_array_append_new(shape, json_integer(t->dims[d]));
        json_object_set_new(meta, t->name, json_string(text));
        json_object_set_new(root, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->dtype, "shape", shape, "data_offsets",
                                      (json_int_t)t->at, (json_int_t)(t->at + t->bytes)));
    }
    char *out = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return out;
}

/* The tensors of the largest alignment first. */
static void place(struct writer *w)
{
    w->data = 0;
    for (int align = PAGE; align >= 1; align /= 2)
        for (size_t i = 0; i < w->n; i++)
            if (w->all[i].align == align) {
                w->all[i].at = w->data;
                w->data += w->all[i].bytes;
            }
}

static int failed(const struct writer *w, const char *what, int why, struct err *e)
{
    return err_set(e, "%.400s: %s: %s", w->path, what, strerror(why));
}

/* Creates the file at its full length: the header as long as it can become, in whole pages, and behind it all tensors.
 * So a full disk is noticed now and not after an hour. A file that is there already is an error. */
int writer_begin(struct writer *w, const char *path, struct err *e)
{
    place(w);
    char *text = header_text(w, NULL, NULL, NULL);
    size_t longest = 8 + strlen(text) + w->n * LONGEST_NOTE + PAGE;
    free(text);
    w->header = (longest + PAGE - 1) / PAGE * PAGE;
    w->path = xstrdup(path);
    w->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (w->fd < 0)
        return failed(w, "cannot be created", errno, e);
    int why = posix_fallocate(w->fd, 0, (off_t)(w->header + w->data));
    return why ? failed(w, "there is no room for it", why, e) : 0;
}

/* Writes all of `data` at one place of the file, in parts of at most 64 MB, since one write may take at most 2 GB. An
 * interrupted write goes on. */
static int put_at(struct writer *w, size_t at, const void *data, size_t n, struct err *e)
{
    enum { MOST = 64 << 20 };
    for (const char *p = data; n > 0;) {
        ssize_t done = pwrite(w->fd, p, n < MOST ? n : MOST, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return failed(w, "cannot be written", done < 0 ? errno : EIO, e);
        p += done;
        at += (size_t)done;
        n -= (size_t)done;
    }
    return 0;
}

int writer_put(struct writer *w, const char *name, size_t from, const void *data, size_t n, struct err *e)
{
    json_t *at = json_object_get(w->index, name);
    const struct written *t = at ? &w->all[json_integer_value(at)] : NULL;
    if (!t || from > t->bytes || n > t->bytes - from)
        return err_set(e, "tensor %.120s: not the one that was announced", name);
    return put_at(w, w->header + t->at + from, data, n, e);
}

/* Of what is in the file, which shows that it can be read again. */
static int sum_all(const struct writer *w, uint64_t *sums, struct err *e)
{
    size_t size = w->header + w->data;
    const char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, w->fd, 0);
    if (map == MAP_FAILED)
        return failed(w, "cannot be mapped", errno, e);
    for (size_t i = 0; i < w->n; i++)
        sums[i] = sum_bytes(map + w->header + w->all[i].at, w->all[i].bytes);
    munmap((void *)(uintptr_t)map, size);
    return 0;
}

/* Writes the header last, into the room that was left at the beginning of the file: only now the sums of all tensors
 * are known. A file without its header cannot be opened, so an interrupted run leaves nothing that looks whole. The
 * text is padded with blanks, as safetensors allows. */
int writer_end(struct writer *w, const json_t *notes, const json_t *about, struct err *e)
{
    uint64_t *sums = xcalloc(w->n + 1, sizeof *sums), length = w->header - 8;
    int rc = sum_all(w, sums, e);
    if (rc == 0) {
        char *text = header_text(w, notes, about, sums), *padded = xmalloc(w->header);
        size_t n = strlen(text);
        memset(padded, ' ', w->header);
        memcpy(padded, &length, sizeof length);
        if (n > length)
            rc = err_set(e, "%.400s: the header is longer than was thought", w->path);
        else
            memcpy(padded + 8, text, n);
        if (rc == 0)
            rc = put_at(w, 0, padded, w->header, e);
        free(text);
        free(padded);
    }
    if (rc == 0 && fsync(w->fd) != 0)
        rc = failed(w, "cannot be written", errno, e);
    free(sums);
    return rc;
}

void writer_free(struct writer *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->all[i].name);
    if (w->fd >= 0)
        close(w->fd);
    free(w->all);
    free(w->path);
    json_decref(w->index);
    *w = (struct writer){ .fd = -1 };
}
