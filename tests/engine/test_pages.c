/* Pages: allocation order, references, the prefix cache in the free list, memory that comes as it is needed or does
 * not, a random walk against a plain model. */
#include <check.h>
#include <stdlib.h>

#include "engine/images.h"
#include "engine/pages.h"
#include "tests/suite.h"

static struct hash h(unsigned x) { return (struct hash){ x * 2654435761u, x }; }

START_TEST(freed_page_is_found_until_it_is_handed_out)
{
    struct pages p;
    pages_init(&p, 3);
    int a = pages_alloc(&p), b = pages_alloc(&p), c = pages_alloc(&p);
    ck_assert_int_eq(pages_alloc(&p), -1);
    pages_publish(&p, a, h(1));
    pages_publish(&p, b, h(2));
    ck_assert_int_eq(pages_find(&p, h(1)), a);
    pages_unref(&p, b);
    pages_unref(&p, a);
    ck_assert_int_eq(pages_find(&p, h(1)), a);
    pages_ref(&p, a);                        /* back into use: not handed out */
    ck_assert_int_eq(pages_alloc(&p), b);
    ck_assert_int_eq(pages_find(&p, h(2)), -1);
    ck_assert_int_eq(pages_find(&p, h(1)), a);
    pages_check(&p);
    pages_unref(&p, a);
    pages_unref(&p, b);
    pages_unref(&p, c);
    pages_check(&p);
    pages_free(&p);
}
END_TEST

START_TEST(second_page_with_same_tokens_is_not_published)
{
    struct pages p;
    pages_init(&p, 2);
    int a = pages_alloc(&p), b = pages_alloc(&p);
    pages_publish(&p, a, h(7));
    pages_publish(&p, b, h(7));
    ck_assert_int_eq(pages_find(&p, h(7)), a);
    pages_unref(&p, b);
    pages_check(&p);
    pages_unref(&p, a);
    pages_free(&p);
}
END_TEST

START_TEST(random_walk_keeps_the_invariants)
{
    enum { N = 37, STEPS = 20000 };
    struct pages p;
    int held[N * 2], n = 0;
    unsigned next = 1;
    pages_init(&p, N);
    srandom(5);
    for (int i = 0; i < STEPS; i++) {
        int what = (int)(random() % 4);
        if (what == 0) {
            int id = pages_alloc(&p);
            ck_assert(id >= 0 || p.n_free == 0);
            if (id >= 0)
                held[n++] = id;
        } else if (what == 1 && n) {
            int k = (int)(random() % n);
            pages_unref(&p, held[k]);
            held[k] = held[--n];
        } else if (what == 2 && n)
            pages_publish(&p, held[random() % n], h(next++));
        else if (next > 1) {
            int id = pages_find(&p, h(1 + (unsigned)random() % (next - 1)));
            if (id >= 0 && n < N * 2 - 1) {
                pages_ref(&p, id);
                held[n++] = id;
            }
        }
        if (i % 64 == 0)
            pages_check(&p);
    }
    while (n)
        pages_unref(&p, held[--n]);
    pages_check(&p);
    ck_assert_int_eq(p.n_free, N);
    pages_free(&p);
}
END_TEST

/* A machine that has memory for so many pages, two at a time. */
static int two_more(void *arg, int from)
{
    int *left = arg, n = from == 6 ? 1 : 2;       /* the seventh page is the last */
    if (*left < n)
        return 0;
    *left -= n;
    return n;
}

START_TEST(pages_come_in_order_as_long_as_there_is_memory)
{
    struct pages p;
    int left = 4;
    pages_init(&p, 7);
    pages_on_demand(&p, two_more, &left);
    pages_check(&p);
    ck_assert_int_eq(p.there, 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pages_alloc(&p), i);
    ck_assert_int_eq(p.there, 4);
    pages_unref(&p, 1);
    ck_assert_int_eq(pages_alloc(&p), 1);          /* nothing is in it: no new memory for that */
    ck_assert_int_eq(pages_alloc(&p), 3);
    ck_assert_int_eq(pages_alloc(&p), -1);         /* as if none were free */
    pages_publish(&p, 0, h(1));
    pages_unref(&p, 0);
    left = 2;
    ck_assert_int_eq(pages_alloc(&p), 4);          /* rather than what may be asked for again */
    ck_assert_int_eq(pages_find(&p, h(1)), 0);
    ck_assert_int_eq(pages_alloc(&p), 5);
    ck_assert_int_eq(pages_alloc(&p), 0);
    ck_assert_int_eq(pages_find(&p, h(1)), -1);
    left = 9;
    ck_assert_int_eq(pages_alloc(&p), 6);
    ck_assert_int_eq(pages_alloc(&p), -1);
    ck_assert_int_eq(p.there, 7);
    pages_check(&p);
    for (int i = 0; i < 7; i++)
        pages_unref(&p, i);
    pages_check(&p);
    pages_free(&p);
}
END_TEST

START_TEST(memory_is_taken_ahead_of_what_was_used)
{
    struct pages p;
    int left = 4;
    pages_init(&p, 7);
    pages_on_demand(&p, two_more, &left);
    ck_assert_int_eq(pages_ahead(&p, 0, 3, 2), 0);     /* nobody has used any */
    ck_assert_int_eq(p.there, 0);
    ck_assert_int_eq(pages_alloc(&p), 0);
    ck_assert_int_eq(pages_ahead(&p, 1, 3, 2), 3);
    ck_assert_int_eq(pages_ahead(&p, 3, 3, 2), 4);
    ck_assert_int_eq(pages_ahead(&p, 4, 3, 2), 4);     /* three that nobody has used */
    ck_assert_int_eq(pages_ahead(&p, 4, 5, 2), 4);     /* no memory for more */
    left = 9;
    ck_assert_int_eq(pages_ahead(&p, 4, 9, 2), 6);
    ck_assert_int_eq(pages_ahead(&p, 6, 9, 2), 7);     /* all that may ever be */
    ck_assert_int_eq(pages_ahead(&p, 7, 9, 2), 7);
    ck_assert_int_eq(p.used, 1);
    pages_check(&p);
    pages_unref(&p, 0);
    pages_free(&p);
}
END_TEST

START_TEST(pages_are_provided_before_they_are_promised)
{
    struct pages p;
    int left = 4;
    pages_init(&p, 7);
    pages_on_demand(&p, two_more, &left);
    ck_assert(pages_provide(&p, 3));
    ck_assert_int_eq(p.there, 4);
    ck_assert_int_eq(p.used, 0);                   /* nothing is behind them yet */
    ck_assert_int_eq(pages_alloc(&p), 0);
    ck_assert_int_eq(pages_alloc(&p), 1);
    ck_assert_int_eq(p.used, 2);
    pages_unref(&p, 1);
    pages_unref(&p, 0);
    ck_assert_int_eq(pages_alloc(&p), 0);
    ck_assert_int_eq(p.used, 2);
    pages_unref(&p, 0);
    ck_assert(!pages_provide(&p, 5));
    ck_assert_int_eq(p.n_free, 4);
    left = 3;
    ck_assert(pages_provide(&p, 7));
    ck_assert(!pages_provide(&p, 8));
    pages_check(&p);
    pages_free(&p);
}
END_TEST

static struct image_plan plan(int tokens, int cells)
{
    return (struct image_plan){ .n_tokens = tokens, .n_cells = cells };
}

START_TEST(images_are_shared_and_evicted_oldest_first)
{
    struct images c;
    images_init(&c, 4, 4);
    struct image_plan two = plan(20, 40);     /* two pages of each kind */
    struct image_entry *a = images_acquire(&c, h(1), &two), *b = images_acquire(&c, h(2), &two);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_eq(images_acquire(&c, h(1), &two), a);
    ck_assert_ptr_null(images_acquire(&c, h(3), &two));     /* all held */
    a->encoded = b->encoded = true;
    images_release(&c, a);
    images_release(&c, a);
    images_release(&c, b);
    ck_assert_ptr_eq(images_acquire(&c, h(1), &two), a);    /* kept, and newest now */
    images_release(&c, a);
    struct image_entry *d = images_acquire(&c, h(3), &two); /* throws out b */
    ck_assert_ptr_nonnull(d);
    ck_assert(!d->encoded);
    ck_assert_ptr_eq(images_acquire(&c, h(1), &two), a);
    ck_assert_int_eq(c.fill[d->kv_page[0]], IMAGE_KV_PAGE);
    ck_assert_int_eq(c.fill[d->kv_page[1]], 40 - IMAGE_KV_PAGE);
    images_release(&c, a);
    images_release(&c, d);                                  /* not encoded: goes at once */
    ck_assert_int_eq(c.rows.n, 2);
    images_free(&c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pages");
    TCase *t = tcase_create("pages");
    tcase_add_test(t, freed_page_is_found_until_it_is_handed_out);
    tcase_add_test(t, second_page_with_same_tokens_is_not_published);
    tcase_add_test(t, pages_come_in_order_as_long_as_there_is_memory);
    tcase_add_test(t, memory_is_taken_ahead_of_what_was_used);
    tcase_add_test(t, pages_are_provided_before_they_are_promised);
    tcase_add_test(t, random_walk_keeps_the_invariants);
    tcase_add_test(t, images_are_shared_and_evicted_oldest_first);
    suite_add_tcase(s, t);
    return suite_run(s);
}
