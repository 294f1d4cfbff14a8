/* Linear with many rows through cuBLASLt: on the emulator's, which checks what it is given, or (OPENAUTOGLM_TEST_GPU)
 * the real one. Against ref, with every epilogue; and what does not suit it stays with the own kernels. */
#include <dlfcn.h>

#include "kernels/plugin.h"
#include "tests/kernels/common.h"

static const char *device = "cusim-checked";
static const struct backend *cuda;
static int (*blas_calls)(void);      /* NULL: not counted */

struct shape { int m, n, k; enum act act; bool bias, glu, mul, add, alias, used; };

static const struct shape shapes[] = {
    { 256, 16, 24, ACT_NONE, false, false, false, false, false, true },
    { 301, 12, 40, ACT_NONE, true, false, false, true, false, true },      /* bias and residual in the epilogues */
    { 256, 12, 40, ACT_NONE, true, false, false, true, true, true },       /* in place */
    { 270, 20, 32, ACT_RELU, true, false, false, false, false, true },
    { 270, 20, 32, ACT_GELU_TANH, true, false, false, false, false, true },
    { 257, 12, 16, ACT_GELU_TANH, false, false, false, false, false, true },
    /* gate and up: by own kernels from the buffer */
    { 290, 14, 48, ACT_SILU, true, true, false, false, false, true },
    { 256, 9, 8, ACT_GELU, true, false, true, true, false, true },         /* rows of the output that are not aligned */
    { 255, 16, 24, ACT_NONE, false, false, false, false, false, false },   /* too few rows */
    /* columns that are no multiple of 16 bytes */
    { 300, 16, 23, ACT_NONE, false, false, false, false, false, false },
};

static float *multiply(struct run *r, const struct shape *c)
{
    int out = c->glu ? 2 * c->n : c->n, stride = (c->n + 3) / 4 * 4;
    struct weight w = weight_of(r, LAYOUT_LINEAR, c->k, &out, 1, F32, BF16, c->bias, 7);
    struct tensor x = matrix(r, noise(r, (size_t)c->m * (size_t)c->k, 3, 1), c->m, c->k, c->k + 4);
    struct tensor add = matrix(r, noise(r, (size_t)c->m * (size_t)c->n, 4, 1), c->m, c->n, stride + 4);
    struct tensor y = c->alias ? add : matrix(r, NULL, c->m, c->n, stride);
    struct epilogue e = { .act = c->act, .glu = c->glu };
    if (c->mul)
        e.mul = matrix(r, noise(r, (size_t)c->n, 5, 1), 1, c->n, c->n);
    if (c->add)
        e.add = add;
    r->ops->linear(r->dev, y, x, &w, &e);
    return matrix_get(r, y);
}

START_TEST(products)
{
    const struct shape *c = &shapes[_i];
    struct run *ref = run_open(&backend_ref, 1);
    char what[100];
    for (int varies = 0; varies < 2; varies++) {
        struct run *got = run_open_with(cuda, &(struct device_options){ .varies = varies });
        int before = blas_calls ? blas_calls() : 0;
        snprintf(what, sizeof what, "%d x %d x %d, act %d%s", c->m, c->n, c->k, c->act, varies ? ", cuBLASLt" : "");
        near(what, multiply(got, c), multiply(ref, c), (size_t)c->m * (size_t)c->n, 1e-4f, 1e-4f);
        if (blas_calls)
            ck_assert_int_eq(blas_calls() - before, varies && c->used ? 2 : 0);
        run_close(got);
    }
    run_close(ref);
}
END_TEST

/* NULL, or why it cannot be used here. */
static const char *cannot(void)
{
    static struct err e;
    struct device *dev;
    if (cuda->open(&dev, &(struct device_options){ .varies = true }, &e) != 0)
        return e.text;
    cuda->close(dev);
    return NULL;
}

int main(void)
{
    struct err e;
    if (getenv("OPENAUTOGLM_TEST_GPU"))
        device = "cuda";
    cuda = plugin_built(device) ? plugin_load(device, &e) : NULL;
    if (!cuda) {
        printf("skip: the library for %s was not built\n100%%: Checks: 0, Failures: 0, Errors: 0\n", device);
        return 0;
    }
    const char *why = cannot();
    if (why) {
        printf("skip: %s\n100%%: Checks: 0, Failures: 0, Errors: 0\n", why);
        return 0;
    }
    void *lib = strcmp(device, "cuda") ? dlopen("build/libopenautoglm_cusim_checked.so", RTLD_NOW | RTLD_LOCAL) : NULL;
    if (lib)
        *(void **)&blas_calls = dlsym(lib, "cusim_blas_calls");
    Suite *s = suite_create("blas");
    TCase *t = tcase_create("blas");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, products, 0, sizeof shapes / sizeof *shapes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    if (!blas_calls)
        srunner_set_fork_status(r, CK_NOFORK);           /* a process that has used CUDA must not fork */
    srunner_run_all(r, getenv("VERBOSE") ? CK_VERBOSE : CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
