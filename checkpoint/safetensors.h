/* checkpoint/safetensors.h - the tensors of a checkpoint, mapped into memory.
 *
 *     struct weights_file *f = weights_open(dir, &e);
 *     const struct stored *t = weights_find(f, "model.norm.weight");   // NULL: not there
 *     weights_close(f);
 *
 * `dir` holds model.safetensors, or model.safetensors.index.json and the
 * shards it names. Nothing a file says is believed: header length, JSON,
 * dtypes, shapes, sizes and offsets are checked against the file's real size,
 * every byte belongs to one tensor, a name may occur once. Opening reads headers only;
 * the data stays in the page cache and is never copied here. */
#ifndef CHECKPOINT_SAFETENSORS_H
#define CHECKPOINT_SAFETENSORS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { STORED_MAX_DIMS = 8 };

struct stored {                      /* one tensor as it lies in its file      */
    const char *name;                /* owned by the weights_file              */
    char        dtype[12];           /* as spelled in the header: "BF16"       */
    int         n_dims;
    int64_t     dims[STORED_MAX_DIMS];
    const void *data;                /* mapped; may be unaligned               */
    size_t      bytes;
    int         file;                /* index of its shard                     */
};

struct weights_file;

struct weights_file *weights_open(const char *dir, struct err *e);
/* One file whatever its name: test fixtures. */
struct weights_file *weights_open_file(const char *path, struct err *e);
void                 weights_close(struct weights_file *f);
const struct stored *weights_find(const struct weights_file *f, const char *name);
/* All tensors, for loops over 0 .. *n - 1. */
const struct stored *weights_all(const struct weights_file *f, int *n);
/* What a file with other weights is, by its first n bytes ("a GGUF file"); NULL: nothing that we know. */
const char          *weights_kind(const void *start, size_t n);
/* An entry of the metadata of file `file`, NULL: there is none. */
const char          *weights_note(const struct weights_file *f, int file, const char *key);
/* Bytes of one element; 0: a type that we do not know. */
size_t               weights_element_size(const char *dtype);
/* Tells the system that a file will be read as a whole, soon. */
void                 weights_read_ahead(const struct weights_file *f);
/* The file that holds a tensor, without its folder; for messages. */
const char          *weights_file_name(const struct weights_file *f, const struct stored *t);

#endif
