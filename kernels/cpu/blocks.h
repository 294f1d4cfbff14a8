/* kernels/cpu/blocks.h - memory for weights: block after block in regions of
 * huge pages.
 *
 * A matrix of some hundred kilobytes does not fill a huge page, and in small
 * pages the processor looks up where they lie far more often, on virtual
 * machines twice. Measured with int4 weights of 647 million parameters, of which
 * a third lay in the heap, one stream on two cores: 6 % more tokens a second.
 *
 * A region goes when its last block does, but for the newest: whoever packs one
 * weight after the other and keeps none finds its memory again. Costs no memory
 * beside the rest of each region's last huge page. For one thread at a time. */
#ifndef KERNELS_CPU_BLOCKS_H
#define KERNELS_CPU_BLOCKS_H
#include <stddef.h>

struct region;

struct blocks { struct region *newest; };         /* all zeros: none yet */

void *blocks_alloc(struct blocks *b, size_t n);   /* 64-byte aligned; NULL: there is no memory */
void  blocks_free(struct blocks *b, void *p);     /* NULL is fine */
void  blocks_close(struct blocks *b);             /* frees all that is left */

#endif
