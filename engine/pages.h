/* engine/pages.h - the pages of the KV cache: who holds them, what is in them.
 *
 * A page is held by one or more requests (refs > 0) or free. A free page keeps
 * what it holds, under the hash of all tokens up to its end, until it is handed
 * out again; the one that was freed longest ago goes first. So the prefix cache
 * is nothing but the free pages: it costs no memory of its own.
 *
 * Pages come into being in the order of their numbers: where memory is taken as
 * it is used, there is memory for the first `there` of them, and more is asked for
 * when no page without contents is left. It is put behind pages when they are
 * about to be computed, which were all handed out before: the first `used`. A
 * free page's contents go only when there is no more to be had; then a page that
 * is not there is not free either.
 *
 * Owned by the engine thread; all operations are O(1), but for new pages. */
#ifndef ENGINE_PAGES_H
#define ENGINE_PAGES_H
#include <stdbool.h>

#include "base/hash.h"

/* Sees to memory for the pages from `from` on, which is how many there are, and says for how many; 0: no more now. */
typedef int pages_more(void *arg, int from);

struct pages {
    struct page *page;      /* owned, (n)                                     */
    int  n, there;          /* that there may ever be; that there are         */
    int  used;              /* one more than the highest that was ever handed out */
    int  n_free;            /* of those that there are                        */
    pages_more *more;       /* NULL: all are there from the start             */
    void *more_arg;         /* borrowed                                       */
    int  head, tail;        /* of the free list: first those without contents, then the others by age; -1: none */
    int  blank;             /* the last one without contents; -1: none        */
    int *bucket;            /* owned, (mask + 1) heads of chains; -1: empty   */
    unsigned mask;
};

void pages_init(struct pages *p, int n);
void pages_on_demand(struct pages *p, pages_more *more, void *arg);    /* right after pages_init(): none is there yet */
void pages_free(struct pages *p);

bool pages_provide(struct pages *p, int n);      /* are n pages free, with as much memory as there is to be had? */
/* Where there is time to take memory ahead: behind how many pages it should be next, if it is behind `filled` now. At
 * most `ahead` that nobody has used, once any was used; `chunk` at a time. As many as now: nothing is to be done. */
int  pages_ahead(struct pages *p, int filled, int ahead, int chunk);
int  pages_alloc(struct pages *p);               /* a page with one reference and no hash; -1: none is free */
void pages_ref(struct pages *p, int id);         /* also takes a free page back into use                    */
void pages_unref(struct pages *p, int id);
int  pages_find(const struct pages *p, struct hash h);       /* the page that holds these tokens; -1: none  */
void pages_publish(struct pages *p, int id, struct hash h);  /* the page (in use) is full and may be shared */
void pages_check(const struct pages *p);         /* asserts every invariant; O(n)                           */

#endif
