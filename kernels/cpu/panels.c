#include "kernels/cpu/panels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/half.h"
#include "kernels/host.h"
#include "kernels/slab.h"

struct panel_packing {                 /* of one weight */
    const struct slab *slabs;
    int         n, out, in;
    enum dtype  want;
    uint8_t    *panels;
    float      *scale;
    _Atomic int bad;                   /* the first row that cannot be stored; `out`: none */
};

static int panels_of(int out) { return (out + PANEL - 1) / PANEL; }

size_t panels_bytes(const struct weight *shape, enum dtype want)
{
    size_t scales = want == Q8 ? (size_t)panels_of(shape->out) * PANEL * sizeof(float) : 0;
    return (size_t)panels_of(shape->out) * panel_bytes(want, shape->in) + scales;
}

/* The slab that holds row r of the weight; *r becomes that slab's own row. */
static const struct slab *slab_of(const struct slab *slabs, int *r)
{
    while (*r >= slabs->rows)
        *r -= slabs++->rows;
    return slabs;
}

/* Where column k of channel c lies in a group of Q8. */
static size_t q8_at(int c, int k) { return (size_t)(k / 4 * PANEL + c) * 4 + (size_t)(k % 4); }

/* Likewise in a group of Q4, after the scales; *shift: 0 the low half of the byte, 4 the high one. */
static size_t q4_at(int c, int k, int *shift)
{
    int half = k / 32, step = k % 32 / 4;
    *shift = step / 4 * 4;
    return (size_t)((half * 4 + step % 4) * PANEL + c) * 4 + (size_t)(k % 4);
}

/* A record of kernels/quant.h becomes channel c of a panel, which was filled with what stands for zero. */
static void put_q8(uint8_t *panel, int c, const uint8_t *record, int in)
{
    for (int k = 0; k < in; k++)
        panel[(size_t)(k / GROUP) * Q8_GROUP_BYTES + q8_at(c, k % GROUP)] = record[QUANT_HEAD + k] ^ Q8_ZERO;
}

static void put_q4(uint8_t *panel, int c, const uint8_t *record, int in)
{
    for (int g = 0; g * QUANT_GROUP < in; g++, record += QUANT_Q4_BYTES) {
        uint8_t *to = panel + (size_t)(g / 2) * Q4_GROUP_BYTES;
        memcpy(to + (g % 2 * PANEL + c) * 2, record, 2);
        for (int k = 0; k < QUANT_GROUP; k++) {
            int shift, q = record[2 + k % 16] >> (k < 16 ? 0 : 4) & 15;
            uint8_t *byte = to + Q4_SCALE_BYTES + q4_at(c, g % 2 * QUANT_GROUP + k, &shift);
            *byte = (uint8_t)((*byte & (0xf0 >> shift)) | q << shift);
        }
    }
}

static void note_bad(struct panel_packing *p, int row)
{
    int first = atomic_load(&p->bad);
    while (row < first && !atomic_compare_exchange_weak(&p->bad, &first, row))
        ;
}

/* Task: panel `index`. */
static void pack_panel(void *arg, int index, int worker)
{
    struct panel_packing *p = arg;
    uint8_t *panel = p->panels + (size_t)index * panel_bytes(p->want, p->in);
    uint8_t *record = xmalloc(quant_row_bytes(p->want, p->in));
    (void)worker;
    memset(panel, p->want == Q8 ? Q8_ZERO : Q4_ZERO * 0x11, panel_bytes(p->want, p->in));
    for (int g = 0; p->want == Q4 && g < panel_groups(p->in); g++)
        memset(panel + (size_t)g * Q4_GROUP_BYTES, 0, Q4_SCALE_BYTES);
    for (int c = 0; c < PANEL; c++) {
        int row = index * PANEL + c, in_slab = row;
        if (p->want == Q8)
            p->scale[row] = 0;
        if (row >= p->out)
            continue;
        const struct slab *s = slab_of(p->slabs, &in_slab);
        if (slab_row(s, in_slab, p->in, p->want, record) >= 0)
            note_bad(p, row);
        else if (p->want == Q8) {
            memcpy(&p->scale[row], record, sizeof p->scale[row]);
            put_q8(panel, c, record, p->in);
        } else
            put_q4(panel, c, record, p->in);
        slab_forget(s, p->in, in_slab, 1);
    }
    free(record);
}

static int refuse(const struct panel_packing *p, struct err *e)
{
    int row = p->bad;
    const struct slab *s = slab_of(p->slabs, &row);
    uint8_t *record = xmalloc(quant_row_bytes(p->want, p->in));
    int rc = slab_refuse(s, row, slab_row(s, row, p->in, p->want, record), p->want, e);
    free(record);
    return rc;
}

int panels_pack(struct device *dev, const struct linear_kernel *kernel, struct weight *w, const struct slab *slabs, int n,
                enum dtype want, struct err *e)
{
    struct packed *packed = xcalloc(1, sizeof *packed + sizeof *packed->range);
    struct panel_packing p = { slabs, n, w->out, w->in, want, host_alloc(dev, panels_bytes(w, want)), NULL, w->out };
    if (!p.panels) {
        free(packed);
        return err_set(e, "out of memory laying out a weight of %d x %d", w->out, w->in);
    }
    if (want == Q8)
        p.scale = (float *)(p.panels + (size_t)panels_of(w->out) * panel_bytes(want, w->in));
    cpu_run(dev, panels_of(w->out), pack_panel, &p);
    for (int s = 0; s < n; s++)
        slab_forget(&slabs[s], w->in, 0, slabs[s].rows);   /* also what a neighbour's page fault brought back */
    if (p.bad < w->out) {
        host_free(dev, p.panels);
        free(packed);
        return refuse(&p, e);
    }
    *packed = (struct packed){ .kernel = kernel, .owned = p.panels, .scale = p.scale, .n = 1 };
    packed->range[0] = (struct range){ p.panels, 0 };
    w->data = packed;
    return 0;
}

void panels_row(const struct weight *w, int o, float *to)
{
    const uint8_t *panel = panel_at(w, o / PANEL);
    int c = o % PANEL;
    for (int k = 0; k < w->in && w->dtype == Q8; k++) {
        int q = panel[(size_t)(k / GROUP) * Q8_GROUP_BYTES + q8_at(c, k % GROUP)] - Q8_ZERO;
        to[k] = (float)q * ((const struct packed *)w->data)->scale[o];
    }
    for (int k = 0; k < w->in && w->dtype == Q4; k++) {
        const uint8_t *group = panel + (size_t)(k / GROUP) * Q4_GROUP_BYTES;
        int shift;
        size_t at = q4_at(c, k % GROUP, &shift);
        uint16_t scale;
        memcpy(&scale, group + (k % GROUP / 32 * PANEL + c) * 2, sizeof scale);
        to[k] = (float)((group[Q4_SCALE_BYTES + at] >> shift & 15) - Q4_ZERO) * bf16_get(scale);
    }
}
