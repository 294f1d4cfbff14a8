/* The defaults of a plan on machines of many sizes, from numbers alone, and when pages may be taken. */
#include <check.h>

#include "engine/device.h"
#include "engine/plan.h"
#include "engine/room.h"
#include "kernels/machine.h"
#include "tests/options.h"
#include "tests/suite.h"

enum { USUAL = 8192, SEQS = 32 };

static struct model *open_dry(const char *dir)
{
    struct err e;
    struct model_options opt = { .backend = &backend_cpu };
    struct model *m = model_open(dir, &opt, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    return m;
}

static struct engine_plan plan_of_free(const struct model *m, struct engine_config c, size_t memory, size_t free)
{
    struct setup s;
    struct err e;
    struct engine_options opt = { .config = c };
    struct memory has = { .host = memory, .device = memory, .free = free };
    ck_assert_msg(setup_make(&s, &opt, m, &has, &e) == 0, "%s", e.text);
    const struct engine_plan *p = &s.plan;
    ck_assert_uint_eq(p->total, p->weights + p->kv + p->image_cache + p->scratch + p->logits + p->image_peak +
                      p->pixels + p->requests + p->program);
    ck_assert(p->fits == (p->total <= p->available));
    return s.plan;
}

static struct engine_plan plan_of(const struct model *m, struct engine_config c, size_t memory)
{
    return plan_of_free(m, c, memory, 0);
}

/* What is left shrinks: the caches with it, then the context, and only then it does not fit. */
START_TEST(test_less_and_less)
{
    struct engine_config usual = CONFIG(c.max_image_pixels = 4096 * 4096, c.max_images = SEQS);
    struct model *m = open_dry("tests/model/phone/glm4v");
    struct engine_plan rich = plan_of(m, usual, (size_t)64 << 30), last = rich;
    ck_assert(rich.fits);
    ck_assert_int_eq(rich.max_model_len, m->context);
    ck_assert_int_eq(rich.kv_tokens, SEQS * USUAL);
    size_t fixed = rich.total - rich.kv - rich.image_cache, context = rich.kv / SEQS, one = rich.image_cache / SEQS;
    size_t top = fixed + one + 2 * context;
    int shorter = 0;
    /* in leaps, then by parts of a context around the place where the last one fits */
    for (int k = 0; k < 76; k++) {
        size_t leap = (size_t)4 << 30 >> (k < 12 ? k : 12), part = k < 12 ? top : top - (size_t)(k - 12) * context / 8;
        size_t memory = k < 12 && leap > top / 9 * 10 ? leap : part / 9 * 10;
        struct engine_plan p = plan_of(m, usual, memory);
        ck_assert_uint_ge(p.image_cache, one);
        if (p.available > fixed + one + context + ((size_t)1 << 20))
            ck_assert_msg(p.fits && p.max_model_len == m->context && p.kv >= context, "%zu MiB: a context fits",
                          memory >> 20);
        ck_assert(last.fits || !p.fits);
        ck_assert_uint_le(p.kv, last.kv);
        shorter += p.fits && p.max_model_len < m->context;
        last = p;
    }
    ck_assert(!last.fits);
    ck_assert_int_gt(shorter, 0);
    model_close(m);
}
END_TEST

/* What was asked for is kept, even where it does not fit. */
START_TEST(test_asked_for)
{
    struct model *m = open_dry("tests/model/phone/glm4v");
    struct engine_plan p = plan_of(m, CONFIG(c.max_model_len = 4096, c.max_num_seqs = 3), (size_t)8 << 30);
    ck_assert_int_eq(p.kv_tokens, 3 * 4096);
    p = plan_of(m, CONFIG(c.max_model_len = 4096, c.max_num_seqs = 3, c.kv_bytes = (size_t)1 << 30), (size_t)8 << 30);
    ck_assert_int_eq(p.kv_tokens, 3 * 4096);        /* nobody could use more */
    p = plan_of(m, CONFIG(c.max_model_len = 8192), (size_t)100 << 20);
    ck_assert(!p.fits && p.kv_tokens == 8192);
    p = plan_of(m, CONFIG(c.kv_bytes = p.kv / 4), (size_t)8 << 30);
    ck_assert_int_eq(p.max_model_len, 2048);
    model_close(m);
}
END_TEST

/* What others have taken is not planned with: the cache may grow into half of what is free, the floor is one whole
 * context, and a machine that is full is told, unless somebody says what may be used. */
START_TEST(test_free)
{
    enum { GIB = 1 << 30 };
    struct model *m = open_dry("tests/model/phone/glm4v");
    size_t all = (size_t)64 * GIB;
    struct engine_plan idle = plan_of_free(m, CONFIG(), all, all), last = idle;
    ck_assert_uint_eq(idle.kv_floor, idle.kv / (size_t)idle.kv_tokens * (size_t)m->context);
    ck_assert_int_eq(idle.kv_floor_tokens, m->context);
    ck_assert_uint_eq(idle.floor, idle.total - idle.kv + idle.kv_floor);
    int smaller = 0;
    for (size_t free = all; free > 0; free -= GIB / 16) {
        struct engine_plan p = plan_of_free(m, CONFIG(), all, free);
        ck_assert_uint_le(p.available, free);
        ck_assert_uint_le(p.kv, last.kv);
        if (p.fits && p.max_model_len == m->context)
            ck_assert_msg(p.kv <= free / 2 || p.kv == p.kv_floor, "%zu of %zu bytes", p.kv, free);
        smaller += p.kv < last.kv;
        last = p;
    }
    ck_assert_int_gt(smaller, 2);
    ck_assert(!plan_of_free(m, CONFIG(), all, GIB / 64).fits);
    struct engine_plan told = plan_of_free(m, CONFIG(c.memory_bytes = all), all, GIB / 64);
    ck_assert(told.fits);
    ck_assert_uint_eq(told.kv, idle.kv);
    model_close(m);
}
END_TEST

/* Every layer's pages begin with a huge page of the machine's, of which 256 of this model's pages of 8 KiB are one; one
 * whole context is kept in any case. */
START_TEST(test_huge_pages)
{
    struct model *m = open_dry("models/open-autoglm-v1");
    size_t machine = (size_t)64 << 30;
    struct engine_plan p = plan_of(m, CONFIG(), machine);
    size_t page = p.kv / (size_t)p.kv_tokens * 32;
    ck_assert_int_eq(plan_of(m, CONFIG(c.kv_bytes = 600 * page), machine).kv_tokens, 512 * 32);
    ck_assert_int_eq(plan_of(m, CONFIG(c.kv_bytes = 512 * page), machine).kv_tokens, 512 * 32);
    ck_assert_int_eq(plan_of(m, CONFIG(c.kv_bytes = 200 * page), machine).kv_tokens, 200 * 32);
    model_close(m);
}
END_TEST

static size_t free_now(void *arg) { return *(size_t *)arg; }

/* Pages leave the margin, and what else is promised. */
START_TEST(test_room)
{
    enum { MIB = 1 << 20 };
    size_t free = 100 * MIB, huge = (size_t)1 << 40;
    struct room r = { .free = free_now, .arg = &free, .margin = 10 * MIB };
    ck_assert(room_take(&r, 90 * MIB));
    ck_assert_uint_eq(r.taken, 90 * MIB);
    ck_assert(!room_take(&r, 1));                          /* still free in the machine, but for pages */
    free = 190 * MIB;
    ck_assert(!room_take(&r, 91 * MIB));
    ck_assert(room_take(&r, 90 * MIB));
    room_fill(&r, 180 * MIB);                              /* not free any more */
    free = 5 * MIB;
    ck_assert(!room_take(&r, 1));
    free = (size_t)2 << 40;
    r.promised = huge;
    ck_assert(room_take(&r, huge - 10 * MIB));
    ck_assert_uint_gt(machine_own(), 0);
    free = huge + 10 * MIB;
    r.taken = r.filled = 0;
    ck_assert(!room_take(&r, machine_own() + 1 * MIB));    /* promised are the bytes that this process has not yet */
    ck_assert(room_take(&r, machine_own() / 2));
    ck_assert_uint_ge(machine_memory(), machine_free());
    ck_assert_uint_ge(room_margin(1 << 20), 32 * MIB);
}
END_TEST

/* Uploads are as large as a quarter of the memory decodes, within bounds; what is asked for is kept. */
START_TEST(test_uploads)
{
    static const struct { size_t memory; int64_t pixels; int side; int64_t want; } cases[] = {
        { (size_t)64 << 30, 0, 0, 48 << 20 }, { (size_t)4 << 30, 0, 0, 48 << 20 },
        { 900000000, 0, 0, 810000000 / 4 / 9 }, { (size_t)64 << 20, 0, 0, 4096 * 4096 },
        { (size_t)64 << 20, 100 << 20, 0, 100 << 20 }, { (size_t)64 << 30, 5000, 0, 5000 },
        { (size_t)64 << 30, 0, 4096, 4096 * 4096 },
        { (size_t)64 << 30, 0, 65535, 48 << 20 }, { (size_t)64 << 30, 1 << 20, 100, 10000 },
    };
    struct model *m = open_dry("tests/model/phone/glm4v");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct engine_config opt = CONFIG(c.max_image_pixels = cases[i].pixels, c.max_image_side = cases[i].side,
                                          c.max_model_len = 512);
        struct engine_plan p = plan_of(m, opt, cases[i].memory);
        ck_assert_msg(p.max_image_pixels == cases[i].want, "case %zu: %lld", i, (long long)p.max_image_pixels);
        ck_assert_uint_ge(p.image_peak, (size_t)p.max_image_pixels * IMAGE_BYTES_PER_PIXEL);
    }
    model_close(m);
}
END_TEST

/* An image's own cache is counted by its cells, whatever the places that it takes in a prompt: one here, and 40 cells,
 * of which some may be padding, in pages of their own. */
START_TEST(test_cells)
{
    struct model *m = open_dry("tests/model/mllama/tiles");
    struct engine_config many = CONFIG(c.max_image_pixels = 4096 * 4096, c.max_images = SEQS, c.max_num_seqs = SEQS);
    struct engine_plan p = plan_of(m, many, (size_t)64 << 30);
    size_t entry = 2 * sizeof(float) * (size_t)(m->image_kv.layers * m->image_kv.n_kv * m->image_kv.dim);
    ck_assert_int_eq(p.max_image_tokens, 1);
    ck_assert_uint_eq(p.image_cache, SEQS * 3 * IMAGE_KV_PAGE * entry);
    model_close(m);
}
END_TEST

/* A name of a type is accepted where the help lists it, and nowhere else. */
START_TEST(test_types)
{
    struct model *m = open_dry("models/open-autoglm-v1");
    for (int t = 0; t < N_DTYPES; t++) {
        char *name = (char *)dtype_name((enum dtype)t);
        for (int cache = 0; cache < 2; cache++) {
            struct engine_options opt = { .config = cache ? CONFIG(c.kv_cache_dtype = name)
                                          : CONFIG(c.weights = name) };
            struct memory has = { .host = (size_t)8 << 30, .device = (size_t)8 << 30 };
            struct model_options mo = { .convert = false };
            struct setup s;
            struct config all;
            struct err e;
            char *argv[] = { "plan", cache ? "--kv-cache-dtype" : "--weights", name, NULL };
            bool listed = options_parse(&all, OPT_ENGINE, 3, argv, &e) == 0;
            options_free(&all);
            bool taken = cache ? setup_make(&s, &opt, m, &has, &e) == 0 : weights_option(&opt.config, &mo, &e) == 0;
            ck_assert_msg(taken == listed, "%s %s: listed %d, taken %d", argv[1], name, listed, taken);
            if (taken && cache)
                ck_assert(s.sizes.kv == (enum dtype)t && strcmp(s.plan.kv_dtype, name) == 0);
            else if (taken)
                ck_assert(mo.convert && mo.weights == (enum dtype)t);
        }
    }
    enum dtype none;
    ck_assert(!dtype_named("auto", &none) && !dtype_named("", &none) && dtype_named("bf16", &none) && none == BF16);
    model_close(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_less_and_less);
    tcase_add_test(t, test_asked_for);
    tcase_add_test(t, test_uploads);
    tcase_add_test(t, test_free);
    tcase_add_test(t, test_huge_pages);
    tcase_add_test(t, test_room);
    tcase_add_test(t, test_cells);
    tcase_add_test(t, test_types);
    suite_add_tcase(s, t);
    return suite_run(s);
}
