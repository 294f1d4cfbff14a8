/* cli/preprocess.c - what becomes of an image before the model sees it. Prints one line of JSON:
 *
 * {"size": [w, h], "resized": [w, h], "grid": [h, w] in image tokens, "tokens": n, "shape": [...], "sha256": "..."}
 *
 * and where the picture becomes several, "views": [[w, h], ...] behind "resized", which is the first of them.
 *
 * The hash is that of the pixel values as little-endian float32, in the reference's layout:
 * hashlib.sha256(pixel_values.numpy().tobytes()). */
#include "cli/preprocess.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/npy.h"
#include "selftest/values.h"

enum { MAX_FILE = 64 << 20, USAGE = 2 };

static const char usage[] =
    "usage: openautoglm preprocess --model DIR --image FILE [--out FILE.npy]\n"
    "                             [--max-pixels N] [--min-pixels N]\n"
    "\n"
    "Prints the resized size, the grid, the number of image tokens and a hash of the\n"
    "pixel values as one line of JSON; --out writes the pixel values.\n";

struct arguments { const char *model, *image, *out; struct image_options opt; };

/* 0; 1: help was printed; -1: something is wrong, and was told. Every option but --help has a value. */
static int read_arguments(struct arguments *a, int argc, char **argv)
{
    *a = (struct arguments){ 0 };
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return fputs(usage, stdout), 1;
        if (!v)
            return fprintf(stderr, "openautoglm: %s needs a value\n%s", argv[i], usage), -1;
        if (!strcmp(argv[i], "--model"))
            a->model = v;
        else if (!strcmp(argv[i], "--image"))
            a->image = v;
        else if (!strcmp(argv[i], "--out"))
            a->out = v;
        else if (!strcmp(argv[i], "--max-pixels"))
            a->opt.max_pixels = atoll(v);
        else if (!strcmp(argv[i], "--min-pixels"))
            a->opt.min_pixels = atoll(v);
        else
            return fprintf(stderr, "openautoglm: there is no option %s\n%s", argv[i], usage), -1;
        i++;
    }
    if (a->model && a->image)
        return 0;
    return fputs(usage, stderr), -1;
}

/* The file's pixels, upright and in their own size; the model's plan decides about resizing. */
static int read_image(const char *path, struct pixels *out, struct err *e)
{
    struct image_limits limits = { .max_bytes = MAX_FILE, .max_pixels = (size_t)1 << 28 };
    struct buf file;
    buf_init(&file, MAX_FILE);
    int rc = file_must_read(path, &file, e);
    if (rc == 0 && image_decode(file.data, file.len, &limits, NULL, out, e) != 0)
        rc = err_prefix(e, "%s", path);
    buf_free(&file);
    return rc;
}

static int write_npy(const char *path, const float *data, size_t n, const char *shape, struct err *e)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && npy_begin(f) && fwrite(data, sizeof *data, n, f) == n && npy_end(f, shape);
    if (f && fclose(f) != 0)
        ok = false;
    return ok ? 0 : err_set(e, "%s: cannot be written", path);
}

/* The sizes of the plan's views as a member of the line; nothing if there is only one. */
static void print_views(const struct image_plan *p)
{
    struct image_recipe r = plan_recipe(p);
    int n = 0;
    for (int i = 0; i < r.n; i++)
        n += !r.view[i].hidden;
    if (n < 2)
        return;
    printf("\"views\": ");
    const char *before = "[";
    for (int i = 0; i < r.n; i++)
        if (!r.view[i].hidden) {
            printf("%s[%d, %d]", before, r.view[i].width, r.view[i].height);
            before = ", ";
        }
    printf("], ");
}

/* Plans, resizes and normalises the image, writes the values if a file was named, and prints the line. */
static int report(const struct arguments *a, const struct model *m, const struct pixels *in, struct err *e)
{
    struct values v;
    char text[96];
    if (values_of(&v, m, in, &a->opt, e) != 0)
        return -1;
    int dims = 4, at = 0;
    while (dims > 2 && v.shape[dims - 1] == 1)
        dims--;
    for (int i = 0; i < dims; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, i ? ", %d" : "%d", v.shape[i]);
    int rc = a->out ? write_npy(a->out, v.data, v.n, text, e) : 0;
    if (rc == 0) {
        printf("{\"size\": [%d, %d], \"resized\": [%d, %d], ", in->width, in->height, v.plan.width, v.plan.height);
        print_views(&v.plan);
        printf("\"grid\": [%d, %d], \"tokens\": %d, \"shape\": [%s], \"sha256\": \"%s\"}\n", v.plan.grid_h,
               v.plan.grid_w, v.plan.n_tokens, text, v.sha256);
    }
    values_free(&v);
    return rc;
}

/* Opens the model on the plain backend, because only its configuration is needed and nothing is computed. */
int command_preprocess(int argc, char **argv)
{
    struct arguments a;
    struct err e = { 0 };
    struct pixels px = { 0 };
    int how = read_arguments(&a, argc, argv);
    if (how != 0)
        return how > 0 ? 0 : USAGE;
    struct model *m = model_open(a.model, &(struct model_options){ .backend = &backend_ref }, &e);
    int rc = m ? 0 : USAGE;
    if (m && !m->family->plan_image)
        rc = (err_set(&e, "%s takes no images", m->type), USAGE);
    if (rc == 0 && (read_image(a.image, &px, &e) != 0 || report(&a, m, &px, &e) != 0))
        rc = 1;
    if (rc)
        fprintf(stderr, "openautoglm: %s\n", e.text);
    pixels_free(&px);
    model_close(m);
    return rc;
}
