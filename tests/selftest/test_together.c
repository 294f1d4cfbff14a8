/* tests/selftest/test_together.c - prompts that go through a model in one pass
 * are each read as if alone: what every matrix is multiplied with has the same
 * bits, with images and without. */
#include "kernels/random.h"
#include "model/nn.h"
#include "selftest/together.h"
#include "tests/model/golden.c"
#include "tests/model/rig.c"
#include "tests/suite.h"

enum { MAX_ROWS = 512, MAX_CALLS = 400, TEXT = 19 };

static const char *const cases[] = {
    "tests/model/llama/yarn", "tests/model/qwen2_vl/tied", "tests/model/qwen3_vl/deepstack",
    "tests/model/kosmos-2/plain", "tests/model/llava_next/mistral", "tests/model/gemma3_text/windows",
    "tests/model/gemma3/published",
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* What a pass multiplied matrices with, in order. */
struct inputs { int n; struct { float *x; int rows, cols; } call[MAX_CALLS]; };

static const struct weight *look(void *arg, const struct weight *w, struct tensor x)
{
    struct inputs *s = arg;
    if (!x.data)
        return w;
    ck_assert_int_lt(s->n, MAX_CALLS);
    float *to = malloc(sizeof *to * (size_t)x.rows * (size_t)x.cols);
    for (int r = 0; r < x.rows; r++)
        memcpy(to + (size_t)r * (size_t)x.cols, (const float *)x.data + (size_t)r * (size_t)x.stride,
               sizeof *to * (size_t)x.cols);
    s->call[s->n].x = to;
    s->call[s->n].rows = x.rows;
    s->call[s->n++].cols = x.cols;
    return w;
}

static void forget(struct inputs *s)
{
    while (s->n > 0)
        free(s->call[--s->n].x);
}

/* Rows first .. first + n of all that the pass saw are what the prompt alone gives, without its last matrix: the head
 * is not reached together. */
static void same(struct rig *g, const struct together *p, const struct inputs *all, int first)
{
    struct inputs alone = { 0 };
    const struct watch watch = { look, &alone };
    float *logits = malloc(sizeof *logits * (size_t)p->n * (size_t)g->m->vocab);
    g->m->watch = &watch;
    rig_prompt(g, p->ids, p->n, p->n, logits);
    g->m->watch = NULL;
    ck_assert_int_eq(alone.n, all->n + 1);
    for (int i = 0; i < all->n; i++) {
        size_t row = (size_t)all->call[i].cols;
        ck_assert_int_eq(alone.call[i].cols, all->call[i].cols);
        ck_assert_int_eq(alone.call[i].rows, p->n);
        ck_assert_msg(memcmp(alone.call[i].x, all->call[i].x + (size_t)first * row,
                             sizeof(float) * row * (size_t)p->n) == 0, "product %d of %d: other inputs", i, all->n);
    }
    forget(&alone);
    free(logits);
}

START_TEST(test_each_by_itself)
{
    struct rig g;
    struct golden want;
    struct inputs all = { 0 };
    struct err e;
    const struct watch watch = { look, &all };
    const struct stored *im;
    int n, next, ids_of_text[TEXT];
    rig_open(&g, "cpu", cases[_i], MAX_ROWS, BF16);
    golden_open(&want, cases[_i]);
    for (int i = 0; (im = golden_find(&want, "image.%d", i)); i++)
        rig_image(&g, im->data, (int)im->dims[1], (int)im->dims[0]);
    int32_t *ids = golden_ints(&want, "ids", 0, &n), *pos = trial_positions(&g.t, ids, n, &next);
    for (int i = 0; i < TEXT; i++) {
        ids_of_text[i] = (int)(random_unit(4, (uint64_t)i) * g.m->vocab);
        ids_of_text[i] -= ids_of_text[i] == g.m->image_token;
    }
    const struct together whole = { .ids = ids, .pos = pos, .pos_stride = (size_t)n, .n = n, .features = g.t.pool },
                          text = { .ids = ids_of_text, .n = TEXT }, prompts[] = { whole, text, whole };
    g.m->watch = &watch;
    ck_assert_msg(together_run(g.m, prompts, 3, &e) == 0, "%s", e.text);
    g.m->watch = NULL;
    ck_assert_int_gt(all.n, 4);
    same(&g, &whole, &all, 0);
    same(&g, &whole, &all, n + TEXT);
    same(&g, &text, &all, n);
    forget(&all);
    free(ids);
    free(pos);
    weights_close(want.file);
    rig_close(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("together");
    TCase *t = tcase_create("together");
    tcase_add_loop_test(t, test_each_by_itself, 0, N_CASES);
    suite_add_tcase(s, t);
    return suite_run(s) != 0;
}
