/* model/store.h - writes a checkpoint's weights as they will lie in memory, so
 * that the file can be mapped and used as it is.
 *
 * The family's own load() is run twice: once dry, to learn which weights there
 * are and how large they become, and once with the CPU, which lays each weight
 * out; it is written and given back at once. What is read as numbers while
 * loading (norms, biases, convolutions) is copied as it is in the checkpoint.
 * So what is stored has exactly the bits that loading the checkpoint as
 * `weights` would make. docs/quantisation.md describes the file. */
#ifndef MODEL_STORE_H
#define MODEL_STORE_H
#include <signal.h>

#include "model/model.h"

struct store_options {
    enum dtype weights;                   /* BF16, Q8, F8 or Q4                            */
    int        threads;                   /* 0: one per core                               */
    const volatile sig_atomic_t *stop;    /* not 0: give up soon; NULL: nobody asks for it */
    void     (*progress)(void *arg, size_t done, size_t all);
    void      *progress_arg;
};

/* Writes the weights of the checkpoint in `dir` to the new file `path`. After an error the file may be there in part.
 * *bytes: how large it became. */
int model_store(const char *dir, const char *path, const struct store_options *opt, size_t *bytes, struct err *e);

#endif
