/* The scheduler's rules, on requests made by hand: no model, device or thread. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/scheduler.h"
#include "tests/suite.h"

enum { MAX_LEN = 1024, SEQS = 8 };

struct world {
    struct pages pages, windowed;      /* windowed: of the cache with a window, in tests of that alone */
    struct images images;
    struct scheduler s;
    struct step step;
};

static void world_init(struct world *w, int n_pages, int max_rows)
{
    memset(w, 0, sizeof *w);
    pages_init(&w->pages, n_pages);
    images_init(&w->images, 64, 64);
    w->s = (struct scheduler){ .cache = { { .pages = &w->pages } }, .images = &w->images, .max_seqs = SEQS,
                               .max_out = SEQS, .max_rows = max_rows,
                               .beside_rows = max_rows, .image_kv = true, .prefix_cache = true };
    w->step.seq = xcalloc(SEQS, sizeof *w->step.seq);
}

/* A waiting request of n tokens (token i is base + i), with an image of `places` at `at` if places > 0. */
static struct request *ask(struct world *w, uint64_t number, int n, int base, int at, int places, unsigned key)
{
    struct request *r = xcalloc(1, sizeof *r);
    r->prompt = xcalloc(1, sizeof *r->prompt);
    r->prompt->n = r->n_ids = n;
    r->ids = xcalloc(MAX_LEN, sizeof *r->ids);
    for (int c = 0; c < TEXT_CACHES; c++)
        r->kv[c].page = xcalloc(MAX_LEN / KV_PAGE, sizeof *r->kv[c].page);
    r->hash = xcalloc(MAX_LEN / KV_PAGE, sizeof *r->hash);
    r->images = xcalloc(2, sizeof *r->images);
    r->max_len = MAX_LEN;
    r->n_cached = -1;
    r->number = number;
    for (int i = 0; i < n; i++)
        r->ids[i] = base + i;
    if (places) {
        r->prompt->n_images = 1;
        r->prompt->images = xcalloc(1, sizeof *r->prompt->images);
        r->prompt->images[0] = (struct prompt_image){ .key = { key, key }, .start = at, .end = at + places,
                                                      .plan = { .n_tokens = places, .n_cells = 4 * places } };
    }
    list_push(&w->s.waiting, r);
    return r;
}

static void forget(struct request *r)
{
    free(r->prompt->images);
    free(r->prompt);
    free(r->ids);
    free(r->kv[0].page);
    free(r->kv[1].page);
    free(r->hash);
    free(r->images);
    free(r);
}

/* Runs the planned step as the engine would; a request that samples gets one more token. */
static void run(struct world *w)
{
    if (w->step.encode)
        w->step.encode->images[w->step.encode_image]->encoded = true;
    for (int i = 0; i < w->step.n_seqs; i++) {
        struct step_seq *q = &w->step.seq[i];
        scheduler_done(&w->s, q->r, q->n);
        for (int k = 0; k < q->yield.rows; k++) {
            q->r->ids[q->r->n_ids] = 7;
            q->r->n_ids++;
        }
    }
    pages_check(&w->pages);
}

static const struct step_seq *of(const struct world *w, const struct request *r)
{
    for (int i = 0; i < w->step.n_seqs; i++)
        if (w->step.seq[i].r == r)
            return &w->step.seq[i];
    return NULL;
}

static void end(struct world *w, struct request *r, struct request_list *from)
{
    list_remove(from, r);
    scheduler_release(&w->s, r);
    forget(r);
}

static void world_free(struct world *w)
{
    while (w->s.running.first)
        end(w, w->s.running.first, &w->s.running);
    while (w->s.waiting.first)
        end(w, w->s.waiting.first, &w->s.waiting);
    pages_check(&w->pages);
    ck_assert_int_eq(w->pages.n_free, w->pages.there);
    pages_free(&w->pages);
    if (w->s.cache[1].pages) {
        pages_check(&w->windowed);
        ck_assert_int_eq(w->windowed.n_free, w->windowed.there);
        pages_free(&w->windowed);
    }
    images_free(&w->images);
    free(w->step.seq);
}

START_TEST(decodes_go_before_chunks_of_prompts)
{
    struct world w;
    world_init(&w, 64, 40);
    struct request *a = ask(&w, 1, 100, 1000, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, a)->n, 40);
    ck_assert_int_eq(of(&w, a)->yield.rows, 0);
    run(&w);
    struct request *b = ask(&w, 2, 5, 5000, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, a)->n, 40);          /* the budget is used up: b waits */
    ck_assert_ptr_null(of(&w, b));
    run(&w);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, a)->n, 20);
    ck_assert_int_eq(of(&w, a)->yield.rows, 1);
    ck_assert_int_eq(of(&w, b)->n, 5);
    run(&w);
    struct request *c = ask(&w, 3, 200, 9000, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, a)->n, 1);
    ck_assert_int_eq(of(&w, b)->n, 1);
    ck_assert_int_eq(of(&w, c)->n, 38);
    world_free(&w);
}
END_TEST

START_TEST(a_chunk_stops_before_an_image_that_is_not_encoded)
{
    struct world w;
    world_init(&w, 64, 512);
    struct request *a = ask(&w, 1, 60, 1000, 10, 20, 1), *b = ask(&w, 2, 60, 1000, 10, 20, 1);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, a)->n, 10);
    ck_assert_ptr_eq(w.step.encode, a);
    run(&w);
    scheduler_plan(&w.s, &w.step);
    ck_assert_ptr_null(w.step.encode);           /* b's image is the same one */
    ck_assert_int_eq(of(&w, a)->n, 50);
    ck_assert_int_eq(of(&w, b)->n, 50);
    world_free(&w);
}
END_TEST

START_TEST(full_pages_are_found_again)
{
    struct world w;
    world_init(&w, 64, 512);
    struct request *a = ask(&w, 1, 3 * KV_PAGE, 1000, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    run(&w);
    ask(&w, 2, 3 * KV_PAGE, 1000, 0, 0, 0);
    struct request *c = ask(&w, 3, 3 * KV_PAGE, 1001, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    struct request *b = a->next;
    ck_assert_int_eq(of(&w, b)->start, 2 * KV_PAGE);  /* the last token is always computed */
    ck_assert_int_eq(b->n_cached, 2 * KV_PAGE);
    ck_assert_int_eq(b->kv[0].page[0], a->kv[0].page[0]);
    ck_assert_int_eq(of(&w, c)->start, 0);
    world_free(&w);
}
END_TEST

START_TEST(same_ids_with_another_image_share_nothing)
{
    struct world w;
    world_init(&w, 64, 512);
    struct request *a = ask(&w, 1, 100, 1000, 40, 30, 1);
    for (int i = 0; i < 3; i++) {
        scheduler_plan(&w.s, &w.step);
        run(&w);
    }
    ck_assert_int_gt(a->n_ids, 100);
    struct request *b = ask(&w, 2, 100, 1000, 40, 30, 2);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(b->n_cached, KV_PAGE);      /* only the page before the image */
    world_free(&w);
}
END_TEST

/* One that has grown beyond stretch_after is computed anew from its beginning, keeps its images and its place, and
 * shares pages only with those that are as long. */
START_TEST(a_long_sequence_begins_again)
{
    struct world w;
    world_init(&w, 64, 512);
    w.s.stretch_after = 3 * KV_PAGE;
    struct request *a = ask(&w, 1, 3 * KV_PAGE - 1, 1000, 10, 20, 1);
    for (int i = 0; i < 4; i++) {
        scheduler_plan(&w.s, &w.step);
        ck_assert_int_eq(of(&w, a)->n, i == 0 ? 10 : i == 1 ? 3 * KV_PAGE - 11 : i == 2 ? 1 : 3 * KV_PAGE + 1);
        ck_assert_int_eq(a->stretched, i == 3);
        ck_assert_ptr_nonnull(a->images[0]);
        run(&w);
    }
    ck_assert_int_eq(w.s.preemptions, 0);
    struct request *b = ask(&w, 2, 2 * KV_PAGE + 1, 1000, 10, 20, 1), *c = ask(&w, 3, 3 * KV_PAGE + 1, 1000, 10, 20, 1);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(b->n_cached, 2 * KV_PAGE);  /* what a gave back */
    ck_assert_int_eq(c->n_cached, 2 * KV_PAGE);  /* what a has now   */
    ck_assert_int_ne(b->kv[0].page[0], c->kv[0].page[0]);
    ck_assert_int_eq(c->kv[0].page[0], a->kv[0].page[0]);
    world_free(&w);
}
END_TEST

START_TEST(the_youngest_is_put_back_when_pages_run_out)
{
    struct world w;
    world_init(&w, 8, 512);
    struct request *a = ask(&w, 1, 4 * KV_PAGE - 1, 1000, 0, 0, 0), *b = ask(&w, 2, 4 * KV_PAGE - 2, 5000, 0, 0, 0);
    for (int i = 0; i < 2; i++) {
        scheduler_plan(&w.s, &w.step);
        ck_assert_int_eq(w.step.n_seqs, 2);
        run(&w);
    }
    /* a needs a fifth page now */
    scheduler_plan(&w.s, &w.step);
    ck_assert_ptr_nonnull(of(&w, a));
    ck_assert_ptr_null(of(&w, b));
    ck_assert_int_eq(w.s.preemptions, 1);
    ck_assert_ptr_eq(w.s.waiting.first, b);
    ck_assert_int_eq(b->n_computed, 0);
    run(&w);
    while (a->n_ids < 5 * KV_PAGE) {             /* b stays out: there is no room for all of it */
        scheduler_plan(&w.s, &w.step);
        ck_assert_int_eq(w.step.n_seqs, 1);
        run(&w);
    }
    end(&w, a, &w.s.running);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, b)->start + of(&w, b)->n, b->n_ids);   /* with its answer so far */
    world_free(&w);
}
END_TEST

/* The images of a request are looked up once, however often it comes by before there is room for them. */
START_TEST(images_are_counted_once)
{
    struct world w;
    world_init(&w, 64, 1024);
    struct request *a = ask(&w, 1, 600, 0, 10, 500, 1);      /* takes almost all pages of images */
    struct request *b = ask(&w, 2, 600, 0, 10, 500, 2), *c = ask(&w, 3, 600, 0, 10, 500, 2);
    for (int i = 0; i < 5; i++) {
        scheduler_plan(&w.s, &w.step);
        run(&w);
        ck_assert_ptr_null(of(&w, b));
        ck_assert_uint_eq(w.images.queries, 1);
    }
    end(&w, a, &w.s.running);
    for (int i = 0; i < 5; i++) {
        scheduler_plan(&w.s, &w.step);
        run(&w);
    }
    ck_assert_int_gt(b->n_ids, 600);
    ck_assert_int_gt(c->n_ids, 600);
    ck_assert_uint_eq(w.images.queries, 3);
    ck_assert_uint_eq(w.images.hits, 0);                     /* c came when b's was not encoded yet */
    struct request *d = ask(&w, 4, 600, 0, 10, 500, 2);
    scheduler_plan(&w.s, &w.step);
    ck_assert_ptr_nonnull(of(&w, d));
    ck_assert_uint_eq(w.images.queries, 4);
    ck_assert_uint_eq(w.images.hits, 1);
    world_free(&w);
}
END_TEST

static int one_more(void *arg, int from)
{
    (void)from;
    int *left = arg;
    return *left > 0 ? (*left)--, 1 : 0;
}

/* Beside somebody's next token a prompt gets fewer rows; alone it gets all. While an image is encoded only tokens go
 * on. */
START_TEST(prompts_beside_others)
{
    struct world w;
    world_init(&w, 64, 256);
    w.s.beside_rows = 20;
    struct request *a = ask(&w, 1, 60, 0, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, a)->n, 60);
    run(&w);
    struct request *b = ask(&w, 2, 100, 1000, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, a)->n, 1);
    ck_assert_int_eq(of(&w, b)->n, 20);
    ck_assert_int_eq(w.step.n_single, 1);
    run(&w);
    scheduler_plan_single(&w.s, &w.step);
    ck_assert_int_eq(w.step.n_rows, 1);
    ck_assert_ptr_null(of(&w, b));
    run(&w);
    end(&w, a, &w.s.running);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, b)->n, 80);
    run(&w);
    end(&w, b, &w.s.running);
    world_free(&w);
}
END_TEST

/* Three pages' memory is there. The second of two requests waits for the first, and goes on with its pages; one that
 * needs four is named when it is alone, and not before, and runs once there is memory. */
START_TEST(memory_that_is_not_there_is_waited_for_or_told)
{
    struct world w;
    int left = 3;
    world_init(&w, 16, 256);
    pages_on_demand(&w.pages, one_more, &left);
    struct request *a = ask(&w, 1, 60, 0, 0, 0, 0), *b = ask(&w, 2, 60, 1000, 0, 0, 0),
        *c = ask(&w, 3, 100, 2000, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    ck_assert_ptr_nonnull(of(&w, a));
    ck_assert_ptr_null(of(&w, b));
    ck_assert_ptr_null(w.step.starved);
    run(&w);
    ck_assert_int_eq(a->kv[0].page[0], 0);
    ck_assert_int_eq(a->kv[0].page[1], 1);
    end(&w, a, &w.s.running);
    scheduler_plan(&w.s, &w.step);
    ck_assert_ptr_nonnull(of(&w, b));
    ck_assert_ptr_null(w.step.starved);
    run(&w);
    end(&w, b, &w.s.running);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(w.step.n_seqs, 0);
    ck_assert_ptr_eq(w.step.starved, c);
    left = 1;
    scheduler_plan(&w.s, &w.step);
    ck_assert_ptr_nonnull(of(&w, c));
    ck_assert_ptr_null(w.step.starved);
    run(&w);
    while (c->n_ids < 129)                         /* its answer reaches a fifth page */
        scheduler_plan(&w.s, &w.step), run(&w);
    scheduler_plan(&w.s, &w.step);                 /* it is put back ... */
    ck_assert_int_eq(w.s.waiting.n, 1);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(w.step.n_seqs, 0);
    ck_assert_ptr_eq(w.step.starved, c);
    world_free(&w);
}
END_TEST

START_TEST(random_load_always_gets_on)
{
    struct world w;
    world_init(&w, 40, 64);
    srandom(11);
    uint64_t number = 0;
    int finished = 0;
    for (int i = 0; i < 4000; i++) {
        if (w.s.waiting.n < 4 && random() % 3 == 0)
            ask(&w, ++number, 1 + (int)(random() % 600), (int)(random() % 3) * 1000, 0, (int)(random() % 2),
                1 + (unsigned)random() % 5);
        scheduler_plan(&w.s, &w.step);
        int running = w.s.running.n;
        ck_assert(w.step.n_rows <= 64 && w.step.n_seqs <= SEQS);
        ck_assert(running == 0 || w.step.n_rows > 0 || w.step.encode);
        run(&w);
        for (struct request *r = w.s.running.first, *next; r; r = next) {
            next = r->next;
            if (r->n_ids - r->prompt->n > 40 || r->n_ids == MAX_LEN) {
                end(&w, r, &w.s.running);
                finished++;
            }
        }
    }
    ck_assert_int_gt(finished, 30);
    world_free(&w);
}
END_TEST

/* ---- windows ---- */

enum { WINDOW = 50 };

/* A second cache, of layers that see WINDOW tokens. */
static void add_window(struct world *w, int n_pages)
{
    pages_init(&w->windowed, n_pages);
    w->s.cache[1] = (struct cache){ &w->windowed, WINDOW };
}

/* Every token of the step finds the pages of all that it sees, and its own. */
static void check_seen(const struct step_seq *q, int cache, int window)
{
    const struct held *h = &q->r->kv[cache];
    int first = q->start >= window && window ? q->start - window + 1 : 0;
    ck_assert_int_le(h->gone, first / KV_PAGE);
    ck_assert_int_gt(h->n * KV_PAGE, q->start + q->n - 1);
    for (int i = h->gone; i < h->n; i++)
        for (int k = h->gone; k < i; k++)
            ck_assert_int_ne(h->page[i], h->page[k]);
}

/* Computes steps until r has all of its tokens; the most pages of the windowed cache that were in use at one time. */
static int compute(struct world *w, struct request *r, int n_ids)
{
    int most = 0;
    while (r->n_ids < n_ids) {
        scheduler_plan(&w->s, &w->step);
        ck_assert_int_gt(w->step.n_rows, 0);
        for (int i = 0; i < w->step.n_seqs; i++)
            for (int c = 0; c < TEXT_CACHES; c++)
                if (w->s.cache[c].pages)
                    check_seen(&w->step.seq[i], c, w->s.cache[c].window);
        int used = w->windowed.there - w->windowed.n_free;
        most = used > most ? used : most;
        run(w);
    }
    return most;
}

/* However long the prompt and its answer are, a request holds the window and one step's rows of the windowed cache, and
 * that is what scheduler_held() says; of the other it holds all. */
START_TEST(pages_behind_the_window_are_given_back)
{
    struct world w;
    world_init(&w, 40, 64);
    int bound = scheduler_held(WINDOW, 1000, 64);
    ck_assert_int_eq(scheduler_held(WINDOW, 60, 64), 2);
    ck_assert_int_eq(scheduler_held(0, 1000, 64), 32);
    add_window(&w, bound);                 /* and no page more */
    struct request *a = ask(&w, 1, 900, 1000, 0, 0, 0);
    int most = compute(&w, a, 1000);
    ck_assert_int_le(most, bound);
    ck_assert_int_ge(most, bound - 1);
    ck_assert_int_eq(a->kv[0].n - a->kv[0].gone, 32);
    ck_assert_int_le(a->kv[1].n - a->kv[1].gone, 3);
    ck_assert_int_eq(w.s.preemptions, 0);
    world_free(&w);
}
END_TEST

/* Where all layers have a window, the first cache has it. */
START_TEST(the_only_cache_may_have_a_window)
{
    struct world w;
    world_init(&w, scheduler_held(WINDOW, 1000, 64), 64);
    w.s.cache[0].window = WINDOW;
    struct request *a = ask(&w, 1, 900, 1000, 0, 0, 0);
    compute(&w, a, 1000);
    ck_assert_int_le(a->kv[0].n - a->kv[0].gone, 3);
    world_free(&w);
}
END_TEST

/* The same prompt again needs the pages of its last window alone. Without them it is computed from where there are
 * some. */
START_TEST(a_prefix_is_known_by_its_last_window)
{
    struct world w;
    world_init(&w, 64, 64);
    add_window(&w, 12);
    struct request *a = ask(&w, 1, 10 * KV_PAGE + 5, 1000, 0, 0, 0);
    compute(&w, a, a->n_ids + 1);
    end(&w, a, &w.s.running);
    struct request *other = ask(&w, 2, 5 * KV_PAGE, 5000, 0, 0, 0);     /* takes the oldest windowed pages */
    compute(&w, other, other->n_ids + 1);
    ck_assert_int_lt(pages_find(&w.windowed, other->hash[0]), 12);
    struct request *b = ask(&w, 3, 10 * KV_PAGE + 5, 1000, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(b->n_cached, 10 * KV_PAGE);
    ck_assert_int_eq(b->kv[0].gone, 0);
    ck_assert_int_eq(b->kv[1].gone, 8);
    check_seen(of(&w, b), 1, WINDOW);
    run(&w);
    end(&w, b, &w.s.running);
    end(&w, other, &w.s.running);
    struct request *long_one = ask(&w, 4, 900, 9000, 0, 0, 0);          /* takes all of them */
    compute(&w, long_one, long_one->n_ids + 1);
    struct request *c = ask(&w, 5, 10 * KV_PAGE + 5, 1000, 0, 0, 0);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(c->n_cached, 0);
    world_free(&w);
}
END_TEST

/* A page of either cache that cannot be had puts the youngest back, who gives back those of both. */
START_TEST(who_is_put_back_gives_back_all_caches)
{
    struct world w;
    world_init(&w, 64, 512);
    add_window(&w, 5);
    struct request *a = ask(&w, 1, 2 * KV_PAGE - 1, 1000, 0, 0, 0), *b = ask(&w, 2, 2 * KV_PAGE - 1, 5000, 0, 0, 0);
    for (int i = 0; i < 40 && w.s.preemptions == 0; i++) {
        scheduler_plan(&w.s, &w.step);
        run(&w);
    }
    ck_assert_int_eq(w.s.preemptions, 1);
    ck_assert_int_eq(b->kv[0].n + b->kv[1].n + b->n_computed, 0);
    ck_assert_int_gt(a->n_ids, 2 * KV_PAGE);
    world_free(&w);
}
END_TEST

/* ---- images whose tokens see each other ---- */

/* The places of an image come in one step: chunks end before it, or after all of it, also where others' next tokens
 * leave fewer rows; where its first part is known, only the rest has to. */
START_TEST(an_image_that_is_read_both_ways_is_not_torn_apart)
{
    struct world w;
    world_init(&w, 64, 64);
    w.s.image_kv = false;
    struct request *d = ask(&w, 1, 3, 9000, 0, 0, 0), *a = ask(&w, 2, 120, 1000, 20, 50, 1);
    a->prompt->spans = true;
    ck_assert_int_eq(prompt_span(a->prompt, 19).end, 20);
    ck_assert_int_eq(prompt_span(a->prompt, 20).end, 70);
    ck_assert_int_eq(prompt_span(a->prompt, 69).first, 20);
    ck_assert_int_eq(prompt_span(a->prompt, 69).end, 70);
    ck_assert_int_eq(prompt_span(a->prompt, 70).end, 71);
    ck_assert_int_eq(prompt_sees_from(a->prompt, 69, 10), 20);
    ck_assert_int_eq(prompt_sees_from(a->prompt, 75, 10), 66);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, a)->n, 20);
    run(&w);
    w.s.beside_rows = 10;                  /* d gets its next token in each of these */
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, d)->n, 1);
    ck_assert_int_eq(of(&w, a)->n, 50);
    run(&w);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, a)->n, 10);
    run(&w);
    w.s.beside_rows = 64;
    scheduler_plan(&w.s, &w.step);
    run(&w);
    struct request *b = ask(&w, 3, 120, 1000, 20, 50, 1);
    b->prompt->spans = true;
    b->ids[80] = 5;                        /* the page before it ends within the image */
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, b)->start, 2 * KV_PAGE);
    ck_assert_int_gt(of(&w, b)->n, 70 - 2 * KV_PAGE);
    world_free(&w);
}
END_TEST

/* ---- prompts whose tokens see each other ---- */

static struct request *ask_whole(struct world *w, uint64_t number)
{
    struct request *r = ask(w, number, 150, 1000, 0, 30, 1);
    r->prompt->whole = true;
    return r;
}

/* Such a prompt waits for its image and then comes in one step, whatever others need beside it. The same prompt again
 * needs all of its pages, also in a cache with a window: the rest of it sees them. */
START_TEST(a_prompt_that_is_read_both_ways_is_one_step)
{
    struct world w;
    world_init(&w, 64, 160);
    add_window(&w, 12);
    w.s.image_kv = false;
    struct request *d = ask(&w, 1, 3, 9000, 0, 0, 0), *a = ask_whole(&w, 2);
    scheduler_plan(&w.s, &w.step);
    ck_assert_ptr_null(of(&w, a));
    ck_assert_ptr_eq(w.step.encode, a);
    run(&w);
    w.s.beside_rows = 10;
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(of(&w, d)->n, 1);
    ck_assert_int_eq(of(&w, a)->n, 150);
    ck_assert_int_eq(prompt_sees_from(a->prompt, 149, WINDOW), 0);
    ck_assert_int_eq(prompt_sees_from(a->prompt, 150, WINDOW), 150 - WINDOW + 1);
    run(&w);
    ck_assert_int_eq(a->n_computed, 150);
    ck_assert_int_eq(a->kv[1].gone, (150 - WINDOW + 1) / KV_PAGE);
    struct request *b = ask_whole(&w, 3);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(b->n_cached, 4 * KV_PAGE);
    ck_assert_int_eq(b->kv[1].gone, 0);
    ck_assert_int_eq(of(&w, b)->n, 150 - 4 * KV_PAGE);
    run(&w);
    end(&w, b, &w.s.running);
    end(&w, a, &w.s.running);
    struct request *other = ask(&w, 4, 300, 5000, 0, 0, 0);     /* takes windowed pages, the oldest first */
    w.s.beside_rows = 160;
    compute(&w, other, other->n_ids + 1);
    end(&w, other, &w.s.running);
    struct request *c = ask_whole(&w, 5);
    scheduler_plan(&w.s, &w.step);
    ck_assert_int_eq(c->n_cached, 0);
    world_free(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("scheduler");
    TCase *t = tcase_create("scheduler");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, decodes_go_before_chunks_of_prompts);
    tcase_add_test(t, images_are_counted_once);
    tcase_add_test(t, prompts_beside_others);
    tcase_add_test(t, a_chunk_stops_before_an_image_that_is_not_encoded);
    tcase_add_test(t, full_pages_are_found_again);
    tcase_add_test(t, same_ids_with_another_image_share_nothing);
    tcase_add_test(t, a_long_sequence_begins_again);
    tcase_add_test(t, the_youngest_is_put_back_when_pages_run_out);
    tcase_add_test(t, memory_that_is_not_there_is_waited_for_or_told);
    tcase_add_test(t, random_load_always_gets_on);
    tcase_add_test(t, pages_behind_the_window_are_given_back);
    tcase_add_test(t, the_only_cache_may_have_a_window);
    tcase_add_test(t, a_prefix_is_known_by_its_last_window);
    tcase_add_test(t, who_is_put_back_gives_back_all_caches);
    tcase_add_test(t, an_image_that_is_read_both_ways_is_not_torn_apart);
    tcase_add_test(t, a_prompt_that_is_read_both_ways_is_one_step);
    suite_add_tcase(s, t);
    return suite_run(s);
}
