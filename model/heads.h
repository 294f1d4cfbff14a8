/* model/heads.h - the largest head that the kernels of all backends attend with. A configuration that asks for more is
 * refused before a kernel sees it. */
#ifndef MODEL_HEADS_H
#define MODEL_HEADS_H
#include "checkpoint/hparams.h"

enum { HEAD_MAX_DIM = 512 };

/* Notes an error at `name`, which says how many heads there are. */
static inline void heads_check(struct hparams *h, const char *name, int dim)
{
    if (dim > HEAD_MAX_DIM)
        hparams_fail(h, name, "heads of %d numbers are more than the %d that are supported", dim, HEAD_MAX_DIM);
}

#endif
