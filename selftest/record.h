/* selftest/record.h - what a reference computed: the arrays of a golden.safetensors
 * file (python/golden.py). Opened with weights_open_file().
 *
 *     int n;
 *     int32_t *ids = record_ints(f, "ids", 0, &n, &e);                    // free()
 *     const float *want = record_floats(f, "image_tokens.%d", i, n, &e);  // in the file
 *     float d = record_worst(have, want, n, &at);
 *
 * A name may hold one %d, which becomes i. */
#ifndef SELFTEST_RECORD_H
#define SELFTEST_RECORD_H
#include "base/err.h"
#include "checkpoint/safetensors.h"

/* The array of that name, whatever it holds; NULL: there is none. */
const struct stored *record_find(const struct weights_file *f, const char *name, int i);
/* I32 or I64 as int32_t; NULL: not there, or of another type. */
int32_t     *record_ints(const struct weights_file *f, const char *name, int i, int *n, struct err *e);
/* Exactly n values of F32; NULL: not there, or something else. */
const float *record_floats(const struct weights_file *f, const char *name, int i, size_t n, struct err *e);
/* The largest difference and where it is; infinite where one of the two is no number. */
float        record_worst(const float *have, const float *want, size_t n, size_t *at);
/* Of the angle between two vectors; no number where one of them has no length. */
double       record_cosine(const float *a, const float *b, size_t n);

/* How a backend continues where the reference continued with greedy[0 .. n). */
struct continuation { int same, close, wrong, first; };    /* first: the first wrong one, -1: none */
/* rows (n, vocab): the backend's logits from which token i is chosen, after the reference's tokens before it. A token
 * may be another one (close) where the reference preferred its own by at most 2 * limit, since each of two logits may
 * be off by `limit`. margins (n): by how much it did; NULL, not recorded: by how much the backend prefers its own. */
struct continuation record_continuation(const float *rows, int vocab, const int32_t *greedy, int n,
                                        const float *margins, float limit);

#endif
