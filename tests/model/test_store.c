/* tests/model/test_store.c - checkpoints whose weights were prepared: the same
 * bits as when they are quantised while loading, used where they lie in the
 * file; whatever happens to the file, an error that names it or the tensor;
 * and with a sample, int4 that loses less. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/safetensors.h"
#include "kernels/random.h"
#include "model/store.h"
#include "selftest/together.h"
#include "tests/model/golden.c"
#include "tests/model/rig.c"
#include "tests/slow.h"
#include "tests/suite.h"

enum { MAX_ROWS = 512 };

static char dir[] = "/tmp/openautoglm-test-XXXXXX";

static const struct { const char *golden, *checkpoint; } cases[] = {
    { "tests/model/open_autoglm/screen", "models/open-autoglm-v1" },       /* wide enough for panels */
    { "tests/model/open_autoglm/tiny-wide", "tests/model/open_autoglm/tiny-wide" },
    { "tests/model/glm4v/grouped", "tests/model/glm4v/grouped" },
    { "tests/model/qwen2_vl/tied", "tests/model/qwen2_vl/tied" },
    { "tests/model/qwen2_5_vl/windows", "tests/model/qwen2_5_vl/windows" },
    { "tests/model/qwen3_vl/deepstack", "tests/model/qwen3_vl/deepstack" },
    { "tests/model/glm4/grouped", "tests/model/glm4/grouped" },
    { "tests/model/llama/yarn", "tests/model/llama/yarn" },
    { "tests/model/qwen2/grouped", "tests/model/qwen2/grouped" },
    { "tests/model/qwen3/bias", "tests/model/qwen3/bias" },
    { "tests/model/glm4_moe/groups", "tests/model/glm4_moe/groups" },
    { "tests/model/qwen3_vl_moe/deepstack", "tests/model/qwen3_vl_moe/deepstack" },    /* experts in one tensor */
};
enum { N_CASES = sizeof cases / sizeof *cases, N_SAMPLED = N_CASES - 2 };     /* experts are made without a sample */

static const enum dtype types[] = { BF16, Q8, Q4, F8 };
enum { N_TYPES = sizeof types / sizeof *types };

static char *path_of(const char *file)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return path;
}

/* The checkpoint's weights as `type` in the test's folder, beside links to its other files. */
static void prepare_with(const char *from, enum dtype type, const struct store_sample *sample)
{
    static const char *const files[] = { "config.json", "preprocessor_config.json", "generation_config.json" };
    char target[512], *here = realpath(from, NULL);
    size_t bytes;
    struct err e;
    for (int i = 0; i < 3; i++) {
        snprintf(target, sizeof target, "%.400s/%s", here, files[i]);
        unlink(path_of(files[i]));
        if (access(target, F_OK) == 0)
            ck_assert_int_eq(symlink(target, path_of(files[i])), 0);
    }
    free(here);
    unlink(path_of("model.safetensors"));
    ck_assert_msg(model_store(from, path_of("model.safetensors"),
                              &(struct store_options){ .weights = type, .threads = 2, .sample = sample }, &bytes,
                              &e) == 0, "%s: %s", from, e.text);
    struct stat st;
    ck_assert_int_eq(stat(path_of("model.safetensors"), &st), 0);
    ck_assert_uint_eq((size_t)st.st_size, bytes);
}

static void prepare(const char *from, enum dtype type) { prepare_with(from, type, NULL); }

struct result { float *logits; size_t n, weight_bytes, n_params; int n_unused; };

/* The logits of the case's own prompt with its images. */
static struct result run(int which, const char *checkpoint, const char *backend, struct model_options opt,
                         enum activations activations)
{
    struct rig g;
    struct golden want;
    const struct stored *im;
    int n;
    rig_open_as(&g, backend, checkpoint, MAX_ROWS, F32, opt, activations);
    golden_open(&want, cases[which].golden);
    for (int i = 0; (im = golden_find(&want, "image.%d", i)); i++)
        rig_image(&g, im->data, (int)im->dims[1], (int)im->dims[0]);
    int32_t *ids = golden_ints(&want, "ids", 0, &n);
    struct result r = { malloc((size_t)n * (size_t)g.m->vocab * sizeof(float)), (size_t)n * (size_t)g.m->vocab,
                        g.m->weight_bytes, g.m->n_params, g.m->n_unused };
    rig_prompt(&g, ids, n, n, r.logits);
    free(ids);
    weights_close(want.file);
    rig_close(&g);
    return r;
}

static void same(int which, const char *backend, enum dtype type, enum activations activations)
{
    struct result want = run(which, cases[which].checkpoint, backend,
                             (struct model_options){ .convert = true, .weights = type }, activations);
    struct result have = run(which, dir, backend, (struct model_options){ 0 }, activations);
    ck_assert_uint_eq(want.n, have.n);
    ck_assert_msg(memcmp(want.logits, have.logits, want.n * sizeof(float)) == 0, "%s as %s on %s: other logits",
                  cases[which].checkpoint, dtype_name(type), backend);
    ck_assert_uint_eq(want.weight_bytes, have.weight_bytes);
    ck_assert_uint_eq(want.n_params, have.n_params);
    ck_assert_int_eq(have.n_unused, 0);
    free(want.logits);
    free(have.logits);
}

START_TEST(test_same_bits)
{
    for (int t = 0; t < N_TYPES; t++) {
        prepare(cases[_i].checkpoint, types[t]);
        same(_i, "cpu", types[t], ACTIVATIONS_AUTO);
        if (_i == 0 && types[t] != F8)
            same(_i, "cpu", types[t], ACTIVATIONS_FLOAT);      /* rows are taken out of the panels again */
        if (_i > 0)
            same(_i, "ref", types[t], ACTIVATIONS_AUTO);
    }
}
END_TEST

/* ---- with a sample ---- */

enum { SAMPLE = 12, SAMPLE_TOKENS = 60 };

/* Prompts of random tokens, of different lengths. */
static int run_sample(void *arg, struct model *m, bool *counts, struct err *e)
{
    struct together prompts[SAMPLE];
    int32_t ids[SAMPLE][SAMPLE_TOKENS];
    int *calls = arg;
    for (int s = 0; s < SAMPLE; s++) {
        prompts[s] = (struct together){ .ids = ids[s], .n = s == 0 ? 1 : SAMPLE_TOKENS - s };
        for (int i = 0; i < SAMPLE_TOKENS; i++) {
            ids[s][i] = (int32_t)(random_unit((uint64_t)s, (uint64_t)i) * m->vocab);
            ids[s][i] -= ids[s][i] == m->image_token;
        }
    }
    ++*calls;
    *counts = true;
    return together_run(m, prompts, SAMPLE, e);
}

/* How far from the logits of the checkpoint as it is. */
static double distance(const struct result *want, const struct result *have)
{
    double sum = 0;
    for (size_t i = 0; i < want->n; i++)
        sum += pow((double)want->logits[i] - have->logits[i], 2);
    return sum;
}

/* What a sample teaches shows in other prompts, with images, though random weights have little that can be learned
 * (0.60 to 0.99 of what is lost without). Not those of open_autoglm, whose text gets most from cross-attention, which
 * no sample shows. What is stored has the size of int4 without a sample. */
START_TEST(test_sample)
{
    int calls = 0;
    const struct store_sample sample = { .run = run_sample, .arg = &calls };
    struct result want = run(_i, cases[_i].checkpoint, "cpu", (struct model_options){ 0 }, ACTIVATIONS_AUTO), have[2];
    for (int i = 0; i < 2; i++) {
        prepare_with(cases[_i].checkpoint, Q4, i ? &sample : NULL);
        have[i] = run(_i, dir, "cpu", (struct model_options){ 0 }, ACTIVATIONS_FLOAT);
    }
    ck_assert_int_eq(calls, 1);
    ck_assert_uint_eq(have[0].weight_bytes, have[1].weight_bytes);
    double share = distance(&want, &have[1]) / distance(&want, &have[0]);
    ck_assert_msg(share < 1, "%s: %g of what int4 loses without a sample", cases[_i].checkpoint, share);
    free(want.logits);
    free(have[0].logits);
    free(have[1].logits);
}
END_TEST

static volatile sig_atomic_t stop;

static void stop_at(void *arg, size_t done, size_t all)
{
    int *left = arg;
    (void)done;
    (void)all;
    stop = --*left < 0;
}

/* At the first matrix and later. */
START_TEST(test_sample_interrupted)
{
    int calls = 0, left = _i * 3;
    const struct store_sample sample = { .run = run_sample, .arg = &calls, .progress = stop_at, .progress_arg = &left };
    size_t bytes;
    struct err e = { 0 };
    unlink(path_of("model.safetensors"));
    stop = 0;
    ck_assert_int_eq(model_store("tests/model/llama/yarn", path_of("model.safetensors"),
                                 &(struct store_options){ .weights = Q4, .threads = 2, .sample = &sample,
                                                          .stop = &stop }, &bytes, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "interrupted"));
}
END_TEST

/* Packing takes no memory of the process: panels stay in the file. */
START_TEST(test_is_mapped)
{
    struct err e;
    struct slab slab;
    const struct stored *t;
    struct device *dev;
    prepare("models/open-autoglm-v1", Q8);
    struct weights_file *f = weights_open(dir, &e);
    ck_assert_msg(f != NULL, "%s", e.text);
    t = weights_find(f, "layers.0.q_proj.weight");
    ck_assert(t != NULL && t->n_dims == 3);
    ck_assert_int_eq(t->dims[0] * 16, 192 + 64 + 64);          /* q, k and v are one matrix */
    ck_assert_int_eq(t->dims[1], 3);
    ck_assert_int_eq(t->dims[2], 1024);
    ck_assert_uint_eq((uintptr_t)t->data % 64, 0);
    ck_assert_int_eq(backend_cpu.open(&dev, &(struct device_options){ .threads = 1 }, &e), 0);
    struct weight w = { .out = 320, .in = 192, .layout = LAYOUT_LINEAR };
    const struct stored *scale = weights_find(f, "layers.0.q_proj.weight.scale");
    slab = (struct slab){ .data = t->data, .dtype = Q8, .rows = 320, .form = FORM_PANELS, .scale = scale->data };
    ck_assert_int_eq(backend_cpu.pack(dev, &w, &slab, 1, NULL, Q8, &e), 0);
    struct slab lies;
    ck_assert_int_eq(backend_cpu.slabs(&w, &lies, 1), 1);
    ck_assert_ptr_eq(lies.data, t->data);
    ck_assert_ptr_eq(lies.scale, scale->data);
    backend_cpu.release(dev, &w);
    backend_cpu.close(dev);
    weights_close(f);
}
END_TEST

static struct model *open_here(struct model_options opt, struct err *e)
{
    opt.backend = &backend_ref;
    ck_assert_int_eq(backend_ref.open(&opt.device, &(struct device_options){ 0 }, e), 0);
    struct model *m = model_open(dir, &opt, e);
    if (!m)
        backend_ref.close(opt.device);
    return m;
}

static void refused(struct model_options opt, const char *first, const char *second)
{
    struct err e = { 0 };
    ck_assert_ptr_null(open_here(opt, &e));
    ck_assert_msg(strstr(e.text, first) && strstr(e.text, second), "\"%s\" does not say \"%s\" and \"%s\"", e.text,
                  first, second);
}

START_TEST(test_stays_what_it_is)
{
    struct err e;
    size_t bytes;
    prepare("tests/model/llama/yarn", Q4);
    refused((struct model_options){ .convert = true, .weights = Q8 }, "int4", "int8");
    ck_assert_int_eq(model_store(dir, path_of("again"), &(struct store_options){ .weights = Q8 }, &bytes, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "prepared already"));
    ck_assert_int_eq(model_store("tests/model/llama/yarn", path_of("model.safetensors"),
                                 &(struct store_options){ .weights = Q8 }, &bytes, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "File exists"));
    struct model *m = open_here((struct model_options){ .convert = true, .weights = Q4 }, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    struct device *dev = m->device;
    model_close(m);
    backend_ref.close(dev);
}
END_TEST

/* ---- damaged files ---- */

static uint8_t *file_bytes(size_t *n)
{
    FILE *f = fopen(path_of("model.safetensors"), "rb");
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *out = malloc(*n);
    ck_assert_uint_eq(fread(out, 1, *n, f), *n);
    fclose(f);
    return out;
}

static void write_bytes(const uint8_t *p, size_t n)
{
    unlink(path_of("model.safetensors"));      /* not into what another model has mapped */
    FILE *f = fopen(path_of("model.safetensors"), "wb");
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    fclose(f);
}

/* The text of the file with one thing replaced by another of the same length. */
static void replace(const uint8_t *all, size_t n, const char *from, const char *to)
{
    uint8_t *copy = malloc(n), *at;
    memcpy(copy, all, n);
    ck_assert_uint_eq(strlen(from), strlen(to));
    at = memmem(copy, n, from, strlen(from));
    ck_assert_msg(at != NULL, "%s", from);
    memcpy(at, to, strlen(to));
    write_bytes(copy, n);
    free(copy);
}

START_TEST(test_wrong_headers)
{
    static const struct { const char *from, *to, *says, *and; } wrong[] = {
        { "\"openautoglm.prepared\":\"2\"", "\"openautoglm.prepared\":\"7\"", "another version", "quantize" },
        { "\"openautoglm.prepared\":\"2\"", "\"openautoglm.repaired\":\"1\"", "damaged", dir },
        { "\"openautoglm.weights\":\"int8\"", "\"openautoglm.weights\":\"int9\"", "int9", dir },
        { "q_proj.weight\":\"int8 ", "q_proj.weight\":\"int4 ", "model.safetensors", "q_proj.weight" },
        { "q_proj.weight\":\"int8 rows", "q_proj.weight\":\"int8 pans", "pans", "q_proj.weight" },
        { "q_proj.weight\":\"int8 rows", "q_proj.weight\":\"i32  rows", "i32", "q_proj.weight" },
        { "q_proj.weight\":\"int8 rows", "q_proj.weighs\":\"int8 rows", "metadata", "q_proj.weight" },
        { "o_proj.weight\":{", "o_proj.height\":{", "o_proj.height", "metadata" },
    };
    size_t n;
    prepare("tests/model/llama/yarn", Q8);
    uint8_t *all = file_bytes(&n);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        replace(all, n, wrong[i].from, wrong[i].to);
        refused((struct model_options){ 0 }, wrong[i].says, wrong[i].and);
    }
    free(all);
}
END_TEST

/* Every byte counts: one that is changed, wherever it is, or missing, is an error, and one line. */
START_TEST(test_flips_and_cuts)
{
    size_t n;
    struct err e;
    uint32_t state = 5;
    prepare(cases[_i].checkpoint, types[_i % N_TYPES]);
    uint8_t *all = file_bytes(&n);
    uint64_t header;
    memcpy(&header, all, sizeof header);
    for (int i = 0; i < (SLOW ? 60 : 300); i++) {
        state = state * 1664525u + 1013904223u;
        bool cut = i % 8 == 0, early = i % 3 == 0;
        size_t at = (size_t)(state >> 4) % (early ? header + 8 : n);
        uint8_t flip = (uint8_t)(1u << state % 8);
        all[at] ^= cut ? 0 : flip;
        write_bytes(all, cut ? at : n);
        memset(&e, 0, sizeof e);
        struct model *m = open_here((struct model_options){ 0 }, &e);
        ck_assert_msg(m == NULL || (at < header + 8 && !cut), "byte %zu of %zu: opened all the same", at, n);
        if (m) {                               /* in the header: blanks, or a name in the metadata */
            struct device *dev = m->device;
            model_close(m);
            backend_ref.close(dev);
        } else {
            ck_assert_msg((strstr(e.text, dir) || strstr(e.text, "model.safetensors")) && !strchr(e.text, '\n'), "%s",
                          e.text);
            if (at >= header + 8 && !cut)
                ck_assert_msg(strstr(e.text, "model.safetensors: tensor ") && strstr(e.text, "damaged"), "%s", e.text);
        }
        all[at] ^= cut ? 0 : flip;
    }
    free(all);
}
END_TEST

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    Suite *s = suite_create("store");
    TCase *t = tcase_create("store");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_same_bits, 0, N_CASES);
    tcase_add_loop_test(t, test_sample, 2, N_SAMPLED);
    tcase_add_loop_test(t, test_sample_interrupted, 0, 2);
    tcase_add_test(t, test_is_mapped);
    tcase_add_test(t, test_stays_what_it_is);
    tcase_add_test(t, test_wrong_headers);
    tcase_add_loop_test(t, test_flips_and_cuts, 1, 5);
    suite_add_tcase(s, t);
    int failed = suite_run(s);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return failed != 0 || system(command) != 0;
}
