/* checkpoint/prepared.h - what a checkpoint that `openautoglm quantize` has
 * written says of itself and of its tensors, in the metadata of its file
 * (docs/quantisation.md):
 *
 *   "openautoglm.prepared": "2"      the version
 *   "openautoglm.weights": "int4"    what was asked for
 *   NAME: "TYPE FORM SUM"            of every tensor: "int8 panels 0123456789abcdef" */
#ifndef CHECKPOINT_PREPARED_H
#define CHECKPOINT_PREPARED_H
#include "checkpoint/safetensors.h"

#define PREPARED_VERSION "openautoglm.prepared"
#define PREPARED_WEIGHTS "openautoglm.weights"

struct prepared_note {
    char     type[16], form[16];   /* as they are spelled there */
    uint64_t sum;
};

/* What its weights were asked to be; NULL: it is no such checkpoint. */
const char *prepared_weights(const struct weights_file *f);
/* 0: a checkpoint of this version, or one as others make it. */
int prepared_check(const struct weights_file *f, int version, struct err *e);
/* -1: there is no such note, or it makes no sense. */
int prepared_note(const struct weights_file *f, const struct stored *t, struct prepared_note *out, struct err *e);
/* Reads all tensors, on so many threads. -1: the bytes of one are not those that were written. */
int prepared_verify(const struct weights_file *f, int threads, struct err *e);

#endif
