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
#include "model/load.h"

enum { PANEL_ALIGN = 64, MAX_SLABS = 16 };

struct storing {
    const struct store_options *opt;
    struct writer writer;
    json_t       *notes;       /* owned object: tensor -> "TYPE FORM" */
    bool          writing;     /* the second time                     */
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

/* Loads the checkpoint once, with a device or without. */
static int pass(struct storing *s, const char *dir, struct device *dev, struct err *e)
{
    struct model_store store = { .weight = see_weight, .tensor = see_tensor, .arg = s };
    struct model_options opt = { .backend = &backend_cpu, .device = dev, .convert = true, .weights = s->opt->weights,
                                 .store = &store };
    opt.progress = dev ? s->opt->progress : NULL;
    opt.progress_arg = s->opt->progress_arg;
    s->writing = dev != NULL;
    struct model *m = model_open(dir, &opt, e);
    if (m && !dev && m->n_unused > 0)
        log_warn("%s: %d tensors are of no use to this family and are left out; the first: %s", dir, m->n_unused,
                 m->first_unused);
    model_close(m);
    return m ? 0 : -1;
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
