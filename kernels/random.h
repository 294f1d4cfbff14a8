/* kernels/random.h - the random number of a request's token, the same on every
 * backend: the output of splitmix64 (Steele, Lea & Flood, 2014) number `step`
 * of a stream that starts at the scrambled seed. 53 bits in 0 <= u < 1. */
#ifndef KERNELS_RANDOM_H
#define KERNELS_RANDOM_H
#include <stdint.h>

#ifdef __CUDACC__
#define RANDOM static __host__ __device__ inline
#else
#define RANDOM static inline
#endif

RANDOM uint64_t random_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

RANDOM double random_unit(uint64_t seed, uint64_t step)
{
    return (double)(random_mix(random_mix(seed + 0x9e3779b97f4a7c15u) +
                               (step + 1) * 0x9e3779b97f4a7c15u) >> 11) * 0x1p-53;
}

#undef RANDOM
#endif
