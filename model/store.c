/* model/store.c - see store.h. */
#include "model/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "checkpoint/prepared.h"
#include "checkpoint/writer.h"
#include "kernels/panels.h"
#include "kernels/quant.h"
#include "model/calibrate.h"
#include "model/load.h"
#include "model/nn.h"

enum { PANEL_ALIGN = 64, MAX_SLABS = 16 };

struct later {                 /* a matrix that is made while the model runs; a struct weight points to it until then */
    char         *name;        /* owned */
    struct weight shape;       /* bias: owned, or NULL                          */
    struct slab   slab[MAX_SLABS];
    int           n;           /* slabs                                         */
    struct weight made;        /* owned by the device; data NULL: not yet       */
    void         *records;     /* owned: those that `made` is used from, or NULL */
};

struct storing {
    const struct store_options *opt;
    struct writer writer;
    json_t       *notes;       /* owned object: tensor -> "TYPE FORM" */
    bool          writing;     /* the second time                     */
    /* with a sample: */
    struct device *dev;        /* borrowed                            */
    struct later **later;      /* owned (n_later)                     */
    size_t        n_later, cap_later;
    bool          counts;      /* inputs are the sample's             */
    size_t        done, all;   /* bytes of such matrices              */
    struct err   *e;           /* borrowed: where to put an error of the run           */
    bool          failed;      /* there is one                                         */
};

static void scale_name(char out[272], const char *name) { snprintf(out, 272, "%s" SCALE_SUFFIX, name); }

static void note(struct storing *s, const char *name, const char *type, const char *form)
{
    char text[40];
    snprintf(text, sizeof text, "%s %s", type, form);
    json_object_set_new(s->notes, name, json_string(text));
}

/* The first time: announces a weight, as one tensor, or two where the scales stand apart. */
static int announce(struct storing *s, const char *name, const struct weight *w, struct err *e)
{
    struct stored_shape shape;
    char scale[272];
    bool panels = panels_suit(w, w->dtype);
    load_stored_shape(&shape, w->out, w->in, w->dtype, panels ? FORM_PANELS : FORM_ROWS);
    note(s, name, dtype_name(w->dtype), panels ? "panels" : "rows");
    if (writer_add(&s->writer, name, shape.type, shape.dims, shape.n_dims, panels ? PANEL_ALIGN : shape.align, e) != 0)
        return -1;
    if (!shape.scales)
        return 0;
    scale_name(scale, name);
    note(s, scale, "f32", "plain");
    return writer_add(&s->writer, scale, "F32", &shape.scales, 1, sizeof(float), e);
}

/* The second time: the same weight, laid out. */
static int write_weight(struct storing *s, const char *name, const struct weight *w, struct err *e)
{
    struct slab slab[MAX_SLABS];
    char scale[272];
    int n = backend_cpu.slabs(w, slab, MAX_SLABS);
    if (n < 1 || n > MAX_SLABS || (slab->form == FORM_PANELS) != panels_suit(w, w->dtype))
        return err_set(e, "tensor %.120s: laid out otherwise than was announced", name);
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        size_t bytes = slab[i].form == FORM_PANELS ? (size_t)panels_of(w->out) * panel_bytes(w->dtype, w->in)
                                                   : (size_t)slab[i].rows * quant_row_bytes(w->dtype, w->in);
        if (writer_put(&s->writer, name, at, slab[i].data, bytes, e) != 0)
            return -1;
        at += bytes;
    }
    if (!slab->scale)
        return 0;
    scale_name(scale, name);
    return writer_put(&s->writer, scale, 0, slab->scale, sizeof(float) * PANEL * (size_t)panels_of(w->out), e);
}

/* The loader shows each matrix twice: first its shape alone, then its data. Between two of them the user may interrupt.
 * */
static int see_weight(void *arg, const char *name, const struct weight *w, struct err *e)
{
    struct storing *s = arg;
    if (s->opt->stop && *s->opt->stop)
        return err_set(e, "interrupted");
    return s->writing ? write_weight(s, name, w, e) : announce(s, name, w, e);
}

/* A tensor that load() reads as numbers; some are read more than once. */
static int see_tensor(void *arg, const struct stored *t, struct err *e)
{
    struct storing *s = arg;
    if (s->writing)
        return writer_put(&s->writer, t->name, 0, t->data, t->bytes, e);
    if (json_object_get(s->notes, t->name))
        return strcmp(json_string_value(json_object_get(s->notes, t->name)), "- plain") == 0
                   ? 0
                   : err_set(e, "tensor %.120s is both multiplied with and read as numbers", t->name);
    note(s, t->name, "-", "plain");
    return writer_add(&s->writer, t->name, t->dtype, t->dims, t->n_dims, 1, e);
}

/* ---- with a sample ---- */

/* Experts are many matrices that one operation takes at once, without asking for each; they are made as without a
 * sample. */
static bool see_later(void *arg, const char *name, struct weight *w, const struct slab *slabs, int n,
                      const float *bias)
{
    struct storing *s = arg;
    if (w->dtype != s->opt->weights || n > MAX_SLABS || strstr(name, ".experts."))
        return false;
    struct later *l = xcalloc(1, sizeof *l);
    *l = (struct later){ .name = xstrdup(name), .shape = *w, .n = n };
    memcpy(l->slab, slabs, sizeof *slabs * (size_t)n);
    if (bias)
        l->shape.bias = memcpy(xmalloc(sizeof *bias * (size_t)w->out), bias, sizeof *bias * (size_t)w->out);
    xgrow(&s->later, &s->cap_later, s->n_later + 1, sizeof *s->later);
    s->later[s->n_later++] = l;
    s->all += backend_cpu.packed_bytes(w, w->dtype);
    w->data = l;
    return true;
}

/* Makes the matrix, for inputs x or, where x is empty, as it would be without a sample, and writes it. */
static int make(struct storing *s, struct later *l, struct tensor x, struct err *e)
{
    const struct store_sample *sample = s->opt->sample;
    const enum dtype t = l->shape.dtype;
    struct slab calibrated = { .dtype = t, .rows = l->shape.out, .name = l->name };
    struct weight made = { .out = l->shape.out, .in = l->shape.in, .dtype = t, .layout = LAYOUT_LINEAR };
    if (s->opt->stop && *s->opt->stop)
        return err_set(e, "interrupted");
    if (x.data) {
        calibrated.data = l->records = malloc((size_t)made.out * quant_row_bytes(t, made.in));
        if (!l->records)
            return err_memory(e);
        if (calibrate_rows(s->dev, &made, l->slab, l->n, x, l->records, s->opt->stop, e) != 0)
            return err_prefix(e, "%s", l->name);
    }
    if (backend_cpu.pack(s->dev, &made, x.data ? &calibrated : l->slab, x.data ? 1 : l->n, l->shape.bias, t, e) != 0)
        return -1;
    l->made = made;
    if (panels_suit(&made, t)) {
        free(l->records);
        l->records = NULL;
    }
    s->done += backend_cpu.packed_bytes(&made, t);
    if (sample->progress)
        sample->progress(sample->progress_arg, s->done, s->all);
    return write_weight(s, l->name, &made, e);
}

/* The pass has come to a weight. What is multiplied with a matrix for the first time is what it is made for. */
static const struct weight *use(void *arg, const struct weight *w, struct tensor x)
{
    struct storing *s = arg;
    for (size_t i = 0; i < s->n_later && !s->failed; i++) {
        struct later *l = s->later[i];
        if (w->data != l)
            continue;
        if (!l->made.data && make(s, l, s->counts ? x : (struct tensor){ 0 }, s->e) != 0)
            s->failed = true;
        w = &l->made;
        break;
    }
    return s->failed ? NULL : w;
}

/* Runs the model, and makes what it has not come to. */
static int run_sample(struct storing *s, struct model *m, struct err *e)
{
    const struct watch watch = { use, s };
    struct err own = { 0 };
    s->e = &own;
    m->watch = &watch;
    int rc = s->opt->sample->run(s->opt->sample->arg, m, &s->counts, e);
    m->watch = NULL;
    if (s->failed)
        return *e = own, -1;
    for (size_t i = 0; i < s->n_later && rc == 0; i++)
        if (!s->later[i]->made.data)
            rc = make(s, s->later[i], (struct tensor){ 0 }, e);
    return rc;
}

/* Also after an error, when some of them were never made. */
static void free_later(struct storing *s)
{
    for (size_t i = 0; i < s->n_later; i++) {
        struct later *l = s->later[i];
        if (l->made.data)
            backend_cpu.release(s->dev, &l->made);
        free(l->name);
        free(l->shape.bias);
        free(l->records);
        free(l);
    }
    free(s->later);
}

/* Loads the checkpoint once, with a device or without. */
static int pass(struct storing *s, const char *dir, struct device *dev, struct err *e)
{
    bool sample = dev && s->opt->sample;
    struct model_store store = { .weight = see_weight, .tensor = see_tensor, .arg = s,
                                 .later = sample ? see_later : NULL, .runs = sample };
    struct model_options opt = { .backend = &backend_cpu, .device = dev, .convert = true, .weights = s->opt->weights,
                                 .store = &store };
    opt.progress = dev ? s->opt->progress : NULL;
    opt.progress_arg = s->opt->progress_arg;
    s->writing = dev != NULL;
    s->dev = dev;
    struct model *m = model_open(dir, &opt, e);
    if (m && !dev && m->n_unused > 0)
        log_warn("%s: %d tensors are of no use to this family and are left out; the first: %s", dir, m->n_unused,
                 m->first_unused);
    int rc = m ? 0 : -1;
    if (m && sample)
        rc = run_sample(s, m, e);
    free_later(s);
    model_close(m);
    return rc;
}

/* Writes the weights of `dir` to `path` in the form in which the CPU uses them. The model is loaded twice: once without
 * a device, to learn all shapes, from which the length of the file's header follows; then each weight is packed and
 * written. *bytes: the size of the file. */
int model_store(const char *dir, const char *path, const struct store_options *opt, size_t *bytes, struct err *e)
{
    struct storing s = { .opt = opt, .notes = json_object() };
    struct device *dev = NULL;
    char version[16];
    writer_init(&s.writer);
    snprintf(version, sizeof version, "%d", PANELS_VERSION);
    json_t *about = json_pack("{s:s, s:s}", PREPARED_VERSION, version, PREPARED_WEIGHTS, dtype_name(opt->weights));
    int rc = pass(&s, dir, NULL, e);
    if (rc == 0)
        rc = writer_begin(&s.writer, path, e);
    if (rc == 0)
        rc = backend_cpu.open(&dev, &(struct device_options){ .threads = opt->threads }, e);
    if (rc == 0) {
        rc = pass(&s, dir, dev, e);
        backend_cpu.close(dev);
    }
    if (rc == 0)
        rc = writer_end(&s.writer, s.notes, about, e);
    *bytes = s.writer.header + s.writer.data;
    writer_free(&s.writer);
    json_decref(s.notes);
    json_decref(about);
    return rc;
}
