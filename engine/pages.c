/* engine/pages.c - see pages.h. The free list is doubly linked through the pages themselves, so that a page that is
 * found by its hash can be taken out of the middle. Its first part, up to `blank`, are the pages without contents; they
 * are handed out before any page that somebody may still ask for. */
#include "engine/pages.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

struct page {
    int refs;
    int prev, next;         /* free list; only while refs is 0                */
    bool hashed;            /* `hash` is valid and the page is in its chain   */
    struct hash hash;
    int chain;              /* next page of the same bucket; -1: last         */
};

/* Puts a page into the free list behind another; -1: before all. */
static void link_free(struct pages *p, int id, int behind)
{
    struct page *g = &p->page[id];
    g->prev = behind;
    g->next = behind < 0 ? p->head : p->page[behind].next;
    *(g->prev < 0 ? &p->head : &p->page[g->prev].next) = id;
    *(g->next < 0 ? &p->tail : &p->page[g->next].prev) = id;
    p->n_free++;
}

/* Pages without contents are handed out before all others: new ones the lowest first. */
static void link_blank(struct pages *p, int id, bool is_new)
{
    int behind = is_new ? p->blank : -1;
    link_free(p, id, behind);
    if (p->blank == behind)
        p->blank = id;
}

/* Takes as many new pages as are given at one time. */
static bool grow_pages(struct pages *p)
{
    int got = p->there < p->n && p->more ? p->more(p->more_arg, p->there) : 0;
    assert(got >= 0 && got <= p->n - p->there);
    for (int i = 0; i < got; i++)
        link_blank(p, p->there++, true);
    return got > 0;
}

/* The table of hashes has at least as many buckets as there are pages, so that its chains stay short. */
void pages_init(struct pages *p, int n)
{
    unsigned size = 16;
    while (size < (unsigned)n)
        size *= 2;
    p->page = xcalloc((size_t)n, sizeof *p->page);
    p->bucket = xmalloc(size * sizeof *p->bucket);
    for (unsigned i = 0; i < size; i++)
        p->bucket[i] = -1;
    p->mask = size - 1;
    p->n = p->there = n;
    p->n_free = p->used = 0;
    p->more = NULL;
    p->head = p->tail = p->blank = -1;
    for (int i = 0; i < n; i++)
        link_blank(p, i, true);
}

void pages_on_demand(struct pages *p, pages_more *more, void *arg)
{
    assert(p->n_free == p->n);
    p->there = p->n_free = 0;
    p->head = p->tail = p->blank = -1;
    p->more = more;
    p->more_arg = arg;
}

void pages_free(struct pages *p)
{
    free(p->page);
    free(p->bucket);
    p->page = NULL;
    p->bucket = NULL;
}

/* Takes a page out of the free list, wherever it stands. If it was the last one without contents, the one before it is
 * now. */
static void unlink_free(struct pages *p, int id)
{
    struct page *g = &p->page[id];
    *(g->prev < 0 ? &p->head : &p->page[g->prev].next) = g->next;
    *(g->next < 0 ? &p->tail : &p->page[g->next].prev) = g->prev;
    p->blank = p->blank == id ? g->prev : p->blank;
    p->n_free--;
}

/* From now on nobody finds the page by what it held. The chain of its bucket is followed from the head, because the
 * chains are short and singly linked. */
static void forget_hash(struct pages *p, int id)
{
    struct page *g = &p->page[id];
    if (!g->hashed)
        return;
    int *at = &p->bucket[g->hash.lo & p->mask];
    while (*at != id)
        at = &p->page[*at].chain;
    *at = g->chain;
    g->hashed = false;
}

/* Asks for memory as long as too few pages are free. Pages with contents count as free here, but new ones come first
 * when they are handed out, so the prefix cache grows as long as there is memory. */
bool pages_provide(struct pages *p, int n)
{
    while (p->n_free < n)
        if (!grow_pages(p))
            return false;
    return true;
}

int pages_ahead(struct pages *p, int filled, int ahead, int chunk)
{
    int end = p->n - p->used > ahead ? p->used + ahead : p->n, want = end - filled > chunk ? filled + chunk : end;
    if (p->used == 0 || filled >= end || (p->there < want && !grow_pages(p)))
        return filled;
    return want < p->there ? want : p->there;
}

/* Before the contents of a page are given up, more memory is asked for. The page that is handed out is the head of the
 * list: one without contents, or else the one that was freed longest ago. */
int pages_alloc(struct pages *p)
{
    if (p->blank < 0)
        grow_pages(p);
    int id = p->head;
    if (id < 0)
        return -1;
    unlink_free(p, id);
    forget_hash(p, id);
    p->used = id < p->used ? p->used : id + 1;
    p->page[id].refs = 1;
    return id;
}

void pages_ref(struct pages *p, int id)
{
    if (p->page[id].refs++ == 0)
        unlink_free(p, id);
}

/* The last holder gives the page back. What it holds stays, and it goes to the end of the list: it is the last to be
 * handed out again. Without a hash its contents cannot be found by anybody, and it is handed out first. */
void pages_unref(struct pages *p, int id)
{
    struct page *g = &p->page[id];
    assert(g->refs > 0);
    if (--g->refs)
        return;
    if (g->hashed)
        link_free(p, id, p->tail);
    else
        link_blank(p, id, false);          /* nobody can look for what is in it */
}

/* Two requests that begin with the same tokens meet here. The hashes are wide enough to be taken for the tokens
 * themselves (base/hash.h). */
int pages_find(const struct pages *p, struct hash h)
{
    int id = p->bucket[h.lo & p->mask];
    while (id >= 0 && !hash_equal(p->page[id].hash, h))
        id = p->page[id].chain;
    return id;
}

/* Makes a full page findable by the hash of its tokens and all before them. */
void pages_publish(struct pages *p, int id, struct hash h)
{
    struct page *g = &p->page[id];
    assert(g->refs > 0);
    if (g->hashed || pages_find(p, h) >= 0)
        return;                 /* another page holds the same tokens: one is enough */
    g->hash = h;
    g->hashed = true;
    g->chain = p->bucket[h.lo & p->mask];
    p->bucket[h.lo & p->mask] = id;
}

/* The free list is in order and holds just the pages that nobody has; every page with a hash is found under it. */
void pages_check(const struct pages *p)
{
    int n_free = 0, in_use = 0, hashed = 0, chained = 0, prev = -1, blank = -1;
    for (int id = p->head; id >= 0; prev = id, id = p->page[id].next, n_free++) {
        assert(p->page[id].refs == 0 && p->page[id].prev == prev);
        assert(p->page[id].hashed || prev < 0 || !p->page[prev].hashed);
        blank = p->page[id].hashed ? blank : id;
        assert(n_free < p->n);
    }
    assert(p->used <= p->there && prev == p->tail && blank == p->blank && n_free == p->n_free);
    for (int i = 0; i < p->n; i++) {
        in_use += p->page[i].refs > 0;
        hashed += p->page[i].hashed;
        assert(i < p->used || (p->page[i].refs == 0 && !p->page[i].hashed));
    }
    assert(in_use + n_free == p->there);
    for (unsigned b = 0; b <= p->mask; b++)
        for (int id = p->bucket[b]; id >= 0; id = p->page[id].chain, chained++)
            assert(p->page[id].hashed && (p->page[id].hash.lo & p->mask) == b);
    assert(hashed == chained);
    (void)in_use, (void)hashed, (void)chained, (void)prev, (void)blank;
}
