/* The arrays of a step, on requests made by hand. The block of the host stands for the device's too, so that what the
 * model and the sampler would read can be looked at. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/replay.h"
#include "tests/suite.h"

enum { LEN = 96, PAGES = LEN / KV_PAGE, IMAGES = 2, KV_IMAGES = 8, SEQS = 5, ROWS = 40, SEEN = 3, ENDS = 2 };

struct asked {                 /* a request with all that hangs on it */
    struct request r;
    struct prompt  p;
    struct prompt_image image[IMAGES];
    struct image_entry *entry[IMAGES];
    struct image_range sees[LEN];
    int32_t ids[LEN];
    int pages[PAGES];
    struct seen seen[SEEN];
};

/* A prompt of n tokens, which are base, base + 1, ...; its pages are base, base - 1, ... */
static void ask(struct asked *a, int n, int base)
{
    memset(a, 0, sizeof *a);
    a->p = (struct prompt){ .n = n, .next_pos = n };
    a->r = (struct request){ .prompt = &a->p, .ids = a->ids, .n_ids = n, .images = a->entry, .seen = a->seen,
                             .kv = { { a->pages, (n + KV_PAGE - 1) / KV_PAGE, 0 } } };
    for (int i = 0; i < LEN; i++)
        a->ids[i] = base + i;
    for (int i = 0; i < PAGES; i++)
        a->pages[i] = base - i;
}

/* Its next image: `places` tokens from `start` on, and so many pages of the image KV, from `page` down. */
static void add_image(struct asked *a, int start, int places, int n_pages, int page)
{
    int k = a->p.n_images++;
    struct image_entry *e = a->entry[k] = xcalloc(1, sizeof *e + (size_t)(n_pages + 1) * sizeof(int));
    a->p.images = a->image;
    a->image[k] = (struct prompt_image){ .start = start, .end = start + places, .plan = { .n_tokens = places } };
    e->plan = (struct image_plan){ .n_tokens = places, .n_cells = n_pages * IMAGE_KV_PAGE };
    e->row_page = e->page;
    e->row_page[0] = 7 + k;
    e->kv_page = e->page + 1;
    e->n_kv_pages = n_pages;
    for (int i = 0; i < n_pages; i++)
        e->kv_page[i] = page - i;
}

static void forget(struct asked *a)
{
    for (int k = 0; k < a->p.n_images; k++)
        free(a->entry[k]);
}

struct world {
    struct step_seq seq[SEQS];
    struct step step;
    struct images images;
    struct shape shape;
    struct staging staging;
    struct staged staged;
};

static void add(struct world *w, struct asked *a, int start, int n, int yields)
{
    w->step.seq = w->seq;
    w->seq[w->step.n_seqs++] = (struct step_seq){ &a->r, start, n, { yields ? YIELD_TOKENS : YIELD_NOTHING, yields } };
    w->step.n_rows += n;
}

/* The arrays of the step, in a block of exactly the size that its shape asks for. */
static void fill(struct world *w)
{
    size_t n = staging_bytes(&w->shape);
    w->staging = (struct staging){ .host = xmalloc(n), .size = n };
    w->staging.dev = w->staging.host;
    memset(w->staging.host, 0x55, n);
    staging_fill(&w->staging, &w->shape, &w->step, &w->images, &w->staged);
    ck_assert_uint_eq(w->staging.used, n);
}

static void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    images_init(&w->images, 16, KV_IMAGES);
    for (int i = 0; i < KV_IMAGES; i++)
        w->images.fill[i] = i + 1;
}

static void world_free(struct world *w)
{
    free(w->staging.host);
    images_free(&w->images);
}

static void same(const char *what, const int *have, const int *want, int n)
{
    for (int i = 0; i < n; i++)
        ck_assert_msg(have[i] == want[i], "%s: %d at %d, not %d", what, have[i], i, want[i]);
}

/* A chunk of a prompt, a request with its next token, and one of which three rows yield something. */
START_TEST(rows_of_a_step)
{
    struct world w;
    struct asked a, b, c;
    world_init(&w);
    ask(&a, 80, 1000), ask(&b, 34, 2000), ask(&c, 10, 3000);
    b.r.n_ids = 36;
    b.r.kv[0].n = 2;
    add(&w, &a, 31, 3, 0), add(&w, &b, 35, 1, 1), add(&w, &c, 5, 5, 3);
    w.shape = staging_shape(&w.step, 0, 70);
    fill(&w);
    const struct forward *f = &w.staged.forward;
    const struct batch *batch = &f->batch;
    ck_assert_int_eq(batch->n_rows, 9);
    ck_assert_int_eq(batch->max_rows, 5);
    same("tokens", batch->token, (int[]){ 1031, 1032, 1033, 2035, 3005, 3006, 3007, 3008, 3009 }, 9);
    same("positions", batch->pos, (int[]){ 31, 32, 33, 35, 5, 6, 7, 8, 9 }, 9);
    same("first", batch->first, (int[]){ 0, 3, 4, 9 }, 4);
    same("limit", batch->views[0].limit, (int[]){ 32, 33, 34, 36, 6, 7, 8, 9, 10 }, 9);
    same("slot", batch->views[0].slot, (int[]){ 1000 * KV_PAGE + 31, 999 * KV_PAGE, 999 * KV_PAGE + 1,
                                                1999 * KV_PAGE + 3 }, 4);
    same("pages", batch->views[0].pages, (int[]){ 1000, 999, 998, 2000, 1999, 0, 3000, 0, 0 }, 9);
    ck_assert_int_eq(batch->views[0].max_kv, 36);
    ck_assert_int_eq(f->n_out, 4);
    same("wanted rows", f->out_rows, (int[]){ 3, 6, 7, 8 }, 4);
    ck_assert_int_eq(w.staged.sampler.n, 4);
    ck_assert_int_eq(f->n_image, 0);
    ck_assert_int_eq(f->cross.n_rows, 0);
    world_free(&w);
}
END_TEST

/* What the family says is what a row sees: nothing, the first image, the second alone, or both. */
START_TEST(images_that_rows_see)
{
    static const struct image_range none = { 0 }, one = { 0, 1, false }, last = { 1, 2, false }, both = { 0, 2, false };
    struct world w;
    struct asked a, b;
    world_init(&w);
    ask(&a, 20, 1000), ask(&b, 4, 2000);
    add_image(&a, 2, 3, 2, 5), add_image(&a, 8, 4, 3, 3);
    a.p.sees = a.sees;
    a.p.next_sees = both;
    for (int i = 0; i < 20; i++)
        a.sees[i] = i < 5 ? none : i < 8 ? one : i < 12 ? none : last;
    a.r.n_ids = 21;
    add(&w, &b, 0, 4, 0), add(&w, &a, 4, 17, 1);
    w.shape = staging_shape(&w.step, KV_IMAGES, 70);
    fill(&w);
    const struct forward *f = &w.staged.forward;
    const struct view *v = &f->cross.views[1];
    ck_assert_int_eq(f->cross.n_rows, 12);
    ck_assert_int_eq(f->cross.max_rows, 12);
    same("rows", f->cross_rows, (int[]){ 5, 6, 7, 12, 13, 14, 15, 16, 17, 18, 19, 20 }, 12);
    same("first", f->cross.first, (int[]){ 0, 0, 12 }, 3);
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(v->from[i], (i < 3 || i == 11 ? 0 : 2) * IMAGE_KV_PAGE);
        ck_assert_int_eq(v->limit[i], (i < 3 ? 2 : 5) * IMAGE_KV_PAGE);
    }
    same("pages", v->pages + v->max_pages, (int[]){ 5, 4, 3, 2, 1 }, 5);
    same("fill", v->fill, (int[]){ 1, 2, 3, 4, 5, 6, 7, 8 }, KV_IMAGES);
    ck_assert_int_eq(f->n_image, 5);
    same("places", f->image_dst, (int[]){ 4, 8, 9, 10, 11 }, 5);
    same("contents", f->image_src, (int[]){ 7 * IMAGE_ROW_PAGE + 2, 8 * IMAGE_ROW_PAGE, 8 * IMAGE_ROW_PAGE + 1 }, 3);
    forget(&a);
    world_free(&w);
}
END_TEST

/* The pages of padding stand behind those of all images, and only a blind row, which is none of the seeing, gets so
 * far. */
START_TEST(a_blind_row_sees_padding)
{
    struct world w;
    struct asked a;
    world_init(&w);
    ask(&a, 6, 1000);
    add_image(&a, 2, 1, 3, 5), add_image(&a, 4, 1, 2, 2);
    a.entry[0]->plan.n_blank = 2 * IMAGE_KV_PAGE - 5;        /* two pages of its three */
    a.entry[0]->plan.n_cells -= 5;
    a.entry[1]->plan.n_blank = 1;
    a.entry[1]->plan.n_cells = IMAGE_KV_PAGE + 1;
    a.p.sees = a.sees;
    for (int i = 0; i < 6; i++)
        a.sees[i] = i < 2 ? (struct image_range){ 0, 2, true } : i < 4 ? (struct image_range){ 0, 1, false }
                                                                       : (struct image_range){ 1, 2, false };
    add(&w, &a, 1, 4, 0);
    w.shape = staging_shape(&w.step, KV_IMAGES, 70);
    ck_assert_int_eq(w.shape.image_pages, 5);
    fill(&w);
    const struct forward *f = &w.staged.forward;
    const struct view *v = &f->cross.views[1];
    same("rows", f->cross_rows, (int[]){ 0, 1, 2, 3 }, 4);
    same("seeing", f->cross_seeing, (int[]){ -1, 1, 2, 3 }, 4);
    same("pages", v->pages, (int[]){ 5, 2, 4, 3, 1 }, 5);
    same("from", v->from, (int[]){ 0, 0, 0, IMAGE_KV_PAGE }, 4);
    same("limit", v->limit, (int[]){ 5 * IMAGE_KV_PAGE, IMAGE_KV_PAGE, IMAGE_KV_PAGE, 2 * IMAGE_KV_PAGE }, 4);
    forget(&a);
    world_free(&w);
}
END_TEST

/* Penalties and bans go row by row: a request without any lies between two that have them. */
START_TEST(what_the_sampler_is_told)
{
    struct world w;
    struct asked a[3];
    world_init(&w);
    for (int i = 0; i < 3; i++) {
        ask(&a[i], 8, 1000 * (i + 1));
        a[i].r.n_ids = 9;
        a[i].r.params.seed = (uint64_t)(50 + i);
        add(&w, &a[i], 8, 1, 1);
    }
    a[0].r.n_seen = 2;
    a[0].seen[1].token = 77;
    a[2].r.n_seen = 3;
    a[2].r.params.logprobs = true;
    a[2].r.params.top_logprobs = 4;
    a[2].r.params.min_tokens = 5;
    a[2].r.n_ends = ENDS;
    a[2].r.ends[1] = 99;
    /* a bad word whose first token the answer has, one that it has not begun, and one without a beginning but beyond */
    a[0].r.steer = (struct steer){ .word = (int32_t[]){ 1008, 55, 1007, 56, 1, 1, 1 }, .end = { 2, 4, 7 },
                                   .n_words = 3 };
    a[1].r.steer = (struct steer){ .bias = (struct seen[]){ { .token = 65 }, { .token = 66, .bias = -2.5f } },
                                   .n_bias = 2, .allowed = (uint32_t[]){ 1, 2, 4 } };
    w.shape = staging_shape(&w.step, 0, 70);
    fill(&w);
    const struct sampler *s = &w.staged.sampler;
    ck_assert(s->seen.any && s->banned.any && s->biased.any);
    ck_assert_int_eq(s->n, 3);
    ck_assert_int_eq(s->top_n, 4);
    same("seen", s->seen.first, (int[]){ 0, 2, 2, 5 }, 4);
    same("biased", s->biased.first, (int[]){ 0, 0, 2, 2 }, 4);
    same("banned", s->banned.first, (int[]){ 0, 1, 1, 3 }, 4);
    ck_assert_int_eq(s->seen.tokens[1].token, 77);
    ck_assert_int_eq(s->banned.tokens[0].token, 55);
    ck_assert_int_eq(s->banned.tokens[2].token, 99);
    ck_assert(isinf(s->banned.penalty[2].presence));
    ck_assert_int_eq(s->biased.tokens[1].token, 66);
    ck_assert(s->biased.tokens[1].bias == -2.5f && s->biased.penalty[1].repetition == 1);
    ck_assert_mem_eq(s->allowed, ((uint32_t[]){ -1u, -1u, -1u, 1, 2, 4, -1u, -1u, -1u }), 9 * sizeof(uint32_t));
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(s->sampling[i].seed, (uint64_t)(50 + i));
        ck_assert_uint_eq(s->sampling[i].step, 1);
    }
    world_free(&w);
}
END_TEST

/* Two caches of the text, and the second with a window: pages that were given back are in nobody's way. */
START_TEST(rows_that_see_a_window)
{
    struct world w;
    struct asked a, b;
    int other[PAGES] = { -7, 40, 41 };
    world_init(&w);
    ask(&a, 80, 1000);
    ask(&b, 8, 2000);
    a.r.kv[1] = (struct held){ other, 3, 1 };
    b.r.kv[1] = (struct held){ (int[PAGES]){ 50 }, 1, 0 };
    add(&w, &a, 70, 3, 0);
    add(&w, &b, 3, 2, 0);
    w.shape = staging_shape(&w.step, 0, 70);
    w.shape.window[1] = 5;
    fill(&w);
    const struct view *all = &w.staged.views[CACHE_TEXT], *some = &w.staged.views[CACHE_WINDOW];
    ck_assert_ptr_null(all->from);
    same("from", some->from, (int[]){ 66, 67, 68, 0, 0 }, 5);
    same("limit", some->limit, (int[]){ 71, 72, 73, 4, 5 }, 5);
    same("slot", some->slot, (int[]){ 41 * KV_PAGE + 6, 41 * KV_PAGE + 7, 41 * KV_PAGE + 8, 50 * KV_PAGE + 3,
                                      50 * KV_PAGE + 4 }, 5);
    same("first slot", all->slot, (int[]){ 998 * KV_PAGE + 6 }, 1);
    ck_assert_int_eq(some->pages[1], 40);
    ck_assert_int_eq(some->pages[some->max_pages], 50);
    world_free(&w);
}
END_TEST

/* An image whose places stand in two runs: what is between them is no place, and a step may begin within either. Where
 * the model reads images both ways, a place sees its run to the end. */
START_TEST(an_image_in_two_runs)
{
    int run[] = { 3, 8 };
    static const struct { int start, n, n_image, src[4], dst[4]; } steps[] = {
        { 0, 12, 4, { 0, 1, 2, 3 }, { 3, 4, 8, 9 } },
        { 4, 5, 2, { 1, 2 }, { 0, 4 } },
        { 5, 3, 0, { 0 }, { 0 } },
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct world w;
        struct asked a;
        world_init(&w);
        ask(&a, 12, 1000);
        add_image(&a, 3, 4, 0, 0);
        a.image[0].end = 10;
        a.image[0].run = run;
        a.image[0].plan.runs = 2;
        add(&w, &a, steps[i].start, steps[i].n, 0);
        w.shape = staging_shape(&w.step, KV_IMAGES, 70);
        a.p.spans = i == 0;
        fill(&w);
        if (i == 0)
            same("limit", w.staged.views[0].limit, (int[]){ 1, 2, 3, 5, 5, 6, 7, 8, 10, 10, 11, 12 }, 12);
        else
            ck_assert_int_eq(w.staged.views[0].limit[0], steps[i].start + 1);
        ck_assert_int_eq(w.staged.forward.n_image, steps[i].n_image);
        for (int k = 0; k < steps[i].n_image; k++) {
            ck_assert_int_eq(w.staged.forward.image_src[k] - 7 * IMAGE_ROW_PAGE, steps[i].src[k]);
            ck_assert_int_eq(w.staged.forward.image_dst[k], steps[i].dst[k]);
        }
        forget(&a);
        world_free(&w);
    }
}
END_TEST

/* Rows that were added by rounding up write nowhere, see nothing and yield nothing, in the text and in the images. */
START_TEST(a_shape_that_is_rounded_up)
{
    static const struct shape largest = { .rows = ROWS, .seqs = SEQS, .pages = PAGES, .image_pages = KV_IMAGES,
                                          .out = SEQS };
    struct world w;
    struct asked a[3];
    world_init(&w);
    for (int i = 0; i < 3; i++) {
        ask(&a[i], 8, 1000 * (i + 1));
        a[i].r.n_ids = 9;
        add(&w, &a[i], 8, 1, 1);
    }
    add_image(&a[1], 2, 3, 3, 5);
    a[1].p.next_sees = (struct image_range){ 0, 1, false };
    ck_assert(replay_suits(&w.step));
    w.shape = staging_shape(&w.step, KV_IMAGES, 70);
    replay_round(&w.shape, &largest);
    fill(&w);
    const struct forward *f = &w.staged.forward;
    ck_assert_int_eq(f->batch.n_rows, 4);
    ck_assert_int_eq(f->batch.views[0].slot[3], -1);
    same("limit", f->batch.views[0].limit, (int[]){ 9, 9, 9, 0 }, 4);
    ck_assert_int_eq(f->cross.n_rows, 4);
    same("cross rows", f->cross_rows, (int[]){ -1, 1, -1, -1 }, 4);
    same("cross limit", f->cross.views[1].limit, (int[]){ 0, 3 * IMAGE_KV_PAGE, 0, 0 }, 4);
    same("cross first", f->cross.first, (int[]){ 0, 1, 2, 3, 4 }, 5);
    ck_assert_int_eq(f->n_out, 4);
    ck_assert_int_eq(w.staged.sampler.n, 3);
    same("wanted rows", f->out_rows, (int[]){ 0, 1, 2, 3 }, 4);
    int key = w.shape.key;
    w.step.n_seqs = w.step.n_rows = 2;
    w.shape = staging_shape(&w.step, KV_IMAGES, 70);
    replay_round(&w.shape, &largest);
    ck_assert_int_ne(w.shape.key, key);
    w.seq[1].yield.rows = 2;
    ck_assert(!replay_suits(&w.step));
    forget(&a[1]);
    world_free(&w);
}
END_TEST

/* The plan counts with the largest shape: a step that is it in every number takes exactly so much, and none takes
 * more. */
START_TEST(the_largest_step_is_what_is_counted)
{
    static const struct shape largest = { .rows = ROWS, .seqs = SEQS, .pages = PAGES, .image_pages = KV_IMAGES,
                                          .kv_images = KV_IMAGES, .image_rows = ROWS, .out = SEQS, .seen = SEQS * SEEN,
                                          .banned = SEQS * ENDS, .biased = SEQS, .mask_words = 3 };
    struct seen bias = { .token = 1 };
    uint32_t allowed[] = { 1, 2, 4 };
    struct world w;
    struct asked a[SEQS];
    world_init(&w);
    for (int i = 0; i < SEQS; i++) {
        ask(&a[i], LEN - 1, 1000);
        a[i].r.n_ids = LEN;
        a[i].r.kv[0].n = PAGES;
        a[i].r.n_seen = SEEN;
        a[i].r.n_ends = ENDS;
        a[i].r.params.min_tokens = 10;
        a[i].r.steer = (struct steer){ .bias = &bias, .n_bias = 1, .allowed = allowed };
        add(&w, &a[i], LEN - ROWS / SEQS, ROWS / SEQS, 1);
        add_image(&a[i], 0, 1, KV_IMAGES, KV_IMAGES - 1);
        w.shape = staging_shape(&w.step, KV_IMAGES, 70);
        ck_assert_uint_le(staging_bytes(&w.shape), staging_bytes(&largest));
    }
    ck_assert_uint_eq(staging_bytes(&w.shape), staging_bytes(&largest));
    fill(&w);
    for (int i = 0; i < SEQS; i++)
        forget(&a[i]);
    world_free(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("staging");
    TCase *t = tcase_create("staging");
    tcase_add_test(t, rows_of_a_step);
    tcase_add_test(t, images_that_rows_see);
    tcase_add_test(t, an_image_in_two_runs);
    tcase_add_test(t, rows_that_see_a_window);
    tcase_add_test(t, a_blind_row_sees_padding);
    tcase_add_test(t, what_the_sampler_is_told);
    tcase_add_test(t, a_shape_that_is_rounded_up);
    tcase_add_test(t, the_largest_step_is_what_is_counted);
    suite_add_tcase(s, t);
    return suite_run(s);
}
