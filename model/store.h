/* model/store.h - writes a checkpoint's weights as they will lie in memory, so
 * that the file can be mapped and used as it is.
 *
 * The family's own load() is run twice: once dry, to learn which weights there
 * are and how large they become, and once with the CPU, which lays each weight
 * out; it is written and given back at once. What is read as numbers while
 * loading (norms, biases, convolutions) is copied as it is in the checkpoint.
 * So what is stored has exactly the bits that loading the checkpoint as
 * `weights` would make. docs/quantisation.md describes the file.
 *
 * With a sample of inputs, the matrices are made for these instead
 * (model/calibrate.h). Then the model runs over the sample once, and each
 * matrix is made, and written, when the pass comes to it: what it is multiplied
 * with already has the errors of those before. At any time there are in memory
 * what was made, the sample's rows, and what one matrix needs. */
#ifndef MODEL_STORE_H
#define MODEL_STORE_H
#include <signal.h>

#include "model/model.h"

struct store_sample {
    /* Runs the model over the sample. Inputs count from *counts = true on; before that, weights are made as without a
     * sample. Everything that counts comes in one pass. -1: an error. */
    int      (*run)(void *arg, struct model *m, bool *counts, struct err *e);
    void      *arg;
    void     (*progress)(void *arg, size_t done, size_t all);      /* bytes; NULL: nobody waits */
    void      *progress_arg;
};

struct store_options {
    enum dtype weights;                   /* BF16, Q8, F8 or Q4                            */
    int        threads;                   /* 0: one per core                               */
    const volatile sig_atomic_t *stop;    /* not 0: give up soon; NULL: nobody asks for it */
    void     (*progress)(void *arg, size_t done, size_t all);
    void      *progress_arg;
    const struct store_sample *sample;    /* for weights Q4 or Q8; NULL: none              */
};

/* Writes the weights of the checkpoint in `dir` to the new file `path`. After an error the file may be there in part.
 * *bytes: how large it became. */
int model_store(const char *dir, const char *path, const struct store_options *opt, size_t *bytes, struct err *e);

#endif
