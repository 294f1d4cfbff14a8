/* Two parts, one line per stage:
 *
 * The checkpoint: every tensor used once, a known picture gives the reference's
 * pixel values (for the published settings, whose hashes are recorded here) and
 * positions, and a small prompt gives finite logits, the same in one piece and
 * in chunks.
 *
 * The family: the golden cases that ship with the program (tests/model or
 * share/openautoglm/golden), against what transformers computed. A
 * golden.safetensors in the folder of --golden, or else beside the checkpoint,
 * is of this very checkpoint and stands for them.
 *
 * Exit status 0: all is right, 1: something differs, 2: the checkpoint cannot be used. */
#include "server/command_selftest.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/trial.h"
#include "model/values.h"
#include "server/command_golden.h"

enum { USAGE = 2, WIDTH = 1080, HEIGHT = 2400 };

static const char usage[] =
    "usage: openautoglm selftest --model DIR [--device cpu|ref] [--golden DIR]\n"
    "\n"
    "Checks the checkpoint in DIR and the golden cases of its family; or, where DIR or the\n"
    "folder of --golden holds a golden.safetensors, the checkpoint against that file.\n"
    "Exit status 0: all is right, 1: something differs, 2: the checkpoint cannot be used.\n";

/* ---- the checkpoint ---- */

/* Noise over a gradient, from arithmetic that any language has. */
static uint8_t known_pixel(uint32_t x, uint32_t y, uint32_t c)
{
    uint32_t v = (x * 2654435761u) ^ (y * 2246822519u) ^ (c * 3266489917u);
    v ^= v >> 15;
    v = v * 668265263u >> 24;
    return (uint8_t)((v + 3 * ((x + y) / 16 % 256)) / 4);
}

/* The hash of the pixel values that the reference makes of that picture with the published settings, which are known by
 * the shape and by the first value of a black picture. */
static const struct { const char *type; int shape[4]; float black; const char *sha256; } records[] = {
    { "glm4v", { 13416, 1176, 1, 1 }, -1.79226255f, "56e33c1e1d4e0b551c2a43a0a90cb6cbb0176928470e5b08d4da6862971e101d" },
    { "qwen2_vl", { 13416, 1176, 1, 1 }, -1.79226255f, "56e33c1e1d4e0b551c2a43a0a90cb6cbb0176928470e5b08d4da6862971e101d" },
    { "qwen2_5_vl", { 13416, 1176, 1, 1 }, -1.79226255f, "56e33c1e1d4e0b551c2a43a0a90cb6cbb0176928470e5b08d4da6862971e101d" },
    { "qwen3_vl", { 10200, 1536, 1, 1 }, -1, "bcd4fcb5c9c1ca8187abd2e12a730e88d26b395bc722c26b46141dcc3ee47468" },
    { "open_autoglm", { 3, 672, 288, 1 }, -1, "7f190b619fd4b5c6357d10552a229b7738c8a94bdaa40d26d40dbdd4dd9643d9" },
};

static void check_tensors(struct report *r, const struct model *m)
{
    report_say(r, m->n_unused == 0 && m->n_repeated == 0, "tensors",
               "%d of %d used, %d of them more than once, %.2f million parameters", m->n_tensors - m->n_unused, m->n_tensors,
               m->n_repeated, (double)m->n_params / 1e6);
}

static void known_image(struct pixels *out)
{
    *out = (struct pixels){ xmalloc((size_t)WIDTH * HEIGHT * 3), WIDTH, HEIGHT };
    for (uint32_t y = 0; y < HEIGHT; y++)
        for (uint32_t x = 0; x < WIDTH; x++)
            for (uint32_t c = 0; c < 3; c++)
                out->data[(y * WIDTH + x) * 3 + c] = known_pixel(x, y, c);
}

/* The first value of a black picture; overwrites the values. */
static float black_value(const struct model *m, struct values *v)
{
    uint8_t *rgb = xcalloc((size_t)v->plan.width * (size_t)v->plan.height, 3);
    m->family->pixel_values(m, &v->plan, rgb, v->data, v->shape);
    free(rgb);
    return v->data[0];
}

static void check_preprocess(struct report *r, const struct model *m)
{
    struct pixels px;
    struct values v;
    struct err e = { 0 };
    known_image(&px);
    int rc = values_of(&v, m, &px, NULL, &e);
    pixels_free(&px);
    if (rc != 0) {
        report_say(r, false, "preprocess", "%s", e.text);
        return;
    }
    const char *recorded = NULL;
    float black = black_value(m, &v);
    values_free(&v);
    for (size_t i = 0; i < sizeof records / sizeof *records; i++)
        if (!strcmp(records[i].type, m->type) && !memcmp(records[i].shape, v.shape, sizeof v.shape) &&
            fabsf(records[i].black - black) < 1e-5f)
            recorded = records[i].sha256;
    report_say(r, !recorded || !strcmp(v.sha256, recorded), "preprocess",
               "%d x %d becomes %d x %d, %d tokens; sha256 %.16s, %s%.16s", WIDTH, HEIGHT, v.plan.width, v.plan.height,
               v.plan.n_tokens, v.sha256, recorded ? "recorded " : "no record for these settings", recorded ? recorded : "");
}

/* One token, the known picture, one token: written down here once more, independently of model/patches.c. */
static void check_positions(struct report *r, const struct model *m)
{
    struct image_plan p;
    struct err e;
    if (!m->family->positions || m->family->plan_image(m, WIDTH, HEIGHT, NULL, &p, &e) != 0) {
        report_say(r, true, "positions", "0, 1, 2, ...");
        return;
    }
    int n = p.n_tokens + 2, side = p.grid_h > p.grid_w ? p.grid_h : p.grid_w, wrong = 0;
    int32_t *ids = calloc((size_t)n, sizeof *ids), *pos = calloc((size_t)n * 3, sizeof *pos);
    if (!ids || !pos) {
        report_say(r, false, "positions", "out of memory");
    } else {
        for (int i = 0; i < n; i++)
            ids[i] = i > 0 && i < n - 1 ? m->image_token : !m->image_token;
        int next = m->family->positions(m, ids, n, &p, 1, pos);
        for (int i = 0; i < p.n_tokens; i++)
            wrong += pos[1 + i] != 1 || pos[n + 1 + i] != 1 + i / p.grid_w || pos[2 * n + 1 + i] != 1 + i % p.grid_w;
        for (int axis = 0; axis < 3; axis++)
            wrong += (pos[axis * n] != 0) + (pos[axis * n + n - 1] != 1 + side);
        report_say(r, wrong == 0 && next == 2 + side, "positions", "%d tokens of the picture, then %d", p.n_tokens,
                   1 + side);
    }
    free(ids);
    free(pos);
}

/* A prompt of 24 tokens in one piece and in fives. */
static void check_decoder(struct report *r, const struct model *m)
{
    enum { N = 24 };
    int32_t ids[N];
    struct trial t;
    size_t row = (size_t)m->vocab;
    float *whole = calloc(N * row, sizeof *whole), *parts = calloc(N * row, sizeof *parts);
    bool finite = whole && parts;
    if (finite) {
        trial_open(&t, m, 2 * N);
        for (int i = 0; i < N; i++)
            ids[i] = (i * 37 + 5) % m->vocab == m->image_token ? 0 : (i * 37 + 5) % m->vocab;
        trial_prompt(&t, ids, N, N, whole);
        trial_rewind(&t);
        trial_prompt(&t, ids, N, 5, parts);
        trial_close(&t);
        for (size_t i = 0; i < N * row; i++)
            finite = finite && isfinite(whole[i]);
    }
    bool equal = finite && !memcmp(whole, parts, N * row * sizeof *whole);
    report_say(r, finite && equal, "decoder", "%s, %s in chunks", finite ? "finite" : "not finite",
               equal ? "equal" : "not equal");
    free(whole);
    free(parts);
}

/* ---- golden cases ---- */

static void golden_case(struct report *r, const struct model_options *opt, const char *dir)
{
    struct err    e = { 0 };
    struct model *m = model_open(dir, opt, &e);
    if (m)
        golden_run(r, m, dir);
    else
        report_say(r, false, "case", "%s", e.text);
    model_close(m);
}

static bool has_golden(const char *dir)
{
    char path[4200];
    snprintf(path, sizeof path, "%.4100s/golden.safetensors", dir);
    return access(path, R_OK) == 0;
}

/* Where the cases lie: beside the sources, or installed. */
static const char *golden_root(const char *given)
{
    static char path[4096];
    if (given)
        return given;
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    char *slash = n > 0 ? (path[n] = 0, strrchr(path, '/')) : NULL;
    if (slash) {
        strcpy(slash, "/../tests/model");
        if (access(path, R_OK) == 0)
            return path;
        strcpy(slash, "/../share/openautoglm/golden");
        if (access(path, R_OK) == 0)
            return path;
    }
    return "tests/model";
}

static void golden_cases(struct report *r, const struct model_options *opt, const char *type, const char *given)
{
    char root[4160], dir[4180], path[4200];
    int n = 0;
    snprintf(root, sizeof root, "%.4000s/%s", golden_root(given), type);
    struct dirent **list = NULL;
    int count = scandir(root, &list, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        snprintf(dir, sizeof dir, "%.4100s/%.64s", root, list[i]->d_name);
        snprintf(path, sizeof path, "%.4170s/config.json", dir);
        if (*list[i]->d_name != '.' && access(path, R_OK) == 0) {
            golden_case(r, opt, dir);
            n++;
        }
        free(list[i]);
    }
    free(list);
    if (n == 0)
        printf("skip  golden      no cases in %s\n", root);
}

static int run(const char *dir, const char *device, const char *golden)
{
    struct report r = { 0 };
    struct err e = { 0 };
    struct device *dev = NULL;
    const struct backend *b = backend_find(device);
    if (!b)
        return fprintf(stderr, "openautoglm: there is no device %s\n", device), USAGE;
    if (b != &backend_cpu && b != &backend_ref)          /* a trial's caches are host memory */
        return fprintf(stderr, "openautoglm: selftest runs on cpu and ref, not on %s\n", b->name), USAGE;
    if (b->open(&dev, 0, &e) != 0)
        return fprintf(stderr, "openautoglm: %s\n", e.text), 1;
    struct model_options opt = { .backend = b, .device = dev };
    struct model *m = model_open(dir, &opt, &e);
    if (!m) {
        b->close(dev);
        return fprintf(stderr, "openautoglm: %s\n", e.text), USAGE;
    }
    printf("%s: %s on %s\n", dir, m->type, b->name);
    check_tensors(&r, m);
    if (m->family->plan_image) {
        check_preprocess(&r, m);
        check_positions(&r, m);
    }
    check_decoder(&r, m);
    const char *own = golden && has_golden(golden) ? golden : !golden && has_golden(dir) ? dir : NULL;
    if (own)
        golden_run(&r, m, own);
    else
        golden_cases(&r, &opt, m->type, golden);
    model_close(m);
    b->close(dev);
    printf(r.failed ? "selftest: %d stages FAILED\n" : "selftest: every stage is right\n", r.failed);
    return r.failed ? 1 : 0;
}

int command_selftest(int argc, char **argv)
{
    const char *model = NULL, *device = "cpu", *golden = NULL;
    for (int i = 1; i < argc; i += 2) {
        const char *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return fputs(usage, stdout), 0;
        if (v && !strcmp(argv[i], "--model"))
            model = v;
        else if (v && !strcmp(argv[i], "--device"))
            device = v;
        else if (v && !strcmp(argv[i], "--golden"))
            golden = v;
        else
            return fputs(usage, stderr), USAGE;
    }
    if (!model)
        return fputs(usage, stderr), USAGE;
    return run(model, device, golden);
}
