/* model/loaded.h - what load.c and pack.c share: the memory of a model that is
 * being loaded, and the fetching of one tensor. Families use load.h. */
#ifndef MODEL_LOADED_H
#define MODEL_LOADED_H
#include "checkpoint/safetensors.h"
#include "model/load.h"

struct memory_list { void **at; size_t n, cap; };

struct loaded {
    struct weight *weights;          /* owned (n_weights): for release()                 */
    size_t n_weights, cap_weights;
    struct memory_list tables;       /* device memory                                    */
    struct memory_list kept;         /* host memory that the backend may go on reading   */
    struct memory_list scratch;      /* host memory until load_end()                     */
    bool   convert;
    enum dtype want;
};

/* Remembers p until the list is freed, and returns it. */
void *load_remember(struct memory_list *l, void *p);

/* The whole name of a tensor, below the prefix of load_at() unless it begins with '/'. */
void load_full_name(const struct loader *l, char out[256], const char *name, const char *suffix);
void load_shape_text(char out[96], const int64_t *dims, int n);      /* "2, 3", for errors */

/* These take full names. After an error, which the loader keeps, they return NULL. */
const struct stored *load_fetch(struct loader *l, const int *shape, int n_dims, const char *full, enum dtype *type);
float *load_floats_of(struct loader *l, const int *shape, int n_dims, const char *full);
/* The tensor counts as read. */
void load_mark(struct loader *l, const struct stored *t);

#endif
