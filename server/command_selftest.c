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
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/record.h"
#include "model/trial.h"
#include "model/values.h"

enum { USAGE = 2, WIDTH = 1080, HEIGHT = 2400, MAX_SIDE = 16384 };

static const float pixel_tolerance = 1e-6f, tolerance = 2e-3f;

static const char usage[] =
    "usage: openautoglm selftest --model DIR [--device auto|cpu|ref] [--golden DIR]\n"
    "\n"
    "Checks the checkpoint in DIR and the golden cases of its family; or, where DIR or the\n"
    "folder of --golden holds a golden.safetensors, the checkpoint against that file.\n"
    "Exit status 0: all is right, 1: something differs, 2: the checkpoint cannot be used.\n";

struct report { int failed; };

static void say(struct report *r, bool ok, const char *stage, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void say(struct report *r, bool ok, const char *stage, const char *fmt, ...)
{
    va_list ap;
    printf("%-4s  %-12s  ", ok ? "ok" : "FAIL", stage);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    r->failed += !ok;
}

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
    say(r, m->n_unused == 0 && m->n_repeated == 0, "tensors", "%d of %d used, %d of them more than once, %.2f million parameters",
        m->n_tensors - m->n_unused, m->n_tensors, m->n_repeated, (double)m->n_params / 1e6);
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
        say(r, false, "preprocess", "%s", e.text);
        return;
    }
    const char *recorded = NULL;
    float black = black_value(m, &v);
    values_free(&v);
    for (size_t i = 0; i < sizeof records / sizeof *records; i++)
        if (!strcmp(records[i].type, m->type) && !memcmp(records[i].shape, v.shape, sizeof v.shape) &&
            fabsf(records[i].black - black) < 1e-5f)
            recorded = records[i].sha256;
    say(r, !recorded || !strcmp(v.sha256, recorded), "preprocess", "%d x %d becomes %d x %d, %d tokens; sha256 %.16s, %s%.16s", WIDTH,
        HEIGHT, v.plan.width, v.plan.height, v.plan.n_tokens, v.sha256, recorded ? "recorded " : "no record for these settings",
        recorded ? recorded : "");
}

/* One token, the known picture, one token: written down here once more, independently of model/patches.c. */
static void check_positions(struct report *r, const struct model *m)
{
    struct image_plan p;
    struct err e;
    if (!m->family->positions || m->family->plan_image(m, WIDTH, HEIGHT, NULL, &p, &e) != 0) {
        say(r, true, "positions", "0, 1, 2, ...");
        return;
    }
    int n = p.n_tokens + 2, side = p.grid_h > p.grid_w ? p.grid_h : p.grid_w, wrong = 0;
    int32_t *ids = calloc((size_t)n, sizeof *ids), *pos = calloc((size_t)n * 3, sizeof *pos);
    if (!ids || !pos) {
        say(r, false, "positions", "out of memory");
    } else {
        for (int i = 0; i < n; i++)
            ids[i] = i > 0 && i < n - 1 ? m->image_token : !m->image_token;
        int next = m->family->positions(m, ids, n, &p, 1, pos);
        for (int i = 0; i < p.n_tokens; i++)
            wrong += pos[1 + i] != 1 || pos[n + 1 + i] != 1 + i / p.grid_w || pos[2 * n + 1 + i] != 1 + i % p.grid_w;
        for (int axis = 0; axis < 3; axis++)
            wrong += (pos[axis * n] != 0) + (pos[axis * n + n - 1] != 1 + side);
        say(r, wrong == 0 && next == 2 + side, "positions", "%d tokens of the picture, then %d", p.n_tokens, 1 + side);
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
    say(r, finite && equal, "decoder", "%s, %s in chunks", finite ? "finite" : "not finite", equal ? "equal" : "not equal");
    free(whole);
    free(parts);
}

/* ---- golden cases ---- */

struct golden {                      /* a golden.safetensors */
    struct weights_file *file;       /* owned */
    int32_t *ids, *greedy;           /* owned (n), (n_greedy) */
    int      n, n_greedy;
};

/* Image i, borrowed. 1: here it is, 0: there is none, -1: it is none. */
static int golden_image(const struct golden *g, int i, struct pixels *out, struct err *e)
{
    const struct stored *t = record_find(g->file, "image.%d", i);
    if (!t)
        return 0;
    if (strcmp(t->dtype, "U8") != 0 || t->n_dims != 3 || t->dims[2] != 3 || t->dims[0] < 1 || t->dims[1] < 1 ||
        t->dims[0] > MAX_SIDE || t->dims[1] > MAX_SIDE)
        return err_set(e, "image.%d is not an image", i);
    *out = (struct pixels){ (uint8_t *)(uintptr_t)t->data, (int)t->dims[1], (int)t->dims[0] };
    return 1;
}

/* *worst becomes the larger of itself and the largest difference of n floats. */
static void widen(float *worst, const float *have, const float *want, size_t n)
{
    size_t at;
    float  d = record_worst(have, want, n, &at);
    *worst = d > *worst ? d : *worst;
}

/* pixels.N: the first two rows and the last. */
static int golden_pixels(const struct model *m, const struct golden *g, int i, const struct pixels *image, float *worst,
                         struct err *e)
{
    struct values v;
    if (values_of(&v, m, image, NULL, e) != 0)
        return -1;
    size_t       row = v.n / (size_t)v.shape[0];
    const size_t rows[] = { 0, 1, (size_t)v.shape[0] - 1 };
    const float *want = v.shape[0] > 1 ? record_floats(g->file, "pixels.%d", i, 3 * row, e) : NULL;
    for (size_t k = 0; want && k < 3; k++)
        widen(worst, v.data + rows[k] * row, want + k * row, row);
    values_free(&v);
    return want ? 0 : -1;
}

/* The image's features, then those of deepstack: parts of `hidden` floats. The file may hold the first rows alone. */
static int golden_features(const struct trial *t, const struct golden *g, int i, float *worst, struct err *e)
{
    size_t width = (size_t)t->m->image_row_width, hidden = (size_t)t->m->hidden;
    const float *have = t->pool + (size_t)t->pool_first[i] * width;
    for (size_t part = 0; part < width / hidden; part++) {
        char name[64] = "image_tokens.%d";
        if (part > 0)
            snprintf(name, sizeof name, "deepstack.%zu.%%d", part - 1);
        const struct stored *kept = record_find(g->file, name, i);
        size_t rows = kept ? kept->bytes / sizeof(float) / hidden : 0;
        const float *want = record_floats(g->file, name, i, rows * hidden, e);
        if (!want || rows > (size_t)t->plan[i].n_tokens)
            return want ? err_set(e, "%s has more rows than image %d has tokens", name, i) : -1;
        for (size_t k = 0; k < rows; k++)
            widen(worst, have + k * width + part * hidden, want + k * hidden, hidden);
    }
    return 0;
}

/* Encodes the images. -1 also where they do not take the prompt's places: nothing can be computed from that. */
static int golden_vision(struct report *r, struct trial *t, const struct golden *g, struct err *e)
{
    struct pixels image;
    float worst = 0, worst_pixel = 0;
    int   rc, i, tokens = 0, places = 0, n_pixels = 0;
    for (i = 0; (rc = golden_image(g, i, &image, e)) > 0; i++) {
        if (!t->m->family->plan_image)
            return err_set(e, "%s takes no images", t->m->type);
        if (record_find(g->file, "pixels.%d", i) && ++n_pixels && golden_pixels(t->m, g, i, &image, &worst_pixel, e) != 0)
            return -1;
        if (trial_image(t, image.data, image.width, image.height, e) != 0 || golden_features(t, g, i, &worst, e) != 0)
            return -1;
        tokens += t->plan[i].n_tokens;
    }
    if (rc < 0)
        return -1;
    for (int k = 0; k < g->n; k++)
        places += g->ids[k] == t->m->image_token;
    if (tokens != places)
        return err_set(e, "%d image tokens for %d places in the prompt", tokens, places);
    if (n_pixels)
        say(r, worst_pixel <= pixel_tolerance, "  preprocess", "pixel values of %d images within %.1e", n_pixels, (double)worst_pixel);
    if (i)
        say(r, worst <= tolerance, "  vision", "%d images, within %.1e", i, (double)worst);
    return 0;
}

static int golden_positions(struct report *r, const struct trial *t, const struct golden *g, struct err *e)
{
    int n, next, differ = 0;
    if (!record_find(g->file, "positions", 0))
        return 0;
    int32_t *want = record_ints(g->file, "positions", 0, &n, e);
    if (!want || n != 3 * g->n) {
        free(want);
        return want ? err_set(e, "%d positions for %d tokens on 3 axes", n, g->n) : -1;
    }
    int32_t *have = trial_positions(t, g->ids, g->n, &next);
    for (int i = 0; i < n; i++)
        differ += have[i] != want[i];
    say(r, differ == 0, "  positions", "%d tokens on 3 axes, %d differ", g->n, differ);
    free(have);
    free(want);
    return 0;
}

static int golden_decoder(struct report *r, struct trial *t, const struct golden *g, struct err *e)
{
    const struct stored *kept = record_find(g->file, "logits", 0);
    size_t vocab = (size_t)t->m->vocab, all = (size_t)g->n * vocab, some = kept ? kept->bytes / sizeof(float) : 0;
    const float *want = record_floats(g->file, "logits", 0, some, e);
    if (!want || some > all || some % vocab != 0)
        return want ? err_set(e, "%zu logits for a vocabulary of %zu", some, vocab) : -1;
    float   *logits = xcalloc(all, sizeof *logits), worst = 0;
    int32_t *out = xcalloc((size_t)g->n_greedy, sizeof *out);
    int      same = 0;
    trial_prompt(t, g->ids, g->n, g->n, logits);
    widen(&worst, logits + all - some, want, some);
    trial_greedy(t, g->ids, g->n, logits + all - vocab, out, g->n_greedy);
    while (same < g->n_greedy && out[same] == g->greedy[same])
        same++;
    free(logits);
    free(out);
    say(r, worst <= tolerance && same == g->n_greedy, "  decoder", "logits within %.1e, %d of %d greedy tokens equal", (double)worst,
        same, g->n_greedy);
    return 0;
}

static int golden_open(struct golden *g, const char *dir, const struct model *m, struct err *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%.4100s/golden.safetensors", dir);
    g->file = weights_open_file(path, e);
    if (!g->file || !(g->ids = record_ints(g->file, "ids", 0, &g->n, e)) ||
        !(g->greedy = record_ints(g->file, "greedy", 0, &g->n_greedy, e)))
        return -1;
    if (g->n < 1 || g->n_greedy < 1 || g->n_greedy > m->context - g->n)
        return err_set(e, "%d tokens and %d more for a context of %d", g->n, g->n_greedy, m->context);
    for (int i = 0; i < g->n; i++)
        if (g->ids[i] < 0 || g->ids[i] >= m->vocab)
            return err_set(e, "token %d of the prompt is %d", i, g->ids[i]);
    return 0;
}

/* The case in `dir` on the model that it belongs to. */
static void golden_run(struct report *r, const struct model *m, const char *dir)
{
    struct err    e = { 0 };
    struct golden g = { 0 };
    struct trial  t;
    printf("golden case %s\n", dir);
    int rc = golden_open(&g, dir, m, &e);
    if (rc == 0) {
        trial_open(&t, m, g.n + g.n_greedy);
        rc = golden_vision(r, &t, &g, &e) == 0 && golden_positions(r, &t, &g, &e) == 0 && golden_decoder(r, &t, &g, &e) == 0 ? 0 : -1;
        trial_close(&t);
    }
    if (rc != 0)
        say(r, false, "  case", "%s", e.text);
    free(g.ids);
    free(g.greedy);
    weights_close(g.file);
}

static void golden_case(struct report *r, const struct model_options *opt, const char *dir)
{
    struct err    e = { 0 };
    struct model *m = model_open(dir, opt, &e);
    if (m)
        golden_run(r, m, dir);
    else
        say(r, false, "case", "%s", e.text);
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
    const char *model = NULL, *device = "auto", *golden = NULL;
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
