/* model/load.c - see load.h. */
#include "model/load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "checkpoint/folder.h"
#include "checkpoint/prepared.h"
#include "checkpoint/safetensors.h"
#include "kernels/machine.h"
#include "kernels/panels.h"
#include "kernels/quant.h"
#include "kernels/slab.h"

enum { MAX_PARTS = 8 };

/* What a matrix is, which decides how it may be quantised. */
enum role {
    LAYER,
    QKV,                               /* of self attention                    */
    TOKENS,                            /* embedding and head                   */
    EXACT,                             /* whose numbers nobody may round       */
    COMPUTED                           /* by load(): convolutions among others */
};

struct list { void **at; size_t n, cap; };

struct loaded {
    struct weight *weights;          /* owned (n_weights): for release()                 */
    size_t n_weights, cap_weights;
    struct list tables;              /* device memory                                    */
    struct list kept;                /* host memory that the backend may go on reading   */
    struct list scratch;             /* host memory until load_end()                     */
    bool   convert;
    enum dtype want;
};

/* Remembers p until the list is freed, and returns it. At start-up the memory for a list is not asked for politely. */
static void *list_add(struct list *l, void *p)
{
    xgrow(&l->at, &l->cap, l->n + 1, sizeof *l->at);
    return l->at[l->n++] = p;
}

static void list_free(struct list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->at[i]);
    free(l->at);
    *l = (struct list){ 0 };
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
static void full_name(const struct loader *l, char out[256], const char *name, const char *suffix)
{
    if (*name == '/')
        snprintf(out, 256, "%s%s", name + 1, suffix);
    else
        snprintf(out, 256, "%s%s%s", l->prefix, name, suffix);
}

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
static void mark(struct loader *l, const struct stored *t)
{
    int n;
    uint8_t *u = &l->used[t - weights_all(l->m->file, &n)];
    l->done += *u ? 0 : t->bytes;
    *u = (uint8_t)(*u + (*u < 255));
}

bool load_has(const struct loader *l, const char *name)
{
    char full[256];
    full_name(l, full, name, "");
    return weights_find(l->m->file, full) != NULL;
}

void load_skip(struct loader *l, const char *name)
{
    char full[256];
    int n;
    full_name(l, full, name, "");
    const struct stored *t = weights_all(l->m->file, &n);
    for (int i = 0; i < n; i++)
        if (strncmp(t[i].name, full, strlen(full)) == 0 && !l->used[i])
            mark(l, &t[i]);
}

bool load_has_shape(const struct loader *l, const char *name, const int *shape, int n_dims)
{
    char full[256];
    full_name(l, full, name, "");
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
    full_name(l, full, name, "");
    const struct stored *t = weights_find(l->m->file, full);
    full_name(l, full, of, "");
    const struct stored *u = weights_find(l->m->file, full);
    if (t && (!u || strcmp(t->dtype, u->dtype) != 0 || t->bytes != u->bytes || memcmp(t->data, u->data, t->bytes) != 0))
        return false;
    if (t)
        mark(l, t);
    return true;
}

static void shape_text(char out[96], const int64_t *dims, int n)
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
static const struct stored *fetch(struct loader *l, const int *shape, int n_dims, const char *name, enum dtype *type)
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
        shape_text(have, t->dims, t->n_dims);
        shape_text(want, dims, n_dims);
        load_fail(l, "%s: tensor %s has shape (%s), not (%s)", weights_file_name(l->m->file, t), name, have, want);
        return NULL;
    }
    if (float_type(t, type) != 0)
        return load_fail(l, "%s: tensor %s is %s; floats are needed", weights_file_name(l->m->file, t), name,
                         t->dtype), NULL;
    mark(l, t);
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
 * that fetch() lets through. */
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

void *load_keep(struct loader *l, size_t n) { return list_add(&l->m->loaded->kept, xcalloc(n, 1)); }

float *load_scratch(struct loader *l, size_t n)
{
    return l->failed ? NULL : list_add(&l->m->loaded->scratch, xcalloc(n, sizeof(float)));
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
static float *floats_of(struct loader *l, const int *shape, int n_dims, const char *full)
{
    enum dtype type;
    const struct stored *t = fetch(l, shape, n_dims, full, &type);
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
    full_name(l, full, name, "");
    return floats_of(l, shape, n_dims, full);
}

float *load_rows_of(struct loader *l, const char *name, int rows, int in, const int *row, int n)
{
    char full[256];
    enum dtype type;
    full_name(l, full, name, "");
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

static bool is_plain(enum dtype t) { return t == F32 || t == F16 || t == BF16; }

/* Matrices that lose more than they gain by 4 bits: embedding and head, on which every logit hangs; and queries, keys
 * and values in one, where heads share keys and values. They are a tenth of a layer then, and cause two fifths of what
 * int4 weights lose (docs/quantisation.md). */
static bool wants_bytes(const struct weight *w, enum role role)
{
    return role == TOKENS || (role == QKV && w->out <= 2 * w->in);
}

/* As in the file, unless told otherwise. Quantised are the matrices that lie in the file. */
static enum dtype packed_as(const struct loaded *d, const struct weight *w, const struct slab *slabs, int n,
                            enum role role)
{
    enum dtype want = slabs[0].dtype;
    for (int i = 1; i < n; i++)
        if (slabs[i].dtype != want)
            want = F32;
    if (!d->convert || w->layout != LAYOUT_LINEAR || role == EXACT || (role == COMPUTED && !is_plain(d->want)))
        return want;
    return d->want == Q4 && wants_bytes(w, role) ? Q8 : d->want;
}

/* Packs, or only counts. */
static void pack(struct loader *l, struct weight *out, const struct slab *slabs, int n, const float *bias,
                 enum dtype want)
{
    struct loaded *d = l->m->loaded;
    if (l->failed)
        return;
    out->dtype = want;
    l->m->weight_bytes += l->m->backend->packed_bytes(out, want) + (bias ? (size_t)out->out * sizeof *bias : 0);
    if (!l->m->device)
        return;
    if (l->m->backend->pack(l->m->device, out, slabs, n, bias, want, l->e) != 0) {
        err_prefix(l->e, "%s", l->dir);
        l->failed = true;
        return;
    }
    xgrow(&d->weights, &d->cap_weights, d->n_weights + 1, sizeof *d->weights);
    d->weights[d->n_weights++] = *out;
    if (l->opt->progress)
        l->opt->progress(l->opt->progress_arg, l->done, l->all);
}

/* For model/store.c; the weight is not needed any longer then. */
static void show_weight(struct loader *l, struct weight *w, const char *name)
{
    const struct model_store *s = l->opt->store;
    struct loaded *d = l->m->loaded;
    if (!s || l->failed)
        return;
    if (s->weight(s->arg, name, w, l->e) != 0)
        l->failed = true;
    if (l->m->device && !s->runs)
        l->m->backend->release(l->m->device, &d->weights[--d->n_weights]);
}

/* Will whoever stores the model make this weight later? */
static bool left_for_later(struct loader *l, const char *name, struct weight *w, const struct slab *slabs, int n,
                           const float *bias, enum dtype want)
{
    const struct model_store *s = l->opt->store;
    w->dtype = want;
    return !l->failed && s && s->later && l->m->device && s->later(s->arg, name, w, slabs, n, bias);
}

/* How a weight of this type and form is stored in a checkpoint that was prepared: as panels, as records of a row each,
 * or as plain numbers. Writing and reading ask here, so that the two cannot differ. */
void load_stored_shape(struct stored_shape *out, int rows, int in, enum dtype type, enum form form)
{
    *out = (struct stored_shape){ .type = "U8", .n_dims = 2, .dims = { rows, in }, .align = 1 };
    if (form == FORM_PANELS) {
        out->n_dims = 3;
        out->dims[0] = panels_of(rows);
        out->dims[1] = panel_groups(in);
        out->dims[2] = (int64_t)panel_bytes(type, GROUP);
        out->scales = type == Q8 ? (int64_t)panels_of(rows) * PANEL : 0;
    } else if (quantised(type)) {
        out->dims[1] = (int64_t)quant_row_bytes(type, in);
    } else {
        static const char *const name[] = { [F32] = "F32", [F16] = "F16", [BF16] = "BF16" };
        out->type = name[type];
        out->align = (int)dtype_size(type);
    }
}

/* Has the tensor exactly this type and shape? */
static int check_stored(struct loader *l, const struct stored *t, const char *type, const int64_t *dims, int n_dims)
{
    char have[96], want[96];
    bool same = !strcmp(t->dtype, type) && t->n_dims == n_dims;
    for (int i = 0; i < n_dims; i++)
        same = same && t->dims[i] == dims[i];
    if (same)
        return 0;
    shape_text(have, t->dims, t->n_dims);
    shape_text(want, dims, n_dims);
    return load_fail(l, "%s: tensor %s is %s of shape (%s), not %s of shape (%s)", weights_file_name(l->m->file, t),
                     t->name, t->dtype, have, type, want);
}

/* What the metadata says of a weight: type and form. */
static int read_note(struct loader *l, const struct stored *t, struct slab *s)
{
    struct prepared_note note;
    if (prepared_note(l->m->file, t, &note, l->e) != 0) {
        err_prefix(l->e, "%s", l->dir);
        l->failed = true;
        return -1;
    }
    bool panels = !strcmp(note.form, "panels");
    s->form = panels ? FORM_PANELS : FORM_ROWS;
    if (dtype_named(note.type, &s->dtype) && (is_plain(s->dtype) || quantised(s->dtype)) &&
        (!panels || s->dtype == BF16 || s->dtype == Q8 || s->dtype == Q4) && (panels || !strcmp(note.form, "rows")))
        return 0;
    return load_fail(l, "%s: tensor %s: there are no weights of type %s in %s", weights_file_name(l->m->file, t),
                     t->name, note.type, note.form);
}

/* The one slab that all parts of a weight have become, which lies under the first one's name. -1: it cannot be used. */
static int prepared_slab(struct loader *l, struct slab *s, int rows, int in, const char *name)
{
    char full[256], scale[272];
    struct stored_shape shape;
    full_name(l, full, name, ".weight");
    const struct stored *t = l->failed ? NULL : weights_find(l->m->file, full);
    if (!t)
        return load_fail(l, "%s: tensor %s is missing", l->dir, full);
    *s = (struct slab){ .data = t->data, .rows = rows, .name = t->name, .mapped = true };
    if (read_note(l, t, s) != 0)
        return -1;
    load_stored_shape(&shape, rows, in, s->dtype, s->form);
    if (check_stored(l, t, shape.type, shape.dims, shape.n_dims) != 0)
        return -1;
    mark(l, t);
    l->m->n_params += (size_t)rows * (size_t)in;
    if (!shape.scales)
        return 0;
    snprintf(scale, sizeof scale, "%s" SCALE_SUFFIX, full);
    const struct stored *u = weights_find(l->m->file, scale);
    if (!u)
        return load_fail(l, "%s: tensor %s is missing", l->dir, scale);
    if (check_stored(l, u, "F32", &shape.scales, 1) != 0)
        return -1;
    mark(l, u);
    s->scale = u->data;
    return 0;
}

/* Finds the tensors of all parts, checks their shapes, and packs them as one weight whose rows are those of the parts
 * in order. The matrices themselves are packed from the mapped file; only biases are copied together first. */
static void stack(struct loader *l, struct weight *out, int in, const struct load_part *parts, int n, enum bias bias,
                  enum role role)
{
    char full[256];
    struct slab slabs[MAX_PARTS];
    bool prepared = l->m->prepared;
    int rows = 0;
    if (n > MAX_PARTS)
        abort();
    for (int i = 0; i < n; i++)
        rows += parts[i].rows;
    *out = (struct weight){ .out = rows, .in = in, .layout = LAYOUT_LINEAR };
    float *b = bias == WITH_BIAS ? load_scratch(l, (size_t)rows) : NULL;
    rows = 0;
    for (int i = 0; i < n; i++) {
        enum dtype type;
        full_name(l, full, parts[i].name, ".weight");
        const struct stored *t = prepared ? NULL : fetch(l, (const int[]){ parts[i].rows, in }, 2, full, &type);
        if (!t && !prepared)
            return;
        if (t)
            slabs[i] = (struct slab){ .data = t->data, .dtype = type, .rows = parts[i].rows, .name = t->name,
                                      .mapped = true };
        if (b) {
            full_name(l, full, parts[i].name, ".bias");
            const float *one = floats_of(l, (const int[]){ parts[i].rows }, 1, full);
            if (l->failed)
                return;
            memcpy(b + rows, one, (size_t)parts[i].rows * sizeof *b);
        }
        rows += parts[i].rows;
    }
    if (prepared && prepared_slab(l, slabs, out->out, in, parts[0].name) != 0)
        return;
    n = prepared ? 1 : n;
    enum dtype want = prepared ? slabs->dtype : packed_as(l->m->loaded, out, slabs, n, role);
    full_name(l, full, parts[0].name, ".weight");
    if (left_for_later(l, full, out, slabs, n, b, want))
        return;
    pack(l, out, slabs, n, b, want);
    show_weight(l, out, full);
}

void load_stack(struct loader *l, struct weight *out, int in, const struct load_part *parts, int n, enum bias bias)
{
    stack(l, out, in, parts, n, bias, LAYER);
}

/* A matrix (in, rows) of numbers of `size` bytes, turned: (rows, in), in blocks that stay in the cache. NULL: memory is
 * out. */
static void *turn(const char *from, size_t rows, size_t in, size_t size)
{
    enum { BLOCK = 32 };
    char *to = malloc(rows * in * size);
    for (size_t i0 = 0; to && i0 < in; i0 += BLOCK)
        for (size_t r0 = 0; r0 < rows; r0 += BLOCK)
            for (size_t i = i0; i < i0 + BLOCK && i < in; i++)
                for (size_t r = r0; r < r0 + BLOCK && r < rows; r++)
                    memcpy(to + (r * in + i) * size, from + (i * rows + r) * size, size);
    return to;
}

/* Does the weight read the numbers where they lie? Then they must stay there. */
static bool reads(const struct loader *l, const struct weight *w, const void *data)
{
    struct slab s;
    return l->m->backend->slabs && w->data && l->m->backend->slabs(w, &s, 1) > 0 && s.data == data;
}

/* Packs one slice of a tensor of many. What is turned lies in memory of its own meanwhile. */
static void load_slice(struct loader *l, struct weight *out, const struct slab *slab, bool turned, const char *name)
{
    struct slab s = *slab;
    void *copy = NULL;
    if (turned && l->m->device) {
        copy = turn(s.data, (size_t)out->out, (size_t)out->in, dtype_size(s.dtype));
        if (!copy) {
            load_fail(l, "out of memory turning %s", s.name);
            return;
        }
        slab_forget(slab, out->in, 0, slab->rows);
        s.data = copy;
        s.mapped = false;
    }
    pack(l, out, &s, 1, NULL, packed_as(l->m->loaded, out, &s, 1, LAYER));
    if (copy && !l->failed && reads(l, out, copy))
        list_add(&l->m->loaded->kept, copy);
    else
        free(copy);
    show_weight(l, out, name);
}

/* In a prepared checkpoint each slice has become a weight of its own, under the name that it has apart. */
void load_slices(struct loader *l, struct weight *out, int n, int rows, int in, bool turned, const char *name,
                 const char *apart)
{
    char full[256], one[128];
    enum dtype type;
    full_name(l, full, name, "");
    const struct stored *t = fetch(l, (const int[]){ n, turned ? in : rows, turned ? rows : in }, 3, full, &type);
    for (int i = 0; t && i < n && !l->failed; i++) {
        struct slab s = { .dtype = type, .rows = rows, .name = t->name, .mapped = true,
                          .data = (const char *)t->data + (size_t)i * (t->bytes / (size_t)n) };
        out[i] = (struct weight){ .out = rows, .in = in, .layout = LAYOUT_LINEAR };
        snprintf(one, sizeof one, apart, i);
        full_name(l, full, one, ".weight");
        load_slice(l, &out[i], &s, turned, full);
    }
}

void load_qkv(struct loader *l, struct weight *out, int in, const struct load_part *parts, int n, enum bias bias)
{
    stack(l, out, in, parts, n, bias, QKV);
}

void load_exact(struct loader *l, struct weight *out, int rows, int in, const char *name)
{
    stack(l, out, in, PARTS({ name, rows }), NO_BIAS, EXACT);
}

void load_linear(struct loader *l, struct weight *out, int rows, int in, enum bias bias, const char *name)
{
    load_stack(l, out, in, PARTS({ name, rows }), bias);
}

void load_embedding(struct loader *l, struct weight *out, int rows, int in, const char *name)
{
    stack(l, out, in, PARTS({ name, rows }), NO_BIAS, TOKENS);
}

void load_vocabulary(struct loader *l, struct weight *out, int in, struct load_part first, struct load_part more)
{
    const struct load_part parts[] = { first, more };
    stack(l, out, in, parts, more.rows ? 2 : 1, NO_BIAS, TOKENS);
}

/* A matrix that the family has computed rather than found. It takes over w, which came from load_scratch(): the backend
 * may go on reading it where it lies. */
void load_packed(struct loader *l, struct weight *out, enum layout layout, int rows, int in, float *w,
                 const float *bias)
{
    struct loaded *d = l->m->loaded;
    *out = (struct weight){ .out = rows, .in = in, .layout = layout };
    if (l->failed)
        return;
    for (size_t i = 0; i < d->scratch.n; i++)
        if (d->scratch.at[i] == w) { /* the backend may leave F32 where it lies */
            list_add(&d->kept, w);
            d->scratch.at[i] = NULL;
        }
    const struct slab slab = { .data = w, .dtype = F32, .rows = rows };
    pack(l, out, &slab, 1, bias, packed_as(d, out, &slab, 1, COMPUTED));
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
    list_add(&m->loaded->tables, p);
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
    full_name(l, full, name, "");
    const struct stored *t = fetch(l, shape, n_dims, full, &type);
    if (!t || show_tensor(l, t) != 0)
        return (struct tensor){ 0 };
    return (struct tensor){ (void *)(uintptr_t)load_bytes(l, t->data, t->bytes), type, rows, cols, cols };
}

/* A norm of n numbers: its weight, and for a layer norm also its bias. */
void load_norm(struct loader *l, struct norm *out, int n, enum norm_kind kind, double eps, const char *name)
{
    char full[256];
    *out = (struct norm){ .eps = (float)eps, .center = kind == LAYER_NORM };
    full_name(l, full, name, ".weight");
    float *w = floats_of(l, (const int[]){ n }, 1, full);
    for (int i = 0; w && kind == RMS_NORM_OFFSET && i < n; i++)
        w[i] += 1;
    out->w = load_table(l, w, 1, n);
    if (kind != LAYER_NORM)
        return;
    full_name(l, full, name, ".bias");
    out->b = load_table(l, floats_of(l, (const int[]){ n }, 1, full), 1, n);
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
