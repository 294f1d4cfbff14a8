/* kernels/panels.c - takes rows out of panels again, for backends that keep them otherwise. See panels.h. */
#include "kernels/panels.h"

#include <string.h>

#include "kernels/quant.h"

/* Two groups of a record of int4 lie in one group of a panel. */
static void record_q4(const uint8_t *panel, int c, int in, uint8_t *record)
{
    for (int g = 0; g * QUANT_GROUP < in; g++, record += QUANT_Q4_BYTES) {
        const uint8_t *from = panel + (size_t)(g / 2) * Q4_GROUP_BYTES,
                      *q = from + Q4_SCALE_BYTES + (size_t)(g % 2 * 4 * PANEL + c) * 4;
        memcpy(record, from + (g % 2 * PANEL + c) * 2, 2);
        for (int i = 0; i < 4; i++)
            memcpy(record + 2 + 4 * i, q + i * PANEL * 4, 4);
    }
}

/* Writes row o of a weight in panels as a record of quant.h, which is how backends without panels keep it. Panels of
 * int8 hold unsigned numbers, 128 more than those of a record; the exclusive or takes that back for four bytes at a
 * time. `in`: numbers of a row. */
void panels_record(enum dtype t, const void *panels, const float *scale, int in, int o, void *record)
{
    const uint8_t *panel = (const uint8_t *)panels + (size_t)(o / PANEL) * panel_bytes(t, in);
    uint8_t *to = record;
    int c = o % PANEL, each = t == BF16 ? 2 : 4;
    size_t bytes = quant_row_bytes(t, in), group = panel_bytes(t, GROUP);
    if (t == Q4) {
        record_q4(panel, c, in, to);
        return;
    }
    if (t == Q8) {
        memcpy(to, &scale[o], QUANT_HEAD);
        to += QUANT_HEAD;
        bytes -= QUANT_HEAD;
    }
    for (size_t at = 0; at < bytes; at += 4) {
        int k = (int)(at / 4) * each;
        uint32_t word;
        memcpy(&word, panel + (size_t)(k / GROUP) * group + panel_word(c, k % GROUP, each), sizeof word);
        word ^= t == Q8 ? 0x80808080 : 0;
        memcpy(to + at, &word, bytes - at < 4 ? bytes - at : 4);
    }
}
