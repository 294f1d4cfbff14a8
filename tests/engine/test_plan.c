/* The defaults of a plan on machines of many sizes, from numbers alone. */
#include <check.h>

#include "engine/plan.h"
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

static struct engine_plan plan_of(const struct model *m, struct engine_options opt, size_t memory)
{
    struct setup s;
    struct err e;
    opt.model_dir = "m";
    struct memory has = { .host = memory, .device = memory };
    ck_assert_msg(setup_make(&s, &opt, m, &has, &e) == 0, "%s", e.text);
    const struct engine_plan *p = &s.plan;
    ck_assert_uint_eq(p->total, p->weights + p->kv + p->image_cache + p->scratch + p->logits + p->image_peak + p->program);
    ck_assert(p->fits == (p->total <= p->available));
    return s.plan;
}

/* What is left shrinks: the caches with it, then the context, and only then it does not fit. */
START_TEST(test_less_and_less)
{
    struct model *m = open_dry("tests/model/phone/glm4v");
    struct engine_plan rich = plan_of(m, (struct engine_options){ 0 }, (size_t)64 << 30), last = rich;
    ck_assert(rich.fits);
    ck_assert_int_eq(rich.max_model_len, m->context);
    ck_assert_int_eq(rich.kv_tokens, SEQS * USUAL);
    size_t fixed = rich.total - rich.kv - rich.image_cache, context = rich.kv / SEQS, one = rich.image_cache / SEQS;
    size_t top = fixed + one + 2 * context;
    int shorter = 0;
    for (int k = 0; k < 76; k++) {      /* in leaps, then by parts of a context around the place where the last one fits */
        size_t leap = (size_t)4 << 30 >> (k < 12 ? k : 12), part = k < 12 ? top : top - (size_t)(k - 12) * context / 8;
        size_t memory = k < 12 && leap > top / 9 * 10 ? leap : part / 9 * 10;
        struct engine_plan p = plan_of(m, (struct engine_options){ 0 }, memory);
        ck_assert_uint_ge(p.image_cache, one);
        if (p.available > fixed + one + context + ((size_t)1 << 20))
            ck_assert_msg(p.fits && p.max_model_len == m->context && p.kv >= context, "%zu MiB: a context fits", memory >> 20);
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
    struct engine_plan p = plan_of(m, (struct engine_options){ .max_model_len = 4096, .max_num_seqs = 3 }, (size_t)8 << 30);
    ck_assert_int_eq(p.kv_tokens, 3 * 4096);
    p = plan_of(m, (struct engine_options){ .max_model_len = 4096, .max_num_seqs = 3, .kv_bytes = (size_t)1 << 30 }, (size_t)8 << 30);
    ck_assert_int_eq(p.kv_tokens, 3 * 4096);        /* nobody could use more */
    p = plan_of(m, (struct engine_options){ .max_model_len = 8192 }, (size_t)100 << 20);
    ck_assert(!p.fits && p.kv_tokens == 8192);
    p = plan_of(m, (struct engine_options){ .kv_bytes = p.kv / 4 }, (size_t)8 << 30);
    ck_assert_int_eq(p.max_model_len, 2048);
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
    suite_add_tcase(s, t);
    return suite_run(s);
}
