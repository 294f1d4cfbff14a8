/* tests/bench/probes.h - what this machine reaches in the plainest loops there
 * are: the peaks that a kernel's speed is a share of.
 *
 * A probe of arithmetic repeats one instruction on registers, in as many
 * independent chains as hide its latency, and touches no memory. The probe of
 * memory reads a block that is larger than any cache, once, from end to end.
 * All run on the threads of the device that the kernels run on. One file, by
 * the compiler's target attribute: a probe is a dozen lines. */
#ifndef TESTS_BENCH_PROBES_H
#define TESTS_BENCH_PROBES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "kernels/cpu/cpu.h"

enum probe_kind { FMA_256, FMA_512, INT8_AVX2, INT8_256, INT8_512, BF16_512, BF16_TILES, INT8_TILES, N_PROBES };

enum { PROBE_ROUNDS = 1 << 16, CHAINS = 12 };

struct probe {
    const char *name;                  /* of the JSON's key                                      */
    const char *what;                  /* for the table                                          */
    double      operations;            /* of one body: a multiplication and an addition are two  */
    void      (*body)(void *sink, int index, int worker);
    bool      (*works)(void);
};

#if defined(__x86_64__)

/* A loop over CHAINS sums of vectors; `next` is what becomes of sum s. All loops over them are unrolled, or they would
 * lie in memory. */
#define PROBE(name, isa, vector, zero, next, store)                        \
    __attribute__((target(isa))) static void name(void *sink, int index, int worker) \
    {                                                                     \
        vector s[CHAINS], a = zero, b = zero;                             \
        (void)worker;                                                     \
        __asm__ volatile("" : "+x"(a), "+x"(b));                          \
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)         \
            s[i] = a;                                                     \
        for (int r = 0; r < PROBE_ROUNDS; r++) {                          \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) {   \
                s[i] = next;                                              \
                __asm__ volatile("" : "+x"(s[i]));                        \
            }                                                             \
        }                                                                 \
        _Pragma("GCC unroll 12") for (int i = 1; i < CHAINS; i++)         \
            s[0] = store(s[0], s[i]);                                     \
        *(vector *)((char *)sink + 64 * (index % 64)) = s[0];             \
    }

PROBE(fma_256, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_fmadd_ps(s[i], a, b), _mm256_add_ps)
PROBE(int8_avx2, "avx2", __m256i, _mm256_setzero_si256(),
      _mm256_add_epi32(s[i], _mm256_madd_epi16(_mm256_maddubs_epi16(s[i], a), b)), _mm256_add_epi32)
PROBE(int8_256, "avx2,avxvnni", __m256i, _mm256_setzero_si256(), _mm256_dpbusd_avx_epi32(s[i], a, b), _mm256_add_epi32)

#define AVX512 "avx512f,avx512bw,avx512vl,avx512dq"
/* "x" stands for the registers 0 .. 15 alone, which are enough. */
PROBE(fma_512, AVX512, __m512, _mm512_setzero_ps(), _mm512_fmadd_ps(s[i], a, b), _mm512_add_ps)
PROBE(int8_512, AVX512 ",avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_dpbusd_epi32(s[i], a, b),
      _mm512_add_epi32)
PROBE(bf16_512, AVX512 ",avx512bf16", __m512, _mm512_setzero_ps(),
      _mm512_dpbf16_ps(s[i], (__m512bh)a, (__m512bh)b), _mm512_add_ps)

/* Tiles: four sums, two tiles of x and two of W, as the kernels have them. */
__attribute__((target("amx-tile"))) static void probe_tiles(void)
{
    struct { uint8_t palette, start_row, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } config = { .palette = 1 };
    for (int i = 0; i < 8; i++) {
        config.bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
    __asm__ volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3\n\t"
                     "tilezero %tmm4\n\ttilezero %tmm5\n\ttilezero %tmm6\n\ttilezero %tmm7");
}

#define TILE_PROBE(name, instruction)                                     \
    static void name(void *sink, int index, int worker)                   \
    {                                                                     \
        (void)sink, (void)index, (void)worker;                            \
        probe_tiles();                                                    \
        for (int r = 0; r < PROBE_ROUNDS / 4; r++)                        \
            __asm__ volatile(instruction " %tmm6, %tmm4, %tmm0\n\t" instruction " %tmm7, %tmm4, %tmm1\n\t" \
                             instruction " %tmm6, %tmm5, %tmm2\n\t" instruction " %tmm7, %tmm5, %tmm3"); \
        __asm__ volatile("tilerelease");                                  \
    }
TILE_PROBE(bf16_tiles, "tdpbf16ps")
TILE_PROBE(int8_tiles, "tdpbssd")

static bool has_bf16_512(void)
{
    unsigned a, b, c, d;
    return kernels_avx512vnni.works() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1 << 5);
}

static bool works_avx2(void) { return kernels_avx2.works(); }
static bool works_avxvnni(void) { return kernels_avxvnni.works(); }
static bool works_avx512(void) { return kernels_avx512.works(); }
static bool works_avx512vnni(void) { return kernels_avx512vnni.works(); }
static bool works_amx(void) { return kernels_amx.works(); }

#define VECTORS_OF(lanes, products) ((double)PROBE_ROUNDS * CHAINS * (lanes) * (products) * 2)
#define TILES_OF(products) ((double)PROBE_ROUNDS * 16 * 16 * 16 * (products) * 2)
static const struct probe probes[N_PROBES] = {
    [FMA_256] = { "fma_256", "256-bit fma, floats", VECTORS_OF(8, 1), fma_256, works_avx2 },
    [FMA_512] = { "fma_512", "512-bit fma, floats", VECTORS_OF(16, 1), fma_512, works_avx512 },
    [INT8_AVX2] = { "int8_avx2", "256-bit vpmaddubsw, vpmaddwd, vpaddd", VECTORS_OF(8, 4), int8_avx2, works_avx2 },
    [INT8_256] = { "int8_256", "256-bit vpdpbusd", VECTORS_OF(8, 4), int8_256, works_avxvnni },
    [INT8_512] = { "int8_512", "512-bit vpdpbusd", VECTORS_OF(16, 4), int8_512, works_avx512vnni },
    [BF16_512] = { "bf16_512", "512-bit vdpbf16ps", VECTORS_OF(16, 2), bf16_512, has_bf16_512 },
    [BF16_TILES] = { "bf16_tiles", "tiles of bfloat16", TILES_OF(2), bf16_tiles, works_amx },
    [INT8_TILES] = { "int8_tiles", "tiles of int8", TILES_OF(4), int8_tiles, works_amx },
};

#else

static void no_body(void *sink, int index, int worker) { (void)sink, (void)index, (void)worker; }
static bool works_never(void) { return false; }
static const struct probe probes[N_PROBES] = { { "none", "no probe for this processor", 0, no_body, works_never },
                                               { "none", "", 0, no_body, works_never }, };

#endif

/* ---- memory ---- */

enum { READ_PARTS = 256 };

struct reading { const char *from; size_t bytes; float *sink; };

/* Part `index` of READ_PARTS, as two streams that are fetched ahead of their reading: without that, reading was a fifth
 * slower than the kernels that do so. */
#if defined(__x86_64__)
__attribute__((target("avx2")))
#endif
static void read_part(void *arg, int index, int worker)
{
    typedef int32_t wide __attribute__((vector_size(32)));
    enum { FETCH_AHEAD = 2048, LINE = 64 };
    const struct reading *r = arg;
    size_t half = r->bytes / READ_PARTS / 2;
    const char *p = r->from + (size_t)index * 2 * half;
    wide s[4] = { { 0 } };
    (void)worker;
    for (size_t at = 0; at < half; at += LINE)
#pragma GCC unroll 2
        for (int stream = 0; stream < 2; stream++) {
            const wide *from = (const wide *)(p + (size_t)stream * half + at);
            __builtin_prefetch((const char *)from + FETCH_AHEAD);
            s[2 * stream] += from[0];
            s[2 * stream + 1] += from[1];
        }
    r->sink[index % 64] = (float)(s[0] + s[1] + s[2] + s[3])[0];
}

#endif
