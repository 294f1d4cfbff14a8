/* Two parts, one line per stage:
 *
 * The checkpoint: every tensor used, a known picture gives the reference's
 * pixel values (for the published settings, whose hashes are recorded here) and
 * positions, and a small prompt gives finite logits, the same in one piece and
 * in chunks.
 *
 * The family: the golden cases that ship with the program (tests/model or
 * share/openautoglm/golden), against what transformers computed. */
#include "server/command_selftest.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sha256.h"
#include "model/safetensors.h"
#include "model/trial.h"

enum { USAGE = 2, WIDTH = 1080, HEIGHT = 2400, MAX_GOLDEN_ROWS = 512 };

static const float tolerance = 2e-3f;

static const char usage[] =
    "usage: openautoglm selftest --model DIR [--device auto|cpu|ref] [--golden DIR]\n"
    "\n"
    "Checks the checkpoint in DIR and the golden cases of its family.\n";

struct report { int failed; };

static void say(struct report *r, bool ok, const char *stage, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void say(struct report *r, bool ok, const char *stage, const char *fmt, ...)
{
    va_list ap;
    printf("%-4s  %-10s  ", ok ? "ok" : "FAIL", stage);
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
    say(r, m->n_unused == 0, "tensors", "%d of %d used, %.2f million parameters", m->n_tensors - m->n_unused, m->n_tensors,
        (double)m->n_params / 1e6);
}

static int known_image(struct pixels *out, const struct image_plan *p, struct err *e)
{
    struct pixels big = { malloc((size_t)WIDTH * HEIGHT * 3), WIDTH, HEIGHT };
    if (!big.data)
        return err_set(e, "out of memory");
    for (uint32_t y = 0; y < HEIGHT; y++)
        for (uint32_t x = 0; x < WIDTH; x++)
            for (uint32_t c = 0; c < 3; c++)
                big.data[(y * WIDTH + x) * 3 + c] = known_pixel(x, y, c);
    int rc = pixels_resize(out, &big, p->width, p->height, p->filter, p->resizer, e);
    pixels_free(&big);
    return rc;
}

static void check_preprocess(struct report *r, const struct model *m)
{
    struct image_plan p;
    struct pixels px = { 0 };
    struct err e = { 0 };
    char hash[65];
    int shape[4];
    if (m->family->plan_image(m, WIDTH, HEIGHT, NULL, &p, &e) != 0 || known_image(&px, &p, &e) != 0) {
        say(r, false, "preprocess", "%s", e.text);
        return;
    }
    m->family->pixel_values(m, &p, px.data, NULL, shape);
    size_t n = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2] * (size_t)shape[3];
    float *v = malloc(n * sizeof *v), black = 0;
    if (v) {
        m->family->pixel_values(m, &p, px.data, v, shape);
        sha256_hex(hash, v, n * sizeof *v);
        memset(px.data, 0, (size_t)p.width * (size_t)p.height * 3);
        m->family->pixel_values(m, &p, px.data, v, shape);
        black = v[0];
    }
    pixels_free(&px);
    free(v);
    for (size_t i = 0; v && i < sizeof records / sizeof *records; i++)
        if (!strcmp(records[i].type, m->type) && !memcmp(records[i].shape, shape, sizeof shape) &&
            fabsf(records[i].black - black) < 1e-5f) {
            say(r, !strcmp(hash, records[i].sha256), "preprocess", "%d x %d becomes %d x %d, %d tokens; sha256 %.16s, recorded %.16s",
                WIDTH, HEIGHT, p.width, p.height, p.n_tokens, hash, records[i].sha256);
            return;
        }
    say(r, v != NULL, "preprocess", "%d x %d becomes %d x %d, %d tokens; no record for these settings", WIDTH, HEIGHT, p.width,
        p.height, p.n_tokens);
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

static const struct stored *find(const struct weights_file *f, const char *fmt, int i, const char *dtype)
{
    char name[64];
    snprintf(name, sizeof name, fmt, i);
    const struct stored *t = weights_find(f, name);
    return t && !strcmp(t->dtype, dtype) ? t : NULL;
}

/* The largest difference; infinite where there is nothing to compare with. */
static float difference(const float *have, const struct stored *want, size_t n)
{
    float worst = 0;
    if (!want || want->bytes / sizeof(float) > n)
        return INFINITY;
    for (size_t i = 0; i < want->bytes / sizeof(float); i++) {
        float w;
        memcpy(&w, (const char *)want->data + i * sizeof w, sizeof w);
        float d = fabsf(have[i] - w);
        worst = d <= worst ? worst : d;
    }
    return worst;
}

static int golden_images(struct report *r, struct trial *t, const struct weights_file *f, struct err *e)
{
    const struct stored *im;
    const int hidden = t->m->hidden, width = t->m->image_row_width;
    float worst = 0;
    int i = 0;
    for (; (im = find(f, "image.%d", i, "U8")); i++) {
        if (im->n_dims != 3 || trial_image(t, im->data, (int)im->dims[1], (int)im->dims[0], e) != 0)
            return -1;
        int rows = t->plan[i].n_tokens;
        float *x = malloc((size_t)rows * (size_t)hidden * sizeof *x);
        for (int k = 0; x && k < rows; k++)
            memcpy(x + (size_t)k * (size_t)hidden, t->pool + (size_t)(t->pool_first[i] + k) * (size_t)width, (size_t)hidden * sizeof *x);
        float d = x ? difference(x, find(f, "image_tokens.%d", i, "F32"), (size_t)rows * (size_t)hidden) : INFINITY;
        worst = d <= worst ? worst : d;
        free(x);
    }
    if (i)
        say(r, worst <= tolerance, "  vision", "%d images, within %.1e", i, (double)worst);
    return 0;
}

static void golden_text(struct report *r, struct trial *t, const struct weights_file *f)
{
    const struct stored *ids = find(f, "ids", 0, "I32"), *greedy = find(f, "greedy", 0, "I32"), *logits = find(f, "logits", 0, "F32");
    const struct stored *positions = find(f, "positions", 0, "I32");
    int n = ids ? (int)(ids->bytes / 4) : 0, n_out = greedy ? (int)(greedy->bytes / 4) : 0, next, same = 0;
    size_t row = (size_t)t->m->vocab, all = (size_t)n * row;
    if (n < 1 || n_out < 1 || !logits || n + n_out > t->max_rows || logits->bytes / sizeof(float) > all) {
        say(r, false, "  decoder", "the golden file is not usable");
        return;
    }
    int32_t *in = malloc(ids->bytes), *out = malloc(greedy->bytes), *pos = NULL;
    float *x = malloc(all * sizeof *x);
    if (in && out && x) {
        memcpy(in, ids->data, ids->bytes);
        pos = trial_positions(t, in, n, &next);
        if (positions)
            say(r, positions->bytes == (size_t)n * 12 && !memcmp(positions->data, pos, positions->bytes), "  positions", "%d tokens", n);
        trial_prompt(t, in, n, n, x);
        float d = difference(x + all - logits->bytes / sizeof *x, logits, logits->bytes / sizeof *x);
        trial_greedy(t, in, n, x + all - row, out, n_out);
        while (same < n_out && !memcmp(out + same, (const char *)greedy->data + 4 * same, 4))
            same++;
        say(r, d <= tolerance && same == n_out, "  decoder", "logits within %.1e, %d of %d greedy tokens equal", (double)d, same, n_out);
    }
    free(in);
    free(out);
    free(pos);
    free(x);
}

static void golden_case(struct report *r, const struct model_options *opt, const char *dir, const char *checkpoint)
{
    struct err e = { 0 };
    char path[4200];
    struct trial t;
    snprintf(path, sizeof path, "%s/golden.safetensors", dir);
    struct weights_file *f = weights_open_file(path, &e);
    struct model *m = f ? model_open(checkpoint, opt, &e) : NULL;
    printf("golden case %s\n", dir);
    if (m) {
        trial_open(&t, m, MAX_GOLDEN_ROWS);
        if (golden_images(r, &t, f, &e) == 0)
            golden_text(r, &t, f);
        else
            say(r, false, "  vision", "%s", e.text);
        trial_close(&t);
    } else {
        say(r, false, "  open", "%s", e.text);
    }
    model_close(m);
    weights_close(f);
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
            golden_case(r, opt, dir, dir);
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
