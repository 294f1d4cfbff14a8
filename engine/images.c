/* engine/images.c - see images.h. Entries hang in one list by the time of their last use, and pages that nobody has lie
 * on two stacks, one of each kind. There are as many entries as images fit into memory, a few hundred at the most, so
 * that they are searched one after the other. */
#include "engine/images.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

/* A stack of n free pages, of which page 0 is handed out first. */
static void stack_init(struct free_stack *s, int n)
{
    s->id = xmalloc((size_t)n * sizeof *s->id);
    s->n = s->size = n;
    for (int i = 0; i < n; i++)
        s->id[i] = n - 1 - i;
}

void images_init(struct images *c, int row_pages, int kv_pages)
{
    *c = (struct images){ .has_kv = kv_pages > 0 };
    stack_init(&c->rows, row_pages);
    stack_init(&c->kv, kv_pages);
    c->fill = xcalloc((size_t)kv_pages, sizeof *c->fill);
}

/* Takes the entry out of the list, whether or not it has neighbours: where it has none, its place is the head or the
 * tail. */
static void list_remove(struct images *c, struct image_entry *e)
{
    *(e->prev ? &e->prev->next : &c->first) = e->next;
    *(e->next ? &e->next->prev : &c->last) = e->prev;
}

/* Puts the entry in front of all others: it was used last. */
static void list_push(struct images *c, struct image_entry *e)
{
    e->prev = NULL;
    e->next = c->first;
    *(c->first ? &c->first->prev : &c->last) = e;
    c->first = e;
}

/* Forgets an image that nobody holds; its pages become free. */
static void evict(struct images *c, struct image_entry *e)
{
    assert(e->refs == 0);
    list_remove(c, e);
    for (int i = 0; i < e->n_row_pages; i++)
        c->rows.id[c->rows.n++] = e->row_page[i];
    for (int i = 0; i < e->n_kv_pages; i++)
        c->kv.id[c->kv.n++] = e->kv_page[i];
    free(e->shared);
    free(e);
}

/* Frees the cache at the end of the engine, when no request can hold an entry any more. */
void images_free(struct images *c)
{
    for (struct image_entry *e = c->first; e; e = c->first) {
        e->refs = 0;
        evict(c, e);
    }
    free(c->rows.id);
    free(c->kv.id);
    free(c->fill);
}

int images_row_pages(const struct image_plan *p) { return (p->n_tokens + IMAGE_ROW_PAGE - 1) / IMAGE_ROW_PAGE; }

int images_kv_pages(const struct images *c, const struct image_plan *p)
{
    return c->has_kv ? cells_pages(p, IMAGE_KV_PAGE) + cells_blank_pages(p, IMAGE_KV_PAGE) : 0;
}

/* Two kinds of cells in pages of their own take one page more than all in one at the most. */
int images_most_kv_pages(const struct image_plan *largest)
{
    return (largest->n_cells + IMAGE_KV_PAGE - 1) / IMAGE_KV_PAGE + (largest->n_blank > 0);
}

/* Throws out unused entries, oldest first, until both kinds of pages suffice. */
static bool make_room(struct images *c, int row_pages, int kv_pages)
{
    struct image_entry *e = c->last;
    while ((c->rows.n < row_pages || c->kv.n < kv_pages) && e) {
        struct image_entry *newer = e->prev;
        if (e->refs == 0)
            evict(c, e);
        e = newer;
    }
    return c->rows.n >= row_pages && c->kv.n >= kv_pages;
}

/* A new entry takes its pages at once, though nothing is in them before it is encoded: so two requests with the same
 * image share the work too. */
struct image_entry *images_acquire(struct images *c, struct hash key, const struct image_plan *plan)
{
    for (struct image_entry *e = c->first; e; e = e->next)
        if (hash_equal(e->key, key)) {
            e->refs++;
            list_remove(c, e);
            list_push(c, e);
            return e;
        }
    int n_row = images_row_pages(plan), n_kv = images_kv_pages(c, plan);
    c->starved = false;
    if (!make_room(c, n_row, n_kv))
        return NULL;
    struct image_entry *e = malloc(sizeof *e + (size_t)(n_row + n_kv) * sizeof *e->page);
    c->starved = !e;
    if (!e)
        return NULL;
    *e = (struct image_entry){ .key = key, .plan = *plan, .refs = 1, .n_row_pages = n_row, .n_kv_pages = n_kv };
    e->row_page = e->page;
    e->kv_page = e->page + n_row;
    for (int i = 0; i < n_row; i++)
        e->row_page[i] = c->rows.id[--c->rows.n];
    for (int i = 0; i < n_kv; i++) {
        int id = e->kv_page[i] = c->kv.id[--c->kv.n];
        c->fill[id] = cells_in_page(plan, i, IMAGE_KV_PAGE);
    }
    list_push(c, e);
    return e;
}

void images_hold(struct image_entry *e) { e->refs++; }

/* An entry whose encoding never came to pass, for instance because its request was cancelled, would be found by the
 * next request with this image and wrongly taken for one that is being encoded: it goes at once. */
void images_release(struct images *c, struct image_entry *e)
{
    assert(e->refs > 0);
    e->refs--;
    if (!e->encoded && e->refs == 0)
        evict(c, e);            /* nothing in it to keep */
}
