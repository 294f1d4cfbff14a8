/* Every family's golden cases on the emulated CUDA backend, at the limit of the CPU; and its caches of narrower numbers
 * against ref with the same cache. With CUSIM_ALL set, also the shipped model's and in more chunks: three minutes. With
 * OPENAUTOGLM_TEST_GPU set, all of it on the GPU. */
#include <stdbool.h>

static const char *backends[] = { "cusim", 0 };
static bool thorough;

#include "tests/model/families.c"
#include "tests/model/native.c"
#include "tests/model/vectors.c"
#include "tests/suite.h"

/* What the cache rounds is the same on both, but for numbers near the middle of two that it can hold. (llama/yarn is no
 * such case: one number that is rounded the other way moves its logits by 0.06, also between cpu and ref.) */
static const float CACHE_LIMIT = 2e-2f;

static const struct { const char *dir; enum dtype kv; } caches[] = {
    { "tests/model/glm4v/grouped", BF16 }, { "tests/model/qwen3/grouped", BF16 },
    { "tests/model/qwen2_5_vl/windows", F16 },
    { "tests/model/open_autoglm/tiny-wide", BF16 }, { "tests/model/open_autoglm/tiny-mean", F16 },
    { "tests/model/glm4v/grouped", Q8 }, { "tests/model/open_autoglm/tiny-wide", Q8 },
    { "tests/model/qwen3/grouped", F8 }, { "tests/model/open_autoglm/tiny-wide", F8 },
};

/* free() it. */
static float *cache_logits(const char *backend, const char *dir, enum dtype kv, size_t *count)
{
    struct rig g;
    struct golden want;
    const struct stored *im;
    int n;
    rig_open(&g, backend, dir, FAMILY_ROWS, kv);
    golden_open(&want, dir);
    for (int i = 0; (im = golden_find(&want, "image.%d", i)); i++)
        rig_image(&g, im->data, (int)im->dims[1], (int)im->dims[0]);
    int32_t *ids = golden_ints(&want, "ids", 0, &n);
    *count = (size_t)n * (size_t)g.m->vocab;
    float *logits = malloc(*count * sizeof *logits);
    rig_prompt(&g, ids, n, 9, logits);
    free(ids);
    weights_close(want.file);
    rig_close(&g);
    return logits;
}

START_TEST(test_caches)
{
    size_t n, m;
    float *want = cache_logits("ref", caches[_i].dir, caches[_i].kv, &n),
        *have = cache_logits(backends[0], caches[_i].dir, caches[_i].kv, &m);
    ck_assert_uint_eq(n, m);
    float d = golden_compare("logits", have, want, n, CACHE_LIMIT);
    printf("%s with a cache of %s: within %.1e of ref's\n", caches[_i].dir, dtype_name(caches[_i].kv), (double)d);
    free(want);
    free(have);
}
END_TEST

int main(void)
{
    struct err e;
    thorough = getenv("CUSIM_ALL") || getenv("OPENAUTOGLM_TEST_GPU");
    backends[0] = getenv("OPENAUTOGLM_TEST_GPU") ? "cuda" : "cusim";
    if (!backend_find(backends[0], &e)) {
        printf("skip: %s\n100%%: Checks: 0, Failures: 0, Errors: 0\n", e.text);
        return 0;
    }
    Suite *s = suite_create("cusim golden");
    TCase *t = tcase_create("native");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, test_native);
    tcase_add_loop_test(t, test_caches, 0, sizeof caches / sizeof *caches);
    suite_add_tcase(s, t);
    family_tests(s);
    vector_tests(s);
    return suite_run(s);
}
