/* engine/pages.h - the pages of the KV cache: who holds them, what is in them.
 *
 * A page is held by one or more requests (refs > 0) or free. A free page keeps
 * what it holds, under the hash of all tokens up to its end, until it is handed
 * out again; the one that was freed longest ago goes first. So the prefix cache
 * is nothing but the free pages: it costs no memory of its own.
 *
 * Owned by the engine thread; all operations are O(1). */
#ifndef ENGINE_PAGES_H
#define ENGINE_PAGES_H
#include <stdbool.h>

#include "base/hash.h"

struct pages {
    struct page *page;      /* owned, (n)                                     */
    int  n, n_free;
    int  head, tail;        /* of the free list, oldest first; -1: empty      */
    int *bucket;            /* owned, (mask + 1) heads of chains; -1: empty   */
    unsigned mask;
};

void pages_init(struct pages *p, int n);
void pages_free(struct pages *p);

int  pages_alloc(struct pages *p);               /* a page with one reference and no hash; -1: none is free */
void pages_ref(struct pages *p, int id);         /* also takes a free page back into use                    */
void pages_unref(struct pages *p, int id);
int  pages_find(const struct pages *p, struct hash h);       /* the page that holds these tokens; -1: none  */
void pages_publish(struct pages *p, int id, struct hash h);  /* the page (in use) is full and may be shared */
void pages_check(const struct pages *p);         /* asserts every invariant; O(n)                           */

#endif
