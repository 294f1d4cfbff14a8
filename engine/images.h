/* engine/images.h - encoded images: their rows for the prompt and, in families
 * with cross attention, their keys and values; found again by content.
 *
 * An image is known by the hash of its resized pixels and its plan. It owns row
 * pages of the pool and pages of the image KV while it is here; requests hold
 * references, and what nobody holds is thrown out when room is needed, the
 * least recently used first. Encoding itself is the engine's work item: an
 * entry starts out not encoded. Owned by the engine thread. */
#ifndef ENGINE_IMAGES_H
#define ENGINE_IMAGES_H
#include <stdbool.h>

#include "base/hash.h"
#include "model/cells.h"
#include "model/model.h"

enum { IMAGE_ROW_PAGE = 16, IMAGE_KV_PAGE = 32 };    /* rows, entries in a page */

struct image_entry {
    struct hash key;
    struct image_plan plan;
    bool encoded;
    float *shared;                /* owned: its vector in the space that texts share; NULL: nobody has asked for it */
    int  refs;
    int *row_page, n_row_pages;   /* in page[]; of the pool      */
    int *kv_page, n_kv_pages;     /* in page[]; of the image KV, in the order of model/cells.h */
    struct image_entry *prev, *next;   /* all entries, most recently used first */
    int page[];
};

struct free_stack { int *id, n, size; };

struct images {
    struct image_entry *first, *last;
    struct free_stack rows, kv;
    int *fill;                    /* owned, (kv.size) entries in use of each page of the image KV */
    bool has_kv;
    bool starved;                 /* the last NULL of images_acquire() was for want of the host's memory */
    uint64_t queries, hits;       /* images of requests that were let in, counted once; hits: those encoded by then */
};

/* Pages of the pool and of the image KV (0: the family has none). */
void images_init(struct images *c, int row_pages, int kv_pages);
void images_free(struct images *c);

int  images_row_pages(const struct image_plan *p);   /* that an image of this plan takes */
int  images_kv_pages(const struct images *c, const struct image_plan *p);
int  images_most_kv_pages(const struct image_plan *largest);         /* of a plan of largest_image(): that any takes */

/* The entry of this image with one more reference, made room for if it is new.
 * NULL: there is no room while others hold theirs, or (`starved`) no memory
 * for the entry itself: waiting for the others would not help. */
struct image_entry *images_acquire(struct images *c, struct hash key, const struct image_plan *plan);
void images_hold(struct image_entry *e);          /* one more reference */
void images_release(struct images *c, struct image_entry *e);

static inline int image_row(const struct image_entry *e, int token)   /* in the pool */
{
    return e->row_page[token / IMAGE_ROW_PAGE] * IMAGE_ROW_PAGE + token % IMAGE_ROW_PAGE;
}

static inline int image_slot(const struct image_entry *e, int cell)   /* in the image KV */
{
    int page = e->kv_page[cells_page_of(&e->plan, cell, IMAGE_KV_PAGE)];
    return page * IMAGE_KV_PAGE + cells_place_of(&e->plan, cell, IMAGE_KV_PAGE);
}

#endif
