/* checkpoint/writer.h - writes one safetensors file whose tensors are known
 * before their data.
 *
 *     writer_init(&w);
 *     writer_add(&w, "x.weight", "U8", dims, 3, 64);          // all tensors, with what they are aligned to
 *     writer_begin(&w, path, &e);                             // takes the room on the disk
 *     writer_put(&w, "x.weight", 0, data, n, &e);             // in any order
 *     writer_end(&w, metadata, &e);                           // checksums, header, on the disk
 *     writer_free(&w);
 *
 * The format allows no bytes between tensors, so those that are to be aligned
 * come first, and each must be as long as a multiple of its alignment. The
 * metadata gets the checksum of every tensor, see prepared.h. */
#ifndef CHECKPOINT_WRITER_H
#define CHECKPOINT_WRITER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"

enum { WRITER_MAX_DIMS = 8, WRITER_MAX_TENSORS = 1 << 20 };

struct written {               /* one tensor */
    char   *name;              /* owned */
    char    dtype[12];
    int     n_dims, align;     /* align: bytes, a power of two */
    int64_t dims[WRITER_MAX_DIMS];
    size_t  at, bytes;         /* from the end of the header on */
};

struct writer {
    struct written *all;       /* owned (n) */
    size_t  n, cap;
    json_t *index;             /* owned: name -> place in `all` */
    char   *path;              /* owned */
    int     fd;                /* -1: not open */
    size_t  header, data;      /* bytes of the header with its length, and of all tensors */
};

void writer_init(struct writer *w);
bool writer_has(const struct writer *w, const char *name);
/* -1: the name is taken, or there are too many. */
int  writer_add(struct writer *w, const char *name, const char *dtype, const int64_t *dims, int n_dims, int align,
                struct err *e);
/* Creates the file, which must not be there. */
int  writer_begin(struct writer *w, const char *path, struct err *e);
/* Bytes from .. from + n of a tensor. */
int  writer_put(struct writer *w, const char *name, size_t from, const void *data, size_t n, struct err *e);
/* notes: name of a tensor -> string, what is to be said of it in front of its checksum. about: entries of their own. */
int  writer_end(struct writer *w, const json_t *notes, const json_t *about, struct err *e);
void writer_free(struct writer *w);

#endif
