/* output/grounding.c - see grounding.h. Two readers look at each byte: one finds what leaves the text, the other the
 * objects, whose grammar is stricter. */
#include "output/grounding.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32 };            /* cells of a row and of a column */

void grounding_init(struct grounding *g)
{
    *g = (struct grounding){ 0 };
    buf_init(&g->held, GROUNDING_MAX);
    buf_init(&g->blank, (size_t)1 << 24);
    buf_init(&g->phrase, GROUNDING_MAX);
}

void grounding_free(struct grounding *g)
{
    buf_free(&g->held);
    buf_free(&g->blank);
    buf_free(&g->phrase);
    free(g->cell);
    g->cell = NULL;
}

size_t grounding_bytes(const struct grounding *g)
{
    return g->held.len + g->blank.len + g->phrase.len +
           (g->cell ? 2 * GROUNDING_MAX_BOXES * sizeof *g->cell : 0);
}

/* As Python's strip() has it, among ASCII. */
static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f'); }

/* ---- the text ---- */

/* Text that stays. White space around the whole does not. */
static void keep(struct grounding *g, const char *s, size_t n, struct buf *text)
{
    for (size_t i = 0; i < n; i++) {
        if (is_space(s[i])) {
            if (g->begun)
                buf_byte(&g->blank, s[i]);
            continue;
        }
        if (!buf_ok(&g->blank))
            buf_fail(text, &g->blank);
        buf_add(text, g->blank.data ? g->blank.data : "", g->blank.len);
        buf_clear(&g->blank);
        buf_byte(text, s[i]);
        g->begun = true;
    }
}

/* What was held is no tag. */
static void keep_held(struct grounding *g, struct buf *text)
{
    keep(g, g->held.data ? g->held.data : "", g->held.len, text);
    buf_clear(&g->held);
}

/* A tag is held back until it has ended, because only then is it known whether it was one; it must not reach the text.
 * A line that ends, or too many bytes, show that it was none. */
static void read_text(struct grounding *g, char c, struct buf *text)
{
    bool held = g->held.len > 0;
    if (c == '\n' || g->held.len == GROUNDING_MAX)
        keep_held(g, text);
    held = held && g->held.len > 0;
    if (held && c == '>')
        buf_clear(&g->held);
    else if (held || c == '<')
        buf_byte(&g->held, c);
    else
        keep(g, &c, 1, text);
    if (!buf_ok(&g->held))
        buf_fail(text, &g->held);
}

/* ---- phrases and boxes ---- */

/* Column and row of a cell as the coordinate of its upper left corner. Cells that the image does not have lie in rows
 * below it. */
static double left_of(int64_t cell) { return (double)(cell % SIDE) / SIDE; }
static double top_of(int64_t cell) { return (double)(cell / SIDE) / SIDE; }

/* Corners in different rows and columns lie in the middle of their cells; otherwise the box has whole cells. */
static void corners(int64_t first, int64_t last, double box[4])
{
    double cell = 1.0 / SIDE;
    bool line = first % SIDE == last % SIDE || first / SIDE == last / SIDE;
    box[0] = left_of(first) + (line ? 0 : cell / 2);
    box[1] = top_of(first) + (line ? 0 : cell / 2);
    box[2] = left_of(last) + (line ? cell : cell / 2);
    box[3] = top_of(last) + (line ? cell : cell / 2);
}

/* The phrase without white space around it; where there is none, the names of the cells, as the reference has it. */
static json_t *name_of(const struct grounding *g, int64_t first, int64_t last)
{
    const char *s = g->phrase.data;
    size_t n = g->phrase.len;
    char cells[80];
    if (n == 0) {
        snprintf(cells, sizeof cells, "<patch_index_%" PRId64 "><patch_index_%" PRId64 ">", first, last);
        return json_string(cells);
    }
    while (n > 0 && is_space(s[n - 1]))
        n--;
    while (n > 0 && is_space(*s))
        s++, n--;
    return json_stringn(s, n);
}

/* Writes an element for each pair of cells of the object, which are the corners of a box. Cells that the image does
 * not have make none. */
static void tell(struct grounding *g, struct buf *boxes)
{
    for (int i = 0; i + 1 < g->n_cells; i += 2) {
        int64_t first = g->cell[i], last = g->cell[i + 1];
        double box[4];
        if (first < 0 || last < 0)
            continue;
        corners(first, last, box);
        json_t *one = json_pack("{s:o, s:[f,f,f,f]}", "phrase", name_of(g, first, last), "box", box[0], box[1], box[2],
                                box[3]);
        char *text = one ? json_dumps(one, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
        if (text && boxes->len)
            buf_byte(boxes, ',');
        if (text)
            buf_str(boxes, text);
        else
            boxes->failed = boxes->starved = true;
        free(text);
        json_decref(one);
    }
}

/* The number of <patch_index_N>; -1: it is larger than any that is told; -2: this is no such tag. */
static int64_t cell_of(const char *tag, size_t n)
{
    static const char begin[] = "<patch_index_";
    size_t at = sizeof begin - 1;
    int64_t cell = 0;
    if (n < at + 2 || memcmp(tag, begin, at) != 0)
        return -2;
    for (; at + 1 < n; at++) {
        if (tag[at] < '0' || tag[at] > '9')
            return -2;
        cell = cell >= GROUNDING_MAX_CELL ? cell : 10 * cell + tag[at] - '0';
    }
    return cell < GROUNDING_MAX_CELL ? cell : -1;
}

/* One more cell of an object. False: there is no place for it. */
static bool take_cell(struct grounding *g, int64_t cell, struct buf *boxes)
{
    if (!g->cell && !(g->cell = calloc(2 * GROUNDING_MAX_BOXES, sizeof *g->cell))) {
        boxes->failed = boxes->starved = true;
        return false;
    }
    if (g->run == 2 || g->n_cells == 2 * GROUNDING_MAX_BOXES)
        return false;
    g->cell[g->n_cells++] = cell;
    g->run++;
    return true;
}

static bool is(const struct grounding *g, const char *tag)
{
    return g->n_tag == strlen(tag) && memcmp(g->tag, tag, g->n_tag) == 0;
}

/* A whole tag has been read. What does not fit ends whatever has been begun. */
static void read_tag(struct grounding *g, struct buf *boxes)
{
    int state = g->state;
    int64_t cell = cell_of(g->tag, g->n_tag);
    g->state = NOWHERE;
    if (is(g, "<phrase>")) {
        buf_clear(&g->phrase);
        g->state = IN_PHRASE;
    } else if (is(g, "</phrase>") && state == IN_PHRASE && g->phrase.len > 0) {
        g->state = BEHIND_PHRASE;
    } else if (is(g, "<object>")) {
        if (state != BEHIND_PHRASE)
            buf_clear(&g->phrase);
        g->n_cells = g->run = 0;
        g->state = IN_OBJECT;
    } else if (state == IN_OBJECT && cell > -2) {
        g->state = take_cell(g, cell, boxes) ? IN_OBJECT : NOWHERE;
    } else if (state == IN_OBJECT && g->run == 2 && is(g, "</delimiter_of_multi_objects/>")) {
        g->run = 0;
        g->state = IN_OBJECT;
    } else if (state == IN_OBJECT && g->run == 2 && is(g, "</object>")) {
        tell(g, boxes);
    }
}

/* Collects tags and what stands between them. Anything that is not where the form has it leads to NOWHERE, and the
 * next phrase begins anew. */
static void read_object(struct grounding *g, char c, struct buf *boxes)
{
    if (c == '<') {
        if (g->n_tag > 0)
            g->state = NOWHERE;
        g->n_tag = 0;
    }
    if (c == '<' || g->n_tag > 0) {
        g->tag[g->n_tag++] = c;
        if (c == '>')
            read_tag(g, boxes);
        else if (g->n_tag == GROUNDING_TAG)
            g->state = NOWHERE;
        if (c == '>' || g->n_tag == GROUNDING_TAG)
            g->n_tag = 0;
    } else if (g->state == IN_PHRASE && g->phrase.len < GROUNDING_MAX) {
        buf_byte(&g->phrase, c);
        if (!buf_ok(&g->phrase))
            buf_fail(boxes, &g->phrase);
    } else {
        g->state = NOWHERE;
    }
}

void grounding_add(struct grounding *g, const char *s, size_t n, struct buf *text, struct buf *boxes)
{
    for (size_t i = 0; i < n; i++) {
        read_text(g, s[i], text);
        read_object(g, s[i], boxes);
    }
}

void grounding_end(struct grounding *g, struct buf *text) { keep_held(g, text); }
