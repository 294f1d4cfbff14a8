/* tests/kernels/variants.h - every way in which backend `cpu` can run. */
#ifndef TESTS_KERNELS_VARIANTS_H
#define TESTS_KERNELS_VARIANTS_H
#include "kernels/cpu/cpu.h"
#include "tests/kernels/common.h"

struct variant { const struct kernels *kernels; int threads; };

extern const struct kernels kernels_wide, kernels_tiles, kernels_narrow;

static const struct variant variants[] = {
    { &kernels_generic, 2 }, { &kernels_avx2, 1 }, { &kernels_avx2, 2 }, { &kernels_avx2, 3 }, { &kernels_avxvnni, 2 },
    { &kernels_avx512, 2 },
    { &kernels_avx512vnni, 2 }, { &kernels_amx, 2 },
    { &kernels_neon, 2 }, { &kernels_neondot, 2 },
    { &kernels_wide, 3 }, { &kernels_tiles, 2 }, { &kernels_narrow, 2 },
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

/* NULL after saying so: this processor cannot. */
static inline struct run *variant_open(int i, enum activations activations)
{
    if (!variants[i].kernels->works()) {
        printf("skip: this processor does not have %s\n", variants[i].kernels->name);
        return NULL;
    }
    struct run *r = run_open_with(&backend_cpu, &(struct device_options){ .threads = variants[i].threads,
                                                                          .activations = activations });
    cpu_use_kernels(r->dev, variants[i].kernels);
    return r;
}

/* Runs `body` with a reference and a variant. */
static inline void on_variant_with(int i, enum activations activations, void (*body)(struct run *ref, struct run *got))
{
    struct run *got = variant_open(i, activations);
    if (!got)
        return;
    struct run *ref = run_open(&backend_ref, 1);
    body(ref, got);
    run_close(ref);
    run_close(got);
}

static inline void on_variant(int i, void (*body)(struct run *ref, struct run *got))
{
    on_variant_with(i, ACTIVATIONS_AUTO, body);
}

#endif
