/* kernels/cpu/panels.c - lays weights out in panels, see panels.h. */
#include "kernels/cpu/panels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu.h"
#include "kernels/half.h"
#include "kernels/slab.h"

struct panel_packing {                 /* of one weight */
    const struct slab *slabs;
    int         n, out, in;
    enum dtype  want;
    uint8_t    *panels;
    float      *scale;
    _Atomic int bad;                   /* the first row that cannot be stored; `out`: none */
    int         first;                 /* panel of the round */
};

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

typedef uint32_t four_words __attribute__((vector_size(16), may_alias));
typedef uint32_t four_words_any __attribute__((vector_size(16), may_alias, aligned(1)));

enum { FOUR = 4 };                     /* channels that are laid out together: words in a vector of any processor */

/* Word s of a row's group g lies `PANEL` words behind word s - 1, see panels.h. */
static uint8_t *word_of(uint8_t *panel, size_t group_bytes, size_t word, int c)
{
    size_t words = group_bytes / PANEL / 4;
    return panel + word / words * group_bytes + (word % words * PANEL + (size_t)c) * 4;
}

/* Four rows of bytes become channels c .. c + 3 of a panel, each word xored with `flip`. What the rows do not fill
 * keeps what was there. Four words of each row are turned at a time: storing them one by one made the start of a model
 * of 135 million parameters take 0.8 instead of 0.3 seconds of processor time. */
static void put_words(uint8_t *panel, size_t group_bytes, int c, const uint8_t *const row[FOUR], size_t bytes,
                      uint32_t flip)
{
    size_t at = 0;
    for (; at + 16 <= bytes; at += 16) {
        four_words a = *(const four_words_any *)(row[0] + at), b = *(const four_words_any *)(row[1] + at);
        four_words d = *(const four_words_any *)(row[2] + at), e = *(const four_words_any *)(row[3] + at);
        four_words ab = __builtin_shuffle(a, b, (four_words){ 0, 4, 1, 5 }),
                   AB = __builtin_shuffle(a, b, (four_words){ 2, 6, 3, 7 });
        four_words de = __builtin_shuffle(d, e, (four_words){ 0, 4, 1, 5 }),
                   DE = __builtin_shuffle(d, e, (four_words){ 2, 6, 3, 7 });
        uint8_t *to = word_of(panel, group_bytes, at / 4, c);          /* four words never leave a group */
        *(four_words *)to = __builtin_shuffle(ab, de, (four_words){ 0, 1, 4, 5 }) ^ flip;
        *(four_words *)(to + PANEL * 4) = __builtin_shuffle(ab, de, (four_words){ 2, 3, 6, 7 }) ^ flip;
        *(four_words *)(to + 2 * PANEL * 4) = __builtin_shuffle(AB, DE, (four_words){ 0, 1, 4, 5 }) ^ flip;
        *(four_words *)(to + 3 * PANEL * 4) = __builtin_shuffle(AB, DE, (four_words){ 2, 3, 6, 7 }) ^ flip;
    }
    for (; at < bytes; at += 4)
        for (int i = 0; i < FOUR; i++) {
            uint32_t word = 0;
            memcpy(&word, row[i] + at, bytes - at < 4 ? bytes - at : 4);
            word ^= flip;
            memcpy(word_of(panel, group_bytes, at / 4, c + i), &word, 4);
        }
}

/* A record of int4 (kernels/quant.h) becomes channel c of a panel that was filled with what stands for zero. */
static void put_q4(uint8_t *panel, int c, const uint8_t *record, int in)
{
    for (int g = 0; g * QUANT_GROUP < in; g++, record += QUANT_Q4_BYTES) {
        uint8_t *to = panel + (size_t)(g / 2) * Q4_GROUP_BYTES,
                *q = to + Q4_SCALE_BYTES + (size_t)(g % 2 * 4 * PANEL + c) * 4;
        memcpy(to + (g % 2 * PANEL + c) * 2, record, 2);
        for (int i = 0; i < 4; i++) /* byte k holds columns k and k + 16, of steps k / 4 and k / 4 + 4 */
            memcpy(q + i * PANEL * 4, record + 2 + 4 * i, 4);
    }
}

static void note_bad(struct panel_packing *p, int row)
{
    int first = atomic_load(&p->bad);
    while (row < first && !atomic_compare_exchange_weak(&p->bad, &first, row))
        ;
}

/* What stands for zero, in all of a panel of int4, and in the last group of the others, which rows may not fill. */
static void clear_panel(uint8_t *panel, enum dtype t, int in)
{
    size_t bytes = panel_bytes(t, in), last = panel_bytes(t, GROUP);
    if (t != Q4) {
        memset(panel + bytes - last, t == Q8 ? Q8_ZERO : 0, last);
        return;
    }
    memset(panel, Q4_ZERO * 0x11, bytes);
    for (int g = 0; g < panel_groups(in); g++)
        memset(panel + (size_t)g * Q4_GROUP_BYTES, 0, Q4_SCALE_BYTES);
}

/* Row r of the weight as `want` has it: where it lies, if it is so already, else in `record`. Rows that there are not
 * are zeros, which `record` must be full of. */
static const uint8_t *row_as(struct panel_packing *p, int r, uint8_t *record)
{
    int in_slab = r;
    if (r >= p->out)
        return record;
    const struct slab *s = slab_of(p->slabs, &in_slab);
    if (s->dtype == p->want && s->form == FORM_ROWS)
        return (const uint8_t *)s->data + (size_t)in_slab * quant_row_bytes(p->want, p->in);
    if (slab_row(s, in_slab, p->in, p->want, record) >= 0)
        note_bad(p, r);
    return record;
}

/* Rows first .. first + 3 of the weight become channels c .. c + 3 of a panel. `records`: room for four rows of the
 * wanted type, full of zeros where the weight has no such rows. */
static void pack_four(struct panel_packing *p, uint8_t *panel, int first, int c, uint8_t *records)
{
    const uint8_t *row[FOUR];
    size_t bytes = quant_row_bytes(p->want, p->in);
    for (int i = 0; i < FOUR; i++)
        row[i] = row_as(p, first + i, records + (size_t)i * bytes);
    if (p->want == BF16)
        put_words(panel, BF16_GROUP_BYTES, c, row, bytes, 0);
    for (int i = 0; i < FOUR && p->want == Q8; i++) {
        memcpy(&p->scale[first + i], row[i], sizeof *p->scale);
        row[i] += QUANT_HEAD;
    }
    if (p->want == Q8)
        put_words(panel, Q8_GROUP_BYTES, c, row, bytes - QUANT_HEAD, 0x80808080);
    for (int i = 0; i < FOUR && p->want == Q4 && first + i < p->out; i++)
        put_q4(panel, c + i, row[i], p->in);
}

/* The task of the pool: packs panel `index` of this round, four channels at a time. The memory that it needs is small,
 * and freed at the end. */
static void pack_panel(void *arg, int index, int worker)
{
    struct panel_packing *p = arg;
    index += p->first;
    uint8_t *panel = p->panels + (size_t)index * panel_bytes(p->want, p->in);
    uint8_t *records = xcalloc(FOUR, quant_row_bytes(p->want, p->in));
    (void)worker;
    clear_panel(panel, p->want, p->in);
    for (int c = 0; c < PANEL; c += FOUR) {
        if (index * PANEL + c + FOUR > p->out)
            memset(records, 0, FOUR * quant_row_bytes(p->want, p->in));
        pack_four(p, panel, index * PANEL + c, c, records);
    }
    free(records);
}

/* Rows from .. to of the weight have been read: their pages of the file go back. */
static void forget(const struct panel_packing *p, int from, int to)
{
    while (from < to) {
        int in_slab = from;
        const struct slab *s = slab_of(p->slabs, &in_slab);
        int left = s->rows - in_slab, n = left < to - from ? left : to - from;
        slab_forget(s, p->in, in_slab, n);
        from += n;
    }
}

/* Lays the panels out, a round of them at a time, so that a large weight is not in memory twice. (Giving pages back
 * stops every processor for a moment. Once for each panel took half of a small model's start.) */
static void pack_rounds(struct device *dev, struct panel_packing *p)
{
    enum { ROUND = 16 << 20 /* bytes of the weight */ };
    int panels = panels_of(p->out), step = (int)(ROUND / panel_bytes(p->want, p->in)) + 1;
    for (p->first = 0; p->first < panels; p->first += step) {
        int left = panels - p->first;
        cpu_run(dev, left < step ? left : step, pack_panel, p);
        if (left > step)
            forget(p, p->first * PANEL, (p->first + step) * PANEL);
    }
    forget(p, 0, p->out);               /* also what a neighbour's page fault brought back */
}

/* The error of the first row that could not be quantised: it is packed once more, alone, to learn which column it
 * was. */
static int refuse(const struct panel_packing *p, struct err *e)
{
    int row = p->bad;
    const struct slab *s = slab_of(p->slabs, &row);
    uint8_t *record = xmalloc(quant_row_bytes(p->want, p->in));
    int rc = slab_refuse(s, row, slab_row(s, row, p->in, p->want, record), p->want, e);
    free(record);
    return rc;
}

/* Panels that lie in a prepared checkpoint are used there. */
static bool are_panels(const struct slab *slabs, int n, enum dtype want)
{
    return n == 1 && slabs->form == FORM_PANELS && slabs->dtype == want && (uintptr_t)slabs->data % 64 == 0 &&
           (uintptr_t)slabs->scale % sizeof *slabs->scale == 0;
}

/* Lays one weight out in panels, or maps it if the checkpoint holds panels already; then nothing is copied and the
 * checkpoint has to stay open. The scales of int8 lie behind the panels in the same block. -1: memory is out, or a row
 * holds what cannot be quantised. */
int panels_pack(struct device *dev, const struct linear_kernel *kernel, struct weight *w, const struct slab *slabs,
                int n, enum dtype want, struct err *e)
{
    struct packed *packed = xcalloc(1, sizeof *packed + sizeof *packed->range);
    if (are_panels(slabs, n, want)) {
        *packed = (struct packed){ .kernel = kernel, .scale = slabs->scale, .n = 1 };
        packed->range[0] = (struct range){ slabs->data, 0 };
        w->data = packed;
        return 0;
    }
    struct panel_packing p = { slabs, n, w->out, w->in, want, NULL, NULL, w->out, 0 };
    p.panels = blocks_alloc(cpu_blocks(dev), panels_bytes(w, want));
    if (!p.panels) {
        free(packed);
        return err_set(e, "out of memory laying out a weight of %d x %d", w->out, w->in);
    }
    if (want == Q8)
        p.scale = (float *)(p.panels + (size_t)panels_of(w->out) * panel_bytes(want, w->in));
    pack_rounds(dev, &p);
    if (p.bad < w->out) {
        blocks_free(cpu_blocks(dev), p.panels);
        free(packed);
        return refuse(&p, e);
    }
    *packed = (struct packed){ .kernel = kernel, .owned = p.panels, .scale = p.scale, .n = 1 };
    packed->range[0] = (struct range){ p.panels, 0 };
    w->data = packed;
    return 0;
}

/* Row o of a weight of int8, as quant_unpack_row() makes it of a record. */
static void int8_row(const struct weight *w, int o, float *to)
{
    const uint8_t *panel = panel_at(w, o / PANEL);
    float scale = ((const struct packed *)w->data)->scale[o];
    for (int i = 0; i < w->in; i += QUANT_GROUP, to += QUANT_GROUP) {
        float part[QUANT_GROUP];
        for (int k = 0; k < QUANT_GROUP; k++) {
            int at = i % GROUP + k;
            part[k] = (float)(panel[i / GROUP * Q8_GROUP_BYTES + (int)panel_word(o % PANEL, at, 4) + at % 4] - Q8_ZERO);
        }
        quant_rotate(part);
        for (int k = 0; k < QUANT_GROUP && i + k < w->in; k++)
            to[k] = part[k] * scale;
    }
}

/* Entry `row` of the kernels that read panels, for embed: gathers one channel's words from all groups of its panel. */
void panels_row(const struct weight *w, int o, float *to)
{
    const uint8_t *group = panel_at(w, o / PANEL);
    int c = o % PANEL;
    if (w->dtype == Q8) {
        int8_row(w, o, to);
        return;
    }
    for (int k = 0; k < w->in; k++) {
        int at = k % GROUP, half = at / 32, step = at % 32 / 4;
        uint16_t word;
        if (k > 0 && at == 0)
            group += panel_bytes(w->dtype, GROUP);
        if (w->dtype == BF16) {
            memcpy(&word, group + panel_word(c, at, 2) + 2 * (at % 2), sizeof word);
            to[k] = bf16_get(word);
        } else {
            memcpy(&word, group + (half * PANEL + c) * 2, sizeof word);
            int both = group[Q4_SCALE_BYTES + panel_word(c, (half * 4 + step % 4) * 4, 4) + (size_t)(at % 4)];
            to[k] = (float)quant_level(both >> (step < 4 ? 0 : 4) & 15) * bf16_get(word);
        }
    }
}
