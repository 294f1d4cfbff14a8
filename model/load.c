/* model/load.c - opens a checkpoint, and fetches tensors by name: finds them, checks their type and shape, and makes
 * floats, tables and norms of them. Matrices become weights in pack.c. See load.h. */
#include "model/load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "checkpoint/folder.h"
#include "checkpoint/prepared.h"
#include "checkpoint/safetensors.h"
#include "kernels/machine.h"
#include "kernels/panels.h"
#include "kernels/quant.h"
#include "model/loaded.h"

/* Remembers p until the list is freed, and returns it. At start-up the memory for a list is not asked for politely. */
void *load_remember(struct memory_list *l, void *p)
{
    xgrow(&l->at, &l->cap, l->n + 1, sizeof *l->at);
    return l->at[l->n++] = p;
}

static void list_free(struct memory_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->at[i]);
    free(l->at);
    *l = (struct memory_list){ 0 };
}

/* Only the first error is kept: those that follow are mostly its consequences. Afterwards the functions that fetch do
 * nothing, and the family asks once, with load_end(). */
int load_fail(struct loader *l, const char *fmt, ...)
{
    char text[480];
    if (l->failed)
        return -1;
    l->failed = true;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(l->e, "%s", text);
}

/* The prefix of all names that are fetched from here on. */
void load_at(struct loader *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(l->prefix, sizeof l->prefix, fmt, ap);
    va_end(ap);
}

/* A name that begins with / stands for itself; any other is below the prefix of load_at(). */
void load_full_name(const struct loader *l, char out[256], const char *name, const char *suffix)
{
    if (*name == '/')
        snprintf(out, 256, "%s%s", name + 1, suffix);
    else
        snprintf(out, 256, "%s%s%s", l->prefix, name, suffix);
}

/* As published, and as transformers writes them since 4.52. */
const char *const load_text_roots[] = { "language_model.model.", "model.language_model.", NULL };
const char *const load_tower_roots[] = { "vision_tower.vision_model.", "model.vision_tower.vision_model.",
                                         "vision_tower.", "model.vision_tower.", NULL };
const char *const load_projector_roots[] = { "multi_modal_projector.", "model.multi_modal_projector.", NULL };

/* Where the tensors of a model begin: the first of the prefixes under which `name` exists. Versions of transformers
 * have moved whole models below another name. If none fits, the first one, whose missing tensors then make the
 * error. */
const char *load_root(const struct loader *l, const char *name, const char *const *prefixes)
{
    for (const char *const *p = prefixes; *p; p++) {
        char full[256];
        snprintf(full, sizeof full, "%s%s", *p, name);
        if (weights_find(l->m->file, full))
            return *p;
    }
    return prefixes[0];
}

/* Counts the tensor as read. The selftest warns of those that nobody reads: a family that forgets one would be silently
 * wrong. */
void load_mark(struct loader *l, const struct stored *t)
{
    int n;
    uint8_t *u = &l->used[t - weights_all(l->m->file, &n)];
    l->done += *u ? 0 : t->bytes;
    *u = (uint8_t)(*u + (*u < 255));
}

bool load_has(const struct loader *l, const char *name)
{
    char full[256];
    load_full_name(l, full, name, "");
    return weights_find(l->m->file, full) != NULL;
}

void load_skip(struct loader *l, const char *name)
{
    char full[256];
    int n;
    load_full_name(l, full, name, "");
    const struct stored *t = weights_all(l->m->file, &n);
    for (int i = 0; i < n; i++)
        if (strncmp(t[i].name, full, strlen(full)) == 0 && !l->used[i])
            load_mark(l, &t[i]);
}

bool load_has_shape(const struct loader *l, const char *name, const int *shape, int n_dims)
{
    char full[256];
    load_full_name(l, full, name, "");
    const struct stored *t = weights_find(l->m->file, full);
    bool same = t && t->n_dims == n_dims;
    for (int i = 0; same && i < n_dims; i++)
        same = t->dims[i] == shape[i];
    return same;
}

/* Whether a tensor is missing or the same bytes as another one: checkpoints store tied embeddings twice. Then it counts
 * as read. */
bool load_is_copy(struct loader *l, const char *name, const char *of)
{
    char full[256];
    load_full_name(l, full, name, "");
    const struct stored *t = weights_find(l->m->file, full);
    load_full_name(l, full, of, "");
    const struct stored *u = weights_find(l->m->file, full);
    if (t && (!u || strcmp(t->dtype, u->dtype) != 0 || t->bytes != u->bytes || memcmp(t->data, u->data, t->bytes) != 0))
        return false;
    if (t)
        load_mark(l, t);
    return true;
}

void load_shape_text(char out[96], const int64_t *dims, int n)
{
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < n && at < 80; i++)
        at += (size_t)snprintf(out + at, 96 - at, "%s%lld", i ? ", " : "", (long long)dims[i]);
}

/* The type of the floats in a file. Not 0: these are no floats that we read. */
static int float_type(const struct stored *t, enum dtype *out)
{
    if (!strcmp(t->dtype, "BF16"))
        return *out = BF16, 0;
    if (!strcmp(t->dtype, "F16"))
        return *out = F16, 0;
    return *out = F32, strcmp(t->dtype, "F32");
}

/* Finds a tensor and checks that its shape is the one that the family expects and that it is of floats. It counts as
 * read from now on, and its numbers as parameters. NULL after an error, of which the first is kept. */
const struct stored *load_fetch(struct loader *l, const int *shape, int n_dims, const char *name, enum dtype *type)
{
    char have[96], want[96];
    int64_t dims[STORED_MAX_DIMS];
    if (l->failed)
        return NULL;
    const struct stored *t = weights_find(l->m->file, name);
    if (!t)
        return load_fail(l, "%s: tensor %s is missing", l->dir, name), NULL;
    bool same = t->n_dims == n_dims;
    for (int i = 0; i < n_dims; i++) {
        dims[i] = shape[i];
        same = same && t->dims[i] == shape[i];
    }
    if (!same) {
        load_shape_text(have, t->dims, t->n_dims);
        load_shape_text(want, dims, n_dims);
        load_fail(l, "%s: tensor %s has shape (%s), not (%s)", weights_file_name(l->m->file, t), name, have, want);
        return NULL;
    }
    if (float_type(t, type) != 0)
        return load_fail(l, "%s: tensor %s is %s; floats are needed", weights_file_name(l->m->file, t), name,
                         t->dtype), NULL;
    load_mark(l, t);
    l->m->n_params += t->bytes / dtype_size(*type);
    return t;
}

/* Without alignment or a table: the compiler knows the type. */
static float half_to_float(uint16_t h)
{
    _Float16 f;
    memcpy(&f, &h, sizeof f);
    return (float)f;
}

/* Element i of a tensor as it lies in a file, where nothing promises alignment. The file may be of any float type
 * that load_fetch() lets through. */
static float get_float(const void *data, enum dtype type, size_t i)
{
    const char *p = (const char *)data + i * dtype_size(type);
    uint32_t bits = 0;
    uint16_t half;
    float f;
    if (type == F32) {
        memcpy(&f, p, sizeof f);
        return f;
    }
    memcpy(&half, p, sizeof half);
    if (type == F16)
        return half_to_float(half);
    bits = (uint32_t)half << 16;
    memcpy(&f, &bits, sizeof f);
    return f;
}

void *load_keep(struct loader *l, size_t n) { return load_remember(&l->m->loaded->kept, xcalloc(n, 1)); }

float *load_scratch(struct loader *l, size_t n)
{
    return l->failed ? NULL : load_remember(&l->m->loaded->scratch, xcalloc(n, sizeof(float)));
}

/* Shows a tensor to whoever stores the model anew, if somebody does. -1: they have had enough. */
static int show_tensor(struct loader *l, const struct stored *t)
{
    const struct model_store *s = l->opt->store;
    if (s && s->tensor(s->arg, t, l->e) != 0)
        l->failed = true;
    return l->failed ? -1 : 0;
}

/* A tensor as float32 in memory of the loader, whatever float type it is stored as. NULL: the loader has failed. */
float *load_floats_of(struct loader *l, const int *shape, int n_dims, const char *full)
{
    enum dtype type;
    const struct stored *t = load_fetch(l, shape, n_dims, full, &type);
    if (!t || show_tensor(l, t) != 0)
        return NULL;
    size_t n = t->bytes / dtype_size(type);
    float *out = load_scratch(l, n);
    for (size_t i = 0; i < n; i++)
        out[i] = get_float(t->data, type, i);
    return out;
}

/* A tensor of this shape as float32; NULL: the loader has failed, and the first error is kept. */
float *load_floats(struct loader *l, const int *shape, int n_dims, const char *name)
{
    char full[256];
    load_full_name(l, full, name, "");
    return load_floats_of(l, shape, n_dims, full);
}

float *load_rows_of(struct loader *l, const char *name, int rows, int in, const int *row, int n)
{
    char full[256];
    enum dtype type;
    load_full_name(l, full, name, "");
    const struct stored *t = l->failed ? NULL : weights_find(l->m->file, full);
    if (l->failed)
        return NULL;
    if (!t || t->n_dims != 2 || t->dims[0] != rows || t->dims[1] != in || float_type(t, &type) != 0) {
        load_fail(l, "%s: tensor %s is not there as floats of shape (%d, %d)", l->dir, full, rows, in);
        return NULL;
    }
    float *out = load_scratch(l, (size_t)n * (size_t)in);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < in; k++)
            out[(size_t)i * (size_t)in + (size_t)k] = get_float(t->data, type, (size_t)row[i] * (size_t)in + (size_t)k);
    return out;
}


/* A table on the device. In a dry run only its size counts, and the pointer that is returned must not be read. */
const void *load_bytes(struct loader *l, const void *host, size_t n)
{
    struct model *m = l->m;
    m->weight_bytes += (n + 63) / 64 * 64;
    if (!m->device || l->failed)
        return host; /* never read */
    void *p = m->backend->alloc(m->device, n);
    if (!p)
        return load_fail(l, "a table of %zu bytes does not fit the device's memory", n), host;
    load_remember(&m->loaded->tables, p);
    m->backend->upload(m->device, p, host, n);
    return p;
}

struct tensor load_table(struct loader *l, const float *host, int rows, int cols)
{
    const void *p = load_bytes(l, host, (size_t)rows * (size_t)cols * sizeof *host);
    return (struct tensor){ (void *)(uintptr_t)p, F32, rows, cols, cols };
}

struct tensor load_stored_table(struct loader *l, const int *shape, int n_dims, int rows, int cols, const char *name)
{
    char full[256];
    enum dtype type = F32;
    load_full_name(l, full, name, "");
    const struct stored *t = load_fetch(l, shape, n_dims, full, &type);
    if (!t || show_tensor(l, t) != 0)
        return (struct tensor){ 0 };
    return (struct tensor){ (void *)(uintptr_t)load_bytes(l, t->data, t->bytes), type, rows, cols, cols };
}

/* A norm of n numbers: its weight, and for a layer norm also its bias. */
void load_norm(struct loader *l, struct norm *out, int n, enum norm_kind kind, double eps, const char *name)
{
    char full[256];
    *out = (struct norm){ .eps = (float)eps, .center = kind == LAYER_NORM };
    load_full_name(l, full, name, ".weight");
    float *w = load_floats_of(l, (const int[]){ n }, 1, full);
    for (int i = 0; w && kind == RMS_NORM_OFFSET && i < n; i++)
        w[i] += 1;
    out->w = load_table(l, w, 1, n);
    if (kind != LAYER_NORM)
        return;
    load_full_name(l, full, name, ".bias");
    out->b = load_table(l, load_floats_of(l, (const int[]){ n }, 1, full), 1, n);
}

/* names: the fields of the configuration that may hold it, as in hparams_string(). */
enum act load_act(struct hparams *h, const char *names, const char *def)
{
    static const struct { const char *name; enum act act; } known[] = {
        { "silu", ACT_SILU }, { "swish", ACT_SILU }, { "gelu", ACT_GELU }, { "gelu_pytorch_tanh", ACT_GELU_TANH },
        { "gelu_new", ACT_GELU_TANH }, { "quick_gelu", ACT_QUICK_GELU }, { "relu", ACT_RELU }, { "relu6", ACT_RELU6 },
    };
    const char *s = hparams_string(h, names, def);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(s, known[i].name))
            return known[i].act;
    hparams_fail(h, names, "\"%.40s\" is not an activation that we know", s);
    return ACT_NONE;
}

/* To be asked when everything is fetched: was it all there, of the right shape, and did the configuration hold what is
 * understood? What was computed meanwhile is worth nothing if not. */
int load_end(struct loader *l)
{
    if (!l->failed && hparams_end(&l->config) == 0 && hparams_end(&l->image) == 0)
        return 0;
    return -1;
}

/* Is the checkpoint a prepared one, and can it be used as is asked for? Its weights stay what they are. Looking at
 * headers alone does not ask for checksums. */
static int begin_prepared(struct loader *l)
{
    struct model *m = l->m;
    const char *as = prepared_weights(m->file);
    if (prepared_check(m->file, PANELS_VERSION, l->e) != 0)
        return err_prefix(l->e, "%s", l->dir);
    if (!as)
        return 0;
    if (!dtype_named(as, &m->prepared_as) || !(m->prepared_as == BF16 || quantised(m->prepared_as)))
        return load_fail(l, "%s: prepared as '%.20s', which is no type of weights", l->dir, as);
    if (l->opt->store)
        return load_fail(l, "%s: these weights are prepared already; give the checkpoint that they were made of",
                         l->dir);
    if (m->loaded->convert && m->loaded->want != m->prepared_as)
        return load_fail(l, "%s: the weights were prepared as %s and cannot become %s; leave out --weights, or give "
                            "the checkpoint that they were made of", l->dir, as, dtype_name(m->loaded->want));
    m->prepared = m->loaded->convert = true;
    m->loaded->want = m->prepared_as;
    if (!m->device)
        return 0;
    weights_read_ahead(m->file);
    return prepared_verify(m->file, machine_threads(), l->e) == 0 ? 0 : err_prefix(l->e, "%s", l->dir);
}

/* Reads what a family asks for before its tensors: config.json, the image processor's settings (which newer
 * checkpoints keep inside processor_config.json), and the index of the tensor files. After an error loader_close()
 * still has to be called. */
int loader_open(struct loader *l, struct model *m, const char *dir, const struct model_options *opt, struct err *e)
{
    int n;
    *l = (struct loader){ .m = m, .dir = dir, .e = e, .opt = opt };
    m->loaded = xcalloc(1, sizeof *m->loaded);
    m->loaded->convert = opt->convert;
    m->loaded->want = opt->weights;
    if (folder_check(dir, e) != 0 || hparams_open(&l->config, dir, "config.json", true, e) != 0 ||
        hparams_open(&l->image, dir, "preprocessor_config.json", false, e) != 0)
        return -1;
    if (json_object_size(l->image.object) == 0) {
        hparams_close(&l->image);
        if (hparams_open(&l->image, dir, "processor_config.json", false, e) != 0)
            return -1;
        json_t *inner = json_object_get(l->image.object, "image_processor");
        if (json_is_object(inner)) {
            json_incref(inner);
            hparams_close(&l->image);
            l->image.object = inner;
        }
    }
    m->file = weights_open(dir, e);
    if (!m->file)
        return -1;
    const struct stored *t = weights_all(m->file, &n);
    for (int i = 0; i < n; i++)
        l->all += t[i].bytes;
    l->used = xcalloc((size_t)n, 1);
    return begin_prepared(l);
}

void loader_close(struct loader *l)
{
    if (l->opt->progress)
        l->opt->progress(l->opt->progress_arg, l->all, l->all);
    list_free(&l->m->loaded->scratch);
    hparams_close(&l->config);
    hparams_close(&l->image);
    free(l->used);
}

/* Gives back all that loading took from the device and the host. Needs the device still open. */
void loaded_free(struct model *m)
{
    struct loaded *d = m->loaded;
    if (!d)
        return;
    for (size_t i = 0; i < d->n_weights; i++)
        m->backend->release(m->device, &d->weights[i]);
    for (size_t i = 0; i < d->tables.n; i++)
        m->backend->free(m->device, d->tables.at[i]);
    free(d->tables.at);
    free(d->weights);
    list_free(&d->kept);
    list_free(&d->scratch);
    free(d);
}
