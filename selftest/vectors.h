/* selftest/vectors.h - golden cases of models that lead texts and pictures into one space: a vectors.safetensors holds
 * ids.N and text.N, image.N and vector.N (python/vectors.py). */
#ifndef SELFTEST_VECTORS_H
#define SELFTEST_VECTORS_H
#include "selftest/golden.h"

/* The file in `dir` against the model that it belongs to: a line per stage, or one that says why it cannot be used. */
void golden_vectors(struct report *r, const struct model *m, const char *dir);

#endif
