/* cli/selftest.c - `openautoglm selftest`: is this checkpoint, and this program, right? Two parts, one line for each
 * stage.
 *
 * The checkpoint: what selftest/check.h looks at, and whether a small prompt gives finite logits, the same in one
 * piece and in chunks.
 *
 * The family: the golden cases that ship with the program (tests/model or share/openautoglm/golden), against what
 * transformers computed. If the folder of --golden, or else the checkpoint's own folder, holds a golden.safetensors (or
 * vectors.safetensors, for models that make vectors and no texts), that file was made from this very checkpoint, and
 * the model is compared with it instead.
 *
 * Exit status 0: all is right, 1: something differs, 2: the checkpoint cannot be used. */
#include "cli/selftest.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/progress.h"
#include "selftest/check.h"
#include "selftest/trial.h"
#include "selftest/golden.h"
#include "selftest/vectors.h"

enum { USAGE = 2 };

static const char usage[] =
    "usage: openautoglm selftest --model DIR [--device cpu|ref|cuda] [--golden DIR]\n"
    "\n"
    "Checks the checkpoint in DIR and the golden cases of its family; or, where DIR or the\n"
    "folder of --golden holds a golden.safetensors, the checkpoint against that file.\n"
    "Exit status 0: all is right, 1: something differs, 2: the checkpoint cannot be used.\n";

/* ---- the checkpoint ---- */

static void show(struct report *r, const struct verdict *v) { report_say(r, v->ok, v->stage, "%s", v->text); }

/* What can be judged without computing a token. A model without images has only its tensors to show. */
static void check_still(struct report *r, const struct model *m)
{
    static const int sizes[][2] = { { 270, 600 }, { 1080, 2400 } };
    struct verdict v;
    check_tensors(m, &v);
    show(r, &v);
    if (!m->family->plan_image)
        return;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_preprocess(m, sizes[i][0], sizes[i][1], &v);
        show(r, &v);
    }
    check_positions(m, &v);
    show(r, &v);
}

enum { DECODED = 24 };

/* Runs a prompt of DECODED tokens once in one piece and once in steps of five, with caches of this type; the logits of
 * all rows go to `whole` and `parts`. The token of an image is avoided, because there is no image. */
static bool decode_twice(const struct model *m, enum dtype kv, float *whole, float *parts, struct err *e)
{
    int32_t ids[DECODED];
    struct trial t;
    trial_open(&t, m, 2 * DECODED, kv);
    for (int i = 0; i < DECODED; i++)
        ids[i] = (i * 37 + 5) % m->vocab == m->image_token ? 0 : (i * 37 + 5) % m->vocab;
    bool ran = trial_prompt(&t, ids, DECODED, DECODED, whole, e) == 0;
    trial_rewind(&t);
    ran = ran && trial_prompt(&t, ids, DECODED, 5, parts, e) == 0;
    trial_close(&t);
    return ran;
}

/* With the types of caches that are chosen without being asked for, the logits must be finite, and equal to the last
 * bit: a row's arithmetic may not depend on how a prompt is cut. */
static void check_decoder(struct report *r, const struct model *m)
{
    const enum dtype kv[] = { m->backend->kv, m->backend->kv_rounded };
    struct err e = { 0 };
    size_t n = DECODED * (size_t)m->vocab;
    float *whole = calloc(n, sizeof *whole), *parts = calloc(n, sizeof *parts);
    bool finite = whole && parts, equal = finite, ran = finite;
    for (int k = 0; k < (kv[1] == kv[0] ? 1 : 2) && ran; k++) {
        ran = decode_twice(m, kv[k], whole, parts, &e);
        for (size_t i = 0; i < n; i++)
            finite = finite && isfinite(whole[i]);
        equal = equal && finite && !memcmp(whole, parts, n * sizeof *whole);
    }
    if (ran)
        report_say(r, finite && equal, "decoder", "%s, %s in chunks", finite ? "finite" : "not finite",
                   equal ? "equal" : "not equal");
    else
        report_say(r, false, "decoder", "%s", *e.text ? e.text : "out of memory");
    free(whole);
    free(parts);
}

/* ---- golden cases ---- */

/* Models without texts to make have vectors to show. */
static void golden(struct report *r, const struct model *m, const char *dir)
{
    if (m->image_alone)
        golden_vectors(r, m, dir);
    else
        golden_run(r, m, dir);
}

/* Opens the small checkpoint of a golden case with the same device and runs it. */
static void golden_case(struct report *r, const struct model_options *opt, const char *dir)
{
    struct err    e = { 0 };
    struct model *m = model_open(dir, opt, &e);
    if (m)
        golden(r, m, dir);
    else
        report_say(r, false, "case", "%s", e.text);
    model_close(m);
}

/* Is there a file of the reference's numbers in the folder? */
static bool has_golden(const struct model *m, const char *dir)
{
    char path[4200];
    snprintf(path, sizeof path, "%.4100s/%s.safetensors", dir, m->image_alone ? "vectors" : "golden");
    return access(path, R_OK) == 0;
}

/* The folder of the golden cases: the one given, the one beside the sources, or the installed one. The result lies in
 * memory of this function. */
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

/* All cases of the model's family, in the order of their names. None at all is told as skipped and is no failure: an
 * installed program may come without them. */
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

/* Opens the device and the model, and goes through all stages even after one has failed, so that a report shows
 * everything at once. */
static int run(const char *dir, const char *device, const char *given)
{
    struct report r = { 0 };
    struct err e = { 0 };
    struct device *dev = NULL;
    const struct backend *b = backend_find(device, &e);
    if (!b)
        return fprintf(stderr, "openautoglm: %s\n", e.text), USAGE;
    if (b->open(&dev, &(struct device_options){ 0 }, &e) != 0)
        return fprintf(stderr, "openautoglm: %s\n", e.text), 1;
    struct progress loading = { .what = "loading" };
    struct model_options opt = { .backend = b, .device = dev, .progress = progress_bytes, .progress_arg = &loading };
    struct model *m = model_open(dir, &opt, &e);
    if (!m) {
        b->close(dev);
        return fprintf(stderr, "openautoglm: %s\n", e.text), USAGE;
    }
    printf("%s: %s on %s\n", dir, m->type, b->name);
    check_still(&r, m);
    if (!m->image_alone)
        check_decoder(&r, m);
    const char *own = given ? given : dir;
    if (has_golden(m, own))
        golden(&r, m, own);
    else
        golden_cases(&r, &opt, m->type, given);
    model_close(m);
    b->close(dev);
    printf(r.failed ? "selftest: %d stages FAILED\n" : "selftest: every stage is right\n", r.failed);
    return r.failed ? 1 : 0;
}

/* Options come in pairs of a name and a value, but for --help. */
int command_selftest(int argc, char **argv)
{
    const char *model = NULL, *device = "cpu", *given = NULL;
    for (int i = 1; i < argc; i += 2) {
        const char *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return fputs(usage, stdout), 0;
        if (v && !strcmp(argv[i], "--model"))
            model = v;
        else if (v && !strcmp(argv[i], "--device"))
            device = v;
        else if (v && !strcmp(argv[i], "--golden"))
            given = v;
        else
            return fputs(usage, stderr), USAGE;
    }
    if (!model)
        return fputs(usage, stderr), USAGE;
    return run(model, device, given);
}
