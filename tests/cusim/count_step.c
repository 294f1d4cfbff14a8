/* tests/cusim/count_step.c MODEL_DIR [WEIGHTS [rounded]] - what the kernels do in a decode step, in
 * a step of a prompt and for a screenshot, as JSON: count.c counts, report.py
 * reads. Weights are allocated and never filled, so a hollow checkpoint
 * (python/full.py --hollow) of full width will do. Needs
 * libopenautoglm_cusim_checked.so. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/device.h"
#include "kernels/kv.h"
#include "kernels/plugin.h"
#include "model/measure.h"
#include "model/model.h"
#include "model/nn.h"
#include "tests/options.h"

enum { PAGE = 32, SAMPLED_BLOCKS = 2, SCREEN_WIDTH = 1080, SCREEN_HEIGHT = 2400 };

/* rows of each sequence; tokens that they see in all */
struct scenario { const char *name; int seqs, rows, context; };
static const struct scenario scenarios[] = {
    { "decode, 1 request", 1, 1, 3500 },
    { "decode, 16 requests", 16, 1, 3500 },
    { "prompt, 512 rows", 1, 512, 2048 },
};

static const struct backend *real;
static struct backend hollow;
static struct device *dev;
static void (*count)(int blocks), (*count_write)(FILE *out);

static void die(const char *text)
{
    fprintf(stderr, "count_step: %s\n", text);
    exit(1);
}

static void *on_device(size_t n)
{
    void *p = real->alloc(dev, n);
    if (!p)
        die("no memory");
    return p;
}

static int pack_nothing(struct device *d, struct weight *out, const struct slab *slabs, int n, const float *bias,
                        enum dtype want, struct err *e)
{
    (void)d, (void)slabs, (void)n, (void)e;
    out->dtype = want;
    out->data = on_device(real->packed_bytes(out, want));
    out->bias = bias ? on_device((size_t)out->out * sizeof *bias) : NULL;
    return 0;
}

static const int *put(const int *host, int n)
{
    void *p = on_device((size_t)n * sizeof *host);
    real->upload(dev, p, host, (size_t)n * sizeof *host);
    return p;
}

static void report(const char *name)
{
    const char *failed = real->sync(dev);
    if (failed)
        die(failed);
    printf(", \"%s\": ", name);
    count_write(stdout);
    count(SAMPLED_BLOCKS);
}

static void step(const struct model *m, const struct scenario *s)
{
    int rows = s->seqs * s->rows, pages = (s->context + PAGE - 1) / PAGE;
    int *h = xcalloc((size_t)rows * 8 + (size_t)s->seqs * (size_t)(pages + 2) + 8, sizeof *h);
    int *pos = h, *slot = pos + 3 * rows, *limit = slot + rows, *first = limit + rows, *table = first + s->seqs + 1;
    struct kv kv[2] = { { real->kv, PAGE, s->seqs * pages, m->text_kv.layers, m->text_kv.n_kv, m->text_kv.dim, NULL,
                          NULL } };
    size_t bytes = (size_t)kv->layers * kv_layer_bytes(kv);
    kv->k = on_device(bytes);
    kv->v = on_device(bytes);
    for (int i = 0; i < rows; i++) {
        int seq = i / s->rows, at = s->context - s->rows + i % s->rows;
        pos[i] = pos[rows + i] = pos[2 * rows + i] = at;
        slot[i] = seq * pages * PAGE + at;
        limit[i] = at + 1;
        first[seq] = seq * s->rows;
    }
    first[s->seqs] = rows;
    for (int i = 0; i < s->seqs * pages; i++)
        table[i] = i;
    struct view view = { .slot = put(slot, rows), .limit = put(limit, rows), .pages = put(table, s->seqs * pages),
                         .max_pages = pages, .max_kv = s->context };
    struct forward in = { .batch = { rows, s->seqs, s->rows, put(limit, rows), put(pos, 3 * rows),
                                     put(first, s->seqs + 1), &view },
                          .out_rows = put(first, s->seqs), .n_out = s->seqs };
    struct pass_memory memory = model_measure_forward(m, rows, s->seqs, s->seqs, 0);
    struct run r = { .ops = &real->ops, .backend = real, .dev = dev, .kv = kv, .size = memory.scratch };
    r.scratch = on_device(r.size);
    m->family->forward(m, &r, &in);
    report(s->name);
    real->free(dev, r.scratch);
    free(h);
}

static void screenshot(const struct model *m)
{
    struct err e;
    struct encode in = { 0 };
    if (m->family->plan_image(m, SCREEN_WIDTH, SCREEN_HEIGHT, NULL, &in.plan, &e) != 0)
        die(e.text);
    int n = in.plan.n_tokens, *rows = xcalloc((size_t)n, sizeof *rows);
    for (int i = 0; i < n; i++)
        rows[i] = i;
    in.rows = put(rows, n);
    in.rgb = on_device((size_t)in.plan.width * (size_t)in.plan.height * 3);
    in.pool = (struct tensor){ on_device((size_t)n * (size_t)m->image_row_width * sizeof(float)), F32, n,
                               m->image_row_width, m->image_row_width };
    struct pass_memory memory = model_measure_encode(m, &in.plan);
    struct run r = { .ops = &real->ops, .backend = real, .dev = dev, .size = memory.scratch, .host_size = memory.host,
                     .host = xmalloc(memory.host) };
    r.scratch = on_device(r.size);
    m->family->encode_image(m, &r, &in);
    report("screenshot");
    free(r.host);
    free(rows);
}

/* Nothing is packed here, so whether the backend can is asked before. */
static void check_weights(const struct model_options *opt)
{
    static float zeros[64 * 128];
    struct weight w = { .out = 64, .in = 128, .layout = LAYOUT_LINEAR };
    struct slab s = { .data = zeros, .dtype = F32, .rows = 64 };
    struct err e;
    if (opt->convert && real->pack(dev, &w, &s, 1, NULL, opt->weights, &e) != 0)
        die(e.text);
}

int main(int argc, char **argv)
{
    struct err e;
    if (argc < 2)
        die("the model's folder is missing");
    setenv("CUSIM_MEMORY", "60000", 1);
    setenv("CUSIM_PROCESSORS", "108", 1);                /* an A100: few rows are split over all of them */
    real = plugin_load("cusim-checked", &e);
    if (!real || real->open(&dev,
                            &(struct device_options){ .activations = argc > 3 ? ACTIVATIONS_INT8 : ACTIVATIONS_AUTO },
                            &e) != 0)
        die(e.text);
    void *lib = dlopen("build/libopenautoglm_cusim_checked.so", RTLD_NOW | RTLD_LOCAL);
    *(void **)&count = lib ? dlsym(lib, "cusim_count") : NULL;
    *(void **)&count_write = lib ? dlsym(lib, "cusim_count_write") : NULL;
    if (!count || !count_write)
        die("build/libopenautoglm_cusim_checked.so is not there");
    count(SAMPLED_BLOCKS);
    hollow = *real;
    hollow.pack = pack_nothing;
    struct model_options opt = { .backend = &hollow, .device = dev };
    struct engine_config config = CONFIG(c.weights = argc > 2 ? argv[2] : "auto");
    if (weights_option(&config, &opt, &e) < 0)
        die(e.text);
    check_weights(&opt);
    struct model *m = model_open(argv[1], &opt, &e);
    if (!m)
        die(e.text);
    printf("{\"weight_bytes\": %zu, \"layers\": %d", m->weight_bytes, m->text_kv.layers);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        step(m, &scenarios[i]);
    if (m->family->plan_image && !opt.convert)           /* the longest part; quantised weights are for decoding */
        screenshot(m);
    puts("}");
    model_close(m);
    real->close(dev);
    return 0;
}
