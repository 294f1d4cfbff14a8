/* kernels/cuda/grouping.cuh - rows that belong to experts: which expert a block's
 * tile is of. How many rows each has is known on the device alone, so a launch
 * has as many blocks as there could be tiles, and those that find none are done
 * at once. */
#ifndef KERNELS_CUDA_GROUPING_CUH
#define KERNELS_CUDA_GROUPING_CUH
#include "kernels/cuda/common.cuh"

struct grouping {
    const int *first;          /* (n + 1) rows of expert e: first[e] .. first[e + 1] - 1 */
    const void *const *data;   /* (n) their weights                                      */
    int n;
};

/* Tiles of m rows that `rows` rows can need: one for each expert that has any, and one more for every m others. */
static inline unsigned most_tiles(const struct grouping *g, int rows, int m)
{
    int used = rows < g->n ? rows : g->n;
    return (unsigned)(used + (rows - used) / m);
}

/* Rows that a product has in the mean, by which the shape of its tiles is chosen; all shapes give the same bits. */
static inline int rows_of_each(const struct grouping *g, int rows) { return g ? (rows + g->n - 1) / g->n : rows; }

/* The expert of tile number `tile`, if each has its rows in tiles of m, and that tile's first row among the expert's
 * own. -1: there are not so many tiles. All lanes of a warp come here: 32 experts at a time, they count the tiles. */
static __device__ __forceinline__ int find_expert(const struct grouping &g, int m, int tile, int *from)
{
    int lane = (int)threadIdx.x % 32;
    for (int e0 = 0; e0 < g.n; e0 += 32) {
        int e = e0 + lane, own = e < g.n ? (g.first[e + 1] - g.first[e] + m - 1) / m : 0, upto = own;
        for (int apart = 1; apart < 32; apart *= 2) {
            int before = __shfl_up_sync(~0u, upto, (unsigned)apart);
            upto += lane >= apart ? before : 0;
        }
        unsigned beyond = __ballot_sync(~0u, upto > tile);
        if (beyond) {
            int at = __popc((beyond & (~beyond + 1)) - 1);       /* the lowest lane */
            *from = (tile - __shfl_sync(~0u, upto - own, at)) * m;
            return e0 + at;
        }
        tile -= __shfl_sync(~0u, upto, 31);
    }
    return -1;
}

#endif
