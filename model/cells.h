/* model/cells.h - how the cells of an image, for cross-attention, lie in pages of
 * the image KV.
 *
 * Cells that tokens see lie in the image's first pages, and its cells of padding
 * (image_plan.n_blank) begin a page of their own. In a sequence's table stand
 * the first pages of all its images, end to end, and behind them those of
 * padding: so a range of images is a range of entries, and a blind token, which
 * sees everything, sees the whole table. */
#ifndef MODEL_CELLS_H
#define MODEL_CELLS_H
#include "model/model.h"

static inline int cells_seen(const struct image_plan *p) { return p->n_cells - p->n_blank; }

/* Pages of `page` entries: of what tokens see, and of padding. */
static inline int cells_pages(const struct image_plan *p, int page) { return (cells_seen(p) + page - 1) / page; }
static inline int cells_blank_pages(const struct image_plan *p, int page) { return (p->n_blank + page - 1) / page; }

/* Which of the image's pages a cell is in, its place there, and how many entries of page i are in use. */
static inline int cells_page_of(const struct image_plan *p, int cell, int page)
{
    int seen = cells_seen(p);
    return cell < seen ? cell / page : cells_pages(p, page) + (cell - seen) / page;
}

static inline int cells_place_of(const struct image_plan *p, int cell, int page)
{
    int seen = cells_seen(p);
    return (cell < seen ? cell : cell - seen) % page;
}

static inline int cells_in_page(const struct image_plan *p, int i, int page)
{
    int n = cells_pages(p, page), left = i < n ? cells_seen(p) - i * page : p->n_blank - (i - n) * page;
    return left < page ? left : page;
}

#endif
