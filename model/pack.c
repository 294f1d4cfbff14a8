/* model/pack.c - matrices of a checkpoint become weights: the parts of one are found and stacked, the type of its
 * numbers is decided by what the matrix is for, and the backend packs it. In a prepared checkpoint
 * (docs/quantisation.md) that was done before, and weights are used where they lie. See load.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "checkpoint/prepared.h"
#include "checkpoint/safetensors.h"
#include "kernels/panels.h"
#include "kernels/quant.h"
#include "kernels/slab.h"
#include "model/loaded.h"

enum { MAX_PARTS = 8 };

/* What a matrix is, which decides how it may be quantised. */
enum role {
    LAYER,
    QKV,                               /* of self attention                    */
    TOKENS,                            /* embedding and head                   */
    EXACT,                             /* whose numbers nobody may round       */
    COMPUTED                           /* by load(): convolutions among others */
};

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
    load_shape_text(have, t->dims, t->n_dims);
    load_shape_text(want, dims, n_dims);
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
    load_full_name(l, full, name, ".weight");
    const struct stored *t = l->failed ? NULL : weights_find(l->m->file, full);
    if (!t)
        return load_fail(l, "%s: tensor %s is missing", l->dir, full);
    *s = (struct slab){ .data = t->data, .rows = rows, .name = t->name, .mapped = true };
    if (read_note(l, t, s) != 0)
        return -1;
    load_stored_shape(&shape, rows, in, s->dtype, s->form);
    if (check_stored(l, t, shape.type, shape.dims, shape.n_dims) != 0)
        return -1;
    load_mark(l, t);
    l->m->n_params += (size_t)rows * (size_t)in;
    if (!shape.scales)
        return 0;
    snprintf(scale, sizeof scale, "%s" SCALE_SUFFIX, full);
    const struct stored *u = weights_find(l->m->file, scale);
    if (!u)
        return load_fail(l, "%s: tensor %s is missing", l->dir, scale);
    if (check_stored(l, u, "F32", &shape.scales, 1) != 0)
        return -1;
    load_mark(l, u);
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
        load_full_name(l, full, parts[i].name, ".weight");
        const struct stored *t = prepared ? NULL : load_fetch(l, (const int[]){ parts[i].rows, in }, 2, full, &type);
        if (!t && !prepared)
            return;
        if (t)
            slabs[i] = (struct slab){ .data = t->data, .dtype = type, .rows = parts[i].rows, .name = t->name,
                                      .mapped = true };
        if (b) {
            load_full_name(l, full, parts[i].name, ".bias");
            const float *one = load_floats_of(l, (const int[]){ parts[i].rows }, 1, full);
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
    load_full_name(l, full, parts[0].name, ".weight");
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
        load_remember(&l->m->loaded->kept, copy);
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
    load_full_name(l, full, name, "");
    const struct stored *t = load_fetch(l, (const int[]){ n, turned ? in : rows, turned ? rows : in }, 3, full, &type);
    for (int i = 0; t && i < n && !l->failed; i++) {
        struct slab s = { .dtype = type, .rows = rows, .name = t->name, .mapped = true,
                          .data = (const char *)t->data + (size_t)i * (t->bytes / (size_t)n) };
        out[i] = (struct weight){ .out = rows, .in = in, .layout = LAYOUT_LINEAR };
        snprintf(one, sizeof one, apart, i);
        load_full_name(l, full, one, ".weight");
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
            load_remember(&d->kept, w);
            d->scratch.at[i] = NULL;
        }
    const struct slab slab = { .data = w, .dtype = F32, .rows = rows };
    pack(l, out, &slab, 1, bias, packed_as(d, out, &slab, 1, COMPUTED));
}
